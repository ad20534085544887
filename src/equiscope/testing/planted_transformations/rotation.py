"""Planted families under rotation: curves, edges that end, and bars, each at irregular angles.

An element turns the picture counter-clockwise about the unit's centre. Invariant: a spot. Look-alikes: a curve of
stronger curvature, random patterns.
"""

from __future__ import annotations

from dataclasses import replace

from equiscope.testing.patterns import arc, bar, half_edge, random_pattern, spot
from equiscope.testing.planted_transformations.units import POSE, SINGLE, Recipe, UnitRecipe, grey

__all__ = ["recipe"]


def recipe() -> Recipe:
    """Give the units of the network for rotation.

    Examples
    --------
    >>> recipe().stabilisers["bars"]
    '{0°, 180°}'
    """
    units: list[UnitRecipe] = []
    for name, pattern, poses_deg in (
        ("curves", arc(7.0, 2.0), (0.0, 31.0, 54.0, 100.0, 205.0)),
        ("half edges", half_edge(2.0), (0.0, 70.0, 141.0, 250.0)),
        ("bars", bar(2.2), (0.0, 40.0, 95.0, 130.0)),
    ):
        for pose_deg in poses_deg:
            pose = replace(POSE, pose_deg=pose_deg)
            units.append(grey(pattern, f"{name}, {pose_deg:g}°", pose_deg, orbit=name, pose=pose))
    units.append(grey(spot(2.5), "spot", is_invariant=True))
    units.append(grey(arc(4.0, 2.0), "curve of stronger curvature"))
    units += [grey(random_pattern(number), f"random pattern {number}") for number in SINGLE]
    stabilisers = {"curves": "{0°}", "half edges": "{0°}", "bars": "{0°, 180°}"}
    return Recipe({"planted": units}, stabilisers)
