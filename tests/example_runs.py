"""The finished runs that examples of docstrings speak of, as somebody has them who has tried the package."""

from __future__ import annotations

from pathlib import Path

import equiscope

# Names as in the guides: what `make survey` leaves, and a second run that it can be compared with.
RUN, OTHER = "equiscope-runs/mini", "equiscope-runs/seed-1"
_SURVEY = {"layers": ["conv2d0", "conv2d1"], "transformations": ["rotation", "hue"]}


def make_example_runs() -> None:
    """Make the runs below the working directory: small, and with what every later command finds."""
    equiscope.survey("mini", out=RUN, **_SURVEY)
    equiscope.survey("mini", out=OTHER, seed=1, **_SURVEY)
    equiscope.verify(RUN)
    equiscope.circuits(RUN, n_draws=20)
    equiscope.budget(RUN, n_resamples=20)
    equiscope.featurevis(RUN, layers=["conv2d0"], steps=1)
    equiscope.compare(RUN, OTHER, n_draws=20)


def are_asked_for(file: Path) -> bool:
    """Whether the examples of a module need them."""
    return "equiscope-runs/" in file.read_text(encoding="utf-8")
