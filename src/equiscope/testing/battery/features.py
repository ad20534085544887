"""Features of a first layer that are known as formulas, at any angle, hue and size, and how alike two of them are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.testing.patterns import Pattern, mirrored, random_pattern
from equiscope.testing.planted_transformations.units import luma_functional
from equiscope.transformations import Pose, find
from equiscope.transformations.hue import HUE
from equiscope.transformations.pixels.colour import hue_matrix
from equiscope.transformations.reflection import MIRRORED
from equiscope.transformations.rotation import ANGLE
from equiscope.transformations.scale import OCTAVES

__all__ = ["SIDE_PX", "Feature", "drawn", "likeness", "noisy", "sample"]

SIDE_PX = 23
# Steps of the search for the pose at which two kernels are most alike. Copies of the finest features, turned apart by
# half a step, still have a cosine of 0.99.
_ANGLES_DEG = tuple(range(0, 360, 5))
_HUES_DEG = tuple(range(0, 360, 15))
_OCTAVES = tuple(step / 8 for step in range(-10, 11))


@dataclass(frozen=True)
class Feature:
    """A sum of patterns, each with what it reads of the colours and its share of the norm, at a pose.

    Attributes
    ----------
    terms
        (pattern, functional of RGB of shape (3,), norm).
    angle_deg, hue_deg, octaves, is_mirrored
        The pose; what is mirrored is mirrored left to right first, and then turned.
    radius_px
        Of the window at its own size.
    """

    terms: tuple[tuple[Pattern, Tensor, float], ...]
    angle_deg: float = 0.0
    hue_deg: float = 0.0
    octaves: float = 0.0
    is_mirrored: bool = False
    radius_px: float = SIDE_PX / 2

    def moved(
        self, angle_deg: float = 0.0, hue_deg: float = 0.0, octaves: float = 0.0, *, mirror: bool = False
    ) -> Feature:
        """Give the feature as it is after a mirror, if it is asked for, and then a turn, a change of hue and of size.

        Examples
        --------
        >>> from equiscope.testing.patterns import bar
        >>> drawn(bar(2.0)).moved(30.0).moved(20.0).angle_deg
        50.0
        """
        # A mirror turns what is turned the other way.
        own = -self.angle_deg if mirror else self.angle_deg
        return replace(
            self,
            angle_deg=own + angle_deg,
            hue_deg=self.hue_deg + hue_deg,
            octaves=self.octaves + octaves,
            is_mirrored=self.is_mirrored != mirror,
        )

    def at(self, pose: Pose) -> Feature:
        """Give the feature at a pose.

        Examples
        --------
        >>> from equiscope.testing.patterns import bar
        >>> drawn(bar(2.0)).at(Pose(hue_deg=120.0)).hue_deg
        120.0
        """
        return self.moved(
            pose.get("angle_deg", 0.0),
            pose.get("hue_deg", 0.0),
            pose.get("octaves", 0.0),
            mirror=bool(pose.get("is_mirrored", False)),
        )


def drawn(pattern: Pattern, functional: Tensor | None = None, *, radius_px: float = SIDE_PX / 2) -> Feature:
    """Make a feature of one pattern; it reads luma if nothing else is said.

    Examples
    --------
    >>> from equiscope.testing.patterns import spot
    >>> len(drawn(spot(2.0)).terms)
    1
    """
    return Feature(
        ((pattern, luma_functional() if functional is None else functional, 1.0),), radius_px=radius_px
    )


def noisy(feature: Feature, number: int, share: float) -> Feature:
    """Add smooth noise of the feature's own, whose norm is a share of the feature's; each number draws other noise.

    Examples
    --------
    >>> from equiscope.testing.patterns import arc
    >>> curve = drawn(arc(7.0, 2.0))
    >>> 0.7 < float(likeness([noisy(curve, 1, 0.4), noisy(curve, 2, 0.4)], "rotation")[0, 1]) < 0.95
    True
    """
    _, functional, norm = feature.terms[0]
    return replace(
        feature,
        terms=(*feature.terms, (_noise(number, feature.radius_px / SIDE_PX * 2), functional, share * norm)),
    )


def _noise(number: int, size: float) -> Pattern:
    pattern = random_pattern(100_000 + number)
    return lambda y, x: pattern(y / size, x / size)


def sample(feature: Feature, side_px: int = SIDE_PX) -> Tensor:
    """Sample a feature's kernel: zero mean in every colour, under a round window, shape (3, y, x), float64.

    Each pattern has its norm at its own size; an enlarged one is a density, so that it answers to an enlarged picture
    as the feature answers to the picture.

    Examples
    --------
    >>> from equiscope.testing.patterns import arc
    >>> sample(drawn(arc(7.0, 2.0))).shape
    torch.Size([3, 23, 23])
    """
    return _sample_turned(feature, [0.0], side_px)[0]


def _sample_turned(feature: Feature, angles_deg: Sequence[float], side_px: int) -> Tensor:
    """Sample a feature turned further by some angles, shape (angle, 3, y, x)."""
    total = torch.zeros(len(angles_deg), 3, side_px, side_px, dtype=torch.float64)
    turn = hue_matrix(-feature.hue_deg)
    for pattern, functional, norm in feature.terms:
        kernels = _sample_pattern(feature, pattern, angles_deg, side_px)
        upright = _upright_norm(pattern, feature.radius_px, side_px)
        total += norm / upright * (functional @ turn)[:, None, None] * kernels[:, None]
    return total


@cache
def _upright_norm(pattern: Pattern, radius_px: float, side_px: int) -> float:
    return float(_sample_pattern(Feature((), radius_px=radius_px), pattern, [0.0], side_px).norm())


def _sample_pattern(feature: Feature, pattern: Pattern, angles_deg: Sequence[float], side_px: int) -> Tensor:
    """Sample a pattern at a feature's pose, turned further by some angles, shape (angle, y, x)."""
    axis = (torch.arange(side_px, dtype=torch.float64) - (side_px - 1) / 2) / 2**feature.octaves
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle = torch.deg2rad(torch.tensor(angles_deg, dtype=torch.float64) + feature.angle_deg)[:, None, None]
    own = mirrored(pattern) if feature.is_mirrored else pattern
    window = torch.cos(math.pi / 2 * (torch.hypot(x, y) / feature.radius_px).clamp(max=1)) ** 2
    cos, sin = torch.cos(angle), torch.sin(angle)
    kernels = own(cos * y + sin * x, cos * x - sin * y) * window
    means = kernels.sum((1, 2), keepdim=True) / window.sum()
    result: Tensor = (kernels - window * means) / 4**feature.octaves
    return result


