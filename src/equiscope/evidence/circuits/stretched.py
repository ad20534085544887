"""Kernels of different sizes, stretched to one grid: to be compared, and to be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import Circuit, CircuitEnd
from equiscope.evidence.circuits.kept_weights import KeptWeights
from equiscope.evidence.circuits.stranger_blocks import (
    Block,
    Place,
    blocks_between_families,
    blocks_with_units,
)
from equiscope.evidence.circuits.tied import Tied
from equiscope.families.family import Family, Unit
from equiscope.transformations import find

__all__ = ["Stretches", "tie_stretched"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns of a drawn circuit, octaves.
_SLOT_OCTAVES = 0.5
# Points along one side of the common grid, at most.
_MOST_POINTS = 21


def _common_grid(places: Sequence[Place]) -> Floats:
    """Points (x, y), px at octave 0, shape (point, 2), that hold the widest kernel as finely as the finest."""
    reach = max(
        float(np.abs(p.weights.cells_px).max() + p.weights.stride_px / 2) * 2.0**-p.octaves for p in places
    )
    step = min(p.weights.stride_px * 2.0**-p.octaves for p in places)
    n = int(np.clip(np.ceil(2 * reach / step), 3, _MOST_POINTS))
    line = (np.arange(n) - (n - 1) / 2) * 2 * reach / n
    y, x = np.meshgrid(-line, line, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


class Stretches:
    """What takes kernels of different sizes to a common grid, found once for all blocks of the same sizes."""

    def __init__(self) -> None:
        self._known: dict[frozenset[tuple[int, float]], dict[tuple[int, float], Floats]] = {}

    def of(self, places: Sequence[Place]) -> dict[tuple[int, float], Floats]:
        """Give for each size what takes kernels to the grid of these places, shape (point, cell)."""
        by_size = {place.size: place for place in places}
        key = frozenset(by_size)
        if key not in self._known:
            points = _common_grid(places)
            self._known[key] = {
                size: place.weights.stretched(place.octaves, points) for size, place in by_size.items()
            }
        return self._known[key]


def tie_stretched(
    circuit: Circuit, kept: Sequence[KeptWeights], families: Sequence[Family], units: Sequence[Unit]
) -> Tied:
    """Lay out the kernels of a circuit from `find_stranger_circuits` to be drawn, all on one grid of pixels.

    Parameters
    ----------
    circuit
        One that `find_stranger_circuits` gave for the same weights, families and units.

    Returns
    -------
    Tied
        ``raw``: kernels as wide as they are; ``reordered``: stretched to the size of octave 0, columns by relative
        octaves where both ends are families; ``template`` the mean of their shapes, as strong as they are. NaN where
        no path leads from the one unit to the other, or none was looked for.

    Examples
    --------
    Eight members onto eight, each with the kernels of one relative octave in one column.

    >>> from equiscope.evidence.circuits.kept_weights import keep_weights
    >>> from equiscope.evidence.circuits.layer_pair import LayerPair
    >>> from equiscope.evidence.circuits.paths import expanded_weights
    >>> from equiscope.evidence.circuits.strangers import find_stranger_circuits
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_scales
    >>> planted = planted_scales()
    >>> first, second = find_geometry(planted.model, ["first", "second"]).values()
    >>> pair = LayerPair(expanded_weights(planted.model, first, second), planted.families, planted.units)
    >>> kept, known = [keep_weights(pair, "scale")], (planted.families, planted.units)
    >>> circuits = find_stranger_circuits(kept, *known, "scale", n_draws=20)
    >>> tied = tie_stretched(circuits[0], kept, *known)
    >>> tied.raw.shape[:2], tied.reordered.shape[:2], tied.slots.tolist()
    ((8, 8), (8, 3), [-1.5, -1.0, -0.5])
    """
    own = {f.id: f for f in families if f.id in (circuit.ends[0].family, circuit.ends[1].family)}
    block = _find_block(circuit, kept, list(own.values()), units)
    targets, sources = (_units_of(circuit.ends[side], own) for side in (1, 0))
    raw, upright, relative = _lay_out(block, targets, sources)
    is_into_unit = circuit.n_target == 1
    if is_into_unit:
        upright, relative = upright.swapaxes(0, 1), relative.swapaxes(0, 1)
    turning = own[circuit.ends[0 if is_into_unit else 1].family or ""]
    poses = turning.coordinates(find(circuit.transformation).axes[0].name)
    rows = np.argsort(poses, kind="stable")
    slots, columns = np.zeros(0), np.arange(upright.shape[1])
    if circuit.n_source > 1 and circuit.n_target > 1:
        upright, slots = _by_slot(upright, relative)
        columns = np.zeros(0, np.int64)
    n = round(np.sqrt(raw.shape[2]))
    return Tied(
        raw.reshape(*raw.shape[:2], n, n),
        raw.reshape(*raw.shape[:2], n, n),
        upright[rows].reshape(len(rows), -1, n, n),
        _mean_shapes(upright).reshape(-1, n, n),
        slots,
        rows,
        columns,
    )


def _mean_shapes(upright: Floats) -> Floats:
    """Mean shape of the kernels in each column, as strong as they are, shape (column, point)."""
    lengths = np.sqrt(np.nansum(upright**2, axis=2, keepdims=True))
    filled = np.nan_to_num(upright / np.maximum(lengths, 1e-30))
    n_filled = np.maximum(np.isfinite(upright).all(2).sum(0)[:, None], 1)
    strength = np.where(lengths > 0, lengths, 0).sum(0) / n_filled
    return np.asarray(filled.sum(0) / n_filled * strength)


def _find_block(
    circuit: Circuit, kept: Sequence[KeptWeights], own: Sequence[Family], units: Sequence[Unit]
) -> Block:
    found: Iterator[Block] = (
        blocks_between_families(kept, own)
        if circuit.is_between_families
        else blocks_with_units(kept, own, units, circuit.transformation)
    )
    return next(block for block in found if block.ends == circuit.ends)


def _units_of(end: CircuitEnd, families: Mapping[str, Family]) -> list[tuple[str, int]]:
    """Layers and channels of the units at one end of a circuit."""
    if end.channel is not None:
        return [(end.layer, end.channel)]
    return [(m.layer, m.channel) for m in families[end.family or ""].members]


def _lay_out(
    block: Block, targets: Sequence[tuple[str, int]], sources: Sequence[tuple[str, int]]
) -> tuple[Floats, Floats, Floats]:
    """Give kernels on the common grid, as they are and stretched to octave 0, and their relative octaves.

    Shapes (target, source, point) and (target, source); NaN where there is no kernel.
    """
    points = _common_grid(block.places)
    raw = np.full((len(targets), len(sources), len(points)), nan)
    upright = raw.copy()
    relative = np.full(raw.shape[:2], nan)
    # As they are, the widest kernels must fit, which need not be those that are widest once they are stretched.
    plain = _common_grid([replace(place, octaves=0.0) for place in block.places])
    plain = points * (np.abs(plain).max() / np.abs(points).max())
    for place in block.places:
        weights = place.weights
        v = targets.index((weights.target, int(weights.targets[place.target])))
        u = sources.index((weights.source, int(weights.sources[place.source])))
        kernel = weights.kernels[place.target, place.source]
        raw[v, u] = weights.stretched(0.0, plain) @ kernel
        upright[v, u] = weights.stretched(place.octaves, points) @ kernel
        relative[v, u] = place.relative
    return raw, upright, relative


def _by_slot(upright: Floats, relative: Floats) -> tuple[Floats, Floats]:
    """Put kernels of a row into columns by their relative octaves; give also these."""
    nearest = np.round(relative / _SLOT_OCTAVES)
    slots = np.unique(nearest[np.isfinite(nearest)])
    placed = np.full((len(upright), len(slots), upright.shape[2]), nan)
    for row in range(len(upright)):
        for index, slot in enumerate(slots):
            if (nearest[row] == slot).any():
                placed[row, index] = upright[row, nearest[row] == slot].mean(0)
    return placed, slots * _SLOT_OCTAVES
