"""Blocks of equivariant layers: GoogLeNet's inception block and a residual block.

An inception block runs four branches on one input and joins their outputs, fields first, then invariant units, then
plain ones, so that the next layer finds one space. A residual block adds its input to what its convolutions give.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from equiscope.construction.equivariant.convolution import Conv2d, PlainTo
from equiscope.construction.equivariant.fields import Fields
from equiscope.construction.equivariant.normalisation import BatchNorm2d
from equiscope.construction.equivariant.pooling import AvgPool2d, BlurredReLU, MaxPool2d
from equiscope.foundations.errors import EquiscopeError

__all__ = ["InceptionBlock", "ResidualBlock"]


def _normalised(a: Fields, b: Fields, kernel_size: int, plain_to: PlainTo) -> list[nn.Module]:
    """Make a convolution that keeps the grid, and its normalisation."""
    convolution = Conv2d(a, b, kernel_size, padding="same", bias=False, plain_to=plain_to)
    return [convolution, BatchNorm2d(b)]


def _rectifier(fields: Fields, is_blurred: bool) -> nn.Module:
    return BlurredReLU(fields) if is_blurred else nn.ReLU()


class InceptionBlock(nn.Module):
    """Convolutions of several sizes side by side, as in GoogLeNet, each with batch normalisation and ReLU.

    Parameters
    ----------
    in_fields
        The space before.
    direct
        What a 1 x 1 convolution of the input gives; None for none.
    reduced
        (reduction, output, kernel size) of each branch: a 1 x 1 convolution to the reduction, then a larger one.
    pooled
        What a 1 x 1 convolution of the 3 x 3 maxima of the input gives; None for none.
    plain_to
        As in `Conv2d`.
    blurred
        Every ReLU is a `BlurredReLU`.

    Raises
    ------
    EquiscopeError
        If there is no branch.

    Notes
    -----
    ``out_fields`` is the sum of the branches, with all fields first. 1 x 1 convolutions mix the elements of fields, so
    they need fields in the input wherever they give fields: lift with a larger kernel first.
    """

    def __init__(
        self,
        in_fields: Fields,
        *,
        direct: Fields | None = None,
        reduced: Sequence[tuple[Fields, Fields, int]] = (),
        pooled: Fields | None = None,
        plain_to: PlainTo = "plain",
        blurred: bool = False,
    ) -> None:
        super().__init__()
        self.in_fields = in_fields
        branches: list[nn.Module] = []
        spaces: list[Fields] = []
        if direct is not None:
            convolution = _normalised(in_fields, direct, 1, plain_to)
            branches.append(nn.Sequential(*convolution, _rectifier(direct, blurred)))
            spaces.append(direct)
        for reduction, out, kernel_size in reduced:
            first = _normalised(in_fields, reduction, 1, plain_to)
            second = _normalised(reduction, out, kernel_size, plain_to)
            between, after = _rectifier(reduction, blurred), _rectifier(out, blurred)
            branches.append(nn.Sequential(*first, between, *second, after))
            spaces.append(out)
        if pooled is not None:
            pool = MaxPool2d(in_fields, 3, 1)
            convolution = _normalised(in_fields, pooled, 1, plain_to)
            branches.append(nn.Sequential(pool, *convolution, _rectifier(pooled, blurred)))
            spaces.append(pooled)
        if not spaces:
            raise EquiscopeError("an inception block without a branch: give direct, reduced or pooled")
        self.branches = nn.ModuleList(branches)
        self.spaces = tuple(spaces)
        self.out_fields = sum(spaces[1:], spaces[0])

    def forward(self, features: Tensor) -> Tensor:
        """Run every branch and join them, shape (image, channel, y, x)."""
        return Fields.concatenate([branch(features) for branch in self.branches], self.spaces)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, with batch normalisation and ReLU.

    Parameters
    ----------
    in_fields, out_fields
        The spaces; where they differ the shortcut is a 1 x 1 convolution.
    kernel_size
        Side of the kernels, px.
    stride
        Above 1 an antialiased mean stands between the convolutions and before the shortcut's, so that any side
        keeps quarter turns exact.
    plain_to
        As in `Conv2d`.
    blurred
        Every ReLU is a `BlurredReLU`.
    """

    def __init__(
        self,
        in_fields: Fields,
        out_fields: Fields,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        plain_to: PlainTo = "plain",
        blurred: bool = False,
    ) -> None:
        super().__init__()
        self.in_fields, self.out_fields = in_fields, out_fields
        main = [*_normalised(in_fields, out_fields, kernel_size, plain_to), _rectifier(out_fields, blurred)]
        shortcut: list[nn.Module] = []
        if stride != 1:
            main.append(AvgPool2d(out_fields, stride))
            shortcut.append(AvgPool2d(in_fields, stride))
        self.main = nn.Sequential(*main, *_normalised(out_fields, out_fields, kernel_size, plain_to))
        if in_fields != out_fields:
            shortcut += _normalised(in_fields, out_fields, 1, plain_to)
        self.shortcut = nn.Sequential(*shortcut)
        self.relu = _rectifier(out_fields, blurred)

    def forward(self, features: Tensor) -> Tensor:
        """Add the shortcut to the convolutions, shape (image, channel, y, x)."""
        joined: Tensor = self.relu(self.main(features) + self.shortcut(features))
        return joined
