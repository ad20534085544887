"""A convolution whose rotation families are known by hand, with everything that makes a search go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equiscope.models.model import Model

__all__ = ["LayerTruth", "Planted", "PlantedFamily", "planted_network"]

_KERNEL_SIZE_PX = 23
# Rec. 709 luma: a grey kernel that reads colour photographs as the eye weighs them.
_LUMA = (0.2126, 0.7152, 0.0722)

Pattern = Callable[[Tensor, Tensor], Tensor]


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
    """Build one convolution of analytic kernels with known families.

    Its channels, shuffled by the seed:

    ============  ==================================================================================
    curves        seven arcs, irregularly spaced, a hole of 133°, two units at one pose
    look-alikes   two arcs among the curves' poses, thinner and more strongly curved: not members
    edges         six edges that end in a blob, at irregular poses all around
    lines         five straight bars, poses modulo 180°
    crosses       four crosses, poses modulo 90°
    invariant     two isotropic centre-surrounds of different size
    unrelated     six smooth random patterns, all different
    inactive      one unit with a bias that no stimulus overcomes
    ============  ==================================================================================

    Parameters
    ----------
    seed
        Shuffles the channels and draws the unrelated patterns' order; the patterns are fixed.
    kind
        ``"grey"`` reads luma. ``"colour"`` reads a red-green contrast with some luma. ``"strided"`` is the
        grey convolution behind a blurring stem of stride 2, so that units stand on every second pixel.

    Returns
    -------
    Planted
        With the truth of layer ``"planted"``.

    Notes
    -----
    Every kernel is sampled from its formula at its own exact angle, so two members of a family differ from
    exact copies by sampling alone.
    """
    raise NotImplementedError
