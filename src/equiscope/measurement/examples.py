"""Dataset examples: the strongest stimuli of every unit, and the moments of its responses, in one pass over the images.

A stimulus is a patch of an image, as large as the layer's receptive field needs and centred on the field of one
position; its response is the unit's value there. Stimuli are only taken where the rotated patch has real content: the
patch's diagonal stays inside the image where that leaves at least the middle quarter of it, and otherwise the centre
stays in the middle quarter and corners are filled by reflection.

A layer without a receptive field of its own has one stimulus an image, the whole of it. An image that is smaller than a
layer's patch takes no part in that layer. Of an image whose sides the network is not to be shown, the largest part at
the upper left that has them is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.model import Model
from equiscope.models.passes import BoundedPasses
from equiscope.models.refusals import refusals_told
from equiscope.models.sides import Sides, crop_to
from equiscope.stimuli import ImageSet

__all__ = ["Examples", "collect_examples", "empty_examples", "merge_examples", "split_halves"]

NO_IMAGE = -1
# Images that run together; fewer where memory would not suffice (`equiscope.models.passes`).
_TOGETHER = 16
# Of a layer's output that is summarised at a time, which makes three copies of it.
_SUMMARISED_BYTES = 32_000_000


@dataclass(frozen=True)
class Examples:
    """Moments and strongest stimuli of the units of one layer over a set of images.

    Attributes
    ----------
    layer
        Name of the layer.
    n_positions
        Positions over which the moments were taken.
    n_images
        Images that were large enough to hold a stimulus of this layer, for each half, shape (half,).
    mean, m2, maximum
        Mean, summed squared deviation and maximum of each unit's response, shape (unit,), activation units.
    value
        Responses of the strongest stimuli, shape (half, unit, rank), activation units, falling; NaN where a unit
        has fewer.
    image
        Their images, shape (half, unit, rank), -1 where there is none.
    position
        Their positions in the layer's grid, shape (half, unit, rank, 2) for (y, x); fractions where they are stimuli of
        other layers (`equiscope.measurement.shared_bank`).
    """

    layer: str
    n_positions: int
    n_images: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    maximum: NDArray[np.float64]
    value: NDArray[np.float32]
    image: NDArray[np.int64]
    position: NDArray[np.int64] | NDArray[np.float64]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.mean)

    @property
    def sd(self) -> NDArray[np.float64]:
        """Standard deviation of each unit's response, shape (unit,), activation units; NaN before any position."""
        if self.n_positions == 0:
            return np.full(self.n_units, np.nan)
        return np.asarray(np.sqrt(self.m2 / self.n_positions))

    @property
    def is_inactive(self) -> NDArray[np.bool_]:
        """Units that never fired at any position of any image, shape (unit,)."""
        return self.maximum <= 0


def empty_examples(layer: str, n_units: int, n_examples: int) -> Examples:
    """Return the neutral element of ``merge_examples``: no position and no stimulus seen.

    Examples
    --------
    >>> empty_examples("conv2d0", n_units=3, n_examples=2).n_units
    3
    """
    return Examples(
        layer=layer,
        n_positions=0,
        n_images=np.zeros(2, np.int64),
        mean=np.zeros(n_units),
        m2=np.zeros(n_units),
        maximum=np.full(n_units, -np.inf),
        value=np.full((2, n_units, n_examples), np.nan, np.float32),
        image=np.full((2, n_units, n_examples), NO_IMAGE, np.int64),
        position=np.zeros((2, n_units, n_examples, 2), np.int64),
    )


