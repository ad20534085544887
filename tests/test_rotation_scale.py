"""Rotation families that scale pairs join: the offset is found, and every guard has pairs that it alone refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from equiscope.families.family import Family
from equiscope.families.layer_families import UnitPair
from equiscope.families.rotation_scale import FamilyLink, find_rotation_scale_families
from equiscope.transformations import Pose
from hand_made import a_family, a_member

POSES = np.array([0.0, 41.0, 88.0, 137.0, 181.0, 222.0, 273.0, 318.0])
# Eight units of each layer, counted through both.
COLUMNS = {"early": 0, "late": 20, "last": 40}
OFFSET, OCTAVES = 65.0, 0.7


def turned_family(layer: str, poses_deg: Any, *, first: int = 0, number: int = 1, turns: int = 1) -> Family:
    members = [a_member(layer, first + i, angle_deg=float(pose)) for i, pose in enumerate(poses_deg)]
    return a_family("rotation", members, name=f"{layer}-rotation-{number}", turns=turns)


EARLY, LATE = turned_family("early", POSES), turned_family("late", (POSES + OFFSET) % 360)


def pairs_of(
    early: str = "early",
    late: str = "late",
    channels: Sequence[tuple[int, int]] = tuple(zip(range(8), range(8), strict=True)),
    away: float = OCTAVES,
) -> list[UnitPair]:
    return [
        UnitPair(COLUMNS[early] + u, COLUMNS[late] + v, away + 0.01 * (i % 3 - 1), 0.8 + 0.01 * i, 0.2, 0.01)
        for i, (u, v) in enumerate(channels)
    ]


def join(
    families: Sequence[Family], pairs: Sequence[UnitPair], **options: Any
) -> tuple[tuple[Family, ...], tuple[FamilyLink, ...]]:
    return find_rotation_scale_families(families, pairs, COLUMNS, **options)


def test_copies_of_two_sizes_are_one_family_with_angles_and_octaves() -> None:
    (family,), (link,) = join([EARLY, LATE], pairs_of())
    assert (link.first, link.second, link.n_pairs) == (EARLY.id, LATE.id, 8)
    assert [link.offset_deg, link.octaves] == pytest.approx([OFFSET, OCTAVES])
    assert link.residual_deg == pytest.approx(0, abs=1e-6)
    assert link.q_value == pytest.approx(1 / 2001)
    assert (family.id, family.layers, family.transformation) == (
        "rotation-scale-1",
        ("early", "late"),
        "rotation-scale",
    )
    assert [(m.layer, m.channel) for m in family.members] == [
        (n, i) for n in ("early", "late") for i in range(8)
    ]
    assert family.poses_deg == pytest.approx(np.tile(POSES, 2))
    assert [m.octaves for m in family.members] == pytest.approx([0.0] * 8 + [OCTAVES] * 8)
    assert family.score == pytest.approx(np.mean([pair.score for pair in pairs_of()]))
    assert np.isnan([family.score_low, family.score_high]).all()
    assert family.q_value == link.q_value
    assert [dict(element) for element in family.stabiliser] == [{"angle_deg": 0.0, "octaves": 0.0}]
    assert dict(family.disagreement) == {"angle_deg": pytest.approx(link.residual_deg)}


def test_poses_that_are_put_together_have_no_interval() -> None:
    known = [
        dataclasses.replace(
            family,
            members=tuple(
                dataclasses.replace(own, pose_low=own.pose, pose_high=own.pose) for own in family.members
            ),
        )
        for family in (EARLY, LATE)
    ]
    (family,), _ = join(known, pairs_of())
    assert {(own.pose_low, own.pose_high) for own in family.members} == {(Pose(), Pose())}
    assert np.isnan(family.stability)


def test_a_pair_from_the_larger_to_the_smaller_says_the_same() -> None:
    turned = [
        dataclasses.replace(pair, u=pair.v, v=pair.u, away=-pair.away) if i % 2 else pair
        for i, pair in enumerate(pairs_of())
    ]
    assert join([EARLY, LATE], turned) == join([EARLY, LATE], pairs_of())


def test_poses_count_from_the_family_that_comes_first() -> None:
    (family,), (link,) = join([LATE, EARLY], pairs_of())
    assert link.first == LATE.id
    assert link.octaves == pytest.approx(-OCTAVES)
    assert [m.octaves for m in family.members] == pytest.approx([0.0] * 8 + [-OCTAVES] * 8)
    assert family.poses_deg == pytest.approx(np.tile((POSES + OFFSET) % 360, 2))


def test_families_that_repeat_are_compared_within_their_period() -> None:
    folded = POSES / 2
    early = turned_family("early", folded, turns=2)
    late = turned_family("late", (folded + OFFSET) % 180, turns=2)
    (family,), (link,) = join([early, late], pairs_of())
    assert link.residual_deg == pytest.approx(0, abs=1e-6)
    assert family.poses_deg == pytest.approx(np.tile(folded, 2))
    assert (family.poses_deg < 180).all()
    assert [element["angle_deg"] for element in family.stabiliser] == [0.0, 180.0]


def test_three_sizes_are_one_family_through_the_middle() -> None:
    last = turned_family("last", (POSES + 200) % 360)
    pairs = pairs_of() + pairs_of("late", "last", away=0.5)
    (family,), links = join([EARLY, LATE, last], pairs)
    assert len(links) == 2
    assert family.layers == ("early", "late", "last")
    assert family.poses_deg == pytest.approx(np.tile(POSES, 3), abs=1e-6)
    assert [m.octaves for m in family.members[::8]] == pytest.approx([0.0, OCTAVES, OCTAVES + 0.5])


def test_families_that_nothing_joins_stay_apart_and_larger_ones_come_first() -> None:
    others = [
        turned_family(layer, poses, first=8, number=2)
        for layer, poses in (("early", POSES[::-1]), ("late", (POSES[::-1] + 10) % 360))
    ]
    last = turned_family("last", (POSES + 200) % 360)
    pairs = pairs_of(channels=[(8 + i, 8 + i) for i in range(8)]) + pairs_of() + pairs_of("late", "last")
    found, links = join([*others, EARLY, LATE, last], pairs)
    assert [family.layers for family in found] == [("early", "late", "last"), ("early", "late")]
    assert [family.id for family in found] == ["rotation-scale-1", "rotation-scale-2"]
    assert len(links) == 3


def mixed(seed: int = 3) -> list[tuple[int, int]]:
    return list(enumerate(np.random.default_rng(seed).permutation(8).tolist()))


@pytest.mark.parametrize(
    ("families", "pairs", "n_links"),
    [
        ([EARLY, LATE], pairs_of(), 1),
        ([EARLY, LATE], pairs_of()[:3], 1),
        ([EARLY, LATE], pairs_of()[:2], 0),
        ([EARLY, LATE], pairs_of(channels=mixed()), 0),
        ([turned_family("early", POSES / 2), turned_family("late", POSES / 2, turns=2)], pairs_of(), 0),
        ([EARLY], pairs_of(), 0),
        ([EARLY, LATE], [], 0),
        ([], pairs_of(), 0),
    ],
    ids=["copies", "three", "two", "mixed up", "other order", "one family", "no pair", "no family"],
)
def test_what_pairs_must_be_to_join_families(
    families: list[Family], pairs: list[UnitPair], n_links: int
) -> None:
    found, links = join(families, pairs)
    assert (len(found), len(links)) == (n_links, n_links)


def test_two_pairs_are_not_even_tried() -> None:
    # Two agree by accident: with every rate allowed it would be a link.
    assert join([EARLY, LATE], pairs_of()[:2], false_discovery_rate=1.0) == ((), ())
    assert len(join([EARLY, LATE], pairs_of()[:3], false_discovery_rate=1.0)[1]) == 1


def test_pairs_that_agree_no_better_than_chance_join_nothing_however_close() -> None:
    # Of eight members within a few degrees any pairs agree.
    early, late = (turned_family(layer, POSES / 40) for layer in ("early", "late"))
    found, links = join([early, late], pairs_of(channels=mixed()))
    assert links == ()
    (allowed,) = join([early, late], pairs_of(channels=mixed()), false_discovery_rate=1.0)[1]
    assert allowed.residual_deg < 5
    assert allowed.q_value > 0.05
    assert found == ()


def test_pairs_that_agree_loosely_join_nothing_however_unlikely() -> None:
    # Of 24 members each is paired with one about 30 degrees to this side or that.
    poses = np.arange(24) * 15.0
    early, late = turned_family("early", poses), turned_family("late", poses)
    late = dataclasses.replace(
        late, members=tuple(dataclasses.replace(m, layer="last") for m in late.members)
    )
    columns = COLUMNS | {"last": 100}
    sides = [1, -1] * 12
    near, far = ([(i, (i + steps * side) % 24) for i, side in enumerate(sides)] for steps in (1, 2))
    for channels, n_links in ((near, 1), (far, 0)):
        pairs = [UnitPair(u, 100 + v, 0.5, 0.8, 0.2) for u, v in channels]
        _, links = find_rotation_scale_families([early, late], pairs, columns)
        assert len(links) == n_links
        _, allowed = find_rotation_scale_families([early, late], pairs, columns, false_discovery_rate=1.0)
        assert len(allowed) == n_links


def test_pairs_within_one_family_join_nothing() -> None:
    own = [UnitPair(u, u + 1, 0.5, 0.9, 0.2) for u in range(7)]
    assert join([EARLY, LATE], own) == ((), ())
    (plain,), _ = join([EARLY, LATE], pairs_of())
    (more,), _ = join([EARLY, LATE], own + pairs_of())
    assert more.poses_deg == pytest.approx(plain.poses_deg)


def test_layers_that_took_no_part_are_left_out() -> None:
    columns = {"late": 20}
    assert find_rotation_scale_families([EARLY, LATE], pairs_of(), columns) == ((), ())


def test_the_same_seed_gives_the_same() -> None:
    pairs = pairs_of(channels=[*((i, i) for i in range(6)), (6, 7), (7, 6)])
    first, again, other = (join([EARLY, LATE], pairs, seed=seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert len(other) == 1
