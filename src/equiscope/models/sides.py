"""The sides of an image that a network takes, and how images and patches are brought to them.

`Sides` are ``least + k * step`` px: a network of five halvings that joins its scales takes 64, 96, 128 and so on. An
image of 100 x 70 px is then cut to 96 x 64, and a patch of 35 px is filled up to 64 px at the right and below, where
the position that is read sees nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model
from equiscope.models.receptive_fields import Sides
from equiscope.models.refusals import no_size_taken

__all__ = ["Sides", "crop_to", "find_sides", "fitted"]

# Sides that networks are usually trained at, px: tried, nearest first, where a network refuses the one expected of it,
# and then all around that one.
_USUAL_PX = (28, 32, 48, 56, 64, 96, 128, 160, 192, 224, 240, 256, 288, 299, 320, 331, 384, 448, 512)
# Largest step between two sides that a network takes, px: patches and strides are multiples of 64 at most.
_MOST_STEP_PX = 64


def fitted(model: Model, sides: Sides) -> Model:
    """Give a network that takes images of any side up to its largest: they are filled up at the right and below.

    A patch holds all that the position in its middle sees, so what it is filled up with does not reach that position,
    and because nothing is added at the left and above, positions keep their numbers.

    Parameters
    ----------
    model
        The network.
    sides
        The sides that it is shown. Where it takes any, the network itself is given back.

    Examples
    --------
    >>> model = Model(torch.nn.PixelUnshuffle(8))
    >>> fitted(model, Sides(8, 8)).run(torch.zeros(1, 3, 10, 10)).shape
    torch.Size([1, 192, 2, 2])
    """
    if sides == Sides():
        return model
    preprocess = model.preprocess

    def fill_up(images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        rows, columns = sides.at_least(height, width)
        return preprocess(F.pad(images, (0, columns - width, 0, rows - height), mode="replicate"))

    return replace(model, preprocess=fill_up)


def crop_to(images: Tensor, sides: Sides) -> Tensor | None:
    """Cut images, shape (..., y, x), at the right and below to sides that a network takes; None if they are too small.

    Positions keep their places, because the upper left corner stays.

    Examples
    --------
    Of 50 x 70 px, what a network that takes multiples of 32 px can be shown.

    >>> crop_to(torch.zeros(1, 3, 50, 70), Sides(32, 32)).shape
    torch.Size([1, 3, 32, 64])
    """
    within = sides.at_most(*images.shape[-2:])
    return None if within is None else images[..., : within[0], : within[1]]


def find_sides(model: Model, layers: Sequence[str], side_px: int, problem: Exception) -> Sides:
    """Find the sides that a network takes, as it runs up to some layers, by showing it empty images.

    Parameters
    ----------
    model
        The network.
    layers
        The layers: what refuses behind the last of them does not matter.
    side_px
        The side that it is expected to take, px.
    problem
        What it threw before, for the sentence if it takes none.

    Raises
    ------
    EquiscopeError
        If it takes none of the usual sides.

    Notes
    -----
    Cost: a forward pass for each side tried, 64 for the step of a network that takes one side alone, and some ten for
    the least side.

    Examples
    --------
    >>> model = Model(torch.nn.Sequential(torch.nn.PixelUnshuffle(8)))
    >>> find_sides(model, ["0"], 64, ValueError("refused")).words
    'sides of 8, 16, 24, ... px'
    """
    thrown: list[Exception] = []

    def takes(height: int, width: int) -> bool:
        try:
            model.record(torch.zeros(1, 3, height, width), layers, _nothing)
        except EquiscopeError:
            raise
        except Exception as error:  # networks refuse a size with any type
            thrown.append(error)
            return False
        return True

    def away(side: int) -> tuple[int, int]:
        return abs(side - side_px), side

    near = range(max(1, side_px - _MOST_STEP_PX), side_px + _MOST_STEP_PX)
    tried_px = dict.fromkeys((side_px, *sorted(_USUAL_PX, key=away), *sorted(near, key=away)))
    taken = next((side for side in tried_px if takes(side, side)), None)
    if taken is None:
        tried = f"{side_px} px squares or those of any usual side"
        raise no_size_taken(model, problem, tried, thrown[0]) from thrown[0]
    step = next((s for s in range(1, _MOST_STEP_PX + 1) if takes(taken + s, taken + s)), 0)
    if not step:
        return Sides(taken, 0)
    n_steps = _largest_holding((taken - 1) // step, lambda n: takes(taken - n * step, taken - n * step))
    return Sides(taken - n_steps * step, step, is_square=not takes(taken + step, taken))


def _nothing(_layer: str, output: Tensor) -> Tensor:
    return output.flatten()[:0]


def _largest_holding(most: int, holds: Callable[[int], bool]) -> int:
    """Largest number up to ``most`` at which something holds that holds for all smaller ones, by bisection."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
