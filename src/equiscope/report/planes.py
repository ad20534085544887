"""Charts as wide as a card: hue × orientation, size, and size × orientation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equiscope.report.charts import (
    curve_path,
    parse_stabiliser,
    plane_of_stabiliser,
    spread_labels,
    spread_on_plane,
)
from equiscope.report.members import Shown, family_period_deg, tuning_along
from equiscope.report.palette import rim_colour
from equiscope.report.schema import FamilyEntry
from equiscope.report.wording import measured, octaves_text

__all__ = ["rotation_scale_chart", "size_chart", "toral_chart"]

# Width of a chart across the card, about one CSS pixel a unit, and the room that its axes take.
_WIDTH = 960.0
_LEFT, _RIGHT = 88.0, 36.0
# Of the part below the line at which hue wraps, degrees: enough to see what comes in again.
_WRAP_DEG = 60.0
_PX_PER_HUE_DEG = 1.25


def _pictures(
    shown: Sequence[Shown], centres: Sequence[tuple[float, float]], diameter: float, height: float
) -> list[dict[str, Any]]:
    """Where pictures stand in a chart, as shares of its size."""
    return [
        {
            "member": i,
            "left": f"{100 * x / _WIDTH:.2f}",
            "top": f"{100 * y / height:.2f}",
            "width": f"{100 * diameter / _WIDTH:.2f}",
        }
        for i, (x, y) in enumerate(centres)
        if shown[i].view["picture"]
    ]


def _leaders(
    places: Sequence[tuple[float, float]], centres: Sequence[tuple[float, float]]
) -> list[dict[str, Any]]:
    """Give a dot at each true place and a line from it to its picture."""
    return [
        {
            "spot": (f"{px:.1f}", f"{py:.1f}"),
            "leader": f"M{px:.1f},{py:.1f}L{cx:.1f},{cy:.1f}",
            "curve": "",
            "name": None,
        }
        for (px, py), (cx, cy) in zip(places, centres, strict=True)
    ]


def _diameter(n: int) -> float:
    return 46.0 if n <= 24 else 36.0 if n <= 48 else 27.0


def _legend(shown: Sequence[Shown]) -> list[tuple[str, str, str]]:
    """Layers of the members, once each, with their colours."""
    layers = {m.entry["layer"]: (m.view["light"], m.view["dark"]) for m in shown}
    return [(name, light, dark) for name, (light, dark) in layers.items()]


def toral_chart(family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any]:
    """Orientation to the right, hue downwards; where hue wraps with a turn, the place at which it comes in again."""
    elements = parse_stabiliser(family["stabiliser"])
    plane = plane_of_stabiliser(elements)
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
    pictures = _pictures(shown, centres, diameter, height)
    ghosts = [
        {
            "member": i,
            "left": f"{100 * x / _WIDTH:.2f}",
            "top": f"{100 * y / height:.2f}",
            "width": f"{100 * diameter / _WIDTH:.2f}",
        }
        for i, member in enumerate(shown)
        if wraps and member.view["picture"] and member.hue_deg % plane.hue_deg <= _WRAP_DEG
        for x, y in [
            place(
                (member.angle_deg + plane.shift_deg) % plane.angle_deg,
                member.hue_deg % plane.hue_deg + plane.hue_deg,
            )
        ]
    ]
    step = plane.angle_deg / 4
    x_end = _WIDTH - _RIGHT
    end = place(0, shown_deg)[1]
    paths = [("grid", f"M{place(k * step, 0)[0]:.1f},{top}V{end:.1f}") for k in range(5)]
    paths += [
        ("grid", f"M{_LEFT},{place(0, hue)[1]:.1f}H{x_end}") for hue in range(0, int(plane.hue_deg), 60)
    ]
    if wraps:
        paths.append(("wrap", f"M{_LEFT},{place(0, plane.hue_deg)[1]:.1f}H{x_end}"))
    texts = [
        ("tick middle", f"{place(k * step, 0)[0]:.1f}", f"{end + 34:.1f}", f"{k * step:g}°") for k in range(5)
    ]
    texts += [
        ("tick end", f"{_LEFT - 46:.1f}", f"{place(0, hue)[1]:.1f}", f"{hue:g}°")
        for hue in range(0, int(shown_deg) + 1, 60)
    ]
    texts.append(("title", f"{_LEFT - 46:.1f}", "12", "turn of hue, downwards; orientation, to the right"))
    if wraps:
        turned = f"turned by {plane.shift_deg:g}°" if plane.shift_deg else "at the same orientation"
        texts.append(
            (
                "title end",
                f"{x_end:.1f}",
                "12",
                f"below the dashed line at {plane.hue_deg:g}° of hue, what stands on top comes in again {turned}",
            )
        )
    bands = [
        (f"{_LEFT - 40:.1f}", f"{place(0, hue)[1]:.1f}", "9", f"{10 * scale + 0.4:.1f}", rim_colour(hue + 5))
        for hue in range(0, int(shown_deg), 10)
    ]
    return {
        "label": f"The {len(shown)} members by orientation and hue",
        "width": f"{_WIDTH:g}",
        "height": f"{height:.1f}",
        "paths": paths,
        "texts": texts,
        "bands": bands,
        "strip": (f"{_LEFT}", f"{place(0, plane.hue_deg)[1]:.1f}", f"{inner:.1f}", f"{_WRAP_DEG * scale:.1f}")
        if wraps
        else None,
        "parts": _leaders(places, centres),
        "pictures": pictures,
        "ghosts": ghosts,
        "legend": [],
        "names": [],
    }


def size_chart(family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any]:
    """Pictures over their sizes, and below them the members' responses by size."""
    tuning = family["tuning"]
    axis = tuning["axes"]["octaves"] if tuning is not None else []
    sizes = [*axis, *(m.octaves for m in shown)]
    first, last = min(sizes) - 0.1, max(sizes) + 0.1
    if last - first < 1.0:
        first, last = first - 0.5, last + 0.5
    inner = _WIDTH - _LEFT - _RIGHT
    n_bands = 1 if len(shown) <= 8 else 2
    band_top, band = 12.0, 74.0 * n_bands
    top = band_top + band + 30.0
    bottom = top + 110.0
    height = bottom + 40.0
    diameter = _diameter(len(shown))

    def x_of(octaves: float) -> float:
        return _LEFT + inner * (octaves - first) / (last - first)

    places = [(x_of(m.octaves), top) for m in shown]
    half = diameter / 2
    if n_bands == 1:
        xs = spread_labels([x for x, _ in places], 78.0, _LEFT, _WIDTH - _RIGHT)
        centres = [(x, band_top + half) for x in xs]
    else:
        centres = spread_on_plane(
            [(x, band_top + band / 2) for x, _ in places],
            74.0,
            (_LEFT, band_top + half),
            (_WIDTH - _RIGHT, band_top + band - half - 16),
        )
    parts = []
    for member, (px, _), (cx, cy) in zip(shown, places, centres, strict=True):
        curve = tuning_along(family, member)
        points: list[tuple[float, float] | None] = []
        for octaves, value in zip(curve[1], curve[2], strict=True) if curve else ():
            level = measured(value)
            points.append(
                None if level is None else (x_of(octaves), bottom - 110.0 * min(1.0, max(0.0, level)))
            )
        parts.append(
            {
                "spot": (f"{px:.1f}", f"{top:.1f}"),
                "leader": f"M{px:.1f},{top:.1f}L{cx:.1f},{cy + half + 17:.1f}",
                "curve": curve_path(points),
                "name": (f"{cx:.1f}", f"{cy + half + 11:.1f}", member.view["unit"]),
            }
        )
    whole = range(round(first + 0.5), round(last - 0.5) + 1)
    paths = [("grid", f"M{x_of(k):.1f},{top}V{bottom}") for k in whole]
    paths += [("grid", f"M{_LEFT},{y:.1f}H{_WIDTH - _RIGHT}") for y in (top, bottom)]
    texts = [
        ("tick middle", f"{x_of(k):.1f}", f"{bottom + 16:.1f}", f"{k:+d}".replace("-", "−") if k else "0")
        for k in whole
    ]
    texts += [
        ("tick end", f"{_LEFT - 8:.1f}", f"{top:.1f}", "1"),
        ("tick end", f"{_LEFT - 8:.1f}", f"{bottom:.1f}", "0"),
        ("title", f"{_LEFT:.1f}", f"{bottom + 34:.1f}", "size in octaves: +1 is twice as large"),
    ]
    return {
        "label": f"The {len(shown)} members by size, and their responses by size",
        "width": f"{_WIDTH:g}",
        "height": f"{height:.1f}",
        "paths": paths,
        "texts": texts,
        "bands": [],
        "strip": None,
        "parts": parts,
        "pictures": _pictures(shown, centres, diameter, height),
        "ghosts": [],
        "legend": _legend(shown),
        "names": [],
    }


