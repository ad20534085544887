"""The circuits of one pair of layers: which families are joined by weights that turn with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.circuits.ends import End, character_values, characters, family_end, invariant_units
from equiscope.circuits.harmonics import KernelBasis, fitted_basis
from equiscope.circuits.paths import ExpandedWeights
from equiscope.circuits.ties import Tie, permutations, predict, tie_equivariant, tie_invariant
from equiscope.families import Family, Unit
from equiscope.significance import bootstrap_weights, family_q_values

__all__ = ["Circuit", "LayerPair", "Tied", "find_circuits", "tie_circuit"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complex = NDArray[np.complex128]
Reals = NDArray[np.floating[Any]]

# Below this many members on the side that is left out, the null is so wide that little can be told.
SMALL = 5
NOT_SYMMETRIC = "not symmetric"
# A simpler class is kept unless the richer one explains more by this much, significantly.
_WORTH_HAVING = 0.01
_MIRROR_TOLERANCE_PX = 1e-6
# Kernels on which the basis is fitted.
_N_SAMPLE = 4000
# Blocks with single units are kept where their weights are at least as strong as the layers' on average.
_LEAST_STRENGTH = 1.0
# Share of a kernel's energy in one cell above which it has no direction to speak of.
_ONE_CELL = 0.95


@dataclass(frozen=True)
class Circuit:
    """The weights from one family, or unit, to another.

    Attributes
    ----------
    id
        ``SOURCE>TARGET``.
    source, target
        Ids of families, or ``layer:channel`` of single units that the transformation leaves as they are.
    source_layer, target_layer
        Their layers.
    transformation
        What ties the weights: ``rotation``, ``hue``, ``hue-rotation``, ``reflection`` or ``contrast``.
    rotation_class, hue_class
        Such as ``invariant→equivariant``, or ``not symmetric``; empty where the transformation does not apply.
    pair_class
        The same under reflection or contrast; otherwise empty. Pairs that are not symmetric are not listed.
    n_source, n_target
        Numbers of members.
    is_small
        Fewer than five members on the side that is left out in turn.
    r2, r2_low, r2_high
        Share of the weight energy of members left out that the template of the others explains, with its 95 %
        bootstrap interval over members. For pairs the share of a member's weights along its partner's transformed
        ones, between two units that do not turn the share that is the same in all directions, both without interval.
    r2_null_95, r2_null_99
        Percentiles of the same with permuted poses; for pairs, with members of other pairs.
    p_value, q_value
        Share of null draws that explain as much (one added), and the estimated share of false ones among all circuits
        of this kind between these layers that stand out as much.
    energy_share
        Share of the weight energy into the target from the whole source layer.
    strength
        Root mean square weight of the block over that of all weights between the layers.
    alternatives
        R² of simpler classes that were compared, by their names.
    """

    id: str
    source: str
    target: str
    source_layer: str
    target_layer: str
    transformation: str
    rotation_class: str
    hue_class: str
    pair_class: str
    n_source: int
    n_target: int
    is_small: bool
    r2: float
    r2_low: float
    r2_high: float
    r2_null_95: float
    r2_null_99: float
    p_value: float
    q_value: float
    energy_share: float
    strength: float
    alternatives: tuple[tuple[str, float], ...] = ()

    @property
    def circuit_class(self) -> str:
        """Its class under what ties it; for hue × rotation both, rotation first."""
        if self.pair_class:
            return self.pair_class
        return " / ".join(dict.fromkeys(c for c in (self.rotation_class, self.hue_class) if c))

    @property
    def is_between_families(self) -> bool:
        """Whether both ends are families, and neither is a single unit."""
        ends = ((self.source, self.source_layer), (self.target, self.target_layer))
        return not any(name.removeprefix(f"{layer}:").isdigit() for name, layer in ends)

    @property
    def is_symmetric(self) -> bool:
        """Whether it has a class at all."""
        return self.circuit_class != NOT_SYMMETRIC


@dataclass(frozen=True)
class _Candidate:
    """A block, how far its R² stands out from its null in the null's standard deviations, and the same of each draw."""

    circuit: Circuit
    deviation: float
    null_deviations: Floats


