"""How long stages tell how far they are: a callable that opens a stage and gives what counts its steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

__all__ = ["Progress", "Stages", "silent"]

# Called with what is being done and the number of its steps; what it gives is called with the steps just done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def silent(_stage: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Tell nobody."""
    return nullcontext(lambda _steps: None)


class Stages:
    """A progress that also tells which of all stages it is: ``rotation: showing conv2d1 [3/42]``.

    Parameters
    ----------
    progress
        Is told.
    n_stages
        Stages of the whole work. One may open several bars, or none.
    """

    def __init__(self, progress: Progress, n_stages: int) -> None:
        self._progress, self._n_stages, self._n_begun = progress, n_stages, 0

    def begin_next(self) -> None:
        """Begin the next stage; before the first one nothing is numbered."""
        self._n_begun += 1

    def __call__(self, stage: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a bar of the stage that was begun."""
        n_stages = max(self._n_stages, self._n_begun)
        return self._progress(f"{stage} [{self._n_begun}/{n_stages}]", total)
