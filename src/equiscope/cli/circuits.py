"""``equiscope circuits``: recover the symmetric weights between a run's families."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import echo_report, print_note, show_progress, wide_console
from equiscope.cli.options import (
    FalseDiscoveryRateOption,
    RunArgument,
    SurveyedModelArgument,
    VerdictOption,
    WeightsOption,
)
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.evidence.circuits import Circuits

__all__ = ["circuits"]

_ImagesOption = Annotated[
    str | None,
    typer.Option(
        help="The images that were surveyed; default: embedded photographs if the run was on those, else none, "
        "which leaves out layers with others between them and the causal check."
    ),
]
_DrawsOption = Annotated[int, typer.Option(help="Null draws a block.")]
_SeedOption = Annotated[int, typer.Option(help="Seed of the null.", min=0)]
_GraphmlOption = Annotated[Path | None, typer.Option(help="Also write the graph to this GraphML file.")]


def circuits(
    run: RunArgument,
    model: SurveyedModelArgument = None,
    weights: WeightsOption = None,
    images: _ImagesOption = None,
    draws: _DrawsOption = 200,
    seed: _SeedOption = 0,
    false_discovery_rate: FalseDiscoveryRateOption = 0.05,
    graphml: _GraphmlOption = None,
    verdict: VerdictOption = "copies",
) -> None:
    """Recover the symmetric weights between a run's families, from the network's weights.

    Writes circuits.json into the run, and what is drawn of it.
    """
    import equiscope
    from equiscope.evidence.circuits import write_graph
    from equiscope.evidence.circuits.tying_axes import stretches
    from equiscope.foundations.files import check_output

    if graphml is not None:
        check_output(graphml)
    found = equiscope.circuits(
        run,
        model,
        images,
        n_draws=draws,
        verdict=verdict,
        weights=weights,
        false_discovery_rate=false_discovery_rate,
        seed=seed,
        progress=show_progress,
    )
    for entry in found.skipped:
        print_note(f"{entry.source} to {entry.target}: {entry.reason}")
    out_console = wide_console()
    out_console.print(_circuits_table(found))
    scaled = [c for c in found.circuits if stretches(c.transformation)]
    if scaled:
        between = [c for c in scaled if c.is_between_families]
        out_console.print(
            f"scale, across layers: {sum(c.is_symmetric for c in between)} of {len(between)} blocks between two "
            f"families symmetric, {len(scaled) - len(between)} circuits between a family and a unit",
            highlight=False,
        )
    for line in _totals(found):
        out_console.print(line, highlight=False)
    typer.echo(f"circuits: {run / 'circuits.json'}")
    if graphml is not None:
        # After what was found is told: the graph may go to standard output, or not be writable.
        write_graph(equiscope.load_run(run), found, graphml)
        typer.echo(f"graph: {graphml}")
    echo_report(run)


def _totals(found: Circuits) -> tuple[str, ...]:
    """Sum up what was found, and what it says of the families."""
    turning = [c for c in found.confirmations if c.n_tested]
    tested = [c for c in found.confirmations if c.is_tested]
    return (
        f"{sum(c.is_symmetric for c in found.circuits)} circuits, {len(found.factors)} families with factors, "
        f"{len(found.transposed)} transposed pairs",
        f"{sum(c.n_symmetric > 0 for c in turning)} of {len(turning)} families have a circuit that turns with them",
        f"all their inputs together confirm {sum(c.is_confirmed for c in tested)} of {len(tested)} families; "
        f"{len(found.confirmations) - len(tested)} untested",
    )


def _circuits_table(found: Circuits) -> Table:
    """Tabulate for each two layers what was tested, and what came out in each class."""
    headings = (
        "from", "to", "path", "families tested", "symmetric", "equi→equi", "inv→equi", "equi→inv",
        "median R²", "with units", "pairs", "seconds",
    )  # fmt: skip
    table = new_table(headings, text=("from", "to", "path"))
    for pair in found.pairs:
        own = [
            c for c in found.circuits
            if (c.source_layer, c.target_layer) == (pair.source, pair.target) and c.is_symmetric
        ]  # fmt: skip
        between = [c for c in own if c.is_between_families and not c.pair_class]
        classes = Counter(c.rotation_class or c.hue_class for c in between)
        table.add_row(
            pair.source,
            pair.target,
            pair.path,
            str(pair.n_circuits),
            str(pair.n_symmetric),
            *(
                str(classes[f"{a}→{b}"])
                for a, b in (
                    ("equivariant", "equivariant"),
                    ("invariant", "equivariant"),
                    ("equivariant", "invariant"),
                )
            ),
            f"{statistics.median(c.r2 for c in between):.2f}" if between else "–",
            str(sum(not c.is_between_families for c in own if not c.pair_class)),
            str(sum(bool(c.pair_class) for c in own)),
            f"{pair.seconds:.1f}",
        )
    return table