def _standardised(tie: Tie, block: int = 0) -> Floats:
    """R² less the mean, in standard deviations: of the data first, then of each draw.

    Mean and deviation are over the data and all distinct draws alike. Were the data left out, those of a family of
    three, with its five other orders, would look far from draws that happen to lie close together, whatever they are.
    """
    null = tie.null[:, block]
    both = np.concatenate([tie.r2[block : block + 1], null])
    distinct = np.append(np.unique(np.round(null, 10)), both[0])
    return np.asarray((both - distinct.mean()) / max(float(distinct.std()), 1e-3))


def _p_value(deviations: Floats) -> float:
    """Share of the distinct draws that stand out as much as the data, one added."""
    null = np.unique(np.round(deviations[1:], 8))
    return float((1 + (null >= deviations[0] - 1e-8).sum()) / (1 + len(null)))


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

    def energy_outside(self) -> float:
        """Share of the energy of all kernels that the turning functions cannot hold."""
        missed = self.basis.kernels(self.basis.coefficients(self._sample)) - self._sample
        return float((missed**2).sum() / max(float((self._sample**2).sum()), 1e-30))

    def describe(self, source: Ints, target: Ints) -> tuple[float, float]:
        """Share of the targets' input energy that comes from the sources, and the block's relative strength."""
        block = self.energy[np.ix_(target, source)]
        share = float(block.sum() / max(float(self.energy[target].sum()), 1e-30))
        return share, float(np.sqrt(block.mean() / max(self.mean_energy, 1e-30)))


def find_circuits(
    pair: LayerPair, *, n_draws: int = 200, false_discovery_rate: float = 0.05, seed: int = 0
) -> tuple[Circuit, ...]:
    """Test every two families, and every family with every unit that its transformation leaves as it is.

    Parameters
    ----------
    pair
        The layers.
    n_draws
        Null draws.
    false_discovery_rate
        Largest q-value of a circuit; the others are ``not symmetric``.
    seed
        Of the draws.

    Returns
    -------
    tuple of Circuit
        All blocks between families, also those that are not symmetric, and the symmetric ones between families and
        units.
    """
    rng = np.random.default_rng(seed)
    between = [
        candidate
        for target in pair.targets
        for source in pair.sources
        if (candidate := _between_families(pair, source, target, n_draws, rng)) is not None
    ]
    from_units = [c for target in pair.targets for c in _from_units(pair, target, n_draws, rng)]
    to_units = [c for source in pair.sources for c in _to_units(pair, source, n_draws, rng)]
    circuits = _judge(between, false_discovery_rate)
    between_units = _between_units(pair, n_draws, rng)
    for group in (from_units, to_units, between_units):
        circuits += [c for c in _judge(group, false_discovery_rate) if _is_kept(c)]
    for transformation in ("reflection", "contrast"):
        circuits += _between_pairs(pair, transformation, false_discovery_rate)
    return tuple(circuits)


def _is_kept(circuit: Circuit) -> bool:
    return circuit.is_symmetric and circuit.strength >= _LEAST_STRENGTH


def _judge(candidates: Sequence[_Candidate], rate: float) -> list[Circuit]:
    """Give q-values, from all blocks of a kind together; what does not stand out is not symmetric."""
    if not candidates:
        return []
    draws = np.stack([c.null_deviations for c in candidates], axis=1)
    q_values = family_q_values([c.deviation for c in candidates], list(draws))
    judged = []
    for candidate, q_value in zip(candidates, q_values.tolist(), strict=True):
        circuit = replace(candidate.circuit, q_value=q_value)
        if q_value > rate or circuit.r2 <= 0:
            circuit = replace(
                circuit,
                rotation_class=circuit.rotation_class and NOT_SYMMETRIC,
                hue_class=circuit.hue_class and NOT_SYMMETRIC,
            )
        judged.append(circuit)
    return judged


@dataclass(frozen=True)
class _Problem:
    """One block as the regression sees it: rows are the members that turn kernels and are left out in turn."""

    weights: Complex
    phases: Complex
    inputs: Complex
    outputs: Complex
    is_allowed: NDArray[np.bool_]
    is_transposed: bool


