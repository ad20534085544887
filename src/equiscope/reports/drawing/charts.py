"""Geometry of the charts that are not dials: heat maps, pictures on a plane, curves over size, shares by depth.

Everything is in the units of the SVG view box that it stands in, y downwards; a value that is None or not finite was
not measured, and is a gap or a hatched cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

__all__ = [
    "MARKERS",
    "curve_path",
    "heat_level",
    "heat_paths",
    "spread_labels",
    "spread_on_plane",
]

Floats = NDArray[np.float64]

# One shape a line, about the place that it marks, so that lines differ by more than colour.
MARKERS = (
    "M-3.2,0a3.2,3.2 0 1 0 6.4,0a3.2,3.2 0 1 0 -6.4,0Z",
    "M-3,-3H3V3H-3Z",
    "M0,-3.9L3.7,2.8H-3.7Z",
    "M0,-4.2L4.2,0L0,4.2L-4.2,0Z",
    "M0,3.9L3.7,-2.8H-3.7Z",
    "M-3.4,-1.2H-1.2V-3.4H1.2V-1.2H3.4V1.2H1.2V3.4H-1.2V1.2H-3.4Z",
    "M0,-4L3.8,-1.2L2.4,3.2H-2.4L-3.8,-1.2Z",
    "M-3.6,-2H3.6V2H-3.6Z",
)


def heat_level(value: float | None) -> str:
    """Give the class of a heat map's cell: ``h0`` to ``h9``, or ``hn`` where nothing was measured.

    Examples
    --------
    >>> heat_level(0.25), heat_level(1.0), heat_level(None)
    ('h2', 'h9', 'hn')
    """
    if value is None or not math.isfinite(value):
        return "hn"
    return f"h{min(9, max(0, math.floor(10 * value)))}"


def heat_paths(rows: Sequence[Sequence[float | None]]) -> list[tuple[str, str]]:
    """Give one SVG path a level for a heat map of cells of size 1, to be drawn by strokes of width 1.

    Runs of cells of one level are one line, and the lowest level is the ground, so a map takes few bytes.

    Examples
    --------
    >>> heat_paths([[0.0, 0.5, 0.52], [0.9, None, 0.0]])
    [('h5', 'M1,.5h2'), ('h9', 'M0,1.5h1'), ('hn', 'M1,1.5h1')]
    """
    paths: dict[str, list[str]] = {}
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            level, start = heat_level(row[x]), x
            while x < len(row) and heat_level(row[x]) == level:
                x += 1
            if level != "h0":
                paths.setdefault(level, []).append(f"M{start},{f'{y}.5' if y else '.5'}h{x - start}")
    return [(level, "".join(pieces)) for level, pieces in sorted(paths.items())]


def curve_path(points: Sequence[tuple[float, float] | None]) -> str:
    """Give the SVG path of an open curve through points, a Catmull-Rom spline; None breaks it.

    Examples
    --------
    >>> curve_path([(0, 0), (6, 3), None, (12, 6)])
    'M0.0,0.0C1.0 0.5 5.0 2.5 6.0 3.0M12.0,6.0h0'
    """
    pieces: list[str] = []
    for i, point in enumerate(points):
        before = points[i - 1] if i else None
        if point is None:
            continue
        if before is None:
            following = points[i + 1] if i + 1 < len(points) else None
            # A point alone has no curve: a short stroke with round ends shows it.
            pieces.append(f"M{point[0]:.1f},{point[1]:.1f}" + ("h0" if following is None else ""))
            continue
        earlier = (points[i - 2] if i > 1 else None) or before
        later = (points[i + 1] if i + 1 < len(points) else None) or point
        handles = (
            before[0] + (point[0] - earlier[0]) / 6,
            before[1] + (point[1] - earlier[1]) / 6,
            point[0] - (later[0] - before[0]) / 6,
            point[1] - (later[1] - before[1]) / 6,
        )
        pieces.append("C" + " ".join(f"{value:.1f}" for value in (*handles, *point)))
    return "".join(pieces)


def spread_labels(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places along a line as little as possible until they are ``gap`` apart, within [low, high] if they fit.

    Examples
    --------
    >>> spread_labels([10.0, 11.0, 50.0], gap=5, low=0, high=100)
    [8.0, 13.0, 50.0]
    """
    if not places:
        return []
    order = np.argsort(np.asarray(places), kind="stable")
    steps = gap * np.arange(len(places))
    fitted = isotonic_regression(np.asarray(places, dtype=float)[order] - steps).x
    room = max(low, high - gap * (len(places) - 1))
    slots = np.clip(fitted, low, room) + steps
    spread = np.empty(len(places))
    spread[order] = slots
    return [float(value) for value in spread]


def spread_on_plane(
    places: Sequence[tuple[float, float]],
    diameter: float,
    low: tuple[float, float],
    high: tuple[float, float],
) -> list[tuple[float, float]]:
    """Place pictures on a plane near their places without overlap.

    Parameters
    ----------
    places
        Centres (x, y).
    diameter
        Of the pictures.
    low, high
        Corners of the area in which centres must lie.

    Returns
    -------
    list
        Centres. Where the area is too small for all, some overlap.

    Examples
    --------
    >>> first, second = spread_on_plane([(50, 50), (50, 50)], 10, (0, 0), (100, 100))
    >>> first, math.dist(first, second) >= 9.9
    ((50.0, 50.0), True)
    """
    # Each in turn takes the free place that is nearest to its own, on rings about it.
    reach = math.dist(low, high)
    ring = np.arange(0, reach, diameter / 4)
    angle = np.arange(48) * (2 * math.pi / 48)
    rings = ring[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    taken: list[tuple[float, float]] = []
    for place in places:
        own = np.clip(np.asarray(place, dtype=float), low, high)
        candidates = np.clip(own + rings.reshape(-1, 2), low, high)
        distance = np.full(len(candidates), np.inf)
        for other in taken:
            distance = np.minimum(distance, np.hypot(*(candidates - other).T))
        is_free = distance >= 0.99 * diameter
        x, y = candidates[is_free.argmax()] if is_free.any() else own
        taken.append((float(x), float(y)))
    return taken
