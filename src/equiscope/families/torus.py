"""Families on a torus of poses, such as that of hue × rotation, with a stabiliser that is found and not assumed.

A colour contrast, one hue here and its opposite there, is itself again when hue and plane are turned by 180° both,
though by neither alone: poses then live on the torus with these two points identified.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.families.circle_poses import (
    MAX_DISAGREEMENT_DEG,
    MIN_COHERENCE,
    MIN_SPREAD_DEG,
    STABILISER_SHARE,
)
from equiscope.families.correlations import TorusCorrelations, correlate_torus
from equiscope.families.family import INVARIANCE_CUT, Family, Member, Symmetry, classify_units
from equiscope.families.linkage import (
    OUTLIER_FLOOR,
    OUTLIER_RATIO,
    by_size,
    divide_group,
    link_families,
    link_members,
)
from equiscope.families.search import N_RESAMPLES_OF_DEAR, Accepted, PoseSearch, SearchOptions
from equiscope.families.strangers import strangers_percentile
from equiscope.foundations.statistics import (
    bootstrap_weights,
    circular_difference_deg,
    percentile_interval,
    resample_mean_correlations,
)
from equiscope.measurement.examples import Examples
from equiscope.measurement.resampled import resample_half
from equiscope.measurement.responses import Responses
from equiscope.transformations import Pose, find
from equiscope.transformations.groups import TorusGroup

__all__ = ["ToralCandidate", "TorusSearch", "find_stabiliser"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Subgroups that can stabilise a unit, by what generates them, as (hue, rotation) in degrees; larger ones later. Whole
# circles are not among them: a unit that is invariant to a factor belongs to the other factor's families.
_SUBGROUPS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0.0, 0.0),),
    ((0.0, 0.0), (180.0, 180.0)),
    ((0.0, 0.0), (0.0, 180.0)),
    ((0.0, 0.0), (180.0, 0.0)),
    ((0.0, 0.0), (180.0, 90.0), (0.0, 180.0), (180.0, 270.0)),
    ((0.0, 0.0), (0.0, 90.0), (0.0, 180.0), (0.0, 270.0)),
    ((0.0, 0.0), (180.0, 0.0), (0.0, 180.0), (180.0, 180.0)),
)
# Hue is tuned more broadly than orientation and sampled in coarser steps: a hue may disagree by this much, half a step
# of 16 hues.
_MAX_HUE_DISAGREEMENT_DEG = 22.5
_N_RESAMPLES = 200


@dataclass(frozen=True)
class ToralCandidate:
    """A family as the search finds it.

    Attributes
    ----------
    channels
        Its members, shape (member,).
    poses
        Poses (hue, rotation), degrees, shape (member, 2); the first member is at (0, 0).
    stabiliser
        Elements (hue, rotation), degrees, that leave every member as it is.
    """

    channels: Ints
    poses: Floats
    stabiliser: tuple[tuple[float, float], ...]


def find_stabiliser(
    correlations: TorusCorrelations, members: Ints, closeness: float = -1.0
) -> tuple[tuple[float, float], ...]:
    """Find the largest of the possible stabilisers all of whose elements keep the members as they are.

    An element counts if the members' mean correlation with themselves, turned by it, stays above 0.7 of the way from
    the lowest value on the torus to one, and if they are not much less like themselves turned than like each other:
    ``closeness`` is the correlation of two members at their poses. Half an edge is nearly itself after half a turn of
    hue and of the plane; exact copies of it tell the one from the other.

    Examples
    --------
    Answers that rise and fall twice in a turn of the plane, and once in a turn of hue.

    >>> array = np.zeros((3, 3, 1, 1), np.complex64)
    >>> array[1, 2] = array[2, 0] = 0.5
    >>> find_stabiliser(TorusCorrelations(array, n_stimuli=10), np.arange(1))
    ((0.0, 0.0), (0.0, 180.0))
    """
    own = correlations.grid(members, members)
    lowest = float(own.mean(0).min())
    if not np.isfinite(lowest):
        return _SUBGROUPS[0]
    needed = lowest + STABILISER_SHARE * (1 - lowest)
    needed = max(needed, 1 - max(OUTLIER_RATIO * (1 - closeness), OUTLIER_FLOOR))
    found = _SUBGROUPS[0]
    for subgroup in _SUBGROUPS[1:]:
        at = [float(correlations.at(members, members, hue, turn).mean()) for hue, turn in subgroup[1:]]
        if min(at) >= needed:
            found = subgroup
    return found


@dataclass(frozen=True)
class _ToralFit:
    """The steps of the search for families, on the torus."""

    correlations: TorusCorrelations

    def heights(self, units: Ints) -> NDArray[np.float32]:
        """Highest correlation of every pair, shape (unit, unit)."""
        height = np.empty((len(units), len(units)), np.float32)
        for row, u in enumerate(units):
            height[row] = self.correlations.grid(np.full(len(units), u), units).max((1, 2))
        return height

    def synchronise(self, members: Ints) -> ToralCandidate:
        """Poses that agree best with all pairs, by coordinate ascent from the member that fits most others."""
        n = len(members)
        pairs = self.correlations.coefficients(members[:, None], members[None, :])
        grids = self.correlations.evaluate(pairs)
        heights = grids.max((2, 3))
        hub = int(np.where(np.eye(n, dtype=bool), 0, heights).sum(1).argmax())
        poses = np.array([self.correlations.peak(grids[hub, v]) for v in range(n)])
        poses[hub] = 0.0
        for _ in range(3):
            for v in range(n):
                others = np.flatnonzero(np.arange(n) != v)
                summed = self.correlations.shifted_mean(pairs[others, v], poses[others])
                poses[v] = self.correlations.peak(self.correlations.evaluate(summed))
        closeness = _pairs(self.correlations, ToralCandidate(members, poses, _SUBGROUPS[0]))
        usual = float(np.median(closeness[~np.eye(n, dtype=bool)]))
        stabiliser = find_stabiliser(self.correlations, members, usual)
        return _in_order(ToralCandidate(members, poses, stabiliser))

    def consensus(self, candidate: ToralCandidate) -> Floats:
        """Mean correlation of each member with the others at the family's relative poses."""
        return _consensus(self.correlations, candidate)

    def pairs(self, candidate: ToralCandidate) -> Floats:
        """Correlation of every two members at the family's relative poses."""
        return _pairs(self.correlations, candidate)

    def coherence(self, candidate: ToralCandidate) -> float:
        """Agreement of the higher harmonics at the poses that the strongest ones gave."""
        return _coherence(self.correlations, candidate)

    def fit(self, candidate: ToralCandidate, pool: Ints) -> Floats:
        """Highest mean correlation of each unit of the pool with the members."""
        found = np.empty(len(pool))
        for index, unit in enumerate(pool):
            pairs = self.correlations.coefficients(candidate.channels, np.full(len(candidate.channels), unit))
            summed = self.correlations.shifted_mean(pairs, candidate.poses)
            found[index] = self.correlations.evaluate(summed).max()
        return found


