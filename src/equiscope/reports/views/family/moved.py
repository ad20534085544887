"""The members of a family as they are beside themselves moved back to pose 0, for an eye to judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.drawing.poses import Shown
from equiscope.reports.views.context import SiteContext
from equiscope.transformations import find

__all__ = ["members_at_zero", "moved_sentence", "shown_at_zero"]


def members_at_zero(
    context: SiteContext, family: FamilyEntry, shown: Sequence[Shown]
) -> list[dict[str, Any]]:
    """Give for each member its held-out stimuli and its kernel, as they are and moved back to pose 0.

    Returns
    -------
    list
        In the order of ``shown``; empty where nothing was kept moved.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> from equiscope.reports.drawing.poses import members_in_order
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> context, family = SiteContext(document, Pictures(document)), document["families"][0]
    >>> rows = members_at_zero(context, family, members_in_order(family, ["conv2d0"]))
    >>> len(rows) == family["size"], len(rows[0]["as_they_are"]), len(rows[0]["moved"])
    (True, 4, 4)
    """
    pictures = context.pictures
    moved = pictures.moved(family["id"])
    if not moved:
        return []
    kernels, moved_kernels = (pictures.kernels(family["id"], is_moved=own) for own in (False, True))
    rows = []
    for member in shown:
        layer, channel = member.entry["layer"], member.entry["channel"]
        own = moved[member.index] if member.index < len(moved) else []
        rows.append(
            {
                "unit": member.unit,
                "view": f"{layer}-{channel}",
                "pose": member.pose,
                "light": member.colours[0],
                "dark": member.colours[1],
                "moved": own,
                "as_they_are": [pictures.tile(layer, channel, rank, half=1) for rank in range(len(own))],
                "kernel": kernels[member.index] if kernels else None,
                "moved_kernel": moved_kernels[member.index] if moved_kernels else None,
            }
        )
    return rows


def moved_sentence(family: FamilyEntry, rows: Sequence[dict[str, Any]]) -> str:
    """Say what is shown moved back, and what follows from it; empty where nothing is.

    Examples
    --------
    >>> rows = [{"kernel": None, "moved_kernel": None}]
    >>> moved_sentence({"transformation": "rotation"}, rows).partition(":")[0]
    'Each member’s strongest held-out stimuli as they are, and beside them turned back by its pose'
    """
    if not rows:
        return ""
    back = find(family["transformation"]).words.back
    said = (
        f"Each member’s strongest held-out stimuli as they are, and beside them {back}: if the members are copies, the "
        "pictures on the right show one and the same feature."
    )
    if not rows[0]["kernel"]:
        return said
    kernels = " In front of them stand the kernels by which the members read the image (grey is no weight)"
    if not rows[0]["moved_kernel"]:
        return f"{said}{kernels}, as they are."
    return f"{said}{kernels}: of copies, those on the right are the same."


def shown_at_zero(context: SiteContext, family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any]:
    """Give the rows of the section and the sentence above them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> context = SiteContext(document, Pictures(document))
    >>> shown_at_zero(context, document["families"][0] | {"id": "without pictures"}, [])
    {'rows': [], 'sentence': ''}
    """
    rows = members_at_zero(context, family, shown)
    return {"rows": rows, "sentence": moved_sentence(family, rows)}
