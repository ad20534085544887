"""Judge families: give each the verdict that the weights of its members support.

A family is *copies* if the mean likeness of two members is high enough, and higher than with poses permuted. Otherwise
it is *alike in pose*, and the weights are asked about its parts: the tree in which its members came together by their
responses is gone through from the top, and the largest parts whose weights agree are the cores. So weights decide where
to cut the tree, never who is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.witnesses.weights import WeightsOf, WeightWitness
from equiscope.families.family import Family
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED, Core, Verdict

__all__ = ["LEAST_LIKENESS", "LEAST_TESTED", "give_verdict", "judge_families"]

Floats = NDArray[np.float64]

# Mean likeness from which members are copies, chosen on the even seeds of the battery (reproduce/battery.py).
LEAST_LIKENESS = 0.75
# Share of the inputs' energy below which what could be tested does not speak for the whole.
LEAST_TESTED = 0.25


def judge_families(
    families: Sequence[Family], weights: WeightsOf, on_family: Callable[[int], object] = lambda _: None
) -> tuple[Family, ...]:
    """Give every family its verdict.

    Parameters
    ----------
    families
        Of all layers.
    weights
        Of the network.
    on_family
        Called with 1 after each.

    Examples
    --------
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_circuits
    >>> planted = planted_circuits()
    >>> geometries = find_geometry(planted.model, ["early", "late"])
    >>> weights = WeightsOf(planted.model, geometries, planted.families, planted.units)
    >>> [family.verdict.word for family in judge_families(planted.families, weights)]
    ['copies', 'copies', 'copies', 'copies']
    """
    judged = []
    for family in families:
        judged.append(replace(family, verdict=give_verdict(family, weights.of(family))))
        on_family(1)
    return tuple(judged)


def give_verdict(family: Family, witness: WeightWitness) -> Verdict:
    """Judge one family by what the weights say of it.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.transformations import Pose
    >>> members = tuple(Member("conv1", i, Pose(angle_deg=90.0 * i), 0.9, 0.8, 1.0) for i in range(3))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    >>> family = replace(family, tree=((0, 1, 0.95), (2, 3, 0.7)))
    >>> likeness = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    >>> verdict = give_verdict(family, WeightWitness(0.4, permuted_95=0.3, tested=1.0, pairs=likeness))
    >>> verdict.word, [core.members for core in verdict.cores]
    ('alike in pose', [(0, 1)])
    """
    if witness.reason:
        return Verdict(UNTESTED, witness.reason)
    figures = Verdict(
        ALIKE_IN_POSE, "", witness.likeness, witness.low, witness.high, witness.permuted_95, witness.tested
    )
    if witness.tested < LEAST_TESTED:
        why = f"only {witness.tested:.0%} of what feeds its members comes from units that move along with it"
        return replace(figures, word=UNTESTED, reason=why)
    whole = tuple(range(family.size))
    stands_out = isnan(witness.permuted_95) or witness.likeness > witness.permuted_95
    if witness.likeness >= LEAST_LIKENESS and stands_out:
        return replace(figures, word=COPIES, cores=(Core(whole, witness.likeness, _level(family)),))
    return replace(figures, cores=tuple(_find_cores(family, witness.pairs)))


def _level(family: Family) -> float:
    return family.tree[-1][2] if family.tree else float("nan")


def _find_cores(family: Family, likeness: Floats) -> list[Core]:
    """Find the largest parts of a family's tree, of two members or more, that are alike by their weights."""
    if not family.tree:
        return []
    n = family.size
    parts: dict[int, tuple[int, ...]] = {index: (index,) for index in range(n)}
    for step, (a, b, _) in enumerate(family.tree):
        parts[n + step] = tuple(sorted(parts[a] + parts[b]))
    cores, waiting = [], [n + len(family.tree) - 1]
    while waiting:
        node = waiting.pop()
        if node < n:
            continue
        members = parts[node]
        a, b, level = family.tree[node - n]
        found = _mean_of(likeness, members)
        # The whole was judged before, also against its null.
        if len(members) < n and found >= LEAST_LIKENESS:
            cores.append(Core(members, found, level))
        else:
            waiting += [a, b]
    return sorted(cores, key=lambda core: (-len(core.members), core.members))


def _mean_of(likeness: Floats, members: Sequence[int]) -> float:
    own = likeness[np.ix_(members, members)]
    return float(own[~np.eye(len(own), dtype=bool)].mean())
