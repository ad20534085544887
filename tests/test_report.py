"""The report's page: what is in it, what cannot get into it, and what it says where nothing was measured."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiscope.errors import EquiscopeError
from equiscope.report import (
    FamilyEntry,
    ReportDocument,
    load_document,
    render_page,
    save_report,
    show_verification,
)
from equiscope.report.charts import (
    Plane,
    curve_path,
    heat_paths,
    parse_stabiliser,
    plane_of_stabiliser,
    spread_labels,
    spread_on_plane,
)
from equiscope.report.dial import (
    CURVE_RADIUS,
    PICTURE_RADIUS,
    mark_path,
    sector_path,
    spread_pictures,
    tuning_path,
)
from equiscope.report.palette import category_colours, hue_colours, pose_colours, rim_colour
from equiscope.significance import share_interval
from equiscope.verification import FamilyVerification
from report_document import (
    ANGLES_DEG,
    TRANSFORMATIONS,
    complete_document,
    make_alternative,
    make_verification,
    synthetic_document,
)

HOSTILE = "<img src=x onerror=alert(1)>"
CLOSING = "</script><script>alert(2)</script>\"'&"
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements in order, with the text inside each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, f"</{tag}> closes <{self.open[-1][0]}>"
        self.open.pop()

    def handle_data(self, data):
        for _, _, text in self.open:
            text.append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str | None], str]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            (attrs, " ".join("".join(text).split()))
            for name, attrs, text in self.elements
            if name == tag and all(value in (attrs.get(key) or "").split() for key, value in wanted.items())
        ]

    @property
    def text(self) -> str:
        return " ".join(text for _, text in self.all("main"))


@pytest.fixture(scope="module")
def original() -> ReportDocument:
    return synthetic_document(n_families=10, n_members=44)


@pytest.fixture
def document(original: ReportDocument) -> ReportDocument:
    return copy.deepcopy(original)


@pytest.fixture(scope="module")
def original_of_all() -> ReportDocument:
    return complete_document()


@pytest.fixture
def complete(original_of_all: ReportDocument) -> ReportDocument:
    return copy.deepcopy(original_of_all)


def without_families(document: ReportDocument) -> ReportDocument:
    document["families"] = []
    document["pictures"] = []
    return document


def family_of(document: ReportDocument, key: str) -> FamilyEntry:
    return next(family for family in document["families"] if family["id"] == key)


def card_of(document: ReportDocument, key: str) -> Page:
    """The card of one family alone."""
    text = render_page(document)
    start = text.index(f'id="family-{key}" ')
    start = text.rindex("<article", 0, start)
    return Page(text[start : text.index("</article>", start) + len("</article>")])


def rename_layer(document: ReportDocument, old: str, new: str) -> None:
    for entry in document["layers"]:
        entry["name"] = new if entry["name"] == old else entry["name"]
    for result in document["results"]:
        result["layer"] = "+".join(new if part == old else part for part in result["layer"].split("+"))
    for family in document["families"]:
        family["layer"] = "+".join(new if part == old else part for part in family["layer"].split("+"))
        for member in family["members"]:
            member["layer"] = new if member["layer"] == old else member["layer"]
    for picture in document["pictures"]:
        picture["layer"] = new if picture["layer"] == old else picture["layer"]


def test_page_holds_every_family_and_member_in_pose_order(document: ReportDocument) -> None:
    page = Page(render_page(document))
    assert len(page.all("article", class_="card")) == 10
    assert len(page.all("li", class_="member")) == 44
    assert len(page.all("path", class_="curve")) == 44
    assert not page.open
    poses = [int(text[:-1]) for _, text in page.all("span", class_="pose")]
    start = 0
    for family in document["families"]:
        size = family["size"]
        assert poses[start : start + size] == sorted(poses[start : start + size])
        start += size
    assert start == 44


def test_head_says_what_was_found(document: ReportDocument) -> None:
    page = Page(render_page(document))
    n_with = len({family["layer"] for family in document["families"]})
    assert f"10 families of rotated copies, with 44 units in {n_with} of 8 layers." in page.text
    assert "photos.tar: 1,880 images, and 3 that could not be read" in page.text
    assert document["command"] in page.text


def test_layers_show_their_counts_null_and_notes(document: ReportDocument) -> None:
    document["layers"][0]["kinds"][0]["counts"]["not measurable"] = 7
    page = Page(render_page(document))
    shown = [text for attrs, text in page.all("td") if attrs.get("data-kind") == "equivariant"]
    counts = [layer["kinds"][0]["counts"] for layer in document["layers"]]
    assert shown == [
        f"{own['equivariant']} {100 * own['equivariant'] / sum(own.values()):.0f} %" for own in counts
    ]
    assert len(page.all("span", class_="kind-not-measurable")) == 2  # the legend and one bar
    assert (
        "gave 0.2 families on average that pass the same test; 95 % of its families score below 0.61"
        in page.text
    )
    assert document["layers"][5]["notes"][0] in page.text
    assert "receptive field 15 px, stride 4 px" in page.text


def test_every_link_leads_somewhere_and_ids_are_unique(document: ReportDocument) -> None:
    rename_layer(document, "conv2d0", "a layer/of.ours")
    rename_layer(document, "mixed3a", "a layer of.ours")
    page = Page(render_page(document))
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for attrs, _ in page.all("a")}
    assert targets <= set(ids)
    assert {"layer-a-layer-of.ours", "layer-a-layer-of.ours--2", "layer-mixed3b"} <= set(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", target) for target in targets)


def test_everything_is_escaped(document: ReportDocument) -> None:
    rename_layer(document, "conv2d0", HOSTILE)
    rename_layer(document, "mixed3a", CLOSING)
    document["families"][0]["id"] = HOSTILE + CLOSING
    document["families"][0]["transformation"] = HOSTILE
    document["title"] = document["command"] = document["created"] = HOSTILE + CLOSING
    document["model"]["name"] = document["images"]["name"] = HOSTILE + CLOSING
    document["images"]["licences"] = {HOSTILE: CLOSING}
    document["seconds"] = {HOSTILE: 1.0}
    document["layers"][1]["notes"] = [HOSTILE, CLOSING]
    text = render_page(document)
    page = Page(text)
    assert not page.all("img")
    assert len(page.all("script")) == 2
    assert not [attrs for _, attrs, _ in page.elements if any(name.startswith("on") for name in attrs)]
    assert HOSTILE in page.text
    assert CLOSING in page.text
    data = re.search(r'<script type="application/json" id="index">(.*?)</script>', text, re.DOTALL)
    assert data
    assert "<" not in data[1]
    assert any(unit.startswith(HOSTILE) for row in json.loads(data[1])["families"] for unit in row["units"])


def test_page_needs_nothing_else(document: ReportDocument) -> None:
    text = render_page(document)
    page = Page(text)
    embedded = re.sub(r"url\(data:image/[^)\"]*\)", "", text)
    assert text.count("url(") == len(document["pictures"])
    assert not re.search(r"https?:|//[a-z]|@import|url\(|(src|href)=\"(?!#|data:)", embedded)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    expected = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = next(attrs["content"] for attrs, _ in page.all("meta") if attrs.get("http-equiv"))
    assert f"script-src 'sha256-{expected}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_was_not_measured_is_a_dash_and_never_a_number(
    document: ReportDocument, missing: float | None
) -> None:
    family = document["families"][0]
    for key in (
        "score",
        "score_low",
        "score_high",
        "disagreement_deg",
        "phase_coherence",
        "margin",
        "q_value",
        "gap_deviation_deg",
    ):
        family[key] = missing
    family["members"][0]["score"] = missing  # its interval is left, and means nothing alone
    family["explained_by"], family["alternatives"] = "", [make_alternative("hue", 0.5, 0.1)]
    family["alternatives"][0].update(score=missing, deficit=missing)
    assert family["tuning"] is not None
    family["tuning"]["values"][0] = None
    family["tuning"]["values"][1][3] = missing
    del document["pictures"][2]
    document["settings"]["min_score"] = missing
    document["results"][0]["null"] = {"families_expected": missing, "score_95": missing}
    document["results"][1]["null"] = None
    document["results"][2]["null"] = {"families_expected": missing, "score_95": 0.5}
    counts = document["layers"][7]["kinds"][0]["counts"]
    counts.update({"equivariant": 0, "invariant": 0, "neither": 0, "inactive": 2, "not measurable": 510})
    text = render_page(document)
    page = Page(text)
    numbers = page.all("dl", class_="numbers")[0][1]
    assert numbers.startswith("Score – Disagreement – Coherence – Margin – q – Symmetry")
    assert "Spacing – from even" in numbers
    assert numbers.endswith("Explained by –")
    assert page.all("table", class_="alternatives")[0][1].endswith("hue – –")
    shares = [text for attrs, text in page.all("td") if attrs.get("data-kind") == "equivariant or invariant"]
    assert shares[7] == "–"
    assert shares[0] != "–"
    assert page.all("span", class_="score")[0][1] == "score –"
    assert len(page.all("path", class_="curve")) == 43
    assert len(page.all("span", class_="strip")) == 43
    assert len(page.all("p", class_="no-picture")) == 1
    assert len(page.all("path", class_="hn")) == 2  # one member, and one angle of another
    assert page.text.count("No null was measured here") == 2
    assert "scrambled, 95 % of its families score below 0.50." in page.text
    assert not re.search(r"\b(nan|NaN|None|inf|null)\b(?! in which| was)", page.text)
    assert not re.search(r"\b(nan|NaN|None|inf)\b", " ".join(a.get("d") or "" for a, _ in page.all("path")))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    rows = json.loads(page.all("script", id="index")[0][1], parse_constant=refuse)["families"]
    assert rows[0]["score"] is None
    assert rows[1]["score"] == document["families"][1]["score"]


def test_a_run_without_families_says_so_and_shows_its_null(document: ReportDocument) -> None:
    page = Page(render_page(without_families(document)))
    assert "equiscope found no family of rotated copies in 8 layers." in page.text
    assert page.text.count("No family was found in this layer.") == 8
    assert page.text.count("gave 0.2 families on average") == 8
    assert not page.all("article")
    assert not page.all("input")


def test_a_run_without_layers_still_makes_a_page(document: ReportDocument) -> None:
    without_families(document)["layers"] = []
    document["results"] = []
    assert "no family of rotated copies in 0 layers" in Page(render_page(document)).text


def test_a_layer_seen_in_whole_images_says_so(document: ReportDocument) -> None:
    document["layers"][0].update(whole_images=True, receptive_field_px=None, stride_px=None)
    assert re.search(r"64 units · whole images", Page(render_page(document)).text)


def test_symmetry_holes_and_duplicates_are_in_words(document: ReportDocument) -> None:
    family = document["families"][0]
    family.update(stabiliser_order=2, holes_deg=[[150.0, 10.0]], duplicates=[[4, 17]], score=0.9, q_value=0.0)
    family["members"][0]["pose_deg"] = 359.8
    page = Page(render_page(document))
    numbers = page.all("dl", class_="numbers")[0][1]
    assert "q < 0.001" in numbers
    assert "Symmetry repeats every 180°" in numbers
    assert "Holes 150° to 10°" in numbers
    assert "At one pose 4 and 17" in numbers
    holes = [attrs["d"] for attrs, _ in page.all("path", class_="hole")][:2]
    assert holes == [sector_path(150, 190), sector_path(330, 370)]
    last_mark = [attrs["d"] for attrs, _ in page.all("path", class_="mark")][family["size"] - 1]
    assert last_mark == f"{mark_path(179.8)} {mark_path(359.8)}"
    assert page.all("span", class_="pose")[family["size"] - 1][1] == "0°"


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a.jpg",
        "javascript:alert(1)",
        "data:text/html;base64,AA==",
        "data:image/png;base64,AA==);}</style><script>alert(1)</script>",
        "data:image/png;base64,AA==\n",
        "",
    ],
)
def test_a_picture_that_would_be_fetched_is_refused(document: ReportDocument, address: str) -> None:
    picture = document["pictures"][0]
    picture["stimuli"] = address
    with pytest.raises(
        EquiscopeError, match=rf"{picture['layer']}:{picture['channel']}.*data:image"
    ) as error:
        render_page(document)
    assert repr(address[:60]) in str(error.value)


def test_families_and_layers_must_agree(document: ReportDocument) -> None:
    twice = copy.deepcopy(document)
    twice["families"][1]["id"] = twice["families"][0]["id"]
    with pytest.raises(EquiscopeError, match=r"10 families with 9 different ids"):
        render_page(twice)
    document["families"][0]["members"][0]["layer"] = "conv2d00"
    with pytest.raises(EquiscopeError, match=r"did you mean 'conv2d0'"):
        render_page(document)


def test_a_file_name_that_is_not_unicode_can_be_written(document: ReportDocument) -> None:
    document["images"]["name"] = "photo\udce9s"
    assert "photo?s: 1,880 images" in Page(render_page(document)).text


def test_every_transformation_has_a_part_in_each_layer_and_a_card(complete: ReportDocument) -> None:
    page = Page(render_page(complete))
    assert not page.open
    assert len(page.all("article", class_="card")) == len(complete["families"])
    assert {f["transformation"] for f in complete["families"]} == {*TRANSFORMATIONS, "rotation-scale"}
    layer = next(
        text for attrs, text in page.all("section", class_="layer") if attrs["id"] == "layer-mixed3b"
    )
    places = [layer.index(f" {name} {n}") for name, n in (
        ("rotation", "2 fam"), ("hue", "1 family"), ("reflection", "1 family"), ("contrast", "1 family"),
        ("dihedral", "1 family"), ("hue-rotation", "2 families"), ("scale", "1 family"),
    )]  # fmt: skip
    assert places == sorted(places)
    groups = page.all("section", class_="layer")
    assert groups[-1][0]["id"] == "across-layers"
    assert "rotation-scale family of" in groups[-1][1]
    assert "scale family of 4" in groups[-1][1]
    assert "have gains below 0.61" in groups[-1][1]
    titles = [text for _, text in page.all("h5")]
    assert any(title.startswith("mixed3b reflection pair") for title in titles)


def test_the_overview_has_counts_shares_and_intervals_of_every_transformation(
    complete: ReportDocument,
) -> None:
    counts = complete["layers"][3]["kinds"][1]["counts"]
    counts.update({"equivariant": 31, "invariant": 9, "neither": 10, "inactive": 5, "not measurable": 45})
    page = Page(render_page(complete))
    body = page.all("tbody")[3][1]
    assert body.startswith("mixed3a 256 units rotation 200 78 %")
    low, high = share_interval(40, 100)
    assert f"hue 31 31 % 9 9 % 10 10 % 5 5 % 45 45 % 40 % {100 * low:.0f} to {100 * high:.0f} 0" in body
    assert "All shares are of all units of the layer." in page.text
    assert "does not vary with both hue and orientation" in page.text
    assert len(page.all("tbody")) >= 8
    labels = [text for _, text in page.all("text", class_="label")]
    assert labels == list(TRANSFORMATIONS)


def test_by_depth_breaks_where_a_layer_was_not_measured(complete: ReportDocument) -> None:
    for i in (0, 4):
        counts = complete["layers"][i]["kinds"][1]["counts"]
        counts.update({"equivariant": 0, "invariant": 0, "neither": 0, "inactive": 1, "not measurable": 63})
    page = Page(render_page(complete))
    rotation, hue = (attrs["d"] for attrs, _ in page.all("path", class_="trend")[:2])
    assert (rotation.count("M"), rotation.count("L")) == (1, 7)
    assert (hue.count("M"), hue.count("L")) == (2, 4)


def test_each_picture_is_stored_once(complete: ReportDocument) -> None:
    text = render_page(complete)
    shown = [(m["layer"], m["channel"]) for f in complete["families"] for m in f["members"]]
    assert len(shown) > len(set(shown))
    for picture in complete["pictures"]:
        assert text.count(picture["stimuli"]) == 1
    page = Page(text)
    assert len(page.all("span", class_="strip")) == len(shown)
    card = card_of(complete, "mixed3b-reflection-1")
    channel = family_of(complete, "mixed3b-reflection-1")["members"][0]["channel"]
    number = [(p["layer"], p["channel"]) for p in complete["pictures"]].index(("mixed3b", channel))
    assert card.all("span", class_="strip")[0][0]["class"] == f"strip p{number}"
    assert f".p{number}{{background-image:url({complete['pictures'][number]['stimuli']});--n:8}}" in text


def test_a_hue_dial_is_worded_and_coloured_as_hue(complete: ReportDocument) -> None:
    card = card_of(complete, "mixed3b-hue-1")
    assert [text for _, text in card.all("span", class_="pose")] == [
        "hue 0°",
        "hue 70°",
        "hue 150°",
        "hue 310°",
    ]
    rim = [attrs["stroke"] for attrs, _ in card.all("path", class_="hue")]
    assert len(rim) == 36
    assert rim[0] == rim_colour(5)
    red, green, blue = (linear_rgb(rim_colour(hue)) for hue in (0, 120, 240))
    assert max(red) == red[0]
    assert max(green) == green[1]
    assert max(blue) == blue[2]
    numbers = card.all("dl", class_="numbers")[0][1]
    assert "Disagreement 6.2°" in numbers
    assert "none short of a full turn of hue" in numbers
    assert "Holes 150° to 310°" in numbers


def test_a_dihedral_dial_marks_the_mirrored_members(complete: ReportDocument) -> None:
    card = card_of(complete, "mixed3b-dihedral-1")
    poses = [text for _, text in card.all("span", class_="pose")]
    assert poses == ["0°", "95°", "200°", "40° mirrored", "180° mirrored", "290° mirrored"]
    assert len(card.all("g", class_="mirrored")) == 3
    family = family_of(complete, "mixed3b-dihedral-1")
    assert family["tuning"] is not None
    # Each member is drawn on the sheet of its own hand.
    curves = [attrs["d"] for attrs, _ in card.all("path", class_="curve")]
    values = family["tuning"]["values"]
    assert curves[0] == tuning_path(ANGLES_DEG, values[0][0])
    assert curves[3] == tuning_path(ANGLES_DEG, values[3][1])
    assert "comes in two hands" in card.all("dl", class_="numbers")[0][1]


def test_hue_rotation_shows_how_the_torus_wraps(complete: ReportDocument) -> None:
    wrapped, plain = (card_of(complete, f"mixed3b-hue-rotation-{i}") for i in (1, 2))
    assert len(wrapped.all("path", class_="wrap")) == 1
    assert not plain.all("path", class_="wrap")
    assert not plain.all("span", class_="ghost")
    family = family_of(complete, "mixed3b-hue-rotation-1")
    near = [m for m in family["members"] if (m["hue_deg"] or 0) <= 60]
    ghosts = [attrs["style"] for attrs, _ in wrapped.all("span", class_="ghost")]
    pictures = {
        attrs["data-member"]: attrs["style"]
        for attrs, _ in wrapped.all("span", class_="picture")
        if "ghost" not in (attrs["class"] or "").split()
    }
    assert len(ghosts) == len(near)
    # The ghost of what stands at (0°, 0°) is half a turn to the right, on the dashed line.
    line = wrapped.all("path", class_="wrap")[0][0]["d"]
    box = next(a["viewbox"] for a, _ in wrapped.all("svg") if (a.get("aria-label") or "").endswith("and hue"))
    width, height = (float(value) for value in box.split()[2:])
    left, top = (float(v) for v in re.findall(r"(?:left|top):([\d.]+)", ghosts[0]))
    first = float(re.findall(r"left:([\d.]+)", pictures["0"])[0])
    x_start, y_line, x_end = numbers_in(line)
    assert left - first == pytest.approx(50 * (x_end - x_start) / width, abs=0.05)
    assert top == pytest.approx(100 * y_line / height, abs=0.05)
    numbers = wrapped.all("dl", class_="numbers")[0][1]
    assert "repeats after half a turn of hue and of the plane together {(0°, 0°), (180°, 180°)}" in numbers
    assert "Itself after half a turn of both 0.91, of hue alone −0.20, of the plane alone –" in numbers
    assert "Disagreement 5.0° of angle, 11.5° of hue" in numbers
    assert len(wrapped.all("circle", class_="ring")) == 2 * len(family["members"])
    assert len(wrapped.all("figure", class_="sheets")) == 1


@pytest.mark.parametrize(
    ("text", "plane"),
    [
        ("{(0°, 0°)}", Plane(360, 360, 0)),
        ("{(0°, 0°), (180°, 180°)}", Plane(360, 180, 180)),
        ("{(0°, 0°), (0°, 180°)}", Plane(180, 360, 0)),
        ("{(0°, 0°), (180°, 0°)}", Plane(360, 180, 0)),
        ("{(0°, 0°), (180°, 90°), (0°, 180°), (180°, 270°)}", Plane(180, 180, 90)),
        ("{(0°, 0°), (0°, 90°), (0°, 180°), (0°, 270°)}", Plane(90, 360, 0)),
        ("{(0°, 0°), (180°, 0°), (0°, 180°), (180°, 180°)}", Plane(180, 180, 0)),
        ("", Plane(360, 360, 0)),
    ],
)
def test_a_stabiliser_gives_its_plane(text: str, plane: Plane) -> None:
    assert plane_of_stabiliser(parse_stabiliser(text)) == plane


def test_pairs_show_their_four_responses(complete: ReportDocument) -> None:
    for key, changed in (("mixed3b-reflection-1", "mirrored"), ("mixed3b-contrast-1", "inverted")):
        card = card_of(complete, key)
        assert [text for _, text in card.all("span", class_="pose")] == ["as it is", changed]
        matrix = card.all("table", class_="matrix")[0][1]
        assert f"as it is {changed} mixed3b:" in matrix
        cells = [
            (text, attrs["class"]) for attrs, text in card.all("td") if (attrs.get("class") or "")[0:1] == "h"
        ]
        assert cells == [("1.00", "h9"), ("0.12", "h1"), ("0.31", "h3"), ("1.00", "h9")]
        assert "Margin 0.42 0.35 to 0.51" in card.all("dl", class_="numbers")[0][1]
        assert card.all("span", class_="remark")[0][1] == "may as well be rotation"


def test_what_drawn_stimuli_said_stands_beside_the_family(complete: ReportDocument) -> None:
    family = family_of(complete, "mixed3b-hue-1")
    assert not card_of(complete, "mixed3b-hue-1").all("table", class_="synthetic")
    family["verification"] = [
        make_verification("hue"),
        make_verification("scale", n_measured=0, median_error=None),
    ]
    text = card_of(complete, "mixed3b-hue-1").all("table", class_="synthetic")[0][1]
    assert (
        "most driven by curve (0.93 of what they respond to anything), next corner, 0.11 less 0.06 to 0.17"
        in text
    )
    assert "hue 3.4° 2.10 to 5.60 1 of 4 far off curve, radius 9 px" in text
    assert "size – no member fired" in text
    pair = card_of(complete, "mixed3b-reflection-1").all("table", class_="synthetic")[0][1]
    assert "pair 0.91 0.37 more than untransformed" in pair


def test_a_report_is_drawn_again_with_what_was_verified(tmp_path: Path, complete: ReportDocument) -> None:
    assert not show_verification(tmp_path, [])  # a run of an earlier version, with nothing to draw from
    save_report(tmp_path, complete)
    family = family_of(complete, "mixed3b-hue-1")
    figures = make_verification("hue", kind="a kind of its own")
    found = FamilyVerification(family=family["id"], transformation="hue", members=(), **figures)
    assert show_verification(tmp_path, [found])
    assert "a kind of its own" in (tmp_path / "index.html").read_text(encoding="utf-8")
    document = load_document(tmp_path)
    assert document is not None
    assert family_of(document, "mixed3b-hue-1")["verification"] == [figures]
    # What was verified before is replaced, not added to.
    assert not family_of(document, "mixed3b-reflection-1")["verification"]
    assert [f["id"] for f in document["families"]] == [f["id"] for f in complete["families"]]


def test_a_worse_explanation_is_called_worse(complete: ReportDocument) -> None:
    family = family_of(complete, "mixed3b-contrast-1")
    family["alternatives"][1].update(deficit=0.3, deficit_low=0.2, deficit_high=0.4)
    card = card_of(complete, "mixed3b-contrast-1")
    assert card.all("span", class_="remark")[0][1] == "better explained as rotation"
    assert "contrast 0.88 0.30 0.20 to 0.40" in card.all("table", class_="alternatives")[0][1]
    family["explained_by"] = "contrast"
    assert not card_of(complete, "mixed3b-contrast-1").all("span", class_="remark")


def test_scale_families_are_placed_by_size_and_named_by_layer(complete: ReportDocument) -> None:
    card = card_of(complete, "scale-2")
    assert [text for _, text in card.all("span", class_="pose")] == [
        "0 oct.",
        "+0.40 oct.",
        "+0.50 oct.",
        "+1.10 oct.",
    ]
    assert card.all("p", class_="legend")[0][1] == "mixed3a mixed3b"
    family = family_of(complete, "scale-2")
    assert [text for _, text in card.all("text", class_="name")] == [
        f"{m['layer']}:{m['channel']}" for m in family["members"]
    ]
    spots = [float(attrs["cx"]) for attrs, _ in card.all("circle", class_="spot")]
    octave = spots[1] / 0.4 - spots[0] / 0.4
    assert spots[3] - spots[0] == pytest.approx(1.1 * octave, abs=0.5)
    curves = [attrs["d"] for attrs, _ in card.all("path", class_="curve")]
    assert len(curves) == 4
    assert all(curve.count("C") == 6 for curve in curves)  # of eight sizes one was not shown
    assert "Disagreement 0.08 octaves" in card.all("dl", class_="numbers")[0][1]


def test_rotation_scale_names_the_families_it_joins(complete: ReportDocument) -> None:
    card = card_of(complete, "rotation-scale-1")
    link = complete["links"][0]
    assert (
        f"{link['first']} and {link['second']} 4 12° +1.00 7.0° 0.004"
        in card.all("table", class_="joined")[0][1]
    )
    assert [attrs["href"] for attrs, _ in card.all("a")][1:] == [
        f"#family-{link[end]}" for end in ("first", "second")
    ]
    assert [text for _, text in card.all("text", class_="name")] == ["mixed3a", "mixed3b"]
    assert not card.all("figure", class_="check")
    assert "was not measured" in card.all("p", class_="caption")[0][1]


def test_the_check_has_a_row_a_member_in_pose_order_with_its_pose_marked(complete: ReportDocument) -> None:
    rotation = complete["families"][0]
    rotation["stabiliser_order"] = 2
    rotation["members"][0]["pose_deg"] = 91.0
    card = card_of(complete, rotation["id"])
    rows = card.all("div", class_="row")
    assert len(rows) == rotation["size"]
    poses = [int(text.removesuffix("°")) for _, text in rows]
    assert poses == sorted(poses)
    own = [attrs["d"] for attrs, _ in card.all("path", class_="own")][poses.index(91)]
    assert own == f"M{91 / 22.5 + 0.5:.2f},0v1M{271 / 22.5 + 0.5:.2f},0v1"


def test_everything_is_escaped_in_the_cards_of_all_transformations(complete: ReportDocument) -> None:
    rename_layer(complete, "mixed3b", HOSTILE)
    rename_layer(complete, "mixed3a", CLOSING)
    for family in complete["families"]:
        family["stabiliser"] = HOSTILE
        family["explained_by"] = CLOSING
        family["alternatives"] = [make_alternative(HOSTILE, 0.5, 0.0)]
        family["verification"] = [
            make_verification("rotation", kind=HOSTILE, runner_up=CLOSING, stimulus=HOSTILE)
        ]
        family["id"] = HOSTILE + family["id"]
    complete["links"][0]["first"], complete["links"][0]["second"] = (
        HOSTILE + complete["links"][0][end] for end in ("first", "second")
    )
    for layer in complete["layers"]:
        layer["kinds"][1]["transformation"] = HOSTILE
    complete["results"][0]["transformation"] = HOSTILE
    complete["results"][1]["notes"] = [CLOSING]
    complete["settings"]["transformations"].append(HOSTILE + CLOSING)
    text = render_page(complete)
    page = Page(text)
    assert not page.open
    assert not page.all("img")
    assert len(page.all("script")) == 2
    assert not [attrs for _, attrs, _ in page.elements if any(name.startswith("on") for name in attrs)]
    assert len(page.all("table", class_="joined")) == 1
    assert page.text.count(CLOSING) > len(complete["families"])
    targets = {attrs["href"][1:] for attrs, _ in page.all("a")}
    assert targets <= {attrs["id"] for _, attrs, _ in page.elements if "id" in attrs}


@pytest.mark.parametrize("missing", [None, math.nan])
def test_no_card_shows_what_was_not_measured_as_a_number(
    complete: ReportDocument, missing: float | None
) -> None:
    for family in complete["families"]:
        for key in ("score", "margin", "q_value", "phase_coherence", "disagreement_deg", "disagreement_hue_deg",
                    "disagreement_octaves", "gap_deviation_deg"):  # fmt: skip
            family[key] = missing
        family["half_turns"] = [missing, missing, missing] if family["half_turns"] else []
        nothing = dict.fromkeys(("drive", "lead", "lead_low", "median_error", "error_low", "margin"), missing)
        family["verification"] = [
            make_verification(axis, **nothing) for axis in ("rotation", "scale", "pair")
        ]
        if family["tuning"] is not None:
            family["tuning"]["values"][0] = None
        for member in family["members"]:
            member["score"] = missing
    text = render_page(complete)
    page = Page(text)
    for _, numbers in page.all("dl", class_="numbers"):
        assert re.match(
            r"Score – Disagreement –( of angle, – of (hue|size))? Coherence – Margin – q – Symm", numbers
        )
    shown = " ".join(" ".join(v for v in attrs.values() if v) for _, attrs, _ in page.elements)
    assert not re.search(r"\b(nan|None|inf)\b", shown)
    assert not re.search(r"\b(nan|NaN|None|inf)\b", page.text)


def test_heat_paths_join_cells_of_a_level_and_hatch_what_is_missing() -> None:
    assert heat_paths([[0.0, 0.55, 0.51, None, 1.0, 0.05]]) == [
        ("h5", "M1,.5h2"),
        ("h9", "M4,.5h1"),
        ("hn", "M3,.5h1"),
    ]
    assert heat_paths([[0.0], [0.2]]) == [("h2", "M0,1.5h1")]
    assert heat_paths([[math.nan, -0.1, 1.7]]) == [("h9", "M2,.5h1"), ("hn", "M0,.5h1")]


def test_curve_path_breaks_at_gaps() -> None:
    path = curve_path([(0.0, 0.0), (1.0, 1.0), None, (3.0, 1.0), None, (5.0, 0.0), (6.0, 2.0), (7.0, 0.0)])
    assert (path.count("M"), path.count("C")) == (3, 3)
    assert "M3.0,1.0h0" in path
    assert path.endswith("7.0 0.0")
    assert curve_path([]) == ""


@given(
    st.lists(st.tuples(st.floats(0, 900), st.floats(0, 200)), max_size=24),
    st.floats(20, 46),
)
@settings(max_examples=40, deadline=None)
def test_pictures_on_a_plane_are_pushed_apart_and_stay_inside(
    places: list[tuple[float, float]], diameter: float
) -> None:
    centres = spread_on_plane(places, diameter, (0, 0), (900, 200))
    assert len(centres) == len(places)
    for x, y in centres:
        assert 0 <= x <= 900
        assert 0 <= y <= 200
    for a, b in itertools.combinations(centres, 2):
        assert math.dist(a, b) >= 0.8 * diameter


@given(st.lists(st.floats(0, 300), max_size=12))
@settings(max_examples=40, deadline=None)
def test_labels_keep_their_order_and_their_distance(places: list[float]) -> None:
    spread = spread_labels(places, 15, 0, 300)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    for a, b in itertools.pairwise(order):
        assert spread[b] - spread[a] >= 15 - 1e-9
    assert all(-1e-9 <= value <= 300 + 1e-9 for value in spread)


def numbers_in(path: str) -> list[float]:
    return [float(value) for value in re.findall(r"-?\d+\.?\d*", path)]


def test_tuning_path_goes_through_every_measurement_and_closes() -> None:
    values = [0.5 + 0.5 * math.cos(math.radians(angle - 40)) for angle in ANGLES_DEG]
    path = tuning_path(ANGLES_DEG, values)
    assert path.endswith("Z")
    assert path.count("M") == 1
    assert path.count("C") == 16
    numbers = numbers_in(path)
    anchors = [tuple(numbers[:2]), *(tuple(numbers[i : i + 2]) for i in range(6, len(numbers), 6))]
    for (x, y), angle, value in zip(anchors, [*ANGLES_DEG, 0.0], [*values, values[0]], strict=True):
        assert math.hypot(x, y) == pytest.approx(CURVE_RADIUS * value, abs=0.1)
        if value > 0.1:  # on screen y points down, so counter-clockwise is negative y
            assert math.degrees(math.atan2(-y, x)) % 360 == pytest.approx(angle, abs=0.5)


def test_tuning_path_opens_where_nothing_was_measured() -> None:
    values: list[float | None] = [0.8] * 16
    values[5] = None
    path = tuning_path(ANGLES_DEG, values)
    assert path.count("C") == 14
    assert path.count("M") == 2
    assert "Z" not in path
    gap = 80 * math.cos(math.radians(ANGLES_DEG[5])), -80 * math.sin(math.radians(ANGLES_DEG[5]))
    assert f"{gap[0]:.1f},{gap[1]:.1f}" not in path
    assert f"{gap[0]:.1f} {gap[1]:.1f}" not in path
    assert tuning_path(ANGLES_DEG, None) == ""


@given(st.lists(st.floats(0, 359.9), min_size=1, max_size=40).map(sorted))
@settings(max_examples=60, deadline=None)
def test_pictures_round_the_dial_never_overlap(poses_deg: list[float]) -> None:
    slots_deg, diameter = spread_pictures(poses_deg)
    places = [
        (PICTURE_RADIUS * math.cos(math.radians(a)), PICTURE_RADIUS * math.sin(math.radians(a)))
        for a in slots_deg
    ]
    descents = sum(b % 360 < a % 360 for a, b in itertools.pairwise(slots_deg))
    assert descents <= 1  # still in the order of their poses
    for a, b in itertools.combinations(places, 2):
        assert math.dist(a, b) >= 0.97 * diameter


def test_pictures_with_room_stay_at_their_poses() -> None:
    assert spread_pictures([0.0, 90.0, 200.0])[0] == [0.0, 90.0, 200.0]


def linear_rgb(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def luminance(colour: str) -> float:
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear_rgb(colour), strict=True))


def test_colours_stand_out_from_the_page() -> None:
    pairs = [*(pose_colours(i / 72) for i in range(72)), *(hue_colours(5 * i) for i in range(72))]
    for light, dark in [*pairs, *(category_colours(i) for i in range(8))]:
        assert (luminance("#fdfdfb") + 0.05) / (luminance(light) + 0.05) >= 3
        assert (luminance(dark) + 0.05) / (luminance("#15171a") + 0.05) >= 3
    assert pose_colours(0) == pose_colours(1)
    assert len({category_colours(i) for i in range(8)}) == 8


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
DICHROMATS = {
    "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_a_dichromat_can_tell_poses_45_degrees_apart(kind: str) -> None:
    def seen(colour: str) -> list[float]:
        rgb = linear_rgb(colour)
        linear = [sum(w * c for w, c in zip(row, rgb, strict=True)) for row in DICHROMATS[kind]]
        return [max(0.0, value) ** (1 / 2.4) for value in linear]

    for shade in (0, 1):
        seen_colours = [seen(pose_colours(i / 8)[shade]) for i in range(8)]
        assert min(math.dist(a, b) for a, b in itertools.combinations(seen_colours, 2)) > 0.06
