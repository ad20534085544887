"""From pairs of units to candidate families: linkage, synchronised poses, consistency."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from equiscope.families.correlations import OrbitCorrelations
from equiscope.foundations.statistics import circular_difference_deg

__all__ = [
    "CLOSE_COPIES",
    "GRID_DEG",
    "INVARIANCE_CUT",
    "MAX_DISAGREEMENT_DEG",
    "MIN_COHERENCE",
    "MIN_SCORE",
    "MIN_SPREAD_DEG",
    "STABILISER_SHARE",
    "Candidate",
    "consensus",
    "edge_disagreement_deg",
    "find_candidates",
    "find_stabiliser_order",
    "is_coherent",
    "is_consistent",
    "keep_company",
    "phase_coherence",
    "pose_spread_deg",
    "resolve_stabiliser",
    "search",
    "synchronise",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Smallest mean correlation with the other members that makes a member; what is accepted in the end is decided by
# the false-discovery rate and the phase coherence. Chosen on GoogLeNet, as the log says: at 0.35 its mixed3b gave 44
# coherent families among 49 found, at 0.4 35 among 38.
MIN_SCORE = 0.35
# Smallest phase coherence of an accepted family. Exact copies have 0.90 or more, GoogLeNet's families 0.95 in the
# median; the smooth random patterns of the planted network, which resemble each other by chance, 0.51 to 0.58.
MIN_COHERENCE = 0.75
# What the search asks for on the finding half: more, because what is selected for comes out lower where it is verified.
_SOUGHT_COHERENCE = 0.8
# Largest median difference, degrees, between the pairs' own relative poses and the family's: half of the step of 16
# angles. GoogLeNet's families have 1 in the median and 10.3 at most (docs/results.md); units whose pairs lock onto
# different ones of several equal peaks, 50 to 90.
MAX_DISAGREEMENT_DEG = 11.25
# Members that all lie within this arc, degrees, are units alike, not copies turned: deep layers are full of them, for
# there everything answers to upright pictures.
MIN_SPREAD_DEG = 15.0
# Below this share of the oriented energy in higher harmonics there is nothing to be coherent.
_LEAST_HARMONICS = 1e-3
# Families are first linked at the higher level and then, among what is left, at the lower: a single low level
# would join families that merely resemble each other.
_LINK_LEVELS = (0.5, MIN_SCORE)
_LEVEL_STEP = 0.1
# A unit whose correlation with itself never falls below this under any rotation counts as invariant.
INVARIANCE_CUT = 0.7
# A member may be this many times as far from the others as members usually are ...
_OUTLIER_RATIO = 3.0
# ... but not for differences that sampling on a pixel grid makes: planted copies score 0.996 or more.
_OUTLIER_FLOOR = 0.05
# Copies nearer than this are exact, as no network learns them. Quarter turns of a designed field are such and its other
# turns are not, so that it may fall into parts: three layers deep these were 0.12 apart at most, different fields 0.22
# or more.
_EXACT, CLOSE_COPIES = 0.01, 0.15
# Poses of a designed field lie at even steps; to this many degrees, measured on pixels.
_EVEN_DEG = 3.0
# A new member may be this much worse than the worst of those who founded the family.
_ADOPTION_SLACK = 0.1
# Share of the way from a unit's lowest to its perfect autocorrelation that a stabilising rotation must keep.
STABILISER_SHARE = 0.7
_STABILISER_ORDERS = (2, 3, 4, 5, 6, 8)
_GRID = 128
_STEP_DEG = 360.0 / _GRID
GRID_DEG: Floats = np.arange(_GRID, dtype=np.float64) * _STEP_DEG


class HasChannels(Protocol):
    """A candidate of any search: it has members."""

    @property
    def channels(self) -> Ints:
        """Its members, shape (member,)."""


C = TypeVar("C", bound=HasChannels)


@dataclass(frozen=True)
class Candidate:
    """A family as the search finds it.

    Attributes
    ----------
    channels
        Its members, shape (member,).
    poses_deg
        Their poses, shape (member,), degrees in [0, 360 / stabiliser_order): member v is member u turned
        counter-clockwise by ``poses_deg[v] - poses_deg[u]``. The first member is at zero.
    stabiliser_order
        In how many of its rotations by equal steps every member repeats itself: 1 for a curve, 2 for a line.
    """

    channels: Ints
    poses_deg: Floats
    stabiliser_order: int

    @property
    def period_deg(self) -> float:
        """Range of poses after which a member repeats, degrees."""
        return 360.0 / self.stabiliser_order


def find_stabiliser_order(autocorrelation: Floats) -> int:
    """Order of the rotations that leave a unit as it is, from its autocorrelation on ``GRID_DEG``.

    Returns
    -------
    int
        The largest order among 2, 3, 4, 5, 6 and 8 all of whose rotations keep the autocorrelation above 0.7 of
        the way from its minimum to one; 1 if none does or nothing was measured.
    """
    lowest = float(np.min(autocorrelation))
    if not np.isfinite(lowest) or lowest >= INVARIANCE_CUT:
        return 1
    needed = lowest + STABILISER_SHARE * (1 - lowest)
    found = 1
    for order in _STABILISER_ORDERS:
        steps = np.round(np.arange(1, order) * _GRID / order).astype(int)
        if autocorrelation[steps].min() >= needed:
            found = order
    return found


def synchronise(correlations: OrbitCorrelations, members: Ints, order: int | None = None) -> Candidate:
    """Find the poses that best agree with all pairwise relative poses of some units.

    Parameters
    ----------
    correlations
        Orbit correlations of the layer.
    members
        Channels, shape (member,), at least two.
    order
        Order of their stabiliser; by default that of their mean autocorrelation.

    Notes
    -----
    The pair angles, weighted by the fourth power of the correlation, make a Hermitian connection matrix whose top
    eigenvector gives starting poses (multiplied by the stabiliser's order, so that equal peaks agree). Each pose is
    then moved to the maximum of the summed correlation with all others, in two sweeps: this uses the whole curves
    and is not misled by a pair whose higher peak is the wrong one of two.

    References
    ----------
    Singer, *Angular synchronization by eigenvectors and semidefinite programming*, ACHA 30 (2011) 20, section 2.
    The coordinate ascent is ours.
    """
    if order is None:
        order = find_stabiliser_order(correlations.curves(members, members, GRID_DEG).mean(1))
    height, angle_deg = correlations.peaks(members, _GRID)
    weight = np.clip(height.astype(float), 0, 1) ** 4
    np.fill_diagonal(weight, 0)
    connection = weight * np.exp(1j * order * np.radians(angle_deg.astype(float)))
    _, vectors = np.linalg.eigh((connection + connection.conj().T) / 2)
    poses = -np.degrees(np.angle(vectors[:, -1])) / order
    n = len(members)
    pair = correlations.coefficients[:, members[:, None], members[None, :]]
    for _ in range(2):
        for index in range(n):
            others = np.flatnonzero(np.arange(n) != index)
            total = _summed_curve(pair[:, others, index], poses[others])
            poses[index] = _peak_deg(total)
    return Candidate(members, (poses - poses[0]) % (360.0 / order), order)


def _summed_curve(pairs: NDArray[np.complex64], poses_deg: Floats) -> Floats:
    """Mean correlation with members at known poses, as a function of the pose; on GRID_DEG, shape (grid, ...).

    ``pairs``: coefficients, shape (frequency, member, ...).
    """
    frequency = np.arange(len(pairs))
    turn = np.exp(-1j * np.radians(np.outer(frequency, poses_deg)))
    series = (pairs * turn.reshape(turn.shape + (1,) * (pairs.ndim - 2))).mean(1)
    wave = np.exp(1j * np.radians(np.outer(GRID_DEG, frequency)))
    return np.asarray(np.tensordot(wave, series, axes=1).real)


def _peak_deg(curve: Floats) -> float:
    """Place of a periodic curve's maximum, refined by a parabola, degrees."""
    top = int(curve.argmax())
    before, at, after = curve[top - 1], curve[top], curve[(top + 1) % len(curve)]
    bend = before - 2 * at + after
    return (top + (0.5 * (before - after) / bend if bend < 0 else 0.0)) * _STEP_DEG


def consensus(correlations: OrbitCorrelations, candidate: Candidate) -> Floats:
    """Mean correlation of each member with the others at the family's own relative poses, shape (member,)."""
    relative_deg = candidate.poses_deg[None, :] - candidate.poses_deg[:, None]
    pair = correlations.at(candidate.channels[:, None], candidate.channels[None, :], relative_deg)
    np.fill_diagonal(pair, 0)
    return np.asarray(pair.sum(1) / (len(pair) - 1))


def edge_disagreement_deg(correlations: OrbitCorrelations, candidate: Candidate) -> float:
    """Median difference between the pairs' own relative poses and the family's, degrees."""
    _, angle_deg = correlations.peaks(candidate.channels, _GRID)
    relative_deg = candidate.poses_deg[None, :] - candidate.poses_deg[:, None]
    difference = np.abs(
        circular_difference_deg(angle_deg.astype(np.float64), relative_deg, candidate.period_deg)
    )
    return float(np.median(difference[~np.eye(len(difference), dtype=bool)]))


def phase_coherence(correlations: OrbitCorrelations, candidate: Candidate) -> float:
    """Whether the higher harmonics of the members' tuning agree at the pose that the fundamental gave.

    Returns
    -------
    float
        ``sum Re(c_f exp(i f angle)) / sum |c_f|`` over all pairs at the family's relative poses and all angular
        frequencies f above the fundamental (the stabiliser's order), in [-1, 1]; NaN where those hold less than a
        thousandth of the oriented energy.

    Notes
    -----
    Any two smooth patterns can be turned so that their strongest angular component agrees: that alone makes no
    copy. If v is u turned by g, every component f is turned by f g, so each further one is a test that used up no
    freedom; for chance resemblance its phase is arbitrary.
    """
    u, v = np.triu_indices(len(candidate.channels), 1)
    pairs = correlations.coefficients[:, candidate.channels[u], candidate.channels[v]]
    frequency = np.arange(len(pairs))
    relative = np.radians(candidate.poses_deg[v] - candidate.poses_deg[u])
    turned = pairs * np.exp(1j * np.outer(frequency, relative))
    higher = turned[frequency > candidate.stabiliser_order]
    energy = float(np.abs(higher).sum())
    if energy <= _LEAST_HARMONICS * float(np.abs(turned[1:]).sum()):
        return float("nan")
    return float(higher.real.sum()) / energy


def pose_spread_deg(candidate: Candidate) -> float:
    """Shortest arc that holds all poses of a family, degrees: the period less the largest gap."""
    poses = np.sort(candidate.poses_deg)
    gaps = np.diff(np.append(poses, poses[0] + candidate.period_deg))
    return float(candidate.period_deg - gaps.max())


def is_consistent(correlations: OrbitCorrelations, candidate: Candidate) -> bool:
    """Whether a family's members are turned at all, its phases coherent and its cycles closed, on the given half."""
    return (
        pose_spread_deg(candidate) >= MIN_SPREAD_DEG
        and is_coherent(phase_coherence(correlations, candidate))
        and edge_disagreement_deg(correlations, candidate) <= MAX_DISAGREEMENT_DEG
    )


def is_coherent(coherence: float) -> bool:
    """Whether a phase coherence allows a family; one that could not be measured does not forbid it."""
    return not coherence < MIN_COHERENCE


class PoseSearch(Protocol[C]):
    """What the search needs to know about poses: on a circle, on a torus."""

    def heights(self, units: Ints) -> NDArray[np.float32]:
        """Highest correlation of every pair at any relative pose, shape (unit, unit)."""

    def synchronise(self, members: Ints) -> C:
        """Find the poses that best agree with all pairs of some units."""

    def consensus(self, candidate: C) -> Floats:
        """Mean correlation of each member with the others at the family's relative poses, shape (member,)."""

    def coherence(self, candidate: C) -> float:
        """Agreement of what the poses were not fitted to; NaN where there is nothing of it."""

    def fit(self, candidate: C, pool: Ints) -> Floats:
        """Highest mean correlation of units with the members, shape (unit,)."""


@dataclass(frozen=True)
class _CircleSearch:
    """The steps of the search for families, on a circle."""

    correlations: OrbitCorrelations

    def heights(self, units: Ints) -> NDArray[np.float32]:
        return self.correlations.peaks(units, _GRID)[0]

    def synchronise(self, members: Ints) -> Candidate:
        return resolve_stabiliser(self.correlations, synchronise(self.correlations, members))

    def consensus(self, candidate: Candidate) -> Floats:
        return consensus(self.correlations, candidate)

    def coherence(self, candidate: Candidate) -> float:
        return phase_coherence(self.correlations, candidate)

    def fit(self, candidate: Candidate, pool: Ints) -> Floats:
        pairs = self.correlations.coefficients[:, candidate.channels[:, None], pool[None, :]]
        return np.asarray(_summed_curve(pairs, candidate.poses_deg).max(0))


def resolve_stabiliser(correlations: OrbitCorrelations, candidate: Candidate) -> Candidate:
    """Give a family the poses of a subgroup of its stabiliser, where its members tell near repeats from repeats.

    A unit that nearly repeats itself may have copies exact enough for the difference to show. If poses up to the
    stabiliser leave the members three times as far from each other as poses up to a subgroup do, the subgroup is
    their stabiliser.
    """
    for lower in range(candidate.stabiliser_order - 1, 0, -1):
        if candidate.stabiliser_order % lower:
            continue
        finer = synchronise(correlations, candidate.channels, lower)
        far, near = (1 - float(consensus(correlations, c).mean()) for c in (candidate, finer))
        if far > max(_OUTLIER_RATIO * near, _OUTLIER_FLOOR):
            candidate = finer
    return candidate


def find_candidates(
    correlations: OrbitCorrelations, units: Ints, *, min_score: float = MIN_SCORE, min_size: int = 3
) -> list[Candidate]:
    """Search the families on a circle among some units of a layer: see `search`."""
    found = search(_CircleSearch(correlations), units, min_score=min_score, min_size=min_size)
    return [_in_order(candidate) for candidate in _join_parts(correlations, found)]


def _join_parts(correlations: OrbitCorrelations, found: list[Candidate]) -> list[Candidate]:
    """Join what are parts of one designed field, whose quarter turns are exact copies and whose other turns are not.

    Such parts are exact copies at even steps, as many in each, and lie at even steps together; look-alikes do not.
    """
    parts = [c for c in found if _is_even(c) and (consensus(correlations, c) > 1 - _EXACT).all()]
    others = [c for c in found if not any(c is part for part in parts)]
    joined = True
    while joined:
        joined = False
        for one, other in itertools.combinations(parts, 2):
            if len(one.channels) != len(other.channels):
                continue
            whole = synchronise(correlations, np.concatenate([one.channels, other.channels]))
            if _is_even(whole) and (consensus(correlations, whole) > 1 - CLOSE_COPIES).all():
                parts = [part for part in parts if part is not one and part is not other] + [whole]
                joined = True
                break
    return sorted(others + parts, key=_by_size)


def _is_even(candidate: Candidate) -> bool:
    """Whether the members' poses lie at even steps all around."""
    poses, step = np.sort(candidate.poses_deg), candidate.period_deg / len(candidate.channels)
    gaps = np.diff(np.append(poses, poses[0] + candidate.period_deg))
    return bool((np.abs(gaps - step) < _EVEN_DEG).all())


def _by_size(candidate: HasChannels) -> tuple[int, int]:
    return -len(candidate.channels), int(candidate.channels.min())


def search(poses: PoseSearch[C], units: Ints, *, min_score: float = MIN_SCORE, min_size: int = 3) -> list[C]:
    """Search the families among some units of a layer.

    Parameters
    ----------
    poses
        Correlations of the layer and how poses are fitted to them.
    units
        Channels that may belong to a family: those that are active and not invariant.
    min_score
        Smallest mean correlation with the other members.
    min_size
        Smallest family.

    Returns
    -------
    list
        Candidates, each unit in at most one, the largest family first.

    Notes
    -----
    Average linkage on ``1 - max_g rho_uv(g)`` proposes groups; each is synchronised, and members that do not hold
    together with it are let go until the rest does. A group without phase coherence is linked again more tightly,
    for copies may be hidden among units that only share a direction. Units left over join the family that they fit,
    and what then remains is linked again. Cost: a few seconds for 1,000 units.
    """
    found: list[C] = []
    pool = np.asarray(units, dtype=np.int64)
    for level in sorted({max(level, min_score) for level in _LINK_LEVELS}, reverse=True):
        while len(pool) >= min_size:
            fresh = _found(poses, pool, level, min_score, min_size)
            found += fresh
            pool = _left_over(units, found)
            found = _adopt(poses, found, pool, min_score)
            pool = _left_over(units, found)
            if not fresh:
                break
    return sorted(found, key=_by_size)


def _found(poses: PoseSearch[C], pool: Ints, level: float, min_score: float, min_size: int) -> list[C]:
    """Coherent families that linkage at ``level`` founds, or at the next levels up in groups that are not coherent.

    What stays incoherent up to the tightest level is returned as it was found: it counts as a refused candidate.
    """
    families: list[C] = []
    for group in _link(poses.heights(pool), level, min_size):
        candidate = _hold_together(poses, pool[group], min_score, min_size)
        if candidate is None:
            continue
        parts: list[C] = []
        if poses.coherence(candidate) < _SOUGHT_COHERENCE and level + _LEVEL_STEP < 1:
            tighter = _found(poses, candidate.channels, level + _LEVEL_STEP, min_score, min_size)
            parts = [part for part in tighter if not poses.coherence(part) < _SOUGHT_COHERENCE]
        families += parts or [candidate]
    return families


def _link(height: NDArray[np.float32], level: float, min_size: int) -> list[Ints]:
    """Group units by average linkage down to a mean peak correlation of ``level``.

    A group that already makes a family is not joined with anything that is much further away than its members are
    from each other: exact copies stay apart from look-alikes, loose families grow as far as ``level`` allows.
    """
    # A unit that never fired for these stimuli correlates with none, and is joined with none.
    distance = 1 - np.nan_to_num((height + height.T).astype(float) / 2, nan=-1.0)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(np.clip(distance, 0, None), checks=False), "average")
    groups = {index: [index] for index in range(len(height))}
    reach = dict.fromkeys(groups, float("inf"))
    closed = []
    for step, (a, b, merge_distance, _) in enumerate(tree):
        pair = [index for index in (int(a), int(b)) if index in groups]
        blocked = len(pair) < 2 or merge_distance > min(1 - level, *(reach[index] for index in pair))
        members = [groups.pop(index) for index in pair]
        if blocked:
            closed += members
            continue
        node = len(height) + step
        groups[node] = members[0] + members[1]
        is_family = len(groups[node]) >= min_size
        reach[node] = max(_OUTLIER_RATIO * merge_distance, _OUTLIER_FLOOR) if is_family else float("inf")
    closed += groups.values()
    return [np.array(sorted(group)) for group in closed if len(group) >= min_size]


