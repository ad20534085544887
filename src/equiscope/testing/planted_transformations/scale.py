"""Planted families under scale: units that are one feature in several sizes, in two layers.

An element enlarges the picture about the unit's centre by ``2 ** octaves``. Planted are spots and curves at octaves 0
and 0.5 in ``early``, 1 and 1.5 in ``late``; half edges at 0.5 and 1; crosses at 0 and 1.5. Look-alikes: random
patterns, a bar, an arc of stronger curvature at octave 1.

The early layer has stride 1, the late one stands behind a blurring stem of stride 2, and both have a position on the
middle of a patch of 41 px, 45 px, and so on. A kernel at s octaves is the base as a density, ``k(x / 2**s) / 4**s``,
with unit norm at octave 0, so that ``v(2**s·x) = u(x)`` without a gain. Late kernels are the least squares solution for
stem and kernel together being that density. On scenes with a spectrum of 1/f below 0.3 cycles per px the responses of
all four members of a family differ by no more than 0.003 of their standard deviation; weighed by 1/f, late kernels of
families miss the density by 0.03 to 0.7 %, and without the compensation would by 4 to 15 %. Random patterns, which are
in no family, miss it by 1 to 3 %.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from equiscope.testing.kernels import blurring_stem, expected_sd
from equiscope.testing.patterns import (
    Pattern,
    arc,
    bar,
    cross,
    enlarged,
    half_edge,
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

__all__ = ["recipe"]

# Radius of the window at octave 0, image px; kernels of half an octave more still fit into `_KERNEL_PX`.
_WINDOW_PX = 6.5


# Side of the kernels, early in image px and late in px of the stem: 2 ceil(6.5 · √2) - 1.
_KERNEL_PX = 19


_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16


def recipe() -> Recipe:
    """Give the units of the network for scale, early ones and late ones.

    Examples
    --------
    >>> [(layer, len(units)) for layer, units in recipe().layers.items()]
    [('early', 8), ('late', 9)]
    """
    layers: dict[str, list[UnitRecipe]] = {"early": [], "late": []}

    def plant(pattern: Pattern, kind: str, octaves: float, orbit: str = "") -> None:
        pose = replace(POSE, octaves=octaves) if orbit else POSE
        layer, kernel = ("early", _early_kernel) if octaves < 1 else ("late", _late_kernel)
        bias = -THRESHOLD_SD["luma"] * expected_sd(_early_kernel(pattern, 0.0))
        layers[layer].append(
            UnitRecipe(times(kernel(pattern, octaves), luma_functional()), bias, kind, orbit, pose)
        )

    stabilisers = {}
    for name, pattern, all_octaves in (
        ("spots", spot(1.6), (0.0, 0.5, 1.0, 1.5)),
        ("curves", arc(4.2, 1.4), (0.0, 0.5, 1.0, 1.5)),
        ("half edges", turned(half_edge(1.6), 70.0), (0.5, 1.0)),
        ("crosses", turned(cross(1.4), 8.0), (0.0, 1.5)),
    ):
        stabilisers[name] = "{0 octaves}"
        for octaves in all_octaves:
            plant(pattern, f"{name}, {octaves:g} octaves", octaves, name)
    for number, octaves in zip(SINGLE, (0.0, 1.0, 1.0), strict=True):
        # The rings of a random pattern stand at 0, 4 and 8 px: made smaller, they fit into the smaller window.
        plant(enlarged(random_pattern(number), 0.6), f"random pattern {number}", octaves)
    plant(turned(bar(1.5), 40.0), "bar", 0.5)
    plant(arc(2.8, 1.4), "arc of stronger curvature", 1.0)
    # An edge that ends is itself at any size but for where its end lies.
    faint = frozenset({"half edges"})
    return Recipe(layers, stabilisers, lambda built: _TwoScales(built["early"], built["late"]), faint)


def _density(pattern: Pattern, octaves: float, side: int, step_px: int = 1) -> tuple[Tensor, Tensor]:
    """Sample a windowed pattern at an octave as a density, and its window: shape (side, side) each.

    The window is part of the feature and grows with it. The sum over samples of the density has zero mean.
    """
    axis = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * step_px / 2**octaves
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    window = torch.cos(math.pi / 2 * (torch.hypot(x, y) / _WINDOW_PX).clamp(max=1)) ** 2
    kernel = pattern(y, x) * window
    return (kernel - window * (kernel.sum() / window.sum())) / 4**octaves, window


def _early_kernel(pattern: Pattern, octaves: float) -> Tensor:
    base, _ = _density(pattern, 0.0, _KERNEL_PX)
    kernel, _ = _density(pattern, octaves, _KERNEL_PX)
    normed: Tensor = kernel / base.norm()
    return normed


def _late_kernel(pattern: Pattern, octaves: float) -> Tensor:
    """Kernel that behind the stem reads the image by a pattern at an octave of the image's pixels."""
    seen_px = 2 * _KERNEL_PX + 3
    base, _ = _density(pattern, 0.0, _KERNEL_PX)
    wanted, _ = _density(pattern, octaves, seen_px)
    # Column j holds what the stem's position j sees of one axis.
    stem = torch.zeros(seen_px, _KERNEL_PX, dtype=torch.float64)
    for j in range(_KERNEL_PX):
        stem[2 * j : 2 * j + 5, j] = _BINOMIAL
    inverse = torch.linalg.pinv(stem)
    kernel = inverse @ wanted @ inverse.T
    # Least squares holds the mean only nearly; a grey image must give nothing.
    _, window = _density(pattern, octaves, _KERNEL_PX, step_px=2)
    kernel = kernel - window * (kernel.sum() / window.sum())
    normed: Tensor = kernel / base.norm()
    return normed


class _TwoScales(nn.Module):
    """A layer that reads the image itself, and one that reads it blurred at stride 2."""

    def __init__(self, early: nn.Conv2d, late: nn.Conv2d) -> None:
        super().__init__()
        self.early = early
        self.stem = blurring_stem()
        self.late = late
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Respond with both layers, whose grids differ."""
        early: Tensor = self.relu(self.early(images))
        late: Tensor = self.relu(self.late(self.stem(images)))
        return early, late
