"""The view of the simplified network: how many parameters can go at which cost, by which method, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from equiscope.construction.simplify import (
    METHODS,
    TRANSFORMATIONS,
    Accuracy,
    Convolution,
    Point,
    Simplification,
)
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import offered_network, quoted
from equiscope.foundations.statistics import share_interval
from equiscope.reports.document.wording import MISSING, measured, number
from equiscope.reports.drawing.svg import write_for_site
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.simplify.drawings import HEADINGS, draw_curve, draw_curves, draw_mark
from equiscope.reports.views.simplify.evidence import SIMPLIFICATION
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Charts, Fragment, View

__all__ = ["VIEW", "render_simplification"]

_TIED = METHODS[0]
_WHAT: Mapping[str, str] = {
    "tied": "The weights between families are replaced by templates, turned to the poses that were measured.",
    "wrong poses": "The same ties with the poses exchanged within each family: what of the result is due to poses.",
    "magnitude in blocks": "The smallest weights of the blocks that are tied are set to zero: what is due to "
    "templates, rather than to what these blocks can spare.",
    "magnitude": "The smallest weights anywhere in the same convolutions are set to zero.",
    "low rank": "Each of the same convolutions becomes a product of two, of the ranks that lose least together.",
}
_ORDERS = {
    "error": "least error per parameter first",
    "layers": "layer by layer from the image on",
}
_BLOCKS = {"all": "all", "circuits": "symmetric circuits only"}


def render_simplification(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render what tying the families of a run left of its network; where nothing was tied, which command does it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> folder = Path("equiscope-runs/mini")
    >>> context = SiteContext(document := load_document(folder), Pictures(document), folder)
    >>> "Tying the weights between the rotation families of mini" in dict(render_simplification(context))[""].html
    True
    """
    found = context.found(SIMPLIFICATION)
    commands = {
        "folder": quoted(context.folder or "RUN"),
        "network": offered_network(context.document["model"]["name"]),
        "transformation": _first_to_tie(context),
    }
    if found is None:
        yield "", Fragment(render_template(__name__, "simplify.html.jinja", found=None, **commands))
        return
    html = render_template(
        __name__,
        "simplify.html.jinja",
        found=found,
        lede=_lede(found),
        others=_others(found),
        facts=_facts(found),
        charts=[
            (heading, write_for_site(draw_curve(found, is_recalibrated=own)))
            for own, heading in HEADINGS.items()
        ],
        methods=_methods(found),
        is_by_layer=found.order == "layers",
        convolutions=[_convolution(entry) for entry in found.convolutions],
        layers=context.layers,
        **commands,
    )
    yield "", Fragment(html)


def _first_to_tie(context: SiteContext) -> str:
    """Give the first transformation that can be tied and has a family; empty where the command ties it untold."""
    there = {family["transformation"] for family in context.document["families"]}
    untold = TRANSFORMATIONS[0]
    first = next((name for name in TRANSFORMATIONS if name in there), untold)
    return "" if first == untold else first


def _percent(value: float, decimals: int = 0) -> str:
    known = measured(value)
    return MISSING if known is None else number(100 * known, decimals, " %")


def _span(low: float, high: float) -> str:
    """Word an interval of shares; empty where it was not measured."""
    ends = measured(low), measured(high)
    if ends[0] is None or ends[1] is None:
        return ""
    return f"{number(100 * ends[0], 1)} to {number(100 * ends[1], 1, ' %')}"


def _signed(points: float) -> str:
    """Word a difference in percentage points, with its sign."""
    known = measured(points)
    if known is None:
        return MISSING
    words = number(100 * known, 1)
    return f"+{words}" if float(f"{100 * known:.1f}") > 0 else words


def _change(accuracy: Accuracy) -> dict[str, str]:
    low, high = measured(accuracy.difference_low), measured(accuracy.difference_high)
    span = "" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"
    return {"value": _signed(accuracy.difference), "span": span}


def _removed(point: Point, found: Simplification) -> dict[str, Any]:
    return {
        "n_removed": f"{point.n_removed:,}",
        "share": _percent(point.n_removed / found.n_parameters, 1),
        "change": _change(point.recalibrated),
        "layer": point.layer,
    }


