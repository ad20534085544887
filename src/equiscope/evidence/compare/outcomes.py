"""What became of each family of both runs in a comparison, and why."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np

from equiscope.evidence.compare.comparison import ComparedFamily, ComparedMember, Match
from equiscope.evidence.compare.counterparts import Counterparts
from equiscope.evidence.compare.sides import member_pose
from equiscope.families.family import Family

__all__ = ["describe_families"]

# What a mutually best pair lacks, by whether it is a counterpart, and whether its poses agree.
_SHORTFALLS = {
    (False, True): "its best match is alike in pose, but no closer than other families of its own layer are",
    (False, False): "its best match agrees with its poses no better than by chance",
    (True, True): "",
    (True, False): "",
}


def describe_families(
    families: Sequence[Sequence[Family]],
    found: Counterparts | None,
    partners: dict[tuple[str, str], Match],
    name: str,
    note: str,
) -> list[ComparedFamily]:
    """Give for each family of both runs its counterpart, or the reason why it has none.

    Examples
    --------
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=())
    >>> (found,) = describe_families([[family], []], None, {}, "rotation", "the other run has no families")
    >>> found.run, found.counterpart, found.reason
    ('a', None, 'the other run has no families')
    """
    described = []
    for number, (run, own) in enumerate(zip("ab", families, strict=True)):
        others = families[1 - number]
        for i, family in enumerate(own):
            match = partners.get((run, family.id))
            nearest, score = None, nan
            if found is not None:
                row = found.scores[i] if number == 0 else found.scores[:, i]
                if np.isfinite(row).any():
                    best = int(np.nanargmax(row))
                    nearest, score = others[best].id, float(row[best])
            if match is None:
                reason = note or (
                    "its members do not respond to the shared stimuli" if nearest is None
                    else "no family is its best match, and it that one's, on both halves of the photographs"
                )  # fmt: skip
            else:
                reason = _SHORTFALLS[match.is_counterpart, match.is_alike]
            counterpart = None
            if match is not None and match.is_counterpart:
                counterpart = match.b if run == "a" else match.a
            members = sorted(
                (ComparedMember(m.layer, m.channel, member_pose(m, name)) for m in family.members),
                key=lambda m: (m.pose, m.channel),
            )
            described.append(
                ComparedFamily(
                    run, family.id, family.layer, name, family.stabiliser_order,
                    counterpart, nearest, score, reason, tuple(members),
                )
            )  # fmt: skip
    return described
