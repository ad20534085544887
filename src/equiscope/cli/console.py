"""Where a command's output goes: tables on standard output, progress on standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

from equiscope.foundations.progress import rough_time
from equiscope.foundations.received import printable

__all__ = ["Notes", "echo_report", "print_note", "show_progress", "wide_console"]


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
            print_note(f"equiscope: {message}")


_SECONDS_BETWEEN_LINES = 30


@contextmanager
def show_progress(stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a stage is, on standard error: a bar on a terminal, elsewhere a line now and then.

    Examples
    --------
    >>> import contextlib, io
    >>> with contextlib.redirect_stderr(io.StringIO()) as shown, show_progress("cutting patches", 2) as advance:
    ...     advance(2)
    >>> print(shown.getvalue().strip())
    cutting patches
    """
    console, stage = Console(stderr=True), printable(stage)
    if not console.is_terminal:
        yield _Lines(stage, total).advance
        return
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(stage, total=total)
        yield lambda steps: bars.advance(task, steps)


class _Lines:
    """Plain lines about one stage: one as it begins, then at most one in half a minute, for log files."""

    def __init__(self, stage: str, total: int) -> None:
        self._stage, self._total, self._done = stage, total, 0
        self._said = time.monotonic()
        # Steps and time from which the rate is taken: what a resumed stage reports first was done before.
        self._start: tuple[int, float] | None = None
        self._say(stage)

    def advance(self, steps: int) -> None:
        """Count steps."""
        self._done += steps
        now = time.monotonic()
        if self._start is None:
            self._start = self._done, now
        elif now - self._said >= _SECONDS_BETWEEN_LINES and self._done < self._total:
            self._said = now
            n_before, began = self._start
            seconds = (now - began) * (self._total - self._done) / max(self._done - n_before, 1)
            self._say(f"{self._stage}: {self._done} of {self._total}, about {rough_time(seconds)} left")

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")


def print_note(text: str) -> None:
    """Print a sentence on standard error, as it is: names in it may come from a run, and mean nothing to a terminal.

    Examples
    --------
    >>> import contextlib, sys
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     print_note("the first layer has [3] channels")
    the first layer has [3] channels
    """
    # Not through rich, which would break it over lines and read markup in it.
    typer.echo(printable(text), err=True)


def echo_report(run: Path) -> None:
    """Print where a run's report is, if it has one.

    Examples
    --------
    >>> Path("index.html").touch()
    >>> echo_report(Path("."))
    report: index.html
    """
    if (run / "index.html").exists():
        # Not through rich, which would break a long path over lines.
        typer.echo(f"report: {run / 'index.html'}")


def wide_console() -> Console:
    """Give standard output in which no column of a table is cut off, also where no terminal tells a width.

    Examples
    --------
    >>> wide_console().width >= 170
    True
    """
    return Console(width=max(Console().width, 170))