def _in_order(candidate: ToralCandidate) -> ToralCandidate:
    """Members by channel, the first at the origin, poses folded by the stabiliser."""
    order = np.argsort(candidate.channels)
    poses = candidate.poses[order] - candidate.poses[order][0]
    return ToralCandidate(
        candidate.channels[order], _folded(poses, candidate.stabiliser), candidate.stabiliser
    )


def _folded(poses: Floats, stabiliser: tuple[tuple[float, float], ...]) -> Floats:
    """Move each pose by the stabiliser to where its hue, then its rotation, is least; degrees in [0, 360)."""
    turned = np.stack([(poses + np.array(element)) % 360.0 % 360.0 for element in stabiliser])
    # Rounded, so that the rotation decides between hues that are equal but for the last digit.
    key = np.round(turned[..., 0], 6) % 360.0 * 1e4 + turned[..., 1]
    return np.asarray(np.take_along_axis(turned, key.argmin(0)[None, :, None], axis=0)[0])


def _pairs(correlations: TorusCorrelations, candidate: ToralCandidate) -> Floats:
    """Correlation of every two members at the family's relative poses, shape (member, member)."""
    u, v = candidate.channels[:, None], candidate.channels[None, :]
    away = candidate.poses[None, :] - candidate.poses[:, None]
    return np.asarray(correlations.at(u, v, away[..., 0], away[..., 1]))


