"""How the members of a family respond: to their feature as it is transformed, and to one stimulus turned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from equiscope.reports.document.poses import stabiliser_of
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.wording import counted, measured
from equiscope.reports.drawing.charts import curve_path, heat_paths
from equiscope.reports.drawing.poses import Shown, family_period_deg, has_joint_tuning, tuning_along
from equiscope.reports.drawing.svg import Drawing, Node, draw_tile, node, text_node
from equiscope.transformations import Axis, Step, Turn, find
from equiscope.transformations.spaces import Torus

__all__ = ["draw_joint_tuning", "draw_strip", "draw_tuning"]

# Two of these stand side by side in the view, and one fills a phone.
_WIDTH = 480.0
_LEFT, _RIGHT = 108.0, 14.0
_WIDE = 960.0
# Opacity of each shade of a heat map: steps that the eye takes for equal, and none that is mistaken for paper.
_SHADES = {
    f"h{i}": value for i, value in enumerate((0.0, 0.1, 0.19, 0.28, 0.37, 0.46, 0.56, 0.67, 0.79, 0.92))
}


def _heat(rows: Sequence[Sequence[float | None]], x: float, y: float, width: float, height: float) -> Node:
    """Draw a heat map in the own colour: what was not measured is grey."""
    group = node(
        "g",
        "",
        transform=f"translate({x:.2f},{y:.2f}) scale({width / len(rows[0]):.4f},{height / len(rows):.4f})",
    )
    for level, path in heat_paths(rows):
        if level == "hn":
            group.add(node("path", "unmeasured", d=path))
        else:
            group.add(node("path", "heat", d=path, stroke_opacity=_SHADES[level]))
    return group


def _row_height(n: int) -> float:
    return 17.0 if n <= 14 else 14.0 if n <= 26 else 11.0


def _around(values: Sequence[float | None]) -> list[float | None]:
    """Half cells from 0° to 360° of values whose first cell is centred on 0°."""
    halves = [value for value in values for _ in range(2)]
    return [*halves[1:], halves[0]]


class _Scale:
    """Where along a chart a value of a transformation stands."""

    def __init__(
        self, axis: Axis, values: Sequence[float], period_deg: float, left: float, width: float
    ) -> None:
        self.axis, self.is_cyclic = axis, isinstance(axis, Turn)
        self.left, self.width, self.period_deg = left, width, period_deg
        step = (values[1] - values[0]) if len(values) > 1 else 1.0
        self.low, self.high = (
            (0.0, 360.0) if self.is_cyclic else (values[0] - step / 2, values[-1] + step / 2)
        )

    def x(self, value: float) -> float:
        return self.left + self.width * (value - self.low) / (self.high - self.low)

    def own(self, member: Shown) -> list[float]:
        """All places of a member's pose."""
        start = member.place[self.axis.name]
        if not self.is_cyclic:
            return [self.x(start)]
        return [
            self.x((start + turn * self.period_deg) % 360.0) for turn in range(round(360.0 / self.period_deg))
        ]

    def ticks(self) -> list[tuple[float, str]]:
        if not isinstance(self.axis, Step):
            return [(self.x(angle), f"{angle}°") for angle in (0, 90, 180, 270, 360)]
        whole = range(math.ceil(self.low), math.floor(self.high) + 1)
        return [(self.x(k), self.axis.number(k).replace(".00", "")) for k in whole]


def _scale_of(family: FamilyEntry, shown: Sequence[Shown], left: float, width: float) -> _Scale | None:
    if not has_joint_tuning(family):
        return None
    curves = [curve for member in shown if (curve := tuning_along(family, member)) is not None]
    moved = {axis.name: axis for axis in find(family["transformation"]).axes if isinstance(axis, Turn | Step)}
    if not curves or curves[0][0] not in moved:
        return None
    name, values, _ = curves[0]
    return _Scale(moved[name], values, family_period_deg(family), left, width)


