"""The document of a run: what the report shows, collected from a survey or read from the run's folder."""
