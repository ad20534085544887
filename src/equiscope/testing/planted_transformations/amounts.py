"""Units that answer most to one amount of what they look for, and less to more of it.

A unit's response is a tent, ``1 - |w·x / level - 1| / width``: it is largest where its pattern is shown as strongly as
its level says. With s octaves more in the level it answers to a picture in which there is 2^s times as much as before.
Four patterns stand at levels 0, 0.75 and 1.5 octaves apart; others, look-alikes, at one level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from equiscope.testing.kernels import expected_sd, sample_kernel
from equiscope.testing.patterns import random_pattern
from equiscope.testing.planted_transformations.units import CHIRAL, POSE, SINGLE, Recipe, UnitRecipe, times
from equiscope.transformations import Pose, Step

__all__ = ["plant_amounts"]

_OCTAVES = (0.0, 0.75, 1.5)
# Half width of a tent, of its level.
_WIDTH = 0.6


class _Tents(nn.Module):
    """From how much a pattern is shown beyond its level, of the level, to the response."""

    def forward(self, beyond: Tensor) -> Tensor:
        return 1 - beyond.abs() / _WIDTH


def plant_amounts(axis: Step, functional: Tensor, level_sd: float) -> Recipe:
    """Give units that look for amounts of what a functional of RGB reads.

    Parameters
    ----------
    axis
        Along which the amounts differ, by 2 to the power of its value.
    functional
        Shape (3,).
    level_sd
        The lowest level, in units of `expected_sd`.

    Examples
    --------
    >>> from equiscope.testing.planted_transformations.units import luma_functional
    >>> recipe = plant_amounts(Step("stops", "brightness", unit="stops"), luma_functional(), 0.6)
    >>> [unit.kind for unit in recipe.layers["planted"][:3]]
    ['random pattern 0 at 0 stops', 'random pattern 0 at 0.75 stops', 'random pattern 0 at 1.5 stops']
    """

    def tuned(number: int, octaves: float, orbit: str) -> UnitRecipe:
        """Build a unit of a pattern; its kernel gives what the pattern is shown with, over its level, less 1."""
        kernel = sample_kernel(random_pattern(number), 0.0)
        level = level_sd * expected_sd(kernel) * 2.0**octaves
        pose = replace(POSE, more=Pose({axis.name: octaves})) if orbit else POSE
        kind = f"random pattern {number} at {octaves:g} {axis.unit}"
        return UnitRecipe(times(kernel / level, functional), -1.0, kind, orbit, pose)

    units = [tuned(number, octaves, f"random pattern {number}") for number in CHIRAL for octaves in _OCTAVES]
    units += [tuned(number, _OCTAVES[1], "") for number in SINGLE]
    stabilisers = {f"random pattern {number}": f"{{0 {axis.unit}}}" for number in CHIRAL}
    return Recipe({"planted": units}, stabilisers, _build)


def _build(convolutions: Mapping[str, nn.Conv2d]) -> nn.Module:
    parts = OrderedDict(shown=convolutions["planted"], planted=_Tents(), relu=nn.ReLU())
    return nn.Sequential(parts)
