"""Circuits of transformations that undo themselves: each member of a pair is told from its partner's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import LEAST_STRENGTH, Circuit, Kinds, circuit_id
from equiscope.evidence.circuits.ends import End, invariant_units
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.foundations.statistics import family_q_values
from equiscope.transformations import Transformation

__all__ = ["find_pair_circuits"]

Ints = NDArray[np.int64]
Reals = NDArray[np.floating[Any]]


def _changed(pair: LayerPair, transformation: Transformation) -> Reals | None:
    """Kernels of units that are the others transformed; None where their cells do not fall onto each other."""
    weights, kernels = pair.weights, pair.kernels
    grid = kernels.reshape(*kernels.shape[:-1], len(weights.y_px), len(weights.x_px))
    changed = transformation.change_kernels(grid, weights.y_px, weights.x_px)
    return None if changed is None else changed.reshape(kernels.shape)


def find_pair_circuits(
    pair: LayerPair, transformation: Transformation, false_discovery_rate: float
) -> list[Circuit]:
    """Find circuits of pairs of units with each other, and with units that are invariant to the transformation.

    Each member's weights are told from its partner's alone: R² is the share of their energy along the partner's
    transformed weights, negative where they point away. The null are partners from other pairs.

    Examples
    --------
    Weights that stay the same where both units are exchanged for their partners.

    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.families.family import Family, Member
    >>> from equiscope.transformations import Pose, find
    >>> def pair_of(layer, i):
    ...     members = [Member(layer, channel, Pose(), 0.9, 0.8, 1.0) for channel in (2 * i, 2 * i + 1)]
    ...     return Family(f"{layer}-contrast-{i}", (layer,), "contrast", 0.9, 0.8, 1.0, 0.01, members)
    >>> families = [pair_of(layer, i) for layer in ("early", "late") for i in range(4)]
    >>> drawn, partner = np.random.default_rng(0).normal(size=(8, 8, 3, 3)), np.arange(8) ^ 1
    >>> kernels, place = drawn + drawn[partner][:, partner], np.arange(-1.0, 2.0)
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> found = find_pair_circuits(LayerPair(weights, families, []), find("contrast"), 0.05)
    >>> found[0].pair_class, round(found[0].r2, 3)
    ('equivariant→equivariant', 1.0)
    """
    changed, name = _changed(pair, transformation), transformation.name
    if changed is None:
        return []
    circuits = []
    for kinds, (partners, others, rows_of) in _blocks(pair, changed, name).items():
        if len(partners) >= 3 and others:
            circuits += _judge_pairs(pair, name, kinds, partners, others, rows_of, false_discovery_rate)
    return circuits


# Pairs at one side, what stands at the other, and of an end there every unit's weights, and these transformed.
_Block = tuple[Sequence[End], Sequence[End], Callable[[End], tuple[Reals, Reals]]]


def _blocks(pair: LayerPair, changed: Reals, name: str) -> dict[Kinds, _Block]:
    """List what is compared: pairs with pairs, and with units at either side that the transformation leaves."""

    def pairs_of(layer: str) -> list[End]:
        return [
            End(f.id, layer, f.channels, None, None)
            for f in pair.families
            if (f.layers, f.transformation) == ((layer,), name) and f.size == 2
        ]

    def units_of(layer: str) -> list[End]:
        channels = invariant_units(pair.units, layer, name)
        return [End(None, layer, np.array([c]), None, None) for c in channels.tolist()]

    pairs_in, pairs_out = pairs_of(pair.weights.source), pairs_of(pair.weights.target)
    n_target = len(pair.kernels)

    def incoming(kernels: Reals, channels: Ints) -> Reals:
        return kernels[:, channels].reshape(n_target, -1)

    return {
        ("invariant", "equivariant"): (
            pairs_out,
            units_of(pair.weights.source),
            lambda end: (incoming(pair.kernels, end.channels), incoming(changed, end.channels)),
        ),
        ("equivariant", "equivariant"): (
            pairs_out,
            pairs_in,
            lambda end: (incoming(pair.kernels, end.channels), incoming(changed, end.channels[::-1])),
        ),
        ("equivariant", "invariant"): (
            pairs_in,
            units_of(pair.weights.target),
            lambda end: (pair.kernels[end.channels[0]], changed[end.channels[0]]),
        ),
    }


def _judge_pairs(
    pair: LayerPair,
    transformation: str,
    kinds: Kinds,
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
        cosine = np.clip((x @ y.T) / np.maximum(size, 1e-30), -1.0, 1.0)
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
        ends = (partners[j], others[i]) if kinds[1] == "invariant" else (others[i], partners[j])
        share_of, strength = pair.describe(ends[0].channels, ends[1].channels)
        if strength < LEAST_STRENGTH:
            continue
        null_95, null_99 = np.quantile(null[i, j], (0.95, 0.99))
        n_as_good = int((null[i, j] >= found[i, j]).sum())
        circuits.append(
            Circuit(
                id=circuit_id(ends[0].named.name, ends[1].named.name),
                ends=(ends[0].named, ends[1].named),
                transformation=transformation,
                kinds={transformation: kinds},
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
