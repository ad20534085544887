"""The circuits of one pair of layers: which families are joined by weights that turn with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import (
    LEAST_STRENGTH,
    SMALL,
    Candidate,
    Circuit,
    Kinds,
    circuit_id,
    judge,
    standardised,
)
from equiscope.evidence.circuits.classes import choose_class, fit_classes
from equiscope.evidence.circuits.ends import End, characters, invariant_units, unit_end
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.partners import find_pair_circuits
from equiscope.evidence.circuits.ties import (
    Tie,
    permutations,
    tie_invariant,
)
from equiscope.evidence.circuits.tying_axes import COLOURING, TURNING, TURNING_AND_COLOURING, is_pair
from equiscope.transformations import in_order

__all__ = ["find_circuits"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Share of a kernel's energy in one cell above which it has no direction to speak of.
_ONE_CELL = 0.95
# Kernels between other units that show how round kernels of two layers are anyway, and how few of them show nothing.
_MOST_STRANGERS, _FEWEST_STRANGERS = 2000, 20


def find_circuits(
    pair: LayerPair, *, n_draws: int = 200, false_discovery_rate: float = 0.05, seed: int = 0
) -> tuple[Circuit, ...]:
    """Test weights between every two families, and between every family and the units invariant to its transformation.

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

    Examples
    --------
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> circuits = find_circuits(LayerPair(weights, planted.families, planted.units), n_draws=20)
    >>> len(circuits), circuits[0].id, circuits[0].rotation_class
    (16, 'early-rotation-0>late-rotation-0', 'equivariant→equivariant')
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
    circuits = judge(between, false_discovery_rate)
    between_units = _between_units(pair, n_draws, rng)
    for group in (from_units, to_units, between_units):
        circuits += [c for c in judge(group, false_discovery_rate) if _is_kept(c)]
    pairs = in_order(family.transformation for family in pair.families if is_pair(family.transformation))
    for transformation in pairs:
        circuits += find_pair_circuits(pair, transformation, false_discovery_rate)
    return tuple(circuits)


def _is_kept(circuit: Circuit) -> bool:
    return circuit.is_symmetric and circuit.strength >= LEAST_STRENGTH


def _between_families(
    pair: LayerPair, source: End, target: End, n_draws: int, rng: np.random.Generator
) -> Candidate | None:
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
    rows = source if target.angles is None and source.angles is not None else target
    fits = fit_classes(pair, source, target, permutations(rows.own_poses, n_draws, rng))
    chosen = choose_class(fits)
    kinds: dict[str, Kinds | None] = {}
    if has_angle:
        kinds[TURNING] = chosen.kinds
    if has_hue and source.hue and target.hue:
        kinds[COLOURING] = source.hue, target.hue
    alternatives = tuple((fit.kinds, float(fit.tie.r2[0])) for fit in fits[1:])
    ties = [fit.tie for fit in fits]
    transformation = TURNING_AND_COLOURING if has_angle and has_hue else TURNING if has_angle else COLOURING
    # The class was chosen among several, so that what stands out must stand out from the best of all in each draw.
    deviations = standardised(
        np.concatenate([own.r2 for own in ties]), np.concatenate([own.null for own in ties], axis=1)
    ).max(1, keepdims=True)
    (candidate,) = _candidates(
        pair, [(source, target)], chosen.tie, transformation, kinds, alternatives, deviations
    )
    return candidate


def _candidates(
    pair: LayerPair,
    ends: Sequence[tuple[End, End]],
    tie: Tie,
    transformation: str,
    kinds: dict[str, Kinds | None],
    alternatives: tuple[tuple[Kinds, float], ...] = (),
    deviations: Floats | None = None,
) -> list[Candidate]:
    """Make candidates of all blocks of a tie; their ends are given in the order of the blocks."""
    if deviations is None:
        deviations = standardised(tie.r2, tie.null)
    intervals = tie.interval().T.tolist()
    found = []
    for block, (source, target) in enumerate(ends):
        share, strength = pair.describe(source.channels, target.channels)
        low, high = intervals[block]
        circuit = Circuit(
            id=circuit_id(source.named.name, target.named.name),
            ends=(source.named, target.named),
            transformation=transformation,
            kinds=kinds,
            n_source=source.size,
            n_target=target.size,
            is_small=len(tie.residual) < SMALL,
            r2=float(tie.r2[block]),
            r2_low=low,
            r2_high=high,
            r2_null_95=nan,
            r2_null_99=nan,
            p_value=nan,
            q_value=nan,
            energy_share=share,
            strength=strength,
            alternatives=alternatives,
            noise_share=pair.noise_share(source.channels, target.channels),
        )
        found.append(Candidate(circuit, tie.null[:, block], deviations[:, block]))
    return found


