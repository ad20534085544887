"""Where the members of a family stand: on a dial, by hue and orientation, on an axis of size, or as a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.stabilisers import Plane, parse_stabiliser, plane_of_stabiliser
from equiscope.reports.document.wording import counted, measured, number, octaves_text
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
from equiscope.reports.drawing.poses import Shown, Tiles, family_period_deg, tuning_along
from equiscope.reports.drawing.svg import Drawing, Node, draw_tile, node, text_node

__all__ = ["draw_poses", "poses_kind"]

# Width of a chart across the view, and the room that its axes take.
_WIDTH = 960.0
_LEFT, _RIGHT = 88.0, 36.0
# Of the part below the line at which hue wraps, degrees: enough to see what comes in again.
_WRAP_DEG = 60.0
_PX_PER_HUE_DEG = 1.25


def poses_kind(transformation: str) -> str:
    """Give the name of the drawing that shows the poses of such a family: ``dial``, ``chart`` or ``pair``."""
    if transformation in ("hue-rotation", "scale", "rotation-scale"):
        return "chart"
    return "pair" if transformation in ("reflection", "contrast") else "dial"


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
    """
    match family["transformation"]:
        case "hue-rotation":
            return _toral(family, shown, pictures)
        case "scale":
            return _sizes(family, shown, pictures)
        case "rotation-scale":
            return _rotation_scale(family, shown, pictures)
        case "reflection" | "contrast":
            return _pair(family, shown, pictures)
        case _:
            return _dial(family, shown, pictures)


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


