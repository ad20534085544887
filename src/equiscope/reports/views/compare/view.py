"""The view of a comparison: families of two networks side by side, those without a counterpart, and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from equiscope.evidence.compare.comparison import (
    ComparedFamily,
    ComparedTransformation,
    Comparison,
    LayerShare,
    Match,
)
from equiscope.families.asked import family_of
from equiscope.foundations.received import quoted
from equiscope.reports.document.pictures.sprites import Tile
from equiscope.reports.document.wording import counted, degrees, interval_text, number, plural, q_text
from equiscope.reports.views.compare.evidence import COMPARISONS
from equiscope.reports.views.compare.pictures import kept_tiles
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Fragment, View
from equiscope.transformations import Switch, find
from equiscope.transformations.spaces import Circle

__all__ = ["VIEW", "render_comparisons"]

# Fewer photographs than this leave intervals rough: a bootstrap draws them whole.
_FEW_PHOTOGRAPHS = 20
# Of the matrix of layers, px: a row, what stands above and beside it, a cell at least, and a letter of a name.
_ROW, _TOP, _GAP, _CELL, _LETTER = 44, 62, 12, 74, 7.3
# Longer names of layers lose their beginning: their end tells them apart.
_MOST_LETTERS = 20


def render_comparisons(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the list of a run's comparisons, and each; without any it says which command makes one.

    Examples
    --------
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> folder = Path("equiscope-runs/mini")
    >>> document = load_document(folder)
    >>> [name for name, _ in render_comparisons(SiteContext(document, Pictures(document), folder))]
    ['', 'seed-1']
    """
    comparisons = context.found(COMPARISONS) or ()
    rows = [
        {"name": c.name, "title": f"{c.a.model} and {c.b.model}", "counts": _counts(c)} for c in comparisons
    ]
    html = render_template(
        __name__, "comparisons.html.jinja", rows=rows, folder=quoted(context.folder or "RUN")
    )
    yield "", Fragment(html)
    for comparison in comparisons:
        yield comparison.name, _render(context, comparison, context.folder or Path())


def _render(context: SiteContext, comparison: Comparison, folder: Path) -> Fragment:
    names = [t.transformation for t in comparison.transformations]
    html = render_template(
        __name__,
        "compare.html.jinja",
        comparison=comparison,
        counts=_counts(comparison),
        parts=[_part(comparison, entry) for entry in comparison.transformations],
    )
    sheets: list[list[Any]] = []
    number_of: dict[str, int] = {}
    others = kept_tiles(folder, comparison)
    families = {
        f"{f.run}:{f.id}": _family(f, context, others, sheets, number_of) for f in comparison.families
    }
    data = {
        "sheets": sheets,
        "families": families,
        "parts": {
            name: {
                # What the second pose of a pair is called; other poses are angles.
                "changed": "" if _is_circle(name) else find(name).axes[0].noun,
                "matches": [_match(m, comparison) for m in comparison.matches if m.transformation == name],
                "alone": {
                    run: [
                        [f.id, f.nearest, number(f.nearest_score)] for f in _alone_of(comparison, run, name)
                    ]
                    for run in "ab"
                },
            }
            for name in names
        },
    }
    return Fragment(html, data)


def _counts(comparison: Comparison) -> list[dict[str, Any]]:
    """How many families of either network have a counterpart, or else one that is alike, by transformation."""
    counts = []
    for entry in comparison.transformations:
        own = [f for f in comparison.families if f.transformation == entry.transformation]
        sides = [[f for f in own if f.run == run] for run in "ab"]
        alike = _alike_families(comparison)
        counts.append(
            {
                "transformation": entry.transformation,
                "n": [len(side) for side in sides],
                "matched": [sum(f.counterpart is not None for f in side) for side in sides],
                "alike": [
                    sum(f.counterpart is None and (f.run, f.id) in alike for f in side) for side in sides
                ],
                "note": entry.note,
            }
        )
    return counts


def _alike_families(comparison: Comparison) -> set[tuple[str, str]]:
    """Families, by run and id, that are in a pair of counterparts or of alike ones."""
    pairs = [m for m in comparison.matches if m.is_counterpart or m.is_alike]
    return {(run, getattr(m, run)) for m in pairs for run in "ab"}


def _kind(match: Match) -> str:
    if match.is_counterpart:
        return "counterparts"
    return "alike" if match.is_alike else "near"


def _part(comparison: Comparison, entry: ComparedTransformation) -> dict[str, Any]:
    kinds = [_kind(m) for m in comparison.matches if m.transformation == entry.transformation]
    shares = [s for s in comparison.layers if s.transformation == entry.transformation]
    null, pose_null = entry.null, entry.pose_null
    return {
        "name": entry.transformation,
        "note": entry.note,
        "shown": f"{counted(entry.n_stimuli, 'stimulus')} from "
        f"{counted(entry.n_photographs, 'photograph')}, each {_shown_as(entry)}",
        "few": entry.n_photographs < _FEW_PHOTOGRAPHS and not entry.note,
        "n_pairs": len(kinds),
        "nulls": [
            f"among families of other identity it finds {number(null.families_per_draw, 1)}, 95 % of them with a score "
            f"below {number(null.score_95)}",
            f"with scrambled poses {number(pose_null.families_per_draw, 1)}, 95 % of them below "
            f"{number(pose_null.score_95)}",
        ],
        "n": {kind: kinds.count(kind) for kind in ("counterparts", "alike", "near")},
        "n_alone": [len(_alone_of(comparison, run, entry.transformation)) for run in "ab"],
        "matrix": _matrix(shares),
    }


