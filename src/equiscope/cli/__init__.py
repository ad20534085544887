"""The command line: parse, one call, friendly errors.

Each command is a function in the module of its name: its signature is what it takes, its docstring is its help. It
parses, calls the function of `equiscope` that has its name, and prints.

================= ==============================================================
``commands``      the list of the commands, which a new one joins
``interruption``  Ctrl-C: one line, at any moment
``options``       arguments and options that several commands take
``console``       where messages, tables and progress go
``tables``        how tables look
``system_errors`` what to do about a full disk or a missing permission
================= ==============================================================

This module imports next to nothing, so that Ctrl-C is in good hands as soon as the program has begun. What a command
needs of the package is imported in the command, so that the others, and ``--help``, do not wait for it.
"""

import os
import sys
from typing import Any

from equiscope.cli.interruption import READER_HAS_GONE, interruptible
from equiscope.cli.system_errors import has_out, system_cause, word_system_error
from equiscope.foundations.devices import wait_briefly
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import printable_message

__all__ = ["app", "main"]

# These find again what is finished; the others begin anew.
_RESUMING = ("survey", "featurevis", "train")


def __getattr__(name: str) -> Any:
    """Give the typer application ``app``, which is put together when it is first used."""
    if name == "app":
        from equiscope.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run the command line; what a user can mend is one message and exit code 2.

    Examples
    --------
    >>> from contextlib import redirect_stderr
    >>> from unittest import mock
    >>> with mock.patch("sys.argv", ["equiscope", "verify", "nowhere"]), redirect_stderr(sys.stdout):
    ...     try:
    ...         main()
    ...     except SystemExit as end:
    ...         end.code
    equiscope: nowhere is no folder: expected the folder of a run, as `equiscope survey --out` makes it
    2
    """
    try:
        with interruptible(_next_step()):
            _run()
    except BrokenPipeError:  # As in `equiscope export … | head`.
        sys.exit(READER_HAS_GONE)
    except (EquiscopeError, OSError) as error:
        _say(_word(error))
        sys.exit(2)


def _run() -> None:
    wait_briefly()
    from equiscope.cli.commands import app

    try:
        app()
    finally:
        if sys.stdout is not None:  # Closed by the shell: `>&-`.
            _flush()


def _flush() -> None:
    """Write out what standard output still holds; where that cannot be, once is enough to hear of it."""
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try again when it closes the stream, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _next_step() -> str:
    """Word what to do after an interruption of the command that was given."""
    if {*sys.argv[1:2]} & {*_RESUMING} or "--featurevis" in sys.argv:
        return "the same command goes on from here"
    return "give the same command again to begin anew"


def _word(error: Exception) -> str:
    """Give an error's own words, or what to do where the operating system is behind it."""
    cause = error if isinstance(error, OSError) else system_cause(error)
    said = str(error) if cause is None else word_system_error(cause, has_out=has_out(sys.argv[1:]))
    return printable_message(f"equiscope: {said}")


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
