"""The members of one family in the order of their poses, and the part of their tuning that a card shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equiscope.report.charts import parse_stabiliser, plane_of_stabiliser
from equiscope.report.palette import category_colours, hue_colours, pose_colours
from equiscope.report.schema import FamilyEntry, LinkEntry, MemberEntry
from equiscope.report.wording import interval_text, measured, number, pose_text

__all__ = ["PageContext", "Shown", "family_period_deg", "members_in_order", "tuning_along"]


@dataclass(frozen=True)
class PageContext:
    """What a card needs to know of the rest of the page.

    Attributes
    ----------
    pictures
        CSS class and number of stimuli of each unit that has a picture.
    layers
        Names of all layers, in order.
    anchors
        Anchor of each family.
    links
        Rotation families that scale joins.
    members
        Units of each family.
    """

    pictures: Mapping[tuple[str, int], tuple[str, int]]
    layers: Sequence[str]
    anchors: Mapping[str, str]
    links: Sequence[LinkEntry]
    members: Mapping[str, frozenset[tuple[str, int]]]


@dataclass(frozen=True)
class Shown:
    """One member in the order of the card, its pose folded into the family's period.

    ``index``: its place in the family's own order, and in the tuning.
    """

    index: int
    entry: MemberEntry
    angle_deg: float
    hue_deg: float
    octaves: float
    view: dict[str, Any]


def family_period_deg(family: FamilyEntry) -> float:
    """Give the turn, of the plane or for hue of hue, after which poses of a family repeat."""
    if family["transformation"] == "hue-rotation":
        return plane_of_stabiliser(parse_stabiliser(family["stabiliser"])).angle_deg
    return 360.0 / max(1, family["stabiliser_order"])


def members_in_order(family: FamilyEntry, page: PageContext) -> list[Shown]:
    """Members in the order of their poses, with what all parts of the card show of them."""
    period_deg = family_period_deg(family)
    is_hue = family["transformation"] == "hue"
    shown = []
    for index, entry in enumerate(family["members"]):
        hue_deg = (measured(entry["hue_deg"]) or 0.0) % (period_deg if is_hue else 360.0)
        angle_deg = (measured(entry["pose_deg"]) or 0.0) % period_deg
        shown.append(Shown(index, entry, angle_deg, hue_deg, measured(entry["octaves"]) or 0.0, {}))
    is_joint = family["transformation"] == "rotation-scale"
    shown.sort(
        key=lambda m: (
            m.entry["is_mirrored"],
            m.entry["is_inverted"],
            m.octaves,
            0.0 if is_hue else m.angle_deg,
            m.hue_deg,
        )
    )
    spans_layers = is_joint or family["transformation"] == "scale"
    for place, member in enumerate(shown):
        entry = member.entry
        if spans_layers:
            light, dark = category_colours(_index_of(entry["layer"], page.layers))
        elif family["transformation"] in ("hue", "hue-rotation"):
            light, dark = hue_colours(member.hue_deg)
        elif family["transformation"] in ("reflection", "contrast"):
            light, dark = category_colours(place)
        else:
            light, dark = pose_colours(member.angle_deg / period_deg)
        picture = page.pictures.get((entry["layer"], entry["channel"]))
        turn_deg = member.hue_deg if is_hue else member.angle_deg
        has_turn = measured(entry["pose_deg"]) is not None or is_hue
        member.view.update(
            {
                "unit": f"{entry['layer']}:{entry['channel']}",
                "layer": entry["layer"],
                "channel": str(entry["channel"]),
                "pose": pose_text(family, entry, period_deg),
                "hand_deg": f"{-turn_deg:.1f}" if has_turn else None,
                "is_mirrored": entry["is_mirrored"],
                "is_changed": entry["is_mirrored"] or entry["is_inverted"],
                "light": light,
                "dark": dark,
                "score": number(entry["score"]),
                "interval": interval_text(entry["score"], entry["score_low"], entry["score_high"]),
                "picture": picture[0] if picture else None,
                "n_stimuli": picture[1] if picture else 0,
            }
        )
    return shown


def _index_of(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)


def tuning_along(family: FamilyEntry, member: Shown) -> tuple[str, list[float], list[float | None]] | None:
    """One member's tuning along the axis of its check: name and values of the axis, and the responses."""
    tuning = family["tuning"]
    if tuning is None or tuning["values"][member.index] is None:
        return None
    axes = list(tuning["axes"].items())
    own = tuning["values"][member.index]
    if family["transformation"] == "dihedral":
        own = own[int(member.entry["is_mirrored"])]
    elif family["transformation"] == "hue-rotation":
        hues = tuning["axes"]["hue_deg"]
        own = own[min(range(len(hues)), key=lambda i: abs((hues[i] - member.hue_deg + 180) % 360 - 180))]
    name, axis = axes[-1]
    return name, axis, own
