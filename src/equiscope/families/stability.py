"""Stability: the share of a family's members that are found again when other photographs are shown.

The photographs of the finding half are drawn anew, with replacement; images of one photograph come together. The
search is done again on their stimuli, and what it finds has to hold on the verifying half and to pass the same null.
Each family is then held against the one most like it, which has the largest share of common members among all that
either has. For example: of a family of 8, 7 are found together in a first resample and 5 in a second, so that its
stability is 0.75.

What it says: whether membership hangs on a few photographs. What it does not say: whether members are copies, for
look-alikes may be found as reliably as copies; nor what a family would grow by.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np

from equiscope.families.family import Family

__all__ = ["share_found", "with_stability"]


def share_found(members: Set[int], found: Sequence[Set[int]]) -> float:
    """Share of some units that are in the family most like them.

    Parameters
    ----------
    members
        The units.
    found
        The families of a resample.

    Examples
    --------
    >>> share_found({1, 2, 3, 4}, [{1, 2, 3, 9}, {4, 5}])
    0.75
    >>> share_found({1, 2}, [])
    0.0
    """
    alike = max(found, key=lambda own: len(own & members) / len(own | members), default=frozenset())
    return len(alike & members) / len(members)


def with_stability(
    families: Sequence[Family], first_columns: dict[str, int], resamples: Sequence[Sequence[Set[int]]]
) -> tuple[Family, ...]:
    """Give each family its stability.

    Parameters
    ----------
    families
        As they were found.
    first_columns
        For each layer the number of its first unit, as the resamples count them.
    resamples
        For each resample the families that were found in it, each a set of units; without any nothing is measured.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.transformations import Pose
    >>> members = tuple(Member("conv1", i, Pose(angle_deg=0.0), 0.9, 0.8, 1.0) for i in range(4))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    >>> with_stability([family], {"conv1": 0}, [[{0, 1, 2, 3}], [{0, 1}]])[0].stability
    0.75
    """
    if not resamples:
        return tuple(families)
    told = []
    for family in families:
        own = {first_columns[member.layer] + member.channel for member in family.members}
        told.append(
            replace(family, stability=float(np.mean([share_found(own, found) for found in resamples])))
        )
    return tuple(told)
