"""The command line: parse, one call, friendly errors.

Each command is a function in the module of its name (``open`` is in ``report``): its signature is what it takes, its
docstring is its help. A new command is a module here, imported and given a line below; ``--help`` and docs/cli.md list
the commands in the order of those lines.

=========== ==============================================================
``options`` arguments and options that several commands take
``console`` where messages and tables go, the progress bar
``tables``  how tables look
=========== ==============================================================

What a command needs of the package is imported in the command, so that the others do not wait for it.
"""

import errno
import sys

import typer

from equiscope.cli import (
    budget,
    circuits,
    compare,
    design,
    export,
    featurevis,
    figure,
    layers,
    report,
    simplify,
    survey,
    train,
    verify,
)
from equiscope.cli.console import printable_message
from equiscope.errors import EquiscopeError

__all__ = ["app", "main"]

app = typer.Typer(
    name="equiscope",
    help="Find, verify and show the families of transformed copies inside any convolutional network.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(survey.survey)
app.command()(verify.verify)
app.command()(circuits.circuits)
app.command()(featurevis.featurevis)
app.command()(budget.budget)
app.command()(simplify.simplify)
app.command()(design.design)
app.command()(compare.compare)
app.command()(report.report)
app.command("open")(report.open_report)
app.command()(layers.layers)
app.command()(figure.figure)
app.command()(train.train)
app.command()(export.export)


def main() -> None:
    """Run the command line; what a user can mend is one message and exit code 2."""
    try:
        app()
    except EquiscopeError as error:
        typer.echo(printable_message(f"equiscope: {error}"), err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        said = (
            f"equiscope: {error.strerror} ({error.filename or 'while writing the run'}); what is finished is kept: "
            "make room or choose another --out, and give the same command again"
        )
        typer.echo(printable_message(said), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("equiscope: interrupted; the same command goes on from here", err=True)
        sys.exit(130)
