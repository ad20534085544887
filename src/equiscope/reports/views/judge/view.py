"""The view on which a reader judges families by eye: ten at random, one after the other, their verdicts hidden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED
from equiscope.foundations.received import quoted
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.drawing.poses import members_in_order
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.family.moved import members_at_zero
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Fragment, View
from equiscope.transformations import find

__all__ = ["VIEW", "render_at_zero", "render_judge"]

_VERDICTS = (COPIES, ALIKE_IN_POSE, UNTESTED)
# Families of a round: some six seconds each, a minute together.
_N_FAMILIES = 10
# Of one family only two members or more can look like one another.
_LEAST_MEMBERS = 2


def render_judge(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the page; its script draws the families, and shows one after the other.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> ((name, page),) = render_judge(SiteContext(document, Pictures(document)))
    >>> name, page.data["verdicts"], page.data["families"][0][0]
    ('', ['copies', 'alike in pose', 'untested'], 'conv2d0-rotation-1')
    """
    document = context.document
    shown = [family for family in document["families"] if _can_be_judged(context, family)]
    verdicts = [_verdict(family) for family in shown]
    html = render_template(
        __name__,
        "judge.html.jinja",
        n_shown=len(shown),
        n_families=len(document["families"]),
        n_round=_N_FAMILIES,
        counts=[(word, verdicts.count(word)) for word in _VERDICTS],
        folder=quoted(context.folder or "RUN"),
    )
    model = document["model"]
    data = {
        "run": {
            "network": model["name"],
            "weights_sha256": model["weights_sha256"],
            "created": document["created"],
        },
        "n": _N_FAMILIES,
        "verdicts": list(_VERDICTS),
        "families": [
            [family["id"], _VERDICTS.index(word)] for family, word in zip(shown, verdicts, strict=True)
        ],
    }
    yield "", Fragment(html, data)


def render_at_zero(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render what is shown of each family while it is judged, by its id.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> pages = dict(render_at_zero(SiteContext(document, Pictures(document))))
    >>> len(pages["conv2d0-rotation-1"].data["members"]) == document["families"][0]["size"]
    True
    """
    for family in context.document["families"]:
        if not _can_be_judged(context, family):
            continue
        rows = members_at_zero(context, family, members_in_order(family, list(context.layers)))
        words = find(family["transformation"]).words
        html = render_template(
            __name__, "at_zero.html.jinja", rows=[row for row in rows if row["moved"]], back=words.back
        )
        # In the family's own order: that is how answers are known to be about this family.
        members: list[Any] = [f"{m['layer']}:{m['channel']}" for m in family["members"]]
        yield family["id"], Fragment(html, {"members": members})


def _can_be_judged(context: SiteContext, family: FamilyEntry) -> bool:
    """Whether enough members can be shown at pose 0."""
    return sum(bool(row) for row in context.pictures.moved(family["id"])) >= _LEAST_MEMBERS


def _verdict(family: FamilyEntry) -> str:
    """Give the verdict on a family; what was not asked is untested."""
    verdict = family.get("verdict")
    word = UNTESTED if verdict is None else verdict["word"]
    return word if word in _VERDICTS else UNTESTED


VIEW = View(
    "judge",
    __name__,
    render_judge,
    parts={"at_zero": render_at_zero},
    title="Judge",
    script="judge.js",
    style="judge.css",
)
