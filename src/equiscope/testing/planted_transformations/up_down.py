"""Planted families under the up-down mirror: units that are each other flipped top to bottom.

Planted are four pairs of smooth random patterns. Invariant: patterns that are their own image. Look-alikes: a member
mirrored left to right, random patterns.
"""

from __future__ import annotations

from dataclasses import replace

from equiscope.testing.kernels import sample_kernel
from equiscope.testing.patterns import bar, cross, random_pattern, spot, turned
from equiscope.testing.planted_transformations.units import (
    CHIRAL,
    POSE,
    SINGLE,
    Recipe,
    UnitRecipe,
    bias_of,
    grey,
    luma_functional,
    times,
)
from equiscope.transformations import Pose

__all__ = ["recipe"]


def recipe() -> Recipe:
    """Give the units of the network for the up-down mirror.

    Examples
    --------
    >>> [unit.kind for unit in recipe().layers["planted"] if unit.is_invariant]
    ['bar, its own image', 'upright bar, its own image', 'spot, its own image', 'cross, its own image']
    """
    units: list[UnitRecipe] = []
    names = []
    for number in CHIRAL:
        name, pattern = f"random pattern {number}", random_pattern(number)
        names.append(name)
        kernel, bias = sample_kernel(pattern, 0.0), bias_of(pattern, "luma")
        for is_flipped in (False, True):
            shown = kernel.flip(-2) if is_flipped else kernel
            pose = replace(POSE, more=Pose(is_flipped=is_flipped))
            units.append(UnitRecipe(times(shown, luma_functional()), bias, name, name, pose))
    for name, pattern in (("bar", bar(2.2)), ("upright bar", turned(bar(2.2), 90.0)), ("spot", spot(2.5))):
        units.append(grey(pattern, f"{name}, its own image", is_invariant=True))
    units.append(grey(cross(2.2), "cross, its own image", is_invariant=True))
    first = random_pattern(CHIRAL[0])
    mirrored = UnitRecipe(
        times(sample_kernel(first, 0.0).flip(-1), luma_functional()),
        bias_of(first, "luma"),
        f"random pattern {CHIRAL[0]}, mirrored left to right",
    )
    units.append(mirrored)
    units += [grey(random_pattern(number), f"random pattern {number} without a partner") for number in SINGLE]
    return Recipe({"planted": units}, dict.fromkeys(names, "{plain}"))
