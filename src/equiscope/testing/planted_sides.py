"""A planted network among parts that make a patch answer otherwise than the image from which it is cut."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.foundations.errors import unknown_name
from equiscope.models.model import Model
from equiscope.testing.planted import Planted, planted_network

__all__ = ["Oddity", "planted_oddity"]

Oddity = Literal[
    "none",
    "same-padding",
    "resizes",
    "pads",
    "coordinates",
    "subtracts-mean",
    "gated",
    "weakly-gated",
    "stops-nan",
    "stops-nan-in-a-branch",
    "quantised",
    "multiples-of-32",
    "at-least-75",
    "only-128",
    "only-squares",
]


def planted_oddity(oddity: Oddity, seed: int = 0) -> Planted:
    """Build the strided planted network, at stride 4, with something around it that networks are found to have.

    ======================  ==========================================================================================
    none                    the plain twin: 49 px receptive field, no padding
    same-padding            pads as TensorFlow's "same": by amounts that depend on the side, at both strided layers
    resizes                 resizes what it gets to 128 x 128 px
    pads                    fills up what it gets on all sides, to a multiple of 32 px
    coordinates             adds maps of y and x from -1 to 1 and reads them
    subtracts-mean          subtracts the image's mean
    gated, weakly-gated     a gate between the layers that depends on the whole image: 0.5 to 1.5, or 1 within 0.001
    stops-nan               a rectifier made of ``torch.where`` before the planted layer
    stops-nan-in-a-branch   what is around a pixel reaches the planted layer through such a rectifier only
    quantised               rounds to steps of 1/128, as networks prepared for quantisation do
    multiples-of-32         raises ``AssertionError`` for other sides
    at-least-75             raises ``ValueError`` for smaller images
    only-128                raises ``IndexError`` for images that are not 128 x 128 px
    only-squares            raises ``TypeError`` for other images
    ======================  ==========================================================================================

    Parameters
    ----------
    oddity, seed
        What it has; ``seed`` as for `planted_network`.

    Returns
    -------
    Planted
        With the truth of layer ``"planted"``, which is that of its plain twin.

    Raises
    ------
    EquiscopeError
        If the oddity is unknown.

    Examples
    --------
    >>> planted_oddity("pads").model.name
    'planted-pads'
    """
    if oddity not in _PARTS:
        raise unknown_name("oddity of a planted network", oddity, list(_PARTS))
    planted = planted_network(seed, "strided")
    stem, layer = planted.model.module.stem, planted.model.module.planted
    if not isinstance(stem, nn.Conv2d) or not isinstance(layer, nn.Conv2d):
        raise TypeError("the strided planted network has a stem and a planted layer")
    first, between = _PARTS[oddity]
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        first=_Applied(first), stem=stem, between=_Applied(between), planted=layer, relu=nn.ReLU()
    )
    layer.stride = (2, 2)
    if oddity == "same-padding":
        parts |= {"stem": _SamePadded(stem), "planted": _SamePadded(layer)}
    elif oddity == "coordinates":
        parts["planted"] = _WithCoordinates(layer)
    own_px = 128 if oddity == "resizes" else None
    model = Model(
        nn.Sequential(parts).eval(), f"planted-{oddity}", default_layers=("planted",), input_size_px=own_px
    )
    return Planted(model, planted.truth)


class _Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class _SamePadded(nn.Module):
    """A convolution that pads so that its output has ``ceil(side / stride)`` positions, the larger half at the end."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        size, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        pads: list[int] = []
        for side in (x.shape[3], x.shape[2]):
            total = max((math.ceil(side / stride) - 1) * stride + size - side, 0)
            pads += [total // 2, total - total // 2]
        padded: Tensor = self.convolution(F.pad(x, pads))
        return padded


class _WithCoordinates(nn.Module):
    """A convolution whose units are driven by how far right and below they are as well."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.convolution(x)
        rows, columns = (torch.linspace(-1, 1, n, device=x.device) for n in output.shape[2:])
        return output + 0.02 * (rows[:, None] + columns[None, :])


def _same(x: Tensor) -> Tensor:
    return x


def _pad(x: Tensor) -> Tensor:
    below, right = (-x.shape[2]) % 32, (-x.shape[3]) % 32
    return F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))


def _gate(strength: float) -> Callable[[Tensor], Tensor]:
    """Multiply by a gate that depends on the image's mean, 1 on average over photographs."""
    return lambda x: x * (1 + strength * torch.tanh(4 * (x.mean((1, 2, 3), keepdim=True) - 0.4)))


def _stop(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def _stop_around(x: Tensor) -> Tensor:
    """Give each value as it is plus, through a rectifier that stops NaN, the mean of those around it."""
    return x + F.avg_pool2d(_stop(x), 9, 1, 4)


def _quantise(x: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(x, 1 / 128, 0, -128, 127)


def _refuse(
    takes: Callable[[int, int], bool], error: type[Exception], words: str
) -> Callable[[Tensor], Tensor]:
    def checked(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if not takes(height, width):
            raise error(f"{words}, got {height} x {width}")
        return x

    return checked


# What is done to the image, and between the stem and the planted layer.
_PARTS: dict[str, tuple[Any, Any]] = {
    "none": (_same, _same),
    "same-padding": (_same, _same),
    "resizes": (lambda x: F.interpolate(x, (128, 128), mode="bilinear", antialias=True), _same),
    "pads": (_pad, _same),
    "coordinates": (_same, _same),
    "subtracts-mean": (lambda x: x - x.mean((2, 3), keepdim=True), _same),
    "gated": (_same, _gate(0.5)),
    "weakly-gated": (_same, _gate(1e-3)),
    "stops-nan": (_same, _stop),
    "stops-nan-in-a-branch": (_same, _stop_around),
    "quantised": (_quantise, _quantise),
    "multiples-of-32": (
        _refuse(lambda h, w: h % 32 == w % 32 == 0, AssertionError, "multiples of 32"),
        _same,
    ),
    "at-least-75": (_refuse(lambda h, w: min(h, w) >= 75, ValueError, "at least 75 px"), _same),
    "only-128": (_refuse(lambda h, w: (h, w) == (128, 128), IndexError, "128 x 128 px"), _same),
    "only-squares": (_refuse(lambda h, w: h == w, TypeError, "squares"), _same),
}
