"""The members of one family in the order of their poses, with their colours, words and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from equiscope.reports.document.schema import FamilyEntry, MemberEntry
from equiscope.reports.document.stabilisers import parse_stabiliser, plane_of_stabiliser
from equiscope.reports.document.wording import measured, pose_text
from equiscope.reports.drawing.palette import category_colours, hue_colours, pose_colours

__all__ = [
    "Shown",
    "Tiles",
    "family_period_deg",
    "has_joint_tuning",
    "members_in_order",
    "tuning_along",
]


class Tiles(Protocol):
    """What drawings ask of the pictures of a document: `equiscope.reports.document.pictures.sprites.Pictures`."""

    def tile(self, layer: str, channel: int, rank: int = 0, half: int | None = None) -> Any | None:
        """Give the tile of one of a unit's strongest stimuli, or None."""
        ...

    def n_stimuli(self, layer: str, channel: int, half: int | None = None) -> int:
        """Give how many of a unit's stimuli have a tile."""
        ...

    def turned(self, family_id: str) -> Sequence[Any]:
        """Give the tiles of a family's strongest held-out stimulus under each element that is shown."""
        ...


@dataclass(frozen=True)
class Shown:
    """One member, its pose folded into the family's period.

    Attributes
    ----------
    index
        Its place in the family's own order, and so in the tuning.
    entry
        The member.
    angle_deg, hue_deg, octaves
        Its pose; 0 where the family has none of the kind.
    pose
        In words.
    colours
        Its own, for a light and for a dark page.
    """

    index: int
    entry: MemberEntry
    angle_deg: float
    hue_deg: float
    octaves: float
    pose: str
    colours: tuple[str, str]

    @property
    def unit(self) -> str:
        """``LAYER:CHANNEL``."""
        return f"{self.entry['layer']}:{self.entry['channel']}"

    @property
    def is_changed(self) -> bool:
        """Whether it is the mirrored or the inverted one."""
        return self.entry["is_mirrored"] or self.entry["is_inverted"]


def family_period_deg(family: FamilyEntry) -> float:
    """Give the turn, of the plane or for hue of hue, after which poses of a family repeat.

    Examples
    --------
    >>> family_period_deg({"transformation": "rotation", "stabiliser_order": 2})
    180.0
    """
    if family["transformation"] == "hue-rotation":
        return plane_of_stabiliser(parse_stabiliser(family["stabiliser"])).angle_deg
    return 360.0 / max(1, family["stabiliser_order"])


def members_in_order(family: FamilyEntry, layers: Sequence[str]) -> list[Shown]:
    """Give the members in the order of their poses.

    Parameters
    ----------
    family
        The family.
    layers
        Names of all layers in order: members of families that span layers have the colours of theirs.

    Examples
    --------
    >>> pose = {"layer": "conv1", "hue_deg": None, "octaves": None, "is_mirrored": False, "is_inverted": False}
    >>> members = [pose | {"channel": 4, "pose_deg": 90.0}, pose | {"channel": 7, "pose_deg": 0.0}]
    >>> family = {"transformation": "rotation", "stabiliser_order": 1, "members": members}
    >>> [shown.entry["channel"] for shown in members_in_order(family, ["conv1"])]
    [7, 4]
    """
    period_deg = family_period_deg(family)
    transformation = family["transformation"]
    is_hue = transformation == "hue"
    folded = []
    for index, entry in enumerate(family["members"]):
        hue_deg = (measured(entry["hue_deg"]) or 0.0) % (period_deg if is_hue else 360.0)
        angle_deg = (measured(entry["pose_deg"]) or 0.0) % period_deg
        folded.append((index, entry, angle_deg, hue_deg, measured(entry["octaves"]) or 0.0))
    folded.sort(
        key=lambda own: (
            own[1]["is_mirrored"],
            own[1]["is_inverted"],
            own[4],
            0.0 if is_hue else own[2],
            own[3],
        )
    )
    shown = []
    for place, (index, entry, angle_deg, hue_deg, octaves) in enumerate(folded):
        if transformation in ("scale", "rotation-scale"):
            colours = category_colours(_index_of(entry["layer"], layers))
        elif transformation in ("hue", "hue-rotation"):
            colours = hue_colours(hue_deg)
        elif transformation in ("reflection", "contrast"):
            colours = category_colours(place)
        else:
            colours = pose_colours(angle_deg / period_deg)
        pose = pose_text(family, entry, period_deg)
        shown.append(Shown(index, entry, angle_deg, hue_deg, octaves, pose, colours))
    return shown


def _index_of(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)


def has_joint_tuning(family: FamilyEntry) -> bool:
    """Whether some member's responses along the family's own axis were measured.

    Examples
    --------
    >>> has_joint_tuning({"tuning": None})
    False
    >>> has_joint_tuning({"tuning": {"axes": {"angle_deg": [0, 180]}, "values": [None, [1.0, 0.2]]}})
    True
    """
    tuning = family["tuning"]
    return tuning is not None and any(values is not None for values in tuning["values"])


def tuning_along(family: FamilyEntry, member: Shown) -> tuple[str, list[float], list[float | None]] | None:
    """One member's tuning along the axis of its check: name and values of the axis, and the responses.

    Examples
    --------
    >>> member = Shown(0, {"is_mirrored": False}, 0.0, 0.0, 0.0, "0°", ("#000000", "#ffffff"))
    >>> tuning = {"axes": {"angle_deg": [0, 180]}, "values": [[1.0, 0.2]]}
    >>> tuning_along({"transformation": "rotation", "tuning": tuning}, member)
    ('angle_deg', [0, 180], [1.0, 0.2])
    """
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
