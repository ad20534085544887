"""The view of the simplified network, and its chart: what stands where, what is said where nothing was tied."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from budget_run import planted_run
from equiscope.cli import app
from equiscope.construction.budget import estimate_budget, save_budget
from equiscope.construction.simplify import METHODS, Accuracy, Convolution, Point, Simplification
from equiscope.construction.simplify.result import save_simplification
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.statistics import share_interval
from equiscope.reports import ReportDocument, build_site, draw_figure
from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.drawing.svg import write_for_print
from equiscope.reports.site.files import show_evidence
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.simplify.drawings import draw_curve
from equiscope.reports.views.simplify.view import render_simplification
from site_browser import CHROMIUM, OPTIONS, go_to, watched_page
from site_document import save_run, site_document

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<img src=x onerror=alert(1)>"
N_IMAGES, N_PARAMETERS, N_WEIGHTS = 200, 40_000, 10_000
REMOVED = (1_000, 2_000, 3_000)


def accuracy(top1: float, difference: float, half: float = 0.02, agreement: float = 0.9) -> Accuracy:
    low, high = share_interval(round(top1 * N_IMAGES), N_IMAGES)
    return Accuracy(top1, low, high, difference, difference - half, difference + half, agreement)


def point(
    method: str, removed: int, plain: float, recalibrated: float, layer: str | None = None, half: float = 0.02
) -> Point:
    first, second = (accuracy(own, own - 0.5, half) for own in (plain, recalibrated))
    blocks = removed // 100 if method in ("tied", "wrong poses") else 0
    return Point(method, removed, N_WEIGHTS - removed, blocks, removed / 1e5, first, second, layer)


def planted_simplification(
    tied: Sequence[float] = (0.495, 0.49, 0.4), layers: Sequence[str | None] = (None, None, None)
) -> Simplification:
    """Three points of three methods, the tied ones with these accuracies after recalibration."""
    points = []
    for method, lost in (("tied", 0.0), ("wrong poses", 0.1), ("magnitude", -0.005)):
        points += [
            point(method, removed, own - 0.05 - lost, own - lost, layer)
            for removed, own, layer in zip(REMOVED, tied, layers, strict=False)
        ]
    convolutions = (
        Convolution("conv2d0", "image", "conv2d0", 3_000, 1_200, 300, 12, 0.67, 0.25),
        Convolution(HOSTILE, "conv2d0", "mixed3a", 7_000, 5_000, 2_000, 1_234, 0.54, math.nan),
    )
    return Simplification(
        "drawn", HOSTILE, "rotation", "all", N_IMAGES, 32, 56, 64, "float32", N_PARAMETERS, accuracy(0.5, 0.0),
        convolutions, tuple(points), "error" if layers[0] is None else "layers",
    )  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportDocument]:
    folder = tmp_path_factory.mktemp("run")
    own = site_document(folder)
    save_run(folder, own)
    save_simplification(folder, planted_simplification())
    assert show_evidence(folder, "simplify")
    return folder, own


def count_parameters(folder: Path) -> None:
    run = planted_run(folder, {"conv2d0": [{"rotation": "f"}] * 4}, ["rotation"])
    save_budget(folder, estimate_budget(run, n_resamples=5))


def view_of(folder: Path, document: ReportDocument) -> str:
    ((name, fragment),) = render_simplification(SiteContext(document, Pictures(document), folder))
    assert (name, fragment.data) == ("", {})
    return fragment.html


def words_of(html: str) -> str:
    return re.sub(r"\s+([.,;)])", r"\1", re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


def rows_of(html: str, table: str) -> list[list[str]]:
    """Text of the cells of the rows in the bodies of a table."""
    found = re.search(rf'<table class="plain {table}">(.*?)</table>', html, re.DOTALL)
    assert found is not None
    body = found[1].partition("</thead>")[2]
    return [
        [words_of(cell).strip() for cell in re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]


# --- what is said --------------------------------------------------------------------------------------------


def test_where_nothing_was_tied_the_view_says_which_command_does_it(tmp_path: Path) -> None:
    own = site_document(tmp_path)
    page = save_run(tmp_path, own)
    assert 'data-kind="simplify"' not in page.read_text(encoding="utf-8")
    html = view_of(tmp_path, own)
    assert f"equiscope simplify {tmp_path} drawn --images LABELLED<" in html
    assert "<table" not in html
    for family in own["families"]:
        family["transformation"] = "hue"
    assert "--images LABELLED --transformation hue<" in view_of(tmp_path, own)
    with pytest.raises(EquiscopeError, match="was not simplified yet"):
        draw_figure(tmp_path, "simplify")


def test_the_overview_tells_of_it_once_the_parameters_were_counted(tmp_path: Path) -> None:
    own = site_document(tmp_path)
    said = "These families were not tied yet"
    assert said not in save_run(tmp_path, own).read_text(encoding="utf-8")
    count_parameters(tmp_path)
    assert said in build_site(tmp_path).read_text(encoding="utf-8")
    save_simplification(tmp_path, planted_simplification())
    assert said not in build_site(tmp_path).read_text(encoding="utf-8")


def test_no_tie_is_proposed_where_none_can_be_made(tmp_path: Path) -> None:
    own = site_document(tmp_path)
    for family in own["families"]:
        family["transformation"] = "reflection"
    count_parameters(tmp_path)
    assert "were not tied yet" not in save_run(tmp_path, own).read_text(encoding="utf-8")


def test_the_view_shows_what_was_measured(document: tuple[Path, ReportDocument]) -> None:
    folder, own = document
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert 'data-kind="simplify"' in page
    html = view_of(folder, own)
    words = words_of(html)
    assert (
        "Tying the weights between the rotation families of drawn removes 2,000 of its 40,000 parameters (5.0 %) at a "
        "change in accuracy of −1.0 (−3.0 to +1.0) points, and 3,000 (7.5 %) at −10.0 (−12.0 to −8.0)."
    ) in words
    assert (
        "it changes by −20.0 (−22.0 to −18.0) with wrong poses; −9.5 (−11.5 to −7.5) with magnitude." in words
    )
    assert "50.0 % (43.1 to 56.9 %) top 1" in words
    assert "56 px of 64" in words
    rows = rows_of(html, "points")
    assert len(rows) == 9
    # 90 % of 200 images: Wilson's interval.
    same = "90.0 % 85.1 to 93.4 %"
    assert rows[1] == [
        "2,000", "5.0 %", "20.0 %", "20", "2.0 %", "44.0 % 37.3 to 50.9 %", "−6.0 −8.0 to −4.0", same,
        "49.0 % 42.2 to 55.9 %", "−1.0 −3.0 to +1.0", same,
    ]  # fmt: skip
    assert rows[0][0] == "tied"
    assert rows[6][:5] == ["magnitude", "1,000", "2.5 %", "10.0 %", "–"]
    # Only what was measured is told of.
    assert "low rank" not in words
    assert html.count('class="chart mark"') == 2 * 3
    assert words.count("The smallest weights anywhere in the same convolutions are set to zero.") == 1
    first, second = rows_of(html, "convolutions")
    assert first == [
        "conv2d0", "image", "conv2d0", "3,000", "1,200", "300", "12", "67 %", "25 %", "25 %",
    ]  # fmt: skip
    assert second[4:] == ["5,000", "2,000", "1,234", "54 %", "–", "40 %"]
    assert "nan" not in words.lower()
    assert "<img" not in html
    assert html.count("&lt;img") == 2
    (data,) = (folder / "site" / "data" / "simplify").iterdir()
    assert len(data.read_bytes()) < 300_000


def test_layers_that_the_site_has_are_links(document: tuple[Path, ReportDocument]) -> None:
    html = view_of(*document)
    for name, n in (("conv2d0", 3), ("mixed3a", 1), ("image", 0)):
        assert html.count(f'<a href="#/layer/{name}">{name}</a>') == n


@pytest.mark.parametrize(
    ("tied", "first", "said"),
    [
        # Three without a loss: everything goes.
        ((0.5, 0.51, 0.49), None, None),
        ((0.4, 0.3, 0.2), "1,000", "the first point that was evaluated"),
        # A later point without a loss, behind one that has it, tells nothing.
        ((0.49, 0.45, 0.5), "1,000", "the furthest point up to which the interval of the change reaches 0"),
        ((0.3,), None, None),
    ],
)
def test_the_lede_names_the_furthest_point_up_to_which_no_loss_is_certain(
    tmp_path: Path, tied: Sequence[float], first: str | None, said: str | None
) -> None:
    save_simplification(tmp_path, planted_simplification(tied))
    html = view_of(tmp_path, site_document(tmp_path))
    lede = re.search(r'<p class="lede">(.*?)</p>', html, re.DOTALL)
    assert lede is not None
    last = f"{REMOVED[len(tied) - 1]:,}"
    assert re.findall(r"<strong>(.*?)</strong>", lede[1]) == ([last] if first is None else [first, last])
    assert ("The first figure" in html) == (said is not None)
    assert said is None or said in html


def test_layer_by_layer_the_points_have_layers(tmp_path: Path) -> None:
    layers = ("conv2d0", "mixed3a", HOSTILE)
    save_simplification(tmp_path, planted_simplification(layers=layers))
    html = view_of(tmp_path, site_document(tmp_path))
    assert [row[-12] for row in rows_of(html, "points")[:3]] == [
        "conv2d0",
        "mixed3a",
        HOSTILE.replace("<", "&lt;").replace(">", "&gt;"),
    ]
    assert html.count('<a href="#/layer/mixed3a">mixed3a</a>') == 1 + 3
    assert "2,000 of its 40,000 parameters (5.0 %, up to mixed3a)" in words_of(html)
    assert "layer by layer from the image on" in html
    assert "<img" not in html


def test_the_report_is_built_again_with_it(document: tuple[Path, ReportDocument]) -> None:
    folder, _ = document
    page = (folder / "index.html").read_bytes()
    (data,) = (folder / "site" / "data" / "simplify").iterdir()
    content = data.read_bytes()
    data.unlink()
    build_site(folder)
    assert ((folder / "index.html").read_bytes(), data.read_bytes()) == (page, content)


# --- what is drawn -------------------------------------------------------------------------------------------


def drawn(found: Simplification, *, is_recalibrated: bool) -> ET.Element:
    drawing = draw_curve(found, is_recalibrated=is_recalibrated)
    return ET.fromstring(write_for_print(drawing, lambda _: None))  # noqa: S314 - this package wrote it


def marks_of(root: ET.Element) -> dict[str, list[tuple[float, float, float, float]]]:
    """Place, and both ends of the whisker, of the marks of each method."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for group in root.iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None:
            whisker, spot = group.findall(f"{SVG}path")
            x, y = (float(v) for v in re.findall(r"-?[\d.]+", spot.attrib["transform"]))
            _, high, low = (float(v) for v in re.findall(r"-?[\d.]+", whisker.attrib["d"]))
            found.setdefault(str(title.text).partition(":")[0], []).append((x, y, high, low))
    return found


