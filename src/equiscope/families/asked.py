"""The families that are asked for: those that are copies, those that are alike in pose too, or all that were accepted.

A survey accepts families whose members *answer* at related poses. Whether they are copies is the verdict's to say
(`equiscope.families.verdict`). What is built on families asks for one of three verdicts:

====== ==============================================================================================
copies families that are copies as a whole, and every core of the others as a family of its own
alike  families that are copies or alike in pose, each as a whole
any    all accepted families, also those that could not be tested
====== ==============================================================================================

The second core of ``mixed3a-rotation-3`` is called ``mixed3a-rotation-3.2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np

from equiscope.families.family import Family, Symmetry, Unit, with_invariances
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, Verdict
from equiscope.foundations.errors import unknown_name
from equiscope.transformations import Pose, find
from equiscope.transformations.spaces import Circle, HandedCircle

__all__ = [
    "ALIKE",
    "ANY",
    "ASKED",
    "ASKED_WORDS",
    "Asked",
    "ask_families",
    "ask_units",
    "core_family",
    "core_id",
    "family_of",
]

ALIKE, ANY = "alike", "any"
ASKED = (COPIES, ALIKE, ANY)

# What a page says of each.
ASKED_WORDS = {
    COPIES: "families that are copies by their weights, and cores of other families that are",
    ALIKE: "families that are copies by their weights, or only alike in pose",
    ANY: "all accepted families, whether or not their members are copies",
}

# The last part of a family's id is a number; a core's place in its family stands behind that.
_CORE = re.compile(r"(?<=-)(\d+)\.\d+\Z")


@dataclass(frozen=True)
class Asked:
    """Families of one verdict, and what became of the others.

    Attributes
    ----------
    families
        Those that are asked for, in the order in which they were found.
    verdict
        Whose they are: what was asked for, or ``any`` where no family has a verdict.
    n_families
        Families that they were chosen from.
    n_divided
        Of those, how many only have cores here.
    n_alike, n_untested
        How many were left out, as alike in pose and as untested.
    """

    families: tuple[Family, ...]
    verdict: str
    n_families: int
    n_divided: int = 0
    n_alike: int = 0
    n_untested: int = 0

    @property
    def sentence(self) -> str:
        """What was left out, and how it is taken; empty where nothing was.

        Examples
        --------
        >>> Asked((), "copies", n_families=5, n_alike=3, n_untested=2).sentence
        'none of 5 families is used: 3 alike in pose and 2 untested were left out, which --verdict any takes'
        """
        named = ((self.n_alike, "alike in pose"), (self.n_untested, "untested"))
        out = " and ".join(f"{n} {why}" for n, why in named if n)
        if not out:
            return ""
        wider = ANY if self.n_untested else ALIKE
        left = f"{out} were left out, which --verdict {wider} takes"
        n_used = self.n_families - self.n_alike - self.n_untested
        if not n_used:
            return f"none of {self.n_families} families is used: {left}"
        cores = f" ({self.n_divided} of them only by cores)" if self.n_divided else ""
        return f"{n_used} of {self.n_families} families are used{cores}: {left}"


def ask_families(families: Sequence[Family], verdict: str) -> Asked:
    """Choose the families of a verdict.

    Parameters
    ----------
    families
        All accepted ones.
    verdict
        ``copies``, ``alike`` or ``any``.

    Raises
    ------
    EquiscopeError
        If there is no such verdict to ask for.

    Notes
    -----
    Of a run that was made before there were verdicts all families are taken: nobody has judged them.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.families.verdict import UNTESTED, Core
    >>> members = tuple(Member("conv1", i, Pose(angle_deg=30.0 * i), 0.9, 0.8, 1.0) for i in range(4))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    >>> partly = replace(family, verdict=Verdict(ALIKE_IN_POSE, cores=(Core((1, 3), 0.9),)))
    >>> untested = replace(family, id="conv1-rotation-2", verdict=Verdict(UNTESTED, "no weights"))
    >>> asked = ask_families([partly, untested], "copies")
    >>> [(own.id, own.channels.tolist()) for own in asked.families]
    [('conv1-rotation-1.1', [1, 3])]
    >>> [own.id for own in ask_families([partly, untested], "alike").families]
    ['conv1-rotation-1']
    """
    if verdict not in ASKED:
        raise unknown_name("verdict to ask for", verdict, ASKED)
    n = len(families)
    if verdict == ANY or all(family.verdict is None for family in families):
        return Asked(tuple(families), ANY if families else verdict, n)
    words = [family.verdict.word if family.verdict else "" for family in families]
    n_untested = sum(word not in (COPIES, ALIKE_IN_POSE) for word in words)
    if verdict == ALIKE:
        tested = [own for own, word in zip(families, words, strict=True) if word in (COPIES, ALIKE_IN_POSE)]
        return Asked(tuple(tested), ALIKE, n, n_untested=n_untested)
    copies = [_copies_of(family) for family in families]
    n_alike = sum(word == ALIKE_IN_POSE and not own for word, own in zip(words, copies, strict=True))
    n_divided = sum(word == ALIKE_IN_POSE and bool(own) for word, own in zip(words, copies, strict=True))
    return Asked(tuple(part for own in copies for part in own), COPIES, n, n_divided, n_alike, n_untested)


def _copies_of(family: Family) -> tuple[Family, ...]:
    """Give a family that is copies as a whole, or its cores."""
    verdict = family.verdict
    if verdict is None or verdict.is_copies:
        return (family,) if verdict else ()
    return tuple(core_family(family, number) for number in range(1, len(verdict.cores) + 1))


def core_id(family_id: str, number: int) -> str:
    """Name a core of a family, by its place among the family's cores, counted from 1.

    Examples
    --------
    >>> core_id("mixed3a-rotation-3", 2)
    'mixed3a-rotation-3.2'
    """
    return f"{family_id}.{number}"


def family_of(name: str) -> str:
    """Give the id of the family that a core is a part of; any other name is given back as it is.

    Examples
    --------
    >>> family_of("mixed3a-rotation-3.2"), family_of("mixed3a-rotation-3"), family_of("block.1:7")
    ('mixed3a-rotation-3', 'mixed3a-rotation-3', 'block.1:7')
    """
    return _CORE.sub(r"\1", name)


def core_family(family: Family, number: int) -> Family:
    """Make a core of a family a family of its own.

    Parameters
    ----------
    family
        Alike in pose.
    number
        Of the core, counted from 1.

    Notes
    -----
    A member's score is its mean correlation with all members of the whole family: those with the core's alone are not
    kept. So the core's score is the mean of these, which is lower than what its members have with each other where the
    others are less alike. Its interval is the mean of theirs, which is no narrower than that of the mean: members share
    their stimuli. What was measured of the whole family alone (disagreement, coherence, margin, what explains it) is
    not said of the core.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.families.verdict import Core
    >>> members = tuple(Member("conv1", i, Pose(angle_deg=90.0 * i), 0.5 + i / 10, 0.4, 1.0) for i in range(3))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.6, 0.4, 1.0, 0.01, members)
    >>> family = replace(family, tree=((1, 2, 0.9), (0, 3, 0.5)))
    >>> core = core_family(replace(family, verdict=Verdict(ALIKE_IN_POSE, cores=(Core((1, 2), 0.95),))), 1)
    >>> core.id, core.size, round(core.score, 2), core.tree, core.verdict.is_copies
    ('conv1-rotation-1.1', 2, 0.65, ((0, 1, 0.9),), True)
    """
    verdict = family.verdict or Verdict("")
    core = verdict.cores[number - 1]
    members = tuple(family.members[place] for place in core.members)
    layers = {member.layer for member in members}
    everybody = replace(core, members=tuple(range(len(members))))
    own = replace(
        _without_figures(family),
        id=core_id(family.id, number),
        layers=tuple(layer for layer in family.layers if layer in layers),
        members=members,
        score=float(np.mean([member.score for member in members])),
        score_low=float(np.mean([member.score_low for member in members])),
        score_high=float(np.mean([member.score_high for member in members])),
        tree=_subtree(family, core.members),
        verdict=Verdict(COPIES, likeness=core.likeness, tested=verdict.tested, cores=(everybody,)),
    )
    return _with_spacing(own)


def _without_figures(family: Family) -> Family:
    """Take away what was measured of the whole family and is not known of its parts."""
    return replace(
        family,
        disagreement=Pose(),
        phase_coherence=nan,
        margin=nan,
        margin_low=nan,
        margin_high=nan,
        half_turns=(),
        invariant_to=(),
        explained_by="",
        alternatives=(),
        strangers_95=nan,
        stability=nan,
    )


def _subtree(family: Family, members: Sequence[int]) -> tuple[tuple[int, int, float], ...]:
    """Give the merges of a family's tree among some of its members, counted anew."""
    leaves: list[frozenset[int]] = [frozenset([place]) for place in range(family.size)]
    number = {frozenset([place]): index for index, place in enumerate(members)}
    merges: list[tuple[int, int, float]] = []
    for a, b, level in family.tree:
        one, other = leaves[a], leaves[b]
        leaves.append(one | other)
        if one in number and other in number:
            number[one | other] = len(members) + len(merges)
            merges.append((number[one], number[other], level))
    return tuple(merges)


