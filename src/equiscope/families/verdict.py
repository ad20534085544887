"""The verdict on a family: whether its members are copies of each other, or only answer at related poses.

Shared poses are not copies. Units that read turned inputs by weights of any kind are tuned to angles, and a search by
responses joins them. A verdict is given by evidence that did not find the family: the weights of its members, moved
back to pose 0 (`equiscope.evidence.witnesses`).

============== =======================================================================================
copies         the weights of its members are alike, and its responses stand out
alike in pose  they are not, or do not; parts of the family that are copies are its cores
untested       nothing could be said, and why
============== =======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan

__all__ = ["ALIKE_IN_POSE", "COPIES", "UNTESTED", "VERDICTS", "Core", "Verdict", "check_verdict"]

COPIES, ALIKE_IN_POSE, UNTESTED = VERDICTS = ("copies", "alike in pose", "untested")


@dataclass(frozen=True)
class Core:
    """Members that are copies of each other.

    Attributes
    ----------
    members
        Their places in the family.
    likeness
        Mean likeness of two of them.
    level
        Correlation of responses on the finding half at which they are one group: where the weights stop agreeing.
    """

    members: tuple[int, ...]
    likeness: float
    level: float = nan


@dataclass(frozen=True)
class Verdict:
    """What is said of a family, and the figures that say it.

    Attributes
    ----------
    word
        ``copies``, ``alike in pose`` or ``untested``.
    reason
        Why nothing could be tested; empty where something was.
    likeness, likeness_low, likeness_high
        Mean likeness of two members by their weights, 1 for exact copies, with its 95 % bootstrap interval over
        members (NaN for two).
    permuted_95
        The 95th percentile of the same with poses permuted among the members; NaN for two.
    tested
        Share of the energy of the inputs that could be tested.
    cores
        Parts that are copies of each other, the largest first: all members where the whole family is.

    Examples
    --------
    >>> Verdict(UNTESTED, reason="weights are not compared under scale").is_copies
    False
    """

    word: str
    reason: str = ""
    likeness: float = nan
    likeness_low: float = nan
    likeness_high: float = nan
    permuted_95: float = nan
    tested: float = 0.0
    cores: tuple[Core, ...] = ()

    @property
    def is_copies(self) -> bool:
        """Whether the whole family is."""
        return self.word == COPIES


def check_verdict(word: str, cores: Iterable[Sequence[int]], size: int) -> None:
    """Check a verdict that was read from a file: its word is known, and its cores are parts of the family.

    Parameters
    ----------
    word
        What it says.
    cores
        Of each core the places of its members in the family.
    size
        Number of the family's members.

    Raises
    ------
    ValueError
        If the word is none of `VERDICTS`, a core has one member or one outside of the family, or two cores share one.

    Examples
    --------
    >>> check_verdict("alike in pose", [(0, 1), (2, 3)], size=5)
    >>> check_verdict("alike in pose", [(0, 1), (2, 5)], size=5)
    Traceback (most recent call last):
    ...
    ValueError: a core has members [2, 5] of a family of 5
    """
    if word not in VERDICTS:
        raise ValueError(f"a verdict is {word[:60]!r}, expected one of {', '.join(VERDICTS)}")
    taken: set[int] = set()
    for members in cores:
        if len(members) < 2 or not all(0 <= place < size for place in members):
            raise ValueError(f"a core has members {str(list(members))[:60]} of a family of {size}")
        if len(taken | set(members)) < len(taken) + len(members):
            raise ValueError(f"a core has members {str(list(members))[:60]}, of which one was named before")
        taken |= set(members)
