"""The site in Chromium: from disk and from a server, narrow and wide, light and dark, by pointer and by keyboard."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from equiscope.reports import ReportDocument, serve_site
from site_browser import CHROMIUM, OPTIONS, follow, go_to, wait_until, watched_page
from site_document import large_document, save_run, site_document

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (pip install playwright)"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")

HOSTILE = "<img src=x onerror=alert(1)>"
VIEWS = ("", "families", "layer/mixed3a", "unit/mixed3a-3", "family/mixed3a-rotation-1")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def document(folder: Path) -> ReportDocument:
    return site_document(folder)


@pytest.fixture(scope="module")
def address(folder: Path, document: ReportDocument) -> str:
    return save_run(folder, document).as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with watched_page(browser, address, viewport={"width": 1400, "height": 900}) as (page, troubles):
        go_to(page, address)
        yield page
        assert troubles == []


def heading(page: Any) -> str:
    return str(page.inner_text("main h1"))


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_its_window_and_stays_within_the_folder(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with watched_page(browser, address, **options) as (page, troubles):
        colours = set()
        for view in VIEWS:
            go_to(page, address, view)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            wide = page.evaluate(
                """[...document.querySelectorAll('main *')].filter(e => !e.closest('.hidden, svg, .scroll')
                    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
            )
            assert wide == [], view
            colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert colours == {"rgb(253, 253, 251)" if scheme == "light" else "rgb(21, 23, 26)"}
        assert troubles == []


