"""Cores of a document's families, as families of their own: what commands call them that ask for copies."""

from __future__ import annotations

from equiscope.families.asked import core_id
from equiscope.families.verdict import COPIES
from equiscope.reports.document.schema import FamilyEntry

__all__ = ["core_entries"]


def core_entries(family: FamilyEntry) -> list[FamilyEntry]:
    """Give the cores of a family that is not one of copies as a whole; none of other families.

    Only its id, its size and its members are a core's own: all else is said of the whole family.

    Examples
    --------
    >>> members = [{"layer": "conv1", "channel": channel} for channel in (3, 5, 8)]
    >>> verdict = {"word": "alike in pose", "cores": [{"members": [0, 2], "likeness": 0.9}]}
    >>> family = {"id": "conv1-rotation-1", "size": 3, "members": members, "verdict": verdict}
    >>> [(own["id"], [member["channel"] for member in own["members"]]) for own in core_entries(family)]
    [('conv1-rotation-1.1', [3, 8])]
    """
    verdict = family.get("verdict")
    if verdict is None or verdict["word"] == COPIES:
        return []
    cores = []
    for number, core in enumerate(verdict["cores"], 1):
        own = family.copy()
        own["id"], own["size"] = core_id(family["id"], number), len(core["members"])
        own["members"] = [family["members"][place] for place in core["members"]]
        cores.append(own)
    return cores
