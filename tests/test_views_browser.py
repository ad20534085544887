"""The views of families and circuits in Chromium: pointing, clicking, the keyboard, the kernels' flight, print."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit_run import make_circuits, write_run
from equiscope.reports import ReportDocument, build_site
from report_document import complete_document, make_verification
from site_browser import CHROMIUM, OPTIONS

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (pip install playwright)"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


def planted_document() -> tuple[ReportDocument, Any, dict[str, dict[str, Any]]]:
    """All views filled: a stimulus that turns, drawings, and a circuit of kernels with a bar at their pose's side."""
    document = complete_document()
    circuits, weights = make_circuits(document)
    first = circuits.circuits[0]
    families = {f["id"]: f for f in document["families"]}
    family = families[first.target]
    for end in (first.source, first.target):
        for i, member in enumerate(families[end]["members"]):
            member["pose"] = {"angle_deg": 90.0 * (i % 4) + i // 4}
    family["verification"] = [
        make_verification(
            "rotation",
            members=[
                {"pose": m["pose"]["angle_deg"], "synthetic": 0.0, "error": 4.0} for m in family["members"]
            ],
        )
    ]
    family["turned"] = {
        "layer": family["layers"][0], "channel": family["members"][0]["channel"],
        "axes": {"angle_deg": [0.0, 90.0, 180.0, 270.0]}, "sheet": 0, "first": 0,
        "responses": [[0.5, 1.0, 0.2, 0.1] for _ in family["members"]],
    }  # fmt: skip
    # Upright kernels have weight in their top row alone: at 90°, counter-clockwise, in their left column, and so on.
    upright = np.zeros((5, 5))
    upright[0] = 1.0
    own = weights[first.id]
    own["raw"] = np.stack([[np.rot90(upright, t % 4)] * first.n_source for t in range(first.n_target)])
    own["raw"] = own["raw"].astype(np.float16)
    own["rows"] = np.arange(first.n_target)
    own["reordered"] = np.full((first.n_target, 16, 5, 5), np.nan)
    own["template"] = np.zeros((16, 5, 5), np.float16)
    for t in range(first.n_target):
        for s in range(first.n_source):
            members = families[first.source]["members"][s], family["members"][t]
            relative = members[0]["pose"]["angle_deg"] - members[1]["pose"]["angle_deg"]
            own["reordered"][t, round(relative / 22.5) % 16] = upright
    own["reordered"] = own["reordered"].astype(np.float16)
    return document, circuits, weights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportDocument, Any]:
    folder = tmp_path_factory.mktemp("run")
    document, circuits, weights = planted_document()
    write_run(folder, copy.deepcopy(document), circuits, weights)
    build_site(folder)
    return folder, document, circuits


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(params=[(1400, "light"), (400, "dark")], ids=["wide-light", "phone-dark"])
def page(request: pytest.FixtureRequest, browser: Any, run: Any) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    allowed = (run[0].as_uri(), "data:")
    page.on("request", lambda r: None if r.url.startswith(allowed) else troubles.append(f"request: {r.url}"))
    yield page
    context.close()
    assert troubles == []


def show(page: Any, run: Any, kind: str, name: str = "") -> None:
    page.goto(
        f"{(run[0] / 'index.html').as_uri()}#/{kind}" + (f"/{name.replace('>', '%3E')}" if name else "")
    )
    page.wait_for_selector(f"main.view-{kind} h1")


def wait_until(page: Any, condition: str, seconds: float = 8.0) -> None:
    """Wait for a condition; the page's policy forbids what playwright has for that."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(15)


def nothing_is_too_wide(page: Any) -> None:
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(e => !e.closest('.hidden, svg, .scroll, .chart-scroll')
            && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"""
    )
    assert wide == []


# A family -----------------------------------------------------------------------------------------------------------