def _unit_ends(layer: str, channels: Ints) -> list[End]:
    return [unit_end(layer, channel) for channel in channels.tolist()]


def _from_units(pair: LayerPair, target: End, n_draws: int, rng: np.random.Generator) -> list[Candidate]:
    """Rotation-invariant units that feed a family which turns, a template each."""
    channels = invariant_units(pair.units, pair.weights.source, TURNING)
    if target.angles is None or not len(channels):
        return []
    phases = np.exp(1j * np.outer(target.angles, pair.basis.orders))
    _, is_allowed = characters(unit_end("", int(channels[0])), target, pair.basis.orders)
    weights = pair.coefficients(target.channels, channels)
    tie = tie_invariant(
        weights, phases, permutations(target.own_poses, n_draws, rng), np.asarray(is_allowed.any(1))
    )
    ends = [(end, target) for end in _unit_ends(pair.weights.source, channels)]
    return _candidates(pair, ends, tie, TURNING, {TURNING: ("invariant", "equivariant")})


def _to_units(pair: LayerPair, source: End, n_draws: int, rng: np.random.Generator) -> list[Candidate]:
    """Rotation-invariant units that are fed by a family which turns, a template each."""
    channels = invariant_units(pair.units, pair.weights.target, TURNING)
    if source.angles is None or not len(channels):
        return []
    phases = np.exp(1j * np.outer(source.angles, pair.basis.orders))
    _, is_allowed = characters(source, unit_end("", int(channels[0])), pair.basis.orders)
    weights = pair.coefficients(channels, source.channels).swapaxes(0, 1)
    tie = tie_invariant(
        weights, phases, permutations(source.own_poses, n_draws, rng), np.asarray(is_allowed.any(1))
    )
    ends = [(source, end) for end in _unit_ends(pair.weights.target, channels)]
    return _candidates(pair, ends, tie, TURNING, {TURNING: ("equivariant", "invariant")})


def _between_units(pair: LayerPair, n_draws: int, rng: np.random.Generator) -> list[Candidate]:
    """Units that rotation leaves as they are at both ends: their weights should be the same in all directions.

    R² is the share of the weight energy in the functions that do not turn, the null the same of kernels between other
    units of the layers: whatever comes through a pool, or through several layers, is round to some degree.
    """
    sources, targets = (
        invariant_units(pair.units, layer, TURNING) for layer in (pair.weights.source, pair.weights.target)
    )
    if not len(sources) or not len(targets) or pair.kernels.shape[2] == 1:
        return []
    is_between = np.zeros(pair.energy.shape, dtype=bool)
    is_between[np.ix_(targets, sources)] = True
    is_strong = pair.energy >= LEAST_STRENGTH**2 * pair.mean_energy
    rows, columns = np.nonzero(is_between & is_strong)
    strangers = rng.permutation(np.argwhere(~is_between & is_strong))[:_MOST_STRANGERS]
    rows, columns, r2 = _roundness(pair, rows, columns)
    *_, others = _roundness(pair, *strangers.T)
    if not len(r2) or len(others) < _FEWEST_STRANGERS:
        return []
    null = rng.choice(others, (n_draws, len(r2)))
    # No members are left out, and none to draw for an interval.
    nothing = np.full((1, len(r2)), nan)
    ends = [
        (unit_end(pair.weights.source, u), unit_end(pair.weights.target, v))
        for v, u in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    candidates = _candidates(
        pair,
        ends,
        Tie(r2, null, nothing, nothing, nothing, nothing),
        TURNING,
        {TURNING: ("invariant", "invariant")},
    )
    return [replace(c, circuit=replace(c.circuit, is_small=False)) for c in candidates]


def _roundness(pair: LayerPair, rows: Ints, columns: Ints) -> tuple[Ints, Ints, Floats]:
    """Share of each kernel's energy in the functions that do not turn, of kernels of more than one cell; and those."""
    kernels = pair.kernels[rows, columns]
    # A kernel of one cell, as behind a 1x1 convolution, is the same in all directions whatever was learned.
    is_wide = (kernels**2).max(1) < _ONE_CELL * (kernels**2).sum(1)
    energy = np.abs(pair.basis.coefficients(kernels[is_wide])) ** 2
    still = energy[:, pair.basis.orders == 0].sum(1)
    return rows[is_wide], columns[is_wide], np.minimum(still / np.maximum(energy.sum(1), 1e-30), 1.0)