def draw_tuning(family: FamilyEntry, shown: Sequence[Shown]) -> Drawing | None:
    """Draw the joint tuning: all members' curves over one axis, and below them a row of a heat map each.

    Parameters
    ----------
    family
        The family.
    shown
        Its members.

    Returns
    -------
    Drawing or None
        None where nothing was measured along an axis, or for pairs, whose two values are in their own drawing.

    Examples
    --------
    >>> from equiscope.reports.drawing.poses import members_in_order
    >>> tuning = {"axes": {"angle_deg": [0.0, 180.0]}, "values": [[1.0, 0.2], [0.1, 1.0]]}
    >>> members = [{"layer": "conv1", "channel": i, "pose": {"angle_deg": 180.0 * i}} for i in range(2)]
    >>> family = {"transformation": "rotation", "stabiliser": [], "members": members, "tuning": tuning}
    >>> draw_tuning(family, members_in_order(family, ["conv1"])).label
    'Responses of the 2 members, of each one’s maximum, by turn of the stimuli'
    """
    inner = _WIDTH - _LEFT - _RIGHT
    axis = _scale_of(family, shown, _LEFT, inner)
    if axis is None:
        return None
    top, body = 22.0, 128.0
    base, row = top + body, _row_height(len(shown))
    rows_top = base + 14.0
    nodes = _draw_grid(axis, top, base)
    for i, member in enumerate(shown):
        y = rows_top + row * i
        own = node("g", "member", colours=member.colours, unit=member.unit)
        own.add(node("title", "", f"{member.unit}, {member.pose}"))
        own.add(text_node(_LEFT - 8, y + row / 2, member.pose, "text end" if row > 12 else "text small end"))
        own.add(node("path", "mark", d="".join(f"M{x:.1f},{top - 12:g}v8" for x in axis.own(member))))
        own.add(node("rect", "well", x=_LEFT, y=y, width=inner, height=row - 1))
        curve = tuning_along(family, member)
        if curve is not None:
            own.add(_draw_curve(member, curve[1], curve[2], axis, base, body))
            cells = _around(curve[2]) if axis.is_cyclic else list(curve[2])
            own.add(_heat([cells], _LEFT, y, inner, row - 1))
        else:
            own.add(text_node(_LEFT + 6, y + row / 2, "not measured", "text small"))
        own.add(node("path", "tick", d="".join(f"M{x:.1f},{y:.1f}v{row - 1:g}" for x in axis.own(member))))
        nodes.append(own)
    end = rows_top + row * len(shown)
    nodes += [text_node(x, end + 11, text, "text middle") for x, text in axis.ticks()]
    nodes.append(text_node(_LEFT, end + 28, axis.axis.label))
    label = f"Responses of the {counted(len(shown), 'member')}, of each one’s maximum, by {axis.axis.label}"
    return Drawing(_WIDTH, end + 40.0, nodes, label)


def _draw_grid(axis: _Scale, top: float, base: float) -> list[Node]:
    """Draw what curves are read against: a response of 1 stands at ``top``, 0 at ``base``."""
    across = "".join(f"M{_LEFT:g},{y:.1f}H{_WIDTH - _RIGHT:g}" for y in (top, (top + base) / 2, base))
    down = "".join(f"M{x:.1f},{top:g}V{base:g}" for x, _ in axis.ticks())
    return [
        text_node(_LEFT - 8, top, "1", "text end"),
        text_node(_LEFT - 8, base, "0", "text end"),
        text_node(12.0, top, "response"),
        node("path", "grid", d=across + down),
    ]


def _draw_curve(
    member: Shown,
    places: Sequence[float],
    responses: Sequence[float | None],
    axis: _Scale,
    base: float,
    body: float,
) -> Node:
    """Draw a member's responses as a curve, closed where the axis is: 0 stands at ``base``, 1 by ``body`` above."""
    values = [measured(value) for value in responses]
    if axis.is_cyclic:
        places, values = [*places, 360.0], [*values, values[0]]
    points = [
        None if value is None else (axis.x(place), base - body * min(1.0, max(0.0, value)))
        for place, value in zip(places, values, strict=True)
    ]
    dashed = " dashed" if member.is_changed else ""
    return node("path", f"line{dashed}", d=curve_path(points))


