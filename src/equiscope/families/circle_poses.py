"""Poses on a circle: the angles that agree best with all relative angles of pairs, and how well they agree.

Pairs of units give relative poses; a family needs one pose a member. This is angular synchronisation: an eigenvector of
the matrix of pair angles gives a start, coordinate ascent on the correlations themselves the rest.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.families.correlations import OrbitCorrelations
from equiscope.families.linkage import MIN_SCORE, OUTLIER_RATIO, by_size, link_families
from equiscope.foundations.statistics import circular_difference_deg

__all__ = [
    "CLOSE_COPIES",
    "GRID_DEG",
    "MAX_DISAGREEMENT_DEG",
    "MIN_COHERENCE",
    "MIN_SPREAD_DEG",
    "STABILISER_SHARE",
    "Candidate",
    "CircleFit",
    "consensus",
    "edge_disagreement_deg",
    "find_candidates",
    "find_stabiliser_order",
    "in_order",
    "is_coherent",
    "is_consistent",
    "pair_correlations",
    "phase_coherence",
    "pose_spread_deg",
    "resolve_stabiliser",
    "synchronise",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Smallest phase coherence of an accepted family. Exact copies have 0.90 or more, GoogLeNet's families 0.95 in the
# median; the smooth random patterns of the planted network, which resemble each other by chance, 0.51 to 0.58.
MIN_COHERENCE = 0.75
# Largest median difference, degrees, between the pairs' own relative poses and the family's: half of the step of 16
# angles. GoogLeNet's families have 1 in the median and 10.3 at most (docs/results.md); units whose pairs lock onto
# different ones of several equal peaks, 50 to 90.
MAX_DISAGREEMENT_DEG = 11.25
# Members that all lie within this arc, degrees, are units alike, not copies turned: deep layers are full of them, for
# there everything answers to upright pictures.
MIN_SPREAD_DEG = 15.0
# Below this share of the oriented energy in higher harmonics there is nothing to be coherent.
_LEAST_HARMONICS = 1e-3
# Copies nearer than this are exact, as no network learns them. Quarter turns of a designed field are such and its other
# turns are not, so that it may fall into parts: three layers deep these were 0.12 apart at most, different fields 0.22
# or more.
_EXACT, CLOSE_COPIES = 0.01, 0.15
# Poses of a designed field lie at even steps; to this many degrees, measured on pixels.
_EVEN_DEG = 3.0
# Share of the way from a unit's lowest to its perfect autocorrelation that a stabilising rotation must keep.
STABILISER_SHARE = 0.7
_STABILISER_ORDERS = (2, 3, 4, 5, 6, 8)
_GRID = 128
_STEP_DEG = 360.0 / _GRID
GRID_DEG: Floats = np.arange(_GRID, dtype=np.float64) * _STEP_DEG


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

    Examples
    --------
    A line looks the same after half a turn, a curve does not.

    >>> angles = np.radians(GRID_DEG)
    >>> find_stabiliser_order(np.cos(2 * angles)), find_stabiliser_order(np.cos(angles))
    (2, 1)
    """
    lowest = float(np.min(autocorrelation))
    if not np.isfinite(lowest) or lowest >= 1 - _EXACT:
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

    Examples
    --------
    Three units that are turned by 0°, 90° and 200°.

    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> correlations = OrbitCorrelations(np.stack([0 * waves, waves]), n_stimuli=10)
    >>> synchronise(correlations, np.arange(3)).poses_deg.round(3).tolist()
    [0.0, 90.0, 200.0]
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
    """Mean correlation of each member with the others at the family's own relative poses, shape (member,).

    Examples
    --------
    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> correlations = OrbitCorrelations(np.stack([0 * waves, waves]), n_stimuli=10)
    >>> consensus(correlations, Candidate(np.arange(3), np.array([0.0, 90.0, 200.0]), 1)).round(3).tolist()
    [1.0, 1.0, 1.0]
    """
    pair = pair_correlations(correlations, candidate)
    np.fill_diagonal(pair, 0)
    return np.asarray(pair.sum(1) / (len(pair) - 1))


