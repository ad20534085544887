"""Planted families under stretch: units that are one feature at several aspects.

A kernel at s octaves is the base with its window, ``k(y 2^(s/2), x 2^(-s/2))``, so that it answers to the stretched
picture as the base does to the picture, without a gain. Planted are slanting waves of three directions and a random
pattern at -0.75, 0 and 0.75 octaves. Look-alikes: finer and coarser waves at the aspect of the base, other random
patterns. A spot hardly changes when it is stretched.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from equiscope.testing.kernels import expected_sd
from equiscope.testing.patterns import (
    Pattern,
    enlarged,
    odd_gabor,
    random_pattern,
    spot,
    turned,
)
from equiscope.testing.planted_transformations.units import (
    POSE,
    SINGLE,
    THRESHOLD_SD,
    Recipe,
    UnitRecipe,
    luma_functional,
    times,
)
from equiscope.transformations import Pose
from equiscope.transformations.stretch import ASPECT

__all__ = ["recipe"]

# Copies half an octave apart are so alike unmoved that they hardly gain by moving: correlations of 0.95 and 1.0.
_OCTAVES = (-0.75, 0.0, 0.75)
# Radius of the window at no stretch, and side of the kernels, which hold one of 0.75 octaves: px.
_WINDOW_PX, _KERNEL_PX = 11.0, 31


def recipe() -> Recipe:
    """Give the units of the network for stretch.

    Examples
    --------
    >>> [unit.kind for unit in recipe().layers["planted"][:3]]
    ['rising waves, -0.75 octaves', 'rising waves, 0 octaves', 'rising waves, 0.75 octaves']
    """
    units: list[UnitRecipe] = []

    def plant(pattern: Pattern, kind: str, octaves: float = 0.0, orbit: str = "") -> None:
        pose = replace(POSE, more=Pose({ASPECT.name: octaves})) if orbit else POSE
        bias = -THRESHOLD_SD["luma"] * expected_sd(_kernel(pattern, 0.0))
        units.append(UnitRecipe(times(_kernel(pattern, octaves), luma_functional()), bias, kind, orbit, pose))

    stabilisers = {}
    waves = odd_gabor(6.5, 8.0)
    for name, pattern in (
        ("rising waves", turned(waves, 40.0)),
        ("falling waves", turned(waves, -40.0)),
        ("steep waves", turned(waves, 65.0)),
        ("random pattern", enlarged(random_pattern(3), 0.7)),
    ):
        stabilisers[name] = f"{{0 {ASPECT.unit}}}"
        for octaves in _OCTAVES:
            plant(pattern, f"{name}, {octaves:g} octaves", octaves, name)
    plant(turned(enlarged(waves, 0.7), 40.0), "finer waves")
    plant(turned(enlarged(waves, 1.4), -40.0), "coarser waves")
    plant(spot(3.0), "spot")
    for number in SINGLE:
        plant(enlarged(random_pattern(number), 0.7), f"random pattern {number}")
    return Recipe({"planted": units}, stabilisers)


def _kernel(pattern: Pattern, octaves: float) -> Tensor:
    """Sample a windowed pattern at an aspect, of zero mean, and of unit norm at no stretch; shape (y, x)."""
    stretched: Tensor = _sample(pattern, octaves) / _sample(pattern, 0.0).norm()
    return stretched


def _sample(pattern: Pattern, octaves: float) -> Tensor:
    axis = torch.arange(_KERNEL_PX, dtype=torch.float64) - (_KERNEL_PX - 1) / 2
    y, x = torch.meshgrid(axis * 2 ** (octaves / 2), axis / 2 ** (octaves / 2), indexing="ij")
    window = torch.cos(math.pi / 2 * (torch.hypot(x, y) / _WINDOW_PX).clamp(max=1)) ** 2
    kernel = pattern(y, x) * window
    return kernel - window * (kernel.sum() / window.sum())
