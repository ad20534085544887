"""Whether a network answers an image in the same way each time: what a survey takes for granted.

A few images are shown twice, each time with other random numbers at hand, and then the faintest alone. All answers to
it must be the same, up to rounding. They are not where something is drawn in evaluation mode (dropout as a function,
stochastic depth), where the network remembers what it was shown, or where it normalises over the images of a batch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.borrowing import keeping_random_state
from equiscope.models.model import Model
from equiscope.models.passes import MAX_OUTPUT_BYTES, largest_output_bytes

__all__ = ["require_repeatable"]

# Sides of the images to try, px, after the network's own.
_SIDES_PX = (224, 256, 64)
# Images of a batch: a step that leaves out one image in five is caught nineteen times out of twenty.
_N_IMAGES = 8
# Values of an image that are compared, of places evenly over the layer: all of them, of a wide layer, take gigabytes.
_MOST_VALUES = 1 << 20
# Largest difference of two answers, as a share of their size. One batch shown twice differs by the order of sums, about
# 1e-6 in float32; alone and in a batch, other algorithms may run, about 1e-3 a layer where a GPU multiplies in TF32.
_SAME_BATCH, _OTHER_BATCH = 1e-4, 0.02
_DRAWS = (
    "It draws random numbers in evaluation mode: switch off its dropout, noise or stochastic depth, or draw once and "
    "keep what was drawn"
)
_REMEMBERS = "It remembers what it was shown, or draws from a generator of its own: give it without that"


def require_repeatable(model: Model, layers: Sequence[str]) -> None:
    """Refuse a network whose answer to an image depends on chance, on earlier images or on its neighbours.

    Parameters
    ----------
    model
        The network. What it does not run on is not told here.
    layers
        Layers that will be measured.

    Raises
    ------
    EquiscopeError
        If a layer answers one image differently, with the size of the difference and its probable cause.

    Notes
    -----
    Costs eighteen images of the network's own size. Where outputs are large, fewer images run together, but never one
    alone.

    Examples
    --------
    >>> from torch import nn
    >>> by_batch = Model(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "by-batch")
    >>> try:
    ...     require_repeatable(by_batch, ["0"])
    ... except EquiscopeError as error:
    ...     print(str(error).split(":")[0])
    by-batch answers an image differently beside others than alone
    """
    with model.evaluating(), keeping_random_state():
        for side_px in dict.fromkeys((model.input_size_px or _SIDES_PX[0], *_SIDES_PX)):
            images = _images(side_px)
            try:
                n_together = _together(model, images, layers)
                first = _answers(model, images, layers, 0, n_together)
            except EquiscopeError:
                raise
            except Exception:  # noqa: S112 - networks refuse a size with any type, and another may do
                continue
            _compare(model, images, layers, first, n_together)
            return


def _images(side_px: int) -> Tensor:
    """Draw noise, shape (image, 3, y, x), of full contrast in the first image and of ever less in the others."""
    noise = torch.rand(_N_IMAGES, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    return noise / torch.arange(1, _N_IMAGES + 1).view(-1, 1, 1, 1)


def _together(model: Model, images: Tensor, layers: Sequence[str]) -> int:
    """Images that run together: all, or a half or a quarter of them where outputs are large."""
    n_fitting = MAX_OUTPUT_BYTES // max(1, largest_output_bytes(model, images[:1], layers))
    return next((n for n in (_N_IMAGES, _N_IMAGES // 2) if n <= n_fitting), _N_IMAGES // 4)


def _compare(
    model: Model, images: Tensor, layers: Sequence[str], first: dict[str, Tensor], n_together: int
) -> None:
    """Show the images again, and one of them alone."""
    second = _answers(model, images, layers, 1, n_together)
    layer, share = _largest_difference(first, second)
    if share > _SAME_BATCH:
        _, with_same_numbers = _largest_difference(first, _answers(model, images, layers, 0, n_together))
        raise EquiscopeError(
            f"{model.name} answers one image differently each time: layer {layer!r} by {share:.2g} of its size. "
            f"{_DRAWS if with_same_numbers <= _SAME_BATCH else _REMEMBERS}"
        )
    layer, share = _largest_difference(
        {layer: answer[-1:] for layer, answer in first.items()}, _answers(model, images[-1:], layers, 0, 1)
    )
    if share > _OTHER_BATCH:
        raise EquiscopeError(
            f"{model.name} answers an image differently beside others than alone: layer {layer!r} by {share:.2g} of "
            "its size. It computes over the images of a batch: give its normalisation running statistics "
            "(track_running_stats=True, training=False), or statistics of each image by itself"
        )


def _answers(
    model: Model, images: Tensor, layers: Sequence[str], seed: int, n_together: int
) -> dict[str, Tensor]:
    """Record the layers with the random numbers of one seed."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what networks draw from
    torch.manual_seed(seed)
    parts = [model.record(some, layers, _thinned) for some in torch.split(images, n_together)]
    return {layer: torch.cat([part[layer] for part in parts]) for layer in layers}


def _thinned(_layer: str, output: Tensor) -> Tensor:
    """Every so many rows and columns of a layer that is large."""
    step = max(1, math.ceil(math.sqrt(output[0].numel() / _MOST_VALUES)))
    return output[:, :, ::step, ::step]


def _largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[str, float]:
    """Find the layer whose answers differ most, and by which share of their size."""
    shares = {layer: _difference(first[layer], second[layer]) for layer in first}
    worst = max(shares, key=lambda layer: shares[layer])
    return worst, shares[worst]


def _difference(first: Tensor, second: Tensor) -> float:
    """Root mean square difference as a share of the values' own; 0 where NaN or infinity is told by the measurement."""
    if first.shape != second.shape:
        return float("inf")
    first, second = first.double(), second.double()
    share = float((first - second).norm() / first.norm().clamp(min=1e-30))
    return share if np.isfinite(share) else 0.0