def _hold_together(poses: PoseSearch[C], members: Ints, min_score: float, min_size: int) -> C | None:
    """Synchronise, letting the worst member go until all fit; None if too few remain."""
    while len(members) >= min_size:
        candidate = poses.synchronise(members)
        # In the order of the candidate's own channels, which may be sorted.
        members = candidate.channels
        distance = 1 - poses.consensus(candidate)
        worst = int(distance.argmax())
        usual = float(np.median(distance))
        if distance[worst] <= min(1 - min_score, max(_OUTLIER_RATIO * usual, _OUTLIER_FLOOR)):
            return candidate
        members = np.delete(members, worst)
    return None


def keep_company(scores: Sequence[float], floor: float = _OUTLIER_FLOOR) -> NDArray[np.bool_]:
    """Which of the candidates of one layer are not much worse than its candidates usually are.

    Exact copies leave no room for look-alikes; where copies are loose, loose ones count. A candidate may be three times
    as far from perfect as the median one, as members may be in a family, and ``floor`` away in any case. ``scores`` are
    those of the finding half, so that nothing is selected on the half that verifies.
    """
    distance = 1 - np.asarray(scores, dtype=float)
    if not len(distance):
        return np.zeros(0, dtype=bool)
    return np.asarray(distance <= max(_OUTLIER_RATIO * float(np.median(distance)), floor))


