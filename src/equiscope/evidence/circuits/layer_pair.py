"""The weights between two layers with the families at both ends, in functions that turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.ends import End, character_values, characters, family_end
from equiscope.evidence.circuits.harmonics import KernelBasis, fitted_basis
from equiscope.evidence.circuits.paths import ExpandedWeights
from equiscope.evidence.circuits.ties import Tie, tie_equivariant
from equiscope.families.family import Family, Unit

__all__ = ["LayerPair", "Problem", "problem_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complex = NDArray[np.complex128]

# Kernels on which the basis is fitted.
_N_SAMPLE = 4000


class LayerPair:
    """Expanded weights between two layers, in coefficients that turn, and the units at both ends."""

    def __init__(
        self,
        weights: ExpandedWeights,
        families: Sequence[Family],
        units: Sequence[Unit],
        most_order: int = 11,
    ) -> None:
        self.weights = weights
        n_target, n_source = weights.weights.shape[:2]
        self.kernels = weights.weights.reshape(n_target, n_source, -1)
        rng = np.random.default_rng(0)
        chosen = rng.integers(0, n_target, _N_SAMPLE), rng.integers(0, n_source, _N_SAMPLE)
        self._sample = self.kernels[chosen].astype(np.float64)
        self.basis: KernelBasis = fitted_basis(weights.cells(), self._sample, most=most_order)
        self.energy = (self.kernels.astype(np.float64) ** 2).sum(2)
        self.energy_in = self.energy.sum(1)
        self.mean_energy = float(self.energy.mean())
        self.units = units
        self.families = families
        self.sources = self._ends(weights.source)
        self.targets = self._ends(weights.target)

    def _ends(self, layer: str) -> list[End]:
        found = (family_end(family) for family in self.families if family.layer == layer)
        return [end for end in found if end is not None]

    def coefficients(self, targets: Ints, sources: Ints) -> Complex:
        """Coefficients of a block of kernels, shape (target, source, function)."""
        return self.basis.coefficients(self.kernels[np.ix_(targets, sources)])

    def noise(self, targets: Ints, sources: Ints) -> Complex | None:
        """Coefficients of a draw of the block's sampling error; None where its weights have none."""
        if self.weights.noise is None:
            return None
        own = self.weights.noise[np.ix_(targets, sources)]
        return self.basis.coefficients(own.reshape(*own.shape[:2], -1))

    def energy_outside(self) -> float:
        """Share of the energy of all kernels that the turning functions cannot hold."""
        missed = self.basis.kernels(self.basis.coefficients(self._sample)) - self._sample
        return float((missed**2).sum() / max(float((self._sample**2).sum()), 1e-30))

    def noise_share(self, source: Ints, target: Ints) -> float:
        """Share of a block's energy that is sampling error, in [0, 1]; NaN where it has none at all."""
        energy = float(self.energy[np.ix_(target, source)].sum())
        if self.weights.noise is None or not energy:
            return 0.0 if energy else nan
        noise = self.weights.noise[np.ix_(target, source)].astype(np.float64)
        return min(float((noise**2).sum()) / energy, 1.0)

    def describe(self, source: Ints, target: Ints) -> tuple[float, float]:
        """Share of the targets' input energy that comes from the sources, and the block's relative strength."""
        block = self.energy[np.ix_(target, source)]
        share = float(block.sum() / max(float(self.energy_in[target].sum()), 1e-30))
        return share, float(np.sqrt(block.mean() / max(self.mean_energy, 1e-30)))


@dataclass(frozen=True)
class Problem:
    """One block as the regression sees it: rows are the members that turn kernels and are left out in turn."""

    weights: Complex
    phases: Complex
    inputs: Complex
    outputs: Complex
    is_allowed: NDArray[np.bool_]
    is_transposed: bool
    noise: Complex | None = None

    def tie(self, draws: Ints) -> Tie:
        """Tie the block to one template; ``draws`` are permutations of its rows' poses."""
        return tie_equivariant(
            self.weights, self.phases, self.inputs, self.outputs, draws, self.is_allowed, self.noise
        )


def problem_of(pair: LayerPair, source: End, target: End) -> Problem:
    """Set up the regression of one block; the source's members are its rows where the target does not turn.

    Examples
    --------
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> pair = LayerPair(weights, planted.families, planted.units)
    >>> problem_of(pair, pair.sources[0], pair.targets[0]).weights.shape[:2]  # eight rows, nine inputs
    (8, 9)
    """
    orders = pair.basis.orders
    weights = pair.coefficients(target.channels, source.channels)
    noise = pair.noise(target.channels, source.channels)
    chosen, is_allowed = characters(source, target, orders)
    is_transposed = target.angles is None and source.angles is not None
    rows = source if is_transposed else target
    angles = np.zeros(rows.size) if rows.angles is None else rows.angles
    phases = np.exp(1j * np.outer(angles, orders))
    if is_transposed:
        # Inputs stand for columns, outputs for rows, and the design is inputs · conj(outputs) = exp(ip(h_u - g_v)).
        (inputs,), (outputs,) = (character_values([end], chosen, -1.0) for end in (target, source))
        noise = None if noise is None else noise.swapaxes(0, 1)
        return Problem(weights.swapaxes(0, 1), phases, inputs, outputs, is_allowed, True, noise)
    inputs, outputs = character_values([source, target], chosen, 1.0)
    return Problem(weights, phases, inputs, outputs, is_allowed, False, noise)
