"""How much of a large receptive field a patch must hold: as little as lets units answer as they do in the whole image.

The receptive field of a late layer is larger than most images, and its rim hardly matters: few paths lead through it.
So growing patches are cut out of some images, and the answers in their middles are compared with those at the same
places of the whole images,

    r_u  =  corr over places of (unit u in the middle of the patch, unit u there in the image).

The smallest patch is taken in which nine of ten units have ``r_u`` of 0.99 or more. Example: GoogLeNet's mixed4d sees
363 px, and 189 px are enough. All such layers of a network that have their places on one grid get the same patch, the
largest that one of them needs, so that they can be shown the same stimuli (`equiscope.surveys.stages`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.models.geometry import LayerGeometry
from equiscope.models.model import Model
from equiscope.models.receptive_fields import LARGE_PATCH_PX
from equiscope.models.refusals import refusals_told
from equiscope.models.sides import fitted

__all__ = ["ENOUGH", "Likeness", "settle_large_patches"]

# Correlation of answers that is enough, and the share of a layer's units that must have it.
ENOUGH, _UNITS_SHARE = 0.99, 0.9
# Sides that are tried: from three quarters of a large patch on, each longer than the last by a seventh at least.
_LEAST_SHARE, _GROWTH = 0.75, 1.15
# Places in each image, and patches that run together.
_PLACES, _TOGETHER = 2, 16


@dataclass(frozen=True)
class Likeness:
    """How alike units answer to a patch and to the image.

    Attributes
    ----------
    median
        Correlation of the median unit; NaN where no unit varied.
    tenth
        Correlation that nine of ten units have or surpass.
    n_places, n_images
        How many places of how many images were compared.
    """

    median: float
    tenth: float
    n_places: int
    n_images: int


def settle_large_patches(
    model: Model, images: Sequence[Tensor], geometries: Mapping[str, LayerGeometry], whole_px: int
) -> tuple[dict[str, LayerGeometry], dict[str, list[str]]]:
    """Settle the patches of layers whose receptive field is large, or larger than the images.

    Parameters
    ----------
    model
        The network.
    images
        Some images, each of shape (3, y, x), RGB in [0, 1], with sides that the network takes.
    geometries
        The layers, none of them global.
    whole_px
        Usual side of the images, px: no patch is larger.

    Returns
    -------
    geometries, notes
        By layer, for those that were settled: the geometry with its patch, and sentences about it. Others have no
        centred patch within the images, or one in which they answer otherwise although it holds all that they see.

    Examples
    --------
    Kernels of 151 px, all of whose weight is in the middle.

    >>> conv = torch.nn.Conv2d(3, 2, 151, stride=16, padding=75)
    >>> with torch.no_grad():
    ...     _ = conv.weight.zero_()[:, :, 60:91, 60:91].normal_()
    >>> from equiscope.models.geometry import find_geometry
    >>> model, images = Model(torch.nn.Sequential(conv)), [torch.rand(3, 224, 224) for _ in range(8)]
    >>> found, notes = settle_large_patches(model, images, find_geometry(model, ["0"]), 224)
    >>> found["0"].receptive_field_px, found["0"].patch_px
    ((151, 151), 97)
    """
    found: dict[str, LayerGeometry] = {}
    notes: dict[str, list[str]] = {}
    for together in _on_one_grid(geometries, whole_px):
        sizes = _sizes(list(together.values()), whole_px)
        alike = _compare(model, images, together, sizes)
        if not alike:
            continue
        last = max(alike)
        is_odd = {n: g.patch_px <= last and not alike[last][n].tenth >= ENOUGH for n, g in together.items()}
        settled = [layer for layer in together if not is_odd[layer]]
        size_px = max((_needed(alike, layer) for layer in settled), default=last)
        for layer in settled:
            found[layer] = _with_patch(together[layer], size_px)
            notes[layer] = _words(together[layer], size_px, alike[size_px][layer])
    return found, notes


def _on_one_grid(geometries: Mapping[str, LayerGeometry], whole_px: int) -> list[dict[str, LayerGeometry]]:
    """Divide layers so that those of a part have a patch in common whose middle is a place of each."""
    parts: list[dict[str, LayerGeometry]] = []
    for layer, geometry in geometries.items():
        for part in parts:
            if _sizes([*part.values(), geometry], whole_px):
                part[layer] = geometry
                break
        else:
            parts.append({layer: geometry})
    return parts


def _sizes(geometries: Sequence[LayerGeometry], whole_px: int) -> list[int]:
    """Sides to try, px, rising: centred for all, within the images, up to the largest that any of them needs."""
    largest = min(whole_px, max(own.patch_px for own in geometries))
    least = min(math.ceil(_LEAST_SHARE * LARGE_PATCH_PX), largest // 2)
    centred = [size for size in range(least, largest + 1) if all(own.is_centred(size) for own in geometries)]
    chosen: list[int] = []
    # Downwards, so that the largest is among them.
    for size in reversed(centred):
        if not chosen or size * _GROWTH <= chosen[-1]:
            chosen.append(size)
    return chosen[::-1]


def _compare(
    model: Model, images: Sequence[Tensor], geometries: Mapping[str, LayerGeometry], sizes: Sequence[int]
) -> dict[int, dict[str, Likeness]]:
    """Compare larger and larger patches with the images, until all layers answer alike; by side and layer."""
    cuts = {size_px: own for size_px in sizes if (own := _cut(images, geometries, size_px))}
    wanted = _answers_of_images(model, images, geometries, cuts)
    found: dict[int, dict[str, Likeness]] = {}
    for size_px, own in cuts.items():
        answers = _answers_of_patches(model, images, geometries, size_px, own)
        found[size_px] = {
            layer: Likeness(
                *_correlate(answers[layer], torch.cat(wanted[size_px][layer])),
                sum(map(len, own.values())),
                len(own),
            )
            for layer in geometries
        }
        if all(likeness.tenth >= ENOUGH for likeness in found[size_px].values()):
            break
    return found


def _needed(alike: Mapping[int, Mapping[str, Likeness]], layer: str) -> int:
    """Give the smallest side in which a layer answers alike, or else the largest."""
    return min((size for size, own in alike.items() if own[layer].tenth >= ENOUGH), default=max(alike))


def _with_patch(geometry: LayerGeometry, size_px: int) -> LayerGeometry:
    """Give a layer a patch of a side that is centred on its grid."""
    if geometry.patch_px <= size_px:
        return replace(geometry, smallest_px=size_px)
    return replace(geometry, largest_px=size_px)


def _words(geometry: LayerGeometry, size_px: int, own: Likeness) -> list[str]:
    if geometry.patch_px <= size_px:
        return []
    return [
        f"stimuli of {size_px} px leave out the rim of its receptive field, which needs {geometry.patch_px} px: at "
        f"{own.n_places} places of {own.n_images} images answers correlate with those in the whole image by "
        f"{own.median:.3f} in the median unit, and by {own.tenth:.3f} or more in nine of ten units"
    ]


# Upper left corners of the patches of one side in each image that holds some, px, shape (place, 2).
_Cut = dict[int, NDArray[np.int64]]


def _cut(images: Sequence[Tensor], geometries: Mapping[str, LayerGeometry], size_px: int) -> _Cut:
    """Say where patches are cut: on the grid of all layers, spread along the diagonal."""
    stride = [math.lcm(*(own.stride_px[axis] for own in geometries.values())) for axis in (0, 1)]
    shares = (np.arange(_PLACES) + 0.5) / _PLACES
    found = {}
    for number, image in enumerate(images):
        most = [(image.shape[1 + axis] - size_px) // stride[axis] for axis in (0, 1)]
        if min(most) >= 0:
            steps = np.stack([np.round(shares * own).astype(np.int64) for own in most], axis=1)
            found[number] = np.unique(steps, axis=0) * np.asarray(stride)
    return found


def _answers_of_images(
    model: Model,
    images: Sequence[Tensor],
    geometries: Mapping[str, LayerGeometry],
    cuts: Mapping[int, _Cut],
) -> dict[int, dict[str, list[Tensor]]]:
    """Answers in whole images where patches are centred, by side and layer: for each image shape (place, unit)."""
    found: dict[int, dict[str, list[Tensor]]] = {size: {n: [] for n in geometries} for size in cuts}
    for number, image in enumerate(images):
        own = {size: cut[number] for size, cut in cuts.items() if number in cut}
        if own:
            places = {
                n: np.concatenate(
                    [corners // g.stride_px + g.position_in_patch(size) for size, corners in own.items()]
                )
                for n, g in geometries.items()
            }
            bounds = np.cumsum([len(corners) for corners in own.values()])[:-1].tolist()
            for layer, answers in _record(model, image[None], places).items():
                for size, part in zip(own, torch.tensor_split(answers[0], bounds), strict=True):
                    found[size][layer].append(part)
    return found


def _answers_of_patches(
    model: Model,
    images: Sequence[Tensor],
    geometries: Mapping[str, LayerGeometry],
    size_px: int,
    cut: _Cut,
) -> dict[str, Tensor]:
    """Answers in the middle of patches, by layer, shape (place, unit)."""
    shown = [
        images[number][:, y : y + size_px, x : x + size_px]
        for number, corners in cut.items()
        for y, x in corners.tolist()
    ]
    own = fitted(model, next(iter(geometries.values())).sides)
    middle = {n: np.array([g.position_in_patch(size_px)]) for n, g in geometries.items()}
    parts = [_record(own, some, middle) for some in torch.split(torch.stack(shown), _TOGETHER)]
    return {layer: torch.cat([part[layer][:, 0] for part in parts]) for layer in geometries}


def _record(model: Model, shown: Tensor, places: Mapping[str, NDArray[np.int64]]) -> dict[str, Tensor]:
    """Answers of layers at their places, (y, x), by layer, shape (image, place, unit); NaN where there is none."""

    def read(layer: str, output: Tensor) -> Tensor:
        rows, columns = torch.from_numpy(places[layer].T.copy()).to(output.device)
        if rows.max() >= output.shape[2] or columns.max() >= output.shape[3]:
            return output.new_full((len(output), len(rows), output.shape[1]), torch.nan)
        return output[:, :, rows, columns].float().transpose(1, 2)

    height, width = shown.shape[-2:]
    with refusals_told(model, f"images of {height} x {width} px", "leave these layers out"):
        return {layer: own.cpu() for layer, own in model.record(shown, list(places), read).items()}


def _correlate(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Correlation of the median unit, and that which nine of ten units have or surpass; of units that vary."""
    x, y = (part.double() - part.double().mean(0) for part in (found, wanted))
    varies = y.norm(dim=0) > 1e-6 * wanted.double().norm(dim=0) + 1e-20
    if not bool(varies.any()):
        return math.nan, math.nan
    product = (x * y).sum(0) / (x.norm(dim=0) * y.norm(dim=0)).clamp(min=1e-30)
    own = torch.nan_to_num(product[varies], nan=-1.0).sort().values.tolist()
    return own[(len(own) - 1) // 2], own[math.floor((1 - _UNITS_SHARE) * len(own) + 1e-9)]