def lit(page: Any) -> set[str]:
    """Where the unit that is pointed at is lit, by what shows it there."""
    return set(
        page.evaluate(
            """[...document.querySelectorAll('main .lit')].map(e => {
                const chart = e.closest('svg.chart');
                return chart ? [...chart.classList].find(c => c !== 'chart') : e.tagName.toLowerCase();
            })"""
        )
    )


EVERYWHERE = {"dial", "strip-chart", "tuning", "synthetic", "thumbnail", "li", "button", "a"}


def test_pointing_at_a_member_lights_it_up_everywhere(page: Any, run: Any) -> None:
    target = run[2].circuits[0].target
    show(page, run, "family", target)
    nothing_is_too_wide(page)
    assert lit(page) == set()
    member = page.locator(".members .member").nth(1)
    unit = member.get_attribute("data-unit")
    member.locator(".pose").hover()
    assert lit(page) == EVERYWHERE
    assert set(page.evaluate("[...document.querySelectorAll('main .lit')].map(e => e.dataset.unit)")) == {
        unit
    }
    # And from the chart back to the list.
    page.mouse.move(1, 1)
    assert lit(page) == set()
    page.locator(f'.tuning g[data-unit="{unit}"] rect').first.hover(force=True)
    assert lit(page) == EVERYWHERE


def test_a_click_keeps_a_member_and_escape_lets_go(page: Any, run: Any) -> None:
    show(page, run, "family", run[2].circuits[0].target)
    address = page.url
    button = page.locator(".members button").nth(2)
    button.click()
    page.mouse.move(1, 1)
    assert lit(page) == EVERYWHERE
    assert button.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert lit(page) - {"li", "button", "a"} <= EVERYWHERE
    page.evaluate("document.activeElement.blur()")
    assert lit(page) == set()
    assert button.get_attribute("aria-pressed") == "false"
    # A click in a chart selects as well, and does not lead away.
    page.locator(".dial g.member circle").first.click(force=True)
    assert page.url == address
    assert page.locator('.members button[aria-pressed="true"]').count() == 1


def test_the_keyboard_walks_through_the_members(page: Any, run: Any) -> None:
    show(page, run, "family", run[2].circuits[0].target)
    buttons = page.locator(".members button")
    buttons.first.focus()
    units = []
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "End", "Home"):
        page.keyboard.press(key)
        units.append(page.evaluate("document.activeElement.dataset.unit"))
    own = [button.get_attribute("data-unit") for button in buttons.all()]
    assert units == [own[1], own[2], own[1], own[-1], own[0]]
    assert lit(page) == EVERYWHERE
    page.keyboard.press("Enter")
    assert buttons.first.get_attribute("aria-pressed") == "true"


def test_a_unit_link_leads_away_and_back_returns(page: Any, run: Any) -> None:
    show(page, run, "family", run[2].circuits[0].target)
    page.locator(".unit-link").first.click()
    page.wait_for_selector("main.view-unit h1")
    page.go_back()
    page.wait_for_selector("main.view-family h1")
    page.locator(".circuit-link").first.click()
    page.wait_for_selector("main.view-circuit h1")
    assert page.title().startswith(run[2].circuits[0].id)
    page.go_back()
    page.wait_for_selector("main.view-family h1")
    assert page.title().startswith(run[2].circuits[0].target)


@pytest.mark.parametrize(
    "key",
    [
        "mixed3b-hue-1",
        "mixed3b-dihedral-1",
        "mixed3b-hue-rotation-1",
        "mixed3b-contrast-1",
        "scale-2",
        "rotation-scale-1",
    ],
)
def test_every_kind_of_family_lights_up_its_chart(page: Any, run: Any, key: str) -> None:
    show(page, run, "family", key)
    nothing_is_too_wide(page)
    page.locator(".members .member .pose").nth(1).hover()
    assert lit(page) & {"dial", "chart", "pair"} or "li" in lit(page)
    drawn = page.evaluate("document.querySelectorAll('.poses .lit').length")
    assert drawn >= 1
    wait_until(page, "+getComputedStyle(document.querySelector('.poses .member:not(.lit)')).opacity < 0.5")


