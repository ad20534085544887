"""Planted families under contrast: units of which one answers to dark what the other answers to light.

The one element but identity mirrors luma at mid-grey and keeps chroma, as `invert_contrast` does. Planted are five even
pairs (light and dark bars, spots, curves, crosses, random) and two odd ones (edges, odd Gabors): an odd kernel inverted
is also itself turned by 180°. Invariant: two colour spots, because inversion keeps chroma. Look-alikes: a kernel and
its negative that read luma and chroma, which inversion does not exchange, and units without a partner.
"""

from __future__ import annotations

from dataclasses import replace

from equiscope.testing.kernels import sample_kernel
from equiscope.testing.patterns import arc, bar, cross, edge, half_edge, odd_gabor, random_pattern, spot
from equiscope.testing.planted_transformations.units import (
    CHIRAL,
    POSE,
    SINGLE,
    Recipe,
    UnitRecipe,
    bias_of,
    both_functional,
    coloured,
    grey,
    times,
)

__all__ = ["recipe"]


def recipe() -> Recipe:
    """Give the units of the network for contrast.

    Examples
    --------
    >>> [(layer, len(units)) for layer, units in recipe().layers.items()]
    [('planted', 22)]
    """
    units: list[UnitRecipe] = []
    for name, pattern, pose_deg in (
        ("bars, even", bar(2.2), 20.0),
        ("spots, even", spot(2.5), 0.0),
        ("curves, neither even nor odd", arc(7.0, 2.0), 97.0),
        ("crosses, even", cross(2.2), 8.0),
        ("random, neither even nor odd", random_pattern(CHIRAL[0]), 0.0),
        ("edges, odd: also turned by 180°", edge(2.5), 140.0),
        ("gratings, odd: also turned by 180°", odd_gabor(7.0, 3.0), 65.0),
    ):
        for is_inverted in (False, True):
            pose = replace(POSE, is_inverted=is_inverted)
            kind = f"{name}{', inverted' if is_inverted else ''}"
            units.append(grey(pattern, kind, pose_deg, orbit=name, pose=pose))
    stabilisers = {unit.orbit: "{plain}" for unit in units}
    for hue_deg in (20.0, 200.0):
        kind = f"colour spot, hue {hue_deg:g}°: reads chroma alone, which inversion keeps"
        units.append(coloured(spot(2.5), kind, hue_deg, is_invariant=True))
    for sign in (1, -1):
        weight = sign * times(sample_kernel(spot(1.6), 0.0), both_functional(20.0))
        kind = f"small spot that reads luma and hue 20°{', all of it negative' if sign < 0 else ''}"
        units.append(UnitRecipe(weight, bias_of(spot(1.6), "both"), kind))
    units.append(grey(half_edge(2.5), "half edge without a partner", 140.0))
    units += [grey(random_pattern(number), f"random pattern {number} without a partner") for number in SINGLE]
    return Recipe({"planted": units}, stabilisers)
