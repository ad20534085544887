"""The chart of two circles that a stabiliser leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equiscope.transformations.spaces import Torus

__all__ = ["Plane", "plane_of_stabiliser"]


@dataclass(frozen=True)
class Plane:
    """The part of a torus in which every pose appears once, as a chart.

    Attributes
    ----------
    width_deg, height_deg
        How much of the first turn of the space it shows, to the right, and of the other, downwards.
    shift_deg
        Leaving it downwards comes in again on top, turned by this angle.
    """

    width_deg: float
    height_deg: float
    shift_deg: float


def plane_of_stabiliser(stabiliser: Sequence[Mapping[str, float]], space: Torus) -> Plane:
    """Give the chart that the elements of a stabiliser leave.

    Examples
    --------
    >>> from equiscope.transformations import find
    >>> both = [{"angle_deg": 0.0, "hue_deg": 0.0}, {"angle_deg": 180.0, "hue_deg": 180.0}]
    >>> plane_of_stabiliser(both, find("hue-rotation").space)
    Plane(width_deg=360.0, height_deg=180.0, shift_deg=180.0)
    """
    elements = [(own[space.other.name], own[space.axis.name]) for own in stabiliser]
    width = min((turn % 360.0 for other, turn in elements if other % 360 == 0 and turn % 360), default=360.0)
    height = min((other % 360.0 for other, _ in elements if other % 360), default=360.0)
    shift = min((turn % width for other, turn in elements if other % 360 == height % 360), default=0.0)
    return Plane(width, height, shift)