@pytest.mark.parametrize("is_recalibrated", [False, True])
def test_points_stand_at_what_was_removed_and_at_their_accuracy(is_recalibrated: bool) -> None:
    found = planted_simplification()
    root = drawn(found, is_recalibrated=is_recalibrated)
    texts = {text.text: text.attrib for text in root.iter(f"{SVG}text")}
    x0, x1 = (float(texts[f"{share} %"]["x"]) for share in ("2", "8"))
    y0, y1 = (float(texts[f"{height} %"]["y"]) for height in ("20", "60"))

    def place(point: Point) -> tuple[float, ...]:
        own = point.recalibrated if is_recalibrated else point.plain
        x = x0 + (x1 - x0) * (100 * point.n_removed / N_PARAMETERS - 2) / 6
        return x, *(y0 + (y1 - y0) * (value - 0.2) / 0.4 for value in (own.top1, own.high, own.low))

    marks = marks_of(root)
    assert list(marks) == ["magnitude", "wrong poses", "tied"]
    for method, places in marks.items():
        expected = [place(own) for own in found.points if own.method == method]
        assert places == [pytest.approx(own, abs=0.11) for own in expected]
    # Each line begins at the original network.
    lines = [path for path in root.iter(f"{SVG}path") if path.attrib.get("stroke-linejoin") == "round"]
    assert len(lines) == 3
    starts = {path.attrib["d"].partition("L")[0] for path in lines}
    (start,) = starts
    origin = (x0 - (x1 - x0) / 3, y0 + (y1 - y0) * 0.75)
    assert [float(v) for v in start[1:].split(",")] == pytest.approx(origin, abs=0.11)


