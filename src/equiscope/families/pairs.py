"""Pairs of units under a transformation that undoes itself: left-right reflection, contrast inversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import Family, LayerFamilies, Member, classify_units, summarise_null
from equiscope.families.synchronisation import INVARIANCE_CUT, MIN_SCORE, keep_company
from equiscope.foundations.statistics import (
    bootstrap_weights,
    family_q_values,
    percentile_interval,
    resample_correlation,
)
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import Involution

__all__ = ["PairCorrelations", "correlate_pairs", "find_pairs", "joint_pair_tuning"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_N_RESAMPLES = 200
# A unit that is fairly symmetric is still handed if another unit is this many times nearer to its transformed copy
# than it is itself: the ratio that parts members from outliers in families.
_MUCH_NEARER = 3.0


@dataclass(frozen=True)
class PairCorrelations:
    """Correlation of all pairs of units as they are, and with one of the two transformed; shape (unit, unit) both.

    NaN for units that did not vary.
    """

    same: Floats
    changed: Floats

    @property
    def margin(self) -> Floats:
        """By how much each pair correlates better transformed than as it is."""
        return self.changed - self.same

    @property
    def gain(self) -> Floats:
        """Share of what each pair lacks to being alike that transforming one of them supplies: 1 for exact copies."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.same < 1, self.margin / (1 - self.same), np.nan)


def correlate_pairs(
    responses: Responses[Involution], half: int, *, scramble: np.random.Generator | None = None
) -> PairCorrelations:
    """Correlate all pairs of units over stimuli and both elements, on one half of the images.

    ``scramble``: the null, in which each (stimulus, unit) has its two elements exchanged or not at random, so that a
    pair correlates as well transformed as not.
    """
    values = _read(responses, half)
    if scramble is not None:
        exchanged = scramble.integers(0, 2, (len(values), 1, values.shape[2])).astype(bool)
        values = np.where(exchanged, values[:, ::-1], values)
    flat = values.reshape(-1, values.shape[2])
    turned = values[:, ::-1].reshape(-1, values.shape[2])
    mean, sd = flat.mean(0), flat.std(0)
    sd = np.where(sd > 1e-3 * mean + 1e-12, sd, np.nan)
    scale = len(flat) * np.outer(sd, sd)
    centred, turned = flat - mean, turned - mean
    return PairCorrelations(
        np.asarray(centred.T @ centred / scale, np.float64),
        np.asarray(turned.T @ centred / scale, np.float64),
    )


def _read(responses: Responses[Involution], half: int) -> NDArray[np.float32]:
    first, last = responses.of_half(half)
    return responses.read(first, last)


def _mutually_best(correlations: PairCorrelations, eligible: Ints, min_score: float) -> list[tuple[int, int]]:
    """Pairs of which each is the other's best transformed copy, better than untransformed."""
    height = correlations.changed[np.ix_(eligible, eligible)].copy()
    np.fill_diagonal(height, -np.inf)
    height = np.nan_to_num(height, nan=-np.inf)
    if len(eligible) < 2:
        return []
    best = height.argmax(1)
    return [
        (int(eligible[u]), int(eligible[v]))
        for u, v in enumerate(best.tolist())
        if u < v
        and best[v] == u
        and height[u, v] >= min_score
        and correlations.margin[eligible[u], eligible[v]] > 0
    ]


def _varies(correlations: PairCorrelations) -> NDArray[np.bool_]:
    """Units that are unlike themselves transformed, or much less like that than some other unit is."""
    own = correlations.changed.diagonal()
    others = np.nan_to_num(correlations.changed, nan=-1.0)
    np.fill_diagonal(others, -1.0)
    return np.asarray((own <= INVARIANCE_CUT) | (_MUCH_NEARER * (1 - others.max(0)) < 1 - own))


def _is_handed(correlations: PairCorrelations, pair: tuple[int, int]) -> bool:
    """Whether both members are more like the other transformed than like themselves transformed."""
    u, v = pair
    own = max(correlations.changed[u, u], correlations.changed[v, v])
    return bool(correlations.changed[u, v] > own)