def _problem(pair: LayerPair, source: End, target: End) -> _Problem:
    orders = pair.basis.orders
    weights = pair.coefficients(target.channels, source.channels)
    chosen, is_allowed = characters(source, target, orders)
    is_transposed = target.angles is None and source.angles is not None
    rows = source if is_transposed else target
    angles = np.zeros(rows.size) if rows.angles is None else rows.angles
    phases = np.exp(1j * np.outer(angles, orders))
    if is_transposed:
        # Inputs stand for columns, outputs for rows, and the design is inputs · conj(outputs) = exp(ip(h_u - g_v)).
        (inputs,), (outputs,) = (character_values([end], chosen, -1.0) for end in (target, source))
        return _Problem(weights.swapaxes(0, 1), phases, inputs, outputs, is_allowed, True)
    inputs, outputs = character_values([source, target], chosen, 1.0)
    return _Problem(weights, phases, inputs, outputs, is_allowed, False)


def _between_families(
    pair: LayerPair, source: End, target: End, n_draws: int, rng: np.random.Generator
) -> _Candidate | None:
    has_angle = source.angles is not None or target.angles is not None
    has_hue = source.hues is not None or target.hues is not None
    # What turns at one end must turn or be indifferent at the other.
    if has_angle and not (source.rotation and target.rotation):
        return None
    if has_hue and not has_angle and not (source.hue and target.hue):
        return None
    if has_hue and not has_angle and (source.hues is None or target.hues is None):
        # Hue moves no kernel: that all hues are wired alike cannot be told by permuting them.
        return None
    problem = _problem(pair, source, target)
    draws = permutations((source if problem.is_transposed else target).own_poses, n_draws, rng)
    tie = tie_equivariant(
        problem.weights, problem.phases, problem.inputs, problem.outputs, draws, problem.is_allowed
    )
    rotation_class = f"{source.rotation}→{target.rotation}" if has_angle else ""
    hue_class = f"{source.hue}→{target.hue}" if has_hue and source.hue and target.hue else ""
    alternatives: list[tuple[str, float]] = []
    ties = [tie]
    if source.angles is not None and target.angles is not None:
        richest = tie
        for name, simpler in _simpler_ties(pair, source, target, draws):
            ties.append(simpler)
            alternatives.append((name, float(simpler.r2[0])))
            if _is_as_good(simpler, richest) and (tie is richest or simpler.r2[0] > tie.r2[0]):
                rotation_class, tie = name, simpler
    transformation = "hue-rotation" if has_angle and has_hue else "rotation" if has_angle else "hue"
    candidate = _candidate(
        pair, source, target, tie, 0, transformation, rotation_class, hue_class, tuple(alternatives)
    )
    # The class was chosen among several, so that what stands out must stand out from the best of all in each draw.
    deviations = np.stack([_standardised(own) for own in ties]).max(0)
    circuit = replace(candidate.circuit, p_value=_p_value(deviations))
    return _Candidate(circuit, float(deviations[0]), deviations[1:])


def _simpler_ties(pair: LayerPair, source: End, target: End, draws: Ints) -> list[tuple[str, Tie]]:
    """Ties in which one end's pose makes no difference."""
    still_source = replace(source, angles=None, stabiliser=((0.0, 0.0),)) if source.hues is None else None
    found = []
    if still_source is not None:
        problem = _problem(pair, still_source, target)
        found.append(
            (
                "invariant→equivariant",
                tie_equivariant(
                    problem.weights,
                    problem.phases,
                    problem.inputs,
                    problem.outputs,
                    draws,
                    problem.is_allowed,
                ),
            )
        )
    if target.hues is None and source.hues is None:
        problem = _problem(pair, source, replace(target, angles=None, stabiliser=((0.0, 0.0),)))
        own = permutations(source.own_poses, len(draws), np.random.default_rng(len(draws)))
        found.append(
            (
                "equivariant→invariant",
                tie_equivariant(
                    problem.weights, problem.phases, problem.inputs, problem.outputs, own, problem.is_allowed
                ),
            )
        )
    return found


