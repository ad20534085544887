"""Series of drawings that differ in size alone: all lengths of a drawing, magnified together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.drawn import SyntheticStimulus, catalogue

__all__ = ["make_size_series", "series_octaves"]

Floats = NDArray[np.float64]

_OCTAVES = tuple(np.arange(-8, 9) * 0.25)
# Fewer sizes than this leave no room for a maximum between them.
_FEWEST_SIZES = 5


def make_size_series(size_px: int) -> list[list[SyntheticStimulus]]:
    """Drawings of each kind and polarity, all lengths of which are magnified together, smallest first.

    Examples
    --------
    >>> series = make_size_series(31)[0]
    >>> sorted({stimulus.kind for stimulus in series})
    ['grating']
    """
    chosen: dict[tuple[Any, ...], SyntheticStimulus] = {}
    # A field in which the shapes can be drawn that is small enough to be magnified by two octaves.
    middle = max(size_px / 6, 7.0)
    for stimulus in catalogue(middle, hues_deg=(0.0, 90.0, 180.0, 270.0)):
        if stimulus.kind in ("edge", "corner", "brightness_gradient", "colour_contrast"):
            # They have no size of their own.
            continue
        # The first of each shape is its smallest; sizes are made here.
        shape = tuple(value for name, value in stimulus.parameters if not name.endswith("_px"))
        chosen.setdefault((stimulus.kind, *shape), stimulus)
    series = []
    for stimulus in chosen.values():
        magnified = [s for octaves in _OCTAVES if (s := _magnified(stimulus, float(octaves))) is not None]
        if len(magnified) >= _FEWEST_SIZES:
            series.append(magnified)
    return series


def _magnified(stimulus: SyntheticStimulus, octaves: float) -> SyntheticStimulus | None:
    """Multiply every length of a stimulus; None where it can no longer be drawn."""
    factor = 2.0**octaves
    parameters = tuple(
        (name, value * factor if name.endswith("_px") else value) for name, value in stimulus.parameters
    )
    try:
        return SyntheticStimulus(stimulus.kind, parameters)
    except EquiscopeError:
        return None


def series_octaves(series: Sequence[SyntheticStimulus]) -> Floats:
    """Size of each drawing of a series against the first, octaves.

    Examples
    --------
    >>> series = make_size_series(31)[0]
    >>> series_octaves(series)[:3].round(3).tolist()
    [0.0, 0.25, 0.5]
    """
    lengths = [next(value for name, value in s.parameters if name.endswith("_px")) for s in series]
    return np.asarray(np.log2(np.array(lengths) / lengths[0]))
