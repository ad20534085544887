"""From how alike pairs of units are to candidate families: average linkage, tightened until each group holds together.

Linkage joins the two groups whose members are most alike in the mean, again and again. It knows nothing of poses: a
`PoseFit`, one for each kind of pose space, tells how alike two units are at the best relative pose, and at which poses
the members of a group agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

__all__ = [
    "MIN_SCORE",
    "OUTLIER_FLOOR",
    "OUTLIER_RATIO",
    "HasChannels",
    "PoseFit",
    "by_size",
    "divide_group",
    "farthest_company",
    "link_families",
    "link_members",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Smallest mean correlation with the other members that makes a member; what is accepted in the end is decided by
# the false-discovery rate and the phase coherence. Chosen on GoogLeNet, as the log says: at 0.35 its mixed3b gave 44
# coherent families among 49 found, at 0.4 35 among 38.
MIN_SCORE = 0.35
# What the search asks for on the finding half: more, because what is selected for comes out lower where it is verified.
_SOUGHT_COHERENCE = 0.8
# Families are first linked at the higher level and then, among what is left, at the lower: a single low level
# would join families that merely resemble each other.
_LINK_LEVELS = (0.5, MIN_SCORE)
_LEVEL_STEP = 0.1
# A member may be this many times as far from the others as members usually are ...
OUTLIER_RATIO = 3.0
# ... but not for differences that sampling on a pixel grid makes: planted copies score 0.996 or more.
OUTLIER_FLOOR = 0.05
# A new member may be this much worse than the worst of those who founded the family.
_ADOPTION_SLACK = 0.1


class HasChannels(Protocol):
    """A candidate of any search: it has members."""

    @property
    def channels(self) -> Ints:
        """Its members, shape (member,)."""


C = TypeVar("C", bound=HasChannels)


class PoseFit(Protocol[C]):
    """What linkage needs to know about poses: on a circle, on a torus."""

    def heights(self, units: Ints) -> NDArray[np.float32]:
        """Highest correlation of every pair at any relative pose, shape (unit, unit)."""

    def synchronise(self, members: Ints) -> C:
        """Find the poses that best agree with all pairs of some units."""

    def consensus(self, candidate: C) -> Floats:
        """Mean correlation of each member with the others at the family's relative poses, shape (member,)."""

    def pairs(self, candidate: C) -> Floats:
        """Correlation of every two members at the family's relative poses, shape (member, member)."""

    def coherence(self, candidate: C) -> float:
        """Agreement of what the poses were not fitted to; NaN where there is nothing of it."""

    def fit(self, candidate: C, pool: Ints) -> Floats:
        """Highest mean correlation of units with the members, shape (unit,)."""


def by_size(candidate: HasChannels) -> tuple[int, int]:
    """Give what candidates are sorted by: the largest first, then by the first channel.

    Examples
    --------
    >>> from equiscope.families.circle_poses import Candidate
    >>> pair, triple = (Candidate(np.arange(n) + 5, np.zeros(n), 1) for n in (2, 3))
    >>> [len(found.channels) for found in sorted([pair, triple], key=by_size)]
    [3, 2]
    """
    return -len(candidate.channels), int(candidate.channels.min())


def link_families(
    poses: PoseFit[C], units: Ints, *, min_score: float = MIN_SCORE, min_size: int = 3
) -> list[C]:
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

    Examples
    --------
    Units 0 to 2 are copies at 0, 90 and 200 degrees; unit 3 is like none of them.

    >>> from equiscope.families.circle_poses import CircleFit
    >>> from equiscope.families.correlations import OrbitCorrelations
    >>> angles = np.radians([0.0, 90.0, 200.0, 0.0])
    >>> waves = np.exp(1j * (angles[:, None] - angles))
    >>> waves[3, :3] = waves[:3, 3] = 0
    >>> poses = CircleFit(OrbitCorrelations(np.stack([0 * waves, 0.7 * waves, 0.3 * waves**2]), n_stimuli=10))
    >>> [found.channels.tolist() for found in link_families(poses, np.arange(4))]
    [[0, 1, 2]]
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
    return sorted(found, key=by_size)


def _found(poses: PoseFit[C], pool: Ints, level: float, min_score: float, min_size: int) -> list[C]:
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
        reach[node] = max(OUTLIER_RATIO * merge_distance, OUTLIER_FLOOR) if is_family else float("inf")
    closed += groups.values()
    return [np.array(sorted(group)) for group in closed if len(group) >= min_size]


