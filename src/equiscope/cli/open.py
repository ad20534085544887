"""``equiscope open``: serve a run's report to this machine, and open it in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from equiscope.cli.options import RunArgument

__all__ = ["open"]


def open(
    run: RunArgument,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in the system's browser.")] = True,
) -> None:
    """Serve a run's report on 127.0.0.1, to this machine alone, and open it in the browser; Ctrl-C ends it."""
    import equiscope

    equiscope.open(
        run,
        port=port,
        browser=browser,
        on_address=lambda address: typer.echo(f"report: {address} (Ctrl-C ends it)"),
    )
