"""The view of the parameters: what tying would save, for the whole network, layer by layer, and at which cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from equiscope.construction.budget import TOGETHER, Budget, ForcedBudget, LayerBudget, PairBudget, TotalBudget
from equiscope.evidence.circuits.tying_axes import stretches
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import offered_network, quoted
from equiscope.reports.document.wording import MISSING, measured, number
from equiscope.reports.drawing.svg import write_for_site
from equiscope.reports.views.budget.drawings import draw_saving, draw_savings, drawn_transformations
from equiscope.reports.views.budget.evidence import BUDGET
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Charts, Fragment, View

__all__ = ["VIEW", "render_budget"]


def render_budget(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the parameters of a run; where they were not counted it says which command does.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> folder = Path("equiscope-runs/mini")
    >>> context = SiteContext(document := load_document(folder), Pictures(document), folder)
    >>> "of 48,672 parameters would be left" in dict(render_budget(context))[""].html
    True
    """
    budget = context.found(BUDGET)
    commands = {
        "folder": quoted(context.folder or "RUN"),
        "network": offered_network(context.document["model"]["name"]),
    }
    if budget is None:
        yield "", Fragment(render_template(__name__, "budget.html.jinja", budget=None, **commands))
        return
    drawn = drawn_transformations(budget)
    names = list(dict.fromkeys(entry.transformation for entry in budget.layers))
    html = render_template(
        __name__,
        "budget.html.jinja",
        budget=budget,
        lede=_lede(budget),
        totals=[_total(entry) for entry in budget.totals],
        n_unsurveyed=budget.totals[0].n_unsurveyed if budget.totals else 0,
        n_others=budget.totals[0].n_others if budget.totals else 0,
        parts=[_part(budget, name, name in drawn) for name in names],
        modules=_modules(budget, names),
        together=TOGETHER,
        **commands,
    )
    yield "", Fragment(html)


def _percent(value: float, decimals: int = 0) -> str:
    known = measured(value)
    return MISSING if known is None else number(100 * known, decimals, " %")


def _span(low: float, high: float, decimals: int = 0) -> str:
    """Word an interval of shares; empty where it was not measured."""
    ends = measured(low), measured(high)
    if ends[0] is None or ends[1] is None:
        return ""
    return f"{number(100 * ends[0], decimals)} to {number(100 * ends[1], decimals)} %"


def _lede(budget: Budget) -> dict[str, str] | None:
    """Give the whole network in a sentence: under all transformations together, or else the only one."""
    if not budget.totals:
        return None
    total = next((t for t in budget.totals if t.transformation == TOGETHER), budget.totals[0])
    n = total.n_parameters
    return {
        "n_parameters": f"{n:,}",
        "n_free": f"{total.n_free:,.0f}",
        "share": _percent(total.n_free / n),
        "span": _span(total.n_free_low / n, total.n_free_high / n),
        "name": total.transformation,
    }


def _total(entry: TotalBudget) -> dict[str, Any]:
    n = entry.n_parameters
    return {
        "name": entry.transformation,
        "n_free": f"{entry.n_free:,.0f}",
        "share": _percent(entry.n_free / n, 1),
        "span": _span(entry.n_free_low / n, entry.n_free_high / n, 1),
        "surveyed": _percent(entry.n_free_surveyed / n, 1),
        "surveyed_span": _span(entry.n_free_surveyed_low / n, entry.n_free_surveyed_high / n, 1),
    }


def _part(budget: Budget, name: str, is_drawn: bool) -> dict[str, Any]:
    forced = [entry for entry in budget.forced if entry.transformation == name]
    return {
        "name": name,
        "across_layers": name != TOGETHER and stretches(name),
        "chart": write_for_site(draw_saving(budget, name)) if is_drawn else None,
        "layers": [_layer(entry) for entry in budget.layers if entry.transformation == name],
        "pairs": [_pair(entry) for entry in budget.pairs if entry.transformation == name],
        "forced": _forced(forced),
        "shares": list(dict.fromkeys(_percent(entry.forced_share) for entry in forced)),
    }


def _layer(entry: LayerBudget) -> dict[str, Any]:
    return {
        "name": entry.layer,
        "n_units": entry.n_units,
        "n_equivariant": entry.n_equivariant,
        "n_invariant": entry.n_invariant,
        "share": _percent(entry.equivariant_share),
        "span": _span(entry.equivariant_low, entry.equivariant_high),
        "copies": number(entry.copies, 1),
        "ratio": _percent(entry.ratio, 1),
        "ratio_span": _span(entry.ratio_low, entry.ratio_high),
    }


def _pair(entry: PairBudget) -> dict[str, Any]:
    return {
        "source": entry.source,
        "target": entry.target,
        "n_kernels": f"{entry.n_kernels:,}",
        "ratio": _percent(entry.ratio, 1),
        "span": _span(entry.ratio_low, entry.ratio_high, 1),
    }


def _forced(entries: Sequence[ForcedBudget]) -> list[dict[str, Any]]:
    """Give one row a layer, the whole network last, with a cell for each share that is forced."""
    rows: dict[str, list[ForcedBudget]] = {}
    for entry in entries:
        rows.setdefault(entry.layer, []).append(entry)
    return [
        {
            "name": layer or "all parameters",
            "n_units": own[0].n_units,
            "copies": number(own[0].copies, 1),
            "right": _percent(own[0].right),
            "cells": [
                {
                    "needed": f"{entry.n_needed:,.0f}",
                    "ratio": _percent(entry.ratio),
                    "span": _span(entry.ratio_low, entry.ratio_high),
                    "is_more": entry.ratio > 1,
                }
                for entry in own
            ],
        }
        for layer, own in sorted(rows.items(), key=lambda row: row[0] == "")
    ]


def _modules(budget: Budget, names: Sequence[str]) -> list[dict[str, Any]]:
    """Give one row a module, with what stays free of it under each transformation."""
    rows: dict[str, dict[str, Any]] = {}
    for entry in budget.convolutions:
        row = rows.setdefault(
            entry.module,
            {
                "name": entry.module,
                "n_parameters": f"{entry.n_parameters:,}",
                "is_unsurveyed": entry.n_unsurveyed > 0,
                "free": dict.fromkeys(names, MISSING),
            },
        )
        row["free"][entry.transformation] = _percent(entry.n_free / entry.n_parameters)
    return list(rows.values())


def _charts(context: SiteContext, _name: str) -> Charts:
    budget = context.found(BUDGET)
    if budget is None:
        raise EquiscopeError(
            f"{context.folder} has no budget yet: run `equiscope budget {quoted(context.folder)}` first"
        )
    names = drawn_transformations(budget)
    if not names:
        return {}
    return {
        "savings": lambda: draw_savings(budget),
        **{name: (lambda name=name: draw_saving(budget, name)) for name in names},  # type: ignore[misc]
    }


VIEW = View(
    "budget",
    __name__,
    render_budget,
    title="Parameters",
    style="budget.css",
    evidence=(BUDGET,),
    charts=_charts,
)