def test_a_family_prints_on_one_page(page: Any, run: Any) -> None:
    show(page, run, "family", run[2].circuits[0].target)
    printed = page.pdf(format="A4", print_background=True)
    assert max(int(n) for n in re.findall(rb"/Count (\d+)", printed)) == 1
    page.emulate_media(media="print", color_scheme="light")
    assert page.locator(".hint").is_hidden()
    assert page.locator(".stimuli .picture:visible").count() == 4 * page.locator(".members li").count()


# A circuit ----------------------------------------------------------------------------------------------------------


def canvas_share(page: Any) -> float:
    """Share of the canvas that is painted; 0 without one."""
    return page.evaluate(
        """() => {
            const canvas = document.querySelector('canvas.flight');
            if (!canvas.width || !canvas.height) return 0;
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const brush = copy.getContext('2d', { willReadFrequently: true });
            brush.drawImage(canvas, 0, 0);
            const pixels = brush.getImageData(0, 0, canvas.width, canvas.height).data;
            let n = 0;
            for (let i = 3; i < pixels.length; i += 4) n += pixels[i] > 0;
            return n / (canvas.width * canvas.height);
        }"""
    )


def scrub(page: Any, value: int) -> None:
    page.evaluate(
        """value => {
            const range = document.querySelector('.scrub input');
            range.value = value;
            range.dispatchEvent(new Event('input'));
        }""",
        value,
    )


def shot(page: Any) -> bytes:
    page.mouse.move(1, 1)
    page.evaluate("document.activeElement.blur()")
    return page.locator('.kernel-figure[data-part="reordered"]').screenshot(animations="disabled")


def test_the_kernels_fly_and_end_as_the_reordered_matrix(page: Any, run: Any) -> None:
    show(page, run, "circuit", run[2].circuits[0].id)
    nothing_is_too_wide(page)
    wait_until(page, "[...document.querySelectorAll('image.kernels')].length === 3")
    before = shot(page)
    button = page.locator(".order")
    assert button.get_attribute("aria-pressed") == "true"
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    wait_until(page, "document.querySelector('.scrub input').value === '0'")
    # All have gone back: the place in order is empty, and nothing is on its way.
    page.wait_for_timeout(200)
    assert canvas_share(page) == 0
    assert shot(page) != before
    button.click()
    wait_until(
        page,
        "+document.querySelector('.scrub input').value > 300 && +document.querySelector('.scrub input').value < 900",
    )
    assert canvas_share(page) > 0
    wait_until(page, "document.querySelector('.scrub input').value === '1000'")
    assert canvas_share(page) == 0
    assert button.get_attribute("aria-pressed") == "true"
    assert shot(page) == before


def test_just_before_the_end_every_kernel_lies_where_it_will(page: Any, run: Any) -> None:
    show(page, run, "circuit", run[2].circuits[0].id)
    circuit = run[2].circuits[0]
    scrub(page, 999)
    # What the canvas shows in each cell against what the matrix has there: full colour in the top row, none below.
    found = page.evaluate(
        """() => {
            const canvas = document.querySelector('canvas.flight');
            const board = document.querySelector('.board[data-part="reordered"]');
            const [whole, box] = [canvas.getBoundingClientRect(), board.getBoundingClientRect()];
            const density = canvas.width / whole.width;
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const brush = copy.getContext('2d', { willReadFrequently: true });
            brush.drawImage(canvas, 0, 0);
            const [columns, rows] = [board.dataset.columns, board.dataset.rows].map(Number);
            const at = (x, y) => {
                const place = [box.left - whole.left + x, box.top - whole.top + y];
                const [left, top] = place.map((value) => Math.round(value * density));
                return [...brush.getImageData(left, top, 1, 1).data];
            };
            const found = [];
            for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
                const [width, height] = [box.width / columns, box.height / rows];
                const [top, bottom] = [0.12, 0.85].map((part) => at((column + 0.5) * width, (row + part) * height));
                if (top[3] > 200) found.push([row, column, top[0] - top[2], bottom[0] - bottom[2]]);
            }
            return found;
        }"""
    )
    assert len(found) == circuit.n_target * min(circuit.n_source, 4)
    for row, column, top, bottom in found:
        assert top > 80, (row, column)
        assert abs(bottom) < 40, (row, column)