def rotation_scale_chart(family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any]:
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
    base = height - 40.0
    step = period_deg / 4
    paths = [("grid", f"M{place(k * step, 0)[0]:.1f},{top - diameter / 2:.1f}V{base:.1f}") for k in range(5)]
    texts = [
        ("tick middle", f"{place(k * step, 0)[0]:.1f}", f"{base + 16:.1f}", f"{k * step:g}°")
        for k in range(5)
    ]
    halves = [0.5 * k for k in range(round(2 * first), round(2 * last) + 1)]
    for octaves in halves:
        y = place(0, octaves)[1]
        paths.append(("grid", f"M{_LEFT},{y:.1f}H{_LEFT + inner:.1f}"))
        texts.append(("tick end", f"{_LEFT - 30:.1f}", f"{y:.1f}", octaves_text(octaves)))
    texts.append(
        ("title", f"{_LEFT:.1f}", f"{base + 34:.1f}", "orientation to the right; size upwards, in octaves")
    )
    groups = dict.fromkeys((m.entry["layer"], round(m.octaves, 1)) for m in shown)
    ys = spread_labels([place(0, octaves)[1] for _, octaves in groups], 14.0, top - 20, base)
    labels = [
        {
            "x": f"{_LEFT + inner + 30:.1f}",
            "y": f"{y:.1f}",
            "text": layer,
            "colours": next((m.view["light"], m.view["dark"]) for m in shown if m.entry["layer"] == layer),
        }
        for (layer, _), y in zip(groups, ys, strict=True)
    ]
    return {
        "label": f"The {len(shown)} members by orientation and size",
        "width": f"{_WIDTH:g}",
        "height": f"{height:.1f}",
        "paths": paths,
        "texts": texts,
        "bands": [],
        "strip": None,
        "parts": _leaders(places, centres),
        "pictures": _pictures(shown, centres, diameter, height),
        "ghosts": [],
        "legend": _legend(shown),
        "names": labels,
    }
