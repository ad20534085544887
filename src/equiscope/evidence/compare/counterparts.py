"""Which families of one network have a counterpart in another, from both networks' responses to the same stimuli.

Two families are the same feature if, at one common offset of their poses, the members of either follow the template of
the other. The score of two families is the mean correlation of either's members with the other's template.

One half of the photographs chooses each family's best offset to each other and who is whose best match; the other half
scores that; then they change places. A pair must be mutually best on both halves, and its score is the mean of the two
held-out ones. Matching is one to one for every two layers, because a feature that a layer passes on to the next is
there twice, and would make the other's choice between the two arbitrary.

A unit's responses are divided by their root mean square over all stimuli, so that strong members do not speak for weak
ones; as a positive factor it cannot make two families alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm, nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.compare.matching import match_by_layers
from equiscope.evidence.compare.nulls import other_identity_q_values, scrambled_scores, stand_in_scores
from equiscope.evidence.compare.spectra import (
    LEAST_VARIANCE,
    FamilyResponses,
    Half,
    best_offsets,
    family_templates,
    mean_of_measured,
    normalise_spectra,
    orbit_spectra,
    pair_series,
    score_held_out,
    turn_spectra,
)
from equiscope.families.layer_families import NullSummary, summarise_null
from equiscope.foundations.statistics import bootstrap_weights, family_q_values, percentile_interval
from equiscope.measurement.examples import split_halves
from equiscope.transformations.groups import CyclicGroup, Involution

__all__ = ["Counterpart", "Counterparts", "find_counterparts"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Spectra = NDArray[np.complex64]

_N_RESAMPLES = 500


@dataclass(frozen=True)
class Counterpart:
    """Two families that are each other's best match among those of their two layers, on either half of the photographs.

    Attributes
    ----------
    a, b
        Their numbers.
    offset
        What is added to poses of b to compare them with poses of a, in elements of the group.
    offset_difference
        By how much the offsets of the two halves differ, elements.
    score, score_low, score_high
        Mean correlation of each family's members with the other's template, in [-1, 1], on photographs that chose
        neither partner nor offset, with its 95 % bootstrap interval over photographs.
    q_value
        Estimated share of families of other identity among the pairs that score as high.
    pose_q_value
        Estimated share of pairs whose poses agree by chance among those that score as high.
    """

    a: int
    b: int
    offset: float
    offset_difference: float
    score: float
    score_low: float
    score_high: float
    q_value: float
    pose_q_value: float


@dataclass(frozen=True)
class Counterparts:
    """What a comparison under one transformation gave.

    Attributes
    ----------
    pairs
        Mutually best pairs, the highest score first.
    scores
        Held-out score of every two families at the offset that the other half chose, shape (a, b); NaN where a member's
        responses do not vary.
    null
        What the same search finds among families of other identity.
    pose_null
        What it finds when the poses of one network are scrambled.
    """

    pairs: tuple[Counterpart, ...]
    scores: Floats
    null: NullSummary
    pose_null: NullSummary


@dataclass(frozen=True)
class _Shown:
    """Both networks' answers to the shared stimuli, as series over elements, whole and by half of the photographs."""

    sides: tuple[FamilyResponses, FamilyResponses]
    group: CyclicGroup | Involution
    photographs: Ints
    half_of: Ints
    spectra: tuple[Spectra, Spectra]
    templates: tuple[Spectra, Spectra]
    halves: tuple[Half, Half]


def find_counterparts(
    a: FamilyResponses,
    b: FamilyResponses,
    group: CyclicGroup | Involution,
    photographs: Ints,
    *,
    n_draws: int = 200,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
) -> Counterparts:
    """Match the families of every two layers of two networks one to one.

    Parameters
    ----------
    a, b
        Responses of both networks to the same stimuli under the same elements.
    group
        The elements.
    photographs
        The photograph of each stimulus, shape (stimulus,), at least two different ones.
    n_draws
        Draws with scrambled poses, and rounds of stand-ins.
    seed
        Of the halves, the null and the bootstrap.
    false_discovery_rate
        Largest q-value for the null's summary.

    Examples
    --------
    One family in two networks; the first one's poses are counted from two elements further on.

    >>> phases = np.random.default_rng(0).uniform(0, 8, (60, 1, 1))
    >>> waves = np.cos(np.pi / 4 * (np.arange(8)[:, None] - phases - np.arange(3))).clip(0).astype(np.float32)
    >>> of_units = np.zeros(3, int), np.ones(3, bool)
    >>> a, b = (FamilyResponses(waves, (np.arange(3),), (np.arange(3) + by,), (1,), *of_units) for by in (2, 0))
    >>> (pair,) = find_counterparts(a, b, CyclicGroup(8), np.arange(60), n_draws=5).pairs
    >>> round(pair.score, 2), round(pair.offset, 1)
    (1.0, 2.0)
    """
    shown = _open_responses(a, b, group, photographs, seed)
    sides, halves = shown.sides, shown.halves
    series = [pair_series(half, sides, group.order) for half in halves]
    chosen = [best_offsets(one, group) for one in series]
    scores = score_held_out(series, [offsets for offsets, _ in chosen], group.order)
    pairs = match_by_layers([best for _, best in chosen], a.layer_of_family, b.layer_of_family)
    null_scores, n_sets = stand_in_scores(halves, sides, group, n_draws, seed)
    pose_null_scores = scrambled_scores(halves, sides, group, n_draws, seed)
    own = [scores[pair] for pair in pairs]
    q_values = other_identity_q_values(own, null_scores, n_sets).tolist()
    pose_q_values = family_q_values(own, pose_null_scores).tolist()
    offsets = [best_offsets((series[0] + series[1]) / 2, group)[0], *(offsets for offsets, _ in chosen)]
    found = []
    for pair, *judged in zip(pairs, own, q_values, pose_q_values, strict=True):
        found.append(_describe_pair(shown, pair, [float(best[pair]) for best in offsets], judged, seed))
    found.sort(key=lambda pair: -pair.score)
    accepted = min((p.score for p in found if p.q_value <= false_discovery_rate), default=np.inf)
    alike = min((p.score for p in found if p.pose_q_value <= false_discovery_rate), default=np.inf)
    null = _summarise_stand_ins(null_scores, accepted, n_sets)
    return Counterparts(tuple(found), scores, null, summarise_null(pose_null_scores, alike))


