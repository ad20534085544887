"""``equiscope compare``: find the counterparts among the families of two runs."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import print_note, show_progress, wide_console
from equiscope.cli.options import FalseDiscoveryRateOption, PrecisionOption, split_names
from equiscope.cli.surveyed import load_surveyed
from equiscope.cli.tables import blank_unmeasured, new_table
from equiscope.foundations.received import quoted

if TYPE_CHECKING:
    from equiscope.evidence.compare.comparison import Comparison

__all__ = ["compare"]


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of the run that keeps the comparison and shows it.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of the other run.")],
    model_a: Annotated[
        str | None, typer.Option(help="Network of the first run; default: its own name, if built in.")
    ] = None,
    weights_a: Annotated[Path | None, typer.Option(help="Weight file of a built-in network.")] = None,
    model_b: Annotated[
        str | None, typer.Option(help="Network of the second run; default: its own name, if built in.")
    ] = None,
    weights_b: Annotated[Path | None, typer.Option(help="Weight file of a built-in network.")] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="What both networks are shown: those of the surveys, or others; default: embedded photographs."
        ),
    ] = None,
    transformations: Annotated[
        str | None,
        typer.Option(
            help="Some of rotation, hue, reflection, contrast, separated by commas; default: those of both runs."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Null draws a transformation.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the halves, the null and the bootstrap.", min=0)] = 0,
    false_discovery_rate: FalseDiscoveryRateOption = 0.05,
    precision: PrecisionOption = "auto",
) -> None:
    """Find which families of two runs are counterparts: alike in what they answer to the same stimuli.

    Writes compare/NAME.json into the first run, NAME being the second run's folder, and builds its report again.
    """
    from equiscope.evidence.compare.runs import compare_runs
    from equiscope.foundations.devices import choose_precision
    from equiscope.reports.site.files import show_evidence
    from equiscope.reports.views.compare.pictures import keep_pictures
    from equiscope.runs.store import load_run
    from equiscope.stimuli import open_images

    first, second = load_run(run_a), load_run(run_b)
    command = f"equiscope compare {quoted(run_a)} {quoted(run_b)}"
    models = [
        load_surveyed(opened, model, weights, f"{command} --model-{side} NETWORK")
        for side, model, weights, opened in (
            ("a", model_a, weights_a, first),
            ("b", model_b, weights_b, second),
        )
    ]
    found = compare_runs(
        first,
        models[0],
        second,
        models[1],
        open_images(images),
        transformations=split_names(transformations),
        n_draws=draws,
        false_discovery_rate=false_discovery_rate,
        seed=seed,
        precision=choose_precision(precision, models[0].device),
        progress=show_progress,
    )
    for note in found.notes:
        print_note(note)
    wide_console().print(_comparison_table(found))
    typer.echo(f"comparison: {run_a / 'compare' / found.name}.json")
    keep_pictures(run_a, found, run_b)
    if show_evidence(run_a, "compare"):
        typer.echo(f"report: {first.report}")


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
            *("–" if blank_unmeasured(null) is None else f"{null:.2f}" for null in nulls),
        )
    return table
