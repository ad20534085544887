"""Rotation × scale: rotation families of different sizes or layers that are one family at several scales.

Scale pairs were found on upright stimuli and know nothing of rotation; rotation families know nothing of scale. Where
both hold, the pairs between two rotation families connect members whose poses differ by one and the same angle, the
offset between the two families' arbitrary zeros. That agreement is the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import Family, Member
from equiscope.families.layer_families import UnitPair
from equiscope.foundations.statistics import adjust_p_values, circular_difference_deg, circular_mean_deg
from equiscope.transformations import Pose
from equiscope.transformations.rotation import ANGLE
from equiscope.transformations.rotation_scale import RotationScale
from equiscope.transformations.scale import OCTAVES

__all__ = ["FamilyLink", "find_rotation_scale_families"]

Floats = NDArray[np.float64]

_NAME = RotationScale.name

# Pairs between two families that can agree by more than accident: two always agree on some offset nearly.
_MIN_LINKS = 3
# Largest median difference of the pairs' offsets from their mean, degrees: stimuli are compared upright, so a pair
# connects the members nearest in orientation, up to about half the distance of neighbours in a family of eight.
_MAX_RESIDUAL_DEG = 22.5
_N_PERMUTATIONS = 2000


@dataclass(frozen=True)
class FamilyLink:
    """Two rotation families joined by scale pairs; figures over those pairs.

    ``offset_deg``: what to add to poses of the first to compare them with the second's; ``octaves``: by how much the
    second is larger; ``residual_deg``: median difference of the offsets from their mean; ``q_value``: of that residual
    among permuted poses, adjusted for all links tested.
    """

    first: str
    second: str
    n_pairs: int
    offset_deg: float
    octaves: float
    residual_deg: float
    q_value: float


def find_rotation_scale_families(
    rotation: Sequence[Family],
    edges: Sequence[UnitPair],
    first_column: Mapping[str, int],
    *,
    false_discovery_rate: float = 0.05,
    seed: int = 0,
) -> tuple[tuple[Family, ...], tuple[FamilyLink, ...]]:
    """Join rotation families that are each other's scaled copies.

    Parameters
    ----------
    rotation
        Rotation families of all layers.
    edges
        Accepted scale pairs, units counted through the layers.
    first_column
        For each layer the number of its first unit in that count.
    false_discovery_rate
        Largest q-value of a link.
    seed
        Seed of the permutations.

    Examples
    --------
    Each unit of a family is one octave larger than that of the other, and turned by 10° more.

    >>> def turned(number, offset_deg):
    ...     poses = [Pose(angle_deg=45 * i + offset_deg) for i in range(8)]
    ...     members = [Member("conv1", 8 * number + i, pose, 0.9, 0.8, 1) for i, pose in enumerate(poses)]
    ...     name, upright = f"conv1-rotation-{number}", (Pose(angle_deg=0.0),)
    ...     return Family(name, ("conv1",), "rotation", 0.9, 0.8, 1, 0.01, tuple(members), upright)
    >>> edges = [UnitPair(i, i + 8, 1.0, 0.9, 0.3) for i in range(8)]
    >>> (family,), (link,) = find_rotation_scale_families([turned(0, 0.0), turned(1, 10.0)], edges, {"conv1": 0})
    >>> family.size, link.n_pairs, round(link.offset_deg, 3), link.octaves
    (16, 8, 10.0, 1.0)
    """
    place = _place_members(rotation, first_column)
    pairs = _pairs_between(rotation, edges, place)
    tested = [(key, rows) for key, rows in pairs.items() if len(rows) >= _MIN_LINKS]
    fits = _test_agreement(rotation, tested, np.random.default_rng([seed, 11]))
    q_values = adjust_p_values([p_value for *_, p_value in fits])
    joined: list[tuple[int, int, FamilyLink]] = []
    for ((a, b), rows), (offset, residual, _), q in zip(tested, fits, q_values, strict=True):
        if q <= false_discovery_rate and residual <= _MAX_RESIDUAL_DEG:
            octaves = float(np.median([row[2] for row in rows]))
            ids = rotation[a].id, rotation[b].id
            joined.append((a, b, FamilyLink(*ids, len(rows), offset, octaves, residual, float(q))))
    families = tuple(
        _as_family(rotation, poses, joined, number, edges, place)
        for number, poses in enumerate(_join(joined), 1)
    )
    return families, tuple(link for *_, link in joined)


# For a unit, counted through the layers: which family it is in, its pose there in degrees, and what it is there.
_Places = Mapping[int, tuple[int, float, Member]]
# A pair of members of two families: the pose of either, by how many octaves the second is larger, and the score.
_Row = tuple[float, float, float, float]


def _place_members(rotation: Sequence[Family], first_column: Mapping[str, int]) -> _Places:
    return {
        first_column[member.layer] + member.channel: (index, member.pose_deg, member)
        for index, family in enumerate(rotation)
        for member in family.members
        if member.layer in first_column
    }


def _pairs_between(
    rotation: Sequence[Family], edges: Sequence[UnitPair], place: _Places
) -> dict[tuple[int, int], list[_Row]]:
    """Scale pairs between two families of one stabiliser, by the two families, the first counted first."""
    pairs: dict[tuple[int, int], list[_Row]] = {}
    for edge in edges:
        if edge.u not in place or edge.v not in place:
            continue
        (a, pose_a, _), (b, pose_b, _) = place[edge.u], place[edge.v]
        octaves = edge.away
        if a == b or rotation[a].stabiliser_order != rotation[b].stabiliser_order:
            continue
        if a > b:
            a, b, pose_a, pose_b, octaves = b, a, pose_b, pose_a, -octaves
        pairs.setdefault((a, b), []).append((pose_a, pose_b, octaves, edge.score))
    return pairs


def _test_agreement(
    rotation: Sequence[Family],
    tested: Sequence[tuple[tuple[int, int], list[_Row]]],
    rng: np.random.Generator,
) -> list[tuple[float, float, float]]:
    """Offset of each two families' poses, the median distance from it, both in degrees, and its p-value."""
    found = []
    for (a, b), rows in tested:
        period = 360.0 / rotation[a].stabiliser_order
        from_deg, to_deg = (np.array([row[i] for row in rows]) for i in (0, 1))
        offset, residual = _fit(from_deg, to_deg, period)
        # Poses of the second family dealt out at random among its own members: what agreement chance gives.
        own = rotation[b].poses_deg
        null = [_fit(from_deg, rng.permutation(own)[: len(rows)], period)[1] for _ in range(_N_PERMUTATIONS)]
        p_value = (1 + sum(value <= residual for value in null)) / (1 + _N_PERMUTATIONS)
        found.append((offset, residual, p_value))
    return found


