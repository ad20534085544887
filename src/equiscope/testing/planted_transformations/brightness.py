"""Planted families under brightness: units that answer most to one amount of contrast, and less to more.

A unit's response is a tent, ``1 - |w·x / level - 1| / width``: it is largest where its pattern is shown as strongly as
its level says. With s stops more in the level it answers to a picture that is s stops brighter as before. Planted are
four patterns at levels 0, 0.75 and 1.5 stops apart. Look-alikes: other patterns at one level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from equiscope.testing.kernels import expected_sd, sample_kernel
from equiscope.testing.patterns import random_pattern
from equiscope.testing.planted_transformations.units import (
    CHIRAL,
    POSE,
    SINGLE,
    Recipe,
    UnitRecipe,
    luma_functional,
    times,
)
from equiscope.transformations import Pose

__all__ = ["recipe"]

_STOPS = (0.0, 0.75, 1.5)
# The lowest level, in units of `expected_sd`, and the half width of a tent, of its level.
_LEVEL_SD, _WIDTH = 0.6, 0.6


class _Tents(nn.Module):
    """From how much a pattern is shown beyond its level, of the level, to the response."""

    def forward(self, beyond: Tensor) -> Tensor:
        return 1 - beyond.abs() / _WIDTH


def recipe() -> Recipe:
    """Give the units of the network for brightness.

    Examples
    --------
    >>> [unit.kind for unit in recipe().layers["planted"][:3]]
    ['random pattern 0 at 0 stops', 'random pattern 0 at 0.75 stops', 'random pattern 0 at 1.5 stops']
    """
    units = [_tuned(number, stops, f"random pattern {number}") for number in CHIRAL for stops in _STOPS]
    units += [_tuned(number, _STOPS[1], "") for number in SINGLE]
    return Recipe({"planted": units}, {f"random pattern {number}": "{0 stops}" for number in CHIRAL}, _build)


def _tuned(number: int, stops: float, orbit: str) -> UnitRecipe:
    """Build a unit of a pattern; its kernel gives what the pattern is shown with, over its level, less 1."""
    kernel = sample_kernel(random_pattern(number), 0.0)
    level = _LEVEL_SD * expected_sd(kernel) * 2.0**stops
    pose = replace(POSE, more=Pose(stops=stops)) if orbit else POSE
    kind = f"random pattern {number} at {stops:g} stops"
    return UnitRecipe(times(kernel / level, luma_functional()), -1.0, kind, orbit, pose)


def _build(convolutions: Mapping[str, nn.Conv2d]) -> nn.Module:
    parts = OrderedDict(shown=convolutions["planted"], planted=_Tents(), relu=nn.ReLU())
    return nn.Sequential(parts)
