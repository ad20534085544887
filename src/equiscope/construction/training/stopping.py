"""Requests to stop: a training that is interrupted ends its step, saves, and can go on later."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Stop", "stop_requests"]


class Stop:
    """Whether somebody asked the training to stop."""

    is_requested = False


@contextmanager
def stop_requests(is_alone: bool) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request, so that a step is never left half done.

    Of several processes none may stop by itself: torchrun ends them all, and the last checkpoint counts.

    Examples
    --------
    >>> with stop_requests(is_alone=True) as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.is_requested
    True
    """
    stop = Stop()
    if not is_alone or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def ask(kind: int, frame: Any) -> None:
        stop.is_requested = True
        signal.signal(kind, before[signal.Signals(kind)])  # a second one ends it at once

    for kind in kinds:
        signal.signal(kind, ask)
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
