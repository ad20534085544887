"""Modules that map linearly by given kernels in the ways that real networks do: plain, strided, inception, residual."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from equiscope.testing.kernels import blurring_stem

__all__ = ["GEOMETRIES", "set_thresholds", "with_kernels"]

GEOMETRIES = ("plain", "strided", "inception", "residual")


def _convolution(weight: Tensor) -> nn.Conv2d:
    # On "meta" torch draws no initial weights, so that its global random state stays as it is.
    own = nn.Conv2d(
        weight.shape[1], len(weight), (weight.shape[2], weight.shape[3]), bias=False, device="meta"
    )
    own.weight = nn.Parameter(weight.float())
    return own


class Inception(nn.Module):
    """Two branches, joined: a convolution for the first units, a 1 x 1 mixture and a convolution for the others."""

    def __init__(self, weight: Tensor, mixture: Tensor) -> None:
        super().__init__()
        half = len(weight) // 2
        self.direct = _convolution(weight[:half])
        self.reduced = nn.Sequential(
            _convolution(mixture[:, :, None, None]),
            _convolution(torch.einsum("oiyx,ij->ojyx", weight[half:], torch.linalg.inv(mixture))),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run both and join their channels."""
        return torch.cat([self.direct(x), self.reduced(x)], dim=1)


class Residual(nn.Module):
    """Two paths, added: what a unit reads is the sum of both, neither of which shows it."""

    def __init__(self, weight: Tensor, part: Tensor) -> None:
        super().__init__()
        self.path = _convolution(weight - part)
        self.shortcut = _convolution(part)

    def forward(self, x: Tensor) -> Tensor:
        """Run both and add them."""
        total: Tensor = self.path(x) + self.shortcut(x)
        return total


def with_kernels(weight: Tensor, geometry: str, generator: torch.Generator) -> nn.Module:
    """Build a module that reads its input by kernels.

    Parameters
    ----------
    weight
        Shape (unit, channel, y, x).
    geometry
        One of `GEOMETRIES`. A ``strided`` one reads the image through a blurring stem of stride 2.
    generator
        Draws what a geometry leaves free: a mixture, how a sum is divided.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> weight = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    >>> x = torch.randn(1, 3, 9, 8, generator=generator)
    >>> plain, residual = (with_kernels(weight, kind, generator)(x) for kind in ("plain", "residual"))
    >>> torch.allclose(plain, residual, atol=1e-4)
    True
    """
    if geometry == "inception":
        n = weight.shape[1]
        mixture = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
        return Inception(weight, mixture)
    if geometry == "residual":
        part = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * weight.std()
        return Residual(weight, part)
    if geometry == "strided":
        return nn.Sequential(OrderedDict(stem=blurring_stem(), kernels=_convolution(weight)))
    return _convolution(weight)


class Threshold(nn.Module):
    """A bias for each channel."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the biases."""
        return x + self.bias[:, None, None]


@torch.no_grad()
def set_thresholds(responses: Tensor, groups: list[str], bias: nn.Parameter, *, share: float = 0.06) -> None:
    """Set biases so that units answer to a share of the positions of some images.

    Copies get one bias, the mean of what each would get: a threshold may not tell which pose a unit has.

    Parameters
    ----------
    responses
        Before the bias, shape (image, unit, y, x).
    groups
        For each unit the name of what it is a copy of; empty for a unit of its own.
    bias
        What is set, shape (unit,).
    share
        Of the positions.

    Examples
    --------
    >>> threshold = Threshold(2)
    >>> set_thresholds(torch.arange(8.0).reshape(1, 2, 2, 2), ["bar", "bar"], threshold.bias, share=0.5)
    >>> threshold.bias.tolist()
    [-3.5, -3.5]
    """
    flat = responses.movedim(1, 0).flatten(1)
    at = torch.stack([-torch.quantile(own[:: max(1, len(own) // 100_000)], 1 - share) for own in flat])
    names = [name or f"unit {index}" for index, name in enumerate(groups)]
    for name in set(names):
        own = torch.tensor([other == name for other in names])
        at[own] = at[own].mean()
    bias.copy_(at)
