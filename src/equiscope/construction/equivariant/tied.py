"""What tied convolutions share: free parameters, written out as the kernel of a plain convolution when they changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.construction.equivariant.basis import KernelBasis, kernel_basis
from equiscope.construction.equivariant.constants import DerivedConstants
from equiscope.construction.equivariant.fields import Colours, Fields
from equiscope.construction.equivariant.precision import full_precision
from equiscope.foundations.errors import EquiscopeError

__all__ = ["TiedConvolution", "check_grid"]

# Of each parameter: which object, where its values are, their type, and how often they were changed in place.
_State = list[tuple[int, int, torch.dtype, int]]


class TiedConvolution(DerivedConstants):
    """What `Conv2d` and `HueStem` share: from free parameters to a kernel, kept while nothing changes.

    A subclass writes ``expand_weight``, ``reset_parameters`` and ``derive``, and calls ``register_free``.
    """

    bias: nn.Parameter | None
    _unit: Tensor
    _turned: Tensor
    _fixed: Tensor
    _place: Tensor

    def __init__(
        self,
        in_fields: Fields | Colours,
        out_fields: Fields,
        kernel_size: int,
        stride: int,
        padding: int | Literal["same"],
        bias: bool,
    ) -> None:
        super().__init__()
        self.in_fields, self.out_fields = in_fields, out_fields
        self.kernel_size, self.stride = kernel_size, _positive("stride", stride)
        kernel_basis(out_fields.group, kernel_size)  # refuses sizes that the group cannot use
        if padding != "same" and (not isinstance(padding, int) or padding < 0):
            raise EquiscopeError(
                f"padding is {padding!r}, expected 'same' or a number of pixels of 0 or more"
            )
        self.padding = kernel_size // 2 if padding == "same" else padding
        self.bias = nn.Parameter(torch.zeros(out_fields.n_units)) if bias else None
        self._kept: tuple[_State, Tensor, Tensor | None] | None = None

    def register_free(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make parameters of these shapes, None where one would be empty, and fill them."""
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)) if math.prod(shape) else None)
        self.set_constants()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        raise NotImplementedError

    @property
    def basis(self) -> KernelBasis:
        """The kernels' basis, in float64."""
        return kernel_basis(self.out_fields.group, self.kernel_size)

    @property
    def n_free_parameters(self) -> int:
        """Numbers that can be chosen freely: every parameter, each of which the tying needs."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def n_expanded_parameters(self) -> int:
        """Weights and biases of the plain convolution with the same channels."""
        n_out = self.out_fields.n_channels
        n_weights = n_out * self.in_fields.n_channels * self.kernel_size**2
        return n_weights + (n_out if self.bias is not None else 0)

    def expand_weight(self) -> Tensor:
        """Write the kernel of the plain convolution out, shape (out channel, in channel, y, x)."""
        raise NotImplementedError

    def expand(self) -> tuple[Tensor, Tensor | None]:
        """Write kernel and bias of the plain convolution out, differentiable in the free parameters."""
        with full_precision(next(self.parameters()).device):
            return self.expand_weight(), None if self.bias is None else self.bias.index_select(0, self._unit)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve features of ``in_fields`` to features of ``out_fields``, shape (image, channel, y, x)."""
        if features.ndim != 4 or features.shape[1] != self.in_fields.n_channels:
            raise EquiscopeError(
                f"features of shape {tuple(features.shape)} do not fit a convolution from {self.in_fields}: expected "
                f"(image, {self.in_fields.n_channels}, y, x)"
            )
        if self.out_fields.n_tied_channels:
            check_grid(features, self.kernel_size, self.stride, self.padding)
        weight, bias = self._current()
        return F.conv2d(features, weight, bias, self.stride, self.padding)

    def _current(self) -> tuple[Tensor, Tensor | None]:
        """Give the expanded kernel and bias, those of the last call if nothing they depend on can have changed."""
        parameters = list(self.parameters())
        wants_gradient = torch.is_grad_enabled() and any(p.requires_grad for p in parameters)
        is_swapped = any(type(p) is not nn.Parameter for p in parameters)
        if self.training or wants_gradient or is_swapped or torch.compiler.is_compiling():
            return self.expand()
        # An inference tensor counts no versions; outside of inference mode nothing can change it either.
        state = [(id(p), p.data_ptr(), p.dtype, -1 if p.is_inference() else p._version) for p in parameters]
        if self._kept is None or self._kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                weight, bias = self.expand()
            self._kept = (state, weight, bias)
        return self._kept[1], self._kept[2]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a kernel that was kept for evaluation is forgotten."""
        self._kept = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._kept = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return (
            f"{self.in_fields} -> {self.out_fields}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, bias={self.bias is not None}"
        )


def check_grid(features: Tensor, kernel_size: int, stride: int, padding: int) -> None:
    """Refuse a strided grid that does not lie symmetrically on the input: a quarter turn would read other pixels.

    Raises
    ------
    EquiscopeError
        If pixels are left over at one side.

    Examples
    --------
    >>> check_grid(torch.zeros(1, 4, 9, 9), kernel_size=3, stride=2, padding=1)
    """
    if stride == 1:
        return
    for length in features.shape[-2:]:
        left_over = (length + 2 * padding - kernel_size) % stride
        if left_over:
            raise EquiscopeError(
                f"a side of {length} px leaves {left_over} px over with kernel {kernel_size}, stride {stride} and "
                f"padding {padding}, so a quarter turn would read other pixels: use a side of {length - left_over} px "
                f"or {length - left_over + stride} px, or stride 1 and an antialiased pooling, which takes any side"
            )


def _positive(name: str, value: int) -> int:
    """Return a whole number of at least 1, or say what was received."""
    if not isinstance(value, int) or value < 1:
        raise EquiscopeError(f"{name} is {value!r}, expected a whole number of 1 or more")
    return value