def _left_over(units: Ints, found: Sequence[HasChannels]) -> Ints:
    taken = [candidate.channels for candidate in found]
    return np.setdiff1d(units, np.concatenate(taken)) if taken else np.asarray(units, dtype=np.int64)


def _adopt(poses: PoseSearch[C], found: list[C], pool: Ints, min_score: float) -> list[C]:
    """Give each unit of the pool to the family that it fits best, where it fits nearly as well as its members."""
    if not found or not len(pool):
        return found
    fit = np.stack([poses.fit(candidate, pool) for candidate in found])
    grown = []
    for index, candidate in enumerate(found):
        needed = max(min_score, float(poses.consensus(candidate).min()) - _ADOPTION_SLACK)
        joining = pool[(fit.argmax(0) == index) & (fit[index] >= needed)]
        if len(joining):
            members = np.concatenate([candidate.channels, joining])
            larger = _hold_together(poses, members, min_score, len(candidate.channels))
            # Newcomers that share no more than a direction must not cost a family its coherence.
            if larger is not None and not poses.coherence(larger) < min(
                _SOUGHT_COHERENCE, poses.coherence(candidate)
            ):
                candidate = larger
        grown.append(candidate)
    return grown


def _in_order(candidate: Candidate) -> Candidate:
    """Members by channel, the first at pose zero."""
    order = np.argsort(candidate.channels)
    poses = candidate.poses_deg[order]
    return Candidate(
        candidate.channels[order], (poses - poses[0]) % candidate.period_deg, candidate.stabiliser_order
    )
