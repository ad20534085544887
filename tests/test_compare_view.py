"""The view of a comparison: what it shows side by side, what it says without one, and that it needs no other folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from equiscope.evidence.compare.comparison import (
    ComparedFamily,
    ComparedMember,
    ComparedRun,
    ComparedTransformation,
    Comparison,
    Match,
    count_by_layers,
    save_comparison,
)
from equiscope.families.layer_families import NullSummary
from equiscope.reports import ReportDocument, build_site
from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.site.files import show_evidence
from equiscope.reports.views.compare.pictures import keep_pictures
from equiscope.reports.views.compare.view import render_comparisons
from equiscope.reports.views.context import SiteContext
from site_browser import CHROMIUM, OPTIONS, go_to, watched_page
from site_document import save_run, site_document

HOSTILE = "a<img src=x onerror=alert(1)>/..%2f b"
NAN = float("nan")


def compared(document: ReportDocument, run: str, counterparts: dict[str, str | None]) -> list[ComparedFamily]:
    return [
        ComparedFamily(
            run, family["id"], family["layers"][0], "rotation", 1, counterparts.get(family["id"]),
            "nearest-1", 0.41, "" if counterparts.get(family["id"]) else "no closer than others",
            tuple(ComparedMember(m["layer"], m["channel"], m["pose"]["angle_deg"] or 0.0) for m in family["members"]),
        )
        for family in document["families"]
    ]  # fmt: skip


def make_comparison(name: str, first: ReportDocument, second: ReportDocument) -> Comparison:
    """One pair of counterparts, one that is alike, one by chance; hue with nothing to compare."""
    a, b = (
        [family["id"] for family in document["families"] if family["transformation"] == "rotation"]
        for document in (first, second)
    )
    figures: dict[str, Any] = {
        "transformation": "rotation",
        "score_low": 0.7,
        "score_high": 0.9,
        "pose_q_value": 0.001,
        "offset_difference": 1.0,
    }
    counterparts, alike, by_chance = (
        figures | {"is_counterpart": True, "is_alike": True, "score": 0.84, "q_value": 0.012, "offset": 90.0},
        figures | {"is_counterpart": False, "is_alike": True, "score": 0.61, "q_value": 0.3, "offset": 12.0},
        figures | {"is_counterpart": False, "is_alike": False, "score": 0.11, "q_value": 1.0, "offset": 0.0},
    )
    matches = tuple(
        Match(a=first_id, b=second_id, **own)
        for first_id, second_id, own in zip(a, b, (counterparts, alike, by_chance), strict=False)
    )
    families = (
        *compared(first, "a", {a[0]: b[0]}),
        *compared(second, "b", {b[0]: a[0]}),
    )
    null, nothing = NullSummary(40, 3.1, 0.02, 0.72), NullSummary(0, 0.0, 0.0, NAN)
    return Comparison(
        name=name,
        a=ComparedRun("run", "drawn", "9f", True),
        b=ComparedRun(name, HOSTILE, "8e", False),
        images="drawings",
        false_discovery_rate=0.05,
        n_draws=40,
        seed=0,
        transformations=(
            ComparedTransformation("rotation", 16, 300, 12, null, null),
            ComparedTransformation("hue", 16, 0, 0, nothing, nothing, "drawn has no hue family to compare"),
        ),
        matches=matches,
        families=families,
        layers=count_by_layers(matches, families),
        notes=("surveyed on other images",),
    )


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportDocument, Path, ReportDocument]:
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    made = site_document(first), site_document(second, layers=(("conv1", 30), ("fire2/out", 40)), seed=1)
    for folder, document in zip((first, second), made, strict=True):
        save_run(folder, document)
    return first, made[0], second, made[1]


@pytest.fixture(scope="module")
def compared_run(documents: tuple[Path, ReportDocument, Path, ReportDocument]) -> tuple[Path, Comparison]:
    first, document, second, other = documents
    comparison = make_comparison(HOSTILE, document, other)
    save_comparison(first, comparison)
    keep_pictures(first, comparison, second)
    assert show_evidence(first, "compare")
    # From here on the other run's folder is not there any more.
    shutil.move(second, second.with_name("gone"))
    return first, comparison


def open_context(folder: Path, document: ReportDocument) -> SiteContext:
    return SiteContext(document, Pictures(document), folder)


def test_without_a_comparison_the_view_says_which_command_makes_one(tmp_path: Path) -> None:
    document = site_document(tmp_path)
    page = save_run(tmp_path, document).read_text(encoding="utf-8")
    assert 'data-kind="compare"' not in page
    ((name, fragment),) = render_comparisons(open_context(tmp_path, document))
    assert name == ""
    assert f"equiscope compare {tmp_path} OTHER-RUN" in fragment.html


def test_the_list_leads_to_each_comparison_and_everything_is_escaped(
    compared_run: tuple[Path, Comparison],
    documents: tuple[Path, ReportDocument, Path, ReportDocument],
) -> None:
    folder, comparison = compared_run
    views = dict(render_comparisons(open_context(folder, documents[1])))
    assert list(views) == ["", comparison.name]
    assert 'data-kind="compare"' in (folder / "index.html").read_text(encoding="utf-8")
    for fragment in views.values():
        assert "<img" not in fragment.html
        assert "&lt;img" in fragment.html
    assert "surveyed on other images" in views[comparison.name].html
    assert "Drawn has no hue family to compare" in views[comparison.name].html
    # Not measured is a dash, never a number.
    assert "nan" not in views[comparison.name].html.lower()
    json.dumps(views[comparison.name].data, allow_nan=False)


def test_pictures_of_the_other_run_are_kept_and_return_when_the_site_is_built_again(
    compared_run: tuple[Path, Comparison],
    documents: tuple[Path, ReportDocument, Path, ReportDocument],
) -> None:
    folder, _ = compared_run
    sheets = sorted((folder / "site" / "sprites").glob("compare-*.webp"))
    assert sheets
    kept = {sheet.name: sheet.read_bytes() for sheet in sheets}
    for sheet in sheets:
        sheet.unlink()
    build_site(folder)
    assert {sheet.name: sheet.read_bytes() for sheet in sheets} == kept
    data = dict(render_comparisons(open_context(folder, documents[1])))[HOSTILE].data
    shown = [
        member for key, own in data["families"].items() if key.startswith("b:") for member in own["members"]
    ]
    assert all(place is not None for _, _, place in shown)
    assert all(member[1] <= 360 for member in shown)
    assert max(len(path.read_bytes()) for path in (folder / "site/data/compare").iterdir()) < 300_000


def test_pictures_that_a_kill_cut_short_or_an_earlier_comparison_left_are_replaced(
    compared_run: tuple[Path, Comparison],
) -> None:
    folder, _ = compared_run
    sheets = sorted((folder / "site" / "sprites").glob("compare-*.webp"))
    kept = {sheet.name: sheet.read_bytes() for sheet in sheets}
    sheets[0].write_bytes(kept[sheets[0].name][:100])
    sheets[-1].write_bytes(b"RIFF of another comparison")
    build_site(folder)
    assert {sheet.name: sheet.read_bytes() for sheet in sheets} == kept


def test_a_comparison_without_pictures_of_the_other_is_shown_all_the_same(
    tmp_path: Path, documents: tuple[Path, ReportDocument, Path, ReportDocument]
) -> None:
    document = site_document(tmp_path)
    comparison = dataclasses.replace(make_comparison("other", document, documents[3]), notes=())
    save_comparison(tmp_path, comparison)
    data = dict(render_comparisons(open_context(tmp_path, document)))["other"].data
    assert {place is None for _, _, place in data["families"]["b:conv1-rotation-1"]["members"]} == {True}


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
def test_families_stand_side_by_side_in_order_of_their_poses(
    browser: Any, compared_run: tuple[Path, Comparison], width: int
) -> None:
    folder, comparison = compared_run
    address = (folder / "index.html").as_uri()
    with watched_page(browser, address, viewport={"width": width, "height": 900}) as (page, troubles):
        go_to(page, address, "compare")
        page.locator(".comparisons a").click()
        page.wait_for_selector(".pair-of-families")
        assert page.locator(".bar nav a[aria-current]").inner_text() == "Compare"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        pair = page.locator("[data-list=counterparts] .pair-of-families")
        assert pair.count() == 1
        assert "0.84" in pair.inner_text()
        assert "turned by 90°" in pair.inner_text()
        match = comparison.matches[0]
        for run, offset in (("a", 0.0), ("b", match.offset)):
            family = next(f for f in comparison.families if f.run == run and f.id == getattr(match, run))
            expected = sorted(round((m.pose + offset) % 360) for m in family.members)
            shown = pair.locator(f".side-{run} .pose").all_inner_texts()
            assert [int(text.rstrip("°")) for text in shown] == expected
        pictures = pair.locator(".side-b .picture")
        assert "compare-" in pictures.first.evaluate("e => getComputedStyle(e).backgroundImage")
        assert page.locator("[data-list=alike] .pair-of-families").count() == 1
        assert page.locator("[data-list=near] .pair-of-families").count() == 0
        page.locator(".near summary").click()
        page.wait_for_selector("[data-list=near] .pair-of-families")
        assert page.locator("[data-list=near] .pair-of-families").count() == 1
        page.locator(".alone[data-run=b] summary").click()
        page.wait_for_selector(".alone[data-run=b] .alone-family")
        alone = sum(f.run == "b" for f in comparison.families) - 2
        assert page.locator(".alone[data-run=b] .alone-family").count() == alone
        counts = page.locator(".compare-matrix .share > text:not(.n)").all_text_contents()
        assert sum(int(text) for text in counts) == 1
        # Only this run's units have a view; pointing at one lights it up.
        assert page.locator(".side-b a").count() == 0
        pair.locator(".side-a a.unit-picture").first.hover()
        assert page.locator(".lit").count() >= 1
        assert troubles == []
