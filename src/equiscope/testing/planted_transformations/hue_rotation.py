"""Planted families under hue × rotation: units that are one feature in several colours at several angles.

An element is a turn of the hue and a counter-clockwise turn of the picture; they commute. Planted are ten colour edges,
odd patterns times a linear reading of chroma, so that turning both hue and picture by 180° leaves them: two members
have poses that differ by just that. Beside them seven colour curves with trivial stabiliser. In neither family: three
colour spots (hue moves them, rotation does not), three black-and-white edges (the reverse), a colour edge that ends and
one that also reads luma. Invariant to both: a grey spot.
"""

from __future__ import annotations

from dataclasses import replace

from equiscope.testing.kernels import sample_kernel
from equiscope.testing.patterns import arc, edge, half_edge, spot
from equiscope.testing.planted_transformations.units import (
    POSE,
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
    """Give the units of the network for hue × rotation.

    Examples
    --------
    >>> [(layer, len(units)) for layer, units in recipe().layers.items()]
    [('planted', 26)]
    """
    units: list[UnitRecipe] = []
    edges = (
        (0, 0),
        (25, 60),
        (75, 130),
        (75, 220),
        (140, 35),
        (200, 95),
        (250, 160),
        (300, 10),
        (120, 190),
        (340, 300),
    )
    curves = ((0, 0), (50, 110), (110, 30), (170, 200), (230, 290), (290, 160), (290, 70))
    for name, pattern, poses in (
        ("colour edges", edge(2.5), edges),
        ("colour curves", arc(7.0, 2.0), curves),
    ):
        for hue_deg, pose_deg in poses:
            pose = replace(POSE, hue_deg=float(hue_deg), pose_deg=float(pose_deg))
            kind = f"{name}, hue {hue_deg}°, turned by {pose_deg}°"
            units.append(coloured(pattern, kind, hue_deg, pose_deg, orbit=name, pose=pose))
    for hue_deg in (10, 100, 220):
        kind = f"colour spot, hue {hue_deg}°: hue-equivariant, rotation-invariant"
        units.append(coloured(spot(2.5), kind, hue_deg))
    for pose_deg in (20, 110, 200):
        kind = f"black-and-white edge, turned by {pose_deg}°: hue-invariant, rotation-equivariant"
        units.append(grey(edge(2.5), kind, pose_deg))
    units.append(coloured(half_edge(1.8), "colour edge that ends, hue 75°, turned by 130°", 75.0, 130.0))
    both = times(sample_kernel(edge(2.5), 35.0), both_functional(140.0))
    units.append(
        UnitRecipe(both, bias_of(edge(2.5), "both"), "edge that reads luma and hue 140°, turned by 35°")
    )
    units.append(grey(spot(2.5), "black-and-white spot, invariant to both", is_invariant=True))
    stabilisers = {"colour edges": "{(0°, 0°), (180°, 180°)}", "colour curves": "{(0°, 0°)}"}
    return Recipe({"planted": units}, stabilisers)
