"""Planted families under saturation: units that answer most to one amount of colour, and less to more."""

from __future__ import annotations

from equiscope.testing.planted_transformations.amounts import plant_amounts
from equiscope.testing.planted_transformations.units import Recipe, chroma_functional
from equiscope.transformations.saturation import SATURATION

__all__ = ["recipe"]


def recipe() -> Recipe:
    """Give the units of the network for saturation: all read the chroma along 75°.

    Examples
    --------
    >>> [unit.kind for unit in recipe().layers["planted"][:2]]
    ['random pattern 0 at 0 octaves', 'random pattern 0 at 0.75 octaves']
    """
    return plant_amounts(SATURATION, chroma_functional(75.0), 0.2)
