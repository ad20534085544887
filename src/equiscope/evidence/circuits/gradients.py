"""Weights across skipped layers: mean gradients over the stimuli that excite each unit most."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.evidence.circuits.paths import ExpandedWeights, run_to
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.bank import cut_stimuli
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import Sides, fitted
from equiscope.stimuli import ImageSet

__all__ = ["gradient_weights"]

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
        One for each source that the target depends on, of the same form as exact ones, with at most 11 x 11 cells.

    Raises
    ------
    EquiscopeError
        If the target sees the whole image.
    """
    if target.is_global:
        raise EquiscopeError(
            f"layer {target.layer!r} sees the whole image, so its weights have no centre: leave it out"
        )
    size_px = target.patch_px
    row, column = target.position_in_patch(size_px)
    per_half = max(1, n_stimuli // 2)
    half, unit, rank = np.nonzero(
        (examples.image[:, :, :per_half] != NO_IMAGE) & (np.nan_to_num(examples.value[:, :, :per_half]) > 0)
    )
    order = np.argsort(unit, kind="stable")
    half, unit, rank = half[order], unit[order], rank[order]
    counts = np.bincount(unit, minlength=target.n_channels)
    per_pass = max(8, _PIXELS_PER_PASS // target.sides.at_least(size_px)[0] ** 2)
    summed: dict[str, Tensor] = {}
    shapes: dict[str, torch.Size] = {}
    by_layer = {geometry.layer: geometry for geometry in sources}
    seen: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: seen.update({layer: seen.get(layer, output)})

    hooks = {geometry.layer: keep(geometry.layer) for geometry in sources}
    network = fitted(model, target.sides)
    for start in range(0, len(unit), per_pass):
        some = slice(start, start + per_pass)
        image, position = (
            part[half[some], unit[some], rank[some]] for part in (examples.image, examples.position)
        )
        patches = cut_stimuli(images, target, image, position, np.zeros(1), size_px)[:, 0]
        seen.clear()
        is_cast = precision != torch.float32
        with torch.enable_grad(), torch.autocast(model.device.type, precision, enabled=is_cast):
            centre = run_to(network, patches.requires_grad_(), target.layer, hooks)[:, :, row, column]
            which = torch.as_tensor(unit[some], device=centre.device)
            there = [g.layer for g in sources if g.layer in seen]
            total = centre.gather(1, which[:, None]).sum()
            slopes = torch.autograd.grad(total, [seen[layer] for layer in there], allow_unused=True)
        for layer, slope in zip(there, slopes, strict=True):
            if slope is None:
                continue
            slope = _within(slope, by_layer[layer], size_px)
            shapes[layer] = slope.shape[2:]
            cells = _coarse(slope.float())
            if layer not in summed:
                summed[layer] = torch.zeros(target.n_channels, *cells.shape[1:], device=cells.device)
            summed[layer].index_add_(0, which, cells)
        on_units(len(np.unique(unit[some])))
    found = []
    for geometry in sources:
        if geometry.layer not in summed:
            continue
        mean = summed[geometry.layer].cpu().numpy() / np.maximum(counts, 1)[:, None, None, None]
        y_px, x_px = (
            _coarse_places(
                geometry.centre_px[axis]
                + geometry.stride_px[axis] * np.arange(shapes[geometry.layer][axis])
                - (size_px - 1) / 2
            )
            for axis in (0, 1)
        )
        step = float(x_px[1] - x_px[0]) if len(x_px) > 1 else float(geometry.stride_px[0])
        found.append(
            ExpandedWeights(
                geometry.layer, target.layer, mean.astype(np.float32), y_px, x_px, step, (LINEARISED,)
            )
        )
    return found


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
