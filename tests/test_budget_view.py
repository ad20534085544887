"""The parameters in the report and as a figure: what they show, what they say when there are none, how they look."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from budget_run import Kinds, planted_run
from equiscope.cli import app
from equiscope.construction.budget import Budget, ConvolutionBudget, TotalBudget, estimate_budget, save_budget
from equiscope.foundations.errors import EquiscopeError
from equiscope.reports import ReportDocument, build_site, draw_figure
from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.drawing.svg import write_for_print
from equiscope.reports.site.files import show_evidence
from equiscope.reports.views.budget.drawings import draw_saving, draw_savings, save_savings
from equiscope.reports.views.budget.view import render_budget
from equiscope.reports.views.context import SiteContext
from site_browser import CHROMIUM, OPTIONS, go_to, watched_page
from site_document import save_run, site_document

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<img src=x onerror=alert(1)>"
N_UNITS = {"conv2d0": 12, "mixed3a": 40, "mixed3b": 60}
ARTICLE = 1 - 3 / 4 * (8 / 12) ** 2


def planted_budget(folder: Path) -> Budget:
    """Two families of four in the first layer, one of eight in the second, none in the third; and parameters."""
    kinds: dict[str, list[Kinds]] = {
        "conv2d0": [{"rotation": f"f{i // 4}"} if i < 8 else {"hue": "invariant"} for i in range(12)],
        "mixed3a": [{"rotation": "g", "hue": f"h{i // 4}"} if i < 8 else {} for i in range(40)],
        "mixed3b": [{"rotation": "invariant"}] * 60,
    }
    run = planted_run(folder, kinds, ["rotation", "hue", "reflection", "scale"])
    budget = estimate_budget(run, n_resamples=200)
    numbers = (1000, 400, 600.0, 550.0, 650.0, 800.0, 780.0, 820.0)
    unknown = (1000, 400, *[math.nan] * 6)
    names = ("rotation", "hue", "reflection", "together", "scale")
    budget = dataclasses.replace(
        budget,
        convolutions=tuple(
            ConvolutionBudget(HOSTILE, "mixed3b", name, *(unknown if name == "scale" else numbers))
            for name in names
        ),
        totals=tuple(TotalBudget(name, 5_000, *numbers) for name in names),
    )
    save_budget(folder, budget)
    return budget


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportDocument]:
    folder = tmp_path_factory.mktemp("run")
    own = site_document(folder, layers=tuple(N_UNITS.items()))
    save_run(folder, own)
    planted_budget(folder)
    assert show_evidence(folder, "budget")
    return folder, own


def view_of(folder: Path, document: ReportDocument) -> str:
    ((name, fragment),) = render_budget(SiteContext(document, Pictures(document), folder))
    assert (name, fragment.data) == ("", {})
    return fragment.html


def test_without_a_budget_the_view_says_which_command_makes_one(tmp_path: Path) -> None:
    own = site_document(tmp_path)
    page = save_run(tmp_path, own).read_text(encoding="utf-8")
    assert 'data-kind="budget"' not in page
    assert "Parameters were not counted yet" in page
    html = view_of(tmp_path, own)
    assert f"equiscope budget {tmp_path}" in html
    assert f"equiscope budget {tmp_path} drawn" in html
    assert "<table" not in html
    assert not show_evidence(tmp_path / "nothing", "budget")
    with pytest.raises(EquiscopeError, match="has no budget yet"):
        draw_figure(tmp_path, "budget")


def test_the_view_shows_what_was_counted(document: tuple[Path, ReportDocument]) -> None:
    folder, own = document
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert 'data-kind="budget"' in page
    assert "Parameters were not counted yet" not in page
    html = view_of(folder, own)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))
    assert "600 of 1,000 parameters would be left: 60 % (55 to 65 %)" in words
    assert "400 of them have an end" in words
    assert "5,000 other parameters" in words
    row = re.search(r"<tr><th[^>]*><a[^>]*>conv2d0</a></th>(.*?)</tr>", html, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1])
    assert cells[:3] == ["8 of 12", "0", "67 %"]
    assert (cells[4], cells[5]) == ("4.0", f"{100 * ARTICLE:.1f} %")
    # Reflection has no family in any layer; scale has no formula. Not measured is a dash, never a number.
    assert html.count("<svg") == 3
    assert html.count("No layer has a family") == 1
    assert "nan" not in words.lower()
    module = re.search(r"onerror.*?</th>(.*?)</tr>", html, re.DOTALL)
    assert module is not None
    assert re.findall(r"<td[^>]*>(.*?)</td>", module[1]) == ["1,000", *["60 %"] * 4, "–"]
    assert "<img" not in html
    assert "&lt;img" in html
    (data,) = (folder / "site" / "data" / "budget").iterdir()
    assert len(data.read_bytes()) < 300_000


def test_the_report_is_built_again_with_it(document: tuple[Path, ReportDocument]) -> None:
    folder, _ = document
    page = (folder / "index.html").read_bytes()
    (data,) = (folder / "site" / "data" / "budget").iterdir()
    content = data.read_bytes()
    data.unlink()
    build_site(folder)
    assert ((folder / "index.html").read_bytes(), data.read_bytes()) == (page, content)


def marks_of(root: ET.Element) -> list[tuple[float, float]]:
    """Give the places of the layers' marks, which have a title."""
    places = []
    for group in root.iter(f"{SVG}g"):
        if group.find(f"{SVG}title") is not None:
            transform = group.findall(f"{SVG}path")[1].attrib["transform"]
            x, y = re.findall(r"-?[\d.]+", transform)
            places.append((float(x), float(y)))
    return places