def test_names_of_methods_never_overlap_and_tell_colours_apart() -> None:
    points = [point(method, removed, 0.45, 0.5) for method in METHODS for removed in REMOVED]
    root = drawn(dataclasses.replace(planted_simplification(), points=tuple(points)), is_recalibrated=True)
    names = [text for text in root.iter(f"{SVG}text") if text.text in METHODS]
    rows = [float(text.attrib["y"]) for text in names]
    assert len(rows) == 5
    assert min(b - a for a, b in zip(sorted(rows), sorted(rows)[1:], strict=False)) >= 13.9
    assert len({text.attrib["fill"] for text in names}) == 5
    _, _, width, height = (float(v) for v in root.attrib["viewBox"].split())
    assert all(float(text.attrib["x"]) + 6.4 * len(str(text.text)) < width for text in names)
    assert all(0 < y < height for y in rows)


def test_a_network_that_loses_nothing_can_be_drawn() -> None:
    nothing = dataclasses.replace(planted_simplification(), points=(point("tied", 0, 0.5, 0.5),))
    root = drawn(nothing, is_recalibrated=True)
    assert "100 %" in {text.text for text in root.iter(f"{SVG}text")}


def test_the_figure_is_a_command_too(document: tuple[Path, ReportDocument], tmp_path: Path) -> None:
    folder, _ = document
    n_titles = {}
    for kind in ("curves", "plain", "recalibrated"):
        path = tmp_path / f"{kind}.svg"
        command = ["figure", str(folder), "simplify", "--kind", kind, "--out", str(path)]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        text = path.read_text()
        assert not re.search(r"class=|style=|var\(|currentColor|url\(", text)
        n_titles[kind] = text.count("<title>")
    # One a point, and one of the whole.
    assert n_titles == {"curves": 19, "plain": 10, "recalibrated": 10}
    assert (tmp_path / "plain.svg").read_text() != (tmp_path / "recalibrated.svg").read_text()
    with pytest.raises(EquiscopeError, match="curves, plain, recalibrated"):
        draw_figure(folder, "simplify", kind="tied")


