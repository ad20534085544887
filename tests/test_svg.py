"""Drawings are written twice: for the site by classes, for print by attributes that every program reads."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from circuit_run import make_circuits, open_run
from equiscope.reports.document.pictures.sprites import Tile
from equiscope.reports.drawing.svg import (
    STYLES,
    Drawing,
    below,
    beside,
    draw_tile,
    node,
    styles_of,
    text_node,
    write_for_print,
    write_for_site,
)
from equiscope.reports.figures.saving import figure_kinds
from equiscope.reports.site import building
from equiscope.reports.views.circuit.drawings import draw_board, draw_template, draw_thumbnail
from equiscope.reports.views.circuit.ends import Ends
from equiscope.reports.views.circuit.matrices import arrange
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.reports.views.family import view
from equiscope.reports.views.templates import read_asset
from html_page import CLOSING, HOSTILE
from report_document import complete_document

COLOURS = ("#112233", "#aabbcc")
SVG = "{http://www.w3.org/2000/svg}"


def parse(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - this package wrote it


def small_drawing(text: str = "words") -> Drawing:
    tile = Tile("site/sprites/a-0.webp", 2, 1, 4, 3)
    member = node(
        "g", "member", node("path", "curve", d="M0,0H5"), text_node(1, 2, text), colours=COLOURS, unit="a:1"
    )
    member.add(draw_tile(tile, 3, 4, 10, is_round=True, label=text))
    return Drawing(100, 50, [node("circle", "rim", r=4.0), member], text)


def every_drawing(folder: Path) -> list[Drawing]:
    document = complete_document()
    circuits, weights = make_circuits(document)
    context = open_run(folder, document, circuits, weights)
    drawings = []
    for name in context.families:
        drawings += [draw() for draw in figure_kinds(context, "family", name).values()]
    drawings += [draw() for draw in figure_kinds(context, "overview", "").values()]
    drawings += [draw() for draw in figure_kinds(context, "layer", "mixed3b").values()]
    stored = StoredWeights(folder, circuits)
    ends = Ends(context.document["families"], context.pictures)
    for circuit in circuits.circuits:
        if circuit.id in stored:
            matrices = arrange(circuit, stored.read(circuit.id), ends)
            drawings += [draw_board(matrices, part).drawing for part in ("raw", "reordered")]
            drawings += [draw_template(matrices), draw_thumbnail(matrices)]
    return [drawing for drawing in drawings if drawing is not None]


def test_the_site_gets_classes_and_both_colours() -> None:
    text = write_for_site(small_drawing(), "extra")
    root = parse(text)
    assert root.attrib["class"] == "chart extra"
    member = root.find("g")
    assert member is not None
    assert member.attrib == {
        "class": "member own",
        "style": "--light:#112233;--dark:#aabbcc",
        "data-unit": "a:1",
    }
    image = member.find(".//image")
    assert image is not None
    # The sheet of four by three tiles is shifted so that the tile of column 2, row 1 shows.
    assert {key: image.attrib[key] for key in ("x", "y", "width", "height", "href")} == {
        "x": "-2", "y": "-1", "width": "4", "height": "3", "href": "site/sprites/a-0.webp",
    }  # fmt: skip


def test_print_has_fixed_colours_and_embedded_pictures() -> None:
    text = write_for_print(small_drawing(), lambda _image: "data:image/png;base64,AAAA")
    root = parse(text)
    curve = root.find(f".//{SVG}path")
    assert curve is not None
    assert curve.attrib["stroke"] == "#112233"
    image = root.find(f".//{SVG}image")
    assert image is not None
    assert image.attrib["href"] == "data:image/png;base64,AAAA"
    assert (image.attrib["x"], image.attrib["width"]) == ("0", "1")
    assert not re.search(r"class=|style=|var\(|currentColor|data-unit|aria-|webp", text)
    # Where there is no picture there is no image either, and the rest stays.
    without = parse(write_for_print(small_drawing(), lambda _image: None))
    assert without.find(f".//{SVG}image") is None
    assert without.find(f".//{SVG}path") is not None


def test_the_ground_is_white_and_has_a_margin() -> None:
    root = parse(write_for_print(small_drawing(), lambda _image: None))
    left, top, width, height = (float(value) for value in root.attrib["viewBox"].split())
    assert left < 0
    assert top < 0
    assert width > 100
    ground = root.find(f"{SVG}rect")
    assert ground is not None
    assert (ground.attrib["fill"], float(ground.attrib["width"])) == ("#ffffff", width)
    assert float(ground.attrib["height"]) == height


@pytest.mark.parametrize("write", [write_for_site, lambda d: write_for_print(d, lambda _image: None)])
def test_names_are_escaped(write) -> None:
    text = str(write(small_drawing(HOSTILE + CLOSING)))
    root = parse(text)
    assert HOSTILE + CLOSING in "".join(root.itertext())
    assert not [element for element in root.iter() if element.tag.endswith(("img", "script"))]


def test_every_style_has_a_look_on_the_site_and_in_print(tmp_path: Path) -> None:
    used = set().union(*(styles_of(drawing) for drawing in every_drawing(tmp_path)))
    assert {"curve", "mark", "heat", "spot", "kernels", "hole", "wrap", "bar", "line"} <= used
    assert used <= STYLES.keys()
    css = read_asset(building.__name__, "charts.css") + read_asset(view.__name__, "family.css")
    # These say what a thing is, for behaviour; they have no look of their own.
    plain = {"member", "label", "tile", "start"}
    unseen = {name for name in used - plain if not re.search(rf"\.{re.escape(name)}\b", css)}
    assert unseen == set()


def test_every_drawing_is_good_xml_within_its_box(tmp_path: Path) -> None:
    drawings = every_drawing(tmp_path)
    assert len(drawings) > 50
    for drawing in drawings:
        parse(str(write_for_site(drawing)))
        root = parse(write_for_print(drawing, lambda _image: "data:image/png;base64,AAAA"))
        assert "nan" not in ET.tostring(root, encoding="unicode").replace("dominant", "").lower().split('"')
        for circle in root.iter(f"{SVG}circle"):
            x, y = (float(circle.attrib.get(key, 0)) for key in ("cx", "cy"))
            if drawing.left == 0 and not root.findall(f".//{SVG}g[@transform]"):
                assert -1 <= x <= drawing.width + 1, drawing.label
                assert -1 <= y <= drawing.height + 1, drawing.label


def test_drawings_stand_beside_and_below_each_other() -> None:
    one, other = Drawing(10, 20, [], "a", -5, -10), Drawing(30, 8, [], "b")
    side = beside([one, other], 4, "both")
    assert (side.width, side.height) == (44, 20)
    assert [own.attributes["transform"] for own in side.nodes] == ["translate(5,10)", "translate(14,0)"]
    under = below([one, other], 4, "both")
    assert (under.width, under.height) == (30, 32)
    assert [own.attributes["transform"] for own in under.nodes] == ["translate(5,10)", "translate(0,24)"]
