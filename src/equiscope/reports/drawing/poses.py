"""The members of one family in the order of their poses, with their colours, words and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from equiscope.reports.document.poses import along, measured_pose, stabiliser_of, turns_of_family
from equiscope.reports.document.schema import FamilyEntry, MemberEntry
from equiscope.reports.document.stabilisers import plane_of_stabiliser
from equiscope.reports.drawing.palette import category_colours, hue_colours, pose_colours
from equiscope.transformations import Axis, Pose, Step, Switch, Turn, find
from equiscope.transformations.hue import HUE
from equiscope.transformations.spaces import Cylinder, HandedCircle, Line, Pair, Torus

__all__ = [
    "Shown",
    "Tiles",
    "family_period_deg",
    "has_joint_tuning",
    "is_hue",
    "members_in_order",
    "pose_text",
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
    place
        Its folded pose; 0 where it was not measured.
    pose
        In words.
    colours
        Its own, for a light and for a dark page.
    is_changed
        Whether it is the mirrored or the inverted one: what can be switched is on.
    """

    index: int
    entry: MemberEntry
    place: Pose
    pose: str
    colours: tuple[str, str]
    is_changed: bool = False

    @property
    def unit(self) -> str:
        """``LAYER:CHANNEL``."""
        return f"{self.entry['layer']}:{self.entry['channel']}"


def is_hue(axis: Axis) -> bool:
    """Whether an axis is drawn in the colours that it makes.

    Examples
    --------
    >>> from equiscope.transformations import find
    >>> [is_hue(axis) for axis in find("hue-rotation").axes]
    [False, True]
    """
    return isinstance(axis, Turn) and axis.drawn == HUE.drawn


def family_period_deg(family: FamilyEntry) -> float:
    """Give the angle after which poses of a family repeat, along the first circle that it has.

    Examples
    --------
    >>> family_period_deg({"transformation": "rotation", "stabiliser": [{"angle_deg": 0.0}, {"angle_deg": 180.0}]})
    180.0
    """
    space = find(family["transformation"]).space
    if isinstance(space, Torus):
        return plane_of_stabiliser(stabiliser_of(family), space).width_deg
    return 360.0 / turns_of_family(family)


def pose_text(family: FamilyEntry, member: MemberEntry, period_deg: float) -> str:
    """Give a member's pose under its family's transformation.

    Examples
    --------
    >>> bars = {"transformation": "rotation"}
    >>> [pose_text(bars, {"pose": {"angle_deg": angle}}, period_deg=180.0) for angle in (45.0, 225.0, None)]
    ['45°', '45°', '–']
    """
    return find(family["transformation"]).pose_text(measured_pose(member["pose"]), period_deg)


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
    >>> quarter = {"layer": "conv1", "channel": 4, "pose": {"angle_deg": 90.0}}
    >>> upright = {"layer": "conv1", "channel": 7, "pose": {"angle_deg": 0.0}}
    >>> turns = [{"angle_deg": 0.0}]
    >>> family = {"transformation": "rotation", "stabiliser": turns, "members": [quarter, upright]}
    >>> [shown.entry["channel"] for shown in members_in_order(family, ["conv1"])]
    [7, 4]
    """
    axes = find(family["transformation"]).axes
    period_deg = family_period_deg(family)
    folded = [
        (index, entry, _folded(entry, axes, period_deg)) for index, entry in enumerate(family["members"])
    ]
    # First what is switched, then what is stepped, then what turns.
    ranked = [axis.name for kind in (Switch, Step, Turn) for axis in axes if isinstance(axis, kind)]
    folded.sort(key=lambda own: [own[2][name] for name in ranked])
    switches = [axis.name for axis in axes if isinstance(axis, Switch)]
    return [
        Shown(
            index,
            entry,
            pose,
            pose_text(family, entry, period_deg),
            _colours(family, entry, pose, place, layers, period_deg),
            any(pose[name] for name in switches),
        )
        for place, (index, entry, pose) in enumerate(folded)
    ]


def _folded(member: MemberEntry, axes: Sequence[Axis], period_deg: float) -> Pose:
    """Fold a pose: along its first turn into the period, along others into a full turn."""
    turns = [axis for axis in axes if isinstance(axis, Turn)]
    periods = dict.fromkeys(turns, 360.0) | dict.fromkeys(turns[:1], period_deg)
    values = {axis: along(member, axis) for axis in axes}
    return Pose(
        {axis.name: value % periods[axis] if axis in turns else value for axis, value in values.items()}
    )


def _colours(
    family: FamilyEntry,
    member: MemberEntry,
    pose: Pose,
    place: int,
    layers: Sequence[str],
    period_deg: float,
) -> tuple[str, str]:
    """Give the colours of a member: of its layer where families span layers, else of its pose."""
    transformation = find(family["transformation"])
    for axis in transformation.axes:
        if is_hue(axis):
            return hue_colours(pose[axis.name])
    match transformation.space:
        case Line(is_joint=True) | Cylinder():
            return category_colours(_index_of(member["layer"], layers))
        case Line() | Pair():
            return category_colours(place)
        case space:
            return pose_colours(pose[space.axis.name] / period_deg)


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
    >>> member = Shown(0, {"pose": {"angle_deg": 0.0}}, {"angle_deg": 0.0}, "0°", ("#000000", "#ffffff"))
    >>> tuning = {"axes": {"angle_deg": [0, 180]}, "values": [[1.0, 0.2]]}
    >>> tuning_along({"transformation": "rotation", "tuning": tuning}, member)
    ('angle_deg', [0, 180], [1.0, 0.2])
    """
    tuning = family["tuning"]
    if tuning is None or tuning["values"][member.index] is None:
        return None
    name, axis = list(tuning["axes"].items())[-1]
    own = tuning["values"][member.index]
    match find(family["transformation"]).space:
        case HandedCircle(_, hand):
            own = own[int(member.place[hand.name])]
        case Torus(_, other):
            turns, own_deg = tuning["axes"][other.name], member.place[other.name]
            own = own[min(range(len(turns)), key=lambda i: abs((turns[i] - own_deg + 180) % 360 - 180))]
    return name, axis, own
