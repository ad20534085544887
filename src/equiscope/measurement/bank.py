"""The stimulus bank of a layer: which patches of which images its units are measured on.

The bank holds the strongest stimuli of every unit, each patch once although several units may share it. A unit's own
stimuli alone would say nothing of the units that answer to them too: every unit is measured on all of the bank. Patches
are cut here, in every pose of the group: at an angle of 30° the patch is resampled from the image about its centre, so
that no corner is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.models.geometry import LayerGeometry
from equiscope.stimuli import ImageSet
from equiscope.transformations import Transformation, find
from equiscope.transformations.groups import Group, stagger
from equiscope.transformations.pixels import crop_around, crop_size_px, rotate_patches
from equiscope.transformations.rotation import turn_patches

__all__ = ["Bank", "build_bank", "centres_px", "cut_orbits", "cut_stimuli", "join_banks", "measure_change"]


@dataclass(frozen=True)
class Bank:
    """The stimuli of one layer, or of several measured together: the union of the units' strongest ones, each once.

    Attributes
    ----------
    layer
        Name of the layer; of several, joined by ``+``.
    half
        Half of the images from which each stimulus comes, shape (stimulus,): 0 finds, 1 verifies.
    image
        Index of its image, shape (stimulus,).
    position
        Position (y, x) in its layer's grid on which it is centred, shape (stimulus, 2); a fraction where other layers
        share it (`equiscope.measurement.shared_bank`).
    photograph
        Number of the photograph from which its image was made, shape (stimulus,): the bootstrap draws these.
    centre_px
        For stimuli of several layers the (y, x) in the image on which each is centred, px, shape (stimulus, 2);
        otherwise None, and the layer's geometry tells.
    """

    layer: str
    half: NDArray[np.int64]
    image: NDArray[np.int64]
    position: NDArray[np.int64] | NDArray[np.float64]
    photograph: NDArray[np.int64]
    centre_px: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.image)

    def starts_deg(self, group: Group) -> tuple[NDArray[np.float64], ...]:
        """Where each stimulus' orbit starts, degrees, shape (stimulus,), for each turn of a group (`stagger`)."""
        return stagger(group, len(self))


def build_bank(
    examples: Examples,
    photographs: NDArray[np.int64],
    *,
    channels: NDArray[np.int64] | None = None,
    n_per_half: int | None = None,
) -> Bank:
    """Collect the stimuli that made some unit fire, without repetition, ordered by half and image.

    Parameters
    ----------
    examples
        Strongest stimuli of every unit.
    photographs
        The photograph of each image, shape (image,).
    channels
        The units whose stimuli are collected, shape (unit,); by default all.
    n_per_half
        Strongest stimuli that each unit contributes from each half; by default all that were kept.

    Examples
    --------
    One of three units fired, at one place of image 5.

    >>> from equiscope.measurement.examples import empty_examples
    >>> examples = empty_examples("conv1", 3, 2)
    >>> examples.value[0, 1, 0], examples.image[0, 1, 0], examples.position[0, 1, 0] = 0.7, 5, (2, 3)
    >>> bank = build_bank(examples, photographs=np.arange(8))
    >>> len(bank), bank.image.tolist(), bank.position.tolist()
    (1, [5], [[2, 3]])
    """
    chosen = slice(None) if channels is None else channels
    rows = []
    for half in (0, 1):
        image = examples.image[half][chosen, :n_per_half]
        value = examples.value[half][chosen, :n_per_half]
        fires = (image != NO_IMAGE) & (np.nan_to_num(value) > 0)
        position = examples.position[half][chosen, :n_per_half][fires]
        rows.append(np.column_stack([np.full(int(fires.sum()), half), image[fires], position]))
    distinct = np.unique(np.concatenate(rows).astype(np.int64), axis=0)
    return Bank(
        layer=examples.layer,
        half=distinct[:, 0],
        image=distinct[:, 1],
        position=distinct[:, 2:],
        photograph=photographs[distinct[:, 1]] if len(distinct) else np.zeros(0, np.int64),
    )


def join_banks(banks: Sequence[Bank], geometries: Sequence[LayerGeometry]) -> Bank:
    """Put the stimuli of several layers into one bank, ordered by half, each centred on a place in its image.

    Examples
    --------
    >>> place = np.arange(2)
    >>> one, other = (Bank(name, place, place, np.zeros((2, 2), int), place, np.full((2, 2), 9.0)) for name in "ab")
    >>> joined = join_banks([one, other], [None, None])
    >>> joined.layer, joined.half.tolist(), joined.image.tolist()
    ('a+b', [0, 0, 1, 1], [0, 0, 1, 1])
    """
    half = np.concatenate([bank.half for bank in banks])
    order = np.argsort(half, kind="stable")

    def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)[order]

    return Bank(
        layer="+".join(bank.layer for bank in banks),
        half=half[order],
        image=joined([bank.image for bank in banks]),
        position=joined([bank.position for bank in banks]),
        photograph=joined([bank.photograph for bank in banks]),
        centre_px=np.concatenate(
            [centres_px(bank, geometry) for bank, geometry in zip(banks, geometries, strict=True)]
        )[order],
    )


def centres_px(bank: Bank, geometry: LayerGeometry | None) -> NDArray[np.float64]:
    """Where in its image each stimulus is centred, (y, x), px, shape (stimulus, 2); NaN for the image's own middle.

    Examples
    --------
    >>> place = np.arange(4)
    >>> bank = Bank("conv1", place // 2, place, np.zeros((4, 2), int), place)
    >>> centres_px(bank, None)[0].tolist()
    [nan, nan]
    """
    if bank.centre_px is not None:
        return bank.centre_px
    if geometry is None or geometry.is_global:
        return np.full((len(bank), 2), np.nan)
    return np.asarray(geometry.centre_px + np.asarray(geometry.stride_px) * bank.position, dtype=np.float64)


