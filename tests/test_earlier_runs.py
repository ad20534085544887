"""Runs of earlier versions open as runs of this one, and what was changed by hand in them is refused in one sentence.

``data/run_of_version_2`` was drawn by hand after the files of version 2: two layers, one of them called ``a+b``, and a
family under every transformation.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import equiscope
from equiscope.cli import app
from equiscope.families.family import Explanation
from equiscope.foundations.errors import DamagedFileError, EquiscopeError
from equiscope.runs.earlier import manifest_of_2, split_layers
from equiscope.runs.findings import families_document, load_families
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.run import load_run
from equiscope.runs.writing import write_json
from equiscope.surveys.results import read_explained, read_result
from equiscope.testing import planted_transformation
from equiscope.transformations import Pose, standard_names

DATA = Path(__file__).parent / "data" / "run_of_version_2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "run"))


def document_of(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def change(folder: Path, name: str, edit: Callable[[Any], object]) -> None:
    """Edit a file of a run by hand."""
    document = document_of(folder, name)
    edit(document)
    (folder / name).write_text(json.dumps(document), encoding="utf-8")


# What is read -------------------------------------------------------------------------------------------------------


def test_every_family_is_there_with_typed_poses(folder: Path) -> None:
    run = load_run(folder)
    # Those that there were then.
    assert {family.transformation for family in run.families} == {*standard_names(), "rotation-scale"}
    for family, old in zip(run.families, document_of(folder, "families.json")["families"], strict=True):
        assert (family.id, family.size, family.score, family.q_value) == (
            old["id"],
            old["size"],
            old["score"],
            old["q_value"],
        )
        axes = [axis.name for axis in equiscope.transformations.find(family.transformation).axes]
        for member, own in zip(family.members, old["members"], strict=True):
            assert list(member.pose) == axes
            assert (member.layer, member.channel, member.score) == (
                own["layer"],
                own["channel"],
                own["score"],
            )
            assert [member.pose_deg, member.hue_deg, member.octaves] == pytest.approx(
                [math.nan if own[key] is None else own[key] for key in ("pose_deg", "hue_deg", "octaves")],
                nan_ok=True,
            )
            assert (member.is_mirrored, member.is_inverted) == (own["is_mirrored"], own["is_inverted"])


@pytest.mark.parametrize(
    ("name", "layers", "stabiliser", "disagreement"),
    [
        ("a+b-rotation-1", ["a+b"], [{"angle_deg": 0.0}], {"angle_deg": 1.5}),
        ("c-rotation-1", ["c"], [{"angle_deg": 0.0}, {"angle_deg": 180.0}], {"angle_deg": 2.0}),
        ("a+b-hue-1", ["a+b"], [{"hue_deg": 0.0}], {"hue_deg": 3.0}),
        ("a+b-reflection-1", ["a+b"], [{"is_mirrored": False}], {}),
        ("c-contrast-1", ["c"], [{"is_inverted": False}], {}),
        (
            "a+b-dihedral-1",
            ["a+b"],
            [{"angle_deg": 0.0, "is_mirrored": False}, {"angle_deg": None, "is_mirrored": True}],
            {"angle_deg": 1.5},
        ),
        (
            "c-hue-rotation-1",
            ["c"],
            [{"angle_deg": 0.0, "hue_deg": 0.0}, {"angle_deg": 180.0, "hue_deg": 180.0}],
            {"angle_deg": 1.0, "hue_deg": 4.0},
        ),
        ("scale-1", ["a+b", "c"], [{"octaves": 0.0}], {"octaves": 0.1}),
        (
            "rotation-scale-1",
            ["a+b", "c"],
            [{"angle_deg": 0.0, "octaves": 0.0}],
            {"angle_deg": 5.0, "octaves": None},
        ),
    ],
)
def test_what_was_prose_is_values(
    folder: Path, name: str, layers: list[str], stabiliser: list[Any], disagreement: Any
) -> None:
    family = next(own for own in load_run(folder).families if own.id == name)

    def written(pose: Pose) -> dict[str, float | None]:
        return {key: None if math.isnan(value) else value for key, value in pose.items()}

    assert list(family.layers) == layers
    assert [written(element) for element in family.stabiliser] == stabiliser
    assert written(family.disagreement) == disagreement


def test_turns_margins_gaps_and_explanations_are_kept(folder: Path) -> None:
    families = {family.id: family for family in load_run(folder).families}
    assert families["c-rotation-1"].stabiliser_order == 2
    assert families["a+b-dihedral-1"].stabiliser_order == 1
    assert families["c-rotation-1"].holes_deg == ((90.0, 0.0),)
    assert families["c-hue-rotation-1"].half_turns == (0.9, -0.5, -0.4)
    reflection = families["a+b-reflection-1"]
    assert (reflection.margin, reflection.margin_low, reflection.margin_high) == (0.5, 0.4, 0.6)
    assert math.isnan(reflection.phase_coherence)
    assert families["a+b-rotation-1"].alternatives == (
        Explanation("contrast", 0.1, 0.75, 0.6, 0.9),
        Explanation("rotation", 0.85, 0.0, 0.0, 0.0),
    )
    assert math.isnan(families["rotation-scale-1"].score_low)


def test_units_and_results_name_their_layers(folder: Path) -> None:
    run = load_run(folder)
    assert len(run.units) == 10
    assert run.units[0].under("scale").family == "scale-1"
    assert [entry["layers"] for entry in run.manifest["results"]] == [["a+b"]] * 6 + [["c"]] * 6 + [
        ["a+b", "c"]
    ]
    assert run.manifest["settings"] == document_of(folder, "run.json")["settings"]


def test_results_of_stages_are_read(folder: Path) -> None:
    rotation = read_result(folder / "results" / "rotation" / "a%2Bb.json")
    assert (rotation.result.layers, rotation.result.transformation) == (("a+b",), "rotation")
    assert rotation.tunings["a+b-rotation-1"].axes == {"angle_deg": [0.0, 120.0, 240.0]}
    assert len(rotation.result.symmetries) == 6
    pairs = read_result(folder / "results" / "reflection" / "a%2Bb.json")
    # What an axis is called says what is switched on it.
    assert pairs.tunings["a+b-reflection-1"].axes == {"is_mirrored": [0.0, 1.0]}
    dihedral = read_result(folder / "results" / "dihedral" / "a%2Bb.json")
    assert list(dihedral.tunings["a+b-dihedral-1"].axes) == ["is_mirrored", "angle_deg"]
    torus = read_result(folder / "results" / "hue-rotation" / "c.json")
    assert torus.tunings["c-hue-rotation-1"].values.shape == (3, 2, 2)
    scale = read_result(folder / "results" / "scale.json")
    assert scale.joint_layers == ("a+b", "c")
    (pair,) = scale.result.pairs
    assert (pair.u, pair.v, pair.away, pair.held_out_away, pair.margin) == (0, 6, 0.7, 0.6, 0.2)
    explained = read_explained(folder / "families.json", [rotation, scale])
    assert set(explained) == {"a+b-rotation-1", "scale-1"}


@pytest.mark.parametrize(
    ("said", "known", "expected"),
    [
        ("c", ["a+b", "c"], ["c"]),
        ("a+b", ["a+b", "c"], ["a+b"]),
        ("a+b+c", ["a+b", "c"], ["a+b", "c"]),
        ("a+a+b", ["a", "a+b"], ["a", "a+b"]),
        ("a+b", ["a", "b"], ["a", "b"]),
        ("b+c", ["a", "b", "c"], ["b", "c"]),
        ("x+y", ["a", "b"], ["x+y"]),
        ("a+x", ["a", "b"], ["a+x"]),
    ],
)
def test_joined_names_are_taken_apart(said: str, known: list[str], expected: list[str]) -> None:
    assert split_layers(said, known) == expected


def test_a_manifest_without_results_stays_as_it_is() -> None:
    assert manifest_of_2({"schema_version": 2}) == {"schema_version": 2}


# What is made of it -------------------------------------------------------------------------------------------------


def test_the_report_is_built(folder: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 0, done.output
    assert "a+b" in (folder / "index.html").read_text(encoding="utf-8")


def exported(folder: Path, part: str) -> list[dict[str, str]]:
    done = CliRunner().invoke(app, ["export", str(folder), part])
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_tables_are_exported(folder: Path) -> None:
    rows = exported(folder, "families")
    assert len(rows) == sum(family["size"] for family in document_of(folder, "families.json")["families"])
    row = next(row for row in rows if row["family"] == "c-hue-rotation-1" and row["channel"] == "3")
    assert row["layer"] == "c"
    units = exported(folder, "units")
    assert len(units) == 10 * 7
    assert sum(row["family"] == "a+b-rotation-1" for row in units) == 3


def as_version_2(folder: Path) -> None:
    """Write a run of scale as version 2 wrote it."""

    def family(entry: dict[str, Any]) -> dict[str, Any]:
        layers, members = entry.pop("layers"), entry.pop("members")
        del entry["stabiliser"]
        disagreement = entry.pop("disagreement")["octaves"]
        entry["alternatives"] = [list(own.values()) for own in entry["alternatives"]]
        unmeasured = {"pose_deg": None, "hue_deg": None, "is_mirrored": False, "is_inverted": False}
        return entry | {
            "layer": "+".join(layers),
            "stabiliser": "{0 octaves}",
            "stabiliser_order": 1,
            "disagreement_deg": None,
            "disagreement_hue_deg": None,
            "disagreement_octaves": disagreement,
            "members": [own | own.pop("pose") | unmeasured for own in members],
        }

    for path in folder.rglob("*.json"):
        document = document_of(folder, str(path.relative_to(folder)))
        if "schema_version" not in document or path.name in ("digests.json", "report.json"):
            continue
        document["schema_version"] = 2
        if "families" in document:
            document["families"] = [family(own) for own in document["families"]]
        if path.name == "scale.json":
            document["layer"] = "+".join(document.pop("layers"))
            document["scale_layers"] = document.pop("joint_layers")
            document["edges"] = [
                own | {"octaves": own.pop("away"), "held_out_octaves": own.pop("held_out_away")}
                for own in document.pop("pairs")
            ]
        if path.name == "run.json":
            document["results"] = [
                own | {"layer": "+".join(own.pop("layers"))} for own in document["results"]
            ]
        path.write_text(json.dumps(document), encoding="utf-8")
    (folder / "digests.json").unlink()


def test_a_survey_of_version_2_is_given_again(tmp_path: Path) -> None:
    """Nothing is measured again, and the run is of this version then: also its results over several layers."""
    model, folder = planted_transformation("scale").model, tmp_path / "run"

    def survey() -> equiscope.Run:
        return equiscope.survey(
            model,
            transformations=["scale"],
            precision="float32",
            n_null=2,
            false_discovery_rate=0.5,
            out=folder,
        )

    whole = survey()
    assert any(len(family.layers) > 1 for family in whole.families)
    as_version_2(folder)
    before = load_run(folder)
    # Intervals of poses were not kept then.
    families = tuple(
        replace(
            family,
            members=tuple(replace(own, pose_low=Pose(), pose_high=Pose()) for own in family.members),
        )
        for family in whole.families
    )
    assert families != whole.families
    assert repr(before.families) == repr(families)
    kept = (folder / "results" / "scale.json").read_bytes()
    again = survey()
    assert (folder / "results" / "scale.json").read_bytes() == kept
    assert repr((again.families, again.units)) == repr((families, whole.units))
    assert again.manifest["results"] == whole.manifest["results"]
    assert document_of(folder, "run.json")["schema_version"] == SCHEMA_VERSION
    assert document_of(folder, "families.json")["schema_version"] == SCHEMA_VERSION


# What was changed by hand -------------------------------------------------------------------------------------------


def first_of(document: Any, transformation: str) -> Any:
    return next(own for own in document["families"] if own["transformation"] == transformation)


NONSENSE: list[tuple[str, Callable[[Any], object], str]] = [
    (
        "transformation",
        lambda d: d["families"][0].update(transformation="rotations"),
        "unknown transformation 'rotations': did you mean 'rotation'",
    ),
    (
        "no transformation",
        lambda d: d["families"][0].update(transformation=7),
        "transformation is 7, expected text",
    ),
    (
        "pose",
        lambda d: d["families"][0]["members"][0].update(pose_deg="north"),
        "numbers, or null, in an object of coordinates, 'angle_deg' among them",
    ),
    (
        "pose of poses",
        lambda d: d["families"][0]["members"][0].update(pose_deg=[1.0]),
        "'angle_deg' among them",
    ),
    (
        "members",
        lambda d: d["families"][0].update(members={"one": 1}),
        "members is dict, expected a list of members",
    ),
    ("member", lambda d: d["families"][0].update(members=[3]), "members is list, expected a list of members"),
    ("families", lambda d: d.update(families=[1]), "families is list, expected a list of families"),
    ("order", lambda d: d["families"][0].update(stabiliser_order="two"), "stabiliser_order"),
    ("order of a list", lambda d: d["families"][0].update(stabiliser_order=[2]), "stabiliser_order"),
    ("huge order", lambda d: d["families"][0].update(stabiliser_order=10**9), "stabiliser_order"),
    ("alternatives", lambda d: d["families"][0].update(alternatives=[["hue", 0.1]]), "alternatives"),
    ("no alternatives", lambda d: d["families"][0].update(alternatives=7), "alternatives"),
    ("row of alternatives", lambda d: d["families"][0].update(alternatives=[7]), "alternatives"),
    *(
        (
            f"stabiliser {text}",
            lambda d, text=text: first_of(d, "hue-rotation").update(stabiliser=text),
            f"stabiliser is {text!r}, expected elements (hue, angle) such as",
        )
        for text in (
            "{0°, 180°}",
            "{(0°, 0°), (180°, 180°)",
            "{(0°, 0°) (180°, 180°)}",
            "{(0, 0)}",
            "{}",
            "half a turn",
        )
    ),
]


@pytest.mark.parametrize(("edit", "message"), [own[1:] for own in NONSENSE], ids=[own[0] for own in NONSENSE])
def test_nonsense_is_refused_in_one_sentence(
    folder: Path, edit: Callable[[Any], object], message: str
) -> None:
    change(folder, "families.json", edit)
    with pytest.raises(EquiscopeError) as caught:
        load_run(folder)
    said = str(caught.value)
    assert isinstance(caught.value, DamagedFileError)
    assert message in said
    assert str(folder / "families.json") in said
    assert "\n" not in said
    assert "command of the survey again" in said


def of_this_version(folder: Path) -> None:
    write_json(folder / "families.json", families_document(load_families(folder)))
    (folder / "digests.json").unlink(missing_ok=True)


def test_families_of_an_earlier_version_are_written_as_this_one_does(folder: Path) -> None:
    before = load_run(folder).families
    of_this_version(folder)
    assert document_of(folder, "families.json")["schema_version"] == SCHEMA_VERSION
    assert repr(load_run(folder).families) == repr(before)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda d: d["families"][0].update(transformation="rotations"),
            "unknown transformation 'rotations': did you",
        ),
        (lambda d: d["families"][0]["members"][0].update(pose={"angle_deg": "north"}), "pose"),
        (lambda d: d["families"][0]["members"][0].update(pose=45.0), "pose"),
        (lambda d: d["families"][0].update(stabiliser=["{0°}"]), "stabiliser"),
        (lambda d: d["families"][0].update(stabiliser="{0°, 180°}"), "stabiliser"),
        (lambda d: d["families"][0].update(stabiliser=[{"angle_deg": [0.0]}]), "stabiliser"),
        (lambda d: d["families"][0].update(disagreement=3.0), "disagreement"),
        (lambda d: d["families"][0].update(layers="a+b"), "layers"),
        (lambda d: d["families"][0].update(alternatives=[["hue", 0.1, 0.1, 0.1, 0.1]]), "alternatives"),
        (lambda d: d["families"][0]["members"][0].update(channel=6), "the run has no unit 'a\\+b':6"),
    ],
)
def test_nonsense_in_families_of_this_version_is_refused_in_one_sentence(
    folder: Path, edit: Callable[[Any], object], message: str
) -> None:
    of_this_version(folder)
    change(folder, "families.json", edit)
    with pytest.raises(
        DamagedFileError, match=rf"^.*families\.json is damaged \(.*{message}.*command of the survey"
    ):
        load_run(folder)


def test_a_stabiliser_that_was_not_written_down_is_the_identity(folder: Path) -> None:
    change(folder, "families.json", lambda d: first_of(d, "hue-rotation").update(stabiliser=""))
    family = next(own for own in load_families(folder) if own.transformation == "hue-rotation")
    assert family.stabiliser == (Pose(angle_deg=0.0, hue_deg=0.0),)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(results=[3]), "results is list, expected a list of results"),
        (lambda d: d["results"][0].pop("layer"), "layer is None, expected text"),
        (lambda d: d["results"][0].update(layer=["a"]), "layer is \\['a'\\], expected text"),
        (lambda d: d.update(geometry=7), "geometry is int, expected a list of layers"),
    ],
)
def test_nonsense_in_the_manifest_is_refused(
    folder: Path, edit: Callable[[Any], object], message: str
) -> None:
    change(folder, "run.json", edit)
    with pytest.raises(DamagedFileError, match=rf"run\.json is damaged.*{message}"):
        load_run(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(tuning={"scale-1": 3}),
        lambda d: d.update(tuning=[]),
        lambda d: d.update(edges=[{"u": 0}]),
        lambda d: d.update(edges=7),
        lambda d: d.update(edges=[7]),
        lambda d: d.update(scale_layers=7),
        lambda d: d.update(layer=None),
        lambda d: d.update(transformation="x"),
        lambda d: d.update(families=None),
    ],
)
def test_nonsense_in_a_result_is_refused(folder: Path, edit: Callable[[Any], object]) -> None:
    change(folder, "results/scale.json", edit)
    with pytest.raises(DamagedFileError, match=r"scale\.json is damaged \(.*command of the survey again"):
        read_result(folder / "results" / "scale.json")