def _is_as_good(simpler: Tie, richer: Tie) -> bool:
    """Whether a class with less freedom stands out from its null and explains as much, up to chance."""
    if not simpler.r2[0] > np.quantile(simpler.null, 0.95):
        return False
    if len(simpler.residual) != len(richer.residual):
        return bool(simpler.r2[0] >= richer.r2[0] - _WORTH_HAVING)
    draws = bootstrap_weights(np.arange(len(simpler.energy)), 200, np.random.default_rng(0))
    gain = (simpler.residual - richer.residual)[:, 0]
    low = np.quantile((draws @ gain) / (draws @ simpler.energy[:, 0]), 0.025)
    return bool(low <= 0 or simpler.r2[0] >= richer.r2[0] - _WORTH_HAVING)


def _candidate(
    pair: LayerPair,
    source: End,
    target: End,
    tie: Tie,
    block: int,
    transformation: str,
    rotation_class: str = "",
    hue_class: str = "",
    alternatives: tuple[tuple[str, float], ...] = (),
) -> _Candidate:
    share, strength = pair.describe(source.channels, target.channels)
    null = tie.null[:, block]
    r2 = float(tie.r2[block])
    deviations = _standardised(tie, block)
    circuit = Circuit(
        id=f"{source.id}>{target.id}",
        source=source.id,
        target=target.id,
        source_layer=source.layer,
        target_layer=target.layer,
        transformation=transformation,
        rotation_class=rotation_class,
        hue_class=hue_class,
        pair_class="",
        n_source=source.size,
        n_target=target.size,
        is_small=len(tie.residual) < SMALL,
        r2=r2,
        r2_low=float(tie.r2_low[block]),
        r2_high=float(tie.r2_high[block]),
        r2_null_95=float(np.quantile(null, 0.95)) if len(null) else nan,
        r2_null_99=float(np.quantile(null, 0.99)) if len(null) else nan,
        p_value=_p_value(deviations),
        q_value=nan,
        energy_share=share,
        strength=strength,
        alternatives=alternatives,
    )
    return _Candidate(circuit, float(deviations[0]), deviations[1:])


def _unit_ends(pair: LayerPair, layer: str, channels: Ints) -> list[End]:
    return [
        End(f"{layer}:{c}", layer, np.array([c]), None, None, rotation="invariant") for c in channels.tolist()
    ]


def _from_units(pair: LayerPair, target: End, n_draws: int, rng: np.random.Generator) -> list[_Candidate]:
    """Rotation-invariant units that feed a family which turns, a template each."""
    channels = invariant_units(pair.units, pair.weights.source, "rotation")
    if target.angles is None or not len(channels):
        return []
    phases = np.exp(1j * np.outer(target.angles, pair.basis.orders))
    _, is_allowed = characters(_unit_ends(pair, "", channels[:1])[0], target, pair.basis.orders)
    weights = pair.coefficients(target.channels, channels)
    tie = tie_invariant(
        weights, phases, permutations(target.own_poses, n_draws, rng), np.asarray(is_allowed.any(1))
    )
    return [
        _candidate(pair, end, target, tie, i, "rotation", "invariant→equivariant")
        for i, end in enumerate(_unit_ends(pair, pair.weights.source, channels))
    ]


def _to_units(pair: LayerPair, source: End, n_draws: int, rng: np.random.Generator) -> list[_Candidate]:
    """Rotation-invariant units that are fed by a family which turns, a template each."""
    channels = invariant_units(pair.units, pair.weights.target, "rotation")
    if source.angles is None or not len(channels):
        return []
    phases = np.exp(1j * np.outer(source.angles, pair.basis.orders))
    _, is_allowed = characters(source, _unit_ends(pair, "", channels[:1])[0], pair.basis.orders)
    weights = pair.coefficients(channels, source.channels).swapaxes(0, 1)
    tie = tie_invariant(
        weights, phases, permutations(source.own_poses, n_draws, rng), np.asarray(is_allowed.any(1))
    )
    return [
        _candidate(pair, source, end, tie, i, "rotation", "equivariant→invariant")
        for i, end in enumerate(_unit_ends(pair, pair.weights.target, channels))
    ]


