"""What is kept of the weights between two layers until all layers are known: kernels that scale or hue may tie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.ends import invariant_units
from equiscope.evidence.circuits.harmonics import KernelBasis
from equiscope.evidence.circuits.layer_pair import LayerPair

__all__ = ["KeptWeights", "keep_weights"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Reals = NDArray[np.floating[Any]]

# Share of a unit's kernels' energy in one cell above which they have no form to speak of.
_ONE_CELL = 0.95


@dataclass(frozen=True)
class KeptWeights:
    """What is kept of the weights between two layers: kernels of the units that may take part, of mean energy 1.

    Attributes
    ----------
    source, target
        The layers.
    sources, targets
        Channels that were kept, rising, shapes (source,) and (target,).
    kernels
        Shape (target, source, cell).
    energy
        Of each kernel, shape (target, source).
    energy_in
        Energy into each target from the whole source layer, shape (target,).
    basis
        In which kernels are stretched.
    cells_px
        Places (x, y) of the cells, y upwards, px, shape (cell, 2).
    stride_px
        Distance of neighbouring cells.
    """

    source: str
    target: str
    sources: Ints
    targets: Ints
    kernels: Reals
    energy: Floats
    energy_in: Floats
    basis: KernelBasis
    cells_px: Floats
    stride_px: float

    @cached_property
    def is_wide(self) -> NDArray[np.bool_]:
        """Whether the kernels onto a unit have more than one cell, shape (target,)."""
        squares = self.kernels.astype(float) ** 2
        return np.asarray(squares.max(2).sum(1) < _ONE_CELL * squares.sum((1, 2)))

    def stretched(self, octaves: float, points_px: Floats) -> Floats:
        """Give what takes kernels, made smaller by ``octaves``, to ``points_px``, shape (point, cell)."""
        places = points_px * 2.0**octaves
        rim = np.abs(self.cells_px).max(0) + self.stride_px / 2
        inside = (np.abs(places) <= rim + 1e-9).all(1)
        functions = self.basis.at(places / self.stride_px)
        real = (functions @ self.basis.analyse).real
        return np.where(inside[:, None], real, 0.0)


def keep_weights(pair: LayerPair, transformation: str) -> KeptWeights | None:
    """Select the kernels between members of families under a transformation and units that are invariant to it.

    Examples
    --------
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> keep_weights(LayerPair(weights, planted.families, planted.units), "rotation").kernels.shape
    (17, 19, 81)
    """
    weights = pair.weights
    ends = []
    for layer in (weights.source, weights.target):
        channels = [
            m.channel
            for family in pair.families
            if family.transformation == transformation
            for m in family.members
            if m.layer == layer
        ]
        still = invariant_units(pair.units, layer, transformation)
        ends.append(np.unique(np.concatenate([np.array(channels, dtype=np.int64), still])))
    sources, targets = ends
    if not len(sources) or not len(targets):
        return None
    size = max(pair.mean_energy, 1e-30)
    kernels = pair.kernels[np.ix_(targets, sources)] / np.float32(np.sqrt(size))
    return KeptWeights(
        weights.source, weights.target, sources, targets, kernels,
        pair.energy[np.ix_(targets, sources)] / size, pair.energy_in[targets] / size,
        pair.basis, weights.cells() * weights.stride_px, weights.stride_px,
    )  # fmt: skip
