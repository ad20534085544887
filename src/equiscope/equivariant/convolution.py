"""Convolutions in which some units are equivariant, some invariant and some plain.

A layer keeps one free kernel where the symmetry leaves one, and writes all others out of it: one matrix product from
coefficients to turned kernels, one reading of them in the order of the channels, and then one ordinary convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.equivariant.basis import KernelBasis, kernel_basis
from equiscope.equivariant.fields import Colours, Fields
from equiscope.errors import EquiscopeError, unknown_name
from equiscope.transforms.colour import LUMA

__all__ = ["Conv2d", "HueStem", "PlainTo", "check_grid"]

PlainTo = Literal["plain", "all"]


class _TiedConvolution(nn.Module):
    """What `Conv2d` and `HueStem` share: from free parameters to a kernel, kept while nothing changes.

    A subclass writes ``expand_weight`` and calls ``reset_parameters`` once its parameters exist.
    """

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
            raise EquiscopeError(f"padding is {padding!r}, expected 'same' or a number of pixels of 0 or more")
        self.padding = kernel_size // 2 if padding == "same" else padding
        self.bias = nn.Parameter(torch.zeros(out_fields.n_units)) if bias else None
        self._kept: tuple[list[tuple[object, ...]], Tensor, Tensor | None] | None = None
        self.register_buffer("_unit", out_fields.unit_of_channel, persistent=False)

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
        kind = next(self.parameters()).device.type
        if torch.is_autocast_enabled(kind):
            # The product is small, and half precision would be spent on the symmetry.
            with torch.autocast(kind, enabled=False):
                return self.expand()
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
        """Expanded kernel and bias: kept from the last call if nothing that they depend on can have changed."""
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
        return self._kept[1:]

    def train(self, mode: bool = True) -> _TiedConvolution:
        """Set the mode; a kernel that was kept for evaluation is forgotten."""
        self._kept = None
        return super().train(mode)

    def _set_constants(self) -> None:
        """Derive constants from their float64 originals in the parameters' type and place."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _TiedConvolution:
        self._kept = None
        super()._apply(fn, recurse)
        # float() followed by double() would leave constants with float's precision.
        self._set_constants()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def _constant(self, name: str, value: Tensor) -> None:
        """Register a buffer that is derived and not saved."""
        like = next(self.parameters())
        value = value.to(like.device, like.dtype if value.is_floating_point() else None)
        self.register_buffer(name, value, persistent=False)

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return (
            f"{self.in_fields} -> {self.out_fields}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, bias={self.bias is not None}"
        )


