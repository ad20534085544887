"""Accuracy of a network and of changed copies of it on the same images, and recalibration of what was changed.

Differences are paired: of 1,000 images 30 may be won and 50 lost, which is -2 % with an interval from these 80 alone.
Recalibration gives each channel of each convolution the mean and the deviation that it had before, by its bias and a
factor; it needs images and no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.construction.training.batches import centre_batch
from equiscope.construction.training.datasets import Split
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.limits import SIDE_PX
from equiscope.foundations.statistics import percentile_interval, share_interval
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model

__all__ = [
    "Accuracy",
    "Moments",
    "compare_predictions",
    "count_logits",
    "load_batch",
    "measure_moments",
    "predict",
    "recalibrate",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PIXELS_PER_PASS = 3_500_000
_N_RESAMPLES = 2000
# A unit that hardly answers any more cannot be brought back by a factor.
_MOST_GAIN = 10.0


@dataclass(frozen=True)
class Accuracy:
    """How often a network is right, and how that differs from the original on the same images.

    Attributes
    ----------
    top1, low, high
        Share of images whose largest logit is their class, in [0, 1], with its 95 % interval (Wilson).
    difference, difference_low, difference_high
        Less that of the original network on the same images, with its 95 % interval by a bootstrap over images.
    agreement
        Share of images that get the same class as from the original network.
    """

    top1: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    agreement: float


def count_logits(model: Model, crop_px: int) -> int:
    """Count the classes that a network tells apart.

    Raises
    ------
    EquiscopeError
        If its output is not one row of logits an image.

    Examples
    --------
    >>> from torch import nn
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    >>> count_logits(model, 16)
    5
    """
    crop_px = SIDE_PX.check("crop_px", crop_px)
    with torch.inference_mode(), model.evaluating():
        output = model.run(torch.zeros(1, 3, crop_px, crop_px))
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise EquiscopeError(
            f"{model.name} gives {shape}, expected one row of logits an image: only classifiers have an accuracy"
        )
    return output.shape[1]


@borrows_model
def predict(
    model: Model,
    split: Split,
    indices: Ints,
    crop_px: int,
    precision: torch.dtype,
) -> Ints:
    """Classify images by their largest logit, shape (image,); -1 for images that cannot be decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.stimuli.sources.arrays import read_npz
    >>> red_green_blue = np.eye(3, dtype=np.uint8)[:, None, None] * np.full((1, 8, 8, 1), 255, np.uint8)
    >>> np.savez("images.npz", images=red_green_blue)
    >>> split = Split(read_npz(Path("images.npz"), None), range(3), np.arange(3), 8)
    >>> brightest = Model(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    >>> predict(brightest, split, np.arange(3), 8, torch.float32).tolist()
    [0, 1, 2]
    """
    per_pass = max(1, _PIXELS_PER_PASS // crop_px**2)
    found = np.full(len(indices), -1)
    for start in range(0, len(indices), per_pass):
        some = indices[start : start + per_pass]
        is_there = np.array([split.load(int(index)) is not None for index in some])
        if not is_there.any():
            continue
        images = torch.from_numpy(centre_batch(split, some[is_there], crop_px).pixels).float() / 255
        with (
            torch.inference_mode(),
            model.evaluating(),
            torch.autocast(model.device.type, precision, enabled=precision != torch.float32),
        ):
            logits = model.run(images)
        found[start : start + per_pass][is_there] = logits.float().argmax(1).cpu().numpy()
    return found


def load_batch(split: Split, n_images: int, crop_px: int) -> Tensor:
    """Images from all over a split as one tensor, shape (image, 3, y, x), RGB in [0, 1].

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.stimuli.sources.arrays import read_npz
    >>> np.savez("images.npz", images=np.full((6, 8, 8, 3), 255, np.uint8))
    >>> split = Split(read_npz(Path("images.npz"), None), range(6), np.zeros(6, np.int64), 8)
    >>> load_batch(split, 2, crop_px=4).shape
    torch.Size([2, 3, 4, 4])
    """
    chosen = np.unique(np.linspace(0, len(split) - 1, min(n_images, len(split))).astype(np.int64))
    batch = centre_batch(split, chosen, crop_px)
    if not len(batch.pixels):
        raise EquiscopeError("none of the images to recalibrate with can be decoded: give others")
    return torch.from_numpy(batch.pixels).float() / 255


def compare_predictions(predicted: Ints, original: Ints, labels: Ints, seed: int = 0) -> Accuracy:
    """Score predictions beside those of the original network, shapes (image,).

    Examples
    --------
    >>> labels = np.array([0, 1, 1, 2])
    >>> accuracy = compare_predictions(np.array([0, 1, 0, 0]), np.array([0, 1, 1, 0]), labels)
    >>> accuracy.top1, accuracy.difference, accuracy.agreement
    (0.5, -0.25, 0.75)
    """
    is_right, was_right = predicted == labels, original == labels
    n = len(labels)
    low, high = share_interval(int(is_right.sum()), n)
    gained, lost = int((is_right & ~was_right).sum()), int((~is_right & was_right).sum())
    # Drawing images with replacement draws how many of each kind there are.
    draws = np.random.default_rng(seed).multinomial(
        n, [gained / n, lost / n, 1 - (gained + lost) / n], size=_N_RESAMPLES
    )
    difference_low, difference_high = percentile_interval((draws[:, 0] - draws[:, 1]) / n)
    return Accuracy(
        float(is_right.mean()), low, high, (gained - lost) / n, float(difference_low), float(difference_high),
        float((predicted == original).mean()),
    )  # fmt: skip


@dataclass(frozen=True)
class Moments:
    """Of one convolution over images and places: its inputs' root mean square, its outputs' mean and deviation.

    Shapes (input,), (output,), (output,).
    """

    input_rms: Floats
    mean: Floats
    sd: Floats


def _convolutions(model: Model) -> dict[str, nn.Conv2d]:
    return {name: m for name, m in model.module.named_modules() if isinstance(m, nn.Conv2d)}


def measure_moments(model: Model, images: Tensor) -> dict[str, Moments]:
    """Measure the moments of every convolution that runs, on images of shape (image, 3, y, x), RGB in [0, 1].

    Examples
    --------
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 2, 3)))
    >>> measure_moments(model, torch.ones(2, 3, 6, 8))["0"].input_rms.tolist()
    [1.0, 1.0, 1.0]
    """
    found: dict[str, Moments] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            square = inputs[0].square().mean((0, 2, 3)).sqrt()
            mean, sd = _moments(output)
            found[name] = Moments(*(part.double().cpu().numpy() for part in (square, mean, sd)))

        return note

    _run_hooked(model, images, hook_for)
    return found


def _moments(output: Tensor) -> tuple[Tensor, Tensor]:
    mean = output.mean((0, 2, 3))
    return mean, (output - mean[:, None, None]).square().mean((0, 2, 3)).sqrt()


def _run_hooked(model: Model, images: Tensor, hook_for: Callable[[str], Callable[..., Any]]) -> None:
    with ExitStack() as stack, torch.no_grad(), model.evaluating():
        for name, module in _convolutions(model).items():
            stack.callback(module.register_forward_hook(hook_for(name)).remove)
        model.run(images)


def recalibrate(model: Model, images: Tensor, wanted: Mapping[str, Moments]) -> None:
    """Give each channel of each convolution the mean and deviation that it had, by its bias and a factor, in place.

    Parameters
    ----------
    model
        A changed copy of the network; a convolution without bias gets one.
    images
        Shape (image, 3, y, x), RGB in [0, 1]. No labels are needed.
    wanted
        Moments of the original network on the same images.

    Notes
    -----
    One pass: each convolution's output is corrected before the next one sees it, and the convolutions themselves after
    the pass, which leaves a network as it was.

    Examples
    --------
    >>> images, layer = torch.rand(4, 3, 8, 8), nn.Conv2d(3, 2, 3)
    >>> wanted = measure_moments(Model(nn.Sequential(layer)), images)
    >>> with torch.no_grad():
    ...     _ = layer.weight.mul_(3)
    >>> recalibrate(Model(nn.Sequential(layer)), images, wanted)
    >>> np.allclose(measure_moments(Model(nn.Sequential(layer)), images)["0"].sd, wanted["0"].sd, rtol=1e-3)
    True
    """
    # Of a convolution that runs twice, the last run counts, as it does for its moments.
    corrections: dict[nn.Conv2d, tuple[Tensor, Tensor]] = {}

    def hook_for(name: str) -> Callable[..., Tensor]:
        def correct(module: nn.Conv2d, _inputs: object, output: Tensor) -> Tensor:
            mean, sd = _moments(output)
            want_mean, want_sd = (
                torch.as_tensor(part).to(output) for part in (wanted[name].mean, wanted[name].sd)
            )
            gain = torch.where(sd > want_sd / _MOST_GAIN, want_sd / sd.clamp(min=1e-30), torch.ones_like(sd))
            bias = 0.0 if module.bias is None else module.bias.data
            corrections[module] = gain, ((bias - mean) * gain + want_mean).to(module.weight)
            return (output - mean[:, None, None]) * gain[:, None, None] + want_mean[:, None, None]

        return correct

    _run_hooked(model, images, hook_for)
    for module, (gain, shifted) in corrections.items():
        module.weight.data.mul_(gain.to(module.weight)[:, None, None, None])
        if module.bias is None:
            module.bias = nn.Parameter(shifted, requires_grad=False)
        else:
            module.bias.data.copy_(shifted)
