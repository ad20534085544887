"""Geometry of the dial: one closed tuning curve a member, its pose marked at the rim.

Angles are degrees, 0° at the right and counter-clockwise on screen; coordinates are those of SVG, whose y
points down, about the centre of the dial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

__all__ = [
    "CURVE_RADIUS",
    "LABEL_RADIUS",
    "PICTURE_RADIUS",
    "VIEW_RADIUS",
    "leader_path",
    "mark_path",
    "point_at",
    "rim_path",
    "sector_path",
    "spread_pictures",
    "tuning_path",
]

# The dial's geometry, in units of its own view box (about one CSS pixel at full width).
CURVE_RADIUS = 100.0
MARK_RADIUS = (103.0, 110.0)
LABEL_RADIUS = 121.0
PICTURE_RADIUS = 150.0
PICTURE_DIAMETER = 38.0
VIEW_RADIUS = 172.0


def point_at(angle_deg: float, radius: float) -> tuple[str, str]:
    """Give the coordinates of a place on the dial, as SVG text.

    Examples
    --------
    >>> point_at(30, 100), point_at(-30, 100)
    (('86.6', '-50.0'), ('86.6', '50.0'))
    """
    angle = math.radians(angle_deg)
    return f"{radius * math.cos(angle):.1f}", f"{-radius * math.sin(angle):.1f}"


def mark_path(angle_deg: float) -> str:
    """Give the SVG path of a pose's mark at the rim.

    Examples
    --------
    >>> mark_path(30)
    'M89.2,-51.5L95.3,-55.0'
    """
    start, end = (",".join(point_at(angle_deg, radius)) for radius in MARK_RADIUS)
    return f"M{start}L{end}"


def leader_path(pose_deg: float, slot_deg: float, diameter: float) -> str:
    """Give the SVG path of the line from a pose's mark to its picture.

    Examples
    --------
    >>> leader_path(30, 45, diameter=40)
    'M95.3,-55.0L91.9,-91.9'
    """
    start = ",".join(point_at(pose_deg, MARK_RADIUS[1]))
    return f"M{start}L{','.join(point_at(slot_deg, PICTURE_RADIUS - diameter / 2))}"


def rim_path(start_deg: float, end_deg: float) -> str:
    """Give the SVG path of an arc of the rim, counter-clockwise, less than half a turn.

    Examples
    --------
    >>> rim_path(30, 90)
    'M86.6,-50.0A100,100 0 0 0 0.0,-100.0'
    """
    start, end = (",".join(point_at(angle, CURVE_RADIUS)) for angle in (start_deg, end_deg))
    return f"M{start}A{CURVE_RADIUS:g},{CURVE_RADIUS:g} 0 0 0 {end}"


def sector_path(start_deg: float, end_deg: float) -> str:
    """Give the SVG path of a sector of the disk, counter-clockwise.

    Examples
    --------
    >>> sector_path(30, 90)
    'M0,0L86.6,-50.0A100,100 0 0 0 0.0,-100.0Z'
    """
    radius = CURVE_RADIUS
    end_deg = min(end_deg, start_deg + 359.9)  # an arc that ends where it starts is not drawn at all
    large = int(end_deg - start_deg > 180.0)
    start, end = ",".join(point_at(start_deg, radius)), ",".join(point_at(end_deg, radius))
    return f"M0,0L{start}A{radius:g},{radius:g} 0 {large} 0 {end}Z"


def tuning_path(angles_deg: Sequence[float], tuning: Sequence[float | None] | None) -> str:
    """Give the SVG path of a closed tuning curve: a Catmull-Rom spline through the measured points.

    A value that was not measured opens the curve there; nothing is drawn across it.

    Examples
    --------
    >>> tuning_path([0, 90, 180, 270], [1.0, 0.5, None, 0.5]).count("C")
    2
    """
    if not tuning:
        return ""
    points: list[tuple[float, float] | None] = []
    for angle_deg, value in zip(angles_deg, tuning, strict=True):
        if value is None or not math.isfinite(value):
            points.append(None)
            continue
        radius, angle = CURVE_RADIUS * min(1.0, max(0.0, value)), math.radians(angle_deg)
        points.append((radius * math.cos(angle), -radius * math.sin(angle)))
    n = len(points)
    is_closed = None not in points
    pieces: list[str] = []
    for i in range(n):
        start, end = points[i], points[(i + 1) % n]
        if start is None or end is None:
            continue
        before, after = points[i - 1] or start, points[(i + 2) % n] or end
        if i == 0 or points[i - 1] is None:
            pieces.append(f"M{start[0]:.1f},{start[1]:.1f}")
        handles = (
            start[0] + (end[0] - before[0]) / 6,
            start[1] + (end[1] - before[1]) / 6,
            end[0] - (after[0] - start[0]) / 6,
            end[1] - (after[1] - start[1]) / 6,
        )
        pieces.append("C" + " ".join(f"{value:.1f}" for value in (*handles, *end)))
    return "".join(pieces) + ("Z" if is_closed else "")


def spread_pictures(poses_deg: Sequence[float]) -> tuple[list[float], float]:
    """Find where pictures can stand round the dial, near their poses and without overlap.

    Parameters
    ----------
    poses_deg
        Poses in ascending order, in [0, 360).

    Returns
    -------
    tuple
        The angle of each picture in degrees, and the diameter that all of them have.

    Examples
    --------
    >>> angles_deg, _ = spread_pictures([10.0, 10.0, 190.0])
    >>> [round(angle) % 360 for angle in angles_deg]
    [2, 18, 190]
    """
    n = len(poses_deg)
    if n < 2:
        return list(poses_deg), PICTURE_DIAMETER
    diameter = min(PICTURE_DIAMETER, 0.94 * 2 * math.pi * PICTURE_RADIUS / n)
    gap_deg = math.degrees(1.04 * diameter / PICTURE_RADIUS)
    # Cut the circle at its widest gap; the least displacement that keeps the order and the distances
    # is then an isotonic regression.
    gaps = [(poses_deg[(i + 1) % n] - poses_deg[i]) % 360.0 for i in range(n)]
    first = (gaps.index(max(gaps)) + 1) % n
    steps = gap_deg * np.arange(n)
    unrolled = np.array([*poses_deg[first:], *(pose + 360.0 for pose in poses_deg[:first])])
    slots = isotonic_regression(unrolled - steps).x + steps
    if slots[-1] + gap_deg > slots[0] + 360.0:  # they met behind the cut: there is room for even spacing only
        slots = slots.mean() + 360.0 / n * (np.arange(n) - (n - 1) / 2)
    return [float(slot) for slot in np.roll(slots, first)], diameter