def merge_examples(a: Examples, b: Examples) -> Examples:
    """Combine the results over two disjoint sets of images into those over both.

    Raises
    ------
    EquiscopeError
        If they are of different layers or keep different numbers of stimuli.

    Notes
    -----
    The strongest stimuli do not depend on the order of merging: equal responses are ordered by image, then by
    position. Moments agree up to rounding.

    References
    ----------
    Chan, Golub and LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances* (1979).

    Examples
    --------
    >>> whole = merge_examples(empty_examples("conv1", 3, 2), empty_examples("conv1", 3, 2))
    >>> whole.n_units, whole.n_positions
    (3, 0)
    """
    if a.layer != b.layer or a.value.shape != b.value.shape:
        raise EquiscopeError(
            f"cannot merge stimuli of {a.layer!r} {a.value.shape} with those of {b.layer!r} {b.value.shape}: "
            "both must be of one layer and keep equally many"
        )
    n_examples = a.value.shape[2]
    value = np.concatenate([a.value, b.value], axis=2)
    image = np.concatenate([a.image, b.image], axis=2)
    position = np.concatenate([a.position, b.position], axis=2)
    strength = np.where(image == NO_IMAGE, -np.inf, value)
    order = np.lexsort((position[..., 1], position[..., 0], image, -strength), axis=-1)[..., :n_examples]
    n = a.n_positions + b.n_positions
    delta = b.mean - a.mean
    share = b.n_positions / n if n else 0.0
    return Examples(
        layer=a.layer,
        n_positions=n,
        n_images=a.n_images + b.n_images,
        mean=a.mean + delta * share,
        m2=a.m2 + b.m2 + delta**2 * a.n_positions * share,
        maximum=np.maximum(a.maximum, b.maximum),
        value=np.take_along_axis(value, order, axis=2),
        image=np.take_along_axis(image, order, axis=2),
        position=np.take_along_axis(position, order[..., None], axis=2),
    )


