"""``equiscope compare``: find the counterparts among the families of two runs."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import echo_report, print_note, show_progress, wide_console
from equiscope.cli.options import FalseDiscoveryRateOption, PrecisionOption, VerdictOption, split_names
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.evidence.compare.comparison import Comparison

__all__ = ["compare"]

_RunAArgument = Annotated[
    Path, typer.Argument(help="Folder of the run that keeps the comparison and shows it.")
]
_RunBArgument = Annotated[Path, typer.Argument(help="Folder of the other run.")]
_ModelAOption = Annotated[
    str | None, typer.Option(help="Network of the first run; default: its own name, if built in.")
]
_WeightsAOption = Annotated[Path | None, typer.Option(help="Weight file of a built-in network.")]
_ModelBOption = Annotated[
    str | None, typer.Option(help="Network of the second run; default: its own name, if built in.")
]
_WeightsBOption = Annotated[Path | None, typer.Option(help="Weight file of a built-in network.")]
_ImagesOption = Annotated[
    str | None,
    typer.Option(
        help="What both networks are shown: those of the surveys, or others; default: embedded photographs."
    ),
]
_TransformationsOption = Annotated[
    str | None,
    typer.Option(
        help="Some of rotation, hue, reflection, contrast, separated by commas; default: those of both runs."
    ),
]
_DrawsOption = Annotated[int, typer.Option(help="Null draws a transformation.")]
_SeedOption = Annotated[int, typer.Option(help="Seed of the halves, the null and the bootstrap.", min=0)]


def compare(
    run_a: _RunAArgument,
    run_b: _RunBArgument,
    model_a: _ModelAOption = None,
    weights_a: _WeightsAOption = None,
    model_b: _ModelBOption = None,
    weights_b: _WeightsBOption = None,
    images: _ImagesOption = None,
    transformations: _TransformationsOption = None,
    draws: _DrawsOption = 200,
    seed: _SeedOption = 0,
    false_discovery_rate: FalseDiscoveryRateOption = 0.05,
    precision: PrecisionOption = "auto",
    verdict: VerdictOption = "copies",
) -> None:
    """Find which families of two runs are counterparts: alike in what they answer to the same stimuli.

    Writes compare/NAME.json into the first run, NAME being the second run's folder, and builds its report again.
    """
    import equiscope

    found = equiscope.compare(
        run_a,
        run_b,
        model_a,
        model_b,
        images,
        transformations=split_names(transformations),
        n_draws=draws,
        verdict=verdict,
        weights_a=weights_a,
        weights_b=weights_b,
        false_discovery_rate=false_discovery_rate,
        seed=seed,
        precision=precision,
        progress=show_progress,
    )
    for note in found.notes:
        print_note(note)
    wide_console().print(_comparison_table(found))
    typer.echo(f"comparison: {run_a / 'compare' / found.name}.json")
    echo_report(run_a)


def _comparison_table(found: Comparison) -> Table:
    """Tabulate for each transformation how many families of either run have a counterpart."""
    headings = (
        "transformation", "stimuli", "photographs", f"of {found.a.model}", f"of {found.b.model}",
        "mutually best", "counterparts", "also alike", "median score", "other identity, 95 %",
        "scrambled, 95 %",
    )  # fmt: skip
    table = new_table(headings, text=("transformation",))
    for entry in found.transformations:
        own = [f for f in found.families if f.transformation == entry.transformation]
        pairs = [m for m in found.matches if m.transformation == entry.transformation]
        scores = [m.score for m in pairs if m.is_counterpart or m.is_alike]
        sides = [[f.counterpart is not None for f in own if f.run == run] for run in "ab"]
        nulls = [null.score_95 for null in (entry.null, entry.pose_null)]
        table.add_row(
            entry.transformation,
            str(entry.n_stimuli),
            str(entry.n_photographs),
            *(f"{sum(side)} of {len(side)}" for side in sides),
            str(len(pairs)),
            str(sum(m.is_counterpart for m in pairs)),
            str(sum(m.is_alike and not m.is_counterpart for m in pairs)),
            f"{statistics.median(scores):.2f}" if scores else "–",
            *("–" if null != null else f"{null:.2f}" for null in nulls),
        )
    return table
