"""Planted families under reflection: units that are mirror images of each other.

The one element but identity mirrors left to right. Planted are four pairs of smooth random patterns and a pair of
oblique curves. Invariant: four patterns that are their own mirror images. Look-alikes: a member mirrored top to bottom,
another turned by 180°, an oblique curve, random patterns.
"""

from __future__ import annotations

from dataclasses import replace

from equiscope.testing.patterns import arc, bar, cross, mirrored, random_pattern, spot, turned
from equiscope.testing.planted_transformations.units import CHIRAL, POSE, SINGLE, Recipe, UnitRecipe, grey

__all__ = ["recipe"]


def recipe() -> Recipe:
    """Give the units of the network for reflection.

    Examples
    --------
    >>> [(layer, len(units)) for layer, units in recipe().layers.items()]
    [('planted', 20)]
    """
    units: list[UnitRecipe] = []
    features = [(f"random pattern {number}", random_pattern(number), 0.0) for number in CHIRAL]
    for name, pattern, pose_deg in (*features, ("oblique curves", turned(arc(7.0, 2.0), 31.0), 0.0)):
        for is_mirrored in (False, True):
            kind = f"{name}{', mirrored' if is_mirrored else ''}"
            pose = replace(POSE, is_mirrored=is_mirrored)
            units.append(grey(pattern, kind, pose_deg, orbit=name, pose=pose))
    stabilisers = {unit.orbit: "{plain}" for unit in units}
    for name, pattern in (
        ("upright curve", arc(7.0, 2.0)),
        ("horizontal bar", bar(2.2)),
        ("cross", cross(2.2)),
        ("spot", spot(2.5)),
    ):
        units.append(grey(pattern, f"{name}, its own mirror image", is_invariant=True))
    first, second = (random_pattern(number) for number in CHIRAL[:2])
    units.append(grey(mirrored(first), f"random pattern {CHIRAL[0]} mirrored top to bottom", 180.0))
    units.append(grey(second, f"random pattern {CHIRAL[1]} turned by 180°", 180.0))
    units.append(grey(arc(7.0, 2.0), "oblique curve without a partner", 97.0))
    units += [grey(random_pattern(number), f"random pattern {number} without a partner") for number in SINGLE]
    return Recipe({"planted": units}, stabilisers)
