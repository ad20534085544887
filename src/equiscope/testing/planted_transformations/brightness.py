"""Planted families under brightness: units that answer most to one amount of contrast of luma, and less to more."""

from __future__ import annotations

from equiscope.testing.planted_transformations.amounts import plant_amounts
from equiscope.testing.planted_transformations.units import Recipe, luma_functional
from equiscope.transformations.brightness import STOPS

__all__ = ["recipe"]


def recipe() -> Recipe:
    """Give the units of the network for brightness.

    Examples
    --------
    >>> [unit.kind for unit in recipe().layers["planted"][:3]]
    ['random pattern 0 at 0 stops', 'random pattern 0 at 0.75 stops', 'random pattern 0 at 1.5 stops']
    """
    return plant_amounts(STOPS, luma_functional(), 0.6)
