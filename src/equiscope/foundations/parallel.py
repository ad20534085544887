"""Steps that do not depend on each other, on all cores: one thread each, instead of all threads in one small step.

Most of a search is many small products and walks through tables, which more threads in each make no faster. Its null
draws are searches of their own: two at a time take half the time on two cores. Each has its own random numbers, so that
their results do not depend on how many run together. So it is with the pictures of a page, image by image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["in_parallel"]

T = TypeVar("T")

# Steps a thread that are begun before the first of them is taken, so that results do not pile up.
_AHEAD = 4


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
        What a step raises; no further step begins then.

    Examples
    --------
    >>> list(in_parallel(lambda number: number**2, 4))
    [0, 1, 4, 9]
    """
    import torch

    n_threads = torch.get_num_threads()
    if min(n_threads, n_steps) < 2:
        yield from map(step, range(n_steps))
        return
    pool = ThreadPoolExecutor(min(n_threads, n_steps), initializer=torch.set_num_threads, initargs=(1,))
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            begun: deque[Future[T]] = deque()
            for number in range(n_steps):
                begun.append(pool.submit(step, number))
                if len(begun) >= _AHEAD * n_threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread that sets its own number sets that of threads to come, too.
        torch.set_num_threads(n_threads)
