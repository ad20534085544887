"""One stimulus of a family, transformed step by step, over what every member answered to exactly that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from equiscope.reports.document.schema import FamilyEntry, MemberEntry, TurnedEntry
from equiscope.reports.document.wording import measured, octaves_text
from equiscope.reports.drawing.poses import Shown
from equiscope.reports.drawing.svg import Drawing
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.family.tuning_drawings import draw_strip
from equiscope.reports.views.family.words import STEPS

__all__ = ["draw_turned", "turned_sentence"]


def draw_turned(context: SiteContext, family: FamilyEntry, shown: Sequence[Shown]) -> list[Drawing]:
    """Draw the stimulus under each element over the members' responses.

    Returns
    -------
    list
        Empty where it was not kept; two drawings for families that come in two hands, each of the members of one hand.
    """
    turned = family.get("turned")
    tiles = context.pictures.turned(family["id"])
    if turned is None or not tiles:
        return []
    names = list(turned["axes"])
    places = [dict(zip(names, values, strict=True)) for values in product(*turned["axes"].values())]
    if len(places) != len(tiles):
        return []
    if "is_mirrored" not in names:
        hue_deg = measured(_member_of(family, turned)["hue_deg"]) or 0.0
        if len(names) > 1:
            # Of two axes the plane's is shown, at the hue that is nearest to the stimulus' own.
            hue_deg = min(
                turned["axes"]["hue_deg"], key=lambda value: abs((value - hue_deg + 180.0) % 360.0 - 180.0)
            )
        keep = [i for i, place in enumerate(places) if len(names) == 1 or place["hue_deg"] == hue_deg]
        return [_strip(family, shown, tiles, places, keep, names[-1])]
    drawings = []
    for is_mirrored in (False, True):
        some = [member for member in shown if member.entry["is_mirrored"] == is_mirrored]
        keep = [i for i, place in enumerate(places) if bool(place["is_mirrored"]) == is_mirrored]
        if some:
            drawings.append(_strip(family, some, tiles, places, keep, names[-1]))
    return drawings


def _strip(
    family: FamilyEntry,
    shown: Sequence[Shown],
    tiles: Sequence[Any],
    places: Sequence[Mapping[str, float]],
    keep: Sequence[int],
    axis: str,
) -> Drawing:
    turned = family.get("turned")
    responses = turned.get("responses") if turned is not None else None
    picked: list[list[float | None] | None] = [
        None if responses is None else [responses[i][k] for k in keep] for i in range(family["size"])
    ]
    words = [_word(family, axis, places[i][axis]) for i in keep]
    return draw_strip(shown, [tiles[i] for i in keep], words, picked)


def _member_of(family: FamilyEntry, turned: TurnedEntry) -> MemberEntry:
    return next(
        m for m in family["members"] if (m["layer"], m["channel"]) == (turned["layer"], turned["channel"])
    )


def _word(family: FamilyEntry, axis: str, value: float) -> str:
    if axis == "octaves":
        return octaves_text(value)
    if axis == "element":
        changed = "mirrored" if family["transformation"] == "reflection" else "inverted"
        return changed if value else "as it is"
    return f"{value:g}°"


def turned_sentence(context: SiteContext, family: FamilyEntry) -> str:
    """Say what the drawing shows, or why there is none."""
    turned = family.get("turned")
    if turned is None:
        if family["transformation"] == "rotation-scale":
            return ""
        return "This run kept no stimulus of the family under each element: surveys of later versions do."
    if not context.pictures.turned(family["id"]):
        return "The pictures of the transformed stimulus are missing from site/sprites."
    step = STEPS.get(family["transformation"], "transformed")
    said = (
        f"Above, one photograph {step}: the held-out stimulus that excites {turned['layer']}:{turned['channel']} most. "
        "It took no part in finding the family."
    )
    if turned.get("responses") is None:
        return f"{said} What the members answered to it was not kept."
    return (
        f"{said} Below, what each member answered to exactly these images, as a share of its largest response to any. "
        "If the family is one, each responds where the picture shows the feature at its own pose."
    )
