"""Where the members of a family stand: on a dial, on a chart of two circles, on a line, or as a pair.

Which drawing it is follows from the space of the poses (`equiscope.transformations.spaces`), what stands beside it from
the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from equiscope.reports.document.poses import stabiliser_of, turns_of_family
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.stabilisers import Plane, plane_of_stabiliser
from equiscope.reports.document.wording import counted, measured, number
from equiscope.reports.drawing.charts import curve_path, spread_labels, spread_on_plane
from equiscope.reports.drawing.dial import (
    CURVE_RADIUS,
    LABEL_RADIUS,
    PICTURE_RADIUS,
    VIEW_RADIUS,
    leader_path,
    mark_path,
    point_at,
    rim_path,
    sector_path,
    spread_pictures,
    tuning_path,
)
from equiscope.reports.drawing.palette import rim_colour
from equiscope.reports.drawing.poses import Shown, Tiles, family_period_deg, is_hue, tuning_along
from equiscope.reports.drawing.svg import Drawing, Node, draw_tile, node, text_node
from equiscope.transformations import find
from equiscope.transformations.spaces import Circle, Cylinder, HandedCircle, Line, Pair, Torus

__all__ = ["draw_poses", "poses_kind"]

# Width of a chart across the view, and the room that its axes take.
_WIDTH = 960.0
_LEFT, _RIGHT = 88.0, 36.0
# Of the part below the line at which a turn wraps, degrees: enough to see what comes in again.
_WRAP_DEG = 60.0
_PX_PER_WRAPPED_DEG = 1.25


def poses_kind(transformation: str) -> str:
    """Give the name of the drawing that shows the poses of such a family: ``dial``, ``chart`` or ``pair``.

    Examples
    --------
    >>> poses_kind("rotation"), poses_kind("hue-rotation"), poses_kind("reflection")
    ('dial', 'chart', 'pair')
    """
    match find(transformation).space:
        case Torus() | Line() | Cylinder():
            return "chart"
        case Pair():
            return "pair"
        case _:
            return "dial"


def draw_poses(family: FamilyEntry, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Draw the members of a family at their poses.

    Parameters
    ----------
    family
        The family.
    shown
        Its members.
    pictures
        Their strongest stimuli.

    Examples
    --------
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> from equiscope.reports.drawing.poses import members_in_order
    >>> members = [{"layer": "conv1", "channel": i, "pose": {"is_mirrored": i}} for i in range(2)]
    >>> family = {"transformation": "reflection", "stabiliser": [], "members": members, "tuning": None}
    >>> draw_poses(family, members_in_order(family, ["conv1"]), Pictures({"families": []})).label
    'Responses of the 2 members to the feature as it is and mirrored'
    """
    match find(family["transformation"]).space:
        case Torus() as space:
            return _toral(family, space, shown, pictures)
        case Line() as space:
            return _line(family, space, shown, pictures)
        case Cylinder() as space:
            return _cylinder(family, space, shown, pictures)
        case Pair() as space:
            return _pair(family, space, shown, pictures)
        case space:
            return _dial(family, space, shown, pictures)


def _tile_of(pictures: Tiles, member: Shown) -> Any | None:
    return pictures.tile(member.entry["layer"], member.entry["channel"])


def _round_picture(
    pictures: Tiles, member: Shown, x: float, y: float, diameter: float, ring: str = "ring"
) -> list[Node]:
    """Give a member's strongest stimulus as a disk in a ring of its colour; only the ring where it has no picture."""
    tile = _tile_of(pictures, member)
    disk = (
        [] if tile is None else [draw_tile(tile, x - diameter / 2, y - diameter / 2, diameter, is_round=True)]
    )
    circle = node("circle", "well", cx=x, cy=y, r=diameter / 2)
    return [circle, *disk, node("circle", ring, cx=x, cy=y, r=diameter / 2)]


def _title(member: Shown) -> Node:
    return node("title", "", f"{member.unit}, {member.pose}")


# Dial ---------------------------------------------------------------------------------------------------------------


