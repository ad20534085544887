"""Whether a patch answers as the image does from which it was cut: both are compared on a few images of each layer.

A unit's response is measured on a patch as large as its receptive field, or as large as is enough where that is large
(`equiscope.measurement.sufficient_patches`). That is right where the network answers to the
patch as it does at the same place of the whole image, up to a small error relative to the response's standard
deviation. A network that pads, resizes or normalises over the image may not: then a larger patch is tried, and where
none does, whole images are the stimuli. A note of the run says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.sufficient_patches import settle_large_patches
from equiscope.models.geometry import LayerGeometry, find_geometry, find_local_geometry
from equiscope.models.model import Model
from equiscope.models.receptive_fields import LARGE_PATCH_PX
from equiscope.models.refusals import refusals_told
from equiscope.models.sides import Sides, crop_to, fitted
from equiscope.stimuli import ImageSet

__all__ = ["CLOSE", "EXACT", "Settled", "patch_errors", "settle_geometries"]

# Largest error, as `patch_errors` gives it, that counts as none. Both answers are computed in float32 from the same
# pixels, so they differ by rounding alone: by 0 in mini and GoogLeNet on a CPU, by some 1e-5 where a library takes
# other kernels for other sizes. A grid that lies one pixel elsewhere gave 0.15 to 1.3.
EXACT = 1e-3
# Largest error that is accepted, and said. It lowers a correlation by half its square, 5e-5, while even planted copies
# are apart by up to 1e-2.
CLOSE = 1e-2
# Largest patch, as a share of the images' side, that can stand for the image where a layer sees all of it: a patch that
# is nearly the image answers like it whatever the layer sees.
_MOST_SHARE = 0.75
_GROWTH = 1.25
_IMAGES = 3
_SIZE_SAMPLE = 32
_PLACES = 3


@dataclass(frozen=True)
class Settled:
    """What every layer is shown.

    Attributes
    ----------
    geometries
        By layer; those that whole images are shown are global.
    notes
        Sentences about what was unusual, by layer.
    whole_px
        Side of whole-image stimuli, px.
    """

    geometries: dict[str, LayerGeometry]
    notes: dict[str, list[str]]
    whole_px: int


def settle_geometries(model: Model, images: ImageSet, layers: Sequence[str]) -> Settled:
    """Find the geometry of layers and settle what they are shown.

    A patch stands for the place in the image from which it was cut. Of a large receptive field it holds what is enough.
    Where its middle does not answer as that place
    does, a larger patch is tried, and where none does, whole images are the stimuli. A layer that sees the whole image
    in principle, behind a gate that hardly gates, gets the smallest patch that answers as the image does.

    Parameters
    ----------
    model, images, layers
        The network, what it will be shown, and its layers.

    Raises
    ------
    EquiscopeError
        If no image can be read, or the network takes none of those tried.

    Notes
    -----
    Some thirty images, evenly over the set, tell how large they are; three of them are shown. Cost: one forward pass of
    these, and of nine patches a layer; for large receptive fields of all thirty, and some 64 patches of each side that
    is tried.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.stimuli import as_images
    >>> images = as_images(None)
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> settle_geometries(model, images, ["0"]).geometries["0"].patch_px
    5
    """
    shapes = _shapes(images)
    geometries = find_geometry(
        model, layers, side_px=int(np.median([min(shape) for shape in shapes.values()]))
    )
    sides = geometries[layers[0]].sides
    shown = {
        index: within for index, shape in shapes.items() if (within := sides.at_most(*shape)) is not None
    }
    if not shown:
        largest = max(min(shape) for shape in shapes.values())
        raise EquiscopeError(
            f"{model.name} takes images with {sides.words}, and those tried have {largest} px at most: give larger ones"
        )
    shortest = [min(shape) for shape in shown.values()]
    whole_px = (sides.at_most(int(np.median(shortest))) or (sides.least_px,))[0]
    notes: dict[str, list[str]] = {layer: [] for layer in layers}
    fits = _fit_to_images(model, images, geometries, shown, whole_px, notes)
    pictures = [part for index in _some(shown) if (part := _load(images, index, sides)) is not None]
    settled = _settle(model, pictures, fits, whole_px, notes)
    for layer, geometry in settled.items():
        notes[layer] += _words(geometry, whole_px)
    return Settled(settled, notes, whole_px)


def _shapes(images: ImageSet) -> dict[int, tuple[int, int]]:
    """Give the (y, x) sides of images evenly over the set, px, by index."""
    tried = range(0, len(images), max(1, len(images) // _SIZE_SAMPLE))
    loaded = ((index, images.load(index)) for index in tried)
    shapes = {index: (image.shape[1], image.shape[2]) for index, image in loaded if image is not None}
    if not shapes:
        first = next(failure for failure in images.failures if failure.name == images.names[0])
        raise EquiscopeError(
            f"none of the {len(tried)} images tried in {images.name} could be read; the first, {first.name}, failed "
            f"with: {first.reason}"
        )
    return shapes


def _words(geometry: LayerGeometry, whole_px: int) -> list[str]:
    """Word what is to be said of a layer that is shown whole images, or restricted sides."""
    said = []
    if geometry.is_global:
        said.append(
            f"whole images of {whole_px} px served as stimuli, turned about their centres with reflected "
            "corners: the layer has no receptive field that could be centred in them"
        )
    sides = geometry.sides
    is_cut = sides.step_px != 1 or sides.is_square
    is_filled = not geometry.is_global and sides.at_least(geometry.patch_px) != (geometry.patch_px,)
    if is_cut or is_filled:
        said.append(
            f"the network was shown {sides.words} alone, because it refuses others or its grid lies elsewhere for "
            f"them: {'images were cut and patches' if is_cut else 'patches were'} filled up at the right and below"
        )
    return said


def patch_errors(
    model: Model, images: Sequence[Tensor], geometries: Mapping[str, LayerGeometry]
) -> dict[str, float]:
    """Compare each layer's answers at places of images with those at the middles of the patches cut there.

    Parameters
    ----------
    model
        The network.
    images
        Images, each of shape (3, y, x), RGB in [0, 1], with sides that the network takes.
    geometries
        The layers, none of them global.

    Returns
    -------
    dict
        For each layer the root mean square difference of its worst unit over the places, as a share of the layer's
        spread: the root mean square over units of the standard deviation of their responses over positions. NaN for a
        layer whose patch no image holds.

    Examples
    --------
    Without padding a patch answers as its place in the image does.

    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> patch_errors(model, [torch.rand(3, 40, 50)], find_geometry(model, ["0"]))["0"] < 1e-4
    True
    """
    wanted: dict[str, list[Tensor]] = {layer: [] for layer in geometries}
    patches: dict[str, list[Tensor]] = {layer: [] for layer in geometries}
    variances: dict[str, list[Tensor]] = {layer: [] for layer in geometries}
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        for image in images:
            places = {
                n: _places(g, image) for n, g in geometries.items() if g.patch_px <= min(image.shape[1:])
            }
            if not places:
                continue

            def read(layer: str, output: Tensor, places: dict[str, _Places] = places) -> Tensor:
                own = output[0].float()
                return torch.cat([_at(own, places[layer].positions), own.var((1, 2), correction=0)[None]])

            with _told(model, image):
                recorded = model.record(image[None], list(places), read)
            for layer, own in recorded.items():
                wanted[layer].append(own[:-1].cpu())
                variances[layer].append(own[-1].cpu())
                patches[layer] += places[layer].cut(image)
        errors = {}
        for layer, geometry in geometries.items():
            errors[layer] = np.nan
            if wanted[layer]:
                stack = torch.stack(patches[layer])
                found = _middles(model, geometry, stack)
                errors[layer] = _error(found, torch.cat(wanted[layer]), torch.stack(variances[layer]))
    return errors


@dataclass(frozen=True)
class _Places:
    """Where a layer's patches are cut out of an image: corners, px, and positions of its grid, shape (place, 2)."""

    corners: NDArray[np.int64]
    positions: NDArray[np.int64]
    size_px: int

    def cut(self, image: Tensor) -> list[Tensor]:
        size = self.size_px
        return [image[:, y : y + size, x : x + size] for y, x in self.corners.tolist()]


