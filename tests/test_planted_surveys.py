"""Planted families under every transformation, found by whole surveys: members, poses, stabilisers, no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import equiscope
from equiscope.evidence.verify.verification import load_verification
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.families.family import Family
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.testing import (
    PlantedOrbit,
    PlantedPose,
    PlantedTransformations,
    check_transformation,
    contract,
    planted_transformation,
)
from equiscope.transformations import ALL, Pose, find, surveyed_names
from equiscope.transformations.reflection import Reflection
from equiscope.transformations.rotation import Rotation
from stored import assert_as_stored, store_if_new, stored_families

# What the contract calls the look at each stage.
CHECKS = {"verify": "drawings", "featurevis": "templates", "compare": "comparison"}


@pytest.fixture(scope="module")
def survey_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[PlantedTransformations, equiscope.Run]]:
    """Survey the planted network of a transformation, once for all tests."""

    @cache
    def survey_planted(name: str) -> tuple[PlantedTransformations, equiscope.Run]:
        planted, out = planted_transformation(name), tmp_path_factory.mktemp(name) / "run"
        run = equiscope.survey(planted.model, transformations=[name], precision="float32", out=out)
        return planted, run

    return survey_planted


@pytest.fixture(scope="module", params=surveyed_names())
def surveyed(
    request: pytest.FixtureRequest, survey_of: Callable[[str], tuple[PlantedTransformations, equiscope.Run]]
) -> tuple[str, PlantedTransformations, equiscope.Run]:
    return (request.param, *survey_of(request.param))


@pytest.fixture(scope="module")
def reflected(
    survey_of: Callable[[str], tuple[PlantedTransformations, equiscope.Run]],
) -> tuple[PlantedTransformations, equiscope.Run]:
    return survey_of("reflection")


def units_of(family: Family | PlantedOrbit) -> frozenset[tuple[str, int]]:
    return frozenset((member.layer, member.channel) for member in family.members)


def matched(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> list[tuple[PlantedOrbit, Family]]:
    name, planted, run = surveyed
    found = {units_of(f): f for f in run.families if f.transformation == name}
    return [(orbit, found[units_of(orbit)]) for orbit in planted.orbits if units_of(orbit) in found]


def test_every_transformation_passes_the_contract(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> None:
    name, planted, run = surveyed
    check_transformation(find(name), planted, run=run)


def test_drawings_confirm_the_poses(surveyed: tuple[str, PlantedTransformations, equiscope.Run]) -> None:
    name, planted, run = surveyed
    own = {f.id for f in run.families if f.transformation == name}
    # The contract has verified the run already, where it came first.
    verified = load_verification(run.folder) or verify_run(run, planted.model)
    found = [entry for entry in verified if entry.family in own]
    assert {entry.family for entry in found} == own
    limits = {
        "hue": 3.0,
        "rotation": 5.0,
        "scale": 0.25,
        "brightness": 0.25,
        "saturation": 0.25,
        "aspect": 0.25,
    }
    for entry in found:
        if entry.axis == "pair":
            assert entry.score > 0.99
            assert entry.margin > 0
        elif entry.n_measured >= 2:
            assert entry.median_error < limits[entry.axis], (entry.family, entry.axis, entry.stimulus)
    # Sizes that lie at the end of what was drawn are not measured: of three scale families one is left.
    needed = 1 if name == "scale" else len(found) / 2
    assert sum(entry.axis == "pair" or entry.n_measured >= 2 for entry in found) >= needed
    # One member alone agrees with itself: that is no measurement.
    assert not [entry for entry in found if entry.n_measured == 1]


class _Speaking(Reflection):
    """Says of mirrored units that they are turned."""

    words = Rotation.words


def test_a_transformation_that_speaks_as_of_another_does_not_pass(
    reflected: tuple[PlantedTransformations, equiscope.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, run = reflected
    changed = _Speaking()
    others = [changed if own.name == changed.name else own for own in ALL]
    monkeypatch.setattr(contract, "ALL", others)
    with pytest.raises(AssertionError, match="report: the page of planted-reflection-1 does not say"):
        check_transformation(changed, planted, run=run)


@pytest.mark.parametrize(
    ("stage", "answer", "said"),
    [
        ("verify", (), "verify: planted-reflection-1 was shown no drawings along pair"),
        ("featurevis", SimpleNamespace(families={}), "featurevis: planted-reflection-1 has no template"),
        ("compare", SimpleNamespace(matches=()), "compare: no family found itself"),
    ],
)
def test_a_stage_that_leaves_families_out_is_noticed(
    reflected: tuple[PlantedTransformations, equiscope.Run],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    answer: object,
    said: str,
) -> None:
    planted, run = reflected
    for name in ("verify", "featurevis", "compare"):
        if name != stage:
            monkeypatch.setattr(contract, f"_check_{CHECKS[name]}", lambda *_: None)
    monkeypatch.setattr(contract, stage, lambda *_, **__: answer)
    with pytest.raises(AssertionError, match=said):
        check_transformation(find("reflection"), planted, run=run)


def test_other_poses_in_the_table_are_noticed(
    reflected: tuple[PlantedTransformations, equiscope.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, run = reflected
    for name in ("verify", "featurevis"):
        monkeypatch.setattr(contract, f"_check_{CHECKS[name]}", lambda *_: None)
    table = equiscope.export(run, "families")
    rows = [row | {"is_mirrored": not row["is_mirrored"]} for row in table.rows]
    monkeypatch.setattr(contract, "export", lambda *_: replace(table, rows=rows))
    with pytest.raises(AssertionError, match="export: planted-reflection-1 has other poses"):
        check_transformation(find("reflection"), planted, run=run)


def test_what_is_planted_and_not_found_does_not_pass(
    reflected: tuple[PlantedTransformations, equiscope.Run],
) -> None:
    planted, run = reflected
    pair = PlantedOrbit(
        "no pair",
        "reflection",
        tuple(PlantedPose("planted", channel) for channel in planted.other["planted"][:2]),
        "",
    )
    with pytest.raises(AssertionError, match="survey: no pair was planted and not found"):
        check_transformation(find("reflection"), replace(planted, orbits=(*planted.orbits, pair)), run=run)
    with pytest.raises(AssertionError, match="were found and not planted"):
        check_transformation(find("reflection"), replace(planted, orbits=planted.orbits[1:]), run=run)


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
        bars = stabilisers.pop("bars", (Pose({axis.name: 0.0}), Pose({axis.name: 180.0})))
        assert bars == (Pose({axis.name: 0.0}), Pose({axis.name: 180.0}))
        assert set(stabilisers.values()) == {(Pose({axis.name: 0.0}),)}


def test_families_are_those_that_were_stored(
    surveyed: tuple[str, PlantedTransformations, equiscope.Run],
) -> None:
    """A change of the code that is to change no result changes none, under every transformation that is surveyed."""
    name, _, run = surveyed
    store_if_new("planted_families.json", name, run.families)
    assert_as_stored(run.families, stored_families("planted_families.json")[name])


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
