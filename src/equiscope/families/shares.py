"""The share of units that are copies of another by their weights: what a headline says, with an interval."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan

from equiscope.families.family import Family
from equiscope.families.verdict import UNTESTED
from equiscope.foundations.statistics import share_interval

__all__ = ["CopiesShare", "Judged", "count_copies", "judged_family"]


@dataclass(frozen=True)
class Judged:
    """A family as its verdict has it.

    Attributes
    ----------
    units
        Its members.
    word
        Of its verdict; empty where none was asked for.
    cores
        Places of the members of each core.
    """

    units: tuple[Hashable, ...]
    word: str
    cores: Sequence[Sequence[int]]


@dataclass(frozen=True)
class CopiesShare:
    """How many of some units are copies of another by their weights.

    Attributes
    ----------
    n_copies, n_units
        Units that are members of a core, and all of them.
    n_untested
        Units that are in families that could not be tested, and in no core: the share may be larger by these.
    share, low, high
        The share of copies with Wilson's 95 % interval; NaN where no family of these units could be tested.
    """

    n_copies: int
    n_units: int
    n_untested: int
    share: float
    low: float
    high: float

    @property
    def is_measured(self) -> bool:
        """Whether anything could be tested."""
        return not isnan(self.share)


def count_copies(families: Iterable[Judged], units: Iterable[Hashable]) -> CopiesShare:
    """Count the units that are copies of another.

    Parameters
    ----------
    families
        All that are to be looked at, of one transformation or of several.
    units
        Of which the share is told; members of families among others do not count.

    Examples
    --------
    Two of four units are a core; another one is in a family that could not be tested.

    >>> families = [Judged((0, 1, 2), "alike in pose", [(0, 2)]), Judged((2, 3), "untested", [])]
    >>> found = count_copies(families, range(4))
    >>> found.n_copies, found.n_untested, found.share
    (2, 1, 0.5)
    >>> count_copies(families[1:], range(4)).is_measured
    False
    """
    units = set(units)
    own = [family for family in families if not units.isdisjoint(family.units)]
    copies = {family.units[place] for family in own for core in family.cores for place in core} & units
    untested = {unit for family in own if family.word in ("", UNTESTED) for unit in family.units} & units
    n_untested = len(untested - copies)
    is_untested = bool(own) and all(family.word in ("", UNTESTED) for family in own)
    if is_untested or not units:
        return CopiesShare(len(copies), len(units), n_untested, nan, nan, nan)
    low, high = share_interval(len(copies), len(units))
    return CopiesShare(len(copies), len(units), n_untested, len(copies) / len(units), low, high)


def judged_family(family: Family) -> Judged:
    """Give a family as its verdict has it; units are (layer, channel).

    Examples
    --------
    >>> judged_family(Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=()))
    Judged(units=(), word='', cores=())
    """
    units = tuple((member.layer, member.channel) for member in family.members)
    if family.verdict is None:
        return Judged(units, "", ())
    return Judged(units, family.verdict.word, tuple(core.members for core in family.verdict.cores))