def link_members(correlation: Floats) -> tuple[tuple[int, int, float], ...]:
    """Link the members of one family: which come together first, and at which mean correlation.

    Parameters
    ----------
    correlation
        Of every two members at their poses, shape (member, member).

    Returns
    -------
    tuple
        Merges from the closest on: the two that merge, members by their place or earlier merges counted from the
        number of members on, and the mean correlation between the two. Average linkage, as the search itself uses.

    Examples
    --------
    >>> link_members(np.array([[1.0, 0.5, 0.9], [0.5, 1.0, 0.6], [0.9, 0.6, 1.0]]))
    ((0, 2, 0.9), (1, 3, 0.55))
    """
    distance = 1 - np.nan_to_num((correlation + correlation.T) / 2, nan=-1.0)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(np.clip(distance, 0, None), checks=False), "average")
    return tuple((int(a), int(b), round(1 - float(away), 6)) for a, b, away, _ in tree)


def divide_group(poses: PoseFit[C], candidate: C, *, min_size: int = 3) -> list[C]:
    """Divide a candidate in two, where its members came together last; parts that are too small are let go.

    Parameters
    ----------
    poses
        Correlations of the layer and how poses are fitted to them.
    candidate
        Is divided.
    min_size
        Smallest part.

    Examples
    --------
    Units 0 to 2 are copies; unit 3 was joined with them last.

    >>> from equiscope.families.circle_poses import CircleFit
    >>> from equiscope.families.correlations import OrbitCorrelations
    >>> waves = np.ones((4, 4), complex)
    >>> waves[3, :3] = waves[:3, 3] = 0.5
    >>> poses = CircleFit(OrbitCorrelations(np.stack([0 * waves, 0.7 * waves, 0.3 * waves]), n_stimuli=10))
    >>> [part.channels.tolist() for part in divide_group(poses, poses.synchronise(np.arange(4)))]
    [[0, 1, 2]]
    """
    tree = link_members(poses.pairs(candidate))
    size = len(candidate.channels)
    parts = [[index] for index in range(size)]
    for a, b, _ in tree:
        parts.append(parts[a] + parts[b])
    halves = [parts[node] for node in tree[-1][:2]]
    return [
        poses.synchronise(candidate.channels[np.array(sorted(half))])
        for half in halves
        if len(half) >= min_size
    ]


def _hold_together(poses: PoseFit[C], members: Ints, min_score: float, min_size: int) -> C | None:
    """Synchronise, letting the worst member go until all fit; None if too few remain."""
    while len(members) >= min_size:
        candidate = poses.synchronise(members)
        # In the order of the candidate's own channels, which may be sorted.
        members = candidate.channels
        distance = 1 - poses.consensus(candidate)
        worst = int(distance.argmax())
        usual = float(np.median(distance))
        if distance[worst] <= min(1 - min_score, max(OUTLIER_RATIO * usual, OUTLIER_FLOOR)):
            return candidate
        members = np.delete(members, worst)
    return None


def farthest_company(scores: Sequence[float], floor: float = OUTLIER_FLOOR) -> float:
    """How far from perfect a candidate may be without being much worse than the candidates of its layer usually are.

    Exact copies leave no room for look-alikes; where copies are loose, loose ones count. A candidate may be three times
    as far from perfect as the median one, as members may be in a family, and ``floor`` away in any case. ``scores`` are
    those of the finding half, so that nothing is selected on the half that verifies.

    Examples
    --------
    Copies that are exact keep company with exact ones alone.

    >>> round(farthest_company([0.999, 0.998, 0.9], floor=0.01), 3), round(farthest_company([0.9, 0.7, 0.8]), 3)
    (0.01, 0.6)
    """
    distance = 1 - np.asarray(scores, dtype=float)
    return max(OUTLIER_RATIO * float(np.median(distance)), floor) if len(distance) else floor


def _left_over(units: Ints, found: Sequence[HasChannels]) -> Ints:
    taken = [candidate.channels for candidate in found]
    return np.setdiff1d(units, np.concatenate(taken)) if taken else np.asarray(units, dtype=np.int64)


def _adopt(poses: PoseFit[C], found: list[C], pool: Ints, min_score: float) -> list[C]:
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
