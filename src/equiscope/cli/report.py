"""``equiscope report``: build a run's report again, or publish it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equiscope.cli.console import show_progress
from equiscope.cli.options import RunArgument, WeightsOption

__all__ = ["report"]


def report(
    run: RunArgument,
    publish: Annotated[
        Path | None,
        typer.Option(help="Also copy the site, and nothing else of the run, into this new or empty folder."),
    ] = None,
    featurevis: Annotated[
        bool,
        typer.Option(help="First make what `equiscope featurevis` makes, and is not there yet."),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="For --featurevis: the network; default: its own name, if built in.")
    ] = None,
    weights: WeightsOption = None,
) -> None:
    """Build a run's report again, from its folder alone: no images and no network are needed but for --featurevis.

    A run that is not finished, or of an earlier version, is shown as far as it goes.
    """
    import equiscope

    built = equiscope.report(
        run, publish=publish, featurevis=featurevis, model=model, weights=weights, progress=show_progress
    )
    typer.echo(f"report: {built}")
