"""Patterns of the plane from which planted kernels are sampled, and what is made of them.

A pattern is a function of (y, x), in px from the centre with y growing downwards, that gives a brightness of any unit:
an arc of radius 7 px is a bright ridge along a circle through the centre. A turned, mirrored or enlarged pattern is the
function at coordinates that are turned, mirrored or enlarged back, so that copies are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "Pattern",
    "arc",
    "bar",
    "cross",
    "edge",
    "enlarged",
    "half_edge",
    "mirrored",
    "odd_gabor",
    "random_pattern",
    "short_bar",
    "spiral",
    "spot",
    "star",
    "turned",
]

Pattern = Callable[[Tensor, Tensor], Tensor]


def _ridge(distance_px: Tensor, width_px: float) -> Tensor:
    """Bright line between two dark ones across a distance, the second derivative of a Gaussian."""
    squared = (distance_px / width_px) ** 2
    return (1 - squared) * torch.exp(-squared / 2)


def arc(radius_px: float, width_px: float) -> Pattern:
    """Bright ridge along a circle through the centre that bends upwards.

    Examples
    --------
    It is brightest at the centre, through which the circle goes.

    >>> y = torch.tensor([-3.0, 0.0, 3.0])
    >>> [round(value, 2) for value in arc(7.0, 2.0)(y, torch.zeros(3)).tolist()]
    [-0.41, 1.0, -0.41]
    """
    return lambda y, x: _ridge(torch.hypot(x, y + radius_px) - radius_px, width_px)


def bar(width_px: float) -> Pattern:
    """Bright horizontal bar between two dark ones.

    Examples
    --------
    >>> [round(value, 2) for value in bar(2.0)(torch.tensor([0.0, 3.0]), torch.zeros(2)).tolist()]
    [1.0, -0.41]
    """
    return lambda y, x: _ridge(y, width_px)


def short_bar(width_px: float, length_px: float) -> Pattern:
    """Bright horizontal bar between two dark ones, under a Gaussian of the length along it.

    Examples
    --------
    >>> [round(value, 2) for value in short_bar(2.0, 4.0)(torch.zeros(2), torch.tensor([0.0, 8.0])).tolist()]
    [1.0, 0.14]
    """
    return lambda y, x: _ridge(y, width_px) * torch.exp(-((x / length_px) ** 2) / 2)


def edge(width_px: float) -> Pattern:
    """Bright above dark, the derivative of a round Gaussian: exactly odd.

    Examples
    --------
    >>> [round(value, 2) for value in edge(2.0)(torch.tensor([-2.0, 2.0]), torch.zeros(2)).tolist()]
    [1.21, -1.21]
    """
    return lambda y, x: -y * torch.exp(-(y**2 + x**2) / (2 * width_px**2))


def half_edge(width_px: float) -> Pattern:
    """Bright above dark, only to the right of the centre.

    Examples
    --------
    >>> x = torch.tensor([-9.0, 9.0])
    >>> [round(value, 2) for value in half_edge(2.0)(torch.full((2,), -2.0), x).tolist()]
    [0.01, 1.2]
    """
    return lambda y, x: -y * torch.exp(-((y / width_px) ** 2) / 2) * torch.sigmoid(x / 2)


def odd_gabor(wavelength_px: float, width_px: float) -> Pattern:
    """Wave under a round Gaussian, bright above and dark below the centre: exactly odd.

    Examples
    --------
    >>> [round(v, 2) for v in odd_gabor(8.0, 4.0)(torch.tensor([-2.0, 2.0]), torch.zeros(2)).tolist()]
    [0.88, -0.88]
    """
    return lambda y, x: (
        -torch.sin(2 * math.pi * y / wavelength_px) * torch.exp(-(y**2 + x**2) / (2 * width_px**2))
    )


def cross(width_px: float) -> Pattern:
    """Four bright arms around a bright centre, four dark lobes between them.

    Examples
    --------
    It is the same after a quarter turn.

    >>> y, x = torch.tensor([1.0, 3.0]), torch.tensor([2.0, -1.0])
    >>> torch.allclose(cross(2.0)(y, x), cross(2.0)(x, -y))
    True
    """
    centre = spot(0.73 * width_px)

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        y_share, x_share = y / width_px, x / width_px
        # The fourth circular harmonic, cos(4 azimuth) radius^4, under a Gaussian.
        harmonic = y_share**4 - 6 * y_share**2 * x_share**2 + x_share**4
        # 4.5 gives both parts equal energy. Lobes alone are so sharply tuned that 16 angles alias them, and
        # members at odd poses then correlate by no more than 0.93.
        return harmonic * torch.exp(-(y_share**2 + x_share**2) / 2) + 4.5 * centre(y, x)

    return pattern


def star(width_px: float, n_arms: int) -> Pattern:
    """As many bright as dark arms around a bright centre: the same after a turn by 360° / n_arms.

    Examples
    --------
    >>> y, x = torch.tensor([1.0, 3.0]), torch.tensor([2.0, -1.0])
    >>> torch.allclose(star(2.0, 4)(y, x), star(2.0, 4)(x, -y))
    True
    """
    centre = spot(0.73 * width_px)

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        harmonic = torch.complex(x / width_px, -y / width_px) ** n_arms
        envelope = torch.exp(-(y**2 + x**2) / (2 * width_px**2)) / math.sqrt(math.factorial(n_arms))
        # The centre keeps arms from being tuned so sharply that 16 angles alias them.
        return harmonic.real * envelope + 0.9 * centre(y, x)

    return pattern


def spot(width_px: float) -> Pattern:
    """Isotropic bright centre in a dark surround, the Laplacian of a Gaussian.

    Examples
    --------
    >>> [round(value, 2) for value in spot(2.0)(torch.tensor([0.0, 4.0]), torch.zeros(2)).tolist()]
    [1.0, -0.14]
    """

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        squared = (y**2 + x**2) / (2 * width_px**2)
        return (1 - squared) * torch.exp(-squared)

    return pattern


def spiral(pitch_px: float, width_px: float, n_arms: int = 1) -> Pattern:
    """As many bright as dark arms that wind clockwise on screen as they go out, under a Gaussian.

    The pitch is the distance of neighbouring bright arms along a radius. A long one leaves little of a hand: in
    photographs, whose coarse structure is the strongest, a spiral of one arm is then nearly an edge.

    Examples
    --------
    >>> pattern = spiral(10.0, 5.0)
    >>> pattern(torch.zeros(1), torch.zeros(1)).item()
    0.0
    """

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        radius = torch.hypot(x, y)
        # An azimuth has no value at the centre itself, and must leave it smoothly: a kink is sampled differently
        # at every pose.
        envelope = torch.tanh(radius / 3) ** n_arms * torch.exp(-((radius / width_px) ** 2) / 2)
        return envelope * torch.cos(n_arms * torch.atan2(-y, x) + 2 * math.pi * radius / pitch_px)

    return pattern


def random_pattern(number: int) -> Pattern:
    """Circular harmonics 0 to 4 on three rings with random amplitudes and phases.

    Examples
    --------
    One number gives one pattern.

    >>> y, x = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    >>> torch.equal(random_pattern(3)(y, x), random_pattern(3)(y, x))
    True
    """
    generator = torch.Generator().manual_seed(number)
    amplitude, phase = torch.rand(2, 5, 3, generator=generator, dtype=torch.float64)

    def pattern(y: Tensor, x: Tensor) -> Tensor:
        radius, azimuth = torch.hypot(x, y), torch.atan2(-y, x)
        total = torch.zeros_like(y)
        for harmonic in range(5):
            for ring, ring_px in enumerate((0.0, 4.0, 8.0)):
                # An angular harmonic has no value at the centre itself.
                profile = torch.exp(-((radius - ring_px) ** 2) / 8) * (radius / 3).clamp(max=1) ** (
                    harmonic > 0
                )
                angle = harmonic * azimuth + 2 * math.pi * phase[harmonic, ring]
                total = total + amplitude[harmonic, ring] * profile * torch.cos(angle)
        return total

    return pattern


def mirrored(pattern: Pattern) -> Pattern:
    """Left to right.

    Examples
    --------
    >>> y, x = torch.tensor([-2.0]), torch.tensor([3.0])
    >>> torch.equal(mirrored(half_edge(2.0))(y, x), half_edge(2.0)(y, -x))
    True
    """
    return lambda y, x: pattern(y, -x)


def turned(pattern: Pattern, angle_deg: float) -> Pattern:
    """Counter-clockwise on screen.

    Examples
    --------
    >>> y, x = torch.tensor([2.0]), torch.tensor([3.0])
    >>> torch.allclose(turned(bar(2.0), 90.0)(y, x), bar(2.0)(x, -y))
    True
    """
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return lambda y, x: pattern(cos * y + sin * x, cos * x - sin * y)


def enlarged(pattern: Pattern, factor: float) -> Pattern:
    """Larger by a factor, about the centre.

    Examples
    --------
    >>> y, x = torch.tensor([2.0]), torch.tensor([4.0])
    >>> torch.equal(enlarged(spot(2.0), 2.0)(y, x), spot(2.0)(y / 2, x / 2))
    True
    """
    return lambda y, x: pattern(y / factor, x / factor)