def test_kernels_turn_back_the_way_that_undoes_their_pose(page: Any, run: Any) -> None:
    circuit = run[2].circuits[0]
    show(page, run, "circuit", circuit.id)
    # The second member, at 90°, has its bar on the left. Shortly before it becomes what stands in its place it has
    # flown and turned by 84 %: had it turned the wrong way, its bar would now be at the bottom.
    scrub(page, round(1000 * (0.35 / (circuit.n_target - 1) + 0.65 * 0.66)))
    above, below = page.evaluate(
        """() => {
            const canvas = document.querySelector('canvas.flight');
            const board = document.querySelector('.board[data-part="reordered"]');
            const raw = document.querySelector('.board[data-part="raw"]');
            const [whole, box, start] = [canvas, board, raw].map((e) => e.getBoundingClientRect());
            const density = canvas.width / whole.width;
            const at = 1.5 / Number(board.dataset.rows);
            // Where the row is by now, between its place in the one matrix and in the other.
            const share = 0.84;
            const place = (own) => own.top + at * own.height - whole.top;
            const centre = (1 - share) * place(start) + share * place(box);
            const half = (0.5 * box.height) / Number(board.dataset.rows);
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const brush = copy.getContext('2d', { willReadFrequently: true });
            brush.drawImage(canvas, 0, 0);
            const count = (top, bottom) => {
                const [y0, y1] = [top, bottom].map((y) => Math.round(y * density));
                const pixels = brush.getImageData(0, y0, canvas.width, Math.max(1, y1 - y0)).data;
                let red = 0;
                for (let i = 0; i < pixels.length; i += 4) {
                    red += pixels[i + 3] > 200 && pixels[i] - pixels[i + 2] > 80;
                }
                return red;
            };
            return [count(centre - 0.8 * half, centre - 0.25 * half), count(centre + 0.25 * half, centre + 0.8 * half)];
        }"""
    )
    assert above > 3 * below


def test_reduced_motion_jumps(browser: Any, run: Any) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    show(page, run, "circuit", run[2].circuits[0].id)
    page.locator(".order").click()
    assert page.evaluate("document.querySelector('.scrub input').value") == "0"
    assert page.evaluate("document.querySelector('.figures').classList.contains('in-flight')")
    page.locator(".order").click()
    assert page.evaluate("document.querySelector('.scrub input').value") == "1000"
    assert not page.evaluate("document.querySelector('.figures').classList.contains('in-flight')")
    context.close()


