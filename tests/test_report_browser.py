"""The report's page in Chromium, at real size: 120 rotation families with 500 members, and all other families."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from equiscope.report import ReportDocument, render_page
from report_document import complete_document
from test_report import CLOSING, HOSTILE, rename_layer

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (pip install playwright)"
)

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def document() -> ReportDocument:
    document = complete_document(n_families=120, n_members=500)
    rename_layer(document, "conv2d1", HOSTILE + CLOSING)
    hostile = [family for family in document["families"] if family["layer"] == HOSTILE + CLOSING]
    for i, family in enumerate(hostile):
        family["id"] = f"{HOSTILE}-{i}"
    assert sum(family["transformation"] == "rotation" for family in document["families"]) == 120
    document["families"][0]["score"] = float("nan")
    return document


@pytest.fixture(scope="module")
def address(document: ReportDocument, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(render_page(document), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module", params=[1400, 400])
def width(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def opened(browser, address: str, width: int) -> Iterator[tuple[object, list[str]]]:
    """One page for all tests of a width: it takes a second to load."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    troubles: list[str] = []

    def note_request(request) -> None:
        if request.url != address and not request.url.startswith("data:"):
            troubles.append(f"request: {request.url}")

    def refuse_dialog(dialog) -> None:
        troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on("request", note_request)
    page.on("dialog", refuse_dialog)
    page.goto(address)
    yield page, troubles
    context.close()


@pytest.fixture
def page(opened) -> Iterator[object]:
    page, troubles = opened
    yield page
    assert troubles == []
    page.emulate_media(media="screen", color_scheme="light")
    page.fill("#filter", "")
    page.select_option("#sort", "layer")
    page.mouse.move(1, 1)
    for button in page.locator("[aria-pressed=true]").all():
        button.press("Escape")
    page.evaluate("document.activeElement.blur()")


def visible_families(page) -> list[str]:
    return page.evaluate(
        "[...document.querySelectorAll('.card')].filter(c => !c.closest('[hidden]')).map(c => c.id)"
    )


def highlighted(page, card: str) -> list[str]:
    """What of a card is highlighted: parts and their members, such as ``curve 2``."""
    return page.evaluate(
        """id => {
            const kinds = {'.member': 'member', '.picture': 'picture', '.row': 'row', '.sheets *': 'sheet', tr: 'line'};
            const kind = e => Object.entries(kinds).find(([selector]) => e.matches(selector))?.[1] ?? 'curve';
            return [...document.getElementById(id).querySelectorAll('.unit.on')]
                .map(e => `${kind(e)} ${e.dataset.member}`).sort();
        }""",
        card,
    )


