"""The report of a transformation that nobody knew when it was written: its own words, the drawing of its space."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from circuit_run import make_circuit, open_run
from equiscope.foundations.errors import EquiscopeError
from equiscope.reports import FamilyEntry, ReportDocument
from equiscope.reports.drawing.palette import category_colours
from equiscope.reports.views.circuit.ends import colours_of, transformation_of
from equiscope.reports.views.circuit.matrices import tied_along
from equiscope.reports.views.circuit.words import evidence_of_circuit, sentence_of_circuit
from equiscope.reports.views.family.view import render_families
from equiscope.reports.views.layer.view import render_layers
from equiscope.reports.views.overview.view import render_overview
from equiscope.reports.views.unit.charts import draw_unit_tuning
from equiscope.transformations import ALL, Step, Switch, Transformation, Words, registered
from equiscope.transformations.groups import Group, Involution, Segment
from equiscope.transformations.spaces import Line, Pair
from html_page import Page
from report_document import (
    assemble_family,
    complete_document,
    make_alternative,
    make_member,
    make_result,
    make_verification,
)

LAYER = "mixed3b"


def flip(pictures: Tensor, is_on: float) -> Tensor:
    return pictures.flip(-2) if is_on else pictures


class UpDown(Transformation):
    """Stimuli are flipped top to bottom."""

    name = "top-bottom"
    space = Pair(Switch("is_flipped", "flipped", flip))
    words = Words(
        steps="as it is and flipped",
        back="flipped back",
        poses="How strongly each member responds to the feature as it is and flipped, of its own maximum.",
        untuned="",
    )
    simplicity = 11

    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        return Involution(self.name)


class Brightness(Transformation):
    """Stimuli become brighter and darker."""

    name = "exposure"
    space = Line(
        Step(
            "stops",
            "brightness",
            lambda p, v: p * 2**v,
            unit="stops",
            short="st.",
            one_more="twice as bright",
        )
    )
    words = Words(
        steps="at growing brightness, in stops",
        back="brought back to one brightness",
        poses="Each member stands at the brightness of its feature.",
        subject="stimuli brighten",
        follow="follow its brightness",
    )
    simplicity = 61

    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        return Segment.between(-1.0, 1.0, 0.5, self.name)


@pytest.fixture
def up_down() -> Iterator[Transformation]:
    with registered(UpDown()) as own:
        yield own


@pytest.fixture
def brightness() -> Iterator[Transformation]:
    with registered(Brightness()) as own:
        yield own


def with_family(family: FamilyEntry, transformation: str) -> ReportDocument:
    """A document of that family alone."""
    document = complete_document()
    document["families"], document["links"] = [family], []
    document["results"] = [make_result(LAYER, transformation)]
    for layer in document["layers"]:
        layer["kinds"] = [entry | {"transformation": transformation} for entry in layer["kinds"][:1]]
    document["settings"]["transformations"] = [transformation]
    family["turned"] = {
        "layer": LAYER, "channel": family["members"][0]["channel"],
        "axes": family["tuning"]["axes"] if family["tuning"] else {}, "sheet": 0, "first": 0,
        "responses": [[0.5] * n_elements(family) for _ in family["members"]],
    }  # fmt: skip
    family["confirmation"] = {
        "n_tested": 3, "n_symmetric": 0, "best_r2": None, "best_null_95": None, "best_circuit": "",
    }  # fmt: skip
    return document


def n_elements(family: FamilyEntry) -> int:
    assert family["tuning"] is not None
    return len(next(iter(family["tuning"]["axes"].values())))


def flipped_pair() -> FamilyEntry:
    return assemble_family(
        f"{LAYER}-top-bottom-1", LAYER, "top-bottom", 0.88,
        [make_member(LAYER, channel, 0.88, is_flipped=bool(channel - 3)) for channel in (3, 4)],
        {"is_flipped": [0.0, 1.0]}, [[1.0, 0.12], [0.31, 1.0]],
        margin=0.42, margin_low=0.35, margin_high=0.51, stabiliser=[{"is_flipped": False}], explained_by="top-bottom",
        alternatives=[make_alternative("top-bottom", 0.88, 0.0)],
        verification=[make_verification("pair", score=0.91, margin=0.37, median_error=None)],
    )  # fmt: skip


def brightened() -> FamilyEntry:
    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
    members = [{"pose": p, "synthetic": p + 0.1, "error": 0.1} for p in (0.0, 0.75)]
    return assemble_family(
        f"{LAYER}-exposure-1", LAYER, "exposure", 0.8,
        [make_member(LAYER, 3, 0.8, stops=0.0), make_member(LAYER, 4, 0.8, stops=0.75)],
        {"stops": steps}, [[0.2, 0.5, 1.0, 0.5, 0.2], [None, 0.1, 0.4, 1.0, 0.9]],
        margin=0.3, margin_low=0.2, margin_high=0.4, disagreement={"stops": 0.07}, stabiliser=[{"stops": 0.0}],
        explained_by="exposure", alternatives=[make_alternative("exposure", 0.8, 0.0)],
        verification=[make_verification("brightness", members=members, median_error=0.1)],
    )  # fmt: skip


def view_of(folder: Path, document: ReportDocument) -> Page:
    ((_, fragment),) = render_families(open_run(folder, document))
    return Page(fragment.html)


def all_said(page: Page) -> str:
    """What is read on a page, and heard of it."""
    heard = [
        value
        for _, attributes, _ in page.elements
        for key, value in attributes.items()
        if value and key in ("aria-label", "alt", "title")
    ]
    return " ".join(" ".join([page.text, *heard]).split())


OF_OTHERS = re.compile(
    r"\bturn(s|ed|ing)?\b|\brotat\w*|\bmirror\w*|\binvert\w*|\bhues?\b|\brecolour\w*|\boctaves?\b|\bsizes?\b|\bscaled?\b"
    r"|\borientation\b|\bangle\b",
    re.IGNORECASE,
)


def test_a_pair_of_ones_own_has_its_own_words(tmp_path: Path, up_down: Transformation) -> None:
    page = view_of(tmp_path, with_family(flipped_pair(), "top-bottom"))
    said = all_said(page)
    assert OF_OTHERS.findall(said) == []
    assert "Top-bottom pair" in page.text
    assert [text for _, text in page.all("span", class_="pose")] == ["as it is", "flipped"]
    assert up_down.words.poses in page.text
    assert "Above, one photograph as it is and flipped" in said
    assert "each flipped back; 1 is the very same response" in said
    assert "95 % of its families have a gain below 0.61, this one has 0.42" in said
    assert "Symmetry none {identity}" in said
    assert "Disagreement –" in said
    assert "pair 0.91 0.37 more than untransformed" in page.text_of_tables()
    assert "In none of 3 blocks of weights with other families do they follow its poses" in said


def test_a_pair_of_ones_own_is_drawn_as_a_pair(tmp_path: Path, up_down: Transformation) -> None:
    page = view_of(tmp_path, with_family(flipped_pair(), "top-bottom"))
    assert len(page.all("figure", class_="pair")) == 1
    bars = [float(a["width"] or 0) for a, _ in page.all("rect", class_="bar") if a.get("height") == "14"]
    assert [bar / bars[0] for bar in bars] == [1.0, pytest.approx(0.12), pytest.approx(0.31), 1.0]
    words = [text for _, text in page.all("text")]
    assert words[:2] == ["as it is", "flipped"]
    tiles = [a["aria-label"] for a, _ in page.all("svg", class_="tile")]
    assert [label for label in tiles if label] == ["the stimulus at as it is", "the stimulus at flipped"]
    assert not page.all("svg", class_="tuning")
    # Each member has a colour of its own, the changed one a full hand.
    assert len({a["style"] for a, _ in page.all("li", class_="member")}) == 2
    assert len(page.all("circle", class_="full")) == 1


def test_a_line_of_ones_own_has_its_own_words_and_unit(tmp_path: Path, brightness: Transformation) -> None:
    page = view_of(tmp_path, with_family(brightened(), "exposure"))
    said = all_said(page)
    assert OF_OTHERS.findall(said) == []
    assert "Exposure family of 2" in page.text
    assert [text for _, text in page.all("span", class_="pose")] == ["0 st.", "+0.75 st."]
    assert brightness.words.poses in page.text
    assert "Above, one photograph at growing brightness, in stops" in said
    assert "each brought back to one brightness" in said
    assert "have a gain below 0.61, this one has 0.30" in said
    assert "Disagreement 0.07 stops" in said
    assert "Symmetry none {0 stops}" in said
    assert "brightness 0.10 stops" in page.text_of_tables()
    assert "do they follow its brightness" in said


def test_a_line_of_ones_own_is_drawn_along_its_steps(tmp_path: Path, brightness: Transformation) -> None:
    page = view_of(tmp_path, with_family(brightened(), "exposure"))
    words = [text for _, text in page.all("text")]
    assert "brightness in stops: +1 is twice as bright" in words
    assert words.count("brightness in stops") == 2  # of the joint tuning, and of the poses on drawings
    spots = [float(a["cx"] or 0) for a, _ in page.all("circle", class_="spot") if a.get("r") == "3"]
    lines = [a["d"] or "" for a, _ in page.all("path", class_="line")]
    assert len(spots) == 2
    assert lines[0].count("C") == 4
    assert lines[1].count("C") == 3  # what was not shown is not drawn
    # Its layers are one: it needs no legend of them, and members have colours of their own.
    assert [text for a, text in page.all("text", class_="own-name")] == [f"{LAYER}:3", f"{LAYER}:4"]
    colours = [f"--light:{light};--dark:{dark}" for light, dark in map(category_colours, (0, 1))]
    assert [a["style"] for a, _ in page.all("li", class_="member")] == colours


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_layer_and_overview_know_it(tmp_path: Path, up_down: Transformation) -> None:
    context = open_run(tmp_path, with_family(flipped_pair(), "top-bottom"))
    layer = dict(render_layers(context))[LAYER]
    assert "95 % of its families have gains below 0.61" in text_of(layer.html)
    assert layer.data["families"][0][4] == "top-bottom pair"
    ((_, overview),) = render_overview(context)
    assert "1 family of transformed copies" in text_of(overview.html)
    assert overview.data["transformations"] == ["top-bottom"]
    assert overview.data["pairs"] == [True]


def test_circuits_of_ones_own_are_in_its_words(brightness: Transformation) -> None:
    kinds: Any = {"exposure": ("invariant", "equivariant")}
    into = make_circuit("mixed3a:7", f"{LAYER}-exposure-1", transformation="exposure", kinds=kinds)
    assert sentence_of_circuit(into) == "One unit feeds the members of all brightnesses alike."
    assert tied_along(into) == brightness.axes[0]
    assert "members of other exposure families" in evidence_of_circuit(into)


def test_steps_without_end_are_refused(tmp_path: Path, brightness: Transformation) -> None:
    family = brightened()
    family["members"][1]["pose"] = {"stops": 101.0}
    with pytest.raises(EquiscopeError, match="stops is 101, expected -100 to 100"):
        view_of(tmp_path, with_family(family, "exposure"))


def test_its_colour_and_its_id_are_known(up_down: Transformation) -> None:
    assert transformation_of(f"{LAYER}-top-bottom-12") == "top-bottom"
    assert colours_of("top-bottom") == category_colours(len(ALL) - 1)


@pytest.mark.parametrize(
    ("name", "axes", "values", "said"),
    [
        ("top-bottom", {"is_flipped": [0.0, 1.0]}, [1.0, 0.4], ["as it is", "flipped"]),
        ("exposure", {"stops": [-1.0, 0.0, 1.0]}, [0.1, 1.0, 0.4], ["−1", "0", "1"]),
    ],
)
def test_units_are_drawn_by_the_space(
    name: str, axes: dict[str, list[float]], values: list[float], said: list[str],
    up_down: Transformation, brightness: Transformation,
) -> None:  # fmt: skip
    chart = draw_unit_tuning(name, axes, {"n_stimuli": 8, "values": values, "error": None})
    assert chart is not None
    assert [text for _, text in chart.ticks] == said
    assert chart.caption == ("8 stimuli; stops" if name == "exposure" else "8 stimuli")