def test_it_works_from_a_server_too(browser: Any, folder: Path, address: str) -> None:
    with serve_site(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        there = f"http://127.0.0.1:{server.server_address[1]}/index.html"
        with watched_page(browser, there) as (page, troubles):
            for view in VIEWS:
                go_to(page, there, view)
            pictures = page.evaluate(
                """async () => {
                    const picture = document.querySelector('main .picture');
                    const address = getComputedStyle(picture).backgroundImage.slice(5, -2);
                    const image = new Image(); image.src = address; await image.decode(); return image.naturalWidth;
                }"""
            )
            assert pictures >= 56
            assert troubles == []
        server.shutdown()


def test_addresses_titles_and_the_back_button(page: Any, address: str) -> None:
    assert page.title() == "Families of a drawn network"
    page.set_viewport_size({"width": 1400, "height": 300})
    page.mouse.wheel(0, 200)
    wait_until(page, "scrollY === 200")
    page.wait_for_timeout(50)
    # Not Playwright's own click, which scrolls first.
    follow(page, lambda: page.evaluate("document.querySelectorAll('.strip-of-layers thead a')[1].click()"))
    assert (heading(page), page.evaluate("location.hash")) == ("mixed3a", "#/layer/mixed3a")
    assert page.title() == "mixed3a · Families of a drawn network"
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.evaluate("scrollY") == 0
    follow(page, page.locator(".unit-grid a[data-unit='mixed3a:0']").click)
    assert heading(page) == "mixed3a:0"
    follow(page, page.go_back)
    assert heading(page) == "mixed3a"
    follow(page, page.go_back)
    assert page.title() == "Families of a drawn network"
    assert page.evaluate("scrollY") == 200
    follow(page, page.go_forward)
    assert heading(page) == "mixed3a"


def test_the_address_of_a_core_shows_its_familys_page(page: Any, address: str) -> None:
    go_to(page, address, "family/mixed3a-rotation-1")
    own = page.inner_text("main")
    go_to(page, address, "family/mixed3a-rotation-1.2")
    assert page.inner_text("main") == own
    # Of families alone: no layer is shortened.
    go_to(page, address, "layer/mixed-3.1")
    assert heading(page) == "There is no layer “mixed-3.1” in this run"


def test_an_unknown_address_names_the_nearest(page: Any, address: str) -> None:
    go_to(page, address, "layer/mixed3")
    assert heading(page) == "There is no layer “mixed3” in this run"
    assert set(page.locator(".nearest a").all_inner_texts()) >= {"mixed3a", "mixed3b"}
    follow(page, page.locator(".nearest a", has_text="mixed3b").click)
    assert heading(page) == "mixed3b"
    for view in (
        "unit/mixed3a-40",
        "unit/mixed3a-x",
        "unit/constructor-1",
        "nonsense/1",
        "family/%E0%A4%A",
        "overview/1",
    ):
        go_to(page, address, view)
        if view != "overview/1":
            assert heading(page).startswith("There is no "), view


def test_a_missing_data_file_is_said(browser: Any, tmp_path: Path) -> None:
    address = save_run(tmp_path, site_document(tmp_path)).as_uri()
    (tmp_path / "site" / "data" / "layer" / "mixed3a.js").unlink()
    with watched_page(browser, address) as (page, _):
        go_to(page, address, "layer/mixed3a")
        assert heading(page) == "A file of this report is missing"
        assert "equiscope report" in page.inner_text("main")


def units_shown(page: Any) -> list[int]:
    return [int(text) for text in page.locator(".unit-grid .channel").all_inner_texts()]


def test_units_of_a_layer_are_sorted_filtered_and_grouped(
    page: Any, address: str, document: ReportDocument
) -> None:
    go_to(page, address, "layer/mixed3a")
    own = [unit for unit in document["units"] if unit["layer"] == "mixed3a"]
    line = {u["channel"]: next(s for s in u["symmetries"] if s["transformation"] == "rotation") for u in own}
    assert sorted(units_shown(page)) == list(range(40))
    assert page.locator(".of-family").count() == 4
    page.select_option("[name=kind]", "neither")
    assert sorted(units_shown(page)) == [c for c, s in line.items() if s["kind"] == "neither"]
    assert page.inner_text("main [role=status]") == f"{len(units_shown(page))} of 40 units"
    assert "kind=neither" in page.evaluate("location.hash")
    page.select_option("[name=kind]", "")
    page.select_option("[name=group]", "none")
    page.select_option("[name=sort]", "invariance")
    measured = [line[c]["invariance"] for c in units_shown(page) if line[c]["invariance"] is not None]
    assert [round(value, 2) for value in measured] == sorted((round(v, 2) for v in measured), reverse=True)
    assert units_shown(page)[-1] == 39  # what was not measured comes last
    page.fill("[name=score]", "0.5")
    assert sorted(units_shown(page)) == [c for c, s in line.items() if s["kind"] == "equivariant"]
    page.fill("[name=score]", "")
    page.fill("[name=size]", "100")
    assert units_shown(page) == []
    page.fill("[name=size]", "")
    page.fill("[name=unit]", "3")
    assert sorted(units_shown(page)) == [3, *range(30, 40)]
    follow(page, lambda: page.press("[name=unit]", "Enter"))
    assert heading(page) == "mixed3a:3"


def test_what_was_chosen_stands_in_the_address(page: Any, address: str) -> None:
    go_to(page, address, "layer/mixed3a?transformation=reflection&group=none&sort=invariance&kind=invariant")
    assert page.input_value("[name=transformation]") == "reflection"
    assert page.input_value("[name=kind]") == "invariant"
    assert page.locator(".of-family").count() == 0
    go_to(page, address, "families?layer=mixed3b&sort=score")
    scores = [
        float(text.split()[1].rstrip(",")) for text in page.locator(".family-line .figure").all_inner_texts()
    ]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    page.select_option("[name=layer]", "")
    assert page.locator(".family-line").count() == 12
    assert page.evaluate("location.hash") == "#/families?sort=score"


def test_pointing_at_a_unit_lights_it_up_everywhere(page: Any, address: str) -> None:
    go_to(page, address, "layer/mixed3a")
    lit = "[...document.querySelectorAll('main .lit')].map(e => `${e.tagName} ${e.dataset.unit}`)"
    page.locator(".unit-grid a[data-unit='mixed3a:2']").hover()
    assert page.evaluate(lit) == ["circle mixed3a:2", "A mixed3a:2"]
    page.mouse.move(1, 1)
    assert page.evaluate(lit) == []
    page.locator(".unit-grid a[data-unit='mixed3a:1']").focus()
    assert page.evaluate(lit) == ["circle mixed3a:1", "A mixed3a:1"]
    follow(page, lambda: page.locator("circle[data-unit='mixed3a:5']").click(force=True))
    assert heading(page) == "mixed3a:5"


def test_search_finds_units_layers_and_families(page: Any) -> None:
    def found(text: str) -> list[str]:
        page.fill("#search", text)
        return [" ".join(line.split()) for line in page.locator("#found li").all_inner_texts()]

    # What the empty box suggests is a unit of this network.
    assert page.get_attribute("#search", "placeholder").startswith("mixed3a:39,")
    assert found("mixed3b:7") == ["unit mixed3b:7"]
    assert found("3b 7")[0] == "unit mixed3b:7"
    assert found("7")[:3] == ["unit conv2d0:7", "unit mixed3a:7", "unit mixed3b:7"]
    assert "layer mixed3a" in found("MIXED3A")
    assert found("rotation mixed3a 2") == ["family mixed3a-rotation-2"]
    assert found("99999") == ["Nothing has this name or number"]
    page.keyboard.press("Escape")
    assert page.locator("#found").is_hidden()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("mixed3")
    page.keyboard.press("ArrowDown")
    assert page.locator("#found [aria-selected=true]").inner_text().split() == ["layer", "mixed3b"]
    follow(page, lambda: page.keyboard.press("Enter"))
    assert heading(page) == "mixed3b"


def test_the_keyboard_reaches_everything(page: Any, address: str) -> None:
    page.goto("about:blank")
    go_to(page, address, "layer/conv2d0")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("[document.activeElement.id, location.hash]") == ["main", "#/layer/conv2d0"]
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.dataset?.unit ?? document.activeElement.name ?? ''")
        )
    assert {f"conv2d0:{channel}" for channel in range(12)} <= reached
    assert {"transformation", "group", "sort", "kind", "score", "size", "unit"} <= reached


