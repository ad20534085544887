"""A convolution whose rotation families are known by hand, with everything that makes a search go wrong.

A planted unit is a convolution's channel whose kernel is a formula. Units of a family have one formula at several
angles: a curve at 0°, at 31°, at 54°. So a search must find the family with these angles, and nothing else.

The channels of the planted layer, shuffled by a seed:

============  ==================================================================================
curves        seven arcs, irregularly spaced, a hole of 133°, two units at one pose
edges         six edges that end at the centre, irregularly spaced all around
lines         five straight bars, poses modulo 180°
crosses       four crosses, poses modulo 90°
invariant     two isotropic centre-surrounds of different size
unrelated     six smooth random patterns, and a look-alike of the curves with stronger curvature
inactive      one unit with a bias that no stimulus overcomes
============  ==================================================================================

Orbit correlations on the photographs of scikit-image and scikit-learn (eighteen, six strongest patches a
unit, peak interpolated between 16 angles, all three kinds): any two members of a family 0.99 or more,
with relative poses within 0.5°; any other two units 0.91 or less, curves and their look-alike nearest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equiscope.foundations.errors import unknown_name
from equiscope.models.model import Model
from equiscope.testing.kernels import KERNEL_SIZE_PX, blurring_stem, expected_sd, sample_kernel
from equiscope.testing.patterns import Pattern, arc, bar, cross, half_edge, random_pattern, spot
from equiscope.transformations.pixels.colour import LUMA

__all__ = ["LayerTruth", "Planted", "PlantedFamily", "planted_network"]

_RED_GREEN = (0.8, -0.45, -0.15)
# Threshold in units of `expected_sd`. Measured on the twenty photographs that scikit-image and scikit-learn
# ship: 5 to 7 % of positions are above it, for every pattern.
_THRESHOLD_SD = {"grey": 0.2, "colour": 0.07, "strided": 0.35}


@dataclass(frozen=True)
class PlantedFamily:
    """Units that are rotated copies of one pattern.

    Parameters
    ----------
    name
        What the pattern shows.
    channels
        Channels of the members.
    poses_deg
        For each member the counter-clockwise angle by which its kernel is turned against the base pattern,
        in [0, 360 / stabiliser_order). Only differences between members can be measured.
    stabiliser_order
        Number of rotations that leave the pattern unchanged: 1 for a curve, 2 for a line, 4 for a cross.
    """

    name: str
    channels: tuple[int, ...]
    poses_deg: tuple[float, ...]
    stabiliser_order: int


@dataclass(frozen=True)
class LayerTruth:
    """What every channel of a layer is; each channel stands in exactly one place."""

    families: tuple[PlantedFamily, ...]
    invariant: tuple[int, ...] = ()
    unrelated: tuple[int, ...] = ()
    inactive: tuple[int, ...] = ()

    @property
    def n_channels(self) -> int:
        """Number of channels of the layer."""
        in_families = sum(len(family.channels) for family in self.families)
        return in_families + len(self.invariant) + len(self.unrelated) + len(self.inactive)

    @property
    def family_index(self) -> list[int]:
        """For each channel the index of its family; -1 for a channel without one."""
        index = [-1] * self.n_channels
        for number, family in enumerate(self.families):
            for channel in family.channels:
                index[channel] = number
        return index


@dataclass(frozen=True)
class Planted:
    """A network and the truth about its layers.

    Parameters
    ----------
    model
        The network.
    truth
        For each studied layer what its channels are.
    """

    model: Model
    truth: Mapping[str, LayerTruth]

    @property
    def layer(self) -> str:
        """The deepest of the layers whose truth is known."""
        return list(self.truth)[-1]


def planted_network(seed: int = 0, kind: Literal["grey", "colour", "strided"] = "grey") -> Planted:
    """Build one convolution of analytic kernels with known families; the head of the module lists its channels.

    Parameters
    ----------
    seed
        Shuffles the channels; the kernels are the same for every seed.
    kind
        ``"grey"`` reads luma, as the eye weighs colours. ``"colour"`` reads a red-green contrast with some luma.
        ``"strided"`` is the grey convolution behind a blurring stem of stride 2, so that units stand on every second
        pixel.

    Returns
    -------
    Planted
        With the truth of layer ``"planted"``.

    Raises
    ------
    EquiscopeError
        If the kind is unknown.

    Notes
    -----
    Every kernel is sampled from its formula at its own exact angle, so two members of a family differ from
    exact copies by sampling alone. Kernels have zero mean and unit norm, under a round window. Biases let a
    unit fire on 2 to 10 % of the positions of photographs. There is no padding: a patch as large as the
    receptive field (23 px, 49 px if strided) gives one position.

    Examples
    --------
    >>> planted = planted_network()
    >>> [(family.name, len(family.channels)) for family in planted.truth["planted"].families]
    [('curves', 7), ('edges', 6), ('lines', 5), ('crosses', 4)]
    """
    if kind not in _THRESHOLD_SD:
        raise unknown_name("kind of planted network", kind, _THRESHOLD_SD)
    order = torch.randperm(_N_CHANNELS, generator=torch.Generator().manual_seed(seed)).tolist()
    truth, kernels, biases = _plant_units(order, _THRESHOLD_SD[kind])
    weights = torch.empty(_N_CHANNELS, KERNEL_SIZE_PX, KERNEL_SIZE_PX, dtype=torch.float64)
    weights[order] = torch.stack(kernels)
    bias = torch.empty(_N_CHANNELS, dtype=torch.float64)
    bias[order] = torch.tensor(biases, dtype=torch.float64)
    colour = torch.tensor(_RED_GREEN if kind == "colour" else LUMA, dtype=torch.float64)
    # On "meta" torch draws no initial weights, so that its global random state stays as it is.
    planted = nn.Conv2d(3, _N_CHANNELS, KERNEL_SIZE_PX, device="meta")
    planted.weight = nn.Parameter((weights[:, None] * colour[:, None, None]).float())
    planted.bias = nn.Parameter(bias.float())
    stages: dict[str, nn.Module] = {"planted": planted, "relu": nn.ReLU()}
    if kind == "strided":
        stages = {"stem": blurring_stem(), **stages}
    module = nn.Sequential(OrderedDict(stages)).eval()
    return Planted(Model(module, name=f"planted-{kind}", default_layers=("planted",)), {"planted": truth})


def _plant_units(order: Sequence[int], threshold_sd: float) -> tuple[LayerTruth, list[Tensor], list[float]]:
    """Give what the channels of an order are, and in the order of their making their kernels and biases."""
    kernels: list[Tensor] = []
    biases: list[float] = []

    def plant(pattern: Pattern, poses_deg: tuple[float, ...] = (0.0,), bias: float = 0.0) -> tuple[int, ...]:
        first = len(kernels)
        kernels.extend(sample_kernel(pattern, pose) for pose in poses_deg)
        upright = expected_sd(sample_kernel(pattern, 0.0))
        biases.extend([-threshold_sd * upright - bias] * len(poses_deg))
        return tuple(order[first : len(kernels)])

    families = tuple(
        PlantedFamily(name, plant(pattern, poses), poses, stabiliser_order)
        for name, pattern, poses, stabiliser_order in _FAMILIES
    )
    truth = LayerTruth(
        families,
        invariant=plant(spot(1.6)) + plant(spot(4.0)),
        unrelated=plant(_LOOK_ALIKE, (97.0,)) + tuple(plant(random_pattern(i))[0] for i in _UNRELATED),
        inactive=plant(spot(2.5), bias=1e3),
    )
    return truth, kernels, biases


_LOOK_ALIKE = arc(5.0, 2.0)
_FAMILIES: tuple[tuple[str, Pattern, tuple[float, ...], int], ...] = (
    ("curves", arc(7.0, 2.0), (0.0, 31.0, 54.0, 97.0, 97.0, 141.0, 227.0), 1),
    ("edges", half_edge(2.5), (10.0, 70.0, 100.0, 170.0, 215.0, 290.0), 1),
    ("lines", bar(2.2), (5.0, 40.0, 62.0, 110.0, 150.0), 2),
    ("crosses", cross(2.2), (8.0, 25.0, 48.0, 71.0), 4),
)
# Seeds of `random_pattern`; among the first sixteen these correlate least with each other, by no more than 0.6.
_UNRELATED = (0, 1, 3, 6, 8, 9)
_N_CHANNELS = sum(len(poses) for _, _, poses, _ in _FAMILIES) + 2 + 1 + len(_UNRELATED) + 1
