"""The poses of a family's members on photographs and on drawn stimuli, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.wording import counted, measured, number
from equiscope.reports.drawing.poses import Shown, family_period_deg
from equiscope.reports.drawing.svg import Drawing, Node, node, text_node
from equiscope.transformations import Axis, Step, Switch, axis_of, find

__all__ = ["synthetic_drawings"]

_Measured = Mapping[str, float | None]

# As wide as the drawing of the family's tuning, beside which it stands.
_WIDTH, _LEFT = 480.0, 108.0
_TOP = 30.0


def synthetic_drawings(family: FamilyEntry, shown: Sequence[Shown]) -> list[Drawing]:
    """Draw the members' poses on drawn stimuli, one drawing an axis that was measured.

    Examples
    --------
    >>> from equiscope.reports.drawing.poses import members_in_order
    >>> members = [{"layer": "conv1", "channel": i, "pose": {"angle_deg": 90.0 * i}} for i in range(2)]
    >>> poses = [{"pose": 0.0, "synthetic": 6.0, "error": 3.0}, {"pose": 90.0, "synthetic": 90.0, "error": -3.0}]
    >>> verification = [{"axis": "rotation", "members": poses}]
    >>> family = {"transformation": "rotation", "stabiliser": [], "members": members, "verification": verification}
    >>> [drawing.label for drawing in synthetic_drawings(family, members_in_order(family, ["conv1"]))]
    ['Poses of the 2 members on photographs and on drawn stimuli: pose of the plane']
    """
    drawings = []
    for entry in family["verification"]:
        members, axis = entry.get("members") or [], axis_of(family["transformation"], entry["axis"])
        if axis is not None and not isinstance(axis, Switch) and members:
            drawing = _draw_synthetic(family, shown, axis, members)
            if drawing is not None:
                drawings.append(drawing)
    return drawings


def _draw_synthetic(
    family: FamilyEntry, shown: Sequence[Shown], axis: Axis, members: Sequence[_Measured]
) -> Drawing | None:
    """Draw each member's pose on photographs and on drawn stimuli.

    Parameters
    ----------
    family
        The family.
    shown
        Its members.
    axis
        Along which poses are compared.
    members
        ``pose``, ``synthetic`` and ``error`` of each member in the family's own order, as in ``verification.json``.

    Returns
    -------
    Drawing or None
        None where no member was measured.
    """
    by_index = {member.index: members[member.index] for member in shown if member.index < len(members)}
    if not any(measured(own["error"]) is not None for own in by_index.values()):
        return None
    scale = _scale_of(family, axis, list(by_index.values()))
    row = 17.0 if len(shown) <= 14 else 15.0
    end = _TOP + row * len(shown)
    ticks = scale.ticks()
    grid = "".join(f"M{scale.x(value):.1f},{_TOP - 6:g}V{end:.1f}" for value, _ in ticks)
    nodes = [*_legend(), node("path", "grid", d=grid)]
    nothing: _Measured = {"pose": None, "synthetic": None, "error": None}
    for i, member in enumerate(shown):
        own = by_index.get(member.index, nothing)
        nodes.append(_draw_member(member, own, scale, _TOP + row * (i + 0.5), row))
    nodes += [text_node(scale.x(value), end + 11, text, "text middle") for value, text in ticks]
    name = axis.pose_label
    nodes.append(text_node(_LEFT, end + 28, name))
    label = f"Poses of the {counted(len(shown), 'member')} on photographs and on drawn stimuli: {name}"
    return Drawing(_WIDTH, end + 40.0, nodes, label)


@dataclass(frozen=True)
class _Scale:
    """Where along the drawing a pose stands: within one period, or along a line of steps."""

    axis: Axis
    low: float
    high: float

    @property
    def is_line(self) -> bool:
        return isinstance(self.axis, Step)

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 60.0) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        if isinstance(self.axis, Step):
            whole = range(math.ceil(self.low), math.floor(self.high) + 1)
            return [(float(k), self.axis.number(k).replace(".00", "")) for k in whole]
        return [(self.high * k / 4, f"{self.high * k / 4:g}°") for k in range(5)]


def _scale_of(family: FamilyEntry, axis: Axis, members: Sequence[_Measured]) -> _Scale:
    if not isinstance(axis, Step):
        # Poses repeat within a period along the first axis, and after a full turn along others.
        is_first = axis == find(family["transformation"]).axes[0]
        return _Scale(axis, 0.0, family_period_deg(family) if is_first else 360.0)
    values = [own["pose"] for own in members if measured(own["pose"]) is not None]
    errors = [abs(own["error"] or 0.0) for own in members if measured(own["error"]) is not None]
    reach = max(errors, default=0.0) + 0.15
    return _Scale(axis, min(v or 0.0 for v in values) - reach, max(v or 0.0 for v in values) + reach)


def _legend() -> list[Node]:
    return [
        node("g", "", node("circle", "spot", cx=_LEFT, cy=10, r=4), text_node(_LEFT + 9, 10.0, "on photographs"),
             node("circle", "open-spot", cx=_LEFT + 112, cy=10, r=4), text_node(_LEFT + 121, 10.0, "on drawings"),
             colours=("#1c1d1f", "#e6e5e1")),
        text_node(_WIDTH - 4, 10.0, "apart by", "text end"),
    ]  # fmt: skip


def _draw_member(member: Shown, own: _Measured, scale: _Scale, y: float, row: float) -> Node:
    """Draw the lane of one member: its pose on photographs, that on drawings, and how far they are apart."""
    group = node("g", "member", colours=member.colours, unit=member.unit)
    group.add(node("title", "", f"{member.unit}, {member.pose}"))
    group.add(node("rect", "lane", x=0, y=y - row / 2, width=_WIDTH, height=row))
    group.add(text_node(_LEFT - 14, y, member.pose, "text end"))
    pose, error = measured(own["pose"]), measured(own["error"])
    if pose is not None:
        start = pose if scale.is_line else pose % scale.high
        if error is not None:
            # Drawings leave one offset common to the family open; without it only the error remains.
            group.add(*_apart(start, error, scale, y))
        group.add(node("circle", "spot", cx=scale.x(start), cy=y, r=4))
    if error is None:
        group.add(text_node(_WIDTH - 4, y, "did not fire", "text small end"))
    else:
        # Steps are in the unit of the chart.
        said = number(error) if scale.is_line else scale.axis.distance_text(error)
        group.add(text_node(_WIDTH - 4, y, said, "text end"))
    return group


def _apart(start: float, error: float, scale: _Scale, y: float) -> list[Node]:
    """Give a line from one pose to the other, round the circle where that is where it goes."""
    end, low, high = start + error, scale.low, scale.high
    if scale.is_line or low <= end <= high:
        pieces, place = [(start, end)], end
    elif end > high:
        place = end - (high - low)
        pieces = [(start, high), (low, place)]
    else:
        place = end + (high - low)
        pieces = [(start, low), (high, place)]
    path = "".join(f"M{scale.x(a):.1f},{y:.1f}H{scale.x(b):.1f}" for a, b in pieces)
    return [node("path", "span", d=path), node("circle", "open-spot", cx=scale.x(place), cy=y, r=4)]