def _places(geometry: LayerGeometry, image: Tensor) -> _Places:
    """Places all over an image at which whole patches can be cut, one row and one column each time."""
    size_px = geometry.patch_px
    steps = []
    for axis in (0, 1):
        most = (image.shape[1 + axis] - size_px) // geometry.stride_px[axis]
        steps.append(np.unique(np.linspace(0.1, 0.9, _PLACES) * most).round().astype(np.int64))
    n = max(map(len, steps))
    chosen = np.array([(steps[0][i % len(steps[0])], steps[1][(i + 1) % len(steps[1])]) for i in range(n)])
    return _Places(
        chosen * np.array(geometry.stride_px), chosen + np.array(geometry.position_in_patch()), size_px
    )


def _at(output: Tensor, positions: NDArray[np.int64]) -> Tensor:
    """Responses at positions, shape (position, unit); NaN where the grid has none."""
    rows, columns = torch.from_numpy(positions.T).to(output.device)
    if rows.max() >= output.shape[1] or columns.max() >= output.shape[2]:
        return torch.full((len(rows), len(output)), torch.nan, device=output.device)
    return output[:, rows, columns].T


def _middles(model: Model, geometry: LayerGeometry, patches: Tensor) -> Tensor:
    """Responses in the middle of patches, shape (patch, unit)."""
    middle = np.array([geometry.position_in_patch()])
    with _told(model, patches):
        read = fitted(model, geometry.sides).record(
            patches,
            [geometry.layer],
            lambda _n, output: torch.cat([_at(own.float(), middle) for own in output]),
        )
    return read[geometry.layer].cpu()


def _error(found: Tensor, wanted: Tensor, variances: Tensor) -> float:
    """Give the error of the worst unit, as a share of the layer's spread; infinite where an answer is missing."""
    away = (found - wanted).double().square().mean(0).sqrt().max()
    # A layer without any spread answers with rounding.
    spread = variances.double().mean().sqrt().clamp(min=1e-6 * float(wanted.abs().max()) + 1e-30)
    return float(torch.nan_to_num(away / spread, nan=torch.inf))


