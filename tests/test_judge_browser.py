"""The page to judge families on, in Chromium: keys, what is drawn, what is kept, and the file that is saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from equiscope.evidence.readers.answers import read_answers
from equiscope.reports import ReportDocument
from site_browser import CHROMIUM, OPTIONS, go_to, wait_until, watched_page
from site_document import save_run, site_document

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (pip install playwright)"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")

WORDS = ("copies", "alike in pose", "untested")
FIGURES = {
    "likeness": 0.5,
    "likeness_low": 0.4,
    "likeness_high": 0.6,
    "permuted_95": 0.3,
    "tested": 1.0,
    "reason": "said",
    "cores": [],
}


def judged_document(folder: Path) -> ReportDocument:
    """Twenty families that can be judged: fifteen of the first verdict, three of the second, two of the third."""
    document = site_document(folder, n_families=20)
    for i, family in enumerate(document["families"]):
        family["moved"] = {"sheet": 0, "first": 0, "n": [2] * family["size"]}
        word = WORDS[0 if i < 15 else 1 if i < 18 else 2]
        family["verdict"] = {"word": word, **FIGURES}  # type: ignore[typeddict-item]
    return document


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ReportDocument]:
    folder = tmp_path_factory.mktemp("run")
    document = judged_document(folder)
    return save_run(folder, document).as_uri(), document


@pytest.fixture
def page(browser: Any, document: tuple[str, ReportDocument]) -> Iterator[Any]:
    with watched_page(browser, document[0], viewport={"width": 1400, "height": 900}) as (page, troubles):
        open_page(page, document[0])
        yield page
        # Saving makes a file in the browser, which leaves nowhere.
        assert [said for said in troubles if not said.startswith("request: blob:")] == []


def open_page(page: Any, address: str, query: str = "") -> None:
    page.goto("about:blank")
    go_to(page, address, f"judge{query}")
    wait_until(page, "document.querySelector('.at-zero') !== null")


def status(page: Any) -> str:
    return str(page.inner_text(".controls [role=status]"))


def press(page: Any, keys: str) -> None:
    """Press keys, each when the family before it is shown."""
    for key in keys:
        before = status(page)
        page.keyboard.press(key)
        wait_until(page, f"document.querySelector('.controls [role=status]').innerText !== {before!r}")
        page.wait_for_timeout(30)


def round_of(page: Any) -> list[tuple[str, str, str]]:
    rows = page.locator(".round tbody tr").all()
    return [tuple(cell.inner_text() for cell in row.locator("th, td").all()) for row in rows]  # type: ignore[misc]


def saved(page: Any, folder: Path) -> Path:
    with page.expect_download() as download:
        page.locator("[data-save]").click()
    download.value.save_as(folder / "answers.json")
    return folder / "answers.json"


def test_ten_are_judged_by_keys_and_then_the_verdicts_stand_beside(
    page: Any, document: tuple[str, ReportDocument], tmp_path: Path
) -> None:
    assert status(page) == "1 of 10"
    assert page.locator("[data-save]").is_disabled()
    verdicts = {family["id"]: family["verdict"]["word"] for family in document[1]["families"]}  # type: ignore[index]
    shown = page.inner_text("main .judged")
    assert not any(word in shown for word in (*verdicts, *WORDS))
    press(page, "ynuynynyn")
    assert page.locator(".round").is_hidden()
    assert page.inner_text(".n-kept") == "9 answers in this browser."
    press(page, "y")
    rows = round_of(page)
    assert [said for _, said, _ in rows] == ["yes", "no", "unsure", *["yes", "no"] * 3, "yes"]
    assert len({name for name, *_ in rows}) == 10
    assert all(verdicts[name] == word for name, _, word in rows)
    # Further keys change nothing: the round is over.
    page.keyboard.press("n")
    assert round_of(page) == rows
    found = read_answers(saved(page, tmp_path))
    members = {
        family["id"]: tuple(f"{m['layer']}:{m['channel']}" for m in family["members"])
        for family in document[1]["families"]
    }
    assert [(own.family, own.answer) for own in found.answers] == [(name, said) for name, said, _ in rows]
    assert all(own.members == members[own.family] for own in found.answers)
    assert {(own.draw, own.seed) for own in found.answers} == {("all", 0)}
    run = json.loads((tmp_path / "answers.json").read_text())["run"]
    assert run == {"network": "drawn", "weights_sha256": "9f" * 32, "created": document[1]["created"]}


def test_the_same_seed_draws_the_same_and_another_does_not(
    browser: Any, document: tuple[str, ReportDocument]
) -> None:
    drawn = []
    for query in ("?seed=3", "?seed=3", "?seed=4"):
        with watched_page(browser, document[0]) as (page, _):
            open_page(page, document[0], query)
            press(page, "y" * 10)
            drawn.append([name for name, *_ in round_of(page)])
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) != set(drawn[2])


def test_every_verdict_is_drawn_alike_often_where_that_is_asked_for(
    page: Any, document: tuple[str, ReportDocument]
) -> None:
    open_page(page, document[0], "?draw=stratified")
    press(page, "u" * 10)
    words = [word for *_, word in round_of(page)]
    # Three of the second and two of the third there are, so that the first gives the rest.
    assert [words.count(word) for word in WORDS] == [5, 3, 2]
    page.goto("about:blank")
    go_to(page, document[0], "judge?draw=alike in pose")
    assert page.locator(".controls [role=status]").inner_text().startswith("No family is left to draw")


def test_one_verdict_alone(page: Any, document: tuple[str, ReportDocument]) -> None:
    page.select_option("select[name=draw]", "alike in pose")
    wait_until(page, "document.querySelector('.controls [role=status]').innerText === '1 of 3'")
    page.wait_for_timeout(50)
    press(page, "nnn")
    assert {word for *_, word in round_of(page)} == {"alike in pose"}


def test_answers_outlast_the_page_and_what_was_revealed_is_not_drawn_again(
    page: Any, document: tuple[str, ReportDocument]
) -> None:
    press(page, "yb")
    assert page.locator("[data-answer=yes]").get_attribute("aria-pressed") == "true"
    press(page, "n" * 10)
    first = {name for name, *_ in round_of(page)}
    assert {said for _, said, _ in round_of(page)} == {"no"}
    open_page(page, document[0], "?seed=0")
    assert page.inner_text(".n-kept") == "10 answers in this browser."
    n_left = int(status(page).split()[-1])
    assert 0 < n_left <= 10
    press(page, "y" * n_left)
    assert not first & {name for name, *_ in round_of(page)}
    page.locator("[data-next]").click()
    assert status(page).startswith("No family is left to draw")
    page.locator("[data-forget]").click()
    assert page.inner_text(".n-kept") == "0 answers in this browser."
    assert status(page) == "1 of 10"


def test_buttons_do_what_keys_do_and_typing_a_number_answers_nothing(page: Any) -> None:
    page.locator("input[name=seed]").focus()
    page.keyboard.press("n")
    assert status(page) == "1 of 10"
    page.locator("[data-answer=unsure]").click()
    wait_until(page, "document.querySelector('.controls [role=status]').innerText === '2 of 10'")
    page.locator("[data-back]").click()
    assert status(page) == "1 of 10"
    # Keys with a modifier belong to the browser.
    page.keyboard.press("Control+y")
    assert status(page) == "1 of 10"


def test_a_browser_that_keeps_nothing_is_told_of(browser: Any, document: tuple[str, ReportDocument]) -> None:
    with watched_page(browser, document[0]) as (page, _):
        page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
        open_page(page, document[0])
        press(page, "y")
        assert page.inner_text(".n-kept") == "1 answer in this browser."
        assert "keeps nothing for this page" in page.inner_text("[data-trouble]")


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_its_window_and_axe_finds_nothing_serious(
    browser: Any, document: tuple[str, ReportDocument], width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    with watched_page(browser, document[0], **options) as (page, _):
        for view in ("judge", f"family/{document[1]['families'][0]['id']}"):
            page.goto("about:blank")
            go_to(page, document[0], view)
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            violations = axe.Axe().run(page).response["violations"]
            assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
        open_page(page, document[0])
        press(page, "y" * 10)
        violations = axe.Axe().run(page).response["violations"]
        assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
