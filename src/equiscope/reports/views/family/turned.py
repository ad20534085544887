"""One stimulus of a family, transformed step by step, over what every member answered to exactly that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from equiscope.reports.document.poses import along
from equiscope.reports.document.schema import FamilyEntry, MemberEntry, TurnedEntry
from equiscope.reports.drawing.poses import Shown
from equiscope.reports.drawing.svg import Drawing
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.family.tuning_drawings import draw_strip
from equiscope.transformations import Axis, Step, Switch, find
from equiscope.transformations.spaces import HandedCircle, Torus

__all__ = ["draw_turned", "turned_sentence"]


def draw_turned(context: SiteContext, family: FamilyEntry, shown: Sequence[Shown]) -> list[Drawing]:
    """Draw the stimulus under each element over the members' responses.

    Returns
    -------
    list
        Empty where it was not kept; two drawings for families that come in two hands, each of the members of one hand.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> from equiscope.reports.drawing.poses import members_in_order
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> context, family = SiteContext(document, Pictures(document)), document["families"][0]
    >>> drawings = draw_turned(context, family, members_in_order(family, ["conv2d0"]))
    >>> [drawing.label.partition(",")[0] for drawing in drawings]
    ['One held-out stimulus shown in 16 steps']
    """
    turned = family.get("turned")
    tiles = context.pictures.turned(family["id"])
    if turned is None or not tiles:
        return []
    names = list(turned["axes"])
    places = [dict(zip(names, values, strict=True)) for values in product(*turned["axes"].values())]
    if len(places) != len(tiles):
        return []
    transformation = find(family["transformation"])
    axis = next((own for own in transformation.axes if own.name == names[-1]), transformation.axes[0])
    match transformation.space:
        case HandedCircle(_, hand) if hand.name in names:
            parts = []
            for is_on in (False, True):
                some = [member for member in shown if member.is_changed == is_on]
                keep = [i for i, place in enumerate(places) if bool(place[hand.name]) == is_on]
                parts.append((some, keep))
        case Torus(_, other) if other.name in names:
            # Of two turns the first is shown, at the value of the other that is nearest to the stimulus' own.
            own_deg = along(_member_of(family, turned), other)
            nearest = min(
                turned["axes"][other.name], key=lambda value: abs((value - own_deg + 180.0) % 360.0 - 180.0)
            )
            parts = [(list(shown), [i for i, place in enumerate(places) if place[other.name] == nearest])]
        case _:
            parts = [(list(shown), list(range(len(places))))]
    return [_strip(family, some, tiles, places, keep, axis) for some, keep in parts if some]


def _strip(
    family: FamilyEntry,
    shown: Sequence[Shown],
    tiles: Sequence[Any],
    places: Sequence[Mapping[str, float]],
    keep: Sequence[int],
    axis: Axis,
) -> Drawing:
    turned = family.get("turned")
    responses = turned.get("responses") if turned is not None else None
    picked: list[list[float | None] | None] = [
        None if responses is None else [responses[i][k] for k in keep] for i in range(family["size"])
    ]
    words = [_word(axis, places[i][axis.name]) for i in keep]
    return draw_strip(shown, [tiles[i] for i in keep], words, picked)


def _member_of(family: FamilyEntry, turned: TurnedEntry) -> MemberEntry:
    return next(
        m for m in family["members"] if (m["layer"], m["channel"]) == (turned["layer"], turned["channel"])
    )


def _word(axis: Axis, value: float) -> str:
    match axis:
        case Step():
            return axis.number(value)
        case Switch():
            return axis.noun if value else "as it is"
        case _:
            return f"{value:g}°"


def turned_sentence(context: SiteContext, family: FamilyEntry) -> str:
    """Say what the drawing shows, or why there is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> turned_sentence(SiteContext(document, Pictures(document)), document["families"][0]).partition(":")[0]
    'Above, one photograph turned'
    """
    turned = family.get("turned")
    if turned is None:
        if not find(family["transformation"]).is_surveyed:
            return ""
        return "This run kept no stimulus of the family under each element: surveys of later versions do."
    if not context.pictures.turned(family["id"]):
        return "The pictures of the transformed stimulus are missing from site/sprites."
    steps = find(family["transformation"]).words.steps
    said = (
        f"Above, one photograph {steps}: the held-out stimulus that excites {turned['layer']}:{turned['channel']} "
        "most. It took no part in finding the family."
    )
    if turned.get("responses") is None:
        return f"{said} What the members answered to it was not kept."
    return (
        f"{said} Below, what each member answered to exactly these images, as a share of its largest response to any. "
        "If the family is one, each responds where the picture shows the feature at its own pose."
    )