def _fit(from_deg: Floats, to_deg: Floats, period_deg: float) -> tuple[float, float]:
    """Offset between two series of poses, and the median distance from it, degrees."""
    away = to_deg - from_deg
    offset = circular_mean_deg(away, period_deg=period_deg)
    if np.isnan(offset):
        return 0.0, period_deg / 4
    return offset, float(np.median(np.abs(circular_difference_deg(away, offset, period_deg))))


def _join(links: Sequence[tuple[int, int, FamilyLink]]) -> list[dict[int, tuple[float, float]]]:
    """Families connected by links, each with its offset in degrees and octaves, best links first."""
    group_of: dict[int, dict[int, tuple[float, float]]] = {}
    for a, b, link in sorted(links, key=lambda entry: entry[2].residual_deg):
        own = group_of.setdefault(a, {a: (0.0, 0.0)})
        other = group_of.setdefault(b, {b: (0.0, 0.0)})
        if own is other:
            continue
        # Poses of b less the offset are poses of a.
        turn = own[a][0] - link.offset_deg - other[b][0]
        size = own[a][1] + link.octaves - other[b][1]
        for family, (degrees, octaves) in other.items():
            own[family] = (degrees + turn, octaves + size)
            group_of[family] = own
    unique = {id(group): group for group in group_of.values() if len(group) > 1}
    return sorted(unique.values(), key=lambda group: (-len(group), min(group)))


def _as_family(
    rotation: Sequence[Family],
    poses: dict[int, tuple[float, float]],
    joined: Sequence[tuple[int, int, FamilyLink]],
    number: int,
    edges: Sequence[UnitPair],
    place: _Places,
) -> Family:
    ordered = sorted(poses)
    turn, size = poses[ordered[0]]
    order = rotation[ordered[0]].stabiliser_order
    members = []
    for index in ordered:
        members += [
            replace(
                member,
                pose=Pose(
                    {
                        ANGLE.name: (member.pose_deg + poses[index][0] - turn) % (360.0 / order),
                        OCTAVES.name: poses[index][1] - size,
                    }
                ),
                # Intervals within the rotation family say nothing of the offset between two.
                pose_low=Pose(),
                pose_high=Pose(),
            )
            for member in rotation[index].members
        ]
    own = [link for a, b, link in joined if a in poses and b in poses]
    within = [
        edge.score
        for edge in edges
        if edge.u in place and edge.v in place and {place[edge.u][0], place[edge.v][0]} <= set(poses)
    ]
    stabiliser = rotation[ordered[0]].stabiliser
    return Family(
        id=f"{_NAME}-{number}",
        layers=tuple(dict.fromkeys(layer for index in ordered for layer in rotation[index].layers)),
        transformation=_NAME,
        score=float(np.mean(within)),
        score_low=nan,
        score_high=nan,
        q_value=max(link.q_value for link in own),
        members=tuple(members),
        stabiliser=tuple(Pose({ANGLE.name: turn[ANGLE.name], OCTAVES.name: 0.0}) for turn in stabiliser),
        disagreement=Pose({ANGLE.name: float(np.median([link.residual_deg for link in own]))}),
    )