def split_halves(groups: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Assign each image to half 0, which finds, or half 1, which verifies; one photograph is never in both.

    Parameters
    ----------
    groups
        The photograph of each image, shape (image,).
    seed
        Seed of the random assignment.

    Returns
    -------
    ndarray
        0 or 1, shape (image,). The halves have equally many photographs, up to one.

    Examples
    --------
    Two copies of photograph 0 stay together.

    >>> split_halves([0, 0, 1, 2], seed=0).tolist()
    [0, 0, 0, 1]
    """
    distinct, member = np.unique(np.asarray(groups, dtype=np.int64), return_inverse=True)
    half = np.arange(len(distinct)) % 2
    np.random.default_rng([seed, 1]).shuffle(half)
    return half[member].astype(np.int64)


@borrows_model
def collect_examples(
    model: Model,
    images: ImageSet,
    geometries: dict[str, LayerGeometry],
    half_of_image: NDArray[np.int64],
    n_examples: int,
    *,
    indices: Sequence[int] | None = None,
    per_image: int = 1,
    on_images: Callable[[int], None] | None = None,
) -> dict[str, Examples]:
    """Find the strongest stimuli and the moments of every unit of some layers in one pass over the images.

    Parameters
    ----------
    model, images, geometries
        The network, what it is shown, and the layers, as ``find_geometry`` describes them.
    half_of_image
        Half of each image, shape (image,), from ``split_halves``.
    n_examples
        Stimuli to keep for each unit in each half.
    indices
        The images to show, by default all: results over disjoint parts can be merged.
    per_image
        At most this many stimuli of one unit from one image; several never overlap.
    on_images
        Called with the number of images done since the last call.

    Returns
    -------
    dict
        For each layer its ``Examples``. Memory does not grow with the number of images.

    Raises
    ------
    EquiscopeError
        If the network cannot run on an image.

    Examples
    --------
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import open_images
    >>> images, model = open_images(), Model(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5)))
    >>> halves = split_halves(images.groups, seed=0)
    >>> found = collect_examples(model, images, find_geometry(model, ["0"]), halves, n_examples=2)["0"]
    >>> found.n_images.tolist(), found.value.shape, bool((np.diff(found.value) <= 0).all())
    ([21, 18], (2, 4, 2), True)
    """
    found = {name: empty_examples(name, own.n_channels, n_examples) for name, own in geometries.items()}
    chosen, passes = range(len(images)) if indices is None else indices, BoundedPasses(model)
    for batch_indices, batch in images.batches(chosen, _TOGETHER):
        shown = crop_to(batch, _common_sides(geometries))
        if shown is not None:
            recorded = _summaries(passes, shown, geometries, per_image, images.names[batch_indices[0]])
            image = np.asarray(batch_indices, dtype=np.int64)
            parts = _parts_of_batch(recorded, image, half_of_image[image], per_image, n_examples)
            found |= {layer: merge_examples(found[layer], part) for layer, part in parts.items()}
        if on_images is not None:
            on_images(len(batch_indices))
    return found


def _common_sides(geometries: dict[str, LayerGeometry]) -> Sides:
    """Give the sides that images are cut to; all layers of a network are found for the same."""
    return next((geometry.sides for geometry in geometries.values()), Sides())


def _summaries(
    passes: BoundedPasses, batch: Tensor, geometries: dict[str, LayerGeometry], per_image: int, example: str
) -> dict[str, Tensor]:
    """Run a batch, such as the image ``example``, and sum up each layer whose patch it can hold."""
    height, width = batch.shape[-2:]
    layers = [n for n, g in geometries.items() if g.is_global or min(height, width) >= g.patch_px]

    def read(layer: str, output: Tensor) -> Tensor:
        return _summarise(output, geometries[layer], (height, width), per_image)

    what = f"images of {height} x {width} px, such as {example}"
    with refusals_told(passes.model, what, "leave out those that it does not take"):
        return passes.record(batch, layers, read) if layers else {}


def allowed_positions(
    geometry: LayerGeometry, image_shape: tuple[int, int], grid_shape: tuple[int, int]
) -> tuple[slice, slice]:
    """Positions (y, x) of a layer's grid on which a stimulus may be centred, in an image of at least a patch."""
    if geometry.is_global:
        return tuple(slice(n // 2, n // 2 + 1) for n in grid_shape)  # type: ignore[return-value]
    slices = []
    for axis in (0, 1):
        length = image_shape[axis]
        margin = min(geometry.patch_px / math.sqrt(2), 0.375 * length)
        low = math.ceil((margin - geometry.centre_px[axis]) / geometry.stride_px[axis])
        high = math.floor((length - 1 - margin - geometry.centre_px[axis]) / geometry.stride_px[axis])
        low, high = max(low, 0), min(high, grid_shape[axis] - 1)
        if high < low:
            # A grid coarser than the middle quarter: its most central position.
            low = high = round(((length - 1) / 2 - geometry.centre_px[axis]) / geometry.stride_px[axis])
        slices.append(slice(low, high + 1))
    return slices[0], slices[1]


def _summarise(
    output: Tensor, geometry: LayerGeometry, image_shape: tuple[int, int], per_image: int
) -> Tensor:
    """Per image and unit: mean, m2 and maximum over positions, count, then (value, y, x) of each strongest one.

    Shape (image, unit, 4 + 3 * per_image); missing stimuli have the value -inf.
    """
    n_images, n_units, rows, columns = output.shape
    some = max(1, _SUMMARISED_BYTES // (4 * n_units * rows * columns))
    if some < n_images:
        parts = [_summarise(part, geometry, image_shape, per_image) for part in torch.split(output, some)]
        return torch.cat(parts)
    output = output.float()
    flat = output.flatten(2)
    count = rows * columns
    mean = flat.mean(2)
    m2 = ((flat - mean.unsqueeze(2)) ** 2).sum(2)
    columns_out = [mean, m2, flat.amax(2), torch.full_like(mean, count)]
    allowed = allowed_positions(geometry, image_shape, (rows, columns))
    window = output[:, :, allowed[0], allowed[1]]
    window_columns = window.shape[3]
    ys = torch.arange(window.shape[2], device=output.device).view(1, 1, -1, 1)
    xs = torch.arange(window_columns, device=output.device).view(1, 1, 1, -1)
    # Positions from which on two patches share no pixel; a global layer has one stimulus an image.
    apart = [1.0, 1.0] if geometry.is_global else [geometry.patch_px / s for s in geometry.stride_px]
    for round_index in range(per_image):
        value, place = window.flatten(2).max(2)
        y, x = place // window_columns, place % window_columns
        columns_out += [value, (y + allowed[0].start).float(), (x + allowed[1].start).float()]
        if round_index + 1 < per_image:
            near_y = (ys - y.view(n_images, n_units, 1, 1)).abs() < apart[0]
            near_x = (xs - x.view(n_images, n_units, 1, 1)).abs() < apart[1]
            window = window.masked_fill(near_y & near_x, -math.inf)
    return torch.stack(columns_out, dim=2)


def _parts_of_batch(
    recorded: dict[str, Tensor],
    image: NDArray[np.int64],
    half: NDArray[np.int64],
    per_image: int,
    n_examples: int,
) -> dict[str, Examples]:
    """Turn the summaries of all layers over one batch into Examples."""
    return {
        layer: _examples_of_batch(layer, summary.cpu().numpy(), image, half, per_image, n_examples)
        for layer, summary in recorded.items()
    }


def _examples_of_batch(
    layer: str,
    summary: NDArray[np.float32],
    image: NDArray[np.int64],
    half: NDArray[np.int64],
    per_image: int,
    n_examples: int,
) -> Examples:
    """Turn the summaries of one batch into Examples; shape of ``summary``: (image, unit, 4 + 3 * per_image)."""
    n_images, n_units, _ = summary.shape
    moments = summary[:, :, :4].astype(np.float64)
    mean = moments[:, :, 0].mean(0)
    # Every image of a batch has the same number of positions, so image means weigh equally.
    count = int(moments[0, 0, 3])
    m2 = moments[:, :, 1].sum(0) + count * ((moments[:, :, 0] - mean) ** 2).sum(0)
    split = summary[:, :, 4:].reshape(n_images, n_units, per_image, 3)
    stimuli = split.transpose(1, 0, 2, 3).reshape(n_units, n_images * per_image, 3)
    image_of = np.repeat(image, per_image)
    half_of = np.repeat(half, per_image)
    size = max(n_examples, n_images * per_image)
    value = np.full((2, n_units, size), np.nan, np.float32)
    image_out = np.full((2, n_units, size), NO_IMAGE, np.int64)
    position = np.zeros((2, n_units, size, 2), np.int64)
    n_usable = np.zeros(2, np.int64)
    for index in (0, 1):
        mine = half_of == index
        n = int(mine.sum())
        there = np.isfinite(stimuli[:, mine, 0])
        value[index, :, :n] = np.where(there, stimuli[:, mine, 0], np.nan)
        image_out[index, :, :n] = np.where(there, image_of[mine], NO_IMAGE)
        position[index, :, :n] = np.where(there[..., None], stimuli[:, mine, 1:], 0)
        n_usable[index] = len(np.unique(image_of[mine][there.any(0)])) if n else 0
    part = Examples(
        layer, count * n_images, n_usable, mean, m2, moments[:, :, 2].max(0), value, image_out, position
    )
    return _keep_strongest(part, n_examples)


def _keep_strongest(examples: Examples, n_examples: int) -> Examples:
    """Sort a batch's stimuli and keep the first ``n_examples`` of each unit and half."""
    empty = empty_examples(examples.layer, examples.n_units, examples.value.shape[2])
    ordered = merge_examples(empty, examples)
    cut = {name: getattr(ordered, name)[:, :, :n_examples] for name in ("value", "image", "position")}
    kept = {f.name: getattr(ordered, f.name) for f in fields(Examples)} | cut
    return Examples(**kept)
