"""How a forward pass is left early: by a signal of this package, and never by ending the program.

Once all asked layers have run, the rest of a pass is wasted. A hook then raises `EverythingSeen`, which whoever started
the pass catches. Code of the network that calls ``sys.exit`` instead is told as an error with its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from equiscope.foundations.errors import EquiscopeError

__all__ = ["EverythingSeen", "no_exit"]


class EverythingSeen(BaseException):
    """Raised inside a forward pass once what was asked for has been seen.

    Not an `Exception`: a network that catches those, to go on in another way, would go on.
    """


@contextmanager
def no_exit(what: str) -> Iterator[None]:
    """Turn the end of the program that other people's code asks for into an error; Ctrl-C stays what it is.

    Parameters
    ----------
    what
        What runs in the block, as the beginning of the message: ``"the forward pass of net"``.

    Raises
    ------
    EquiscopeError
        If the block raises `SystemExit`, `GeneratorExit`, or an exception of the code's own that is no `Exception`.

    Examples
    --------
    >>> try:
    ...     with no_exit("the factory 'nets.py:build'"):
    ...         raise SystemExit
    ... except EquiscopeError:
    ...     "the program goes on"
    'the program goes on'
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, EverythingSeen):
        raise
    except BaseException as error:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise EquiscopeError(
            f"{what} ends the program ({said}) where a result was expected: take that out, or raise an error that says "
            "what is wrong"
        ) from error