def draw_joint_tuning(family: FamilyEntry, shown: Sequence[Shown]) -> Drawing | None:
    """Draw each member's responses over both turns together; None for families of one.

    Examples
    --------
    >>> from equiscope.reports.drawing.poses import members_in_order
    >>> tuning = {"axes": {"hue_deg": [0.0, 180.0], "angle_deg": [0.0, 180.0]}, "values": [[[1.0, 0.2], [0.3, 0.1]]]}
    >>> member = {"layer": "conv1", "channel": 4, "pose": {"angle_deg": 0.0, "hue_deg": 0.0}}
    >>> family = {"transformation": "hue-rotation", "stabiliser": [], "members": [member], "tuning": tuning}
    >>> draw_joint_tuning(family, members_in_order(family, ["conv1"])).label
    'Responses of the 1 member over orientation and hue'
    """
    tuning, space = family["tuning"], find(family["transformation"]).space
    if not isinstance(space, Torus) or tuning is None:
        return None
    right, down = space.axis, space.other
    n_down, n_right = len(tuning["axes"][down.name]), len(tuning["axes"][right.name])
    per_row, gap = 6, 16.0
    width = (_WIDE - gap * (per_row - 1)) / per_row
    height = width * 0.62
    pitch = height + 34.0
    nodes: list[Node] = [
        text_node(
            0,
            10.0,
            f"in each map: {right.feature_noun} to the right, {down.feature_noun} downwards; rings are the pose",
        )
    ]
    for i, member in enumerate(shown):
        x, y = (width + gap) * (i % per_row), 26.0 + pitch * (i // per_row)
        values = tuning["values"][member.index]
        own = node("g", "member", colours=member.colours, unit=member.unit)
        own.add(node("rect", "well", x=x, y=y, width=width, height=height))
        if values is not None:
            own.add(_heat(values, x, y, width, height))
        for element in stabiliser_of(family):
            column = ((member.place[right.name] + element[right.name]) / 360 * n_right + 0.5) % n_right
            line = ((member.place[down.name] + element[down.name]) / 360 * n_down + 0.5) % n_down
            own.add(
                node("circle", "ring", cx=x + width * column / n_right, cy=y + height * line / n_down, r=6)
            )
        own.add(text_node(x, y + height + 11, member.pose, "text strong"))
        nodes.append(own)
    n_rows = math.ceil(len(shown) / per_row)
    label = (
        f"Responses of the {counted(len(shown), 'member')} over {right.feature_noun} and {down.feature_noun}"
    )
    return Drawing(_WIDE, 26.0 + pitch * n_rows, nodes, label)


# One stimulus, turned -----------------------------------------------------------------------------------------------


def draw_strip(
    shown: Sequence[Shown],
    tiles: Sequence[Any | None],
    words: Sequence[str],
    responses: Sequence[Sequence[float | None] | None],
) -> Drawing:
    """Draw one stimulus as it was shown, transformed step by step, over what each member answered to exactly that.

    Parameters
    ----------
    shown
        The members of the family that have a row.
    tiles
        The stimulus under each element.
    words
        What each element is.
    responses
        For each member in the family's own order its response to each, as a share of its largest response to any
        stimulus of the bank; None where nothing was measured.

    Examples
    --------
    >>> from equiscope.reports.drawing.poses import members_in_order
    >>> members = [{"layer": "conv1", "channel": i, "pose": {"angle_deg": 180.0 * i}} for i in range(2)]
    >>> family = {"transformation": "rotation", "stabiliser": [], "members": members}
    >>> shown = members_in_order(family, ["conv1"])
    >>> draw_strip(shown, [None, None], ["0°", "180°"], [[1.0, 0.2], [0.1, 1.0]]).label
    'One held-out stimulus shown in 2 steps, and what each of the 2 members answered to exactly these images'
    """
    # Room for the longest pose and the channel beside it.
    left = max(150.0, 62.0 + 7.4 * max((len(member.pose) for member in shown), default=0))
    n = len(tiles)
    inner = _WIDE - left
    pitch = min(56.0, inner / max(n, 1))
    side = pitch - 4.0
    row = 26.0 if len(shown) <= 14 else 20.0 if len(shown) <= 26 else 15.0
    top = 22.0 + side + 12.0
    nodes: list[Node] = []
    for i, (tile, word) in enumerate(zip(tiles, words, strict=True)):
        nodes += _draw_stimulus(tile, word, left + pitch * i, side)
    nodes.append(text_node(left - 12, 20 + side / 2, "one stimulus", "text end"))
    for i, member in enumerate(shown):
        y = top + row * i
        own = node("g", "member", colours=member.colours, unit=member.unit)
        own.add(node("title", "", f"{member.unit}, {member.pose}"))
        own.add(node("rect", "lane", x=0, y=y, width=left + pitch * n - 4, height=row))
        own.add(text_node(4.0, y + row / 2, member.pose, "pose" if row > 18 else "text strong"))
        own.add(text_node(left - 12, y + row / 2, str(member.entry["channel"]), "name end"))
        values = responses[member.index] if member.index < len(responses) else None
        answers = [None] * n if values is None else [measured(values[k]) for k in range(n)]
        nodes.append(own.add(*_draw_answers(answers, left, pitch, side, y, row)))
    label = (
        f"One held-out stimulus shown in {counted(n, 'step')}, and what each of the {counted(len(shown), 'member')} "
        "answered to exactly these images"
    )
    return Drawing(_WIDE, top + row * len(shown) + 6, nodes, label)


def _draw_stimulus(tile: Any | None, word: str, x: float, side: float) -> list[Node]:
    """Draw the stimulus under one element below what that element is; a grey square where it was not kept."""
    above = text_node(x + side / 2, 9.0, word, "text small middle")
    if tile is None:
        return [above, node("rect", "nothing", x=x, y=20, width=side, height=side)]
    return [above, draw_tile(tile, x, 20.0, side, is_round=False, label=f"the stimulus at {word}")]


def _draw_answers(
    answers: Sequence[float | None], left: float, pitch: float, side: float, y: float, row: float
) -> list[Node]:
    """Draw a member's response to each tile as a bar below it, the highest in full colour."""
    highest = max((value for value in answers if value is not None), default=0.0)
    nodes = []
    for k, value in enumerate(answers):
        x = left + pitch * k
        style = "nothing" if value is None else "well"
        nodes.append(node("rect", style, x=x, y=y + 1, width=side, height=row - 2))
        if value:
            length = (row - 2) * min(1.0, max(0.0, value))
            style = "bar" if value >= 0.999 * highest else "bar lower"
            nodes.append(node("rect", style, x=x, y=y + row - 1 - length, width=side, height=length))
    return nodes