def pair_correlations(correlations: OrbitCorrelations, candidate: Candidate) -> Floats:
    """Correlation of every two members at the family's own relative poses, shape (member, member).

    Examples
    --------
    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> correlations = OrbitCorrelations(np.exp(1j * (angles[:, None] - angles))[None].repeat(2, 0), n_stimuli=10)
    >>> pair_correlations(correlations, Candidate(np.arange(3), np.array([0.0, 90.0, 200.0]), 1)).shape
    (3, 3)
    """
    relative_deg = candidate.poses_deg[None, :] - candidate.poses_deg[:, None]
    return np.asarray(correlations.at(candidate.channels[:, None], candidate.channels[None, :], relative_deg))


def edge_disagreement_deg(correlations: OrbitCorrelations, candidate: Candidate) -> float:
    """Median difference between the pairs' own relative poses and the family's, degrees.

    Examples
    --------
    The last pose is 30° away from where its pairs would have it.

    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> correlations = OrbitCorrelations(np.stack([0 * waves, waves]), n_stimuli=10)
    >>> round(edge_disagreement_deg(correlations, Candidate(np.arange(3), np.array([0.0, 90.0, 230.0]), 1)), 2)
    30.0
    """
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
        frequencies f above the fundamental (the stabiliser's order) whose phases are measured, in [-1, 1]; NaN where
        those hold less than a thousandth of the oriented energy.

    Notes
    -----
    Any two smooth patterns can be turned so that their strongest angular component agrees: that alone makes no
    copy. If v is u turned by g, every component f is turned by f g, so each further one is a test that used up no
    freedom; for chance resemblance its phase is arbitrary.

    Examples
    --------
    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> correlations = OrbitCorrelations(np.stack([0 * waves, 0.7 * waves, 0.3 * waves**2]), 10)
    >>> round(phase_coherence(correlations, Candidate(np.arange(3), np.array([0.0, 90.0, 200.0]), 1)), 3)
    1.0
    """
    u, v = np.triu_indices(len(candidate.channels), 1)
    pairs = correlations.coefficients[:, candidate.channels[u], candidate.channels[v]]
    frequency = np.arange(len(pairs))
    relative = np.radians(candidate.poses_deg[v] - candidate.poses_deg[u])
    turned = pairs * np.exp(1j * np.outer(frequency, relative))
    is_higher = frequency > candidate.stabiliser_order
    is_higher[-1] &= not correlations.has_nyquist
    higher = turned[is_higher]
    energy = float(np.abs(higher).sum())
    if energy <= _LEAST_HARMONICS * float(np.abs(turned[1:]).sum()):
        return float("nan")
    return float(higher.real.sum()) / energy


def pose_spread_deg(candidate: Candidate) -> float:
    """Shortest arc that holds all poses of a family, degrees: the period less the largest gap.

    Examples
    --------
    >>> pose_spread_deg(Candidate(np.arange(3), np.array([0.0, 20.0, 350.0]), 1))
    30.0
    """
    poses = np.sort(candidate.poses_deg)
    gaps = np.diff(np.append(poses, poses[0] + candidate.period_deg))
    return float(candidate.period_deg - gaps.max())


def is_consistent(correlations: OrbitCorrelations, candidate: Candidate) -> bool:
    """Whether a family's members are turned at all, its phases coherent and its cycles closed, on the given half.

    Examples
    --------
    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> correlations = OrbitCorrelations(np.stack([0 * waves, 0.7 * waves, 0.3 * waves**2]), 10)
    >>> is_consistent(correlations, Candidate(np.arange(3), np.array([0.0, 90.0, 200.0]), 1))
    True
    >>> is_consistent(correlations, Candidate(np.arange(3), np.array([0.0, 5.0, 10.0]), 1))
    False
    """
    return (
        pose_spread_deg(candidate) >= MIN_SPREAD_DEG
        and is_coherent(phase_coherence(correlations, candidate))
        and edge_disagreement_deg(correlations, candidate) <= MAX_DISAGREEMENT_DEG
    )


def is_coherent(coherence: float) -> bool:
    """Whether a phase coherence allows a family; one that could not be measured does not forbid it.

    Examples
    --------
    >>> is_coherent(0.9), is_coherent(0.5), is_coherent(float("nan"))
    (True, False, True)
    """
    return not coherence < MIN_COHERENCE


@dataclass(frozen=True)
class CircleFit:
    """The steps of the search for families, on a circle: what `link_families` asks of a space of poses.

    Attributes
    ----------
    correlations
        Of the layer's units.
    """

    correlations: OrbitCorrelations

    def heights(self, units: Ints) -> NDArray[np.float32]:
        """Highest correlation of every pair at any angle, shape (unit, unit)."""
        return self.correlations.peaks(units, _GRID)[0]

    def synchronise(self, members: Ints) -> Candidate:
        """Find the angles that best agree with all pairs of some units."""
        return resolve_stabiliser(self.correlations, synchronise(self.correlations, members))

    def consensus(self, candidate: Candidate) -> Floats:
        """Mean correlation of each member with the others, shape (member,)."""
        return consensus(self.correlations, candidate)

    def pairs(self, candidate: Candidate) -> Floats:
        """Correlation of every two members at the family's relative poses."""
        return pair_correlations(self.correlations, candidate)

    def coherence(self, candidate: Candidate) -> float:
        """Agreement of the higher harmonics, to which the angles were not fitted."""
        return phase_coherence(self.correlations, candidate)

    def fit(self, candidate: Candidate, pool: Ints) -> Floats:
        """Highest mean correlation of units with the members, shape (unit,)."""
        pairs = self.correlations.coefficients[:, candidate.channels[:, None], pool[None, :]]
        return np.asarray(_summed_curve(pairs, candidate.poses_deg).max(0))


def resolve_stabiliser(correlations: OrbitCorrelations, candidate: Candidate) -> Candidate:
    """Give a family the poses of a subgroup of its stabiliser, where its members tell near repeats from repeats.

    A unit that nearly repeats itself may have copies exact enough for the difference to show. If poses up to the
    stabiliser leave the members three times as far from each other as poses up to a subgroup do, the subgroup is
    their stabiliser.

    Examples
    --------
    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> correlations = OrbitCorrelations(np.stack([0 * waves, waves]), n_stimuli=10)
    >>> found = synchronise(correlations, np.arange(3), order=2)
    >>> resolve_stabiliser(correlations, found).stabiliser_order
    1
    """
    for lower in range(candidate.stabiliser_order - 1, 0, -1):
        if candidate.stabiliser_order % lower:
            continue
        finer = synchronise(correlations, candidate.channels, lower)
        far, near = (1 - float(consensus(correlations, c).mean()) for c in (candidate, finer))
        if far > max(OUTLIER_RATIO * near, _EXACT):
            candidate = finer
    return candidate


def find_candidates(
    correlations: OrbitCorrelations, units: Ints, *, min_score: float = MIN_SCORE, min_size: int = 3
) -> list[Candidate]:
    """Search the families on a circle among some units of a layer: see `link_families`.

    Examples
    --------
    >>> angles = np.radians([0.0, 90.0, 200.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> correlations = OrbitCorrelations(np.stack([0 * waves, 0.7 * waves, 0.3 * waves**2]), 10)
    >>> [found.channels.tolist() for found in find_candidates(correlations, np.arange(3))]
    [[0, 1, 2]]
    """
    found = link_families(CircleFit(correlations), units, min_score=min_score, min_size=min_size)
    return [in_order(candidate) for candidate in _join_parts(correlations, found)]


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
            # Of each with those of the other part alone: its own part's are exact and would hide how far that is.
            across = pair_correlations(correlations, whole)[: len(one.channels), len(one.channels) :]
            apart = 1 - np.concatenate([across.mean(0), across.mean(1)])
            if _is_even(whole) and (apart < CLOSE_COPIES).all():
                parts = [part for part in parts if part is not one and part is not other] + [whole]
                joined = True
                break
    return sorted(others + parts, key=by_size)


def _is_even(candidate: Candidate) -> bool:
    """Whether the members' poses lie at even steps all around."""
    poses, step = np.sort(candidate.poses_deg), candidate.period_deg / len(candidate.channels)
    gaps = np.diff(np.append(poses, poses[0] + candidate.period_deg))
    return bool((np.abs(gaps - step) < _EVEN_DEG).all())


def in_order(candidate: Candidate) -> Candidate:
    """Give a candidate's members by channel, the first at pose zero.

    Examples
    --------
    >>> in_order(Candidate(np.array([5, 2]), np.array([0.0, 90.0]), 1)).poses_deg.tolist()
    [0.0, 270.0]
    """
    order = np.argsort(candidate.channels)
    poses = candidate.poses_deg[order]
    return Candidate(
        candidate.channels[order], (poses - poses[0]) % candidate.period_deg, candidate.stabiliser_order
    )
