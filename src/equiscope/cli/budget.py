"""``equiscope budget``: predict what tying the families of a run would save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import wide_console
from equiscope.cli.options import RunArgument
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.budget import Budget

__all__ = ["budget"]


def budget(
    run: RunArgument,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each layer's units.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Predict how many kernels would stay free if the families of a run were tied.

    Writes budget.json into the run.
    """
    from equiscope.budget import estimate_budget
    from equiscope.store import load_run

    found = estimate_budget(load_run(run), n_resamples=resamples, seed=seed)
    console = wide_console()
    console.print(_budget_table(found))
    typer.echo(f"budget: {run / 'budget.json'}")


def _budget_table(found: Budget) -> Table:
    """Tabulate the article's formula for each layer, and the kernels between it and the next one."""
    headings = (
        "layer", "transformation", "units", "r", "95 %", "families", "K", "1 - (K-1)/K r²", "95 %", "to",
        "free", "95 %",
    )  # fmt: skip
    table = new_table(headings, text=("layer", "transformation", "to"))
    following = {(pair.source, pair.transformation): pair for pair in found.pairs}
    for entry in found.layers:
        pair = following.get((entry.layer, entry.transformation))
        table.add_row(
            entry.layer,
            entry.transformation,
            str(entry.n_units),
            f"{entry.equivariant_share:.0%}",
            f"{entry.equivariant_low:.0%}-{entry.equivariant_high:.0%}",
            str(entry.n_families),
            f"{entry.copies:.1f}" if entry.n_families else "–",
            f"{entry.ratio:.1%}",
            f"{entry.ratio_low:.1%}-{entry.ratio_high:.1%}",
            pair.target if pair else "–",
            f"{pair.ratio:.1%}" if pair else "–",
            f"{pair.ratio_low:.1%}-{pair.ratio_high:.1%}" if pair else "–",
        )
    return table
