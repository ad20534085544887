"""Charts of a run as figures for papers."""
