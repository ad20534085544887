"""Planted families under rotations and mirrorings together.

An element first mirrors left to right or not, then turns counter-clockwise. Planted are nine spirals, five of them
right- and four left-handed, with trivial stabiliser: under rotation alone they are two families. Beside them five
curves, which are one rotation family; their stabiliser is the mirror, so that poses (θ, plain) and (θ, mirrored) are
the same. Invariant: two spots. Look-alikes: a spiral of two arms, one of shorter pitch, a half edge, random patterns.
"""

from __future__ import annotations

from dataclasses import replace

from equiscope.testing.patterns import arc, half_edge, mirrored, random_pattern, spiral, spot
from equiscope.testing.planted_transformations.units import POSE, SINGLE, Recipe, UnitRecipe, grey

__all__ = ["recipe"]


def recipe() -> Recipe:
    """Give the units of the network for dihedral.

    Examples
    --------
    >>> recipe().stabilisers
    {'spirals': '{(0°, plain)}', 'curves': '{(0°, plain), (0°, mirrored)}'}
    """
    units: list[UnitRecipe] = []
    winding, curve = spiral(10.0, 5.0), arc(7.0, 2.0)
    for is_mirrored, poses_deg in ((False, (0, 47, 110, 137, 255)), (True, (20, 70, 200, 290))):
        for pose_deg in poses_deg:
            kind = f"spiral, {'mirrored and ' if is_mirrored else ''}turned by {pose_deg}°"
            pose = replace(POSE, pose_deg=float(pose_deg), is_mirrored=is_mirrored)
            units.append(grey(winding, kind, pose_deg, orbit="spirals", pose=pose))
    for pose_deg in (10, 54, 100, 141, 227):
        pose = replace(POSE, pose_deg=float(pose_deg))
        units.append(grey(curve, f"curve turned by {pose_deg}°", pose_deg, orbit="curves", pose=pose))
    units += [grey(spot(width_px), "spot, invariant", is_invariant=True) for width_px in (1.6, 4.0)]
    units.append(grey(spiral(10.0, 5.0, 2), "spiral of two arms", 33.0))
    units.append(grey(mirrored(spiral(6.0, 5.0)), "spiral of shorter pitch, mirrored", 120.0))
    units.append(grey(half_edge(2.5), "half edge", 70.0))
    units += [grey(random_pattern(number), f"random pattern {number}") for number in SINGLE]
    return Recipe({"planted": units}, {"spirals": "{(0°, plain)}", "curves": "{(0°, plain), (0°, mirrored)}"})