def _between_units(pair: LayerPair, n_draws: int, rng: np.random.Generator) -> list[_Candidate]:
    """Units that rotation leaves as they are at both ends: their weights should be the same in all directions.

    R² is the share of the weight energy in the functions that do not turn, the null the same with the kernel's cells in
    random order.
    """
    sources, targets = (
        invariant_units(pair.units, layer, "rotation") for layer in (pair.weights.source, pair.weights.target)
    )
    n_cells = pair.kernels.shape[2]
    if not len(sources) or not len(targets) or n_cells == 1:
        return []
    is_strong = pair.energy[np.ix_(targets, sources)] >= _LEAST_STRENGTH**2 * pair.mean_energy
    rows, columns = np.nonzero(is_strong)
    kernels = pair.kernels[targets[rows], sources[columns]]
    # A kernel of one cell, as behind a 1x1 convolution, is the same in all directions whatever was learned.
    is_wide = (kernels**2).max(1) < _ONE_CELL * (kernels**2).sum(1)
    rows, columns, kernels = rows[is_wide], columns[is_wide], kernels[is_wide]
    if not len(rows):
        return []
    still = pair.basis.orders == 0

    def share(order: Ints) -> Floats:
        energy = np.abs(pair.basis.coefficients(kernels[:, order])) ** 2
        return np.asarray(energy[:, still].sum(1) / np.maximum(energy.sum(1), 1e-30))

    r2 = share(np.arange(n_cells))
    # Half as many draws: thousands of blocks share them.
    null = np.stack([share(rng.permutation(n_cells)) for _ in range(-(-n_draws // 2))])
    nothing = np.zeros((1, len(r2)))
    tie = Tie(r2, np.full(len(r2), nan), np.full(len(r2), nan), null, nothing, nothing)
    ends_in, ends_out = (
        _unit_ends(pair, layer, channels)
        for layer, channels in ((pair.weights.source, sources), (pair.weights.target, targets))
    )
    candidates = [
        _candidate(pair, ends_in[u], ends_out[v], tie, i, "rotation", "invariant→invariant")
        for i, (v, u) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True))
    ]
    # No members are left out.
    return [replace(c, circuit=replace(c.circuit, is_small=False)) for c in candidates]


# Reflection and contrast: families of two ---------------------------------------------------------------------------


def _mirrored(pair: LayerPair, kernels: Reals) -> Reals | None:
    """Mirror kernels left to right; None where their cells do not mirror onto each other."""
    x_px = pair.weights.x_px
    if np.abs(x_px + x_px[::-1]).max() > _MIRROR_TOLERANCE_PX:
        return None
    shape = kernels.shape
    grid = kernels.reshape(*shape[:-1], len(pair.weights.y_px), len(x_px))
    return grid[..., ::-1].reshape(shape)


def _between_pairs(pair: LayerPair, transformation: str, false_discovery_rate: float) -> list[Circuit]:
    """Pairs of units, with each other and with units that the transformation leaves as they are.

    Each member's weights are told from its partner's alone: R² is the share of their energy along the partner's
    transformed weights, negative where they point away. The null are partners from other pairs.
    """
    changed = pair.kernels if transformation == "contrast" else _mirrored(pair, pair.kernels)
    if changed is None:
        return []

    def pairs_of(layer: str) -> list[End]:
        return [
            End(f.id, f.layer, f.channels, None, None)
            for f in pair.families
            if (f.layer, f.transformation) == (layer, transformation) and f.size == 2
        ]

    def units_of(layer: str) -> list[End]:
        channels = invariant_units(pair.units, layer, transformation)
        return [End(f"{layer}:{c}", layer, np.array([c]), None, None) for c in channels.tolist()]

    pairs_in, pairs_out = pairs_of(pair.weights.source), pairs_of(pair.weights.target)
    n_target = len(pair.kernels)

    def incoming(kernels: Reals, channels: Ints) -> Reals:
        return kernels[:, channels].reshape(n_target, -1)

    blocks = {
        "invariant→equivariant": (
            pairs_out,
            units_of(pair.weights.source),
            lambda end: (incoming(pair.kernels, end.channels), incoming(changed, end.channels)),
        ),
        "equivariant→equivariant": (
            pairs_out,
            pairs_in,
            lambda end: (incoming(pair.kernels, end.channels), incoming(changed, end.channels[::-1])),
        ),
        "equivariant→invariant": (
            pairs_in,
            units_of(pair.weights.target),
            lambda end: (pair.kernels[end.channels[0]], changed[end.channels[0]]),
        ),
    }
    circuits = []
    for kind, (partners, others, rows_of) in blocks.items():
        if len(partners) >= 3 and others:
            circuits += _judge_pairs(
                pair, transformation, kind, partners, others, rows_of, false_discovery_rate
            )
    return circuits


def _judge_pairs(
    pair: LayerPair,
    transformation: str,
    kind: str,
    partners: Sequence[End],
    others: Sequence[End],
    rows_of: Callable[[End], tuple[Reals, Reals]],
    rate: float,
) -> list[Circuit]:
    """Compare partners for each end at the other side; ``rows_of`` gives every unit's weights, and them transformed."""
    n = len(partners)
    first, second = (np.array([p.channels[i] for p in partners]) for i in (0, 1))
    off = ~np.eye(n, dtype=bool)
    r2, nulls = [], []
    for other in others:
        plain, transformed = rows_of(other)
        x, y = plain[first].astype(np.float64), transformed[second].astype(np.float64)
        size = np.sqrt((x**2).sum(1)[:, None] * (y**2).sum(1)[None])
        cosine = (x @ y.T) / np.maximum(size, 1e-30)
        share = np.sign(cosine) * cosine**2
        r2.append(share.diagonal())
        # Partners from other pairs, on either side, in an order that differs between pairs.
        strangers = np.concatenate([share.T[off].reshape(n, n - 1), share[off].reshape(n, n - 1)], axis=1)
        nulls.append(np.stack([np.roll(row, 7 * i) for i, row in enumerate(strangers)]))
    found, null = np.stack(r2), np.stack(nulls)  # (other, partner), (other, partner, draw)
    spread = np.maximum(null.std(2), 1e-3)
    deviation = (found - null.mean(2)) / spread
    null_deviation = (null - null.mean(2, keepdims=True)) / spread[..., None]
    q_values = family_q_values(
        deviation.ravel().tolist(), list(null_deviation.reshape(-1, null.shape[2]).T)
    ).reshape(found.shape)
    circuits = []
    for i, j in zip(*np.nonzero((q_values <= rate) & (found > 0)), strict=True):
        ends = (partners[j], others[i]) if kind.endswith("→invariant") else (others[i], partners[j])
        share_of, strength = pair.describe(ends[0].channels, ends[1].channels)
        if strength < _LEAST_STRENGTH:
            continue
        null_95, null_99 = np.quantile(null[i, j], (0.95, 0.99))
        n_as_good = int((null[i, j] >= found[i, j]).sum())
        circuits.append(
            Circuit(
                id=f"{ends[0].id}>{ends[1].id}",
                source=ends[0].id,
                target=ends[1].id,
                source_layer=ends[0].layer,
                target_layer=ends[1].layer,
                transformation=transformation,
                rotation_class="",
                hue_class="",
                pair_class=kind,
                n_source=ends[0].size,
                n_target=ends[1].size,
                is_small=True,
                r2=float(found[i, j]),
                r2_low=nan,
                r2_high=nan,
                r2_null_95=float(null_95),
                r2_null_99=float(null_99),
                p_value=(1 + n_as_good) / (1 + null.shape[2]),
                q_value=float(q_values[i, j]),
                energy_share=share_of,
                strength=strength,
            )
        )
    return circuits


# What one circuit looks like ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tied:
    """The weights of one circuit, those that its template gives, and the pictures of both.

    Attributes
    ----------
    raw, tied
        Kernels, shape (target member, source member, y, x).
    reordered
        The raw kernels turned back to pose 0, one row a member that turns, shape (row, slot, y, x): slots are relative
        poses where both ends turn, otherwise the units at the other end. NaN where a slot is empty.
    template
        The template at each slot, shape (slot, y, x).
    slots
        Relative poses, degrees, shape (slot,); empty where slots are units.
    rows, columns
        Order of the rows by pose, and of slots where they are units: places in the family.
    """

    raw: Floats
    tied: Floats
    reordered: Floats
    template: Floats
    slots: Floats
    rows: Ints
    columns: Ints


_N_SLOTS = 16


def tie_circuit(pair: LayerPair, source: End, target: End, *, wrong_pose: bool = False) -> Tied:
    """Fit the template of one block to all of its members.

    Parameters
    ----------
    pair, source, target
        The block.
    wrong_pose
        Give as ``tied`` what the template says for output poses half a period away: of the plane, or of hue where the
        plane does not turn.
    """
    problem = _problem(pair, source, target)
    template, tied = predict(
        problem.weights, problem.phases, problem.inputs, problem.outputs, problem.is_allowed
    )
    rows_end, columns_end = (source, target) if problem.is_transposed else (target, source)
    if wrong_pose:
        order = max(len({angle for _, angle in rows_end.stabiliser}), 1)
        turned = (
            _problem(pair, source, _turned(target, np.pi / order))
            if not problem.is_transposed
            else _problem(pair, _turned(source, np.pi / order), target)
        )
        design = turned.inputs[None] * turned.outputs.conj()[:, None]
        tied = np.einsum("vuc,ck->vuk", design, template) * turned.phases.conj()[:, None]
    n_y, n_x = len(pair.weights.y_px), len(pair.weights.x_px)
    kernels = pair.basis.kernels(tied.swapaxes(0, 1) if problem.is_transposed else tied)
    raw = pair.kernels[np.ix_(target.channels, source.channels)]
    upright = pair.basis.kernels(problem.weights * problem.phases[:, None])
    turns = rows_end.angles if rows_end.angles is not None else rows_end.hues
    rows = np.arange(rows_end.size) if turns is None else np.argsort(turns)
    relative = _relative_poses(rows_end, columns_end)
    if relative is None:
        columns = np.arange(columns_end.size)
        if columns_end.hues is not None:
            columns = np.argsort(columns_end.hues)
        reordered = upright[np.ix_(rows, columns)]
        shown = pair.basis.kernels(np.einsum("uc,ck->uk", problem.inputs[columns], template))
        slots = np.zeros(0)
    else:
        columns = np.zeros(0, np.int64)
        slots = np.arange(_N_SLOTS) * 360.0 / _N_SLOTS
        nearest = np.round(relative[rows] / (2 * np.pi / _N_SLOTS)).astype(int) % _N_SLOTS
        reordered = np.full((len(rows), _N_SLOTS, n_y * n_x), np.nan)
        for i, row in enumerate(rows.tolist()):
            for slot in range(_N_SLOTS):
                if (nearest[i] == slot).any():
                    reordered[i, slot] = upright[row, nearest[i] == slot].mean(0)
        chosen = characters(source, target, pair.basis.orders)[0]
        axis = 0 if source.angles is not None and target.angles is not None else 1
        sign = -1.0 if problem.is_transposed else 1.0
        at = np.exp(1j * sign * np.outer(np.radians(slots), chosen[:, axis]))
        shown = pair.basis.kernels(np.einsum("sc,ck->sk", at, template))
    shape = (n_y, n_x)
    return Tied(
        raw.reshape(*raw.shape[:2], *shape).astype(np.float64),
        kernels.reshape(*kernels.shape[:2], *shape),
        reordered.reshape(*reordered.shape[:2], *shape),
        shown.reshape(-1, *shape),
        slots,
        rows,
        columns,
    )


def _turned(end: End, angle: float) -> End:
    if end.angles is not None:
        return replace(end, angles=end.angles + angle)
    return replace(end, hues=None if end.hues is None else end.hues + np.pi)


def _relative_poses(rows: End, columns: End) -> Floats | None:
    """Poses of columns less those of rows, radians, of the plane or else of hue, shape (row, column)."""
    for a, b in ((rows.angles, columns.angles), (rows.hues, columns.hues)):
        if a is not None and b is not None:
            return np.asarray(b[None] - a[:, None])
    return None
