"""``equiscope report`` and ``equiscope open``: build a run's report again, publish and serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equiscope.cli.featurevis import visualise
from equiscope.cli.options import RunArgument, WeightsOption

__all__ = ["open_report", "report"]


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
    from equiscope.reports.site.files import build_site
    from equiscope.reports.site.publishing import publish_site

    if featurevis:
        visualise(run, model, weights)
    typer.echo(f"report: {build_site(run) if publish is None else publish_site(run, publish)}")


def open_report(
    run: RunArgument,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in the system's browser.")] = True,
) -> None:
    """Serve a run's report on 127.0.0.1, to this machine alone, and open it in the browser; Ctrl-C ends it."""
    from equiscope.reports.site.serve import open_site

    open_site(
        run,
        port=port,
        in_browser=browser,
        on_address=lambda address: typer.echo(f"report: {address} (Ctrl-C ends it)"),
    )