def _dial(family: FamilyEntry, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Draw closed tuning curves, poses at the rim and pictures round it."""
    is_hue = family["transformation"] == "hue"
    period_deg = family_period_deg(family)
    order = max(1, family["stabiliser_order"])
    turns_deg = [member.hue_deg if is_hue else member.angle_deg for member in shown]
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
    if is_hue:
        nodes += [
            node("path", "hue", d=rim_path(a, a + 10.4), stroke=rim_colour(a + 5)) for a in range(0, 360, 10)
        ]
    else:
        nodes.append(node("circle", "rim", r=radius))
    for i, member in enumerate(shown):
        curve = tuning_along(family, member)
        dashed = " dashed" if member.entry["is_mirrored"] else ""
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
    subject = "hue of the stimuli turns" if is_hue else "stimuli turn"
    label = f"The {counted(len(shown), 'member')} at their poses, and their responses as the {subject}"
    side = 2 * VIEW_RADIUS
    return Drawing(side, side, nodes, label, -VIEW_RADIUS, -VIEW_RADIUS)


# Pairs --------------------------------------------------------------------------------------------------------------


def _pair(family: FamilyEntry, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Draw each member's responses to the feature as it is and changed, as bars."""
    tuning = family["tuning"]
    changed = {"reflection": "mirrored", "contrast": "inverted"}[family["transformation"]]
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


def _toral(family: FamilyEntry, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Orientation to the right, hue downwards; where hue wraps with a turn, the place at which it comes in again."""
    plane = plane_of_stabiliser(parse_stabiliser(family["stabiliser"]))
    wraps = plane.hue_deg < 360.0
    top, bottom = 50.0, 48.0
    shown_deg = plane.hue_deg + (_WRAP_DEG if wraps else 0.0)
    scale = _PX_PER_HUE_DEG if wraps else 1.0
    inner = _WIDTH - _LEFT - _RIGHT
    height = top + bottom + shown_deg * scale
    diameter = _diameter(len(shown))

    def place(angle_deg: float, hue_deg: float) -> tuple[float, float]:
        return _LEFT + inner * angle_deg / plane.angle_deg, top + scale * hue_deg

    places = [place(m.angle_deg, m.hue_deg % plane.hue_deg) for m in shown]
    low, high = (_LEFT, top), (_WIDTH - _RIGHT, top + scale * plane.hue_deg)
    centres = spread_on_plane(places, 1.05 * diameter, low, high)
    step, x_end = plane.angle_deg / 4, _WIDTH - _RIGHT
    end = place(0, shown_deg)[1]
    nodes: list[Node] = []
    if wraps:
        y = place(0, plane.hue_deg)[1]
        nodes.append(node("rect", "well", x=_LEFT, y=y, width=inner, height=_WRAP_DEG * scale))
    nodes += [
        node(
            "rect",
            "",
            x=_LEFT - 40,
            y=place(0, hue)[1],
            width=9,
            height=10 * scale + 0.4,
            fill=rim_colour(hue + 5),
        )
        for hue in range(0, int(shown_deg), 10)
    ]
    nodes += [node("path", "grid", d=f"M{place(k * step, 0)[0]:.1f},{top:g}V{end:.1f}") for k in range(5)]
    nodes += [
        node("path", "grid", d=f"M{_LEFT:g},{place(0, hue)[1]:.1f}H{x_end:g}")
        for hue in range(0, int(plane.hue_deg), 60)
    ]
    nodes += [text_node(place(k * step, 0)[0], end + 34, f"{k * step:g}°", "text middle") for k in range(5)]
    nodes += [
        text_node(_LEFT - 46, place(0, hue)[1], f"{hue:g}°", "text end")
        for hue in range(0, int(shown_deg) + 1, 60)
    ]
    nodes.append(text_node(_LEFT - 46, 12.0, "turn of hue, downwards; orientation, to the right"))
    if wraps:
        turned = f"turned by {plane.shift_deg:g}°" if plane.shift_deg else "at the same orientation"
        said = (
            f"below the dashed line at {plane.hue_deg:g}° of hue, what stands on top comes in again {turned}"
        )
        nodes.append(node("path", "wrap", d=f"M{_LEFT:g},{place(0, plane.hue_deg)[1]:.1f}H{x_end:g}"))
        nodes.append(text_node(x_end, 12.0, said, "text end"))
        nodes += _ghosts(shown, pictures, plane, place, diameter)
    nodes += _placed(shown, pictures, places, centres, diameter)
    return Drawing(_WIDTH, height, nodes, f"The {counted(len(shown), 'member')} by orientation and hue")


def _ghosts(
    shown: Sequence[Shown],
    pictures: Tiles,
    plane: Plane,
    place: Callable[[float, float], tuple[float, float]],
    diameter: float,
) -> list[Node]:
    """Draw the members on top once more where they come in again."""
    nodes = []
    for member in shown:
        hue_deg = member.hue_deg % plane.hue_deg
        if hue_deg <= _WRAP_DEG:
            x, y = place((member.angle_deg + plane.shift_deg) % plane.angle_deg, hue_deg + plane.hue_deg)
            own = node("g", "member faded", _title(member), colours=member.colours, unit=member.unit)
            nodes.append(own.add(*_round_picture(pictures, member, x, y, diameter, "ghost")))
    return nodes


def _sizes(family: FamilyEntry, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Pictures over their sizes, and below them the members' responses by size."""
    tuning = family["tuning"]
    axis = tuning["axes"]["octaves"] if tuning is not None else []
    sizes = [*axis, *(m.octaves for m in shown)]
    first, last = min(sizes) - 0.1, max(sizes) + 0.1
    if last - first < 1.0:
        first, last = first - 0.5, last + 0.5
    inner = _WIDTH - _LEFT - _RIGHT
    n_bands = 1 if len(shown) <= 8 else 2
    band_top, band = 36.0, 74.0 * n_bands
    top = band_top + band + 30.0
    bottom = top + 110.0
    diameter = _diameter(len(shown))

    def x_of(octaves: float) -> float:
        return _LEFT + inner * (octaves - first) / (last - first)

    places = [(x_of(m.octaves), top) for m in shown]
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
    nodes = _legend(shown, _LEFT, 12.0)
    nodes += [node("path", "grid", d=f"M{x_of(k):.1f},{top:g}V{bottom:g}") for k in whole]
    nodes += [node("path", "grid", d=f"M{_LEFT:g},{y:.1f}H{_WIDTH - _RIGHT:g}") for y in (top, bottom)]
    nodes += [
        text_node(x_of(k), bottom + 16, f"{k:+d}".replace("-", "−") if k else "0", "text middle")
        for k in whole
    ]
    nodes += [text_node(_LEFT - 8, top, "1", "text end"), text_node(_LEFT - 8, bottom, "0", "text end")]
    nodes.append(text_node(_LEFT, bottom + 34, "size in octaves: +1 is twice as large"))
    for member, (px, _), (cx, cy) in zip(shown, places, centres, strict=True):
        curve = tuning_along(family, member)
        points: list[tuple[float, float] | None] = []
        for octaves, value in zip(curve[1], curve[2], strict=True) if curve else ():
            level = measured(value)
            points.append(
                None if level is None else (x_of(octaves), bottom - 110.0 * min(1.0, max(0.0, level)))
            )
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
    label = f"The {counted(len(shown), 'member')} by size, and their responses by size"
    return Drawing(_WIDTH, bottom + 44.0, nodes, label)


def _rotation_scale(family: FamilyEntry, shown: Sequence[Shown], pictures: Tiles) -> Drawing:
    """Orientation to the right, size upwards, each layer in its colour."""
    period_deg = family_period_deg(family)
    sizes = [m.octaves for m in shown]
    first, last = min(sizes), max(sizes)
    right = 130.0
    inner = _WIDTH - _LEFT - right
    diameter = _diameter(len(shown))
    span = max(0.5, last - first)
    top, bottom = 14.0 + diameter / 2, 52.0 + diameter / 2
    body = min(420.0, max(100.0, 150.0 * span))
    height = top + body + bottom

    def place(angle_deg: float, octaves: float) -> tuple[float, float]:
        return _LEFT + inner * angle_deg / period_deg, top + body * (last - octaves) / span

    places = [place(m.angle_deg, m.octaves) for m in shown]
    centres = spread_on_plane(places, 1.05 * diameter, (_LEFT, top), (_LEFT + inner, height - bottom))
    base, step = height - 40.0, period_deg / 4
    nodes: list[Node] = []
    for k in range(5):
        x = place(k * step, 0)[0]
        nodes.append(node("path", "grid", d=f"M{x:.1f},{top - diameter / 2:.1f}V{base:.1f}"))
        nodes.append(text_node(x, base + 16, f"{k * step:g}°", "text middle"))
    for k in range(round(2 * first), round(2 * last) + 1):
        y = place(0, 0.5 * k)[1]
        nodes.append(node("path", "grid", d=f"M{_LEFT:g},{y:.1f}H{_LEFT + inner:.1f}"))
        nodes.append(text_node(_LEFT - 30, y, octaves_text(0.5 * k), "text end"))
    nodes.append(text_node(_LEFT, base + 34, "orientation to the right; size upwards, in octaves"))
    groups = dict.fromkeys((m.entry["layer"], round(m.octaves, 1)) for m in shown)
    ys = spread_labels([place(0, octaves)[1] for _, octaves in groups], 14.0, top - 20, base)
    for (layer, _), y in zip(groups, ys, strict=True):
        colours = next(m.colours for m in shown if m.entry["layer"] == layer)
        nodes.append(node("g", "", text_node(_LEFT + inner + 30, y, layer, "own-name"), colours=colours))
    nodes += _placed(shown, pictures, places, centres, diameter)
    return Drawing(_WIDTH, height, nodes, f"The {counted(len(shown), 'member')} by orientation and size")
