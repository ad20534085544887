"""Documents of versions 1 and 2 draw the page that the same document of this version draws."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from equiscope.foundations.errors import EquiscopeError
from equiscope.reports import build_site, load_document
from equiscope.reports.document.earlier import typed_document
from equiscope.reports.site.files import save_report
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.writing import write_json
from equiscope.transformations import find
from equiscope.transformations.spaces import Circle, Cylinder, HandedCircle, Pair, Torus
from report_document import complete_document
from site_document import site_document


def said_as_2(document: Any) -> dict[str, Any]:
    """Say a document as versions 1 and 2 did: a field a transformation, stabilisers in words, joined layers."""
    said = json.loads(json.dumps(document))
    for layer in said["layers"]:
        for name, axes in layer.get("unit_axes", {}).items():
            layer["unit_axes"][name] = axes_as_2(axes, name)
    for result in said["results"]:
        result["layer"] = "+".join(result.pop("layers"))
    for family in said["families"]:
        name = family["transformation"]
        family["layer"] = "+".join(family.pop("layers"))
        away = family.pop("disagreement")
        family["disagreement_deg"] = away.get("angle_deg")
        family["disagreement_hue_deg"] = away.get("hue_deg")
        family["disagreement_octaves"] = away.get("octaves")
        family["stabiliser"], family["stabiliser_order"] = stabiliser_as_2(name, family["stabiliser"])
        for shown in (family["tuning"], family.get("turned")):
            if shown is not None:
                shown["axes"] = axes_as_2(shown["axes"], name)
        for member in family["members"]:
            pose = member.pop("pose")
            member["pose_deg"] = pose.get("angle_deg")
            member["hue_deg"], member["octaves"] = pose.get("hue_deg"), pose.get("octaves")
            member["is_mirrored"] = pose.get("is_mirrored", False)
            member["is_inverted"] = pose.get("is_inverted", False)
    return dict(said)


def axes_as_2(axes: dict[str, Any], name: str) -> dict[str, Any]:
    is_pair = isinstance(find(name).space, Pair)
    return {"element" if is_pair else key: values for key, values in axes.items()}


def stabiliser_as_2(name: str, elements: list[dict[str, Any]]) -> tuple[str, int]:
    match find(name).space:
        case Circle(axis) | Cylinder(axis, _) | HandedCircle(axis, _):
            turns = [element[axis.name] for element in elements] or [0.0]
            return "{" + ", ".join(f"{turn:g}°" for turn in turns) + "}", len(turns)
        case Torus(axis, other):
            said = [f"({e[other.name]:g}°, {e[axis.name]:g}°)" for e in elements] or ["(0°, 0°)"]
            return "{" + ", ".join(said) + "}", 1
        case Pair():
            return "{identity}", 1
        case _:
            return "{0 octaves}", 1


def with_identities(document: Any) -> Any:
    """Name the identity where a family names no element, as all surveys do."""
    for family in document["families"]:
        family["stabiliser"] = family["stabiliser"] or [
            {key: False if key.startswith("is_") else 0.0 for key in family["members"][0]["pose"]}
        ]
    return document


def site_of(folder: Path, document: Any, version: int) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION, "is_complete": True})
    write_json(folder / "report.json", {"schema_version": version, **document})
    build_site(folder)
    pages = [folder / "index.html", *(folder / "site" / "data").rglob("*.js")]
    return {p.relative_to(folder).as_posix(): p.read_bytes().replace(bytes(folder), b"RUN") for p in pages}


def test_families_under_everything_draw_the_same_pages(tmp_path: Path) -> None:
    document = with_identities(complete_document())
    assert {family["transformation"] for family in document["families"]} == {
        "rotation", "hue", "reflection", "contrast", "dihedral", "hue-rotation", "scale", "rotation-scale"
    }  # fmt: skip
    earlier = said_as_2(copy.deepcopy(document))
    assert "pose" not in earlier["families"][0]["members"][0]
    one, other = (
        site_of(tmp_path / name, own, v) for name, own, v in (("old", earlier, 2), ("new", document, 3))
    )
    assert list(one) == list(other)
    assert [name for name in one if one[name] != other[name]] == []


def test_units_tuned_under_a_pair_draw_the_same_pages(tmp_path: Path) -> None:
    """The pictures of both are drawn anew from the same seed."""
    folders = tmp_path / "old", tmp_path / "new"
    documents = [with_identities(site_document(folder)) for folder in folders]
    one = site_of(folders[0], said_as_2(documents[0]), 2)
    assert one == site_of(folders[1], documents[1], 3)
    assert any(b"Response under reflection" in page for page in one.values())


def test_it_is_kept_in_the_words_of_this_version(tmp_path: Path) -> None:
    earlier = said_as_2(complete_document())
    earlier["families"][0]["alternatives"][0]["score"] = None
    first = site_of(tmp_path, earlier, 2)
    document = load_document(tmp_path)
    assert document is not None
    save_report(tmp_path, document)
    stored = json.loads((tmp_path / "report.json").read_text())
    assert "pose_deg" not in json.dumps(stored)
    assert set(stored["families"][0]["members"][0]) == {
        "layer", "channel", "pose", "score", "score_low", "score_high"
    }  # fmt: skip
    build_site(tmp_path)
    again = (tmp_path / "site" / "data" / "family" / f"{stored['families'][0]['id']}.js").read_bytes()
    assert (
        again.replace(bytes(tmp_path), b"RUN") == first[f"site/data/family/{stored['families'][0]['id']}.js"]
    )


def test_where_a_mirror_stands_is_no_turn(tmp_path: Path) -> None:
    """Surveys find the angle of a mirror axis, which may be next to nothing; turns of two circles may not."""
    document: Any = complete_document()
    handed, both = (
        next(family for family in document["families"] if family["transformation"] == name)
        for name in ("dihedral", "hue-rotation")
    )
    handed["stabiliser"] = [
        {"angle_deg": 0.0, "is_mirrored": False},
        {"angle_deg": 0.08, "is_mirrored": True},
    ]
    write_json(tmp_path / "report.json", {"schema_version": SCHEMA_VERSION, **document})
    assert load_document(tmp_path) is not None
    both["stabiliser"].append({"angle_deg": 1e-9, "hue_deg": 0.0})
    write_json(tmp_path / "report.json", {"schema_version": SCHEMA_VERSION, **document})
    with pytest.raises(EquiscopeError, match="turns by 1e-09°"):
        load_document(tmp_path)


def test_what_is_said_so_already_stays() -> None:
    document: Any = json.loads(json.dumps(complete_document()))
    assert typed_document(copy.deepcopy(document)) == document


def test_layers_whose_names_hold_a_plus_are_told_apart() -> None:
    document: Any = said_as_2(complete_document())
    for layer in document["layers"][:1]:
        layer["name"] = "stem+act"
    own = document["layers"][1]["name"]
    document["results"] = [document["results"][0] | {"layer": f"stem+act+{own}"}]
    assert typed_document(document)["results"][0]["layers"] == ["stem+act", own]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda family: family.update(transformation="upside"), "unknown transformation 'upside'"),
        (lambda family: family["tuning"].update(axes={"hue_deg": [0.0]}), "are hue_deg, expected angle_deg"),
        (lambda family: family["members"][0].update(pose={"angle_deg": "45"}), "pose"),
        (lambda family: family.update(stabiliser=[{"angle_deg": 0.0}] * 4000), "turns by 0.09°"),
        (lambda family: family.update(layers="mixed3b"), "layers is 'mixed3b', expected a list"),
    ],
)
def test_nonsense_is_one_sentence(tmp_path: Path, change: Any, said: str) -> None:
    document: Any = complete_document()
    change(document["families"][0])
    write_json(tmp_path / "report.json", {"schema_version": SCHEMA_VERSION, **document})
    with pytest.raises(EquiscopeError, match=r"report\.json is damaged") as error:
        load_document(tmp_path)
    assert said in str(error.value)
