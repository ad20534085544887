"""The stabiliser of a family over hue and orientation, as the document words it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Plane", "parse_stabiliser", "plane_of_stabiliser"]


@dataclass(frozen=True)
class Plane:
    """The part of the torus hue × angle that a stabiliser leaves, as a chart.

    Attributes
    ----------
    angle_deg, hue_deg
        Its width and its height.
    shift_deg
        Leaving it downwards comes in again on top, turned by this angle.
    """

    angle_deg: float
    hue_deg: float
    shift_deg: float


def parse_stabiliser(text: str) -> list[tuple[float, float]]:
    """Elements (hue, angle) of a stabiliser of hue × rotation in degrees; the identity where there are none."""
    found = re.findall(r"\((-?\d+(?:\.\d+)?)°, (-?\d+(?:\.\d+)?)°\)", text)
    return [(float(hue), float(angle)) for hue, angle in found] or [(0.0, 0.0)]


def plane_of_stabiliser(elements: Sequence[tuple[float, float]]) -> Plane:
    """Give the chart in which every pose appears once."""
    angle = min((angle % 360.0 for hue, angle in elements if hue % 360 == 0 and angle % 360), default=360.0)
    hue = min((hue % 360.0 for hue, _ in elements if hue % 360), default=360.0)
    shift = min((turn % angle for own, turn in elements if own % 360 == hue % 360), default=0.0)
    return Plane(angle, hue, shift)
