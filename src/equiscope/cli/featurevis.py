"""``equiscope featurevis``: optimise images for a run's units and families."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import echo_report, show_progress, wide_console
from equiscope.cli.options import RunArgument, SurveyedModelArgument, WeightsOption, split_names
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.evidence.featurevis import StoredVisualisations
    from equiscope.runs.run import Run

__all__ = ["featurevis"]


def featurevis(
    run: RunArgument,
    model: SurveyedModelArgument = None,
    weights: WeightsOption = None,
    layers: Annotated[
        str | None, typer.Option(help="Some of the run's layers, separated by commas; default: all.")
    ] = None,
    families: Annotated[bool, typer.Option(help="Also one template for each family.")] = True,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 128,
    null_draws: Annotated[int, typer.Option(help="Templates for wrong poses, a family.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of noise, shifts and wrong poses.", min=0)] = 0,
) -> None:
    """Optimise an image for every unit of a run's layers, and one template for every family.

    Writes them into the run, as featurevis/LAYER.npz and featurevis/families.npz, and shows them in its report. An
    interrupted job goes on when the same command is given again.
    """
    import equiscope

    found = equiscope.featurevis(
        run,
        model,
        split_names(layers),
        with_families=families,
        steps=steps,
        n_null=null_draws,
        weights=weights,
        seed=seed,
        progress=show_progress,
    )
    console = wide_console()
    console.print(_images_table(found))
    if found.families:
        console.print(_templates_table(equiscope.load_run(run), found))
    typer.echo(f"visualisations: {run / 'featurevis'}")
    echo_report(run)


def _quartiles(values: Iterable[float]) -> str:
    """Word median and quartiles of what was measured."""
    known = sorted(value for value in values if value == value)
    if len(known) < 2:
        return f"{known[0]:.2f}" if known else "–"
    low, middle, high = statistics.quantiles(known, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _images_table(found: StoredVisualisations) -> Table:
    """Tabulate for each layer how strongly units answer to their images."""
    headings = ("layer", "units", "not driven", "response / strongest natural", "above 1")
    table = new_table(headings, text=("layer",))
    for layer, own in found.layers.items():
        ratios = [ratio for ratio in own.ratio.tolist() if ratio == ratio]
        table.add_row(
            layer,
            str(len(own.channels)),
            str(int((~own.is_active).sum())),
            _quartiles(ratios),
            f"{sum(ratio > 1 for ratio in ratios)} of {len(ratios)}",
        )
    return table


def _templates_table(run: Run, found: StoredVisualisations) -> Table:
    """Tabulate for each transformation of each layer how strongly members answer to their copy, and to others."""
    headings = (
        "layer", "transformation", "families", "members", "own copy / strongest natural",
        "other poses / own copy", "strength / wrong poses", "above wrong poses",
    )  # fmt: skip
    table = new_table(headings, text=("layer", "transformation"))
    groups: dict[tuple[str, str], list[str]] = {}
    for family in run.families:
        if family.id in found.families:
            groups.setdefault((family.layer, family.transformation), []).append(family.id)
    for (layer, transformation), ids in groups.items():
        own = [found.families[name] for name in ids]
        against = [(entry.strength, max(entry.null_strength)) for entry in own if len(entry.null)]
        table.add_row(
            layer,
            transformation,
            str(len(own)),
            str(sum(len(entry.channels) for entry in own)),
            _quartiles(ratio for entry in own for ratio in entry.ratio.tolist()),
            _quartiles(share for entry in own for share in entry.elsewhere.tolist()),
            _quartiles(strength / wrong for strength, wrong in against if wrong > 0),
            f"{sum(strength > wrong for strength, wrong in against)} of {len(against)}" if against else "–",
        )
    return table
