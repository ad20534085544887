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

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiscope.errors import EquiscopeError
from equiscope.report import ReportDocument, render_page
from equiscope.report.dial import (
    CURVE_RADIUS,
    PICTURE_RADIUS,
    mark_path,
    pose_colours,
    sector_path,
    spread_pictures,
    tuning_path,
)
from report_document import ANGLES_DEG, synthetic_document

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


def without_families(document: ReportDocument) -> ReportDocument:
    document["families"] = []
    for layer in document["layers"]:
        layer["family_ids"] = []
    return document


def rename_layer(document: ReportDocument, old: str, new: str) -> None:
    for entry in document["layers"]:
        entry["name"] = new if entry["name"] == old else entry["name"]
    for family in document["families"]:
        for part in (family, *family["members"]):
            part["layer"] = new if part["layer"] == old else part["layer"]


def test_page_holds_every_family_and_member_in_pose_order(document: ReportDocument) -> None:
    page = Page(render_page(document))
    assert len(page.all("article", class_="card")) == 10
    assert len(page.all("li", class_="member")) == 44
    assert len(page.all("path", class_="curve")) == 44
    assert not page.open
    poses = [int(text[:-1]) for _, text in page.all("span", class_="pose")]
    start = 0
    for layer in document["layers"]:
        for key in layer["family_ids"]:
            size = next(family["size"] for family in document["families"] if family["id"] == key)
            assert poses[start : start + size] == sorted(poses[start : start + size])
            start += size


def test_head_says_what_was_found(document: ReportDocument) -> None:
    page = Page(render_page(document))
    n_with = sum(bool(layer["family_ids"]) for layer in document["layers"])
    assert f"10 families of rotated copies, with 44 units in {n_with} of 8 layers." in page.text
    assert "photos.tar: 1,880 images, and 3 that could not be read" in page.text
    assert document["command"] in page.text


def test_layers_show_their_counts_null_and_notes(document: ReportDocument) -> None:
    document["layers"][0]["counts"]["not measurable"] = 7
    page = Page(render_page(document))
    shown = [text for attrs, text in page.all("td") if attrs.get("data-kind") == "equivariant"]
    assert shown == [str(layer["counts"]["equivariant"]) for layer in document["layers"]]
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
    document["families"][0]["id"] = document["layers"][0]["family_ids"][0] = HOSTILE + CLOSING
    document["families"][0]["transformation"] = HOSTILE
    document["title"] = document["command"] = document["created"] = HOSTILE + CLOSING
    document["model"]["name"] = document["images"]["name"] = HOSTILE + CLOSING
    document["images"]["licences"] = {HOSTILE: CLOSING}
    document["seconds"] = {HOSTILE: 1.0}
    document["layers"][1]["notes"] = [HOSTILE, CLOSING]
    text = render_page(document)
    page = Page(text)
    assert all((attrs["src"] or "").startswith("data:image/jpeg") for attrs, _ in page.all("img"))
    assert len(page.all("script")) == 2
    assert not [attrs for _, attrs, _ in page.elements if any(name.startswith("on") for name in attrs)]
    assert HOSTILE in page.text
    assert CLOSING in page.text
    data = re.search(r'<script type="application/json" id="index">(.*?)</script>', text, re.DOTALL)
    assert data
    assert "<" not in data[1]
    assert any(unit.startswith(HOSTILE) for row in json.loads(data[1]) for unit in row["units"])


def test_page_needs_nothing_else(document: ReportDocument) -> None:
    text = render_page(document)
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"data:image/[^\"]*", "", text))
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
        "q_value",
        "gap_deviation_deg",
    ):
        family[key] = missing
    family["members"][0]["score"] = missing  # its interval is left, and means nothing alone
    family["members"][0]["tuning"] = None
    family["members"][1]["tuning"][3] = missing
    family["members"][2]["stimuli"] = None
    document["settings"]["min_score"] = missing
    document["layers"][0]["null"] = {"families_expected": missing, "score_95": missing}
    document["layers"][1]["null"] = None
    document["layers"][2]["null"] = {"families_expected": missing, "score_95": 0.5}
    text = render_page(document)
    page = Page(text)
    numbers = page.all("dl", class_="numbers")[0][1]
    assert numbers.startswith("Score – Disagreement – Coherence – q – Symmetry")
    assert page.all("span", class_="score")[0][1] == "score –"
    assert len(page.all("path", class_="curve")) == 43
    assert len(page.all("img")) == 43
    assert page.text.count("No null was measured here") == 2
    assert "scrambled, 95 % of its families score below 0.50." in page.text
    assert not re.search(r"\b(nan|NaN|None|inf|null)\b(?! in which| was)", page.text)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    rows = json.loads(page.all("script", id="index")[0][1], parse_constant=refuse)
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
    "address", ["http://example.org/a.jpg", "javascript:alert(1)", "data:text/html;base64,AA=="]
)
def test_a_picture_that_would_be_fetched_is_refused(document: ReportDocument, address: str) -> None:
    member = document["families"][0]["members"][0]
    member["stimuli"] = address
    with pytest.raises(EquiscopeError, match=rf"{member['layer']}:{member['channel']}.*data:image") as error:
        render_page(document)
    assert address in str(error.value)


def test_families_and_layers_must_agree(document: ReportDocument) -> None:
    unlisted = copy.deepcopy(document)
    unlisted["layers"][0]["family_ids"] = []
    with pytest.raises(EquiscopeError, match=r"exactly one layer"):
        render_page(unlisted)
    document["layers"][0]["family_ids"] = ["mixed3b-rotation-00"]
    with pytest.raises(EquiscopeError, match=r"did you mean 'mixed3b-rotation-0'"):
        render_page(document)


def test_a_file_name_that_is_not_unicode_can_be_written(document: ReportDocument) -> None:
    document["images"]["name"] = "photo\udce9s"
    assert "photo?s: 1,880 images" in Page(render_page(document)).text


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


def test_pose_colours_stand_out_from_the_page() -> None:
    for i in range(72):
        light, dark = pose_colours(i / 72)
        assert (luminance("#fdfdfb") + 0.05) / (luminance(light) + 0.05) >= 3
        assert (luminance(dark) + 0.05) / (luminance("#15171a") + 0.05) >= 3
    assert pose_colours(0) == pose_colours(1)


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
