"""Where a command's output goes: tables on standard output, progress on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from equiscope.progress import rough_time

__all__ = ["show_progress", "wide_console"]

_SECONDS_BETWEEN_LINES = 30


@contextmanager
def show_progress(stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a stage is, on standard error: a bar on a terminal, elsewhere a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(stage, total).advance
        return
    columns = (
        TextColumn("{task.description:<28}"),
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


def wide_console() -> Console:
    """Give standard output in which no column of a table is cut off, also where no terminal tells a width."""
    return Console(width=max(Console().width, 170))
