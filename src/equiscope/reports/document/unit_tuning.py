"""How every unit responds as its own strongest stimuli are transformed, from the responses that a survey keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.measurement.orbits import orbit_axes, turn_back
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.schema import UnitTuningEntry

__all__ = ["UnitTunings", "tune_units"]

Floats = NDArray[np.float64]

# Stimuli read together: 80 MB of a layer of 1,000 units under 128 elements would be 640.
_N_READ = 128


@dataclass(frozen=True)
class UnitTunings:
    """Tuning of the units of one layer under one transformation.

    ``axes``: name and values of each axis; ``units``: the tuning of each channel that was measured.
    """

    axes: dict[str, list[float]]
    units: dict[int, UnitTuningEntry]


def tune_units(
    responses: Responses[Any],
    examples: Examples,
    geometry: LayerGeometry,
    *,
    first_column: int = 0,
    channels: NDArray[np.int64] | None = None,
) -> UnitTunings:
    """Average each unit's responses to its own strongest stimuli under each element.

    Parameters
    ----------
    responses
        Of the unit's layer, or of several layers side by side.
    examples, geometry
        Strongest stimuli and geometry of the layer.
    first_column
        Where the layer's units begin in the responses.
    channels
        The units that were asked about, shape (unit,); by default all.

    Returns
    -------
    UnitTunings
        The stimuli as they are stand at 0 of each axis.

    Notes
    -----
    Stimuli of both halves count, each as strongly as it excites the unit. Orbits that start between two elements are
    brought back to 0 by a Fourier shift. As the stimuli were chosen because they excite the unit as they are, the curve
    is drawn towards a peak at 0 even for a unit that varies at random; a family's tuning, which is read from the
    stimuli of all members, is not.

    Examples
    --------
    >>> from equiscope.measurement.bank import build_bank
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> examples, geometry = empty_examples("conv1", 1, 1), LayerGeometry("conv1", 1, (1, 1), (9, 9), (4.0, 4.0))
    >>> examples.value[0, 0, 0], examples.image[0, 0, 0] = 4.0, 0
    >>> answers = np.array([4.0, 2.0, 0.0, 1.0], np.float32).reshape(1, 4, 1)
    >>> responses = Responses(build_bank(examples, np.arange(1)), CyclicGroup(4), answers)
    >>> tune_units(responses, examples, geometry).units[0]["values"]
    [1.0, 0.5, 0.0, 0.25]
    """
    wanted = range(examples.n_units) if channels is None else channels.tolist()
    columns_of = _columns_of_rows(responses.bank, examples, geometry, set(wanted))
    collected: dict[int, list[Floats]] = defaultdict(list)
    for channel, curve in _read_curves(responses, columns_of, first_column):
        collected[channel].append(curve)
    units = {c: _entry(np.stack(curves)) for c, curves in sorted(collected.items())}
    return UnitTunings(orbit_axes(responses.group), units)


def _columns_of_rows(
    bank: Bank, examples: Examples, geometry: LayerGeometry, wanted: set[int]
) -> dict[int, list[int]]:
    """Units for which each row of the bank is one of their own strongest stimuli."""
    # Banks of several layers tell stimuli by where in the image they are centred, in px; others by their position.
    is_joint = bank.centre_px is not None
    places = bank.position.astype(np.float64) if bank.centre_px is None else bank.centre_px
    row_of: dict[tuple[float, ...], int] = {}
    stimuli = zip(bank.half.tolist(), bank.image.tolist(), places.tolist(), strict=True)
    for index, (h, i, place) in enumerate(stimuli):
        row_of[(h, i, *place)] = index
    fires = (examples.image != NO_IMAGE) & (np.nan_to_num(examples.value) > 0)
    half, channel, _ = np.nonzero(fires)
    image, position = examples.image[fires], examples.position[fires]
    own = position.astype(np.float64)
    if is_joint:
        zeros = np.zeros(len(image), np.int64)
        own = centres_px(Bank(geometry.layer, zeros, image, position, zeros), geometry)
    found: dict[int, list[int]] = defaultdict(list)
    for h, c, i, place in zip(half.tolist(), channel.tolist(), image.tolist(), own.tolist(), strict=True):
        row = row_of.get((h, i, *place))
        if row is not None and c in wanted:
            found[row].append(c)
    return found


def _read_curves(
    responses: Responses[Any], columns_of: Mapping[int, Sequence[int]], first_column: int
) -> Iterator[tuple[int, Floats]]:
    """Read what units answered to their own stimuli: a channel and its curve, shape (*axes), one after the other."""
    bank, group = responses.bank, responses.group
    rows = sorted(columns_of)
    starts = bank.starts_deg(group)
    for begin in range(0, len(bank), _N_READ):
        own = [row for row in rows if begin <= row < begin + _N_READ]
        if not own:
            continue
        values = responses.read(begin, min(begin + _N_READ, len(bank)))
        for row in own:
            picked = values[row - begin][:, [first_column + channel for channel in columns_of[row]]]
            curves = turn_back(
                np.asarray(picked, dtype=np.float64)[None], group, [start[[row]] for start in starts]
            )[0]
            yield from zip(columns_of[row], np.moveaxis(curves, -1, 0), strict=True)


def _entry(curves: Floats) -> UnitTuningEntry:
    """Average curves, shape (stimulus, *axes)."""
    n = len(curves)
    mean = np.clip(curves.mean(0), 0, None)
    peak = float(mean.max())
    if not peak > 0:
        return {"n_stimuli": n, "values": np.full(mean.shape, None).tolist(), "error": None}
    error = np.round(curves.std(0, ddof=1) / np.sqrt(n) / peak, 3).tolist() if n > 1 else None
    values = np.round(mean / peak, 3).tolist()
    return {"n_stimuli": n, "values": values, "error": error}