def _consensus(correlations: TorusCorrelations, candidate: ToralCandidate) -> Floats:
    pair = _pairs(correlations, candidate)
    np.fill_diagonal(pair, 0)
    return np.asarray(pair.sum(1) / (len(pair) - 1))


def _coherence(correlations: TorusCorrelations, candidate: ToralCandidate) -> float:
    """Phase coherence without the two pairs of frequencies that carry most: two angles were fitted to them."""
    u, v = np.triu_indices(len(candidate.channels), 1)
    pairs = correlations.coefficients(candidate.channels[u], candidate.channels[v])
    away = candidate.poses[v] - candidate.poses[u]
    turned = correlations.turned(pairs, away)
    energy = np.abs(turned).sum(0)
    hue, turn = correlations.frequencies
    energy[(hue == 0) & (turn == 0)] = 0
    total = energy.sum()
    for _ in range(2):
        strongest = np.unravel_index(int(energy.argmax()), energy.shape)
        same = (np.abs(hue) == abs(hue[strongest])) & (turn == turn[strongest])
        if turn[strongest] != 0 and hue[strongest] != 0:
            same &= hue == hue[strongest]
        energy[same] = 0
    left = energy.sum()
    if not left > 1e-3 * total:
        return nan
    return float(turned.real.sum(0)[energy > 0].sum() / left)


def _disagreements(correlations: TorusCorrelations, candidate: ToralCandidate) -> tuple[float, float]:
    """Median difference of the pairs' own relative poses from the family's, (hue, rotation), degrees."""
    u, v = np.triu_indices(len(candidate.channels), 1)
    grids = correlations.grid(candidate.channels[u], candidate.channels[v])
    own = np.array([correlations.peak(grid) for grid in grids])
    away = candidate.poses[v] - candidate.poses[u]
    per_element = np.stack(
        [np.abs(circular_difference_deg(own, away + np.array(element))) for element in candidate.stabiliser]
    )
    nearest = per_element.sum(-1).argmin(0)
    difference = np.take_along_axis(per_element, nearest[None, :, None], axis=0)[0]
    hue, turn = np.median(difference, axis=0)
    return float(hue), float(turn)


def _spread(poses_deg: Floats) -> float:
    """Shortest arc that holds all angles, degrees."""
    ordered = np.sort(poses_deg % 360.0)
    return float(360.0 - np.diff(np.append(ordered, ordered[0] + 360.0)).max())


def _is_consistent(correlations: TorusCorrelations, candidate: ToralCandidate) -> bool:
    """Whether members differ in both factors, cohere and close their cycles, on the given half."""
    # Twice the hue closes the circle of hues that a half-turn identifies.
    hues = candidate.poses[:, 0] * (2 if len(candidate.stabiliser) > 1 else 1)
    if min(_spread(hues), _spread(candidate.poses[:, 1])) < MIN_SPREAD_DEG:
        return False
    hue, turn = _disagreements(correlations, candidate)
    return (
        not _coherence(correlations, candidate) < MIN_COHERENCE
        and hue <= _MAX_HUE_DISAGREEMENT_DEG
        and turn <= 2 * MAX_DISAGREEMENT_DEG
    )


