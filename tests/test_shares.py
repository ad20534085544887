"""The share of copies: what counts, what could not be tested, and where it stands before the upper bound."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

import pytest

from equiscope.families.family import Family
from equiscope.families.shares import CopiesShare, Judged, count_copies, judged_family
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED, Core, Verdict
from equiscope.foundations.statistics import share_interval
from equiscope.reports.views.overview.shares import judged_entry, overview_rows
from hand_made import a_family, a_member
from html_page import Page
from report_document import complete_document
from site_document import save_run


def family_of_three(verdict: Verdict | None) -> Family:
    return a_family("rotation", [a_member("conv1", i, angle_deg=90.0 * i) for i in range(3)], verdict=verdict)


def test_only_members_of_cores_count() -> None:
    partly = Judged((0, 1, 2, 3), ALIKE_IN_POSE, [(0, 1)])
    whole = Judged((5, 6), COPIES, [(0, 1)])
    untested = Judged((6, 7, 8), UNTESTED, [])
    found = count_copies([partly, whole, untested], range(10))
    # Unit 6 is known to be a copy, whatever its other family is.
    assert found == CopiesShare(4, 10, 2, 0.4, *share_interval(4, 10))
    # Members of families among other units do not count, nor do units twice.
    assert count_copies([whole, whole], [5, 5, 1]) == CopiesShare(1, 2, 0, 0.5, *share_interval(1, 2))


def test_what_nobody_could_test_has_no_share() -> None:
    untested, unjudged = Judged((0, 1), UNTESTED, []), Judged((1, 2), "", [])
    found = count_copies([untested, unjudged], range(4))
    assert not found.is_measured
    assert (found.n_copies, found.n_untested) == (0, 3)
    assert isnan(found.low)
    # One family that could be tested is enough for a share, no family at all is a share of none.
    assert count_copies([untested, Judged((3,), ALIKE_IN_POSE, [])], range(4)).share == 0.0
    assert count_copies([], range(4)).share == 0.0
    assert count_copies([Judged((9, 8), UNTESTED, [])], range(4)).share == 0.0
    assert not count_copies([], []).is_measured


@pytest.mark.parametrize(
    ("verdict", "word", "cores"),
    [
        (None, "", ()),
        (Verdict(UNTESTED, "no weights"), UNTESTED, ()),
        (Verdict(ALIKE_IN_POSE, cores=(Core((0, 2), 0.9),)), ALIKE_IN_POSE, ((0, 2),)),
    ],
)
def test_a_family_is_judged_as_its_verdict_has_it(verdict: Verdict | None, word: str, cores: Any) -> None:
    units = tuple(("conv1", i) for i in range(3))
    assert judged_family(family_of_three(verdict)) == Judged(units, word, cores)


def judged_document(word: str) -> Any:
    """Give a document whose rotation families of mixed3a have a core of two, and all others a verdict."""
    document = complete_document()
    figures = dict.fromkeys(("likeness", "likeness_low", "likeness_high", "permuted_95", "tested"), 0.5)
    for family in document["families"]:
        is_one = family["layers"] == ["mixed3a"] and family["transformation"] == "rotation"
        cores: list[Any] = [{"members": [0, 1], "likeness": 0.9}] if is_one else []
        own: Any = {"word": word if is_one else UNTESTED, "reason": "so", **figures, "cores": cores}
        family["verdict"] = own
    return document


def test_the_overview_begins_with_the_share_of_copies(tmp_path: Path) -> None:
    document = judged_document(ALIKE_IN_POSE)
    families = document["families"]
    found = count_copies(
        map(judged_entry, families),
        [(layer["name"], i) for layer in document["layers"] for i in range(layer["n_units"])],
    )
    assert found.n_copies >= 2
    save_run(tmp_path, document)
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    interval = (
        f"{100 * found.share:.0f} %, {100 * found.low:.0f} to {100 * found.high:.0f} with 95 % confidence"
    )
    assert f"found that {found.n_copies} of {found.n_units:,} units ({interval}) are" in text
    bound = f"An upper bound is what it found by their answers: {len(families)} families"
    assert text.index(interval) < text.index(bound)
    layer = next(own for own in document["layers"] if own["name"] == "mixed3a")
    rows = {row["transformation"]: row for row in overview_rows(layer, families)}
    n = sum(2 for own in families if own["layers"] == ["mixed3a"] and own["transformation"] == "rotation")
    assert rows["rotation"]["copies"]["share"] == f"{100 * n / layer['n_units']:.0f} %"
    # Families of the layer behind it are all untested.
    behind = next(own for own in document["layers"] if own["name"] == "mixed3b")
    names = {own["transformation"] for own in families if own["layers"] == ["mixed3b"]}
    untested = [row["copies"] for row in overview_rows(behind, families) if row["transformation"] in names]
    assert untested
    for copies in untested:
        assert (copies["share"], copies["interval"]) == ("–", None)
        assert copies["n_untested"] > 0
    cells = [" ".join(cell.split()) for _, cell in page.all("a", class_="cell")]
    own = rows["rotation"]
    said = f"{own['copies']['share']} {own['copies']['interval']} at most {own['share']}"
    assert any(said in cell for cell in cells), cells


def test_where_nothing_could_be_tested_the_overview_has_no_share(tmp_path: Path) -> None:
    save_run(tmp_path, judged_document(UNTESTED) | {"families": judged_document(UNTESTED)["families"][-3:]})
    text = Page((tmp_path / "index.html").read_text(encoding="utf-8")).text
    assert "an upper bound, for none could be tested" in text
