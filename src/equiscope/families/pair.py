"""Pairs of units under a transformation that undoes itself: left-right reflection, contrast inversion."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import INVARIANCE_CUT, Family, Member, Symmetry, classify_units
from equiscope.families.invariance import does_vary
from equiscope.families.search import Accepted, PoseSearch, SearchOptions
from equiscope.families.strangers import strangers_percentile
from equiscope.foundations.statistics import bootstrap_weights, percentile_interval, resample_correlation
from equiscope.measurement.examples import Examples
from equiscope.measurement.resampled import resample_half
from equiscope.measurement.responses import Responses
from equiscope.transformations import Pose, find
from equiscope.transformations.groups import Involution

__all__ = ["PairCorrelations", "PairSearch", "correlate_pairs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_N_RESAMPLES = 200


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

    Examples
    --------
    The second unit answers to the mirrored stimulus as the first does to the one as it is.

    >>> from equiscope.measurement.bank import Bank
    >>> place = np.arange(8)
    >>> bank = Bank("conv1", place // 8, place, np.zeros((8, 2), int), place)
    >>> first = np.abs(np.random.default_rng(0).normal(size=(8, 2))).astype(np.float32)
    >>> values = np.stack([first, first[:, ::-1]], axis=2)
    >>> found = correlate_pairs(Responses(bank, Involution("reflection"), values), half=0)
    >>> round(float(found.changed[0, 1]), 3)
    1.0
    """
    # In double precision: exact copies differ from 1 by less than single precision tells.
    values = _read(responses, half).astype(np.float64)
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
    return does_vary(own, others.max(0))


def _is_handed(correlations: PairCorrelations, pair: tuple[int, int]) -> bool:
    """Whether both members are more like the other transformed than like themselves transformed."""
    u, v = pair
    own = max(correlations.changed[u, u], correlations.changed[v, v])
    return bool(correlations.changed[u, v] > own)


class PairSearch(PoseSearch[tuple[int, int], tuple[int, int], PairCorrelations]):
    """Units as they are and changed.

    Half 0 proposes pairs of units, each the other's best match. On half 1 a pair must be more alike transformed than
    either member is to itself transformed, and more alike transformed than not. Its *gain*, the share of what it lacks
    to being alike that transforming one of the two supplies, must stand out from the gains of pairs that the same
    search finds, by the same tests, when each response is exchanged with its transformed one at random; and the
    bootstrap interval of its margin must lie above zero. The score alone would not do: two units that are both
    symmetric score as high.
    """

    stream = 6

    def __init__(
        self,
        responses: Responses[Involution],
        examples: Sequence[Examples],
        options: SearchOptions,
        channels: Ints | None = None,
        is_measurable: NDArray[np.bool_] | None = None,
    ) -> None:
        super().__init__(responses, examples, options, channels, is_measurable)
        self.finding, self.verifying = correlate_pairs(responses, 0), correlate_pairs(responses, 1)
        self.eligible = np.flatnonzero(_varies(self.finding) & ~self.is_inactive & ~self.is_unmeasurable)

    def correlate(self, half: int, scramble: np.random.Generator) -> PairCorrelations:
        """Correlate with the two responses of each (stimulus, unit) exchanged or not at random."""
        return correlate_pairs(self.responses, half, scramble=scramble)

    def correlate_drawn(self, drawn: Ints) -> PairCorrelations:
        """Correlate over the stimuli that were drawn."""
        return correlate_pairs(resample_half(self.responses, drawn), 0)

    def group_units(self, held: Sequence[tuple[int, int]]) -> list[Set[int]]:
        """Give both of each."""
        return [set(pair) for pair in held]

    def propose(self, correlations: PairCorrelations) -> list[tuple[int, int]]:
        """Pair units that are each other's best match."""
        return _mutually_best(correlations, self.eligible, self.options.min_score)

    def closeness(self, correlations: PairCorrelations, candidates: Sequence[tuple[int, int]]) -> list[float]:
        """Correlation of each pair, one of the two transformed."""
        return [float(correlations.changed[pair]) for pair in candidates]

    def verify(
        self, correlations: PairCorrelations, candidates: Sequence[tuple[int, int]]
    ) -> list[tuple[tuple[int, int], float] | None]:
        """Keep pairs that are handed and gain by transforming; ranked by that gain."""
        gain = correlations.gain
        return [
            (pair, float(gain[pair]))
            if _is_handed(correlations, pair) and correlations.margin[pair] > 0
            else None
            for pair in candidates
        ]

    def confirm(self, accepted: list[Accepted[tuple[int, int]]]) -> list[Accepted[tuple[int, int]]]:
        """Keep pairs whose margin is above zero in nearly all resamples of the photographs; the most alike first."""
        self._resample(accepted)
        order = sorted(accepted, key=lambda own: -float(self.verifying.changed[own.candidate]))
        return [own for own in order if self._intervals[own.candidate][1][0] > 0]

    def _resample(self, accepted: Sequence[Accepted[tuple[int, int]]]) -> None:
        """Intervals of score and margin of each accepted pair."""
        responses = self.responses
        values = _read(responses, 1).astype(np.float64)
        first, last = responses.of_half(1)
        weights = bootstrap_weights(
            responses.bank.photograph[first:last],
            _N_RESAMPLES,
            np.random.default_rng([self.options.seed, 7]),
        )
        self._intervals: dict[tuple[int, int], tuple[tuple[float, float], tuple[float, float]]] = {}
        for own in accepted:
            u, v = own.candidate
            changed = resample_correlation(values[:, ::-1, u], values[:, :, v], weights)
            same = resample_correlation(values[:, :, u], values[:, :, v], weights)
            low, high = (float(end) for end in percentile_interval(changed))
            margin_low, margin_high = (float(end) for end in percentile_interval(changed - same))
            self._intervals[own.candidate] = ((low, high), (margin_low, margin_high))

    def describe(self, accepted: Sequence[Accepted[tuple[int, int]]]) -> list[Family]:
        """Make a family of each pair; the unit of the higher channel is the changed one."""
        (layer,) = self.layers
        (axis,) = find(self.transformation).axes
        families = []
        for number, own in enumerate(accepted, start=1):
            u, v = own.candidate
            (low, high), (margin_low, margin_high) = self._intervals[own.candidate]
            score = float(self.verifying.changed[u, v])
            families.append(
                Family(
                    id=f"{layer}-{self.transformation}-{number}",
                    layers=(layer,),
                    transformation=self.transformation,
                    score=score,
                    score_low=low,
                    score_high=high,
                    q_value=own.q_value,
                    members=tuple(
                        Member(layer, channel, Pose({axis.name: channel == v}), score, low, high)
                        for channel in (u, v)
                    ),
                    stabiliser=(Pose({axis.name: False}),),
                    margin=float(self.verifying.margin[u, v]),
                    margin_low=margin_low,
                    margin_high=margin_high,
                    strangers_95=strangers_percentile(self._fit_strangers(u, v)),
                )
            )
        return families

    def _fit_strangers(self, u: int, v: int) -> Floats:
        """How well each other unit would do in the place of one of a pair, on held-out images."""
        pair = np.array([u, v])
        others = np.setdiff1d(self.eligible, pair)
        return np.asarray(self.verifying.changed[pair[:, None], others].max(0))

    def classify(self, families: Sequence[Family]) -> tuple[Symmetry, ...]:
        """Tell units without a partner by how alike they are to themselves transformed."""
        invariance = np.where(self.is_unmeasurable, np.nan, self.verifying.changed.diagonal())
        return classify_units(self.transformation, self.is_inactive, invariance, INVARIANCE_CUT, families)
