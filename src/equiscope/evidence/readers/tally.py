"""How often readers say that the members of a family show the same feature, and how far readers agree.

*Precision* is the share of yes among yes and no. It is told for each verdict, because families that were drawn from one
verdict, or alike often from each, say nothing of all families together; the line of *all* counts those that were drawn
from all. Intervals are exact (Clopper and Pearson). A family of which a reader was unsure counts as neither; how many
there are stands beside. Two readers are compared on the families that both answered with yes or no, beside how often
they would agree by chance: if each said yes as often as they do, but to families at random.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan

from equiscope.evidence.readers.answers import Answer, Answers
from equiscope.families.family import Family
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.statistics import share_interval

__all__ = ["ALL", "Agreement", "Precision", "Tally", "count_answers"]

ALL = "all"
_VERDICTS = (COPIES, ALIKE_IN_POSE, UNTESTED)


@dataclass(frozen=True)
class Precision:
    """How often one reader says yes to families of one verdict.

    Attributes
    ----------
    reader
        By whom.
    verdict
        ``copies``, ``alike in pose``, ``untested``; or ``all`` for the families that were drawn from all.
    n_yes, n_no, n_unsure
        Answers.
    share, low, high
        Share of yes among yes and no, with its exact 95 % interval; NaN without either.
    """

    reader: str
    verdict: str
    n_yes: int
    n_no: int
    n_unsure: int
    share: float = nan
    low: float = nan
    high: float = nan


@dataclass(frozen=True)
class Agreement:
    """How often two readers give the same answer.

    Attributes
    ----------
    first, second
        The readers.
    n_both, n_same
        Families that both answered with yes or no, and those with the same answer.
    share, low, high
        Share of the same, with its exact 95 % interval; NaN where there is none.
    expected
        The share by chance: if both said yes as often as they do, to families at random.
    """

    first: str
    second: str
    n_both: int
    n_same: int
    share: float = nan
    low: float = nan
    high: float = nan
    expected: float = nan


@dataclass(frozen=True)
class Tally:
    """What readers said of the families of a run.

    Attributes
    ----------
    precisions
        By reader and verdict; without verdicts of which a reader judged nothing.
    agreements
        Of every two readers.
    """

    precisions: tuple[Precision, ...]
    agreements: tuple[Agreement, ...]


def count_answers(families: Sequence[Family], readers: Sequence[Answers]) -> Tally:
    """Count what readers said of the families of a run.

    Parameters
    ----------
    families
        Of the run, with their verdicts.
    readers
        Their answers.

    Raises
    ------
    EquiscopeError
        If somebody judged a family that the run does not have, or has with other members; or if a file was given twice.

    Examples
    --------
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=())
    >>> said = Answers("mine.json", (Answer("conv1-rotation-1", (), "yes", "all", 0),))
    >>> [(own.verdict, own.n_yes, round(own.low, 3), own.high) for own in count_answers([family], [said]).precisions]
    [('untested', 1, 0.025, 1.0), ('all', 1, 0.025, 1.0)]
    """
    names = [own.reader for own in readers]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise EquiscopeError(f"{twice[0]} was given twice: give the answers of each reader once")
    by_id = {family.id: family for family in families}
    for own in readers:
        _check_families(own, by_id)
    precisions = [line for own in readers for line in _precisions(own, by_id)]
    return Tally(tuple(precisions), tuple(_agreement(*pair) for pair in combinations(readers, 2)))


def _check_families(own: Answers, by_id: Mapping[str, Family]) -> None:
    for answer in own.answers:
        family = by_id.get(answer.family)
        units = () if family is None else tuple(f"{m.layer}:{m.channel}" for m in family.members)
        if family is None or answer.members != units:
            what = "is none of this run" if family is None else "has other members in this run"
            raise EquiscopeError(
                f"{answer.family!r}, which {own.reader} answers, {what}: give the run whose report was judged"
            )


def _precisions(own: Answers, by_id: Mapping[str, Family]) -> Iterable[Precision]:
    """Count the answers of one reader, by verdict, and of what was drawn from all."""
    by_verdict: dict[str, list[Answer]] = {verdict: [] for verdict in _VERDICTS}
    for answer in own.answers:
        given = by_id[answer.family].verdict
        by_verdict.setdefault(UNTESTED if given is None else given.word, []).append(answer)
    # Drawn from one verdict, or alike often from each, families stand for their verdict and not for the run.
    by_verdict[ALL] = [answer for answer in own.answers if answer.draw == ALL]
    for verdict, answers in by_verdict.items():
        if answers:
            yes, no, unsure = (sum(a.answer == word for a in answers) for word in ("yes", "no", "unsure"))
            yield Precision(own.reader, verdict, yes, no, unsure, *_share(yes, yes + no))


def _share(n: int, total: int) -> tuple[float, float, float]:
    return (n / total if total else nan, *share_interval(n, total, is_exact=True))


def _agreement(first: Answers, second: Answers) -> Agreement:
    sides = [
        {own.family: own.answer == "yes" for own in reader.answers if own.answer != "unsure"}
        for reader in (first, second)
    ]
    both = sorted(sides[0].keys() & sides[1].keys())
    n, n_same = len(both), sum(sides[0][family] == sides[1][family] for family in both)
    if not n:
        return Agreement(first.reader, second.reader, 0, 0)
    one, other = (sum(side[family] for family in both) / n for side in sides)
    expected = one * other + (1 - one) * (1 - other)
    return Agreement(first.reader, second.reader, n, n_same, *_share(n_same, n), expected)