def _with_spacing(own: Family) -> Family:
    """Measure anew how a part of a family stands on its circle."""
    channels = set(own.channels.tolist())
    kept = tuple(pair for pair in own.duplicates if set(pair) <= channels)
    space = find(own.transformation).space
    if isnan(own.gap_deviation_deg) or not isinstance(space, Circle | HandedCircle):
        return replace(own, duplicates=kept, holes_deg=(), gap_deviation_deg=nan)
    # Here, because the search needs torch, which reading the families of a run does not wait for.
    from equiscope.families.circle import spacing

    period = 360.0 / own.stabiliser_order
    deviation, holes, duplicates = spacing(own.channels, own.coordinates(space.axes[0].name) % period, period)
    return replace(own, gap_deviation_deg=deviation, holes_deg=holes, duplicates=duplicates)


def ask_units(
    units: Iterable[Unit], families: Sequence[Family]
) -> tuple[tuple[Unit, ...], tuple[Family, ...]]:
    """Say of every unit whether it is in one of the families that are asked for, and of their parts what units say.

    A member of a family that is not asked for becomes ``neither``: it is no copy, nor invariant.

    Returns
    -------
    tuple
        Units and families; a core's members alone say to what it is invariant.

    Examples
    --------
    >>> line = Symmetry("rotation", "equivariant", "conv1-rotation-1", score=0.8, invariance=0.1)
    >>> (unit,), _ = ask_units([Unit("conv1", 0, 0.0, 1.0, (line,))], families=[])
    >>> unit.under("rotation").kind, unit.under("rotation").family, unit.under("rotation").invariance
    ('neither', None, 0.1)
    """
    units = tuple(units)
    own = {
        (family_of(family.id), member.layer, member.channel): (family, member.score)
        for family in families
        for member in family.members
    }

    def told(unit: Unit, line: Symmetry) -> Symmetry:
        if line.kind != "equivariant":
            return line
        found = own.get((line.family or "", unit.layer, unit.channel))
        if found is None:
            return replace(line, kind="neither", family=None, score=nan)
        return replace(line, family=found[0].id, score=found[1])

    asked = tuple(
        replace(unit, symmetries=tuple(told(unit, line) for line in unit.symmetries)) for unit in units
    )
    parts = [family for family in families if family.id != family_of(family.id)]
    said = {family.id: family for family in with_invariances(parts, units)}
    return asked, tuple(said.get(family.id, family) for family in families)