def test_a_click_shows_a_kernel_large_with_both_units(page: Any, run: Any) -> None:
    circuit = run[2].circuits[0]
    show(page, run, "circuit", circuit.id)
    families = {f["id"]: f["members"] for f in run[1]["families"]}
    board = page.locator('.board[data-part="raw"]')
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    page.mouse.click(
        box["x"] + box["width"] * 1.5 / circuit.n_source, box["y"] + box["height"] * 0.5 / circuit.n_target
    )
    dialog = page.locator("dialog.kernel")
    assert dialog.is_visible()
    title = page.inner_text("#kernel-title")
    for family, place in ((circuit.source, 1), (circuit.target, 0)):
        member = families[family][place]
        assert f"{member['layer']}:{member['channel']} at" in title
    assert dialog.locator(".end-picture svg").count() == 2
    assert page.locator(".board.linked").count() == 1
    picture = page.locator("#kernel-picture")
    before = picture.evaluate("e => getComputedStyle(e).backgroundPosition")
    page.keyboard.press("ArrowRight")
    assert picture.evaluate("e => getComputedStyle(e).backgroundPosition") != before
    assert picture.bounding_box()["height"] > 100
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    # The keyboard alone does the same: to the board, to a cell, and open; away from the mouse, which points as well.
    page.mouse.move(0, 0)
    page.wait_for_function("!document.querySelector('.board.pointing')")
    board.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".board.pointing").count() == 1
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    assert (
        f"{families[circuit.target][1]['layer']}:{families[circuit.target][1]['channel']} at"
        in page.inner_text("#kernel-title")
    )
    page.locator("dialog .close").click()
    assert not dialog.is_visible()


def test_pointing_at_a_kernel_marks_it_in_the_other_matrix(page: Any, run: Any) -> None:
    circuit = run[2].circuits[0]
    show(page, run, "circuit", circuit.id)
    board = page.locator('.board[data-part="raw"]')
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    page.mouse.move(
        box["x"] + box["width"] * 0.5 / circuit.n_source, box["y"] + box["height"] * 1.5 / circuit.n_target
    )
    linked = page.locator(".board.linked")
    there = [linked.evaluate("(e, name) => e.style.getPropertyValue(name)", name) for name in ("--x", "--y")]
    # Source at 0°, target at 90°: slot -90° of 22.5° each is the twelfth.
    assert there == ["12", "1"]
    assert page.locator(".label.pointed").count() >= 3
    page.mouse.move(1, 1)
    assert page.locator(".board.linked").count() == 0


# All circuits -------------------------------------------------------------------------------------------------------


def test_the_network_highlights_and_leads_to_families(page: Any, run: Any) -> None:
    circuit = run[2].circuits[0]
    show(page, run, "circuits")
    nothing_is_too_wide(page)
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
    assert circuit.target in page.inner_text(".pointed")
    dot.click()
    page.wait_for_selector("main.view-family h1")
    assert page.title().startswith(circuit.target)


def test_lists_are_loaded_when_opened_and_filtered(page: Any, run: Any) -> None:
    circuits = run[2].circuits
    show(page, run, "circuits")
    assert page.evaluate("document.querySelectorAll('.circuit-table').length") == 0
    page.locator(".list summary").click()
    page.wait_for_selector(".circuit-table tbody tr")
    rows = page.locator(".circuit-table tbody tr")
    assert rows.count() == 5
    status = page.locator(".list [role=status]")
    assert status.inner_text() == "5 circuits"
    for words, n in (
        ("", 5), ("→invariant", 2), ("equivariant → equivariant", 2), (circuits[1].target, 1),
        ("nothing at all", 0), (circuits[0].source, 3), ("hue-rotation", 1),
    ):  # fmt: skip
        page.fill(".list-filter", words)
        assert rows.count() == n, words
    page.fill(".list-filter", "")
    page.locator(".list-all").check()
    assert rows.count() == 6
    assert page.locator("tr.asymmetric").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    rows.first.locator("a").nth(2).click()
    page.wait_for_selector("main.view-circuit h1")


def test_factors_and_transposed_pairs_are_loaded_when_opened(page: Any, run: Any) -> None:
    show(page, run, "circuits")
    for summary in page.locator(".part summary").all():
        summary.click()
    page.wait_for_selector(".factored .kernel-image")
    page.wait_for_selector(".both-ways .kernel-image")
    nothing_is_too_wide(page)
    assert page.locator(".factor").count() == 2


def test_a_list_has_an_address_of_its_own(page: Any, run: Any) -> None:
    show(page, run, "list", "mixed3a>mixed3b")
    assert page.locator(".circuit-table tbody tr").count() == 5
    nothing_is_too_wide(page)