def _describe_pair(
    shown: _Shown, pair: tuple[int, int], offsets: Sequence[float], judged: Sequence[float], seed: int
) -> Counterpart:
    """Describe a pair: ``offsets`` of all photographs and of either half, ``judged`` its score and both q-values."""
    (i, j), (a, b) = pair, shown.sides
    # What either family's stabiliser leaves as it is makes no other offset.
    period = shown.group.order / lcm(a.stabiliser_orders[i], b.stabiliser_orders[j])
    away = abs(offsets[1] - offsets[2]) % period
    low, high = _score_interval(shown, pair, offsets[1:], seed)
    score, q_value, pose_q_value = judged
    return Counterpart(
        i, j, offsets[0] % period, min(away, period - away), float(score), low, high, q_value, pose_q_value
    )


def _open_responses(
    a: FamilyResponses, b: FamilyResponses, group: CyclicGroup | Involution, photographs: Ints, seed: int
) -> _Shown:
    """Bring both networks' responses into series over elements, and divide the photographs into halves."""
    half_of = split_halves(photographs.tolist(), seed)
    spectra = orbit_spectra(a.responses), orbit_spectra(b.responses)
    templates = family_templates(spectra[0], a, group.order), family_templates(spectra[1], b, group.order)
    first, second = (
        Half(
            (normalise_spectra(templates[0][mine]), normalise_spectra(templates[1][mine])),
            (normalise_spectra(spectra[0][mine]), normalise_spectra(spectra[1][mine])),
        )
        for mine in (half_of == 0, half_of == 1)
    )
    return _Shown((a, b), group, photographs, half_of, spectra, templates, (first, second))


def _summarise_stand_ins(rounds: list[list[float]], accepted: float, n_sets: float) -> NullSummary:
    """Summarise what was found in all rounds for each set of stand-ins as large as the other network."""
    flat = [score for one in rounds for score in one]
    null = summarise_null([flat], accepted)
    per_set = max(n_sets * len(rounds), 1e-9)
    return replace(
        null, n_draws=len(rounds), families_per_draw=len(flat) / per_set,
        families_expected=null.families_expected / per_set,
    )  # fmt: skip


def _score_interval(
    shown: _Shown, pair: tuple[int, int], offsets: Sequence[float], seed: int
) -> tuple[float, float]:
    """95 % bootstrap interval over photographs of a pair's score, at the offsets that each half chose for the other."""
    rng = np.random.default_rng([seed, 12, *pair])
    samples = np.zeros(_N_RESAMPLES)
    (i, j), (a, b), order = pair, shown.sides, shown.group.order
    for half in (0, 1):
        mine, offset = shown.half_of == half, offsets[1 - half]
        weights = bootstrap_weights(shown.photographs[mine], _N_RESAMPLES, rng)
        forward = turn_spectra(shown.spectra[1][mine][:, :, b.members[j]], b.poses[j] + offset, order)
        backward = turn_spectra(shown.spectra[0][mine][:, :, a.members[i]], a.poses[i] - offset, order)
        for template, members in (
            (shown.templates[0][mine][:, :, i], forward),
            (shown.templates[1][mine][:, :, j], backward),
        ):
            samples += mean_of_measured(_resampled(template, members, weights), 1).real / 4
    low, high = percentile_interval(samples)
    return float(low), float(high)


def _resampled(x: Spectra, ys: Spectra, weights: Floats) -> Floats:
    """Correlation of one column with several in every resample, shape (resample, y)."""
    count = weights.sum(1, keepdims=True)
    product = weights @ (x.conj()[:, :, None] * ys).real.sum(1, dtype=np.float64)
    xx = (weights @ (np.abs(x) ** 2).sum(1, dtype=np.float64))[:, None]
    yy = weights @ (np.abs(ys) ** 2).sum(1, dtype=np.float64)
    # The first frequency holds an orbit's mean.
    x_sum, y_sum = (
        (weights @ x[:, 0].real.astype(np.float64))[:, None],
        weights @ ys[:, 0].real.astype(np.float64),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        x_variance, y_variance = xx - x_sum**2 / count, yy - y_sum**2 / count
        varies = (x_variance > LEAST_VARIANCE * xx) & (y_variance > LEAST_VARIANCE * yy)
        covariance = product - x_sum * y_sum / count
        return np.asarray(np.where(varies, covariance / np.sqrt(x_variance * y_variance), nan))
