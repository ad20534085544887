"""The page of a run's circuits: what is on it, what cannot get into it, and what it says where nothing was measured."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from equiscope.circuits import Circuit, Circuits, Confirmation
from equiscope.circuits.causal import CausalCheck
from equiscope.circuits.factors import Factor, Factors
from equiscope.circuits.recover import LayerPairSummary, Skipped, weights_path
from equiscope.circuits.transposed import Transposed
from equiscope.report import ReportDocument, load_document, render_page, save_report, show_circuits
from equiscope.report.circuit_ends import Ends, is_unit, transformation_of
from equiscope.report.circuits_page import render_circuits, save_circuits_page
from equiscope.report.kernels import draw_kernels, kernel_scale
from equiscope.report.network import layers_in_order, network_view
from equiscope.store import SCHEMA_VERSION, write_json
from report_document import complete_document
from test_report import CLOSING, HOSTILE, Page, rename_layer
from test_report_browser import CHROMIUM, OPTIONS

SOURCE, TARGET = "mixed3a", "mixed3b"


def make_circuit(source: str, target: str, **figures: Any) -> Circuit:
    plain: dict[str, Any] = {
        "id": f"{source}>{target}",
        "source": source,
        "target": target,
        "source_layer": SOURCE,
        "target_layer": TARGET,
        "transformation": "rotation",
        "rotation_class": "equivariant→equivariant",
        "hue_class": "",
        "pair_class": "",
        "n_source": 4,
        "n_target": 5,
        "is_small": False,
        "r2": 0.71,
        "r2_low": 0.62,
        "r2_high": 0.78,
        "r2_null_95": 0.2,
        "r2_null_99": 0.31,
        "p_value": 0.005,
        "q_value": 0.004,
        "energy_share": 0.051,
        "strength": 2.3,
        "alternatives": (("invariant→equivariant", 0.33),),
    }
    return Circuit(**(plain | figures))


def make_weights(circuit: Circuit, *, is_transposed: bool = False, by_slot: bool = True) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    raw = generator.normal(size=(circuit.n_target, circuit.n_source, 3, 5))
    n_rows, n_columns = raw.shape[1::-1] if is_transposed else raw.shape[:2]
    n_slots = 16 if by_slot else n_columns
    reordered = generator.normal(size=(n_rows, n_slots, 3, 5))
    if by_slot:
        reordered[:, 1::2] = np.nan
    return {
        "raw": raw.astype(np.float16),
        "reordered": reordered.astype(np.float16),
        "template": generator.normal(size=(n_slots, 3, 5)).astype(np.float16),
        "slots": np.arange(16) * 22.5 if by_slot else np.zeros(0),
        "rows": np.arange(n_rows)[::-1],
        "columns": np.zeros(0, np.int64) if by_slot else np.arange(n_columns),
    }


def make_circuits(document: ReportDocument) -> tuple[Circuits, dict[str, dict[str, Any]]]:
    """Some circuits between families of the document, and of units, with the weights of those that are drawn."""
    rotation = {
        layer: [f for f in document["families"] if (f["layer"], f["transformation"]) == (layer, "rotation")]
        for layer in (SOURCE, TARGET)
    }
    source, target = rotation[SOURCE][0], rotation[TARGET][0]
    sizes = {"n_source": source["size"], "n_target": target["size"]}
    hue = next(f for f in document["families"] if f["id"].endswith("mixed3b-hue-1"))
    drawn = [
        make_circuit(source["id"], target["id"], **sizes),
        make_circuit(
            source["id"], f"{TARGET}:7", n_source=source["size"], n_target=1,
            rotation_class="equivariant→invariant", alternatives=(), is_small=True,
        ),
        make_circuit(
            f"{SOURCE}:9", target["id"], n_source=1, n_target=target["size"],
            rotation_class="invariant→equivariant", alternatives=(),
        ),
        make_circuit(
            source["id"], hue["id"], n_source=source["size"], n_target=hue["size"], transformation="hue-rotation",
            rotation_class="equivariant→invariant", hue_class="invariant→equivariant",
        ),
    ]  # fmt: skip
    weights = {
        drawn[0].id: make_weights(drawn[0]),
        drawn[1].id: make_weights(drawn[1], is_transposed=True, by_slot=False),
        drawn[2].id: make_weights(drawn[2], by_slot=False),
        drawn[3].id: make_weights(drawn[3], is_transposed=True, by_slot=False),
    }
    others = [
        make_circuit(rotation[SOURCE][-1]["id"], target["id"], rotation_class="not symmetric", r2=-0.1),
        make_circuit(rotation[SOURCE][-1]["id"], rotation[TARGET][-1]["id"], r2=0.12, r2_null_99=0.1),
    ]
    check = CausalCheck(drawn[0].id, 0.81, 0.7, 0.9, 0.99, 0.98, 1.0, 0.35, 0.2, 0.5, 12)
    factors = Factors(
        SOURCE, target["id"], 0.62, 0.14, 0.005, (0.48, 0.1, 0.11),
        (
            Factor((source["members"][0]["channel"], 999), (0.4, 0.2), ((0.1, -0.2), (0.0, 0.3)), 0.58),
            Factor((998,), (0.1,), ((0.0, -0.2), (0.1, 0.3)), 0.42),
        ),
    )  # fmt: skip
    result = Circuits(
        pairs=(
            LayerPairSummary(SOURCE, TARGET, "expanded", ("relu: passed on",), 0.012, 6, 4, 1.2),
            LayerPairSummary("conv2d0", TARGET, "gradient", (), 0.4, 0, 0, 0.2),
        ),
        skipped=(Skipped("conv2d0", SOURCE, "no path leads from one to the other"),),
        circuits=(*drawn, *others),
        factors=(factors,),
        transposed=(Transposed(drawn[2].id, drawn[1].id, 0.93, 45.0, 0.01),),
        checks=(check,),
        confirmations=(
            Confirmation(target["id"], 6, 2, 0.71, 0.2, drawn[0].id),
            Confirmation(source["id"], 6, 0, math.nan, math.nan, ""),
            Confirmation(rotation[SOURCE][-1]["id"], 0, 0, math.nan, math.nan, ""),
        ),
    )
    return result, weights


def write_run(folder: Path, circuits: Circuits, weights: dict[str, dict[str, Any]]) -> None:
    """What `recover_circuits` leaves, without a network."""
    write_json(folder / "circuits.json", {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(circuits))
    for pair in circuits.pairs:
        arrays: dict[str, Any] = {"ids": np.array(list(weights), dtype=np.str_)}
        for i, own in enumerate(weights.values()):
            arrays |= {f"{i}:{name}": value for name, value in own.items()}
        path = weights_path(folder, pair.source, pair.target)
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **arrays)
        break


@pytest.fixture(scope="module")
def original() -> ReportDocument:
    return complete_document()


@pytest.fixture
def document(original: ReportDocument) -> ReportDocument:
    return copy.deepcopy(original)


def render(document: ReportDocument) -> str:
    circuits, weights = make_circuits(document)
    return render_circuits(circuits, weights, document["families"], document)


def test_every_drawn_circuit_has_both_pictures_and_the_template(document: ReportDocument) -> None:
    circuits, weights = make_circuits(document)
    text = render(document)
    page = Page(text)
    assert not page.open
    assert len(page.all("article", class_="circuit")) == len(weights) == 4
    boards = [attrs["data-part"] for attrs, _ in page.all("button", class_="board")]
    assert {part: boards.count(part) for part in set(boards)} == {"raw": 4, "reordered": 4, "template": 4}
    images = [attrs for attrs, _ in page.all("img")]
    assert all((attrs["alt"] or "").strip() for attrs in images)
    alts = [attrs["alt"] or "" for attrs in images]
    for circuit in circuits.circuits[:4]:
        assert sum(alt.startswith(f"Weights of {circuit.source} to {circuit.target}:") for alt in alts) == 1
    # Rows are the target's on both pictures, whichever end turns.
    sizes = [
        (attrs["data-part"], attrs["data-rows"], attrs["data-columns"])
        for attrs, _ in page.all("button", class_="board")
    ]
    n_source, n_target = circuits.circuits[0].n_source, circuits.circuits[0].n_target
    into_unit = [("raw", "1", str(n_source)), ("template", "1", "1"), ("reordered", "1", str(n_source))]
    assert any(sizes[i : i + 3] == into_unit for i in range(len(sizes)))
    from_unit = [("raw", str(n_target), "1"), ("template", "1", "1"), ("reordered", str(n_target), "1")]
    assert any(sizes[i : i + 3] == from_unit for i in range(len(sizes)))


def test_rows_and_columns_carry_units_poses_and_pictures(document: ReportDocument) -> None:
    circuits, _ = make_circuits(document)
    family = next(f for f in document["families"] if f["id"] == circuits.circuits[0].target)
    text = render(document)
    names = [attrs.get("data-name") or "" for attrs, _ in Page(text).all("span", class_="label")]
    for member in family["members"]:
        assert any(name.startswith(f"{TARGET}:{member['channel']} at ") for name in names)
    assert "relative pose 22.5°" in names
    used = set(re.findall(r'data-picture="(p\d+)"', text))
    defined = set(re.findall(r"^\.(p\d+)\{", text, re.MULTILINE))
    assert used
    assert used <= defined
    assert len(defined) < len(document["pictures"])  # only those that are shown


def test_numbers_are_in_words(document: ReportDocument) -> None:
    page = Page(render(document))
    numbers = [text for _, text in page.all("dl", class_="numbers")]
    first = next(text for text in numbers if "Instead" in text and "Few" not in text)
    assert "R² 0.71 0.62 to 0.78" in first
    assert "By chance 95 % below 0.20, 99 % below 0.31" in first
    assert "q 0.004" in first
    assert "Energy 5.1 % of all weight energy" in first
    assert "Instead R² 0.33 as invariant → equivariant" in first
    assert sum("Few members" in text for text in numbers) == 1
    causal = page.all("table", class_="causal")
    assert len(causal) == 1
    assert "by the template at a wrong pose 0.350 0.20 to 0.50" in causal[0][1]
    assert "12 stimuli" in causal[0][1]


def test_head_tells_what_was_tested_and_left_out(document: ReportDocument) -> None:
    page = Page(render(document))
    table = page.all("table", class_="pairs")[0][1]
    assert "mixed3a → mixed3b expanded along every path relu: passed on 6 4 67 % 1.2 %" in table
    assert "conv2d0 → mixed3b mean gradients over photographs exact 0 0 – 40 %" in table
    assert "conv2d0 → mixed3a no path leads" in page.all("ul", class_="skipped")[0][1]
    # Blocks between two families: one from rotation to hue among them, and one that is not symmetric.
    assert "3 of 4 blocks of weights" in page.text
    assert "1 of 2 families has at least one" in page.text


def test_factors_and_both_ways(document: ReportDocument) -> None:
    circuits, _ = make_circuits(document)
    text = render(document)
    page = Page(text)
    factored = page.all("article", class_="factored")
    assert len(factored) == 1
    assert "with 1 to 3 factors: 0.48, 0.10, 0.11" in factored[0][1]
    assert "58 % of the energy" in factored[0][1]
    assert f"{SOURCE}:999" in factored[0][1]  # a unit that is in no family has no picture, and its name
    both_ways = page.all("table", class_="both-ways")[0][1]
    assert "0.93 45° 0.010" in both_ways
    assert circuits.transposed[0].forward in both_ways


def test_everything_is_escaped(document: ReportDocument) -> None:
    rename_layer(document, SOURCE, HOSTILE)
    for family in document["families"]:
        family["id"] = family["id"] + CLOSING
    circuits, weights = make_circuits_of_hostile(document)
    text = render_circuits(circuits, weights, document["families"], document)
    page = Page(text)
    assert not page.open
    assert len(page.all("script")) == 1
    assert all((attrs["src"] or "").startswith("data:image/png;base64,") for attrs, _ in page.all("img"))
    assert not [attrs for _, attrs, _ in page.elements if any(name.startswith("on") for name in attrs)]
    assert HOSTILE in page.text
    assert CLOSING in page.text
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {
        (attrs["href"] or "")[1:] for attrs, _ in page.all("a") if (attrs["href"] or "").startswith("#")
    }
    assert targets <= set(ids)


def make_circuits_of_hostile(document: ReportDocument) -> tuple[Circuits, dict[str, dict[str, Any]]]:
    source = next(
        f for f in document["families"] if f["layer"] == HOSTILE and f["transformation"] == "rotation"
    )
    target = next(
        f for f in document["families"] if f["layer"] == TARGET and f["transformation"] == "rotation"
    )
    own = {"source_layer": HOSTILE, "n_source": source["size"], "n_target": target["size"]}
    circuits = [
        make_circuit(source["id"], target["id"], **own),
        make_circuit(f"{HOSTILE}:3", target["id"], **own | {"n_source": 1}, rotation_class=HOSTILE),
    ]
    weights = {
        circuits[0].id: make_weights(circuits[0]),
        circuits[1].id: make_weights(circuits[1], by_slot=False),
    }
    result = Circuits(
        (LayerPairSummary(HOSTILE, TARGET, HOSTILE, (CLOSING,), 0.1, 2, 2, 1.0),),
        (Skipped(HOSTILE, "conv2d0", CLOSING),),
        tuple(circuits),
        (Factors(HOSTILE, target["id"], 0.5, 0.1, 0.01, (0.5,), (Factor((3,), (1.0,), ((1.0,),), 1.0),)),),
        (Transposed(circuits[1].id, circuits[0].id, 0.9, 0.0, 0.01),),
        (),
        (),
    )
    return result, weights


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_was_not_measured_is_a_dash_and_never_a_number(
    document: ReportDocument, missing: float | None
) -> None:
    circuits, weights = make_circuits(document)
    names = "r2_low r2_high r2_null_95 r2_null_99 p_value q_value energy_share strength".split()
    nothing = dict.fromkeys(names, math.nan if missing is None else missing)
    drawn = tuple(
        dataclasses.replace(c, r2=math.nan, alternatives=(("x", math.nan),), **nothing)
        for c in circuits.circuits
    )
    check = CausalCheck(drawn[0].id, *[math.nan] * 9, n_stimuli=0)
    own = circuits.factors[0]
    template = ((math.nan, 0.1), (0.2, 0.3))
    factor = dataclasses.replace(
        own.factors[0], template=template, share=math.nan, loadings=(math.nan, math.nan)
    )
    factors = dataclasses.replace(
        own,
        r2=math.nan,
        r2_null_95=math.nan,
        p_value=math.nan,
        held_out_errors=(math.nan,),
        factors=(factor,),
    )
    pairs = tuple(dataclasses.replace(entry, energy_outside=math.nan) for entry in circuits.pairs)
    transposed = (Transposed(drawn[2].id, drawn[1].id, math.nan, math.nan, math.nan),)
    for family in document["families"]:
        for member in family["members"]:
            member["pose_deg"] = member["hue_deg"] = missing
    weights[drawn[0].id]["raw"][0, 0] = np.nan
    circuits = dataclasses.replace(
        circuits, pairs=pairs, circuits=drawn, factors=(factors,), checks=(check,), transposed=transposed
    )
    text = render_circuits(circuits, weights, document["families"], document)
    page = Page(text)
    assert page.all("dl", class_="numbers")[0][1].startswith(
        "R² – By chance 95 % below –, 99 % below – q – Energy – of all weight energy from this layer into the "
        "target Strength – ×"
    )
    shown = " ".join(
        v for _, attrs, _ in page.elements for k, v in attrs.items() if v and k not in ("src", "href")
    )
    for said in (page.text, shown):
        assert not re.search(r"\b(nan|NaN|None|inf)\b", said)
    assert "set to zero –" in page.all("table", class_="causal")[0][1]


def test_page_needs_nothing_else(document: ReportDocument) -> None:
    text = render(document)
    page = Page(text)
    embedded = re.sub(r"url\(data:image/[^)\"]*\)", "", text)
    without_script = re.sub(r"<script>.*?</script>", "", embedded, flags=re.DOTALL)
    assert not re.search(r"https?:|@import|url\(", without_script)
    allowed = re.compile(r"#|data:image/png;base64,|data:,|index\.html#")
    addresses = [attrs.get(key) for _, attrs, _ in page.elements for key in ("src", "href") if key in attrs]
    assert [a for a in addresses if not allowed.match(a or "") and a != "index.html"] == []
    policy = next(attrs["content"] or "" for attrs, _ in page.all("meta") if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")


def test_a_page_without_its_report_has_poses_and_no_pictures(
    tmp_path: Path, document: ReportDocument
) -> None:
    circuits, weights = make_circuits(document)
    write_run(tmp_path, circuits, weights)
    assert save_circuits_page(tmp_path) == tmp_path / "circuits.html"
    text = (tmp_path / "circuits.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("article", class_="circuit")) == 4
    assert "index.html" not in text
    assert "data-picture" not in text
    assert "member 1" in {attrs.get("data-name") for attrs, _ in page.all("span", class_="label")}
    assert show_circuits(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_nothing_is_shown_where_circuits_were_not_recovered(tmp_path: Path, document: ReportDocument) -> None:
    assert save_circuits_page(tmp_path) is None
    save_report(tmp_path, document)
    assert not show_circuits(tmp_path)
    assert not (tmp_path / "circuits.html").exists()
    assert 'href="circuits.html"' not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_run_without_a_symmetric_circuit_says_so(document: ReportDocument) -> None:
    circuits, _ = make_circuits(document)
    none = tuple(
        dataclasses.replace(c, rotation_class="not symmetric", hue_class="") for c in circuits.circuits
    )
    page = Page(
        render_circuits(dataclasses.replace(circuits, circuits=none), {}, document["families"], document)
    )
    assert "No block of weights turns with the poses" in page.text
    assert not page.all("input")
    empty = Circuits((), (), (), (), (), (), ())
    assert (
        "No block of weights between two families could be tested." in Page(render_circuits(empty, {})).text
    )


def test_the_report_says_what_weights_said(tmp_path: Path, document: ReportDocument) -> None:
    circuits, weights = make_circuits(document)
    # A report of an earlier version has no such key at all.
    assert "Weights" not in " ".join(
        text for _, text in Page(render_page(document)).all("dl", class_="numbers")
    )
    save_report(tmp_path, document)
    write_run(tmp_path, circuits, weights)
    assert show_circuits(tmp_path)
    again = load_document(tmp_path)
    assert again is not None
    confirmed = {f["id"]: f.get("confirmation") for f in again["families"] if f.get("confirmation")}
    first = circuits.confirmations[0]
    assert set(confirmed) == {entry.family for entry in circuits.confirmations}
    assert confirmed[first.family] == {
        "n_tested": 6, "n_symmetric": 2, "best_r2": 0.71, "best_null_95": 0.2, "best_circuit": first.best_circuit,
    }  # fmt: skip
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    numbers = " ".join(text for _, text in Page(index).all("dl", class_="numbers"))
    source = circuits.circuits[0].source
    assert f"Weights turn with it in 2 of 6 circuits R² 0.71 from {source}, by chance below 0.20" in numbers
    assert "Weights turn with it in none of 6 circuits" in numbers
    assert "Weights no circuit could be tested" in numbers
    assert numbers.count("Weights") == 3
    assert 'href="circuits.html"' in index
    page = (tmp_path / "circuits.html").read_text(encoding="utf-8")
    assert "index.html#family-" in page
    # Doing so again changes nothing, and verification keeps it.
    assert show_circuits(tmp_path)
    assert load_document(tmp_path) == again


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
    assert kernel_scale(np.array([np.nan])) == 1.0
    assert kernel_scale(np.zeros(3)) > 0


def test_raw_cells_know_where_they_went(document: ReportDocument) -> None:
    circuits, weights = make_circuits(document)
    circuit = circuits.circuits[0]
    families = {f["id"]: f for f in document["families"]}
    for family, poses in ((circuit.source, 22.5), (circuit.target, 45.0)):
        for i, member in enumerate(families[family]["members"]):
            member["pose_deg"] = poses * i
    text = render_circuits(circuits, weights, document["families"], document)
    article = next(
        attrs for attrs, _ in Page(text).all("article", class_="circuit")
        if (attrs["data-source"], attrs["data-target"]) == (circuit.source, circuit.target)
    )  # fmt: skip
    n_target, n_source = circuit.n_target, circuit.n_source
    # `rows` puts the last member first; a slot is 22.5° of the source's pose less the target's.
    expected = [f"{n_target - 1 - t}.{(s - 2 * t) % 16}" for t in range(n_target) for s in range(n_source)]
    assert (article["data-links"] or "").split() == expected


def test_layers_stand_in_the_networks_order() -> None:
    assert layers_in_order([("b", "c"), ("a", "b"), ("a", "c")]) == ["a", "b", "c"]
    assert layers_in_order([]) == []


def test_the_network_draws_the_strongest_lines_into_each_family(document: ReportDocument) -> None:
    many = [
        make_circuit(f"{SOURCE}-rotation-{i}", f"{TARGET}-rotation-1", energy_share=0.01 * i)
        for i in range(1, 9)
    ]
    many.append(make_circuit(f"{SOURCE}:4", f"{TARGET}-rotation-1", energy_share=0.9, n_source=1))
    view = network_view(many, [SOURCE, TARGET], Ends((), {}), {})
    assert view is not None
    assert len(view["dots"]) == 9
    drawn = {edge["label"].split(" to ")[0] for edge in view["edges"]}
    assert drawn == {f"{SOURCE}-rotation-{i}" for i in range(5, 9)}
    assert network_view([], [], Ends((), {}), {}) is None


def test_ends_are_told_apart_by_their_names() -> None:
    assert is_unit("a:b:12", "a:b")
    assert not is_unit("a:b-rotation-12", "a:b")
    assert not is_unit("a:12", "b")
    assert transformation_of("mixed3a-hue-rotation-2") == "hue-rotation"
    assert transformation_of("rotation-rotation-2") == "rotation"
    assert transformation_of("mixed3a:4") == ""


def test_not_more_cards_than_can_be_read(tmp_path: Path, document: ReportDocument) -> None:
    circuits, _ = make_circuits(document)
    many = [
        make_circuit(f"{SOURCE}-rotation-{i}", f"{TARGET}-rotation-{i % 40}", n_source=2, n_target=2)
        for i in range(320)
    ]
    kernels = make_weights(many[0])
    write_run(tmp_path, dataclasses.replace(circuits, circuits=tuple(many)), {c.id: kernels for c in many})
    save_circuits_page(tmp_path)
    page = Page((tmp_path / "circuits.html").read_text(encoding="utf-8"))
    assert len(page.all("article", class_="circuit")) == 300
    assert "20 further symmetric circuits, without pictures" in page.text


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_in_the_browser(tmp_path: Path, document: ReportDocument, width: int, scheme: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    path = tmp_path / "circuits.html"
    path.write_text(render(document), encoding="utf-8")
    troubles: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith((path.as_uri(), "data:")) else troubles.append(f"request: {r.url}")
            ),
        )
        page.goto(path.as_uri())
        page.evaluate(
            "document.querySelectorAll('.circuit').forEach(c => c.style.contentVisibility = 'visible')"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate(
            """[...document.querySelectorAll('main *')].filter(e => !e.closest('.hidden, svg, .scroll')
                && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
        )
        assert wide == []

        # Pointing at a family highlights its lines, and the keyboard reaches it.
        circuit = make_circuits(document)[0].circuits[0]
        dot = page.locator(f'a.dot[data-family="{circuit.target}"]')
        assert page.locator(".edge.on").count() == 0
        dot.focus()
        own = page.locator(".edge.on").count()
        assert own == 1
        page.evaluate("document.activeElement.blur()")
        assert page.locator(".edge.on").count() == 0
        dot.scroll_into_view_if_needed()
        dot.hover()
        assert page.locator(".edge.on").count() == own
        assert circuit.target in page.inner_text("#pointed")
        dot.click()
        assert page.input_value("#filter") == circuit.target
        assert page.locator(".circuit:visible").count() == 2
        assert page.inner_text("#status") == "2 of 4 circuits drawn"

        # A click on a cell shows its kernel large, with both units; the other picture marks the same kernel.
        board = page.locator(f'.circuit[data-source="{circuit.source}"] .board[data-part=raw]:visible').first
        board.scroll_into_view_if_needed()
        box = board.bounding_box()
        x = box["x"] + box["width"] * 1.5 / circuit.n_source
        y = box["y"] + box["height"] * 0.5 / circuit.n_target
        page.mouse.click(x, y)
        assert page.locator("#kernel").is_visible()
        families = {f["id"]: f["members"] for f in document["families"]}
        for family, layer, place in ((circuit.source, SOURCE, 1), (circuit.target, TARGET, 0)):
            assert f"{layer}:{families[family][place]['channel']} at" in page.inner_text("#kernel-title")
        assert page.locator(".board.linked").count() == 1
        picture = page.locator("#kernel-picture")
        before = picture.evaluate("e => getComputedStyle(e).backgroundPosition")
        page.keyboard.press("ArrowRight")
        assert picture.evaluate("e => getComputedStyle(e).backgroundPosition") != before
        assert picture.bounding_box()["height"] > 100
        page.keyboard.press("Escape")
        assert not page.locator("#kernel").is_visible()

        # The filter: a whole id is that family alone, other words are parts of names and classes.
        for words, n in (("", 4), ("→invariant", 2), ("mixed3b:7", 1), ("nothing at all", 0), (SOURCE, 4)):
            page.fill("#filter", words)
            assert page.locator(".circuit:visible").count() == n, words
        browser.close()
    assert troubles == []


def test_a_page_is_plain_json_in_and_text_out(document: ReportDocument) -> None:
    # The document comes from a file: what JSON makes of it must render the same.
    assert render(json.loads(json.dumps(document))) == render(document)
