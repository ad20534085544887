"""Judge families: give each the verdict that the weights of its members support.

The weights go up the tree in which a family's members came together by their responses. Where two parts merge, both of
which are copies, the whole is if their members are alike across the merge. A family is *copies* if that holds to the
top, if its members are more alike than with poses permuted, and if they answer more alike than 95 % of the layer's
other units do at the poses that suit them best; otherwise it is *alike in pose*, and the largest parts up to which it
holds are its cores. So weights decide how far up the tree copies go, never who is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from equiscope.evidence.witnesses.weights import WeightsOf, WeightWitness
from equiscope.families.family import Family
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED, Core, Verdict

__all__ = ["LEAST_LIKENESS", "LEAST_TESTED", "give_verdict", "judge_families"]

Floats = NDArray[np.float64]

# Mean likeness of the members of two parts from which both are copies. On the even seeds of the battery 0.7 lets 2 % of
# wrong pairs through, 0.8 0.2 %, and 0.85 loses true ones (reproduce/battery.py).
LEAST_LIKENESS = 0.8
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
        why = f"only {100 * witness.tested:.0f} % of what feeds its members comes from units that move along with it"
        return replace(figures, word=UNTESTED, reason=why)
    cores = _find_cores(family, witness.pairs)
    stands_out = not (witness.likeness <= witness.permuted_95 or family.score <= family.strangers_95)
    is_whole = len(cores) == 1 and len(cores[0].members) == family.size
    if is_whole and not stands_out:
        cores = []
    return replace(figures, word=COPIES if is_whole and stands_out else ALIKE_IN_POSE, cores=tuple(cores))


def _find_cores(family: Family, likeness: Floats) -> list[Core]:
    """Find the largest parts of a family's tree, of two members or more, in which every merge is one of copies.

    A family without a tree, of a run from before there were any, is one part: it is of copies if it is across every
    merge of the tree that its likeness gives. Among eight copies a stranger hardly lowers the mean over all pairs.
    """
    n, everybody = family.size, tuple(range(family.size))
    if not family.tree:
        apart = squareform(np.clip(1 - likeness, 0, None), checks=False)
        is_one = 1 - linkage(apart, "average")[:, 2].max() >= LEAST_LIKENESS
        return [Core(everybody, _mean_of(likeness, everybody))] if is_one else []
    cores: dict[int, Core] = {index: Core((index,), 1.0) for index in range(n)}
    for step, (a, b, level) in enumerate(family.tree):
        if a not in cores or b not in cores:
            continue
        one, other = cores[a].members, cores[b].members
        if likeness[np.ix_(one, other)].mean() >= LEAST_LIKENESS:
            members = tuple(sorted(one + other))
            cores[n + step] = Core(members, _mean_of(likeness, members), level)
            del cores[a], cores[b]
    found = [core for core in cores.values() if len(core.members) > 1]
    return sorted(found, key=lambda core: (-len(core.members), core.members))


def _mean_of(likeness: Floats, members: Sequence[int]) -> float:
    own = likeness[np.ix_(members, members)]
    return float(own[~np.eye(len(own), dtype=bool)].mean())
