"""Figures for papers: SVG that needs nothing else, PNG, and the command that writes them."""

from __future__ import annotations

import builtins
import copy
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from circuit_run import make_circuits, write_run
from equiscope.cli import app
from equiscope.foundations.errors import EquiscopeError, MissingExtraError
from equiscope.reports import ReportDocument, draw_figure, save_figure
from equiscope.reports.figures.saving import figure_kinds
from report_document import complete_document, make_verification

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def document() -> ReportDocument:
    document = complete_document()
    family = document["families"][0]
    members = [{"pose": m["pose"]["angle_deg"], "synthetic": 0.0, "error": 2.0} for m in family["members"]]
    family["verification"] = [make_verification("rotation", members=members)]
    family["turned"] = {
        "layer": family["layers"][0], "channel": family["members"][0]["channel"],
        "axes": {"angle_deg": [0.0, 90.0]}, "sheet": 0, "first": 0,
        "responses": [[0.5, 1.0] for _ in family["members"]],
    }  # fmt: skip
    return document


@pytest.fixture(scope="module")
def folder(document: ReportDocument, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, copy.deepcopy(document), *make_circuits(document))
    return folder


def parse(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - this package wrote it


@pytest.mark.parametrize(
    ("subject", "kinds"),
    [
        ("family", ("dial", "strip", "tuning", "synthetic")),
        ("circuit", ("matrices", "raw", "reordered", "template")),
        ("layer", ("shares",)),
        ("overview", ("shares",)),
    ],
)
def test_each_chart_is_a_figure_that_needs_nothing_else(
    folder: Path, document: ReportDocument, subject: str, kinds: tuple[str, ...]
) -> None:
    circuits, _ = make_circuits(document)
    name = {
        "family": document["families"][0]["id"],
        "circuit": circuits.circuits[0].id,
        "layer": "mixed3b",
    }.get(subject, "")
    sizes = set()
    for kind in kinds:
        text = draw_figure(folder, subject, name, kind=kind)
        root = parse(text)
        sizes.add((root.attrib["width"], root.attrib["height"]))
        assert "title" in root[0].tag
        assert (root[0].text or "").strip()
        assert not re.search(r"class=|style=|var\(|currentColor|url\((?!#)|site/|webp|font-face", text)
        for image in root.iter(f"{SVG}image"):
            assert image.attrib["href"].startswith("data:image/png;base64,")
        for attribute in ("fill", "stroke"):
            colours = {e.attrib[attribute] for e in root.iter() if attribute in e.attrib}
            assert all(re.fullmatch(r"#[0-9a-f]{6}|none", colour) for colour in colours)
    assert len(sizes) == len(kinds)
    # Without a kind it is the first of them.
    assert draw_figure(folder, subject, name) == draw_figure(folder, subject, name, kind=kinds[0])


def test_pictures_are_those_of_the_sheets(folder: Path, document: ReportDocument) -> None:
    family = document["families"][0]
    root = parse(draw_figure(folder, "family", family["id"], kind="dial"))
    images = list(root.iter(f"{SVG}image"))
    assert len(images) == family["size"]
    assert len({image.attrib["href"] for image in images}) == family["size"]


def test_kernels_are_large_enough_not_to_be_smoothed(folder: Path, document: ReportDocument) -> None:
    import base64

    circuits, _ = make_circuits(document)
    root = parse(draw_figure(folder, "circuit", circuits.circuits[0].id, kind="raw"))
    images = [
        image.attrib["href"] for image in root.iter(f"{SVG}image") if image.attrib.get("image-rendering")
    ]
    with Image.open(io.BytesIO(base64.b64decode(images[0].partition(",")[2]))) as picture:
        assert picture.width >= 60 * circuits.circuits[0].n_source


def test_every_transformation_has_its_own_chart_of_poses(folder: Path, document: ReportDocument) -> None:
    kinds = {"hue": "dial", "dihedral": "dial", "reflection": "pair", "contrast": "pair", "scale": "chart",
             "hue-rotation": "chart", "rotation-scale": "chart"}  # fmt: skip
    for transformation, kind in kinds.items():
        family = next(f for f in document["families"] if f["transformation"] == transformation)
        root = parse(draw_figure(folder, "family", family["id"], kind=kind))
        assert len(list(root.iter())) > 10


def test_a_png_has_the_figure_in_it(folder: Path, document: ReportDocument, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs resvg_py (pip install equiscope[figures])")
    family = document["families"][0]
    path = save_figure(folder, "family", family["id"], tmp_path / "a" / "dial.png", kind="dial")
    root = parse(draw_figure(folder, "family", family["id"], kind="dial"))
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
        assert picture.width == pytest.approx(3 * float(root.attrib["width"]), abs=3)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert (pixels.min(2) < 250).mean() > 0.05  # something is drawn
    assert (np.ptp(pixels, axis=2) > 60).mean() > 0.005  # and some of it has colour


def test_what_does_not_exist_is_named(folder: Path, document: ReportDocument, tmp_path: Path) -> None:
    name = document["families"][0]["id"]
    circuits, _ = make_circuits(document)
    for args, words in (
        (("family", name + "x"), "unknown family"),
        (("circuit", circuits.circuits[-1].id), "unknown circuit whose weights were kept"),
        (("layer", "mixed9"), "unknown layer 'mixed9': did you mean"),
        (("unit", name), "unknown subject of a figure 'unit'"),
    ):
        with pytest.raises(EquiscopeError, match=re.escape(words)):
            draw_figure(folder, *args)
    with pytest.raises(EquiscopeError, match=r"unknown chart of family .* 'matrix'"):
        draw_figure(folder, "family", name, kind="matrix")
    with pytest.raises(EquiscopeError, match="is not the folder of a run"):
        draw_figure(tmp_path, "family", name)
    with pytest.raises(EquiscopeError, match=r"has the ending '.pdf': expected .svg or .png"):
        save_figure(folder, "family", name, tmp_path / "a.pdf")
    bare = tmp_path / "bare"
    bare.mkdir()
    write_run(bare, copy.deepcopy(document))
    with pytest.raises(EquiscopeError, match="has no circuits yet: run `equiscope circuits"):
        draw_figure(bare, "circuit", circuits.circuits[0].id)


def test_a_png_without_the_extra_says_how_to_get_it(
    folder: Path, document: ReportDocument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "resvg_py":
            raise ImportError("no such module")
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install resvg-py, or write an \.svg"):
        save_figure(folder, "family", document["families"][0]["id"], tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
    save_figure(folder, "family", document["families"][0]["id"], tmp_path / "a.svg")


def test_a_machine_without_fonts_is_told(
    folder: Path, document: ReportDocument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resvg_py = pytest.importorskip("resvg_py", reason="needs resvg_py (pip install equiscope[figures])")
    plain = resvg_py.svg_to_bytes
    monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda **options: plain(**options, skip_system_fonts=True))
    with pytest.raises(EquiscopeError, match="this machine has no fonts"):
        save_figure(folder, "family", document["families"][0]["id"], tmp_path / "a.png")


def test_the_command_writes_what_the_function_draws(
    folder: Path, document: ReportDocument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = document["families"][0]["id"]
    out = tmp_path / "f.svg"
    result = CliRunner().invoke(
        app, ["figure", str(folder), "family", name, "--kind", "tuning", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert result.output == f"figure: {out}\n"
    assert out.read_text(encoding="utf-8") == draw_figure(folder, "family", name, kind="tuning")
    monkeypatch.chdir(tmp_path)
    circuits, _ = make_circuits(document)
    result = CliRunner().invoke(app, ["figure", str(folder), "circuit", circuits.circuits[0].id])
    assert result.exit_code == 0, result.output
    assert (tmp_path / f"circuit-{circuits.circuits[0].id.replace('>', '-to-')}.svg").exists()


def test_kinds_are_only_what_was_measured(folder: Path, document: ReportDocument) -> None:
    from equiscope.reports.figures.saving import _context

    kinds = figure_kinds(_context(folder), "family", document["families"][1]["id"])
    assert list(kinds) == ["dial", "tuning"]
