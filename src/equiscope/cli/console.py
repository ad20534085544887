"""Where a command's output goes: tables on standard output, progress on standard error."""

from __future__ import annotations

import logging
import sys
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

__all__ = ["Notes", "show_progress", "wide_console"]


class Notes(logging.Handler):
    """Writes what the package has to say beside its results to standard error, each sentence once."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = sys.stderr
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one sentence."""
        if self._stream is not sys.stderr:  # another command of one process, in tests
            self._stream, self._said = sys.stderr, set()
        message = record.getMessage()
        if message not in self._said:
            self._said.add(message)
            typer.echo(f"equiscope: {message}", err=True)


@contextmanager
def show_progress(stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """One progress bar with a time estimate, on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(stage, total=total)
        yield lambda steps: bars.advance(task, steps)


def wide_console() -> Console:
    """Give standard output in which no column of a table is cut off, also where no terminal tells a width."""
    return Console(width=max(Console().width, 170))
