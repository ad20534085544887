"""Where a command's output goes: tables on standard output, progress on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from equiscope.received import printable

__all__ = ["print_note", "printable_message", "show_progress", "wide_console"]


@contextmanager
def show_progress(stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """One progress bar with a time estimate, on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(printable(stage), total=total)
        yield lambda steps: bars.advance(task, steps)


def print_note(text: str) -> None:
    """Print a sentence on standard error, as it is: names in it may come from a run, and mean nothing to a terminal."""
    # Not through rich, which would break it over lines and read markup in it.
    typer.echo(printable(text), err=True)


def printable_message(text: str) -> str:
    """Word a message of any number of lines for a terminal: all but the first are indented, so that none is forged."""
    return "\n  ".join(printable(line) for line in text.splitlines())


def wide_console() -> Console:
    """Give standard output in which no column of a table is cut off, also where no terminal tells a width."""
    return Console(width=max(Console().width, 170))
