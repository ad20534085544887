"""A scene of the battery: a network, and for each two units of a layer whether they are copies.

The likeness of two units is the largest cosine between everything that feeds one of them, turned by some angle, and
everything that feeds the other: the kernels of a first layer, the kernels from all inputs of a later one, turned
together with the order of the inputs. Exact copies have likeness 1; members that have noise of their own of a share x
of the kernel's norm have 1 / (1 + x²). What is recoloured, mirrored or enlarged is compared likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.models.model import Model
from equiscope.transformations import Pose

__all__ = ["ALIKE", "COPIES", "LayerScene", "Scene", "is_for_choosing"]

Floats = NDArray[np.float64]

# Likeness from which two units are copies, and from which a search must find them: 40 % of noise of a member's own
# gives 0.86, 60 % gives 0.74.
ALIKE, COPIES = 0.8, 0.9


@dataclass(frozen=True)
class LayerScene:
    """What is known about the units of a layer.

    Attributes
    ----------
    features
        For each unit what it is a copy of, in words; empty where it stands for itself. Units of one feature are planted
        as copies, exact or with noise of their own.
    poses
        For each unit its pose against the feature; None where it stands for itself.
    likeness
        Between every two units, shape (unit, unit), at most 1, symmetric.
    stabilisers
        For each feature the number of equal turns that leave it as it is.
    """

    features: tuple[str, ...]
    poses: tuple[Pose | None, ...]
    likeness: Floats
    stabilisers: Mapping[str, int]

    @property
    def are_copies(self) -> NDArray[np.bool_]:
        """Whether two different units are copies, shape (unit, unit).

        Examples
        --------
        >>> layer = LayerScene(("arc", "arc"), (None, None), np.array([[1.0, 0.95], [0.95, 1.0]]), {"arc": 1})
        >>> layer.are_copies.tolist()
        [[False, True], [True, False]]
        """
        return np.asarray((self.likeness >= ALIKE) & ~np.eye(len(self.likeness), dtype=bool))

    @property
    def must_be_found(self) -> NDArray[np.bool_]:
        """Whether two different units of one feature are so alike that a search must join them, shape (unit, unit)."""
        names = np.array(self.features)
        is_one = (names[:, None] == names) & (names != "")
        return np.asarray(self.are_copies & (self.likeness >= COPIES) & is_one)


@dataclass(frozen=True)
class Scene:
    """A network whose families are known.

    Attributes
    ----------
    kind, seed
        What was drawn.
    transformation
        Under which families are to be searched for.
    model
        The network; its default layers are to be surveyed.
    layers
        The truth about the layers that have one.
    """

    kind: str
    seed: int
    transformation: str
    model: Model
    layers: Mapping[str, LayerScene]


def is_for_choosing(seed: int) -> bool:
    """Whether thresholds may be chosen on scenes of a seed: on even ones. The others are only for reporting.

    Examples
    --------
    >>> [seed for seed in range(4) if is_for_choosing(seed)]
    [0, 2]
    """
    return seed % 2 == 0
