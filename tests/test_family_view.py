"""The view of a family: members at their poses, its checks in words, and what it says where nothing was measured."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any, cast

import pytest

from circuit_run import make_circuits, open_run, write_run
from equiscope.evidence.verify.verification import FamilyVerification, MemberVerification
from equiscope.reports import ConfirmationEntry, FamilyEntry, ReportDocument, build_site, show_evidence
from equiscope.reports.document.stored import read_document
from equiscope.reports.drawing.dial import mark_path, sector_path, tuning_path
from equiscope.reports.drawing.palette import rim_colour
from equiscope.reports.drawing.poses import members_in_order
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.family.assurance import assurances, figures_of
from equiscope.reports.views.family.verdict import verdict_of
from equiscope.reports.views.family.view import render_families
from html_page import CLOSING, HOSTILE, Page
from report_document import (
    ANGLES_DEG,
    complete_document,
    make_alternative,
    make_verification,
    save_verification,
)


@pytest.fixture(scope="module")
def original() -> ReportDocument:
    return complete_document()


@pytest.fixture
def document(original: ReportDocument) -> ReportDocument:
    return copy.deepcopy(original)


def family_of(document: ReportDocument, key: str) -> FamilyEntry:
    return next(family for family in document["families"] if family["id"] == key)


def view_of(folder: Path, document: ReportDocument, key: str) -> Page:
    """The view of one family."""
    return Page(dict(render_families(open_run(folder, document)))[key].html)


def poses(page: Page) -> list[str]:
    return [text for _, text in page.all("span", class_="pose")]


def figures(page: Page) -> str:
    return page.all("dl", class_="numbers")[0][1]


def test_every_family_has_a_view_with_each_member_in_pose_order(
    tmp_path: Path, document: ReportDocument
) -> None:
    views = dict(render_families(open_run(tmp_path, document)))
    assert list(views) == [family["id"] for family in document["families"]]
    for family in document["families"]:
        page = Page(views[family["id"]].html)
        assert not page.open
        units = {f"{m['layer']}:{m['channel']}" for m in family["members"]}
        assert {a["data-unit"] for a, _ in page.all("button", aria_pressed="false")} == units
        # The chart shows each of them too, so that both light up together.
        drawn = {a["data-unit"] for a, _ in page.all("g", class_="member")}
        assert drawn == units, family["id"]
        assert page.all("h1")[0][0]["data-title"] == family["id"]
        if family["transformation"] == "rotation":
            turns = [int(text[:-1]) for text in poses(page)]
            assert turns == sorted(turns)


def test_members_lead_to_their_units_and_have_their_pictures(
    tmp_path: Path, document: ReportDocument
) -> None:
    family = document["families"][0]
    page = view_of(tmp_path, document, family["id"])
    links = [a["href"] or "" for a, _ in page.all("a", class_="unit-link")]
    assert sorted(links) == sorted(f"#/unit/{m['layer']}-{m['channel']}" for m in family["members"])
    strips = page.all("span", class_="stimuli")
    assert len(strips) == family["size"]
    assert all((a["aria-label"] or "").startswith("The 8 strongest stimuli of ") for a, _ in strips)
    assert len(page.all("i", class_="picture")) == 8 * family["size"]
    assert all("site/sprites/" in (a["style"] or "") for a, _ in page.all("i", class_="picture"))


def test_symmetry_holes_and_duplicates_are_in_words(tmp_path: Path, document: ReportDocument) -> None:
    family = document["families"][0]
    family.update(
        {
            "stabiliser": [{"angle_deg": 0.0}, {"angle_deg": 180.0}],
            "holes_deg": [[150.0, 10.0]],
            "duplicates": [[4, 17]],
            "score": 0.9,
            "q_value": 0.0,
        }
    )
    family["members"][0]["pose"] = {"angle_deg": 359.8}
    page = view_of(tmp_path, document, family["id"])
    assert "q < 0.001" in figures(page)
    assert "Symmetry repeats every 180°" in figures(page)
    assert "Holes 150° to 10°" in figures(page)
    assert "At one pose 4 and 17" in figures(page)
    holes = [a["d"] for a, _ in page.all("path", class_="hole")]
    assert holes == [sector_path(150, 190), sector_path(330, 370)]
    last = [a["d"] for a, _ in page.all("path", class_="mark")][family["size"] - 1]
    assert last == f"{mark_path(179.8)} {mark_path(359.8)}"
    assert poses(page)[family["size"] - 1] == "0°"


def test_a_hue_dial_is_worded_and_coloured_as_hue(tmp_path: Path, document: ReportDocument) -> None:
    page = view_of(tmp_path, document, "mixed3b-hue-1")
    assert poses(page) == ["hue 0°", "hue 70°", "hue 150°", "hue 310°"]
    rim = [a["stroke"] for a, _ in page.all("path", class_="hue-rim")]
    assert len(rim) == 36
    assert rim[0] == rim_colour(5)
    assert "none short of a full turn of hue" in figures(page)
    assert "turn of the stimuli’s hue" in " ".join(text for _, text in page.all("text"))


def test_a_dihedral_dial_shows_each_member_in_its_own_hand(tmp_path: Path, document: ReportDocument) -> None:
    page = view_of(tmp_path, document, "mixed3b-dihedral-1")
    assert poses(page) == ["0°", "95°", "200°", "40° mirrored", "180° mirrored", "290° mirrored"]
    tuning = family_of(document, "mixed3b-dihedral-1")["tuning"]
    assert tuning is not None
    curves = [a["d"] for a, _ in page.all("path", class_="curve")]
    assert curves[0] == tuning_path(ANGLES_DEG, tuning["values"][0][0])
    assert curves[3] == tuning_path(ANGLES_DEG, tuning["values"][3][1])
    assert sum("dashed" in (a["class"] or "") for a, _ in page.all("path", class_="curve")) == 3


def test_hue_rotation_shows_how_the_torus_wraps(tmp_path: Path, document: ReportDocument) -> None:
    context = open_run(tmp_path, document)
    views = dict(render_families(context))
    wrapped, plain = (Page(views[f"mixed3b-hue-rotation-{i}"].html) for i in (1, 2))
    assert len(wrapped.all("path", class_="wrap")) == 1
    assert not plain.all("path", class_="wrap")
    assert not plain.all("g", class_="faded")
    family = family_of(document, "mixed3b-hue-rotation-1")
    near = [m for m in family["members"] if (m["pose"]["hue_deg"] or 0) <= 60]
    assert len(wrapped.all("g", class_="faded")) == len(near)
    # The ghost of what stands at (0°, 0°) is half a turn to the right, on the dashed line.
    ghosts = [(float(a["cx"] or 0), float(a["cy"] or 0)) for a, _ in wrapped.all("circle", class_="ghost")]
    start, line, end = numbers_in(wrapped.all("path", class_="wrap")[0][0]["d"] or "")
    assert ghosts[0][0] == pytest.approx((start + end) / 2)
    assert ghosts[0][1] == pytest.approx(line)
    assert "repeats after half a turn of hue and of the plane together" in figures(wrapped)
    assert "Itself after half a turn of both 0.91, of hue alone −0.20, of the plane alone –" in figures(
        wrapped
    )
    assert len(wrapped.all("svg", class_="joint")) == 1


def numbers_in(path: str) -> list[float]:
    return [float(value) for value in re.findall(r"-?\d+(?:\.\d+)?", path)]


def test_pairs_show_their_four_responses(tmp_path: Path, document: ReportDocument) -> None:
    for key, changed in (("mixed3b-reflection-1", "mirrored"), ("mixed3b-contrast-1", "inverted")):
        page = view_of(tmp_path, document, key)
        assert poses(page) == ["as it is", changed]
        assert [text for _, text in page.all("text", class_="small")] == ["1.00", "0.12", "0.31", "1.00"]
        bars = [float(a["width"] or 0) for a, _ in page.all("rect", class_="bar")]
        assert [bar / bars[0] for bar in bars] == [1.0, pytest.approx(0.12), pytest.approx(0.31), 1.0]
        assert page.all("span", class_="remark")[0][1] == "may as well be rotation"
        assert "Margin 0.42 0.35 to 0.51" in figures(page)


def test_scale_families_stand_on_an_axis_of_size(tmp_path: Path, document: ReportDocument) -> None:
    page = view_of(tmp_path, document, "scale-2")
    assert poses(page) == ["0 oct.", "+0.40 oct.", "+0.50 oct.", "+1.10 oct."]
    spots = [float(a["cx"] or 0) for a, _ in page.all("circle", class_="spot") if a.get("r") == "3"]
    octave = (spots[1] - spots[0]) / 0.4
    assert spots[3] - spots[0] == pytest.approx(1.1 * octave, abs=0.5)
    # Of eight sizes one was not shown: the curve starts after it.
    lines = [a["d"] or "" for a, _ in page.all("path", class_="line")]
    assert [line.count("C") for line in lines[:4]] == [6, 6, 6, 6]
    assert [a["href"] for a, _ in page.all("a")][:2] == ["#/layer/mixed3a", "#/layer/mixed3b"]


def test_rotation_scale_names_the_families_it_joins(tmp_path: Path, document: ReportDocument) -> None:
    page = view_of(tmp_path, document, "rotation-scale-1")
    link = document["links"][0]
    assert f"{link['first']} and {link['second']} 4 12° +1.00 7.0° 0.004" in page.text_of_tables()
    hrefs = [a["href"] for a, _ in page.all("a")]
    assert {f"#/family/{link[end]}" for end in ("first", "second")} <= set(hrefs)
    assert "was not measured" in page.text


def test_the_tuning_marks_each_members_own_pose(tmp_path: Path, document: ReportDocument) -> None:
    family = document["families"][0]
    family["stabiliser"] = [{"angle_deg": 0.0}, {"angle_deg": 180.0}]
    for i, member in enumerate(family["members"]):
        member["pose"] = {"angle_deg": 10.0 * i}
    page = view_of(tmp_path, document, family["id"])
    ticks = [numbers_in(a["d"] or "") for a, _ in page.all("path", class_="tick")]
    assert len(ticks) == family["size"]
    left, right = 108.0, 480.0 - 14.0
    for i, (x, _, _, again, *_) in enumerate(ticks):
        assert x == pytest.approx(left + (right - left) * 10 * i / 360, abs=0.06)
        assert again - x == pytest.approx((right - left) / 2, abs=0.11)


# In words -----------------------------------------------------------------------------------------------------------


def test_intervals_and_nulls_are_in_words(document: ReportDocument) -> None:
    family = document["families"][0]
    family.update(
        {"score": 0.9, "score_low": 0.85, "score_high": 0.93, "q_value": 0.018, "phase_coherence": 0.93}
    )
    said = dict(assurances(document, family))
    assert (
        "alike by 0.90 (0.85 to 0.93 with 95 % confidence), each turned back by its pose"
        in said["Held-out images"]
    )
    assert "gave 0.2 families on average that pass the same test" in said["Chance"]
    assert "95 % of its families have a score below 0.61, this one has 0.90" in said["Chance"]
    assert "1.8 % are expected to be false" in said["False discoveries"]
    assert "by 0.93, more than the 0.75" in said["Finer detail"]
    document["results"] = []
    assert "No null was measured here" in dict(assurances(document, family))["Chance"]
    family["phase_coherence"] = 0.5
    assert "by 0.50, less than the 0.75" in dict(assurances(document, family))["Finer detail"]


def test_pairs_and_scale_are_held_against_gains(document: ReportDocument) -> None:
    said = dict(assurances(document, family_of(document, "mixed3b-reflection-1")))
    assert "have a gain below 0.61, this one has 0.42" in said["Chance"]
    across = dict(assurances(document, family_of(document, "scale-2")))
    assert "have a gain below 0.61, this one has 0.20" in across["Chance"]


def test_what_drawn_stimuli_said_stands_beside_the_family(tmp_path: Path, document: ReportDocument) -> None:
    family = family_of(document, "mixed3b-hue-1")
    assert "equiscope verify" in view_of(tmp_path, document, "mixed3b-hue-1").text
    members = [{"pose": m["pose"]["hue_deg"], "synthetic": 5.0, "error": 3.0} for m in family["members"]]
    members[1] = {"pose": 70.0, "synthetic": None, "error": None}
    members[3]["error"] = 80.0
    family["verification"] = [
        make_verification("hue", members=members),
        make_verification("scale", n_measured=0, median_error=None, members=[]),
    ]
    page = view_of(tmp_path, document, "mixed3b-hue-1")
    text = page.text_of_tables()
    assert "hue 3.4° 2.10 to 5.60 1 of 4 far off curve, radius 9 px" in text
    assert "size – no member fired" in text
    assert "curve drives the members most, to 93 % of what they answer" in " ".join(page.text.split())
    assert len(page.all("svg", class_="synthetic")) == 1
    words = [text for _, text in page.all("text")]
    assert words.count("3.0°") == 2
    assert words.count("did not fire") == 1
    # The last one is 80° beyond 310°: its line goes round the end of the axis.
    spans = [numbers_in(a["d"] or "") for a, _ in page.all("path", class_="span")]
    assert [len(span) for span in spans] == [3, 3, 6]
    _, _, end, start, _, place = spans[-1]
    assert (place - start) / (end - start) == pytest.approx(30 / 360, abs=0.001)
    pair = view_of(tmp_path, document, "mixed3b-reflection-1")
    assert "pair 0.91 0.37 more than untransformed" in pair.text_of_tables()


def test_a_worse_explanation_is_called_worse(tmp_path: Path, document: ReportDocument) -> None:
    family = family_of(document, "mixed3b-contrast-1")
    family["alternatives"][1].update({"deficit": 0.3, "deficit_low": 0.2, "deficit_high": 0.4})
    page = view_of(tmp_path, document, "mixed3b-contrast-1")
    assert page.all("span", class_="remark")[0][1] == "better explained as rotation"
    assert "contrast 0.88 0.30 0.20 to 0.40" in page.text_of_tables()
    family["explained_by"] = "contrast"
    assert not view_of(tmp_path, document, "mixed3b-contrast-1").all("span", class_="remark")


def test_a_family_names_those_before_and_after_it(tmp_path: Path, document: ReportDocument) -> None:
    own = [
        f["id"]
        for f in document["families"]
        if (f["layers"], f["transformation"]) == (["conv2d2"], "rotation")
    ]
    assert len(own) >= 2
    views = dict(render_families(open_run(tmp_path, document)))
    first, last = (Page(views[key].html) for key in (own[0], own[-1]))
    assert not first.all("a", rel="prev")
    assert first.all("a", rel="next")[0][0]["href"] == f"#/family/{own[1]}"
    assert last.all("a", rel="prev")[0][0]["href"] == f"#/family/{own[-2]}"
    assert not last.all("a", rel="next")


# Weights ------------------------------------------------------------------------------------------------------------


def test_its_circuits_stand_there_with_their_nulls(tmp_path: Path, document: ReportDocument) -> None:
    circuits, weights = make_circuits(document)
    context = open_run(tmp_path, document, circuits, weights)
    first = circuits.circuits[0]
    views = dict(render_families(context))
    page = Page(views[first.target].html)
    links = [a["href"] for a, _ in page.all("a", class_="circuit-link")]
    assert links[0] == f"#/circuit/{first.id.replace('>', '%3E')}"
    text = " ".join(page.text.split())
    assert "What feeds it 2 symmetric circuits" in text
    assert "R² 0.71 0.62 to 0.78, by chance below 0.20 · 5.1 % of the weight energy" in text
    # Its weights light up with its members.
    units = {f"{m['layer']}:{m['channel']}" for m in family_of(document, first.target)["members"]}
    lanes = {a.get("data-unit") for a, _ in page.all("rect", class_="member-lane")}
    assert units <= lanes
    (tmp_path / "circuits.json").unlink()
    without = Page(
        dict(render_families(SiteContext(document, context.pictures, tmp_path)))[first.target].html
    )
    assert "equiscope circuits" in without.text
    assert not without.all("a", class_="circuit-link")


def test_weights_confirm_or_do_not(tmp_path: Path, document: ReportDocument) -> None:
    family = document["families"][0]
    said = {
        (6, 2): "In 2 of 6 blocks",
        (6, 0): "In none of 6 blocks",
        (0, 0): "No block of weights between this family and another could be tested.",
    }
    for (n_tested, n_symmetric), words in said.items():
        family["confirmation"] = {
            "n_tested": n_tested, "n_symmetric": n_symmetric, "best_r2": 0.71, "best_null_95": 0.2,
            "best_circuit": f"conv2d0-rotation-9>{family['id']}",
        }  # fmt: skip
        page = view_of(tmp_path, document, family["id"])
        text = " ".join(page.text.split())
        assert words in text
        if n_symmetric:
            assert "most clearly from conv2d0-rotation-9, where a template explains 0.71" in text
        assert "all inputs of its members" not in text
    figures = {
        "likeness": 0.93,
        "likeness_low": 0.9,
        "likeness_high": 0.95,
        "permuted_95": 0.2,
        "tested": 0.8,
    }
    for word, words in {
        "copies": "all inputs of its members together confirm it: moved back to pose 0, two members are alike by 0.93 "
        "(0.90 to 0.95); 80 % of the weight energy into them could be compared. No block",
        "alike in pose": "all inputs of its members together do not confirm it: moved back",
        "untested": "All inputs of the members together could not be tested: for a reason.",
    }.items():
        verdict = figures | {"word": word, "reason": "for a reason", "cores": []}
        family["confirmation"] = cast("ConfirmationEntry", family["confirmation"] | {"verdict": verdict})
        assert words in " ".join(view_of(tmp_path, document, family["id"]).text.split())


# What is not there, and what must not get in ------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_was_not_measured_is_a_dash_and_never_a_number(
    tmp_path: Path, document: ReportDocument, missing: float | None
) -> None:
    for family in document["families"]:
        figures_: dict[str, Any] = dict(family)
        for key, value in figures_.items():
            if isinstance(value, float):
                family[key] = missing  # type: ignore[literal-required]
        family["half_turns"] = [missing for _ in family["half_turns"]]
        for member in family["members"]:
            member["pose"] = dict.fromkeys(member["pose"], missing)
            for key in ("score", "score_low", "score_high"):
                member[key] = missing  # type: ignore[literal-required]
        family["disagreement"] = dict.fromkeys(family["disagreement"], missing)
        family["stabiliser"] = [dict.fromkeys(element, missing) for element in family["stabiliser"]]
        if family["tuning"] is not None:
            family["tuning"]["values"] = [None] * family["size"]
        for entry in family["alternatives"]:
            entry.update(
                {"score": missing, "deficit": missing, "deficit_low": missing, "deficit_high": missing}
            )
        members = [{"pose": missing, "synthetic": missing, "error": missing} for _ in family["members"]]
        family["verification"] = [
            make_verification("hue", median_error=missing, drive=missing, members=members)
        ]
        family["confirmation"] = {
            "n_tested": 3, "n_symmetric": 1, "best_r2": missing, "best_null_95": missing, "best_circuit": "a>b",
        }  # fmt: skip
    context = open_run(
        tmp_path, json.loads(json.dumps(document).replace("NaN", "null").replace("Infinity", "null"))
    )
    own = SiteContext(document, context.pictures, tmp_path)
    for name, fragment in render_families(own):
        page = Page(fragment.html)
        shown = page.text + " ".join(
            value for _, attrs, _ in page.elements for key, value in attrs.items()
            if value and key not in ("href", "style") and not key.startswith("data-")
        )  # fmt: skip
        assert not re.search(r"\b(nan|NaN|None|inf)\b", shown), name
        assert "No score could be measured" in shown
        assert "Score –" in figures(page)


def test_everything_is_escaped(tmp_path: Path, document: ReportDocument) -> None:
    for family in document["families"]:
        family["id"] = f"{HOSTILE}{family['id']}"
        family["explained_by"] = CLOSING
        family["alternatives"] = [make_alternative(HOSTILE, 0.5, 0.0)]
        family["verification"] = [
            make_verification("rotation", kind=HOSTILE, runner_up=CLOSING, stimulus=HOSTILE)
        ]
        family["layers"] = [name.replace("mixed3b", HOSTILE + CLOSING) for name in family["layers"]]
        for member in family["members"]:
            member["layer"] = member["layer"].replace("mixed3b", HOSTILE + CLOSING)
    for layer in document["layers"]:
        layer["name"] = layer["name"].replace("mixed3b", HOSTILE + CLOSING)
    for picture in document["pictures"]:
        picture["layer"] = picture["layer"].replace("mixed3b", HOSTILE + CLOSING)
    for name, fragment in render_families(open_run(tmp_path, document)):
        page = Page(fragment.html)
        assert not page.open, name
        assert not page.all("img")
        assert not page.all("script")
        assert not [attrs for _, attrs, _ in page.elements if any(key.startswith("on") for key in attrs)]


def test_views_stay_small(tmp_path: Path) -> None:
    document = complete_document(n_families=12, n_members=160)
    circuits, weights = make_circuits(document)
    for name, fragment in render_families(open_run(tmp_path, document, circuits, weights)):
        assert len(fragment.html.encode()) < 300_000, name


def test_members_poses_on_drawings_reach_the_document(tmp_path: Path, document: ReportDocument) -> None:
    write_run(tmp_path, document)
    build_site(tmp_path)
    family = family_of(document, "mixed3b-hue-1")
    members = tuple(
        MemberVerification(m["layer"], m["channel"], m["pose"]["hue_deg"] or 0.0, 7.0, math.nan)
        for m in family["members"]
    )
    plain = make_verification("hue")
    figures_ = {key: math.nan if value is None else value for key, value in plain.items()}
    found = FamilyVerification(family=family["id"], transformation="hue", members=members, **figures_)
    save_verification(tmp_path, found)
    assert show_evidence(tmp_path, "verify")
    again = read_document(tmp_path)
    assert again is not None
    stored = family_of(again, "mixed3b-hue-1")["verification"][0]["members"]
    assert [own["channel"] for own in stored] == [m["channel"] for m in family["members"]]
    assert stored[0]["error"] is None
    assert stored[0]["synthetic"] == 7.0


def test_members_are_sorted_as_their_charts_need(document: ReportDocument) -> None:
    family = family_of(document, "mixed3b-dihedral-1")
    shown = members_in_order(family, ())
    assert [own.is_changed for own in shown] == [False] * 3 + [True] * 3
    assert [own.unit for own in shown] == [
        f"{family['members'][own.index]['layer']}:{family['members'][own.index]['channel']}" for own in shown
    ]


def test_figures_are_those_of_the_family(document: ReportDocument) -> None:
    terms = [line["term"] for line in figures_of(family_of(document, "scale-1"))]
    assert "Spacing" not in terms
    assert "Margin" in terms


# The verdict ----------------------------------------------------------------------------------------------------------

_VERDICT: dict[str, Any] = {
    "word": "copies",
    "reason": "",
    "likeness": 0.97,
    "likeness_low": 0.95,
    "likeness_high": 0.99,
    "permuted_95": 0.3,
    "tested": 1.0,
    "cores": [{"members": [0, 1, 2], "likeness": 0.97}],
}


@pytest.mark.parametrize("word", ["copies", "alike in pose", "untested"])
def test_the_verdict_puts_the_layers_other_units_and_drawings_beside_the_family(word: str) -> None:
    family: Any = {"members": [{"channel": c} for c in range(3)], "verdict": _VERDICT | {"word": word}}
    _, alone = verdict_of(family)
    assert "other units" not in alone
    assert "drawings" not in alone
    figures = {"agreement": 0.9, "agreement_low": 0.7, "agreement_high": 1.0, "agreement_null_95": 0.6}
    beside = {
        "score": 0.91,
        "strangers_95": 0.62,
        # Of two axes that which agrees less; one was not measured.
        "verification": [figures, figures | {"agreement": 0.8}, {"agreement": None}],
    }
    _, sentence = verdict_of(family | beside)
    assert "their answers correlate by 0.91; 95 % of the layer’s other units" in sentence
    assert "by less than 0.62." in sentence
    assert "On drawings 80 % of the members, by drive, have" in sentence
    assert "(70 % to 100 %; by chance 60 % at most)" in sentence
