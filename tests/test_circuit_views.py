"""The views of circuits: each with its weights in both orders, all of them by pair of layers, and the whole network."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from circuit_run import (
    SOURCE,
    TARGET,
    make_circuit,
    make_circuits,
    make_weights,
    open_run,
    recovered,
    write_run,
)
from equiscope.evidence.circuits import Circuit, CircuitEnd, Circuits
from equiscope.evidence.circuits.causal import CausalCheck
from equiscope.evidence.circuits.factors import Factor, Factors
from equiscope.evidence.circuits.results import LayerPairSummary, Skipped
from equiscope.evidence.circuits.transposed import Transposed
from equiscope.reports import ReportDocument, build_site, load_document, show_evidence
from equiscope.reports.drawing.kernels import draw_kernels, kernel_scale
from equiscope.reports.views.circuit.drawings import draw_board
from equiscope.reports.views.circuit.ends import Ends, is_unit, transformation_of
from equiscope.reports.views.circuit.matrices import arrange
from equiscope.reports.views.circuit.view import render_circuits
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.reports.views.circuit.words import class_text, sentence_of_circuit
from equiscope.reports.views.circuits.network import layers_in_order, network_data
from equiscope.reports.views.circuits.view import render_all_circuits, render_lists
from equiscope.reports.views.context import SiteContext
from html_page import CLOSING, HOSTILE, Page
from report_document import complete_document


@pytest.fixture(scope="module")
def original() -> ReportDocument:
    return complete_document()


@pytest.fixture
def document(original: ReportDocument) -> ReportDocument:
    return copy.deepcopy(original)


@pytest.fixture
def context(tmp_path: Path, document: ReportDocument) -> SiteContext:
    return open_run(tmp_path, document, *make_circuits(document))


def all_pages(context: SiteContext) -> dict[str, str]:
    """Every piece of HTML of the views of circuits."""
    views = [*render_circuits(context), *render_all_circuits(context), *render_lists(context)]
    return {f"{i} {name}": fragment.html for i, (name, fragment) in enumerate(views)}


# One circuit --------------------------------------------------------------------------------------------------------


def test_every_circuit_whose_weights_were_kept_has_a_view(context: SiteContext) -> None:
    circuits = recovered(context)
    views = dict(render_circuits(context))
    assert list(views) == [c.id for c in circuits.circuits[:4]]
    sizes = {}
    for name, fragment in views.items():
        page = Page(fragment.html)
        assert not page.open
        assert page.all("h1")[0][0]["data-title"] == name
        boards = page.all("button", class_="board")
        assert [a["data-part"] for a, _ in boards] == ["raw", "reordered", "template"]
        assert all((a["aria-label"] or "").strip() for a, _ in boards)
        assert len(page.all("image", class_="kernels")) == 3
        sizes[name] = [(int(a["data-rows"] or 0), int(a["data-columns"] or 0)) for a, _ in boards]
    first = circuits.circuits[0]
    assert sizes[first.id] == [(first.n_target, first.n_source), (first.n_target, 16), (1, 16)]
    # Rows are the target's in both, whichever end turns.
    into_unit, from_unit = (circuits.circuits[i] for i in (1, 2))
    assert sizes[into_unit.id] == [(1, into_unit.n_source), (1, into_unit.n_source), (1, 1)]
    assert sizes[from_unit.id] == [(from_unit.n_target, 1), (from_unit.n_target, 1), (1, 1)]


def test_buttons_lie_on_the_cells(context: SiteContext) -> None:
    circuits = recovered(context)
    circuit = circuits.circuits[0]
    weights = StoredWeights(context.folder, circuits).read(circuit.id)
    assert weights is not None
    drawn = draw_board(arrange(circuit, weights, Ends(context.document["families"])), "reordered")
    page = Page(dict(render_circuits(context))[circuit.id].html)
    button = page.all("button", data_part="reordered")[0][0]
    images = [a for a, _ in page.all("image", class_="kernels")]
    box = next(
        a["viewbox"] for a, _ in page.all("svg", class_="matrix") if "same weights" in (a["aria-label"] or "")
    )
    width, height = (float(value) for value in (box or "").split()[2:])
    places = dict(re.findall(r"(left|top|width|height):([\d.]+)%", button["style"] or ""))
    for key, side, attribute in (("left", width, "x"), ("top", height, "y"), ("width", width, "width")):
        assert float(places[key]) == pytest.approx(100 * float(images[1][attribute] or 0) / side, abs=0.02)
    assert set(drawn.boxes) == {"reordered", "template"}


def test_rows_and_columns_carry_units_and_poses(context: SiteContext) -> None:
    circuits = recovered(context)
    circuit = circuits.circuits[0]
    fragment = dict(render_circuits(context))[circuit.id]
    labels = Page(fragment.html).all("g", class_="label")
    units = {f"{m['layer']}:{m['channel']}" for m in context.families[circuit.target]["members"]}
    assert units <= {a.get("data-unit") for a, _ in labels}
    rows = fragment.data["raw"]["rows"]
    assert [row[1] for row in rows] == [
        f"{m['layer']}:{m['channel']}" for m in context.families[circuit.target]["members"]
    ]
    assert all(" at " in row[0] for row in rows)
    assert fragment.data["reordered"]["columns"][1] == ["relative pose 22.5°", None, "tick"]


def test_raw_cells_know_where_they_go_and_how_far_they_turn(tmp_path: Path, document: ReportDocument) -> None:
    circuits, weights = make_circuits(document)
    circuit = circuits.circuits[0]
    families = {f["id"]: f for f in document["families"]}
    for family, poses in ((circuit.source, 22.5), (circuit.target, 45.0)):
        for i, member in enumerate(families[family]["members"]):
            member["pose"] = {"angle_deg": poses * i}
    data = dict(render_circuits(open_run(tmp_path, document, circuits, weights)))[circuit.id].data
    n_target, n_source = circuit.n_target, circuit.n_source
    # `rows` puts the last member first; a slot is 22.5° of the source's pose less the target's.
    expected = [16 * (n_target - 1 - t) + (s - 2 * t) % 16 for t in range(n_target) for s in range(n_source)]
    assert data["links"] == expected
    assert data["turns"] == [45.0 * t for t in range(n_target)]
    assert not data["isTransposed"]
    into_unit = dict(render_circuits(open_run(tmp_path, document, circuits, weights)))[
        circuits.circuits[1].id
    ].data
    assert into_unit["isTransposed"]
    # There the source's members are reordered: `rows` puts the last one first, and it is a column here.
    assert into_unit["links"] == [n_source - 1 - s for s in range(n_source)]
    assert into_unit["turns"] == [22.5 * s for s in range(n_source)]


def test_numbers_are_in_words(context: SiteContext) -> None:
    circuits = recovered(context)
    pages = {name: Page(fragment.html) for name, fragment in render_circuits(context)}
    first = pages[circuits.circuits[0].id]
    figures = first.all("dl", class_="numbers")[0][1]
    assert "R² 0.71 0.62 to 0.78" in figures
    assert "By chance 95 % below 0.20, 99 % below 0.31" in figures
    assert "Energy 5.1 % of all weight energy" in figures
    assert "Instead R² 0.33 as invariant → equivariant" in figures
    assert "explains 0.71 (0.62 to 0.78 with 95 % confidence, bootstrap over members)" in first.text
    assert "With poses permuted it explains less than 0.20 in 95 of 100 draws." in first.text
    assert "0.4 % are expected to be false" in first.text
    causal = first.all("table", class_="causal")[0][1]
    assert "by the template at a wrong pose 0.350 0.20 to 0.50" in causal
    assert sum("few members" in page.text for page in pages.values()) == 1
    assert sum(bool(page.all("table", class_="causal")) for page in pages.values()) == 1


def test_a_circuit_leads_to_its_ends_and_to_others(context: SiteContext) -> None:
    circuits = recovered(context)
    first, into_unit = circuits.circuits[:2]
    page = Page(dict(render_circuits(context))[first.id].html)
    hrefs = [a["href"] for a, _ in page.all("a")]
    assert hrefs[:2] == [f"#/family/{first.source}", f"#/family/{first.target}"]
    assert f"also from {first.source}" in page.text
    unit = Page(dict(render_circuits(context))[into_unit.id].html)
    assert unit.all("a")[1][0]["href"] == f"#/unit/{TARGET}-7"


# All of them --------------------------------------------------------------------------------------------------------


def test_the_head_tells_what_was_tested_and_left_out(context: SiteContext) -> None:
    page = Page(dict(render_all_circuits(context))[""].html)
    assert not page.open
    assert "3 of 4 blocks of weights between two families turn with their poses" in page.text
    assert "1 of 2 families has at least one such circuit" in page.text
    assert (
        "mixed3a → mixed3b expanded along every path relu: passed on 6 4 67 % 1.2 %" in page.text_of_tables()
    )
    assert "conv2d0 → mixed3a no path leads from one to the other" in page.text
    lists = page.all("details", class_="list")
    assert len(lists) == 1
    assert json.loads(lists[0][0]["data-files"] or "") == ["mixed3a>mixed3b"]
    assert "5 circuits, 4 with a view" in lists[0][1]


def test_lists_hold_every_circuit_in_few_bytes(context: SiteContext) -> None:
    circuits = recovered(context)
    data = dict(render_lists(context))["mixed3a>mixed3b"].data
    rows = [(data["names"][row[0]], data["names"][row[1]], *row[3:]) for row in data["rows"]]
    assert {f"{row[0]}>{row[1]}" for row in rows} == {c.id for c in circuits.circuits}
    # Symmetric ones first; those between families before those with single units; what is not symmetric last.
    assert [row[-2] for row in rows] == [1, 1, 1, 1, 1, 0]
    assert [row[-1] for row in rows].count(1) == 4
    assert rows[-1][2] == -0.1
    assert "rotation: equivariant → equivariant" in data["classes"]


def test_ten_thousand_circuits_are_cut_into_small_files(tmp_path: Path, document: ReportDocument) -> None:
    many = tuple(
        make_circuit(f"{SOURCE}-rotation-{i % 120}", f"{TARGET}-rotation-{i // 120}", r2=0.1234567 + i * 1e-6)
        for i in range(10_000)
    )
    circuits, _ = make_circuits(document)
    context = open_run(tmp_path, document, dataclasses.replace(circuits, circuits=many))
    lists = {name: fragment for name, fragment in render_lists(context) if ">" in name}
    assert list(lists) == ["mixed3a>mixed3b", "mixed3a>mixed3b~2", "mixed3a>mixed3b~3", "mixed3a>mixed3b~4"]
    assert sum(len(fragment.data["rows"]) for fragment in lists.values()) == 10_000
    for fragment in lists.values():
        assert len(json.dumps({"html": fragment.html, "data": fragment.data})) < 300_000
    page = dict(render_all_circuits(context))[""]
    assert len(json.dumps({"html": page.html, "data": page.data})) < 300_000
    assert json.loads(Page(page.html).all("details", class_="list")[0][0]["data-files"] or "") == list(lists)


def test_factors_and_both_ways(context: SiteContext) -> None:
    circuits = recovered(context)
    lists = dict(render_lists(context))
    factors = Page(lists["factors"].html)
    assert not factors.open
    assert "R² 0.62, by chance below 0.14, p 0.005" in factors.text
    assert "Error on members left out with 1 to 3 factors: 0.48, 0.10, 0.11" in factors.text
    assert [text for _, text in factors.all("p", class_="factor-share")] == [
        "58 % of the energy",
        "42 % of the energy",
    ]
    units = factors.all("a", class_="loaded")
    assert units[1][0]["href"] == "#/unit/mixed3a-11"
    assert "40 % of this factor" in (units[0][0]["title"] or "")
    both = Page(lists["transposed"].html)
    assert [a["href"] for a, _ in both.all("a")] == [
        f"#/circuit/{circuits.circuits[i].id.replace('>', '%3E').replace(':', '%3A')}" for i in (2, 1)
    ]
    assert "0.93 45° 0.010" in both.text
    assert len(both.all("img")) == 2


def test_without_circuits_the_view_says_what_recovers_them(tmp_path: Path, document: ReportDocument) -> None:
    context = open_run(tmp_path, document)
    page = Page(dict(render_all_circuits(context))[""].html)
    assert f"equiscope circuits {tmp_path}" in page.text
    assert not list(render_circuits(context))
    assert not list(render_lists(context))


def test_a_run_without_a_symmetric_circuit_says_so(tmp_path: Path, document: ReportDocument) -> None:
    circuits, _ = make_circuits(document)
    none = tuple(dataclasses.replace(c, kinds={"rotation": None}) for c in circuits.circuits)
    context = open_run(tmp_path, document, dataclasses.replace(circuits, circuits=none))
    page = Page(dict(render_all_circuits(context))[""].html)
    assert "0 of 4 blocks of weights" in page.text
    assert "0 circuits, 0 with a view" in page.text
    empty = Page(
        dict(render_all_circuits(open_run(tmp_path, document, Circuits((), (), (), (), (), (), ()))))[""].html
    )
    assert "No block of weights between two families could be tested." in empty.text
    assert "No pair of layers could be tested." in empty.text


# What is not there, and what must not get in ------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [math.nan, math.inf])
def test_what_was_not_measured_is_a_dash_and_never_a_number(
    tmp_path: Path, document: ReportDocument, missing: float
) -> None:
    circuits, weights = make_circuits(document)
    names = "r2_low r2_high r2_null_95 r2_null_99 p_value q_value energy_share strength".split()
    drawn = tuple(
        dataclasses.replace(
            c,
            r2=math.nan,
            alternatives=((("invariant", "equivariant"), math.nan),),
            **dict.fromkeys(names, missing),
        )
        for c in circuits.circuits
    )
    own = circuits.factors[0]
    factor = dataclasses.replace(
        own.factors[0], template=((math.nan, 0.1), (0.2, 0.3)), share=missing, loadings=(missing, missing)
    )
    factors = dataclasses.replace(
        own, r2=missing, r2_null_95=missing, p_value=missing, held_out_errors=(missing,), factors=(factor,)
    )
    for family in document["families"]:
        for member in family["members"]:
            member["pose"] = dict.fromkeys(member["pose"])
    weights[drawn[0].id]["raw"][0, 0] = np.nan
    circuits = dataclasses.replace(
        circuits,
        pairs=tuple(dataclasses.replace(entry, energy_outside=missing) for entry in circuits.pairs),
        circuits=drawn,
        factors=(factors,),
        checks=(CausalCheck(drawn[0].id, *[missing] * 9, n_stimuli=0),),  # type: ignore[misc]
        transposed=(Transposed(drawn[2].id, drawn[1].id, missing, missing, missing),),
    )
    context = open_run(tmp_path, document, circuits, weights)
    pages = all_pages(context)
    for name, html in pages.items():
        page = Page(html)
        shown = page.text + " ".join(
            value for _, attrs, _ in page.elements for key, value in attrs.items()
            if value and key not in ("src", "href", "data-files")
        )  # fmt: skip
        assert not re.search(r"\b(nan|NaN|None|inf)\b", shown), name
    first = Page(pages[f"0 {drawn[0].id}"])
    assert first.all("dl", class_="numbers")[0][1].startswith(
        "R² – By chance 95 % below –, 99 % below – q – Energy –"
    )
    assert "could not be measured" in first.text
    assert "set to zero –" in first.all("table", class_="causal")[0][1]
    table = dict(render_lists(context))["mixed3a>mixed3b"].data
    assert table["rows"][0][3:9] == [None] * 6
    json.dumps(table, allow_nan=False)


def test_everything_is_escaped(tmp_path: Path, document: ReportDocument) -> None:
    family = next(
        f for f in document["families"] if f["layers"] == [TARGET] and f["transformation"] == "rotation"
    )
    circuits, weights = make_circuits(document)
    hostile = HOSTILE + CLOSING
    renamed = {}
    drawn: list[Circuit] = []
    for c in circuits.circuits:
        own = dataclasses.replace(
            c, id=hostile + c.id, ends=tuple(CircuitEnd(end.layers, hostile + end.name) for end in c.ends)
        )
        renamed[own.id] = weights.get(c.id)
        drawn.append(own)
    for own_family in document["families"]:
        own_family["id"] = hostile + own_family["id"]
    assert family["id"].startswith(hostile)
    result = dataclasses.replace(
        circuits,
        pairs=(*circuits.pairs, LayerPairSummary(hostile, TARGET, "expanded", (hostile,), 0.1, 1, 1, 0.1)),
        skipped=(Skipped(hostile, TARGET, hostile),),
        circuits=tuple(drawn),
        factors=(Factors(hostile, hostile, 0.5, 0.1, 0.01, (0.5,), (Factor((3,), (1.0,), ((1.0,),), 1.0),)),),
        transposed=(Transposed(drawn[2].id, drawn[1].id, 0.9, 0.0, 0.01),),
        checks=(),
        confirmations=(),
    )
    kept = {name: own for name, own in renamed.items() if own is not None}
    context = open_run(tmp_path, document, result, kept)
    pages = all_pages(context)
    assert len(pages) >= 8
    for name, html in pages.items():
        page = Page(html)
        assert not page.open, name
        assert not page.all("script")
        assert all((a["src"] or "").startswith("data:image/png;base64,") for a, _ in page.all("img"))
        assert not [attrs for _, attrs, _ in page.elements if any(key.startswith("on") for key in attrs)]
    assert sum(hostile in Page(html).text for html in pages.values()) >= 6


def test_a_run_without_its_document_has_no_pictures_and_still_a_view(
    tmp_path: Path, document: ReportDocument
) -> None:
    circuits, weights = make_circuits(document)
    context = open_run(tmp_path, document, circuits, weights)
    bare = SiteContext({**context.document, "families": []}, context.pictures, tmp_path)
    page = Page(dict(render_circuits(bare))[circuits.circuits[0].id].html)
    assert "member 1" in {text for _, text in page.all("title")}
    assert not page.all("svg", class_="tile")


# The run's folder ---------------------------------------------------------------------------------------------------


def test_the_document_hears_what_weights_said(tmp_path: Path, document: ReportDocument) -> None:
    circuits, weights = make_circuits(document)
    write_run(tmp_path, document, circuits, weights)
    assert show_evidence(tmp_path, "circuits")
    again = load_document(tmp_path)
    assert again is not None
    confirmed = {f["id"]: f.get("confirmation") for f in again["families"] if f.get("confirmation")}
    first = circuits.confirmations[0]
    assert set(confirmed) == {entry.family for entry in circuits.confirmations}
    assert confirmed[first.family] == {
        "n_tested": 6, "n_symmetric": 2, "best_r2": 0.71, "best_null_95": 0.2, "best_circuit": first.best_circuit,
        "verdict": None,
    }  # fmt: skip
    # Doing so again changes nothing.
    assert show_evidence(tmp_path, "circuits")
    assert load_document(tmp_path) == again


def test_data_files_stay_under_their_limit(tmp_path: Path, document: ReportDocument) -> None:
    circuits, weights = make_circuits(document)
    write_run(tmp_path, document, circuits, weights)
    build_site(tmp_path)
    for kind in ("family", "circuit", "circuits", "list"):
        files = list((tmp_path / "site" / "data" / kind).iterdir())
        assert files
        assert max(path.stat().st_size for path in files) < 300_000


# Parts --------------------------------------------------------------------------------------------------------------


def test_kernels_are_red_blue_and_paper() -> None:
    kernels = np.array([[[[1.0, -1.0]], [[0.0, np.nan]]]])
    drawn = draw_kernels(kernels, 1.0)
    pixels = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(drawn.address.partition(",")[2]))).convert("RGBA")
    )
    assert pixels.shape[:2] == (drawn.pitch_y, 2 * drawn.pitch_x)
    step = (drawn.pitch_x - 1) // 2
    red, blue, zero, blank = (pixels[0, x].tolist() for x in (0, step, drawn.pitch_x, drawn.pitch_x + step))
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]
    assert red[3] == blue[3] == 255
    assert zero[3] == 0
    assert 0 < blank[3] < 100
    assert pixels[0, drawn.pitch_x - 1].tolist() == blank  # the line between two kernels
    alone = draw_kernels(kernels[:, :1], 1.0, has_lines=False)
    assert (alone.pitch_y, alone.pitch_x) == (drawn.pitch_y - 1, drawn.pitch_x - 1)
    assert draw_kernels(kernels, 1.0, least_px=40).pitch_x == 41
    assert kernel_scale(np.array([np.nan])) == 1.0
    assert kernel_scale(np.zeros(3)) > 0


def test_layers_stand_in_the_networks_order() -> None:
    assert layers_in_order([("b", "c"), ("a", "b"), ("a", "c")]) == ["a", "b", "c"]
    assert layers_in_order([]) == []


def test_the_network_has_the_strongest_lines_into_each_family(document: ReportDocument) -> None:
    many = [
        make_circuit(f"{SOURCE}-rotation-{i}", f"{TARGET}-rotation-1", energy_share=0.01 * i)
        for i in range(1, 9)
    ]
    many.append(make_circuit(f"{SOURCE}:4", f"{TARGET}-rotation-1", energy_share=0.9, n_source=1))
    data = network_data(many, [SOURCE, TARGET], Ends(document["families"]))
    assert data is not None
    names = [dot[4] for dot in data["dots"]]
    assert len(names) == 9
    assert {names[edge[0]] for edge in data["edges"]} == {f"{SOURCE}-rotation-{i}" for i in range(5, 9)}
    # Members, circuits in and out, and whether the family has a view.
    target = data["dots"][names.index(f"{TARGET}-rotation-1")]
    assert target[5:] == [5, 8, 0, 1]
    assert network_data([], [], Ends(())) is None


def test_ends_are_told_apart_by_their_names() -> None:
    assert is_unit("a:b:12", "a:b")
    assert not is_unit("a:b-rotation-12", "a:b")
    assert not is_unit("a:12", "b")
    assert transformation_of("mixed3a-hue-rotation-2") == "hue-rotation"
    assert transformation_of("rotation-rotation-2") == "rotation"
    assert transformation_of("mixed3a:4") == ""


def test_wide_matrices_have_small_cells_and_few_large_ones(document: ReportDocument) -> None:
    ends = Ends(document["families"])

    def cell(n_source: int) -> float:
        circuit = make_circuit("a-rotation-1", "b-rotation-1", n_source=n_source)
        box = draw_board(arrange(circuit, make_weights(circuit), ends), "raw").boxes["raw"]
        return box[2] / n_source

    assert cell(2) == 40.0
    assert 22.0 <= cell(20) < cell(12) < 40.0


def test_two_turns_have_a_sentence_each() -> None:
    both = ("equivariant", "equivariant")
    circuit = make_circuit("a-1", "b-1", transformation="hue-rotation", kinds={"rotation": both, "hue": both})
    assert class_text(circuit) == "equivariant → equivariant"
    assert sentence_of_circuit(circuit) == (
        "Weights depend only on the difference between two members’ poses, and turn with them. "
        "In hue, weights depend only on the difference between two members’ hues."
    )
    coloured = make_circuit("a-1", "b-1", transformation="hue", kinds={"hue": ("invariant", "equivariant")})
    assert sentence_of_circuit(coloured) == "The source makes no difference."
