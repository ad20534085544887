"""``equiscope budget``: predict what tying the families of a run would save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import echo_report, print_note, wide_console
from equiscope.cli.options import RunArgument, VerdictOption, WeightsOption
from equiscope.cli.tables import new_table
from equiscope.foundations.received import offered_network, quoted

if TYPE_CHECKING:
    from equiscope.construction.budget import Budget

__all__ = ["budget"]

# Comes with the package, so that nothing need be asked for to count its parameters.
_EMBEDDED = "mini"


def budget(
    run: RunArgument,
    model: Annotated[
        str | None,
        typer.Argument(
            help="The network that was surveyed, whose own parameters are then counted; default: the run's own name "
            "for it where that is mini or --weights is given, otherwise kernels are counted, all alike."
        ),
    ] = None,
    weights: WeightsOption = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of families and single units.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.", min=0)] = 0,
    verdict: VerdictOption = "copies",
) -> None:
    """Predict how much would stay free if the families of a run were tied, and what forcing more units would cost.

    Writes budget.json and budget.svg into the run, and draws its report again with them.
    """
    import equiscope

    found = equiscope.budget(run, model, n_resamples=resamples, verdict=verdict, weights=weights, seed=seed)
    console = wide_console()
    console.print(_layers_table(found))
    if found.forced:
        console.print()
        console.print(_forced_table(found))
    if found.totals:
        console.print()
        console.print(_totals_table(found))
    else:
        own_name = equiscope.load_run(run).manifest["model"]["name"]
        command = f"equiscope budget {quoted(run)} {offered_network(own_name)}"
        print_note(f"every kernel counts alike: give the network to count its parameters ({command})")
    typer.echo(f"budget: {run / 'budget.json'}")
    if any(entry.n_families and entry.ratio == entry.ratio for entry in found.layers):
        typer.echo(f"figure: {run / 'budget.svg'}")
    echo_report(run)


def _layers_table(found: Budget) -> Table:
    """Tabulate the article's formula for each layer, and the kernels from it to others."""
    headings = (
        "layer", "transformation", "units", "r", "95 %", "families", "K", "1 - (K-1)/K r²", "95 %", "to",
        "free", "95 %",
    )  # fmt: skip
    table = new_table(headings, text=("layer", "transformation", "to"))
    for entry in found.layers:
        own = (
            entry.layer,
            entry.transformation,
            str(entry.n_units),
            f"{entry.equivariant_share:.0%}",
            _span(entry.equivariant_low, entry.equivariant_high, 0),
            str(entry.n_families),
            f"{entry.copies:.1f}" if entry.n_families else "–",
            "–" if entry.ratio != entry.ratio else f"{entry.ratio:.1%}",
            _span(entry.ratio_low, entry.ratio_high),
        )
        following = [
            (pair.target, f"{pair.ratio:.1%}", _span(pair.ratio_low, pair.ratio_high))
            for pair in found.pairs
            if (pair.source, pair.transformation) == (entry.layer, entry.transformation)
        ]
        for index, pair in enumerate(following or [("–", "–", "–")]):
            table.add_row(*(own if index == 0 else ("",) * len(own)), *pair)
    return table


def _forced_table(found: Budget) -> Table:
    """Tabulate what more equivariant units than nature has would cost: the whole network, or its layers."""
    whole = [entry for entry in found.forced if not entry.layer]
    headings = (
        "forced",
        "transformation",
        "share",
        "K",
        "units",
        "needed",
        "95 %",
        "free",
        "95 %",
        "as it is",
    )
    table = new_table(headings, text=("forced", "transformation"))
    for entry in whole or found.forced:
        table.add_row(
            entry.layer or "all layers",
            entry.transformation,
            f"{entry.forced_share:.0%}",
            f"{entry.copies:.1f}" if entry.layer else "–",
            str(entry.n_units),
            f"{entry.n_needed:.0f}",
            f"{entry.n_needed_low:.0f}-{entry.n_needed_high:.0f}",
            f"{entry.ratio:.1%}",
            _span(entry.ratio_low, entry.ratio_high),
            f"{entry.right:.1%}",
        )
    return table


def _totals_table(found: Budget) -> Table:
    """Tabulate the free parameters of the whole network."""
    headings = (
        "transformation", "parameters", "free", "share", "95 %", "not surveyed", "share if those are not tied", "95 %",
    )  # fmt: skip
    table = new_table(headings, text=("transformation",))
    for entry in found.totals:
        n = entry.n_parameters
        table.add_row(
            entry.transformation,
            str(n),
            f"{entry.n_free:.0f}",
            f"{entry.n_free / n:.1%}",
            _span(entry.n_free_low / n, entry.n_free_high / n),
            str(entry.n_unsurveyed),
            f"{entry.n_free_surveyed / n:.1%}",
            _span(entry.n_free_surveyed_low / n, entry.n_free_surveyed_high / n),
        )
    return table


def _span(low: float, high: float, decimals: int = 1) -> str:
    """Word an interval of shares."""
    return "–" if low != low or high != high else f"{low:.{decimals}%}-{high:.{decimals}%}"
