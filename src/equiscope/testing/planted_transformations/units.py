"""Units of planted networks: a pattern's kernel times what it reads of colour, a threshold, and a place in the truth.

The weight of a unit is ``functional[c] * kernel[y, x]``. The functional of RGB is Rec. 709 luma, or a chroma coordinate
of unit norm that is zero for every grey, or both. A unit of an edge that reads the chroma along 120° answers to a green
edge on magenta, and to no black-and-white one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equiscope.testing.kernels import expected_sd, sample_kernel
from equiscope.testing.patterns import Pattern, mirrored
from equiscope.testing.planted_transformations.truth import PlantedPose
from equiscope.transformations.pixels.colour import LUMA, hue_matrix

__all__ = [
    "CHIRAL",
    "POSE",
    "SINGLE",
    "THRESHOLD_SD",
    "Recipe",
    "UnitRecipe",
    "bias_of",
    "both_functional",
    "chroma_functional",
    "coloured",
    "grey",
    "luma_functional",
    "times",
]

# Chroma coordinate along hue 0°, as a functional of RGB: the direction of red across the grey axis, so that it is
# zero for every grey.
_ALONG_RED = torch.tensor([2.0, -1.0, -1.0], dtype=torch.float64) / math.sqrt(6)


# How much more a unit that reads both weighs chroma than luma, so that photographs, which are duller than they are
# contrasted, drive it by both.
_CHROMA_GAIN = 2.5


# Threshold in units of `expected_sd`, by what the unit reads; higher than in `planted` because small photographs,
# which these were measured on, have more detail. See the notes of `planted_transformation` for the shares.
THRESHOLD_SD = {"luma": 0.35, "chroma": 0.1, "both": 0.4}


# To be filled in by `replace`.
POSE = PlantedPose("", -1)


# Seeds of `random_pattern`.
CHIRAL = (0, 1, 3, 6)


SINGLE = (8, 9, 12)


@dataclass(frozen=True)
class UnitRecipe:
    """A channel before the shuffle: its kernel, shape (3, y, x), its bias, and its place in the truth."""

    weight: Tensor
    bias: float
    kind: str
    orbit: str = ""
    pose: PlantedPose = POSE
    is_invariant: bool = False


def _one_layer(convolutions: Mapping[str, nn.Conv2d]) -> nn.Module:
    return nn.Sequential(OrderedDict(planted=convolutions["planted"], relu=nn.ReLU()))


@dataclass(frozen=True)
class Recipe:
    """The units of each layer, for the name of each orbit its stabiliser, and how the layers make a network."""

    layers: Mapping[str, Sequence[UnitRecipe]]
    stabilisers: Mapping[str, str]
    build: Callable[[Mapping[str, nn.Conv2d]], nn.Module] = _one_layer
    # Orbits that are so nearly invariant that they may not be found.
    faint: frozenset[str] = frozenset()


def luma_functional() -> Tensor:
    """Rec. 709 luma as a functional of RGB, shape (3,).

    Examples
    --------
    >>> luma_functional().sum().item()
    1.0
    """
    return torch.tensor(LUMA, dtype=torch.float64)


def chroma_functional(hue_deg: float) -> Tensor:
    """Chroma coordinate along a hue as a functional of RGB, shape (3,).

    A row vector from the right of the inverse turn, so that it answers to turned colours as the one of hue 0°
    answers to the colours themselves.

    Examples
    --------
    >>> [round(own, 2) for own in chroma_functional(0.0).tolist()]
    [0.82, -0.41, -0.41]
    """
    return _ALONG_RED @ hue_matrix(-hue_deg)


def both_functional(hue_deg: float) -> Tensor:
    """Luma and chroma at once, shape (3,).

    Examples
    --------
    >>> round((both_functional(75.0) - luma_functional()).sum().abs().item(), 6)
    0.0
    """
    return luma_functional() + _CHROMA_GAIN * chroma_functional(hue_deg)


def times(kernel: Tensor, functional: Tensor) -> Tensor:
    """Make the kernel of a convolution that reads colours by a functional, shape (3, y, x).

    Examples
    --------
    >>> times(torch.ones(5, 5), torch.tensor([1.0, 0.0, 0.0])).shape
    torch.Size([3, 5, 5])
    """
    return functional[:, None, None] * kernel


def bias_of(pattern: Pattern, reads: str) -> float:
    """Threshold of all units of a pattern, from its upright kernel, so that poses have no part in it.

    Examples
    --------
    >>> from equiscope.testing.patterns import spot
    >>> bias_of(spot(2.5), "luma") < 0
    True
    """
    return -THRESHOLD_SD[reads] * expected_sd(sample_kernel(pattern, 0.0))


def grey(
    pattern: Pattern,
    kind: str,
    pose_deg: float = 0.0,
    *,
    orbit: str = "",
    pose: PlantedPose = POSE,
    is_invariant: bool = False,
) -> UnitRecipe:
    """Build a unit that reads luma; its threshold is that of the upright, unmirrored, uninverted pattern.

    Examples
    --------
    >>> from equiscope.testing.patterns import bar
    >>> grey(bar(2.2), "bar", 40.0).weight.shape
    torch.Size([3, 23, 23])
    """
    kernel = sample_kernel(mirrored(pattern) if pose.is_mirrored else pattern, pose_deg)
    if pose.is_inverted:
        kernel = -kernel
    return UnitRecipe(
        times(kernel, luma_functional()), bias_of(pattern, "luma"), kind, orbit, pose, is_invariant
    )


def coloured(
    pattern: Pattern,
    kind: str,
    hue_deg: float,
    pose_deg: float = 0.0,
    *,
    orbit: str = "",
    pose: PlantedPose = POSE,
    is_invariant: bool = False,
) -> UnitRecipe:
    """Build a unit that reads the chroma along a hue.

    Examples
    --------
    >>> from equiscope.testing.patterns import spot
    >>> round(coloured(spot(2.5), "red spot", 0.0).weight.sum(0).abs().max().item(), 6)
    0.0
    """
    weight = times(sample_kernel(pattern, pose_deg), chroma_functional(hue_deg))
    return UnitRecipe(weight, bias_of(pattern, "chroma"), kind, orbit, pose, is_invariant)