def _shown_as(entry: ComparedTransformation) -> str:
    (axis, *_) = find(entry.transformation).axes
    if isinstance(axis, Switch):
        return f"as it is and {axis.noun}"
    return f"at {entry.n_elements} {plural(axis.noun)}"


def _is_circle(transformation: str) -> bool:
    return isinstance(find(transformation).space, Circle)


def _matrix(shares: Sequence[LayerShare]) -> dict[str, Any] | None:
    """Place the cells of the matrix of layers; None without any."""
    if not shares:
        return None
    rows, columns = (list(dict.fromkeys(getattr(s, f"layer_{run}") for s in shares)) for run in "ab")
    left = _GAP + max(_CELL, _width(rows))
    cell = max(_CELL, _GAP + _width(columns))
    n_of = {("a", s.layer_a): s.n_a for s in shares} | {("b", s.layer_b): s.n_b for s in shares}
    return {
        "width": left + len(columns) * cell,
        "height": _TOP + len(rows) * _ROW,
        "cell": cell - 2,
        "row": _ROW - 2,
        "cells": [
            {
                "x": left + columns.index(s.layer_b) * cell,
                "y": _TOP + rows.index(s.layer_a) * _ROW,
                "share": round(s.n_matched / min(s.n_a, s.n_b), 3),
                "text": str(s.n_matched),
                "alike": f"+ {s.n_alike} alike" if s.n_alike else "",
                "label": f"{s.layer_a} and {s.layer_b}: {counted(s.n_matched, 'pair')} of counterparts and "
                f"{s.n_alike} more alike, among {s.n_a} and {s.n_b} families",
            }
            for s in shares
        ],
        "rows": [
            {
                "x": left - _GAP,
                "y": _TOP + i * _ROW + _ROW / 2 - 1,
                "name": _shortened(name),
                "full": name,
                "n": n_of["a", name],
            }
            for i, name in enumerate(rows)
        ],
        "columns": [
            {
                "x": left + i * cell + cell / 2 - 1,
                "y": _TOP - _GAP,
                "name": _shortened(name),
                "full": name,
                "n": n_of["b", name],
            }
            for i, name in enumerate(columns)
        ],
    }


def _shortened(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"…{name[1 - _MOST_LETTERS :]}"


def _width(names: Sequence[str]) -> int:
    return round(_LETTER * max(len(_shortened(name)) for name in names))


def _family(
    family: ComparedFamily,
    context: SiteContext,
    others: Mapping[tuple[str, int], Tile],
    sheets: list[list[Any]],
    number_of: dict[str, int],
) -> dict[str, Any]:
    """Give a family in few bytes: its layer, period, and for each member channel, pose and place of its picture."""
    members = []
    for member in family.members:
        if family.run == "a":
            tile = context.pictures.tile(member.layer, member.channel)
        else:
            tile = others.get((member.layer, member.channel))
        place = None
        if tile is not None:
            if tile.sheet not in number_of:
                number_of[tile.sheet] = len(sheets)
                sheets.append([tile.sheet, tile.n_columns, tile.n_rows])
            place = [number_of[tile.sheet], tile.column, tile.row]
        members.append([member.channel, round(member.pose, 1), place])
    return {
        "id": family.id,
        "layer": family.layer,
        "period": 360 / max(1, family.stabiliser_order) if _is_circle(family.transformation) else 2,
        "hasView": family.run == "a" and family_of(family.id) in context.families,
        "members": members,
    }


def _match(match: Match, comparison: Comparison) -> dict[str, Any]:
    is_circle = _is_circle(match.transformation)
    (axis, *_) = find(match.transformation).axes
    exchanged = f"poses {axis.noun}" if round(match.offset) % 2 else "poses alike"
    others = {
        run: [
            getattr(m, other)
            for m in comparison.matches
            if m.transformation == match.transformation
            and _kind(m) == _kind(match)
            and getattr(m, run) == getattr(match, run)
            and getattr(m, other) != getattr(match, other)
        ]
        for run, other in (("a", "b"), ("b", "a"))
    }
    return {
        "a": match.a,
        "b": match.b,
        "kind": _kind(match),
        "score": number(match.score),
        "interval": interval_text(match.score, match.score_low, match.score_high),
        "q": q_text(match.q_value),
        "poseQ": q_text(match.pose_q_value),
        "offset": match.offset if is_circle else round(match.offset),
        "offsetText": f"turned by {degrees(match.offset)}" if is_circle else exchanged,
        "also": others,
    }


def _alone_of(comparison: Comparison, run: str, name: str) -> list[ComparedFamily]:
    """Families of one run under a transformation that are in no pair that passed."""
    passed = _alike_families(comparison)
    return [
        f
        for f in comparison.families
        if f.run == run and f.transformation == name and (run, f.id) not in passed
    ]


VIEW = View(
    "compare",
    __name__,
    render_comparisons,
    title="Compare",
    script="compare.js",
    style="compare.css",
    evidence=(COMPARISONS,),
)
