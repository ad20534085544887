"""The list of the commands: a new one is a module here, imported and given a line below.

``--help`` and docs/cli.md list the commands in the order of those lines.
"""

import logging
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import equiscope
from equiscope.cli import (
    budget,
    circuits,
    compare,
    design,
    export,
    featurevis,
    figure,
    layers,
    open,
    plan,
    report,
    simplify,
    survey,
    tally,
    train,
    verify,
)
from equiscope.cli.console import Notes
from equiscope.cli.interruption import INTERRUPTED, READER_HAS_GONE

__all__ = ["app"]

logging.getLogger("equiscope").addHandler(Notes())


class _Commands(TyperGroup):
    """Commands whose failures `main` words: typer would say "Aborted!", or nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            raise SystemExit(READER_HAS_GONE) from None
        except EOFError as error:
            raise RuntimeError(f"a file ended early: {error}") from error


app = typer.Typer(
    cls=_Commands,
    name="equiscope",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"equiscope {equiscope.__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find, verify and show the families of transformed copies inside any convolutional network."""


app.command()(survey.survey)
app.command()(verify.verify)
app.command()(circuits.circuits)
app.command()(featurevis.featurevis)
app.command()(budget.budget)
app.command()(simplify.simplify)
app.command()(design.design)
app.command()(compare.compare)
app.command()(tally.tally)
app.command()(report.report)
app.command()(open.open)
app.command()(layers.layers)
app.command()(plan.plan)
app.command()(figure.figure)
app.command()(train.train)
app.command()(export.export)
