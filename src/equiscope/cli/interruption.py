"""Ctrl-C: one line and exit code 130, at any moment.

Python turns the signal into a ``KeyboardInterrupt`` wherever the program happens to be. That is right while a command
works: what it is writing is put away. It is wrong while a module is imported, where numpy and others make an
``ImportError`` of it or lose it, and in a destructor, where Python prints a traceback and goes on. There the process
ends at once: nothing is half written then that a killed process would not leave, too.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["INTERRUPTED", "READER_HAS_GONE", "interruptible"]

# What a shell reports of a program that SIGINT or SIGPIPE ended: 128 + the signal's number.
INTERRUPTED, READER_HAS_GONE = 130, 141
_IMPORTING = "<frozen importlib._bootstrap>"
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def interruptible(next_step: str) -> Iterator[None]:
    """Turn Ctrl-C in the block into one line on standard error and exit code 130.

    Parameters
    ----------
    next_step
        What the line says after "interrupted".

    Raises
    ------
    SystemExit
        With code 130, if the block was interrupted and did not end well in spite of it.

    Examples
    --------
    In a program that nobody began with the signal ignored, as shells begin what runs in the background.

    >>> import subprocess
    >>> program = '''
    ... import signal
    ... from equiscope.cli.interruption import interruptible
    ... signal.signal(signal.SIGINT, signal.default_int_handler)
    ... with interruptible("give the same command again"):
    ...     raise KeyboardInterrupt
    ... '''
    >>> ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    >>> ended.returncode, ended.stderr.strip()
    (130, 'equiscope: interrupted; give the same command again')
    """
    is_alone = threading.current_thread() is not threading.main_thread()  # Signals reach the main thread.
    # Who began the program may have had the signal ignored, as `nohup` and scripts do with what runs in the background.
    if is_alone or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield
        return
    interruption = _Interruption(next_step)
    # For the moment between the end of the block and that of the process.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    before = signal.signal(signal.SIGINT, interruption.arrive), sys.unraisablehook
    sys.unraisablehook = interruption.arrive_unraisably(before[1])
    try:
        yield
    except BaseException as error:
        if interruption.explains(error):
            interruption.say()
            # The signal stays in these hands until the process has ended: it may come once more.
            raise SystemExit(INTERRUPTED) from None
        _give_back(*before)
        raise
    _give_back(*before)


def _give_back(on_signal: Any, on_unraisable: Any) -> None:
    signal.signal(signal.SIGINT, on_signal)
    sys.unraisablehook = on_unraisable


class _Interruption:
    """Whether Ctrl-C was pressed, and what was said of it."""

    def __init__(self, next_step: str) -> None:
        self._line = f"equiscope: interrupted; {next_step}\n"
        self._has_come = self._is_said = False

    def arrive(self, _signal: int, frame: FrameType | None) -> None:
        """Interrupt the work; end the process where that cannot be, and the second time."""
        if self._has_come or _is_importing(frame):
            self._end()
        self._has_come = True
        raise KeyboardInterrupt

    def arrive_unraisably(self, otherwise: Any) -> Any:
        """Give a hook for exceptions that Python cannot raise, as in a destructor, where the interruption was lost."""

        def hook(unraisable: Any) -> None:
            if issubclass(unraisable.exc_type, KeyboardInterrupt):
                self._end()
            otherwise(unraisable)

        return hook

    def explains(self, error: BaseException) -> bool:
        """Whether the block ended so because it was interrupted, also by a signal that it took itself."""
        if isinstance(error, SystemExit):
            return error.code == INTERRUPTED or (self._has_come and bool(error.code))
        return self._has_come or isinstance(error, KeyboardInterrupt)

    def say(self) -> None:
        """Write the line, once, in the middle of whatever else is being written."""
        if not self._is_said:
            self._is_said = True
            # A progress bar hides the cursor, and the terminal has just written ^C.
            begin = f"{_SHOW_CURSOR}\n" if os.isatty(2) else ""
            os.write(2, (begin + self._line).encode())

    def _end(self) -> None:
        self.say()
        os._exit(INTERRUPTED)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported where the signal arrived."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