def _lede(found: Simplification) -> dict[str, Any]:
    """Give the furthest point up to which no interval lies below 0, or the first; and that with all tied."""
    tied = [point for point in found.points if point.method == _TIED]
    n_reaching = next(
        (i for i, point in enumerate(tied) if point.recalibrated.difference_high < 0), len(tied)
    )
    some, every = tied[max(n_reaching, 1) - 1], tied[-1]
    return {
        "n_parameters": f"{found.n_parameters:,}",
        "reaches_zero": n_reaching > 0,
        "some": None if some is every else _removed(some, found),
        "every": _removed(every, found),
    }


def _others(found: Simplification) -> list[dict[str, Any]]:
    """Give what the other methods cost where they remove as many parameters as all ties."""
    last = {point.method: point for point in found.points}
    return [
        {"name": method, **_removed(last[method], found)}
        for method in METHODS
        if method in last and method != _TIED
    ]


def _facts(found: Simplification) -> list[tuple[str, str]]:
    cut = f"{found.crop_px} px"
    if found.crop_px != found.resized_px:
        cut += f" of {found.resized_px}"
    original = found.original
    return [
        ("Original", f"{_percent(original.top1, 1)} ({_span(original.low, original.high)}) top 1"),
        ("Images", f"{found.n_images:,} of {found.images}, {cut}"),
        ("Recalibrated on", f"{found.n_calibration:,} other images, labels unused"),
        ("Blocks", _BLOCKS[found.blocks]),
        ("Order", _ORDERS[found.order]),
        ("Precision", found.precision),
    ]


def _methods(found: Simplification) -> list[dict[str, Any]]:
    """Give each method with its points."""
    shown = []
    for method in METHODS:
        own = [point for point in found.points if point.method == method]
        if own:
            mark = write_for_site(draw_mark(method), "mark")
            points = [_point(point, found) for point in own]
            shown.append({"name": method, "what": _WHAT[method], "mark": mark, "points": points})
    return shown


def _point(point: Point, found: Simplification) -> dict[str, Any]:
    return {
        **_removed(point, found),
        "share_of_these": _percent(point.n_removed / (point.n_free + point.n_removed), 1),
        "n_blocks": f"{point.n_blocks:,}" if point.n_blocks else MISSING,
        "error": _percent(point.error, 1),
        "stages": [_stage(own, found.n_images) for own in (point.plain, point.recalibrated)],
    }


def _stage(accuracy: Accuracy, n_images: int) -> dict[str, Any]:
    same = share_interval(round(accuracy.agreement * n_images), n_images)
    return {
        "top1": {"value": _percent(accuracy.top1, 1), "span": _span(accuracy.low, accuracy.high)},
        "change": _change(accuracy),
        "same": {"value": _percent(accuracy.agreement, 1), "span": _span(*same)},
    }


def _convolution(entry: Convolution) -> dict[str, Any]:
    return {
        "name": entry.name,
        "source": entry.source,
        "target": entry.target,
        "n_weights": f"{entry.n_weights:,}",
        "n_tied": f"{entry.n_tied:,}",
        "n_free": f"{entry.n_free:,}",
        "n_blocks": f"{entry.n_blocks:,}",
        "explained": _percent(entry.explained),
        "explained_wrong": _percent(entry.explained_wrong),
        "by_chance": _percent(entry.n_free / entry.n_tied),
    }


def _charts(context: SiteContext, _name: str) -> Charts:
    found = context.found(SIMPLIFICATION)
    if found is None:
        raise EquiscopeError(
            f"{context.folder} was not simplified yet: run `equiscope simplify {quoted(context.folder)}` with labelled "
            "images first"
        )
    return {
        "curves": lambda: draw_curves(found),
        "plain": lambda: draw_curve(found, is_recalibrated=False),
        "recalibrated": lambda: draw_curve(found, is_recalibrated=True),
    }


VIEW = View(
    "simplify",
    __name__,
    render_simplification,
    title="Simplified",
    style="simplify.css",
    evidence=(SIMPLIFICATION,),
    charts=_charts,
)