def test_hostile_names_are_text_in_every_view(browser: Any, tmp_path: Path) -> None:
    name = HOSTILE + "</script><script>alert(2)</script>\"'&%2F?#"
    document = site_document(tmp_path, layers=((name, 12), ("mixed3a", 12)), n_families=4)
    document["title"] = name
    document["model"]["name"] = name
    document["layers"][0]["notes"] = [name]
    document["missing"] = [name]
    address = save_run(tmp_path, document).as_uri()
    with watched_page(browser, address) as (page, troubles):
        go_to(page, address)
        assert heading(page) == name
        page.fill("#search", "onerror")
        assert page.locator("#found li").first.inner_text().endswith(name)
        follow(page, page.locator(".strip-of-layers thead a").first.click)
        assert heading(page) == name
        follow(page, page.locator(".of-family .unit-grid a").first.click)
        assert heading(page).startswith(f"{name}:")
        follow(page, page.locator(".family-entry > p > a").click)
        assert name in page.inner_text("main")
        go_to(page, address, "families")
        assert name in page.inner_text(".family-line >> nth=0")
        go_to(page, address, f"layer/{HOSTILE.replace('%', '%25')}")
        assert HOSTILE in heading(page)
        assert page.locator("img[onerror]").count() == 0
        assert troubles == []