def likeness(features: Sequence[Feature], transformation: str, side_px: int = SIDE_PX) -> NDArray[np.float64]:
    """Find the largest cosine between every two kernels, one of them moved, shape (unit, unit).

    Parameters
    ----------
    features
        Of the units.
    transformation
        ``rotation``, ``hue``, ``reflection``, ``scale`` or ``hue-rotation``: along what kernels are moved.
    side_px
        Of the kernels.

    Examples
    --------
    >>> from equiscope.testing.patterns import bar
    >>> round(float(likeness([drawn(bar(2.2)), drawn(bar(2.2)).moved(40.0)], "rotation")[0, 1]), 2)
    1.0
    """
    upright = _unit_norm(torch.stack([sample(feature, side_px) for feature in features]))
    best = torch.full((len(features), len(features)), -1.0, dtype=torch.float64)
    for moved in _moved(features, transformation, side_px):
        best = torch.maximum(best, _unit_norm(moved) @ upright.T)
    best = torch.maximum(best, best.T).clamp(max=1.0).fill_diagonal_(1.0)
    return best.numpy()


def _unit_norm(kernels: Tensor) -> Tensor:
    flat = kernels.flatten(1)
    normed: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return normed


def _moved(features: Sequence[Feature], transformation: str, side_px: int) -> Iterator[Tensor]:
    """Yield the kernels of all features at one pose after the other, shape (unit, 3, y, x)."""
    axes = find(transformation).axes
    turns, mirror = ANGLE in axes, MIRRORED in axes
    hues = [hue_matrix(-hue_deg) for hue_deg in (_HUES_DEG if HUE in axes else (0.0,))]
    for octaves in _OCTAVES if OCTAVES in axes else (0.0,):
        own = [feature.moved(octaves=octaves, mirror=mirror) for feature in features]
        turned = torch.stack(
            [_sample_turned(f, _ANGLES_DEG if turns else (0.0,), side_px) for f in own], dim=1
        )
        for kernels, hue in product(turned, hues):
            yield torch.einsum("ucyx,cd->udyx", kernels, hue)
