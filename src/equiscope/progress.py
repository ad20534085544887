"""How long stages tell how far they are: a callable that opens a stage and gives what counts its steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

__all__ = ["Progress", "silent"]

# Called with what is being done and the number of its steps; what it gives is called with the steps just done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def silent(_stage: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Tell nobody."""
    return nullcontext(lambda _steps: None)
