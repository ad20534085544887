"""Progress of a stage: how many steps it has, and how many are done.

A `Progress` is called with a title and a number of steps, and gives a context manager, which gives a function to be
called with the steps done since. ``with progress("Responses", 300) as on_step: on_step(1)`` is one step of 300.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

__all__ = ["Progress", "Stages", "rough_time", "silent"]

# The first stages of a survey are small, and take several times as long a pixel as the others.
_TELLING_SHARE = 0.1
_WORTH_TELLING = 60.0

# Called with what is being done and the number of its steps; what it gives is called with the steps just done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def silent(_stage: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Tell nobody.

    Examples
    --------
    >>> with silent("Surveying", 3) as on_step:
    ...     on_step(1)
    """
    return nullcontext(lambda _steps: None)


def rough_time(seconds: float) -> str:
    """Word a time that is only known roughly.

    Examples
    --------
    >>> rough_time(40), rough_time(4000)
    ('40 s', '67 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds / 10)) * 10} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Stages:
    """A progress that also tells which of all stages it is: ``rotation: showing conv2d1 [3/42]``.

    Once it knows what the stages cost, and a tenth of that is done, it tells the time left, too, which is rough.

    Parameters
    ----------
    progress
        Is told.
    n_stages
        Stages of the whole work. One may open several bars, or none.
    """

    def __init__(self, progress: Progress, n_stages: int) -> None:
        self._progress, self._n_stages, self._n_begun = progress, n_stages, 0
        self._costs: list[float] = []
        self._n_past, self._started, self._seconds = 0, 0.0, 0.0

    def expect(self, costs: Sequence[float]) -> None:
        """Take what the stages that follow cost, in any unit; those after the last one count as nothing."""
        self._costs, self._n_past, self._started = list(costs), self._n_begun, time.monotonic()

    def begin_next(self) -> None:
        """Begin the next stage."""
        self._n_begun += 1
        self._seconds = time.monotonic() - self._started

    def __call__(self, stage: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a bar of the stage that was begun."""
        n_stages = max(self._n_stages, self._n_begun)
        return self._progress(f"{stage} [{self._n_begun}/{n_stages}{self._left()}]", total)

    def _left(self) -> str:
        """Word the time left from what was done before this stage, where that tells enough."""
        n_done = self._n_begun - self._n_past - 1
        done, total = sum(self._costs[:n_done]), sum(self._costs)
        if done < _TELLING_SHARE * total or not done:
            return ""
        seconds = self._seconds * (total - done) / done
        return f", roughly {rough_time(seconds)} left" if seconds >= _WORTH_TELLING else ""