# --- what a reader sees --------------------------------------------------------------------------------------

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (pip install playwright)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs chromium on the PATH")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_its_window_in_light_and_dark(
    browser: Any, document: tuple[Path, ReportDocument], width: int, scheme: str
) -> None:
    address = (document[0] / "index.html").as_uri()
    options: dict[str, Any] = {
        "viewport": {"width": width, "height": 900}, "color_scheme": scheme,
    }  # fmt: skip
    with watched_page(browser, address, **options) as (page, troubles):
        go_to(page, address)
        page.locator(".bar nav a[data-kind=simplify]").click()
        page.wait_for_selector(".simplify h1")
        assert page.locator(".bar nav a[aria-current]").inner_text() == "Simplified"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate(
            """[...document.querySelectorAll('main *')].filter(e => !e.closest('.hidden, svg, .scroll')
                && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
        )
        assert wide == []
        names = page.evaluate(
            """[...document.querySelectorAll('.curves .own-name')]
                .map(name => [name.textContent, getComputedStyle(name).fill, name.getBoundingClientRect().right])"""
        )
        colours = {name: colour for name, colour, _ in names}
        assert colours["tied"] == ("rgb(0, 114, 178)" if scheme == "light" else "rgb(86, 180, 233)")
        assert len(names) == 6
        assert max(right for _, _, right in names) <= width
        assert page.locator("table.points tbody").count() == 3
        page.locator(".simplify a", has_text="mixed3a").first.click()
        page.wait_for_selector("main.view-layer h1")
        assert page.inner_text("main h1") == "mixed3a"
        assert troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, document: tuple[Path, ReportDocument], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    address = (document[0] / "index.html").as_uri()
    with watched_page(browser, address, color_scheme=scheme, reduced_motion="reduce") as (page, _):
        go_to(page, address, "simplify")
        found = axe.Axe().run(page).response["violations"]
        serious = [
            f"{entry['id']}: {node['html'][:120]} {node['any'][:1]}"
            for entry in found
            if entry["impact"] in ("serious", "critical")
            for node in entry["nodes"][:3]
        ]
        assert serious == []