def open_card(page, card: str):
    page.evaluate("id => document.getElementById(id).scrollIntoView()", card)
    return page.locator(f"[id='{card}']")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(page, document: ReportDocument, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    # content-visibility lays out only what is near the window; here every card must be measured.
    lay_out = (
        "value => document.querySelectorAll('.card').forEach(card => card.style.contentVisibility = value)"
    )
    page.evaluate(lay_out, "visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".card").count() == len(document["families"])
    assert page.locator(".member").count() == sum(family["size"] for family in document["families"])
    wide = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(e => !e.closest('.hidden, svg, .scroll')
            && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    page.evaluate(lay_out, "")


def test_dark_and_light_differ(page) -> None:
    colours = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def parts(member: int) -> list[str]:
    """What of a card with a dial is highlighted for one member."""
    return [f"{part} {member}" for part in ("curve", "member", "picture", "row")]


def test_pointing_at_a_member_links_row_curve_and_picture(page) -> None:
    card = open_card(page, "family-mixed3b-rotation-0")
    assert highlighted(page, "family-mixed3b-rotation-0") == []
    card.locator(".member").nth(2).hover()
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(2)
    page.mouse.move(1, 1)
    assert highlighted(page, "family-mixed3b-rotation-0") == []
    card.locator(".round").scroll_into_view_if_needed()
    place = card.locator(".round .picture").nth(4).bounding_box()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(4)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("mixed3b-reflection-1", ["line 1", "member 1"]),
        ("mixed3b-dihedral-1", parts(1)),
        ("mixed3b-hue-1", parts(1)),
        ("scale-2", parts(1)),
        ("rotation-scale-1", ["curve 1", "member 1", "picture 1"]),
        ("mixed3b-hue-rotation-1", ["curve 1", "member 1", "picture 1", "row 1", "sheet 1"]),
    ],
)
def test_every_kind_of_card_links_its_parts(page, key: str, expected: list[str]) -> None:
    card = open_card(page, f"family-{key}")
    card.locator(".member").nth(1).hover()
    assert highlighted(page, f"family-{key}") == expected


def test_the_joint_tuning_is_that_of_the_member_pointed_at(page) -> None:
    card = open_card(page, "family-mixed3b-hue-rotation-1")
    sheets = card.locator(".sheets svg")
    assert [sheet.is_visible() for sheet in sheets.all()] == [True] + [False] * (sheets.count() - 1)
    card.locator(".member").nth(2).hover()
    assert [sheet.is_visible() for sheet in sheets.all()].index(True) == 2
    card.locator(".member").nth(0).hover()
    assert highlighted(page, "family-mixed3b-hue-rotation-1").count("picture 0") == 2  # with its ghost


def test_a_click_pins_and_escape_lets_go(page) -> None:
    card = open_card(page, "family-mixed3b-rotation-0")
    button = card.locator(".member button").nth(1)
    button.click()
    page.mouse.move(1, 1)
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(1)
    assert button.get_attribute("aria-pressed") == "true"
    card.locator(".member").nth(3).hover()
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(3)
    page.mouse.move(1, 1)
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(1)
    page.keyboard.press("Escape")
    assert highlighted(page, "family-mixed3b-rotation-0") == []
    assert button.get_attribute("aria-pressed") == "false"


def test_the_keyboard_reaches_members(page) -> None:
    card = open_card(page, "family-mixed3b-rotation-0")
    card.locator(".permalink").focus()
    page.keyboard.press("Tab")
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(0)
    page.keyboard.press("Tab")
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(1)
    page.keyboard.press("Enter")
    assert card.locator("[aria-pressed=true]").count() == 1
    page.keyboard.press("Shift+Tab")
    assert highlighted(page, "family-mixed3b-rotation-0") == parts(0)


def test_pictures_at_the_rim_are_those_of_the_rows(page) -> None:
    card = open_card(page, "family-mixed3b-rotation-1")
    shown = "all => all.map(e => getComputedStyle(e).backgroundImage)"
    rim = card.locator(".picture").evaluate_all(shown)
    rows = card.locator(".strip").evaluate_all(shown)
    assert rim == rows
    assert len(set(rim)) == len(rim)
    assert all(picture.startswith('url("data:image/jpeg;base64,') for picture in rim)
    size = card.locator(".strip").first.evaluate(
        "e => {const i = new Image(); i.src = getComputedStyle(e).backgroundImage.slice(5, -2);"
        " return i.decode().then(() => [i.naturalWidth, i.naturalHeight])}"
    )
    assert size == [448, 56]
    strip = card.locator(".strip").first.bounding_box()
    assert strip["width"] / strip["height"] == pytest.approx(8, rel=0.02)


def test_filter(page, document: ReportDocument) -> None:
    families = document["families"]
    unit = families[60]["members"][1]
    cases = {
        "mixed4a": [f for f in families if "mixed4a" in f["layer"].split("+")],
        "size>=8": [f for f in families if f["size"] >= 8],
        ">=8 mixed3b": [f for f in families if f["size"] >= 8 and "mixed3b" in f["layer"].split("+")],
        f"{unit['layer']}:{unit['channel']}": [families[60]],
        f"{unit['channel']}": [
            f for f in families if any(m["channel"] == unit["channel"] for m in f["members"])
        ],
        "<img": [f for f in families if f["layer"].startswith("<img")],
        "nothing at all": [],
        "": families,
        **{
            name: [f for f in families if f["transformation"] == name]
            for name in ("rotation", "hue", "hue-rotation", "dihedral", "scale", "rotation-scale")
        },
        "hue mixed3b": [f for f in families if f["transformation"] == "hue"],
        "mixed3b scale": [f for f in families if f["transformation"] == "scale"],
        "rotat": [f for f in families if "rotat" in f["transformation"] + f["id"]],
    }
    for words, expected in cases.items():
        page.fill("#filter", words)
        assert len(visible_families(page)) == len(expected), words
        n = len(families)
        said = f"{n} families" if len(expected) == n else f"{len(expected)} of {n} families"
        assert page.inner_text("#status") == said
    page.fill("#filter", "mixed4a")
    assert page.locator("section.layer:visible h3").all_inner_texts() == ["mixed4a"]
    page.fill("#filter", "hue")
    assert page.locator("section.layer:visible h3").all_inner_texts() == ["mixed3b"]
    assert page.locator("section.part:visible").count() == 1


def test_sort(page, document: ReportDocument) -> None:
    original = visible_families(page)
    by_anchor = page.evaluate(
        "Object.fromEntries(JSON.parse(document.getElementById('index').textContent).families.map(r => [r.anchor, r]))"
    )
    for key, sign in (("size", -1), ("score", -1), ("disagreement", 1), ("margin", -1)):
        page.select_option("#sort", key)
        order = visible_families(page)
        values = [by_anchor[anchor][key] for anchor in order]
        measured = [value for value in values if value is not None]
        assert measured == sorted(measured, key=lambda value: sign * value)
        assert sorted(order) == sorted(original)
        if key == "score":
            assert values[-1] is None  # what was not measured comes last
    page.select_option("#sort", "layer")
    assert visible_families(page) == original


def test_a_link_to_something_filtered_away_brings_it_back(page) -> None:
    page.fill("#filter", "mixed4a")
    page.select_option("#sort", "score")
    page.evaluate("location.hash = 'layer-mixed4c'")
    page.wait_for_function("!document.getElementById('layer-mixed4c').hidden")
    assert page.input_value("#filter") == ""
    assert page.input_value("#sort") == "layer"
    page.wait_for_function(
        "Math.abs(document.getElementById('layer-mixed4c').getBoundingClientRect().top) < innerHeight"
    )


def test_hostile_names_are_text(page) -> None:
    page.fill("#filter", "onerror=alert")
    assert len(visible_families(page)) == 6
    assert page.locator("section.layer:visible h3").inner_text() == HOSTILE + CLOSING
    page.select_option("#sort", "size")
    assert page.locator(".card:visible .where").first.text_content() == HOSTILE + CLOSING
    assert page.locator("img[onerror]").count() == 0


def test_a_printed_page_shows_every_family_and_no_controls(page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".controls").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).contentVisibility") == "visible"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_it_reads_without_its_script(browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(f"{address}#family-mixed3b-rotation-0")
    card = page.locator("#family-mixed3b-rotation-0")
    assert card.locator(".curve").first.is_visible()
    assert card.locator(".strip").first.is_visible()
    assert card.locator(".picture").first.is_visible()
    assert "data:image" in card.locator(".picture").first.evaluate("e => getComputedStyle(e).backgroundImage")
    assert card.locator(".check svg").first.is_visible()
    assert not page.locator(".controls").is_visible()
    context.close()


def test_the_path_is_a_file(address: str) -> None:
    assert address.startswith("file:///")
    assert Path(address.removeprefix("file://")).stat().st_size < 12_000_000