def cut_orbits(
    images: ImageSet,
    bank: Bank,
    geometry: LayerGeometry | None,
    group: Group,
    size_px: int,
    stimuli: slice,
) -> Tensor:
    """Cut some stimuli of a bank under every element of a group.

    Parameters
    ----------
    images, bank, geometry
        The images, the stimuli, and the geometry of the bank's layer (None for a bank of several layers).
    group
        The transformations.
    size_px
        Side of the patches, px.
    stimuli
        Which stimuli of the bank.

    Returns
    -------
    Tensor, shape (stimulus, element, 3, size_px, size_px), RGB
        Values outside of [0, 1] are kept where a transformation makes them.

    Raises
    ------
    EquiscopeError
        If an image that could be read before can no longer be.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models import Model
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import as_images
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> images = as_images(None)
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> geometries = find_geometry(model, ["0"])
    >>> place = np.arange(2)
    >>> bank = Bank("0", place, place, np.full((2, 2), 9), place)
    >>> cut_orbits(images, bank, geometries["0"], CyclicGroup(4), 5, slice(0, 2)).shape
    torch.Size([2, 4, 3, 5, 5])
    """
    transformation = find(group.name)
    image, centre = bank.image[stimuli], centres_px(bank, geometry)[stimuli]
    crops, centres = _crop(images, image, centre, transformation.crop_px(size_px, group))
    starts = [start[stimuli] for start in bank.starts_deg(group)]
    return transformation.show(crops, centres, group, starts, size_px)


def cut_stimuli(
    images: ImageSet,
    geometry: LayerGeometry,
    image: NDArray[np.int64],
    position: NDArray[np.int64] | NDArray[np.float64],
    angles_deg: NDArray[np.float64],
    size_px: int,
    start_deg: NDArray[np.float64] | None = None,
) -> Tensor:
    """Cut stimuli out of their images, turned about their centres by each angle.

    Parameters
    ----------
    images
        The images.
    geometry
        The layer's geometry, which says where a position is centred.
    image, position
        Image, shape (stimulus,), and grid position (y, x), shape (stimulus, 2).
    angles_deg
        Counter-clockwise angles, degrees, shape (angle,).
    size_px
        Side of the patches, px.
    start_deg
        Further angle by which each stimulus is turned, shape (stimulus,), degrees; by default none.

    Returns
    -------
    Tensor
        Shape (stimulus, angle, 3, size_px, size_px), RGB in [0, 1]. The image is turned before the patch is
        cut, so corners hold real content; where the image ends it is reflected.

    Raises
    ------
    EquiscopeError
        If an image that could be read before can no longer be.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models import Model
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import as_images
    >>> images = as_images(None)
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> geometries = find_geometry(model, ["0"])
    >>> image, position, angles_deg = np.array([0, 1, 1]), np.full((3, 2), 9), np.array([0.0, 45.0])
    >>> cut_stimuli(images, geometries["0"], image, position, angles_deg, 5).shape
    torch.Size([3, 2, 3, 5, 5])
    """
    zeros = np.zeros(len(image), np.int64)
    centre = centres_px(Bank(geometry.layer, zeros, image, position, zeros), geometry)
    crops, centres = _crop(images, image, centre, crop_size_px(size_px))
    start = np.zeros(len(image)) if start_deg is None else start_deg
    return turn_patches(crops, centres, angles_deg, start, size_px)


def measure_change(
    images: ImageSet, bank: Bank, geometry: LayerGeometry, size_px: int, transformation: Transformation
) -> NDArray[np.float64]:
    """By how much a transformation can change each stimulus at all (`Transformation.change`), shape (stimulus,).

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models import Model
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import as_images
    >>> images = as_images(None)
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> geometries = find_geometry(model, ["0"])
    >>> place = np.arange(2)
    >>> bank = Bank("0", place, place, np.full((2, 2), 9), place)
    >>> measure_change(images, bank, geometries["0"], 5, find("hue")).shape
    (2,)
    """
    centre = centres_px(bank, geometry)
    found = np.empty(len(bank))
    for start in range(0, len(bank), 256):
        some = slice(start, start + 256)
        crops, centres = _crop(images, bank.image[some], centre[some], crop_size_px(size_px))
        found[some] = transformation.change(rotate_patches(crops, centres, [0.0], size_px)[:, 0]).numpy()
    return found


def _crop(
    images: ImageSet, image: NDArray[np.int64], centre_px: NDArray[np.float64], crop_px: int
) -> tuple[Tensor, Tensor]:
    """Squares around the centres, shape (stimulus, 3, crop_px, crop_px), and the centres in them, (stimulus, 2)."""
    crops, centres = [], []
    last_index, picture = -1, torch.empty(0)
    for index, (y, x) in zip(image.tolist(), centre_px.tolist(), strict=True):
        if index != last_index:
            picture, last_index = images.load_again(index), index
        centre = ((picture.shape[1] - 1) / 2, (picture.shape[2] - 1) / 2) if np.isnan(y) else (y, x)
        crop, inside, _ = crop_around(picture, centre, crop_px)
        crops.append(crop)
        centres.append(inside)
    return torch.stack(crops), torch.tensor(centres, dtype=torch.float64)
