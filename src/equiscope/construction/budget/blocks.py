"""Blocks of kernels: all kernels from one set of units to another.

A block from 4 units to 6 has 24 kernels, of as many weights each as its convolution has cells. Every parameter of a
network is in one block; a bias is a kernel from a constant. Channels that were not surveyed stand for the surveyed
units that they lead to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIXED", "Block", "Convolution", "Units", "full_block"]

Ints = NDArray[np.int64]

# Stands for a layer where kernels come from what every transformation leaves in place: the image, a constant.
FIXED = ""


@dataclass(frozen=True)
class Units:
    """Channels at one end of a block.

    Attributes
    ----------
    layer, channels
        The surveyed units that they are; `FIXED` and [0] for the image and for constants.
    multiplicity
        Channels for each of these units: other than 1 where they stand for channels that were not surveyed.
    is_surveyed
        Whether it is these units themselves. Otherwise they are the ones that the channels lead to first.
    """

    layer: str
    channels: Ints
    multiplicity: float = 1.0
    is_surveyed: bool = True


@dataclass(frozen=True)
class Block:
    """A kernel from each unit of one end to each of the other.

    Attributes
    ----------
    source, target
        The ends.
    n_weights
        Weights of a kernel.
    """

    source: Units
    target: Units
    n_weights: int = 1

    @property
    def is_surveyed(self) -> bool:
        """Whether both ends were."""
        return self.source.is_surveyed and self.target.is_surveyed

    @property
    def shape(self) -> tuple[int, int]:
        """Units at either end."""
        return len(self.source.channels), len(self.target.channels)

    @property
    def n_parameters(self) -> float:
        """Weights of all its kernels."""
        return self.n_weights * self.multiplicity * self.shape[0] * self.shape[1]

    @property
    def multiplicity(self) -> float:
        """Kernels for each two units."""
        return self.source.multiplicity * self.target.multiplicity


@dataclass(frozen=True)
class Convolution:
    """A module of the network with its parameters, among them biases and factors of a normalisation.

    Attributes
    ----------
    module
        Its name.
    target
        The surveyed layer that it leads to first.
    blocks
        Its parameters.
    """

    module: str
    target: str
    blocks: tuple[Block, ...]

    @property
    def n_parameters(self) -> int:
        """All of its parameters."""
        return round(sum(block.n_parameters for block in self.blocks))


def full_block(source: tuple[str, int], target: tuple[str, int]) -> Block:
    """Join all units of two layers, given with their numbers of units, by kernels that count alike.

    Examples
    --------
    >>> block = full_block(("conv1", 4), ("conv2", 6))
    >>> block.shape, block.n_parameters
    ((4, 6), 24.0)
    """
    ends: Sequence[Units] = [Units(layer, np.arange(n)) for layer, n in (source, target)]
    return Block(ends[0], ends[1])