def test_layers_stand_at_their_share_and_saving(tmp_path: Path) -> None:
    drawing = draw_saving(planted_budget(tmp_path), "rotation")
    root = ET.fromstring(write_for_print(drawing, lambda _: None))  # noqa: S314 - this package wrote it
    texts = {text.text: text.attrib for text in root.iter(f"{SVG}text")}
    # The ends of the curves give the axes: at r = 1 a K of 2 saves half, of 4 three quarters.
    y_half, y_rest = float(texts["K = 2"]["y"]), float(texts["K = 4"]["y"])
    per_saving = (y_half - y_rest) / 0.25
    curves = [p.attrib["d"] for p in root.iter(f"{SVG}path") if p.attrib.get("d", "").count("L") == 50]
    assert len(curves) == 5
    x_first, x_last = (float(re.findall(r"[\d.]+", curves[0])[i]) for i in (0, -2))

    def place(share: float, saving: float) -> tuple[float, float]:
        return x_first + share * (x_last - x_first), y_half - (saving - 0.5) * per_saving

    expected = [place(8 / 12, 1 - ARTICLE), place(0.2, 7 / 8 * 0.04), place(0.0, 0.0)]
    assert marks_of(root) == [pytest.approx(own, abs=0.11) for own in expected]


def test_names_never_overlap_and_are_few(tmp_path: Path) -> None:
    layers = {f"block.{i}.a_rather_long_name": [{"rotation": "f"}] * (i + 3) + [{}] * 10 for i in range(12)}
    budget = estimate_budget(planted_run(tmp_path, layers, ["rotation"]), n_resamples=20)
    path = save_savings(tmp_path, budget)
    assert path == tmp_path / "budget.svg"
    root = ET.fromstring(path.read_text())  # noqa: S314 - this package wrote it
    names = [text for text in root.iter(f"{SVG}text") if " K " in f"{text.text} "]
    named = [text for text in names if "…" in str(text.text)]
    assert len(named) == 8
    assert "and 4 that save less" in {text.text for text in root.iter(f"{SVG}text")}
    rows = sorted(float(text.attrib["y"]) for text in named)
    assert min(b - a for a, b in pairwise(rows)) >= 12
    # They stand above every mark that is as far to the left: savings are at most r².
    right = max(float(text.attrib["x"]) + 6.4 * len(str(text.text)) for text in named)
    assert all(y > rows[-1] + 7 for x, y in marks_of(root) if x < right)
    # Twelve layers have twelve looks.
    looks = set()
    for group in root.iter(f"{SVG}g"):
        if group.find(f"{SVG}title") is not None:
            spot = group.findall(f"{SVG}path")[1]
            looks.add((spot.attrib["d"], spot.attrib["fill"]))
    assert len(looks) == 12


def test_nothing_to_draw_is_a_result(tmp_path: Path) -> None:
    budget = estimate_budget(planted_run(tmp_path, {"a": [{}] * 4}, ["rotation"]), n_resamples=5)
    assert draw_savings(budget) is None
    assert save_savings(tmp_path, budget) is None
    assert not (tmp_path / "budget.svg").exists()


def test_the_figure_is_a_command_too(document: tuple[Path, ReportDocument], tmp_path: Path) -> None:
    folder, _ = document
    for kind in ("savings", "rotation", "together"):
        path = tmp_path / f"{kind}.svg"
        result = CliRunner().invoke(
            app, ["figure", str(folder), "budget", "--kind", kind, "--out", str(path)]
        )
        assert result.exit_code == 0, result.output
        text = path.read_text()
        assert not re.search(r"class=|style=|var\(|currentColor|url\(", text)
    # Three transformations have a family in some layer.
    assert (tmp_path / "savings.svg").read_text().count("K → ∞") == 3
    with pytest.raises(EquiscopeError, match="savings, rotation, hue, together"):
        draw_figure(folder, "budget", kind="scale")


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
        page.locator(".bar nav a[data-kind=budget]").click()
        page.wait_for_selector(".budget h1")
        assert page.locator(".bar nav a[aria-current]").inner_text() == "Parameters"
        page.evaluate("document.querySelectorAll('details').forEach(own => own.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate(
            """[...document.querySelectorAll('main *')].filter(e => !e.closest('.hidden, svg, .scroll')
                && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
        )
        assert wide == []
        spots = page.evaluate(
            """[...document.querySelectorAll('[data-transformation=rotation] .chart .spot')]
                .map(spot => getComputedStyle(spot).fill)"""
        )
        assert spots[0] == ("rgb(0, 114, 178)" if scheme == "light" else "rgb(86, 180, 233)")
        assert page.locator("[data-transformation=rotation] details table tbody tr").count() == 3
        page.locator(".budget a", has_text="mixed3a").first.click()
        page.wait_for_selector("main.view-layer h1")
        assert page.inner_text("main h1") == "mixed3a"
        assert troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, document: tuple[Path, ReportDocument], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    address = (document[0] / "index.html").as_uri()
    with watched_page(browser, address, color_scheme=scheme, reduced_motion="reduce") as (page, _):
        go_to(page, address, "budget")
        page.evaluate("document.querySelectorAll('details').forEach(own => own.open = true)")
        found = axe.Axe().run(page).response["violations"]
        serious = [
            f"{entry['id']}: {node['html'][:120]} {node['any'][:1]}"
            for entry in found
            if entry["impact"] in ("serious", "critical")
            for node in entry["nodes"][:3]
        ]
        assert serious == []
