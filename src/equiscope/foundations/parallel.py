"""Steps that do not depend on each other, on all cores: one thread each, instead of all threads in one small step.

Most of a search is many small products and walks through tables, which more threads in each make no faster. Its null
draws are searches of their own: two at a time take half the time on two cores. Each has its own random numbers, so that
their results do not depend on how many run together.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["in_parallel"]

T = TypeVar("T")

# The parameter of glibc's ``mallopt`` that says in how many arenas threads keep memory.
_ARENAS = -8


def in_parallel(step: Callable[[int], T], n_steps: int) -> Iterator[T]:
    """Do steps that are independent of each other, as many at a time as torch may use threads.

    Parameters
    ----------
    step
        Called with the number of a step, from 0 on; in one of several threads.
    n_steps
        How many there are.

    Yields
    ------
    object
        What each step gave, in their order.

    Raises
    ------
    Exception
        What a step raises; steps that have not begun are not done then.

    Examples
    --------
    >>> list(in_parallel(lambda number: number**2, 4))
    [0, 1, 4, 9]
    """
    import torch

    _keep_memory_in_one_place()
    n_threads = torch.get_num_threads()
    if min(n_threads, n_steps) < 2:
        yield from map(step, range(n_steps))
        return
    pool = ThreadPoolExecutor(min(n_threads, n_steps), initializer=torch.set_num_threads, initargs=(1,))
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield from pool.map(step, range(n_steps))
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread that sets its own number sets that of threads to come, too.
        torch.set_num_threads(n_threads)


def _keep_memory_in_one_place() -> None:
    """Let all threads allocate in one arena: what they free in arenas of their own is not given back, and adds up."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_ARENAS, 1)