@pytest.mark.parametrize(
    "name",
    [
        "</script><!--<script>alert(1)//",
        "\u2028alert(1)\u2029`${alert(2)}`",
        "javascript:alert(1)",
        "x');background:url(//evil.example/x.png);y('",
        "--x:1;position:fixed;inset:0",
    ],
)
def test_a_hostile_run_is_served_as_text_and_its_own_page_not_at_all(
    browser: Any, tmp_path: Path, name: str
) -> None:
    document = site_document(tmp_path, layers=((name, 12), ("mixed3a", 12)), n_families=4)
    document["title"] = document["model"]["name"] = name
    save_run(tmp_path, document)
    (tmp_path / "index.html").write_text("<script>document.title = 'owned'; alert(1)</script>")
    (tmp_path / "site" / "app" / "core.js").write_text("alert(2)")
    with serve_site(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there = f"http://127.0.0.1:{server.server_address[1]}/index.html"
        with watched_page(browser, there) as (page, troubles):
            for view in ("", "families", f"layer/{quote(name, safe='')}", f"unit/{quote(name, safe='')}-3"):
                go_to(page, there, view)
                assert page.locator("img[onerror], main script").count() == 0
                assert page.evaluate("getComputedStyle(document.querySelector('main')).position") == "static"
            # Whatever gets into the page cannot run: neither in an attribute, nor as a script, nor as an address.
            page.evaluate(
                """() => {
                    const image = '<img src=x onerror="document.title = 1">';
                    const link = '<a id=evil href="javascript:document.title = 2">x</a>';
                    document.body.insertAdjacentHTML('beforeend', image + link);
                    document.getElementById('evil').click();
                    const script = document.createElement('script');
                    script.textContent = 'document.title = 3';
                    document.body.append(script);
                }"""
            )
            page.wait_for_timeout(100)
            assert page.title() not in ("owned", "1", "2", "3")
            assert not [trouble for trouble in troubles if trouble.startswith(("dialog", "request"))]
        server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, address: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    with watched_page(browser, address, color_scheme=scheme, reduced_motion="reduce") as (page, _):
        for view in (*VIEWS, "layer/nope"):
            go_to(page, address, view)
            found = axe.Axe().run(page).response["violations"]
            serious = [
                f"{view}: {entry['id']}: {node['html'][:120]} {node['any'][:1]}"
                for entry in found
                if entry["impact"] in ("serious", "critical")
                for node in entry["nodes"][:3]
            ]
            assert serious == []


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    save_run(folder, large_document(folder, n_units=10_000, n_families=1_000))
    return folder


# Goes to a view and tells how many seconds pass until it is painted.
SHOW = """view => new Promise(resolve => {
    const started = performance.now();
    const told = () => resolve((performance.now() - started) / 1000);
    document.querySelector('main').addEventListener(
        'shown', () => requestAnimationFrame(() => requestAnimationFrame(told)), { once: true });
    location.hash = view;
})"""


def renderer_mb(browser: Any) -> float:
    """Memory of the largest renderer, its own pages and its share of common ones, MB."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    largest = 0.0
    for process in processes:
        if process["type"] == "renderer":
            lines = Path(f"/proc/{process['id']}/smaps_rollup").read_text(encoding="ascii").splitlines()
            largest = max(
                largest, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
            )
    session.detach()
    return largest


def test_a_run_of_ten_thousand_units_opens_at_once(browser: Any, large: Path) -> None:
    address = (large / "index.html").as_uri()
    with watched_page(browser, address, viewport={"width": 1400, "height": 900}) as (page, troubles):
        opened = []
        for _ in range(3):  # other work on the machine may be in the way of one of them
            page.goto("about:blank")
            started = time.perf_counter()
            go_to(page, address)
            opened.append(time.perf_counter() - started)
        shown = [
            page.evaluate(SHOW, f"#/family/block{number % 20}.conv-rotation-{number}")
            for number in (1, 20, 40)
        ]
        memory_mb = [renderer_mb(browser)]
        for layer in range(20):
            follow(page, partial(page.evaluate, f"location.hash = '#/layer/block{layer}.conv'"))
        # What is held: when the browser frees the rest is its own affair, and depends on the machine's memory.
        page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        memory_mb.append(renderer_mb(browser))
        assert troubles == []
    assert min(opened) < 1.0
    assert min(shown) < 0.3
    assert max(memory_mb) < 300, memory_mb


def test_every_file_of_a_large_run_is_small(large: Path) -> None:
    assert (large / "index.html").stat().st_size < 1_000_000
    sizes = {path: path.stat().st_size for path in (large / "site").rglob("*") if path.is_file()}
    assert len(sizes) > 1_000
    assert max(sizes.values()) < 300_000
