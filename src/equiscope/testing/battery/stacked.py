"""Scenes of two layers: eight exact turned copies of some patterns, and above them units that are copies or are not.

A unit of the later layer reads the earlier one by kernels that are sums of circular harmonics. Turned by a step of 45°
it reads each field's next member by its kernel turned by 45°: that is exact, since the earlier layer has every copy.

========== ==========================================================================================================
mixtures   random kernels on four fields: turned inputs, no copies
layered    families of eight and of five, exact and with 20, 40 and 60 % of noise of their own, and random kernels
partly     the same, where 15 % of each unit's energy comes from inputs that have no turned copies
========== ==========================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.testing.battery.features import Feature, drawn
from equiscope.testing.kernels import sample_harmonics
from equiscope.testing.patterns import Pattern, arc, half_edge, odd_gabor, random_pattern, short_bar, spot
from equiscope.transformations import Pose

__all__ = ["STACKED", "LateUnit", "Stack", "StackedKind", "kernels_of", "late_likeness"]

N_STEPS = 8
_SIDE = 5
_WIDTHS = (0.8, 1.0)
_HIGHEST_HARMONIC = 3
_N_INVARIANT, _N_STRANGERS = 2, 12


@dataclass(frozen=True)
class LateUnit:
    """A unit of the later layer: what it is a copy of, at which step, and the coefficients of its kernels.

    Attributes
    ----------
    name, step
        Empty and None for a unit of its own.
    coefficients
        Shape (early unit, width, harmonic), complex; early units are the fields' members, the invariant units and the
        strangers, in this order.
    """

    name: str
    step: int | None
    coefficients: Tensor

    @property
    def pose(self) -> Pose | None:
        """Its angle."""
        return None if self.step is None else Pose(angle_deg=self.step * 360.0 / N_STEPS)


class Stack:
    """Both layers as they are drawn.

    Parameters
    ----------
    rng
        Draws everything.
    outside
        Share of the energy of each later unit that comes from early units without copies.
    """

    def __init__(self, rng: np.random.Generator, outside: float = 0.0) -> None:
        self.outside = outside
        self.generator = torch.Generator().manual_seed(int(rng.integers(1 << 30)))
        self.patterns = self._choose(rng)
        self.n_strangers = _N_STRANGERS if outside else 0
        self.strangers = [random_pattern(int(rng.integers(1 << 30))) for _ in range(self.n_strangers)]
        self.late: list[LateUnit] = []

    @staticmethod
    def _choose(rng: np.random.Generator) -> list[tuple[str, Pattern]]:
        size = float(rng.uniform(0.9, 1.1))
        return [
            ("arcs", arc(5.0 * size, 1.9)),
            ("half edges", half_edge(2.2 * size)),
            ("waves", odd_gabor(7.0 * size, 3.5)),
            ("ends", _half(short_bar(2.0, 4.0 * size))),
        ]

    def early(self) -> list[tuple[str, Pose | None, Feature]]:
        """Units of the earlier layer: name, pose, kernel."""
        units: list[tuple[str, Pose | None, Feature]] = []
        for name, pattern in self.patterns:
            for step in range(N_STEPS):
                pose = Pose(angle_deg=step * 360.0 / N_STEPS)
                units.append((name, pose, drawn(pattern).at(pose)))
        units += [("", None, drawn(spot(width))) for width in (1.6, 3.2)]
        return units + [("", None, drawn(pattern)) for pattern in self.strangers]

    @property
    def n_turning(self) -> int:
        """Number of early units that have all their turned copies."""
        return len(self.patterns) * N_STEPS

    def draw(self) -> Tensor:
        """Draw the kernels of one unit, of unit norm, shape (early unit, width, harmonic)."""
        n = self.n_turning + _N_INVARIANT + self.n_strangers
        drawn_ = torch.randn(
            n, len(_WIDTHS), _HIGHEST_HARMONIC + 1, generator=self.generator, dtype=torch.complex128
        )
        inside, outside = drawn_.clone(), drawn_.clone()
        inside[n - self.n_strangers :] = 0
        outside[: n - self.n_strangers] = 0
        total = math.sqrt(1 - self.outside) * inside / _norm(inside)
        return total + math.sqrt(self.outside) * outside / max(_norm(outside), 1e-12)

    def family(self, name: str, steps: list[int], noise: float = 0.0) -> None:
        """Add copies of one unit: the inputs that have copies turn with it, those from strangers are each its own."""
        base = self.draw()
        for step in steps:
            own = self.turned(base, step)
            # What strangers give cannot turn.
            own[len(own) - self.n_strangers :] = self.draw()[len(own) - self.n_strangers :]
            if noise:
                own = own + noise * self.draw()
            self.late.append(LateUnit(name, step, own))

    def mixtures(self, n: int) -> None:
        """Add units of random kernels."""
        self.late += [LateUnit("", None, self.draw()) for _ in range(n)]

    def turned(self, coefficients: Tensor, step: int) -> Tensor:
        """Turn a unit by steps, as far as its inputs have copies; what strangers give becomes zero.

        Examples
        --------
        >>> stack = Stack(np.random.default_rng(0))
        >>> unit = stack.draw()
        >>> torch.allclose(stack.turned(stack.turned(unit, 3), 5), unit)
        True
        """
        harmonics = torch.arange(_HIGHEST_HARMONIC + 1, dtype=torch.float64)
        phase = torch.exp(-1j * harmonics * (2 * math.pi * step / N_STEPS))
        fields = coefficients[: self.n_turning].reshape(-1, N_STEPS, *coefficients.shape[1:])
        fields = fields.roll(step, 1).flatten(0, 1)
        others = coefficients[self.n_turning : self.n_turning + _N_INVARIANT]
        rest = torch.zeros_like(coefficients[self.n_turning + _N_INVARIANT :])
        return torch.cat([fields * phase, others * phase, rest])


def _norm(coefficients: Tensor) -> float:
    return float(kernels_of(coefficients).norm())


def _half(pattern: Pattern) -> Pattern:
    """One half of a pattern, so that no turn leaves it as it is."""
    return lambda y, x: pattern(y, x) * torch.sigmoid(x / 1.5)


def kernels_of(coefficients: Tensor) -> Tensor:
    """Sample kernels, shape (..., width, harmonic) to (..., y, x).

    Examples
    --------
    >>> kernels_of(torch.ones(2, 4, dtype=torch.complex128)).shape
    torch.Size([5, 5])
    """
    return sample_harmonics(coefficients, _WIDTHS, _SIDE)


def late_likeness(stack: Stack) -> NDArray[np.float64]:
    """Find the largest cosine between every two units' kernels from all inputs, one turned, shape (unit, unit).

    Examples
    --------
    >>> stack = Stack(np.random.default_rng(0))
    >>> stack.family("a", [0, 3])
    >>> stack.mixtures(1)
    >>> late_likeness(stack).round(1).tolist()[0][1]
    1.0
    """
    flat = torch.stack([kernels_of(unit.coefficients).flatten() for unit in stack.late])
    flat = flat / flat.norm(dim=1, keepdim=True)
    best = (flat @ flat.T).numpy()
    for step in range(1, N_STEPS):
        moved = torch.stack(
            [kernels_of(stack.turned(unit.coefficients, step)).flatten() for unit in stack.late]
        )
        whole = torch.stack([kernels_of(unit.coefficients).norm() for unit in stack.late])
        best = np.maximum(best, ((moved / whole[:, None]) @ flat.T).numpy())
    return np.asarray(np.minimum(np.maximum(best, best.T), 1.0))


def _mixtures(stack: Stack) -> None:
    stack.mixtures(32)


def _layered(stack: Stack) -> None:
    every = list(range(N_STEPS))
    stack.family("exact eight", every)
    stack.family("exact five", [0, 1, 3, 4, 6])
    stack.family("noise 20 %", every, 0.2)
    stack.family("noise 40 %", [0, 2, 3, 5, 7], 0.4)
    stack.family("noise 60 %", every, 0.6)
    stack.mixtures(14)


@dataclass(frozen=True)
class StackedKind:
    """What stands in the later layer, and how it reads the earlier one."""

    draw: Callable[[Stack], None]
    geometry: str = "plain"
    outside: float = 0.0


STACKED = {
    "mixtures": StackedKind(_mixtures),
    "layered": StackedKind(_layered, "inception"),
    "partly": StackedKind(_layered, "residual", 0.15),
}