class TorusSearch(PoseSearch[ToralCandidate, ToralCandidate, TorusCorrelations]):
    """Units at two angles each.

    Only units that vary with both turns take part; what the others do is said under each turn alone, so that they are
    ``not measurable`` here.
    """

    stream = 4

    def __init__(
        self,
        responses: Responses[TorusGroup],
        examples: Sequence[Examples],
        options: SearchOptions,
        channels: Ints | None = None,
        is_measurable: NDArray[np.bool_] | None = None,
    ) -> None:
        super().__init__(responses, examples, options, channels, is_measurable)
        n_units = len(self.is_inactive)
        units = np.arange(n_units) if channels is None else np.sort(np.asarray(channels, dtype=np.int64))
        finding, verifying = (correlate_torus(responses, half, units) for half in (0, 1))
        at = np.arange(len(units))
        own = verifying.grid(at, at)
        self.invariance = np.full(n_units, nan)
        self.invariance[units] = own.min((1, 2))
        # Units that never fire for these stimuli have no correlations; few stimuli a unit are shown here.
        varies = np.isfinite(finding.grid(at, at)).all((1, 2)) & np.isfinite(own).all((1, 2))
        if varies.any() and not varies.all():
            units = units[varies]
            finding, verifying = (correlate_torus(responses, half, units) for half in (0, 1))
        self.units, self.finding, self.verifying = units, finding, verifying

    def correlate(self, half: int, scramble: np.random.Generator) -> TorusCorrelations:
        """Correlate with each (stimulus, unit) turned at random in hue and in the plane."""
        return correlate_torus(self.responses, half, self.units, scramble=scramble)

    def count_resamples(self) -> int:
        """Few: the search takes long."""
        return N_RESAMPLES_OF_DEAR

    def correlate_drawn(self, drawn: Ints) -> TorusCorrelations:
        """Correlate over the stimuli that were drawn."""
        return correlate_torus(resample_half(self.responses, drawn), 0, self.units)

    def group_units(self, held: Sequence[ToralCandidate]) -> list[Set[int]]:
        """Give the members of each."""
        return [set(self.units[candidate.channels].tolist()) for candidate in held]

    def propose(self, correlations: TorusCorrelations) -> list[ToralCandidate]:
        """Link units and fit both angles."""
        found: list[ToralCandidate] = link_families(
            _ToralFit(correlations), np.arange(len(self.units)), min_score=self.options.min_score
        )
        return found

    def closeness(self, correlations: TorusCorrelations, candidates: Sequence[ToralCandidate]) -> list[float]:
        """Mean correlation of the members with each other at their poses."""
        return [float(_consensus(correlations, candidate).mean()) for candidate in candidates]

    def verify(
        self, correlations: TorusCorrelations, candidates: Sequence[ToralCandidate]
    ) -> list[tuple[ToralCandidate, float] | None]:
        """Keep what differs in both turns, is coherent and closed; ranked by mean score."""
        return [
            (candidate, float(_consensus(correlations, candidate).mean()))
            if _is_consistent(correlations, candidate)
            else None
            for candidate in candidates
        ]

    def divide(self, correlations: TorusCorrelations, candidate: ToralCandidate) -> list[ToralCandidate]:
        """Divide where the members came together last."""
        parts: list[ToralCandidate] = divide_group(_ToralFit(correlations), candidate)
        return parts

    def describe(self, accepted: Sequence[Accepted[ToralCandidate]]) -> list[Family]:
        """Make families with the stabilisers that were found."""
        largest_first = sorted(accepted, key=lambda own: by_size(own.candidate))
        return [self._as_family(own, number) for number, own in enumerate(largest_first, start=1)]

    def classify(self, families: Sequence[Family]) -> tuple[Symmetry, ...]:
        """Tell units without a family by their correlation with themselves anywhere on the torus."""
        return classify_units(
            self.transformation,
            self.is_inactive,
            self.invariance,
            INVARIANCE_CUT,
            families,
            has_turns=False,
        )

    def _as_family(self, accepted: Accepted[ToralCandidate], number: int) -> Family:
        (layer,) = self.layers
        responses, verifying, candidate = self.responses, self.verifying, accepted.candidate
        axis, other = find(self.transformation).axes
        channels = self.units[candidate.channels]
        scores = _consensus(verifying, candidate)
        first, last = responses.of_half(1)
        aligned = _align(responses, channels, candidate.poses, first, last)
        weights = bootstrap_weights(
            responses.bank.photograph[first:last], _N_RESAMPLES, np.random.default_rng([self.options.seed, 5])
        )
        # Turning orbits between their samples changes the highest frequency a little, so the resamples are taken as
        # deviations from the same figure of the whole half.
        whole = resample_mean_correlations(aligned, np.ones((1, last - first)))
        samples = scores + resample_mean_correlations(aligned, weights) - whole
        low, high = percentile_interval(samples)
        family_low, family_high = percentile_interval(samples.mean(1))
        hue, turn = _disagreements(verifying, candidate)
        c = candidate.channels
        half_turns = tuple(
            float(verifying.at(c, c, h, t).mean()) for h, t in ((180.0, 180.0), (180.0, 0.0), (0.0, 180.0))
        )
        return Family(
            id=f"{layer}-{self.transformation}-{number}",
            layers=(layer,),
            transformation=self.transformation,
            score=float(scores.mean()),
            score_low=float(family_low),
            score_high=float(family_high),
            q_value=accepted.q_value,
            members=tuple(
                Member(
                    layer,
                    int(channel),
                    Pose({axis.name: float(pose[1]), other.name: float(pose[0])}),
                    float(score),
                    float(lowest),
                    float(highest),
                )
                for channel, pose, score, lowest, highest in zip(
                    channels, candidate.poses, scores, low, high, strict=True
                )
            ),
            stabiliser=tuple(Pose({axis.name: t, other.name: h}) for h, t in candidate.stabiliser),
            disagreement=Pose({axis.name: turn, other.name: hue}),
            phase_coherence=_coherence(verifying, candidate),
            half_turns=half_turns,
            duplicates=_duplicates(channels, candidate),
            tree=link_members(_pairs(self.finding, candidate)),
            strangers_95=strangers_percentile(
                _ToralFit(verifying).fit(
                    candidate, np.setdiff1d(np.arange(len(self.units)), candidate.channels)
                )
            ),
        )


