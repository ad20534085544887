"""Planted families under every transformation, found by whole surveys: members, poses, stabilisers, no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import equiscope
from equiscope.families.family import Family
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.testing import PlantedOrbit, PlantedTransformations, planted_transformation
from equiscope.transformations import Pose, find

NAMES = ("hue", "hue-rotation", "reflection", "dihedral", "contrast", "scale")
# Nearly invariant to scale: an edge that ends is itself at any size but for where its end lies.
TOO_INVARIANT = {"half edges"}


@pytest.fixture(scope="module", params=NAMES)
def surveyed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, PlantedTransformations, equiscope.Run]:
    name = request.param
    planted = planted_transformation(name)
    out = tmp_path_factory.mktemp(name) / "run"
    return (
        name,
        planted,
        equiscope.survey(planted.model, transformations=[name], precision="float32", out=out),
    )


def units_of(family: Family | PlantedOrbit) -> frozenset[tuple[str, int]]:
    return frozenset((member.layer, member.channel) for member in family.members)


def matched(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> list[tuple[PlantedOrbit, Family]]:
    name, planted, run = surveyed
    found = {units_of(f): f for f in run.families if f.transformation == name}
    return [(orbit, found[units_of(orbit)]) for orbit in planted.orbits if units_of(orbit) in found]


def test_members_are_exactly_those_planted(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> None:
    name, planted, run = surveyed
    found = {units_of(f) for f in run.families if f.transformation == name}
    assert found == {units_of(o) for o in planted.orbits if o.name not in TOO_INVARIANT}


def test_poses_are_those_planted(surveyed: tuple[str, PlantedTransformations, equiscope.Run]) -> None:
    name, _, _ = surveyed
    for orbit, family in matched(surveyed):
        true = {(m.layer, m.channel): m for m in orbit.members}
        members = [(m, true[m.layer, m.channel]) for m in family.members]
        first, first_true = members[0]
        for member, own in members:
            if name in ("reflection", "contrast"):
                assert (member.is_mirrored ^ first.is_mirrored) == (own.is_mirrored ^ first_true.is_mirrored)
                assert (member.is_inverted ^ first.is_inverted) == (own.is_inverted ^ first_true.is_inverted)
            elif name == "scale":
                away = (member.octaves - first.octaves) - (own.octaves - first_true.octaves)
                assert abs(away) < 0.1
            elif name == "hue":
                away = (member.hue_deg - first.hue_deg) - (own.hue_deg - first_true.hue_deg)
                assert abs(circular_difference_deg(away, 0.0)) < 5
            elif name == "hue-rotation":
                hue = (member.hue_deg - first.hue_deg) - (own.hue_deg - first_true.hue_deg)
                turn = (member.pose_deg - first.pose_deg) - (own.pose_deg - first_true.pose_deg)
                copies = [element["angle_deg"] for element in family.stabiliser]
                assert any(
                    abs(circular_difference_deg(hue + copy, 0.0)) < 5
                    and abs(circular_difference_deg(turn + copy, 0.0)) < 2
                    for copy in copies
                )
            else:
                # g = g_member g_first⁻¹, where mirroring turns the sign of the first one's angle.
                same = own.is_mirrored == first_true.is_mirrored
                expected = own.pose_deg - first_true.pose_deg if same else own.pose_deg + first_true.pose_deg
                assert abs(circular_difference_deg(member.pose_deg - expected, 0.0)) < 2
                assert member.is_mirrored == (not same)


def test_stabilisers_are_found(surveyed: tuple[str, PlantedTransformations, equiscope.Run]) -> None:
    name, _, _ = surveyed
    stabilisers = {orbit.name: family.stabiliser for orbit, family in matched(surveyed)}
    assert stabilisers
    if name == "hue-rotation":
        assert stabilisers == {
            "colour edges": (Pose(angle_deg=0.0, hue_deg=0.0), Pose(angle_deg=180.0, hue_deg=180.0)),
            "colour curves": (Pose(angle_deg=0.0, hue_deg=0.0),),
        }
    elif name == "dihedral":
        identity = Pose(angle_deg=0.0, is_mirrored=False)
        assert stabilisers["spirals"] == (identity,)
        first, mirror = stabilisers["curves"]
        assert first == identity
        assert mirror["is_mirrored"]
        # A curve at an angle is mirrored at minus that angle: turned by twice its own it is back.
        orbit, family = next(own for own in matched(surveyed) if own[0].name == "curves")
        own_deg = next(m.pose_deg for m in orbit.members if m.channel == family.members[0].channel)
        assert abs(circular_difference_deg(mirror["angle_deg"], 2 * own_deg)) < 2
    else:
        (axis,) = find(name).axes
        assert set(stabilisers.values()) == {(Pose({axis.name: 0.0}),)}


def test_units_without_a_family_are_told_apart(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> None:
    name, planted, run = surveyed
    kinds = {(u.layer, u.channel): u.under(name) for u in run.units}
    for layer, channels in planted.other.items():
        for channel in channels:
            assert kinds[layer, channel].kind != "equivariant"
            assert kinds[layer, channel].family is None
    # A unit that stands still under both factors does not take part in their product.
    still = "not measurable" if name == "hue-rotation" else "invariant"
    for layer, channels in planted.invariant.items():
        assert {kinds[layer, channel].kind for channel in channels} <= {still}


def test_scores_are_near_one_and_have_intervals(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> None:
    for _, family in matched(surveyed):
        assert family.score > 0.97
        assert family.score_low <= family.score + 1e-6
        assert family.score <= family.score_high + 0.01
        assert family.q_value <= 0.05


def test_colour_units_say_what_the_factors_say(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> None:
    name, _, run = surveyed
    if name != "hue-rotation":
        return
    spots = next(f for f in run.families if f.transformation == "hue" and "rotation" in f.invariant_to)
    assert spots.size == 3
    edges = [f for f in run.families if f.transformation == "rotation" and "hue" in f.invariant_to]
    assert [f.size for f in edges] == [3]
    # Half a turn of hue and of the plane keeps a colour edge; neither does alone.
    family = next(f for f in run.families if len(f.stabiliser) > 1 and f.half_turns)
    both, hue, plane = family.half_turns
    assert both > 0.95
    assert max(hue, plane) < 0


def test_families_survive_the_files(surveyed: tuple[str, PlantedTransformations, equiscope.Run]) -> None:
    _, _, run = surveyed
    again = equiscope.load_run(run.folder)
    assert [f.id for f in again.families] == [f.id for f in run.families]
    assert repr(again.families) == repr(run.families)
    assert repr(again.units) == repr(run.units)


def test_a_second_survey_does_not_measure_again(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run], tmp_path: Path
) -> None:
    name, planted, run = surveyed
    before = {p: p.stat().st_mtime_ns for p in (run.folder / "results").rglob("*.json")}
    again = equiscope.survey(planted.model, transformations=[name], precision="float32", out=run.folder)
    assert {p: p.stat().st_mtime_ns for p in (run.folder / "results").rglob("*.json")} == before
    assert np.all([a.id == b.id for a, b in zip(again.families, run.families, strict=True)])