def find_pairs(
    responses: Responses[Involution],
    examples: Examples,
    *,
    is_measurable: NDArray[np.bool_] | None = None,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCORE,
    n_null: int = 20,
    on_step: Callable[[int], None] | None = None,
) -> LayerFamilies:
    """Find, verify and accept the pairs of one layer.

    Parameters
    ----------
    responses
        Responses of all units to the layer's bank as it is and transformed, both halves.
    examples, is_measurable, seed, false_discovery_rate, n_null, on_step
        As for ``circles.find_families``.
    min_score
        Smallest correlation of a pair.

    Notes
    -----
    Half 0 proposes pairs of units, each the other's best match. On half 1 a pair must be more alike transformed than
    either member is to itself transformed, and its *gain*, the share of what it lacks to being alike that transforming
    one of the two supplies, must stand out from the gains of pairs that the same search finds when each response is
    exchanged with its transformed one at random, and the bootstrap interval of its margin must lie above zero. The
    score alone would not do: two units that are both symmetric score as high.
    """

    def step() -> None:
        if on_step is not None:
            on_step(1)

    layer, name = responses.bank.layer, responses.group.name
    unmeasurable = np.zeros(examples.n_units, bool) if is_measurable is None else ~is_measurable
    finding, verifying = correlate_pairs(responses, 0), correlate_pairs(responses, 1)
    eligible = np.flatnonzero(_varies(finding) & ~examples.is_inactive & ~unmeasurable)
    pairs = _mutually_best(finding, eligible, min_score)
    n_proposed = len(pairs)
    company = keep_company([float(finding.changed[pair]) for pair in pairs])
    pairs = [pair for pair, kept in zip(pairs, company, strict=True) if kept]
    step()
    null_gains = []
    for draw in range(n_null):
        null = [
            correlate_pairs(responses, half, scramble=np.random.default_rng([seed, 6, draw, half]))
            for half in (0, 1)
        ]
        found = _mutually_best(null[0], eligible, min_score)
        gain = null[1].gain
        null_gains.append([float(gain[pair]) for pair in found if _is_handed(null[1], pair)])
        step()
    consistent = [pair for pair in pairs if _is_handed(verifying, pair) and verifying.margin[pair] > 0]
    gains = [float(verifying.gain[pair]) for pair in consistent]
    q_values = family_q_values(gains, null_gains)
    values = _read(responses, 1).astype(np.float64)
    first, last = responses.of_half(1)
    weights = bootstrap_weights(
        responses.bank.photograph[first:last], _N_RESAMPLES, np.random.default_rng([seed, 7])
    )
    families: list[Family] = []
    accepted_gains = [gain for gain, q in zip(gains, q_values, strict=True) if q <= false_discovery_rate]
    order = np.argsort([-float(verifying.changed[pair]) for pair in consistent], kind="stable")
    for index in order.tolist():
        if q_values[index] > false_discovery_rate:
            continue
        u, v = consistent[index]
        changed = resample_correlation(values[:, ::-1, u], values[:, :, v], weights)
        same = resample_correlation(values[:, :, u], values[:, :, v], weights)
        low, high = (float(end) for end in percentile_interval(changed))
        margin_low, margin_high = (float(end) for end in percentile_interval(changed - same))
        if not margin_low > 0:
            continue
        score = float(verifying.changed[u, v])
        members = tuple(
            Member(
                layer,
                channel,
                nan,
                score,
                low,
                high,
                is_mirrored=name == "reflection" and channel == v,
                is_inverted=name == "contrast" and channel == v,
            )
            for channel in (u, v)
        )
        families.append(
            Family(
                id=f"{layer}-{name}-{len(families) + 1}",
                layer=layer,
                transformation=name,
                score=score,
                score_low=low,
                score_high=high,
                disagreement_deg=nan,
                phase_coherence=nan,
                q_value=float(q_values[index]),
                stabiliser_order=1,
                stabiliser="{identity}",
                gap_deviation_deg=nan,
                holes_deg=(),
                duplicates=(),
                margin=float(verifying.margin[u, v]),
                margin_low=margin_low,
                margin_high=margin_high,
                members=members,
            )
        )
    step()
    invariance = np.where(unmeasurable, np.nan, verifying.changed.diagonal())
    return LayerFamilies(
        layer=layer,
        transformation=name,
        families=tuple(families),
        symmetries=classify_units(name, examples.is_inactive, invariance, INVARIANCE_CUT, families),
        null=summarise_null(null_gains, min(accepted_gains, default=np.inf)),
        n_refused=n_proposed - len(families),
    )


def joint_pair_tuning(responses: Responses[Involution], examples: Examples, family: Family) -> Floats:
    """How both members respond to their own held-out stimuli, as they are and transformed.

    Returns
    -------
    ndarray
        Shape (member, element), in [0, 1] of the member's own maximum: the feature as the first member shows it, and
        transformed. Stimuli of the second member are transformed first.
    """
    bank = responses.bank
    first, last = responses.of_half(1)
    keys = list(zip(bank.image[first:last].tolist(), *bank.position[first:last].T.tolist(), strict=True))
    curves = []
    for number, member in enumerate(family.members):
        image, position = examples.image[1, member.channel], examples.position[1, member.channel]
        own = {(int(i), int(y), int(x)) for i, (y, x) in zip(image, position, strict=True) if i != NO_IMAGE}
        rows = [first + offset for offset, key in enumerate(keys) if key in own]
        for row in rows:
            values = responses.read(row, row + 1)[0][:, family.channels]
            curves.append(values[::-1] if number else values)
    if not curves:
        return np.full((family.size, 2), nan)
    mean = np.mean(curves, axis=0).T
    peak = mean.max(1, keepdims=True)
    return np.asarray(np.where(peak > 0, mean / np.where(peak > 0, peak, 1), nan), np.float64)