def _duplicates(channels: Ints, candidate: ToralCandidate) -> tuple[tuple[int, int], ...]:
    """Pairs of channels less than 7.5° apart in rotation and 22.5° in hue."""
    pairs = []
    for i, j in itertools.combinations(range(len(channels)), 2):
        away = candidate.poses[i] - candidate.poses[j]
        for element in candidate.stabiliser:
            hue, turn = np.abs(circular_difference_deg(away + np.array(element), 0.0))
            if turn < 7.5 and hue < 22.5:
                pairs.append((int(channels[i]), int(channels[j])))
                break
    return tuple(pairs)


def _align(
    responses: Responses[TorusGroup], channels: Ints, poses: Floats, first: int, last: int
) -> NDArray[np.float64]:
    """Orbits of the members turned back to the common pose, shape (stimulus, element, member)."""
    n_hues, n_angles = responses.group.n_hues, responses.group.n_angles
    values = responses.read(first, last)[:, :, channels].reshape(last - first, n_hues, n_angles, -1)
    spectrum = np.fft.fft2(values, axes=(1, 2))
    hue = np.fft.fftfreq(n_hues, 1 / n_hues)[:, None, None]
    turn = np.fft.fftfreq(n_angles, 1 / n_angles)[None, :, None]
    # A member's orbit peaks at its pose: shifting by minus the pose brings all peaks to one place.
    back = np.exp(1j * (hue * np.radians(poses[:, 0]) + turn * np.radians(poses[:, 1])))
    shifted = np.fft.ifft2(spectrum * back, axes=(1, 2)).real
    return np.asarray(shifted.reshape(last - first, n_hues * n_angles, -1))