def _dial(
    family: FamilyEntry, space: Circle | HandedCircle, shown: Sequence[Shown], pictures: Tiles
) -> Drawing:
    """Draw closed tuning curves, poses at the rim and pictures round it."""
    period_deg, order = family_period_deg(family), turns_of_family(family)
    turns_deg = [member.place[space.axis.name] for member in shown]
    by_pose = sorted(range(len(shown)), key=lambda i: turns_deg[i])
    slots_deg, diameter = spread_pictures([turns_deg[i] for i in by_pose])
    slot_of = dict(zip(by_pose, slots_deg, strict=True))
    radius = CURVE_RADIUS
    nodes = [node("circle", "disk", r=radius)]
    for start, end in family["holes_deg"]:
        width = (end - start) % period_deg or period_deg
        nodes += [
            node("path", "hole", d=sector_path(start + turn * period_deg, start + turn * period_deg + width))
            for turn in range(order)
        ]
    nodes += [
        node("circle", "grid", r=radius / 2),
        node("path", "grid", d=f"M-{radius:g},0H{radius:g}M0,-{radius:g}V{radius:g}"),
    ]
    if is_hue(space.axis):
        nodes += [
            node("path", "hue-rim", d=rim_path(a, a + 10.4), stroke=rim_colour(a + 5))
            for a in range(0, 360, 10)
        ]
    else:
        nodes.append(node("circle", "rim", r=radius))
    for i, member in enumerate(shown):
        curve = tuning_along(family, member)
        dashed = " dashed" if member.is_changed else ""
        x, y = (float(value) for value in point_at(slot_of[i], PICTURE_RADIUS))
        marks = " ".join(mark_path(turns_deg[i] + turn * period_deg) for turn in range(order))
        own = node("g", "member", _title(member), colours=member.colours, unit=member.unit)
        if curve and (path := tuning_path(curve[1], curve[2])):
            own.add(node("path", f"curve{dashed}", d=path))
        own.add(
            node("path", "mark", d=marks),
            node("path", "leader", d=leader_path(turns_deg[i], slot_of[i], diameter)),
            *_round_picture(pictures, member, x, y, diameter),
        )
        nodes.append(own)
    # Of the four, 0° and 180° would hide behind marks of members that are there.
    nodes += [
        text_node(float(x), float(y), f"{angle}°", "text angle middle")
        for angle in (0, 90, 180, 270)
        for x, y in [point_at(angle, LABEL_RADIUS)]
    ]
    subject = find(family["transformation"]).words.subject
    label = f"The {counted(len(shown), 'member')} at their poses, and their responses as the {subject}"
    side = 2 * VIEW_RADIUS
    return Drawing(side, side, nodes, label, -VIEW_RADIUS, -VIEW_RADIUS)


# Pairs --------------------------------------------------------------------------------------------------------------


