"""Families on a circle of poses, such as those of rotation and of hue."""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.families.circle_poses import (
    CLOSE_COPIES,
    GRID_DEG,
    Candidate,
    CircleFit,
    consensus,
    edge_disagreement_deg,
    find_candidates,
    find_stabiliser_order,
    in_order,
    is_consistent,
    pair_correlations,
    phase_coherence,
)
from equiscope.families.correlations import OrbitCorrelations, correlate_orbits
from equiscope.families.family import INVARIANCE_CUT, Family, Member, Symmetry, classify_units
from equiscope.families.invariance import does_vary
from equiscope.families.linkage import by_size, divide_group, link_members
from equiscope.families.search import Accepted, PoseSearch, SearchOptions
from equiscope.families.strangers import strangers_percentile
from equiscope.foundations.statistics import bootstrap_weights, percentile_interval
from equiscope.measurement.examples import Examples
from equiscope.measurement.resampled import resample_half
from equiscope.measurement.responses import Responses
from equiscope.transformations import Pose, find
from equiscope.transformations.groups import CyclicGroup

__all__ = ["CircleSearch", "Verified", "equal_turns", "find_varying", "spacing"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Members closer than this share a pose: a third of the step of 16 angles, and three times the error of a pose.
_DUPLICATE_DEG = 7.5
# A gap this many times the even spacing is a hole; InceptionV1's ten mixed3b curves leave two, of 62° and 68°.
_HOLE_RATIO = 1.5
_N_RESAMPLES = 200
# Below so many angles poses are coarse.
_FEW_ANGLES = 8


def find_varying(correlations: OrbitCorrelations, n_units: int) -> NDArray[np.bool_]:
    """Tell which units vary on their circle: see `equiscope.families.invariance`.

    Parameters
    ----------
    correlations
        Of the units, or of the units and, behind them, their mirror images.
    n_units
        How many units there are.

    Examples
    --------
    The second unit answers alike at every turn.

    >>> from equiscope.measurement.bank import Bank
    >>> place = np.arange(6)
    >>> bank = Bank("conv1", place // 3, place, np.zeros((6, 2), int), place)
    >>> values = np.abs(np.random.default_rng(0).normal(size=(6, 4, 2))).astype(np.float32)
    >>> values[:, :, 1] = values[:, :1, 1]
    >>> find_varying(correlate_orbits(Responses(bank, CyclicGroup(4), values), half=1), 2).tolist()
    [True, False]
    """
    own = np.asarray(correlations.autocorrelation(GRID_DEG).min(0), dtype=float)
    others = np.full(len(own), -1.0)
    in_doubt = np.flatnonzero(own > INVARIANCE_CUT)
    others[in_doubt] = correlations.nearest(in_doubt, GRID_DEG, n_units)
    return does_vary(own, others)


@dataclass(frozen=True)
class Verified:
    """An accepted candidate with what the held-out half says about it.

    Intervals are 95 % bootstrap over photographs; ``scores``, ``low``, ``high``: of the members, shape (member,).
    """

    candidate: Candidate
    scores: Floats
    low: Floats
    high: Floats
    score_low: float
    score_high: float
    disagreement_deg: float
    phase_coherence: float
    score: float
    q_value: float
    strangers_95: float


class CircleSearch(PoseSearch[Candidate, Candidate, OrbitCorrelations]):
    """Units at angles.

    A family's members are turned against each other at all, its phases are coherent and its cycles close. Tuning to
    hue is so plain that its harmonics tell copies from look-alikes less well than those of rotation, so that exact
    copies keep company with close ones alone.
    """

    stream = 2
    company_floor = CLOSE_COPIES

    def __init__(
        self,
        responses: Responses[CyclicGroup],
        examples: Sequence[Examples],
        options: SearchOptions,
        channels: Ints | None = None,
        is_measurable: NDArray[np.bool_] | None = None,
    ) -> None:
        super().__init__(responses, examples, options, channels, is_measurable)
        self._correlate(responses, self.is_inactive | self.is_unmeasurable)

    def _correlate(self, responses: Responses[CyclicGroup], is_left_out: NDArray[np.bool_]) -> None:
        """Correlate both halves of the responses that are searched; units that are left out take no part."""
        self.searched = responses
        self.finding, self.verifying = correlate_orbits(responses, 0), correlate_orbits(responses, 1)
        self.eligible = np.flatnonzero(find_varying(self.finding, len(self.is_inactive)) & ~is_left_out)

    def correlate(self, half: int, scramble: np.random.Generator) -> OrbitCorrelations:
        """Correlate with each (stimulus, unit) turned at random."""
        return correlate_orbits(self.searched, half, scramble=scramble)

    def correlate_drawn(self, drawn: Ints) -> OrbitCorrelations:
        """Correlate over the stimuli that were drawn."""
        return correlate_orbits(resample_half(self.searched, drawn), 0)

    def group_units(self, held: Sequence[Candidate]) -> list[Set[int]]:
        """Give the members of each."""
        return [set(candidate.channels.tolist()) for candidate in held]

    def propose(self, correlations: OrbitCorrelations) -> list[Candidate]:
        """Link units, synchronise their angles, let go what does not hold together."""
        return find_candidates(correlations, self.eligible, min_score=self.options.min_score)

    def closeness(self, correlations: OrbitCorrelations, candidates: Sequence[Candidate]) -> list[float]:
        """Mean correlation of the members with each other at their angles."""
        return [float(consensus(correlations, candidate).mean()) for candidate in candidates]

    def verify(
        self, correlations: OrbitCorrelations, candidates: Sequence[Candidate]
    ) -> list[tuple[Candidate, float] | None]:
        """Keep what is turned, coherent and closed; ranked by mean score."""
        return [
            (candidate, float(consensus(correlations, candidate).mean()))
            if is_consistent(correlations, candidate)
            else None
            for candidate in candidates
        ]

    def divide(self, correlations: OrbitCorrelations, candidate: Candidate) -> list[Candidate]:
        """Divide where the members came together last."""
        return [in_order(part) for part in divide_group(CircleFit(correlations), candidate)]

    def verified(self, accepted: Sequence[Accepted[Candidate]]) -> list[Verified]:
        """Measure what the held-out half says about accepted candidates, the largest first."""
        accepted = sorted(accepted, key=lambda own: by_size(own.candidate))
        resampled = _bootstrap(self.searched, [own.candidate for own in accepted], self.options.seed)
        found = []
        for own, samples in zip(accepted, resampled, strict=True):
            low, high = percentile_interval(samples)
            family_low, family_high = percentile_interval(samples.mean(1))
            found.append(
                Verified(
                    own.candidate,
                    consensus(self.verifying, own.candidate),
                    low,
                    high,
                    float(family_low),
                    float(family_high),
                    edge_disagreement_deg(self.verifying, own.candidate),
                    phase_coherence(self.verifying, own.candidate),
                    own.rank,
                    own.q_value,
                    strangers_percentile(self._fit_strangers(own.candidate)),
                )
            )
        return found

    def _fit_strangers(self, candidate: Candidate) -> Floats:
        """How alike units outside a family are to its members at the pose that suits them best, on held-out images."""
        n_units = len(self.is_inactive)
        is_own = np.isin(self.eligible % n_units, candidate.channels % n_units)
        return CircleFit(self.verifying).fit(candidate, self.eligible[~is_own])

    def describe(self, accepted: Sequence[Accepted[Candidate]]) -> list[Family]:
        """Make families, numbered by falling size."""
        (layer,) = self.layers
        return [
            replace(
                _as_family(layer, self.transformation, number, verified), tree=self._tree(verified.candidate)
            )
            for number, verified in enumerate(self.verified(accepted), start=1)
        ]

    def _tree(self, candidate: Candidate) -> tuple[tuple[int, int, float], ...]:
        """How the members come together on the finding half."""
        return link_members(pair_correlations(self.finding, candidate))

    def classify(self, families: Sequence[Family]) -> tuple[Symmetry, ...]:
        """Tell units without a family by their held-out correlation with themselves turned."""
        autocorrelation = self.verifying.autocorrelation(GRID_DEG)
        invariance = np.where(self.is_unmeasurable, np.nan, autocorrelation.min(0))
        orders = np.array([find_stabiliser_order(curve) for curve in autocorrelation.T])
        return classify_units(
            self.transformation, self.is_inactive, invariance, INVARIANCE_CUT, families, orders
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Say where angles are few."""
        order = self.searched.group.order
        if order >= _FEW_ANGLES:
            return ()
        return (
            f"{order} angles resolve poses only coarsely: poses and stabilisers need at least {_FEW_ANGLES}",
        )


def equal_turns(axis: str, order: int) -> tuple[Pose, ...]:
    """Give the stabiliser of a feature that equal turns leave as it is.

    Examples
    --------
    >>> [turn["hue_deg"] for turn in equal_turns("hue_deg", 3)]
    [0.0, 120.0, 240.0]
    """
    return tuple(Pose({axis: 360 / order * k}) for k in range(order))


def _as_family(layer: str, transformation: str, number: int, verified: Verified) -> Family:
    candidate = verified.candidate
    axis = find(transformation).axes[0].name
    deviation, holes, duplicates = spacing(candidate.channels, candidate.poses_deg, candidate.period_deg)
    rows: Any = zip(
        candidate.channels, candidate.poses_deg, verified.scores, verified.low, verified.high, strict=True
    )
    return Family(
        id=f"{layer}-{transformation}-{number}",
        layers=(layer,),
        transformation=transformation,
        score=verified.score,
        score_low=verified.score_low,
        score_high=verified.score_high,
        q_value=verified.q_value,
        members=tuple(
            Member(layer, int(channel), Pose({axis: float(pose)}), float(score), float(low), float(high))
            for channel, pose, score, low, high in rows
        ),
        stabiliser=equal_turns(axis, candidate.stabiliser_order),
        disagreement=Pose({axis: verified.disagreement_deg}),
        phase_coherence=verified.phase_coherence,
        gap_deviation_deg=deviation,
        holes_deg=holes,
        duplicates=duplicates,
        strangers_95=verified.strangers_95,
    )


def _bootstrap(responses: Responses[CyclicGroup], candidates: list[Candidate], seed: int) -> list[Floats]:
    """Resampled member scores on half 1, for each candidate shape (resample, member).

    With Z the Fourier series of a member's orbit turned to the common pose, a pair's product summed over the
    orbit is the scalar product of their Z, so a resample is a weighted sum of per-stimulus products.
    """
    if not candidates:
        return []
    order = responses.group.order
    n_frequencies = order // 2 + 1
    scale = np.full(n_frequencies, 2.0)
    scale[0] = 1
    if order % 2 == 0:
        scale[-1] = 1
    scale = np.sqrt(scale / order)
    first, last = responses.of_half(1)
    photographs = responses.bank.photograph[first:last]
    weights = bootstrap_weights(photographs, _N_RESAMPLES, np.random.default_rng([seed, 3]))
    channels = np.concatenate([candidate.channels for candidate in candidates])
    poses = np.radians(np.concatenate([candidate.poses_deg for candidate in candidates]))
    turn = np.exp(1j * np.outer(np.arange(n_frequencies), poses)) * scale[:, None]
    bounds = np.cumsum([0] + [len(candidate.channels) for candidate in candidates])
    products = [np.zeros((_N_RESAMPLES, n, n)) for n in np.diff(bounds)]
    sums = [np.zeros((_N_RESAMPLES, n)) for n in np.diff(bounds)]
    for start, chunk in responses.chunks(1):
        mine = np.ascontiguousarray(chunk[:, :, channels])
        turned = np.fft.rfft(mine, axis=1) * turn
        series = np.concatenate([turned.real, turned.imag], axis=1)
        total = mine.sum(1, dtype=np.float64)
        weight = weights[:, start - first : start - first + len(chunk)]
        for index, (a, b) in enumerate(itertools.pairwise(bounds)):
            pair = np.einsum("sfi,sfj->sij", series[:, :, a:b], series[:, :, a:b], optimize=True)
            products[index] += (weight @ pair.reshape(len(chunk), -1)).reshape(-1, b - a, b - a)
            sums[index] += weight @ total[:, a:b]
    count = weights.sum(1) * order
    results = []
    for product, total in zip(products, sums, strict=True):
        mean = total / count[:, None]
        covariance = product / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
        variance = np.einsum("bii->bi", covariance)
        with np.errstate(invalid="ignore", divide="ignore"):
            # A resample in which a member never fired cannot be scored: NaN.
            sd = np.sqrt(np.where(variance > 0, variance, np.nan))
            correlation = covariance / (sd[:, :, None] * sd[:, None, :])
        n = correlation.shape[1]
        results.append((correlation.sum(2) - 1) / (n - 1))
    return results


def spacing(
    channels: Ints, poses_deg: Floats, period_deg: float
) -> tuple[float, tuple[tuple[float, float], ...], tuple[tuple[int, int], ...]]:
    """Deviation from even spacing, holes and duplicates of a family's poses on a circle of ``period_deg``.

    Examples
    --------
    Units 3 and 4 are copies of each other, and nothing lies between 10° and 180°.

    >>> spacing(np.array([3, 4, 8, 9]), np.array([9.5, 10.0, 180.0, 270.0]), 360.0)
    (60.20901095351094, ((10.0, 180.0),), ((3, 4),))
    """
    n = len(channels)
    order = np.argsort(poses_deg)
    poses, channels = poses_deg[order], channels[order]
    gaps = np.diff(np.append(poses, poses[0] + period_deg))
    holes = tuple(
        (float(poses[i]), float((poses[i] + gaps[i]) % period_deg))
        for i in np.flatnonzero(gaps > _HOLE_RATIO * period_deg / n)
    )
    duplicates = tuple(
        (int(min(a, b)), int(max(a, b)))
        for a, b in ((channels[i], channels[(i + 1) % n]) for i in np.flatnonzero(gaps < _DUPLICATE_DEG))
    )
    return float(np.sqrt(np.mean((gaps - period_deg / n) ** 2))), holes, duplicates
