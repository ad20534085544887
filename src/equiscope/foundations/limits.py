"""Which numbers the functions and commands take, and why no others.

Every public function passes its numbers through the limit that belongs to them, before anything is computed:
``angles = ANGLES.check("angles", angles)``. What is refused is one sentence with the value, the range and a value to
take instead. Lower limits are those of sense. Upper ones keep a slip of the keyboard from filling the memory or
running for weeks: each lies far above what has a use.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from equiscope.foundations.errors import EquiscopeError

__all__ = [
    "ANGLES",
    "CALIBRATION",
    "DRAWS",
    "EVALUATED",
    "EXAMPLES_PER_UNIT",
    "FALSE_DISCOVERY_RATE",
    "MIN_SCORE",
    "NULL_DRAWS",
    "POINTS",
    "PORT",
    "RESAMPLES",
    "SEED",
    "SIDE_PX",
    "STACK",
    "STEPS",
    "STEPS_BETWEEN",
    "TEMPLATES",
    "THREADS",
    "Count",
    "Number",
    "list_names",
]


@dataclass(frozen=True)
class Count:
    """Whole numbers from ``least`` to ``most``, numpy's too; 16.0 and True are none."""

    least: int
    most: int
    advice: str

    def check(self, name: str, value: Any) -> int:
        """Give the value as an int.

        Raises
        ------
        EquiscopeError
            If it is not one of these numbers.
        """
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_whole or not self.least <= value <= self.most:
            raise _refusal(name, value, f"a whole number from {self.least} to {self.most}", self.advice)
        return int(value)


@dataclass(frozen=True)
class Number:
    """Finite numbers from ``least`` to ``most``; without these two if ``is_open``."""

    least: float
    most: float
    advice: str
    is_open: bool = False

    def check(self, name: str, value: Any) -> float:
        """Give the value as a float.

        Raises
        ------
        EquiscopeError
            If it is not one of these numbers, such as NaN.
        """
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        # NaN compares as neither.
        if not is_number or not self.least <= value <= self.most or (self.is_open and value in self._ends):
            between = "above {} and below {}" if self.is_open else "from {} to {}"
            raise _refusal(name, value, "a number " + between.format(*self._ends), self.advice)
        return float(value)

    @property
    def _ends(self) -> tuple[float, float]:
        return self.least, self.most


def _refusal(name: str, value: object, expected: str, advice: str) -> EquiscopeError:
    return EquiscopeError(f"{name} is {_worded(value)}, expected {expected}: {advice}")


def _worded(value: object) -> str:
    """Word what was given, however long it is."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a number of about {math.ceil(value.bit_length() * math.log10(2))} digits"
    return str(value) if isinstance(value, int | float) else reprlib.repr(value)


def list_names(names: str | Iterable[str] | None) -> list[str] | None:
    """List the names that were asked for: a string is one name, not its letters; None stays None.

    Examples
    --------
    >>> list_names("mixed3a"), list_names(("mixed3a", "mixed3b")), list_names(None)
    (['mixed3a'], ['mixed3a', 'mixed3b'], None)
    """
    return [names] if isinstance(names, str) else None if names is None else list(names)


# scikit-learn takes no larger one.
SEED = Count(0, 2**32 - 1, "0 is usual")
# With a rate of 1 everything would be accepted, with 0 nothing.
FALSE_DISCOVERY_RATE = Number(0, 1, "0.05 is usual", is_open=True)
# A correlation.
MIN_SCORE = Number(-1, 1, "leave it out for the usual one")
# Fewer cannot tell a pose. A turn by a degree moves the rim of a patch of 115 px by a pixel; responses take 4 bytes
# times stimuli, angles and units on disk, hue × rotation eight times as many.
ANGLES = Count(4, 360, "16 is usual, and fewer than 4 cannot tell a pose")
# Half of them find, half verify. Among a thousand most are no longer a unit's strongest.
EXAMPLES_PER_UNIT = Count(2, 1000, "8 is usual; half of them find, half verify")
# Without a draw there is no q-value; a thousand searches cost fifty times what twenty do.
NULL_DRAWS = Count(1, 1000, "20 is usual, and without a null nothing can be accepted")
# Of permutations, which are cheaper than searches; 10,000 tell p-values of 0.0001.
DRAWS = Count(1, 10_000, "200 is usual (--draws), and without a null nothing can be accepted")
# One has no spread. All are held at a time: 80 KB a unit and layer for 10,000.
RESAMPLES = Count(2, 10_000, "1000 is usual (--resamples)")
# Of an optimiser that has done most of its work after a hundred.
STEPS = Count(1, 10_000, "128 is enough for most units")
# Each is optimised together with the family's own, in the same memory.
TEMPLATES = Count(0, 100, "1 is usual (--null-draws), 0 leaves the null out")
PORT = Count(0, 65_535, "leave --port out for a free one")
# Each is an evaluation of all images for each method, with and without recalibration.
POINTS = Count(1, 100, "6 is usual (--points)")
EVALUATED = Count(1, 10**9, "leave it out for all (--evaluated)")
# Moments need two; all go through the network in one pass: 1,000 of 224 px take 600 MB before the first layer.
CALIBRATION = Count(2, 1000, "128 is usual (--calibration)")
# A picture of 4,096 px takes 200 MB as float32.
SIDE_PX = Count(1, 4096, "224 is usual (--crop, --resize)")
# Images decoded ahead.
STACK = Count(1, 4096, "16 is usual")
THREADS = Count(1, 256, "one for each free processor is usual (--workers)")
STEPS_BETWEEN = Count(1, 10**9, "500 is usual")
