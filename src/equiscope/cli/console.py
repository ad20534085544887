"""Where a command's output goes: tables on standard output, progress on standard error."""

from __future__ import annotations

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

__all__ = ["show_progress", "wide_console"]


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