def _pair(family: FamilyEntry, space: Pair, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Draw each member's responses to the feature as it is and changed, as bars."""
    tuning = family["tuning"]
    changed = space.axis.noun
    left, bar, row = 138.0, 90.0, 66.0
    width, top = 344.0, 34.0
    nodes: list[Node] = []
    for column, word in enumerate(("as it is", changed)):
        nodes.append(text_node(left + column * (bar + 14), 16.0, word))
    for i, member in enumerate(shown):
        y = top + row * i
        values = tuning["values"][member.index] if tuning is not None else None
        own = node("g", "member", _title(member), colours=member.colours, unit=member.unit)
        own.add(*_round_picture(pictures, member, 24.0, y + row / 2, 42.0))
        own.add(
            text_node(52.0, y + row / 2 - 8, member.pose, "pose"),
            text_node(52.0, y + row / 2 + 9, member.unit, "name"),
        )
        for column in range(2):
            x = left + column * (bar + 14)
            value = measured(values[column]) if values is not None else None
            own.add(node("rect", "well", x=x, y=y + row / 2 - 7, width=bar, height=14))
            if value is not None:
                length = bar * min(1.0, max(0.0, value))
                own.add(node("rect", "bar", x=x, y=y + row / 2 - 7, width=length, height=14))
            own.add(text_node(x, y + row / 2 + 17, number(value), "text small"))
        nodes.append(own)
    label = f"Responses of the {counted(len(shown), 'member')} to the feature as it is and {changed}"
    return Drawing(width, top + row * len(shown) + 6, nodes, label)


# Charts -------------------------------------------------------------------------------------------------------------


def _diameter(n: int) -> float:
    return 46.0 if n <= 24 else 36.0 if n <= 48 else 27.0


def _placed(
    shown: Sequence[Shown],
    pictures: Tiles,
    places: Sequence[tuple[float, float]],
    centres: Sequence[tuple[float, float]],
    diameter: float,
) -> list[Node]:
    """Give each member's picture, a dot at its true place, and a line between them."""
    nodes = []
    for member, (px, py), (cx, cy) in zip(shown, places, centres, strict=True):
        own = node("g", "member", _title(member), colours=member.colours, unit=member.unit)
        own.add(node("path", "leader", d=f"M{px:.1f},{py:.1f}L{cx:.1f},{cy:.1f}"))
        own.add(*_round_picture(pictures, member, cx, cy, diameter))
        own.add(node("circle", "spot", cx=px, cy=py, r=3))
        nodes.append(own)
    return nodes


def _legend(shown: Sequence[Shown], x: float, y: float) -> list[Node]:
    """Layers of the members, once each, in their colours."""
    nodes = []
    for layer, colours in {m.entry["layer"]: m.colours for m in shown}.items():
        nodes.append(
            node(
                "g",
                "",
                node("circle", "spot", cx=x, cy=y, r=4),
                text_node(x + 9, y, layer, "own-name"),
                colours=colours,
            )
        )
        x += 24 + 6.6 * len(layer)
    return nodes


@dataclass(frozen=True)
class _ToralChart:
    """A chart of two circles: the first turn to the right, the other downwards.

    Where the other wraps with a turn, it shows below a line the beginning once more.
    """

    space: Torus
    plane: Plane
    top: float = 50.0

    @property
    def wraps(self) -> bool:
        return self.plane.height_deg < 360.0

    @property
    def shown_deg(self) -> float:
        return self.plane.height_deg + (_WRAP_DEG if self.wraps else 0.0)

    @property
    def scale(self) -> float:
        return _PX_PER_WRAPPED_DEG if self.wraps else 1.0

    @property
    def inner(self) -> float:
        return _WIDTH - _LEFT - _RIGHT

    def place(self, right_deg: float, down_deg: float) -> tuple[float, float]:
        return _LEFT + self.inner * right_deg / self.plane.width_deg, self.top + self.scale * down_deg

    def place_of(self, member: Shown) -> tuple[float, float]:
        axis, other = (member.place[axis.name] for axis in self.space.axes)
        return self.place(axis, other % self.plane.height_deg)


def _toral(family: FamilyEntry, space: Torus, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Draw the first turn to the right and the other downwards, and where it comes in again."""
    chart = _ToralChart(space, plane_of_stabiliser(stabiliser_of(family), space))
    plane, diameter = chart.plane, _diameter(len(shown))
    places = [chart.place_of(member) for member in shown]
    low, high = (_LEFT, chart.top), (_WIDTH - _RIGHT, chart.top + chart.scale * plane.height_deg)
    centres = spread_on_plane(places, 1.05 * diameter, low, high)
    nodes = _toral_axes(chart)
    if chart.wraps:
        x_end = _WIDTH - _RIGHT
        turned = (
            f"turned by {plane.shift_deg:g}°" if plane.shift_deg else f"at the same {space.axis.feature_noun}"
        )
        said = (
            f"below the dashed line at {plane.height_deg:g}° of {space.other.what_turns}, "
            f"what stands on top comes in again {turned}"
        )
        line = chart.place(0, plane.height_deg)[1]
        nodes.append(node("path", "wrap", d=f"M{_LEFT:g},{line:.1f}H{x_end:g}"))
        nodes.append(text_node(x_end, 12.0, said, "text end"))
        nodes += _ghosts(shown, pictures, chart, diameter)
    nodes += _placed(shown, pictures, places, centres, diameter)
    height = chart.top + 48.0 + chart.shown_deg * chart.scale
    label = f"The {counted(len(shown), 'member')} by {space.axis.feature_noun} and {space.other.feature_noun}"
    return Drawing(_WIDTH, height, nodes, label)


def _toral_axes(chart: _ToralChart) -> list[Node]:
    """Draw the grid of a chart of two circles, what stands along it, and the hues that the other turn makes."""
    space, plane = chart.space, chart.plane
    step, x_end = plane.width_deg / 4, _WIDTH - _RIGHT
    end = chart.place(0, chart.shown_deg)[1]
    nodes: list[Node] = []
    if chart.wraps:
        y = chart.place(0, plane.height_deg)[1]
        nodes.append(node("rect", "well", x=_LEFT, y=y, width=chart.inner, height=_WRAP_DEG * chart.scale))
    if is_hue(space.other):
        nodes += [
            node(
                "rect",
                "",
                x=_LEFT - 40,
                y=chart.place(0, hue)[1],
                width=9,
                height=10 * chart.scale + 0.4,
                fill=rim_colour(hue + 5),
            )
            for hue in range(0, int(chart.shown_deg), 10)
        ]
    nodes += [
        node("path", "grid", d=f"M{chart.place(k * step, 0)[0]:.1f},{chart.top:g}V{end:.1f}")
        for k in range(5)
    ]
    nodes += [
        node("path", "grid", d=f"M{_LEFT:g},{chart.place(0, turn)[1]:.1f}H{x_end:g}")
        for turn in range(0, int(plane.height_deg), 60)
    ]
    nodes += [
        text_node(chart.place(k * step, 0)[0], end + 34, f"{k * step:g}°", "text middle") for k in range(5)
    ]
    nodes += [
        text_node(_LEFT - 46, chart.place(0, turn)[1], f"{turn:g}°", "text end")
        for turn in range(0, int(chart.shown_deg) + 1, 60)
    ]
    said = f"turn of {space.other.what_turns}, downwards; {space.axis.feature_noun}, to the right"
    nodes.append(text_node(_LEFT - 46, 12.0, said))
    return nodes


def _ghosts(shown: Sequence[Shown], pictures: Tiles, chart: _ToralChart, diameter: float) -> list[Node]:
    """Draw the members on top once more where they come in again."""
    nodes, plane = [], chart.plane
    for member in shown:
        right_deg, down_deg = (member.place[axis.name] for axis in chart.space.axes)
        down_deg %= plane.height_deg
        if down_deg <= _WRAP_DEG:
            x, y = chart.place((right_deg + plane.shift_deg) % plane.width_deg, down_deg + plane.height_deg)
            own = node("g", "member faded", _title(member), colours=member.colours, unit=member.unit)
            nodes.append(own.add(*_round_picture(pictures, member, x, y, diameter, "ghost")))
    return nodes


def _line(family: FamilyEntry, space: Line, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Draw pictures over their steps, such as sizes, and below them the members' responses by step."""
    tuning, step = family["tuning"], space.axis
    own_steps = [m.place[step.name] for m in shown]
    steps = [*(tuning["axes"].get(step.name, []) if tuning is not None else []), *own_steps]
    first, last = min(steps) - 0.1, max(steps) + 0.1
    if last - first < 1.0:
        first, last = first - 0.5, last + 0.5
    inner = _WIDTH - _LEFT - _RIGHT
    n_bands = 1 if len(shown) <= 8 else 2
    band_top, band = 36.0, 74.0 * n_bands
    top = band_top + band + 30.0
    bottom = top + 110.0
    diameter = _diameter(len(shown))

    def x_of(value: float) -> float:
        return _LEFT + inner * (value - first) / (last - first)

    places = [(x_of(value), top) for value in own_steps]
    half = diameter / 2
    if n_bands == 1:
        xs = spread_labels([x for x, _ in places], 84.0, _LEFT + half, _WIDTH - _RIGHT - half)
        centres = [(x, band_top + half) for x in xs]
    else:
        centres = spread_on_plane(
            [(x, band_top + band / 2) for x, _ in places],
            74.0,
            (_LEFT + half, band_top + half),
            (_WIDTH - _RIGHT - half, band_top + band - half - 16),
        )
    whole = range(round(first + 0.5), round(last - 0.5) + 1)
    nodes = _legend(shown, _LEFT, 12.0) if space.is_joint else []
    nodes += [node("path", "grid", d=f"M{x_of(k):.1f},{top:g}V{bottom:g}") for k in whole]
    nodes += [node("path", "grid", d=f"M{_LEFT:g},{y:.1f}H{_WIDTH - _RIGHT:g}") for y in (top, bottom)]
    nodes += [
        text_node(x_of(k), bottom + 16, f"{k:+d}".replace("-", "−") if k else "0", "text middle")
        for k in whole
    ]
    nodes += [text_node(_LEFT - 8, top, "1", "text end"), text_node(_LEFT - 8, bottom, "0", "text end")]
    more = f": +1 is {step.one_more}" if step.one_more else ""
    nodes.append(text_node(_LEFT, bottom + 34, f"{step.label}{more}"))
    for member, (px, _), (cx, cy) in zip(shown, places, centres, strict=True):
        curve = tuning_along(family, member)
        points: list[tuple[float, float] | None] = []
        for at, value in zip(curve[1], curve[2], strict=True) if curve else ():
            level = measured(value)
            points.append(None if level is None else (x_of(at), bottom - 110.0 * min(1.0, max(0.0, level))))
        own = node("g", "member", _title(member), colours=member.colours, unit=member.unit)
        if points:
            own.add(node("path", "line", d=curve_path(points)))
        own.add(
            node("path", "leader", d=f"M{px:.1f},{top:.1f}L{cx:.1f},{cy + half + 17:.1f}"),
            node("circle", "spot", cx=px, cy=top, r=3),
            *_round_picture(pictures, member, cx, cy, diameter),
            text_node(cx, cy + half + 11, member.unit, "own-name middle"),
        )
        nodes.append(own)
    label = f"The {counted(len(shown), 'member')} by {step.noun}, and their responses by {step.noun}"
    return Drawing(_WIDTH, bottom + 44.0, nodes, label)


def _cylinder(family: FamilyEntry, space: Cylinder, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Draw the turn to the right, the step upwards, each layer in its colour."""
    period_deg, step = family_period_deg(family), space.step
    steps = [m.place[step.name] for m in shown]
    first, last = min(steps), max(steps)
    right = 130.0
    inner = _WIDTH - _LEFT - right
    diameter = _diameter(len(shown))
    span = max(0.5, last - first)
    top, bottom = 14.0 + diameter / 2, 52.0 + diameter / 2
    body = min(420.0, max(100.0, 150.0 * span))
    height = top + body + bottom

    def place(angle_deg: float, value: float) -> tuple[float, float]:
        return _LEFT + inner * angle_deg / period_deg, top + body * (last - value) / span

    places = [place(m.place[space.axis.name], m.place[step.name]) for m in shown]
    centres = spread_on_plane(places, 1.05 * diameter, (_LEFT, top), (_LEFT + inner, height - bottom))
    base, quarter = height - 40.0, period_deg / 4
    nodes: list[Node] = []
    for k in range(5):
        x = place(k * quarter, 0)[0]
        nodes.append(node("path", "grid", d=f"M{x:.1f},{top - diameter / 2:.1f}V{base:.1f}"))
        nodes.append(text_node(x, base + 16, f"{k * quarter:g}°", "text middle"))
    for k in range(round(2 * first), round(2 * last) + 1):
        y = place(0, 0.5 * k)[1]
        nodes.append(node("path", "grid", d=f"M{_LEFT:g},{y:.1f}H{_LEFT + inner:.1f}"))
        nodes.append(text_node(_LEFT - 30, y, step.number(0.5 * k), "text end"))
    turn = space.axis.feature_noun
    nodes.append(text_node(_LEFT, base + 34, f"{turn} to the right; {step.noun} upwards, in {step.unit}"))
    groups = dict.fromkeys((m.entry["layer"], round(m.place[step.name], 1)) for m in shown)
    ys = spread_labels([place(0, value)[1] for _, value in groups], 14.0, top - 20, base)
    for (layer, _), y in zip(groups, ys, strict=True):
        colours = next(m.colours for m in shown if m.entry["layer"] == layer)
        nodes.append(node("g", "", text_node(_LEFT + inner + 30, y, layer, "own-name"), colours=colours))
    nodes += _placed(shown, pictures, places, centres, diameter)
    return Drawing(_WIDTH, height, nodes, f"The {counted(len(shown), 'member')} by {turn} and {step.noun}")
