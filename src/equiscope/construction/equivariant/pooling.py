"""Pooling in space on grids that a quarter turn keeps, blurs, and pooling over the elements of fields.

Strided grids are the trap: 2 x 2 windows on an odd side, or windows of 3 px at every second pixel of an even side, lie
lopsidedly, and a quarter turn reads other pixels. The antialiased layers put their outputs symmetrically about the
centre whatever the side: where the outputs fall between pixels they blur with an even number of taps, else with an
odd one.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.construction.equivariant.constants import DerivedConstants
from equiscope.construction.equivariant.fields import Fields
from equiscope.construction.equivariant.tied import check_grid
from equiscope.foundations.errors import EquiscopeError, unknown_name

__all__ = ["AvgPool2d", "Blur", "BlurredReLU", "GroupPool", "MaxPool2d"]


class Blur(DerivedConstants):
    """Blur with a binomial and keep every stride-th position, symmetrically; pixels outside repeat the border.

    Parameters
    ----------
    n_channels
        Channels, each blurred by itself.
    stride
        Distance of the outputs, px.
    scale
        Stride for which the blur is wide enough, where that is a later layer's; by default its own.

    Notes
    -----
    2 · scale taps where outputs fall between pixels, else one more: a standard deviation of about
    ``sqrt(scale / 2)`` px.
    """

    even: Tensor
    odd: Tensor

    def __init__(self, n_channels: int, stride: int, scale: int | None = None) -> None:
        super().__init__()
        self.n_channels, self.stride, self.scale = n_channels, stride, scale or stride
        self.set_constants()

    def derive(self) -> dict[str, Tensor]:
        """Derive the taps: binomials of sum 1."""
        return {
            name: torch.tensor(
                [math.comb(n_taps - 1, k) / 2 ** (n_taps - 1) for k in range(n_taps)], dtype=torch.float64
            )
            for name, n_taps in (("even", 2 * self.scale), ("odd", 2 * self.scale + 1))
        }

    def kernel(self, height: int, width: int) -> tuple[Tensor, tuple[int, int]]:
        """Kernel, shape (channel, 1, y, x), and padding (y, x) for one size of input."""
        (y_taps, y_pad), (x_taps, x_pad) = self._along(height), self._along(width)
        return torch.outer(y_taps, x_taps).expand(self.n_channels, 1, -1, -1), (y_pad, x_pad)

    def _along(self, length: int) -> tuple[Tensor, int]:
        """Taps and padding that put the outputs symmetrically on a side."""
        span = self.stride * (math.ceil(length / self.stride) - 1)
        # The first output stands at (length - 1 - span) / 2: on a pixel if that is whole.
        taps = self.even if (length - 1 - span) % 2 else self.odd
        return taps, (span + len(taps) - length) // 2

    def forward(self, features: Tensor) -> Tensor:
        """Blur and subsample, shape (image, channel, ceil(y / stride), ceil(x / stride))."""
        kernel, (y_pad, x_pad) = self.kernel(*features.shape[-2:])
        padded = F.pad(features, (x_pad, x_pad, y_pad, y_pad), mode="replicate")
        return F.conv2d(padded, kernel, stride=self.stride, groups=self.n_channels)


class BlurredReLU(nn.Sequential):
    """ReLU, then a blur of three taps, which keeps fine rotations of fields true from layer to layer.

    A ReLU makes detail that is finer than the grid can hold, and what a grid cannot hold it shows otherwise at other
    angles. Quarter turns are exact with and without the blur; at 22.5° and 45° the errors of a layer pass on to the
    next, and a few layers of sharp ReLUs leave little of a promise (docs/equivariant.md has the errors).

    Parameters
    ----------
    fields
        The space, before and after.

    References
    ----------
    Karras et al., "Alias-free generative adversarial networks", 2021, who filter at twice the resolution.
    """

    def __init__(self, fields: Fields) -> None:
        super().__init__(nn.ReLU(), Blur(fields.n_channels, 1))
        self.in_fields = self.out_fields = fields


class _Pool(nn.Module):
    """What both poolings in space share: their window, and whether they blur."""

    def __init__(
        self, fields: Fields, kernel_size: int, stride: int | None, padding: int, antialiased: bool
    ) -> None:
        super().__init__()
        self.in_fields = self.out_fields = fields
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.antialiased = padding, antialiased
        for name, value, least in (
            ("kernel_size", kernel_size, 1),
            ("stride", self.stride, 1),
            ("padding", padding, 0),
        ):
            if not isinstance(value, int) or value < least:
                raise EquiscopeError(f"{name} is {value!r}, expected a whole number of {least} or more")
        self.blur = Blur(fields.n_channels, self.stride) if antialiased and self.stride > 1 else None

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return (
            f"{self.in_fields}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"antialiased={self.antialiased}"
        )


class MaxPool2d(_Pool):
    """Largest value in windows; antialiased, or on a grid that must fit.

    Parameters
    ----------
    fields
        The space, before and after.
    kernel_size
        Side of the windows, px; odd if antialiased.
    stride
        Distance of the outputs, px; the window's side by default.
    antialiased
        Take the largest value around every pixel, then blur and subsample. Takes sides of any length; gives
        ``ceil(side / stride)``. Without it a side must leave nothing over.
    padding
        Pixels at either end, without ``antialiased`` only; those never win.

    References
    ----------
    Zhang, "Making convolutional networks shift-invariant again", 2019; here the number of taps depends on the
    side, so that quarter turns are exact.
    """

    def __init__(
        self,
        fields: Fields,
        kernel_size: int = 3,
        stride: int | None = 2,
        *,
        antialiased: bool = True,
        padding: int = 0,
    ) -> None:
        super().__init__(fields, kernel_size, stride, padding, antialiased)
        if antialiased and (kernel_size % 2 == 0 or padding):
            raise EquiscopeError(
                f"an antialiased maximum over {kernel_size} px with padding {padding}: expected an odd window around "
                "every pixel and no padding. Give kernel_size=3, or antialiased=False"
            )

    def forward(self, features: Tensor) -> Tensor:
        """Pool, shape (image, channel, y, x)."""
        if self.antialiased:
            largest = F.max_pool2d(features, self.kernel_size, 1, self.kernel_size // 2)
            if self.blur is None:
                return largest
            blurred: Tensor = self.blur(largest)
            return blurred
        check_grid(features, self.kernel_size, self.stride, self.padding)
        return F.max_pool2d(features, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool):
    """Mean of windows; at strides above 1 antialiased, or on a grid that must fit.

    Parameters
    ----------
    fields
        The space, before and after.
    kernel_size
        Side of the windows, px.
    stride
        Distance of the outputs, px; the window's side by default.
    antialiased
        At strides above 1 weigh pixels by a binomial whose width follows from the stride, in place of the window.
        Takes sides of any length; gives ``ceil(side / stride)``. Without it a side must leave nothing over.
    padding
        Pixels at either end, which do not count; windows only.
    """

    def __init__(
        self,
        fields: Fields,
        kernel_size: int = 2,
        stride: int | None = None,
        *,
        antialiased: bool = True,
        padding: int = 0,
    ) -> None:
        super().__init__(fields, kernel_size, stride, padding, antialiased)

    def forward(self, features: Tensor) -> Tensor:
        """Pool, shape (image, channel, y, x)."""
        if self.blur is not None:
            blurred: Tensor = self.blur(features)
            return blurred
        check_grid(features, self.kernel_size, self.stride, self.padding)
        return F.avg_pool2d(features, self.kernel_size, self.stride, self.padding, count_include_pad=False)


class GroupPool(nn.Module):
    """Pool each field over its elements, which leaves an invariant unit; other units pass.

    Parameters
    ----------
    fields
        The space before; afterwards every field is an invariant unit, and they come first.
    over
        ``"max"`` or ``"mean"``.
    """

    def __init__(self, fields: Fields, over: Literal["max", "mean"] = "max") -> None:
        super().__init__()
        if over not in ("max", "mean"):
            raise unknown_name("pooling", over, ("max", "mean"))
        self.in_fields, self.over = fields, over
        self.out_fields = Fields(fields.group, 0, fields.equivariant + fields.invariant, fields.plain)

    def forward(self, features: Tensor) -> Tensor:
        """Pool, shape (image, channel, y, x)."""
        n, order = self.in_fields.n_field_channels, self.in_fields.order
        n_others = self.in_fields.n_channels - n
        if not n:
            return features
        pieces = torch.split(features, [n, n_others] if n_others else [n], dim=1)
        fields = torch.unflatten(pieces[0], 1, (self.in_fields.equivariant, order))
        pooled = fields.amax(2) if self.over == "max" else fields.mean(2)
        return torch.cat([pooled, pieces[1]], dim=1) if n_others else pooled

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return f"{self.in_fields} -> {self.out_fields}, {self.over}"
