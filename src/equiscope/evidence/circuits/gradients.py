"""Weights across skipped layers: mean gradients over the stimuli that excite each unit most, and their sampling error.

A mean over a dozen stimuli is not the mean over all. How far it is off is told by two means: each unit's stimuli are
dealt to two sides, and half the difference of their means, ``(A - B) / 2``, holds what differs between stimuli and
nothing that is common to them. It is as large, on average, as the error of the mean of all, and stands for a draw of
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.evidence.circuits.paths import ExpandedWeights
from equiscope.evidence.circuits.running import run_to
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.bank import cut_stimuli
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import Sides, fitted
from equiscope.stimuli import ImageSet

__all__ = ["gradient_weights"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

# Sides of the kernels, in cells: wider ones are summed over blocks, for no family's template is finer.
_MOST_CELLS = 11
_PIXELS_PER_PASS = 500_000
LINEARISED = "gradient, mean over each target unit's strongest stimuli"


def gradient_weights(
    model: Model,
    images: ImageSet,
    sources: Sequence[LayerGeometry],
    target: LayerGeometry,
    examples: Examples,
    *,
    n_stimuli: int = 4,
    precision: torch.dtype = torch.float32,
    on_units: Callable[[int], None] = lambda _units: None,
) -> list[ExpandedWeights]:
    """Linearise the network between layers at real stimuli: by how much each source unit moves each target unit.

    Rectifiers, pools and normalisations act as they do on each stimulus; the gradients of a target unit's response
    with respect to the sources, before their rectifiers, are averaged over its strongest stimuli of both halves of the
    images.

    Parameters
    ----------
    model, images
        The network, and the images of the survey.
    sources, target
        Geometry of the layers.
    examples
        Strongest stimuli of the target's units.
    n_stimuli
        Stimuli a unit, half of them from each half of the images.
    precision
        ``torch.bfloat16`` runs the network under autocast.
    on_units
        Called with a number of units after each batch.

    Returns
    -------
    list of ExpandedWeights
        One for each source that the target depends on, of the same form as exact ones, with at most 11 x 11 cells, and
        a draw of their sampling error. A target that sees the whole image is refused.

    Examples
    --------
    A weight counts for the share of the target's four stimuli in which its source passes the rectifier.

    >>> from equiscope import open_images
    >>> from equiscope.measurement.examples import collect_examples, split_halves
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_circuits
    >>> model, images = planted_circuits().model, open_images(max_side_px=96)
    >>> early, late = find_geometry(model, ["early", "late"]).values()
    >>> examples = collect_examples(model, images, {"late": late}, split_halves(images.groups, 0), 2)["late"]
    >>> (found,) = gradient_weights(model, images, [early], late, examples)
    >>> np.unique((found.weights / model.module.late.weight.detach().numpy()).round(2) + 0.0).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    _check_centre(target)
    strongest = _strongest(examples, max(1, n_stimuli // 2))
    sides, counts = _deal(strongest[1], target.n_channels)
    batches = _patches(images, target, examples, strongest, sides)
    summed = _sum_slopes(fitted(model, target.sides), batches, sources, target, precision, on_units)
    return [weights for own in summed if (weights := own.mean(counts)) is not None]


def _check_centre(target: LayerGeometry) -> None:
    if target.is_global:
        raise EquiscopeError(
            f"layer {target.layer!r} sees the whole image, so its weights have no centre: leave it out"
        )


def _strongest(examples: Examples, per_half: int) -> tuple[Ints, Ints, Ints]:
    """Half, unit and rank of the strongest stimuli of each unit that it responds to, by unit, shapes (stimulus,)."""
    half, unit, rank = np.nonzero(
        (examples.image[:, :, :per_half] != NO_IMAGE) & (np.nan_to_num(examples.value[:, :, :per_half]) > 0)
    )
    order = np.argsort(unit, kind="stable")
    return half[order], unit[order], rank[order]


def _deal(units: Ints, n_units: int) -> tuple[Ints, Ints]:
    """Deal the stimuli of each unit, which stand one after the other, to two sides in turn.

    Returns
    -------
    tuple
        The side of each stimulus, 0 or 1, and how many each unit has on either, shape (side, unit).
    """
    sides = np.asarray((np.arange(len(units)) - np.searchsorted(units, units)) % 2)
    return sides, np.stack([np.bincount(units[sides == side], minlength=n_units) for side in (0, 1)])


def _patches(
    images: ImageSet,
    target: LayerGeometry,
    examples: Examples,
    strongest: tuple[Ints, Ints, Ints],
    sides: Ints,
) -> Iterator[tuple[Ints, Ints, Tensor]]:
    """Cut stimuli out, as many at a time as fit into a pass, with the units that they are of, and their sides."""
    size_px = target.patch_px
    per_pass = max(8, _PIXELS_PER_PASS // target.sides.at_least(size_px)[0] ** 2)
    for start in range(0, len(strongest[1]), per_pass):
        half, unit, rank = (part[start : start + per_pass] for part in strongest)
        image, position = examples.image[half, unit, rank], examples.position[half, unit, rank]
        patches = cut_stimuli(images, target, image, position, np.zeros(1), size_px)[:, 0]
        yield unit, sides[start : start + per_pass], patches


def _sum_slopes(
    network: Model,
    batches: Iterator[tuple[Ints, Ints, Tensor]],
    sources: Sequence[LayerGeometry],
    target: LayerGeometry,
    precision: torch.dtype,
    on_units: Callable[[int], None],
) -> list[_Sum]:
    """Sum the gradients of units over their stimuli, for each source."""
    summed = {geometry.layer: _Sum(geometry, target) for geometry in sources}
    for units, sides, patches in batches:
        which, side = (torch.as_tensor(own, device=network.device) for own in (units, sides))
        for layer, slope in _slopes(network, patches, which, list(summed), target, precision).items():
            summed[layer].add(which, side, slope)
        on_units(len(np.unique(units)))
    return list(summed.values())


def _slopes(
    network: Model,
    patches: Tensor,
    which: Tensor,
    layers: Sequence[str],
    target: LayerGeometry,
    precision: torch.dtype,
) -> dict[str, Tensor]:
    """Gradients of one unit's response to each patch with respect to the layers that it depends on."""
    row, column = target.position_in_patch(target.patch_px)
    seen: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: seen.update({layer: seen.get(layer, output)})

    hooks = {layer: keep(layer) for layer in layers}
    is_cast = precision != torch.float32
    autocast = torch.autocast(network.device.type, precision, enabled=is_cast)
    # What hooks do in the backward pass is put back after it.
    with network.evaluating(), torch.enable_grad(), autocast:
        centre = run_to(network, patches.requires_grad_(), target.layer, hooks)[:, :, row, column]
        there = [layer for layer in layers if layer in seen]
        total = centre.gather(1, which[:, None]).sum()
        slopes = torch.autograd.grad(total, [seen[layer] for layer in there], allow_unused=True)
    return {layer: slope for layer, slope in zip(there, slopes, strict=True) if slope is not None}


class _Sum:
    """The gradients of all units of a layer with respect to an earlier one, summed over their stimuli of two sides."""

    def __init__(self, source: LayerGeometry, target: LayerGeometry) -> None:
        self._source, self._target = source, target
        self._shape: torch.Size | None = None
        self._total: Tensor | None = None

    def add(self, units: Tensor, sides: Tensor, slope: Tensor) -> None:
        """Add gradients, shape (stimulus, source unit, y, x), to those of the units and sides that they are of."""
        slope = _within(slope, self._source, self._target.patch_px)
        self._shape = slope.shape[2:]
        cells = _coarse(slope.float())
        if self._total is None:
            self._total = torch.zeros(2, self._target.n_channels, *cells.shape[1:], device=cells.device)
        self._total.flatten(0, 1).index_add_(0, sides * self._target.n_channels + units, cells)

    def mean(self, counts: Ints) -> ExpandedWeights | None:
        """Divide by the stimuli of each unit, ``counts`` (side, unit); None where no unit depends on the source."""
        if self._total is None or self._shape is None:
            return None
        source = self._source
        y_px, x_px = (
            _coarse_places(
                source.centre_px[axis]
                + source.stride_px[axis] * np.arange(self._shape[axis])
                - (self._target.patch_px - 1) / 2
            )
            for axis in (0, 1)
        )
        step = float(x_px[1] - x_px[0]) if len(x_px) > 1 else float(source.stride_px[0])
        mean, noise = _mean_and_noise(self._total.cpu().numpy(), counts)
        return ExpandedWeights(source.layer, self._target.layer, mean, y_px, x_px, step, (LINEARISED,), noise)


def _mean_and_noise(total: Floats, counts: Ints) -> tuple[Floats, Floats]:
    """Give the mean over all stimuli, and a draw of its error, from sums (side, unit, ...) over so many stimuli.

    Means over a and b stimuli differ with a variance of 1/a + 1/b times that of one stimulus, the mean of all has
    1/(a + b) of it. Of one stimulus all may be chance.
    """
    one, other = counts[:, :, None, None, None].astype(np.float32)
    n = np.maximum(one + other, 1)
    mean = (total[0] + total[1]) / n
    apart = total[0] / np.maximum(one, 1) - total[1] / np.maximum(other, 1)
    noise = np.where(n > 1, apart * np.sqrt(one * other) / n, mean)
    return mean.astype(np.float32), noise.astype(np.float32)


def _within(maps: Tensor, geometry: LayerGeometry, size_px: int) -> Tensor:
    """Leave out the positions of maps, shape (map, channel, y, x), in what a patch was filled up with."""
    if geometry.sides == Sides():
        return maps
    rows, columns = (
        math.ceil((size_px - centre) / stride)
        for centre, stride in zip(geometry.centre_px, geometry.stride_px, strict=True)
    )
    return maps[:, :, :rows, :columns]


def _block(n: int) -> int:
    return -(-n // _MOST_CELLS)


def _coarse(maps: Tensor) -> Tensor:
    """Sum maps, shape (map, channel, y, x), over blocks so that at most 11 x 11 remain."""
    blocks = [_block(n) for n in maps.shape[2:]]
    if blocks == [1, 1]:
        return maps
    pads = [(-n) % block for n, block in zip(maps.shape[2:], blocks, strict=True)]
    padded = F.pad(maps, (pads[1] // 2, pads[1] - pads[1] // 2, pads[0] // 2, pads[0] - pads[0] // 2))
    return F.avg_pool2d(padded, blocks, divisor_override=1)


def _coarse_places(places: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Places of the blocks' middles, px."""
    block = _block(len(places))
    step = places[1] - places[0] if len(places) > 1 else 0.0
    pad = (-len(places)) % block
    first = places[0] - (pad // 2) * step
    n = (len(places) + pad) // block
    return np.asarray(first + step * (np.arange(n) * block + (block - 1) / 2))