class Conv2d(_TiedConvolution):
    """A convolution between two feature spaces that commutes with the group.

    Parameters
    ----------
    in_fields, out_fields
        The spaces, of one group.
    kernel_size
        Side of the kernels, px, odd.
    stride
        Distance of neighbouring outputs, px. The strided grid must be symmetric about the centre of the input.
    padding
        Zeros around the input, px, or ``"same"``.
    bias
        Whether units have a bias, one a field.
    plain_to
        What plain inputs may feed. ``"plain"``, the default: plain outputs only, so that fields and invariant units
        keep what they promise. ``"all"``: everything, by free kernels, as in the article's count of parameters;
        fields are then as equivariant as training makes them, which
        `equiscope.testing.assert_fields_equivariant` measures.

    Raises
    ------
    EquiscopeError
        If the spaces are of two groups, nothing could reach a unit, or the kernel is even or too small for the group.

    Notes
    -----
    With R_g a kernel turned by g, W[g, h] the kernel from input element h to output element g:

    =============  ==============================================  =================================
    from, to       kernel                                          free kernels
    =============  ==============================================  =================================
    field, field   ``W[g, h] = R_g K[g⁻¹h]``                       one a pair and relative element
    inv., field    ``W[g] = R_g K``                                one a pair
    field, inv.    ``W[h] = R_h K``                                one a pair
    inv., inv.     ``W = R_g W`` for all g: only such a kernel      one a pair, of fewer coefficients
                   makes an exactly invariant unit
    any, plain     free                                            one a pair of channels
    plain, others  zero, or free with ``plain_to="all"``           none, or one a pair of channels
    =============  ==============================================  =================================

    These are all linear maps that commute with the group (Schur's lemma block by block), up to the band limit of
    turned kernels (`equiscope.equivariant.basis`). Quarter turns and mirrors are exact; other angles as exact
    as the pixels allow.

    In evaluation without gradients the expanded kernel is kept, and computed anew when a parameter was replaced or
    changed in place, moved, or ``train()`` was called. Writing to ``parameter.data`` is seen by nothing: call
    ``train(False)`` after it.

    References
    ----------
    Cohen and Welling, "Group equivariant convolutional networks", 2016, section 6. Weiler, Hamprecht and Storath,
    "Learning steerable filters for rotation equivariant CNNs", 2018, section 3.1 for the initial variance; here it
    counts the channels that reach a unit.
    """

    def __init__(
        self,
        in_fields: Fields,
        out_fields: Fields,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | Literal["same"] = 0,
        bias: bool = True,
        plain_to: PlainTo = "plain",
    ) -> None:
        if in_fields.group != out_fields.group:
            raise EquiscopeError(
                f"a convolution from fields of {in_fields.group} to fields of {out_fields.group} commutes with neither: "
                "give both spaces one group"
            )
        if plain_to not in get_args(PlainTo):
            raise unknown_name("value of plain_to", plain_to, get_args(PlainTo))
        super().__init__(in_fields, out_fields, kernel_size, stride, padding, bias)
        self.plain_to = plain_to
        is_fed = in_fields.n_tied_channels > 0 or plain_to == "all"
        if out_fields.n_tied_channels and not is_fed:
            raise EquiscopeError(
                f"nothing reaches the fields and invariant units of {out_fields}: the input has plain units only. "
                "Give it others, or plain_to='all'"
            )
        if kernel_size == 1 and out_fields.equivariant and in_fields.action.n_angles > 1 and is_fed:
            if not in_fields.equivariant and plain_to == "plain":
                raise EquiscopeError(
                    f"a kernel of 1 px cannot tell angles apart, so a field of {out_fields.group} made of invariant "
                    "units alone would hold one picture in every channel: use a larger kernel"
                )
        a, b, basis = in_fields, out_fields, self.basis
        n, n_fixed = basis.n_coefficients, basis.n_fixed
        shapes = {
            "fields_to_fields": (b.equivariant, a.equivariant, a.order, n),
            "invariant_to_fields": (b.equivariant, a.invariant, n),
            "fields_to_invariant": (b.invariant, a.equivariant, n),
            "invariant_to_invariant": (b.invariant, a.invariant, n_fixed),
            "to_plain": (b.plain, a.n_channels, kernel_size, kernel_size),
        }
        if plain_to == "all":
            shapes["plain_to_tied"] = (b.n_tied_channels, a.plain, kernel_size, kernel_size)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)) if math.prod(shape) else None)
        self._set_constants()
        self.reset_parameters()

    def _set_constants(self) -> None:
        basis, n_pixels = self.basis, self.kernel_size**2
        n_turned = basis.turned[0].numel()
        self._constant("_turned", basis.turned.flatten(1))
        self._constant("_fixed", basis.fixed)
        self._constant("_place", basis.place.flatten())
        relative = self.in_fields.action.relative[:, :, None] * n_turned + basis.place[:, None, :]
        self._constant("_relative_place", relative.flatten() if self.fields_to_fields is not None else relative[:0])
        self.n_pixels = n_pixels

    def reset_parameters(self) -> None:
        """Draw parameters so that each output has the variance of He's initialisation before a ReLU."""
        basis = self.basis
        n_reaching = self.in_fields.n_channels
        n_tied = self.in_fields.n_channels if self.plain_to == "all" else self.in_fields.n_tied_channels
        # Energy of a kernel with coefficients of variance 1.
        energy = basis.turned.square().sum().item() / basis.turned.shape[1]
        energies = {
            "fields_to_fields": energy,
            "invariant_to_fields": energy,
            "fields_to_invariant": energy,
            "invariant_to_invariant": basis.fixed.square().sum().item(),
            "to_plain": float(self.kernel_size**2),
            "plain_to_tied": float(self.kernel_size**2),
        }
        for name, own in energies.items():
            parameter = getattr(self, name, None)
            if parameter is not None:
                n_in = n_reaching if name == "to_plain" else n_tied
                nn.init.normal_(parameter, std=math.sqrt(2 / (n_in * own)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def expand_weight(self) -> Tensor:
        """Write the kernel of the plain convolution out, shape (out channel, in channel, y, x)."""
        a, b, order, n_pixels = self.in_fields, self.out_fields, self.in_fields.order, self.n_pixels
        like = next(self.parameters())
        rows = []
        if b.equivariant:
            row = []
            if self.fields_to_fields is not None:
                turned = (self.fields_to_fields @ self._turned).flatten(2).flatten(0, 1)
                kernels = turned.index_select(1, self._relative_place)
                kernels = kernels.reshape(b.equivariant, a.equivariant, order, order, n_pixels)
                row.append(kernels.transpose(1, 2).reshape(b.n_field_channels, a.n_field_channels, n_pixels))
            if self.invariant_to_fields is not None:
                turned = (self.invariant_to_fields @ self._turned).flatten(0, 1)
                kernels = turned.index_select(1, self._place)
                kernels = kernels.reshape(b.equivariant, a.invariant, order, n_pixels)
                row.append(kernels.transpose(1, 2).reshape(b.n_field_channels, a.invariant, n_pixels))
            rows.append(self._with_plain(row, like, slice(None, b.n_field_channels)))
        if b.invariant:
            row = []
            if self.fields_to_invariant is not None:
                turned = (self.fields_to_invariant @ self._turned).flatten(0, 1)
                kernels = turned.index_select(1, self._place)
                row.append(kernels.reshape(b.invariant, a.n_field_channels, n_pixels))
            if self.invariant_to_invariant is not None:
                row.append(self.invariant_to_invariant @ self._fixed)
            rows.append(self._with_plain(row, like, slice(b.n_field_channels, b.n_tied_channels)))
        if self.to_plain is not None:
            rows.append(self.to_plain.flatten(2))
        size = self.kernel_size
        return torch.cat(rows).reshape(b.n_channels, a.n_channels, size, size)

    def _with_plain(self, row: list[Tensor], like: Tensor, channels: slice) -> Tensor:
        """Complete the kernels of some outputs with those from plain inputs."""
        n_plain = self.in_fields.plain
        if n_plain and self.plain_to == "all":
            row = [*row, self.plain_to_tied[channels].flatten(2)]
        elif n_plain:
            row = [*row, like.new_zeros(row[0].shape[0], n_plain, self.n_pixels)]
        return torch.cat(row, dim=1)

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return f"{super().extra_repr()}, plain_to={self.plain_to!r}"


class HueStem(_TiedConvolution):
    """A first convolution, from RGB, whose fields turn with hue, and with the plane if the group does.

    Parameters
    ----------
    out_fields
        A space of a group with hue: ``"H6"``, ``"H4xC8"``.
    kernel_size, stride, padding, bias
        As in `Conv2d`.

    Raises
    ------
    EquiscopeError
        If the group has no hue.

    Notes
    -----
    Hue is turned by a linear map M of RGB that holds luma (`equiscope.transforms.hue_matrix`), so the symmetry in hue is
    exact at every element. The kernel of element (hue, angle) is ``R_angle K · M(hue)⁻¹``. An invariant unit sees
    luma alone, through a kernel that no turn of the plane changes. Behind the stem `Conv2d` goes on with the same group.
    """

    def __init__(
        self,
        out_fields: Fields,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | Literal["same"] = 0,
        bias: bool = True,
    ) -> None:
        if out_fields.action.n_hues == 1:
            raise EquiscopeError(
                f"the group {out_fields.group} does not turn hue: give fields of one that does, such as H6 or H4xC8, or "
                "use Conv2d from Fields(group, invariant=3)"
            )
        super().__init__(Colours(out_fields.group), out_fields, kernel_size, stride, padding, bias)
        n, n_fixed = self.basis.n_coefficients, self.basis.n_fixed
        shapes = {
            "to_fields": (out_fields.equivariant, 3, n),
            "to_invariant": (out_fields.invariant, n_fixed),
            "to_plain": (out_fields.plain, 3, kernel_size, kernel_size),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)) if math.prod(shape) else None)
        self._set_constants()
        self.reset_parameters()

    def _set_constants(self) -> None:
        basis, action = self.basis, self.out_fields.action
        self._constant("_turned", basis.turned.flatten(1))
        self._constant("_fixed", basis.fixed)
        hues = Colours(action.name).hue_matrices()
        # M(hue)⁻¹ is M(-hue), the matrix of the opposite element.
        self._constant("_unhue", hues[-torch.arange(action.n_hues) % action.n_hues])
        self._constant("_luma", torch.tensor(LUMA, dtype=torch.float64)[:, None])
        hue_of_element = torch.arange(action.order) // action.n_angles
        place = hue_of_element[:, None] * basis.turned[0].numel() + basis.place
        self._constant("_place", place.flatten())

    def reset_parameters(self) -> None:
        """Draw parameters so that each output has the variance of He's initialisation before a ReLU."""
        basis = self.basis
        energy = basis.turned.square().sum().item() / basis.turned.shape[1]
        hues = Colours(self.out_fields.group).hue_matrices()
        stretch = hues.square().sum().item() / (3 * len(hues))
        own = {
            "to_fields": 3 * energy * stretch,
            "to_invariant": basis.fixed.square().sum().item() * self._luma.square().sum().item(),
            "to_plain": 3.0 * self.kernel_size**2,
        }
        for name, energy_of_kernels in own.items():
            parameter = getattr(self, name)
            if parameter is not None:
                nn.init.normal_(parameter, std=math.sqrt(2 / energy_of_kernels))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def expand_weight(self) -> Tensor:
        """Write the kernel of the plain convolution out, shape (out channel, 3, y, x)."""
        b, size = self.out_fields, self.kernel_size
        rows = []
        if self.to_fields is not None:
            turned = self.to_fields @ self._turned
            # (field, hue, colour, representative and pixel), with hue next to what the places index.
            coloured = torch.einsum("fcp,hcd->fdhp", turned, self._unhue).flatten(2)
            kernels = coloured.index_select(2, self._place).reshape(b.equivariant, 3, b.order, size**2)
            rows.append(kernels.transpose(1, 2).reshape(b.n_field_channels, 3, size**2))
        if self.to_invariant is not None:
            rows.append((self.to_invariant @ self._fixed)[:, None] * self._luma)
        if self.to_plain is not None:
            rows.append(self.to_plain.flatten(2))
        return torch.cat(rows).reshape(b.n_channels, 3, size, size)


def check_grid(features: Tensor, kernel_size: int, stride: int, padding: int) -> None:
    """Refuse a strided grid that does not lie symmetrically on the input: a quarter turn would read other pixels.

    Raises
    ------
    EquiscopeError
        If pixels are left over at one side.
    """
    if stride == 1:
        return
    for length in features.shape[-2:]:
        left_over = (length + 2 * padding - kernel_size) % stride
        if left_over:
            raise EquiscopeError(
                f"a side of {length} px leaves {left_over} px over with kernel {kernel_size}, stride {stride} and padding "
                f"{padding}, so a quarter turn would read other pixels: use a side of {length - left_over} px or "
                f"{length - left_over + stride} px, or stride 1 and an antialiased pooling, which takes any side"
            )


def _positive(name: str, value: int) -> int:
    """Return a whole number of at least 1, or say what was received."""
    if not isinstance(value, int) or value < 1:
        raise EquiscopeError(f"{name} is {value!r}, expected a whole number of 1 or more")
    return value