def _told(model: Model, shown: Tensor) -> AbstractContextManager[None]:
    height, width = shown.shape[-2:]
    return refusals_told(
        model,
        f"images of {height} x {width} px",
        "give images of the size that it takes, or wrap it in an equiscope.Model whose preprocess makes that",
    )


def _some(shapes: Mapping[int, tuple[int, ...]]) -> list[int]:
    """Choose the first image, the largest, and then those of other shapes."""
    first, largest = next(iter(shapes)), max(shapes, key=lambda index: min(shapes[index]))
    seen = {shapes[first], shapes[largest]}
    others = sorted(set(shapes) - {first, largest}, key=lambda index: (shapes[index] in seen, index))
    return list(dict.fromkeys((first, largest, *others)))[:_IMAGES]


def _load(images: ImageSet, index: int, sides: Sides) -> Tensor | None:
    """Load what the network is shown of an image."""
    picture = images.load(index)
    return None if picture is None else crop_to(picture, sides)


def _fit_to_images(
    model: Model,
    images: ImageSet,
    geometries: Mapping[str, LayerGeometry],
    shown: Mapping[int, tuple[int, ...]],
    whole_px: int,
    notes: dict[str, list[str]],
) -> dict[str, LayerGeometry]:
    """Give large receptive fields, and those that the images do not hold, the part of them that is enough."""
    largest_px = max(map(min, shown.values()))
    least_px = min(LARGE_PATCH_PX, largest_px)
    large = {n: g for n, g in geometries.items() if not g.is_global and g.patch_px > least_px}
    fits = dict(geometries)
    if large:
        sides = next(iter(large.values())).sides
        loaded = (_load(images, index, sides) for index in shown)
        found, told = settle_large_patches(
            model, [part for part in loaded if part is not None], large, whole_px
        )
        fits |= found
        for layer, own in told.items():
            notes[layer] += own
    for layer, geometry in fits.items():
        problem = None if geometry.is_global else _problem(geometry, largest_px)
        if problem is not None:
            fits[layer] = replace(geometry, is_global=True)
            notes[layer].append(problem)
    return fits


def _problem(geometry: LayerGeometry, largest_px: int) -> str | None:
    """Say why no patch within the images is centred on a place of a layer; None where one is."""
    if geometry.patch_px > largest_px:
        return f"its receptive field needs {geometry.patch_px} px stimuli and the images have {largest_px} px at most"
    try:
        geometry.position_in_patch()
    except EquiscopeError as error:
        return str(error)
    return None


def _settle(
    model: Model,
    images: Sequence[Tensor],
    geometries: Mapping[str, LayerGeometry],
    whole_px: int,
    notes: Mapping[str, list[str]],
) -> dict[str, LayerGeometry]:
    """Compare patches with images, in larger and larger patches where they differ."""
    settled = dict(geometries)
    waiting = {n: g for n, g in geometries.items() if not g.is_global and g.largest_px is None}
    # Layers that were made global because their grid has no square patch keep their stride.
    seen = [n for n, g in geometries.items() if g.is_global and not g.stride_px[0]]
    if seen:
        local = find_local_geometry(model, seen, geometries[seen[0]].sides, whole_px)
        waiting |= {n: g for n, g in local.items() if g.is_centred(g.patch_px) and _is_part(g, whole_px)}
    while waiting:
        larger = {}
        for layer, error in patch_errors(model, images, waiting).items():
            own, sees_all = waiting[layer], layer in seen
            if error <= CLOSE or (np.isnan(error) and not sees_all):
                settled[layer] = own
                notes[layer] += _words_of_accepted(own, error, sees_all, own is not geometries[layer])
            elif _is_part(grown := replace(own, smallest_px=math.ceil(_GROWTH * own.patch_px)), whole_px):
                larger[layer] = grown
            else:
                settled[layer] = replace(geometries[layer], is_global=True)
                notes[layer].append(
                    f"it sees the whole image, or tells where in it it looks: the middle of a patch of {own.patch_px} "
                    f"px differs from the image there by {100 * error:.2g} % of the layer's spread, {100 * CLOSE:g} % "
                    "is allowed"
                )
        waiting = larger
    return settled


def _words_of_accepted(geometry: LayerGeometry, error: float, sees_all: bool, is_larger: bool) -> list[str]:
    """Say how well a patch holds a layer's answer, unless it is the patch that was expected and holds all of it."""
    if not sees_all and not is_larger and not error > EXACT:
        return []
    principle = "it sees the whole image in principle; " if sees_all else ""
    return [
        f"{principle}a patch of {geometry.patch_px} px holds its answer within {100 * error:.2g} % of its spread"
    ]


def _is_part(geometry: LayerGeometry, whole_px: int) -> bool:
    """Whether the layer's patch is small enough to be a part of the image."""
    return geometry.patch_px <= _MOST_SHARE * whole_px
