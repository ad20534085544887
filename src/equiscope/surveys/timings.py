"""Wall time of the stages of a run, over all processes that worked on it.

The time is noted in a small file while the run goes on, a second at most after it was spent, because a process that is
killed notes nothing at its end. The file goes away when ``run.json`` holds the sums.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from equiscope.foundations.documents import to_json
from equiscope.foundations.files import write_atomically
from equiscope.foundations.progress import Progress
from equiscope.runs.layout import SCHEMA_VERSION

__all__ = ["Timings"]

# What a kill may lose; a note takes a ten-thousandth of it.
_SECONDS_BETWEEN_NOTES = 1.0


class Timings:
    """Seconds of each stage.

    Parameters
    ----------
    path
        The file; what it holds already is gone on with.
    seconds
        Of the run as ``run.json`` has them, for where the file is not there.
    """

    def __init__(self, path: Path, seconds: Any) -> None:
        self._path = path
        self._seconds = _read(path) or _numbers(seconds)
        self._stage = ""
        self._noted = time.perf_counter()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far, to the hundredth."""
        return {stage: round(seconds, 2) for stage, seconds in self._seconds.items()}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage, also when it is interrupted."""
        self._stage, self._noted = stage, time.perf_counter()
        try:
            yield
        finally:
            self._note()
            self._stage = ""

    def noting(self, progress: Progress) -> Progress:
        """Give a progress that tells the same, and notes the time now and then."""

        @contextmanager
        def told(title: str, total: int) -> Iterator[Callable[[int], None]]:
            with progress(title, total) as tell:

                def on_steps(steps: int) -> None:
                    tell(steps)
                    if self._stage and time.perf_counter() - self._noted > _SECONDS_BETWEEN_NOTES:
                        self._note()

                yield on_steps

        return told

    def _note(self) -> None:
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._noted
        self._noted = now
        self._write()

    def _write(self) -> None:
        text = to_json({"schema_version": SCHEMA_VERSION, "seconds": self._seconds})
        # A disk without room for this has none for what the stage writes, which says so.
        with suppress(OSError):
            write_atomically(self._path, lambda stream: stream.write(text.encode()), is_synced=False)

    def close(self) -> None:
        """Remove the file, because ``run.json`` holds the same."""
        self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, float]:
    """Read the file; empty where it is not there, or no longer what was written: nothing but a time is lost then."""
    try:
        return _numbers(json.loads(path.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _numbers(seconds: Any) -> dict[str, float]:
    """Take what are seconds from what a file holds."""
    own = seconds.items() if isinstance(seconds, dict) else ()
    return {str(stage): float(value) for stage, value in own if isinstance(value, (int, float))}
