"""Planted families under hue: units that are one feature in several colours.

An element turns the chroma by an angle about the grey axis, as `equiscope.transformations.pixels.colour.hue_matrix`
does. Planted are colour spots of two sizes (seven members with a duplicate and a hole of 115°; five) and colour edges
(four), all with trivial stabiliser. Invariant: four black-and-white units. Look-alikes: a colour cross, a colour curve,
and a spot that reads luma and chroma.
"""

from __future__ import annotations

from dataclasses import replace

from equiscope.testing.kernels import sample_kernel
from equiscope.testing.patterns import arc, cross, edge, half_edge, spot
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
    """Give the units of the network for hue.

    Examples
    --------
    >>> [(layer, len(units)) for layer, units in recipe().layers.items()]
    [('planted', 23)]
    """
    units: list[UnitRecipe] = []
    stabilisers = {}
    for name, pattern, hues_deg in (
        ("small colour spots", spot(1.6), (0.0, 20.0, 75.0, 130.0, 185.0, 185.0, 300.0)),
        ("large colour spots", spot(4.0), (10.0, 55.0, 160.0, 210.0, 320.0)),
        ("colour edges", edge(2.5), (15.0, 80.0, 160.0, 290.0)),
    ):
        stabilisers[name] = "{0°}"
        for hue_deg in hues_deg:
            pose = replace(POSE, hue_deg=hue_deg)
            units.append(coloured(pattern, f"{name}, hue {hue_deg:g}°", hue_deg, orbit=name, pose=pose))
    for name, pattern in (
        ("small black-and-white spot", spot(1.6)),
        ("large black-and-white spot", spot(4.0)),
        ("black-and-white edge", edge(2.5)),
        ("black-and-white half edge", half_edge(2.5)),
    ):
        units.append(grey(pattern, f"{name}, hue-invariant", is_invariant=True))
    units.append(coloured(cross(2.2), "colour cross, hue 75°", 75.0))
    units.append(coloured(arc(7.0, 2.0), "colour curve, hue 130°", 130.0))
    both = times(sample_kernel(spot(1.6), 0.0), both_functional(75.0))
    units.append(UnitRecipe(both, bias_of(spot(1.6), "both"), "small spot that reads luma and hue 75°"))
    return Recipe({"planted": units}, stabilisers)
