"""Convolutions in which some units are equivariant, some invariant and some plain.

A layer keeps one free kernel where the symmetry leaves one, and writes all others out of it: one matrix product from
coefficients to turned kernels, one reading of them in the order of the channels, and then one ordinary convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.construction.equivariant.fields import Fields
from equiscope.construction.equivariant.tied import TiedConvolution
from equiscope.foundations.errors import EquiscopeError, unknown_name

__all__ = ["Conv2d", "PlainTo"]

PlainTo = Literal["plain", "all"]


class Conv2d(TiedConvolution):
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
    turned kernels (`equiscope.construction.equivariant.basis`). Quarter turns and mirrors are exact; other angles as
    exact as the pixels allow.

    In evaluation without gradients the expanded kernel is kept, and computed anew when a parameter was replaced or
    changed in place, moved, or ``train()`` was called. Writing to ``parameter.data`` is seen by nothing: call
    ``train(False)`` after it.

    References
    ----------
    Cohen and Welling, "Group equivariant convolutional networks", 2016, section 6. Weiler, Hamprecht and Storath,
    "Learning steerable filters for rotation equivariant CNNs", 2018, section 3.1 for the initial variance, which is
    drawn otherwise here (`equiscope.construction.equivariant.basis.KernelBasis.draw`).
    """

    in_fields: Fields
    fields_to_fields: nn.Parameter | None
    invariant_to_fields: nn.Parameter | None
    fields_to_invariant: nn.Parameter | None
    invariant_to_invariant: nn.Parameter | None
    to_plain: nn.Parameter | None
    plain_to_tied: nn.Parameter | None
    _into_field: Tensor
    _into_invariant: Tensor

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
                f"a convolution from fields of {in_fields.group} to fields of {out_fields.group} commutes with "
                "neither: give both spaces one group"
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
        is_lifting = out_fields.equivariant and not in_fields.equivariant and plain_to == "plain"
        if is_lifting and (kernel_size == 1 or in_fields.action.n_angles == 1):
            raise EquiscopeError(
                f"a kernel of {kernel_size} px makes a field of {out_fields.group} out of invariant units with one "
                "picture in every channel: lift with a larger kernel, and hue with a HueStem"
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
        n_free = a.plain if plain_to == "all" else 0
        shapes["plain_to_tied"] = (b.n_tied_channels, n_free, kernel_size, kernel_size)
        self.register_free(shapes)

    def derive(self) -> dict[str, Tensor]:
        """Derive the turned basis, and where in the sources of a unit each of its weights is read."""
        # Weights from plain units that are no parameters read a zero: it ends each row.
        n_zeros = 1 if self.in_fields.plain and self.plain_to == "plain" else 0
        turned, fixed = (
            F.pad(rows, (0, n_zeros)) for rows in (self.basis.turned.flatten(1), self.basis.fixed)
        )
        return {
            "_unit": self.out_fields.unit_of_channel,
            "_turned": turned,
            "_fixed": fixed,
            "_into_field": self._read_into_field(turned.shape[1]).flatten(),
            "_into_invariant": self._read_into_invariant(turned.shape[1], fixed.shape[1]).flatten(),
        }

    def _read_into_field(self, width: int) -> Tensor:
        """Where an output field reads its kernels, shape (element, in channel, pixel).

        Its sources are rows of kernels, ``width`` numbers each: from every input field under each relative element,
        then from every invariant unit; and then its free kernels from plain units.
        """
        a, order = self.in_fields, self.in_fields.order
        fields = torch.arange(a.equivariant)[:, None] * order + a.action.relative[:, None]
        others = a.equivariant * order + torch.arange(a.invariant)
        rows = torch.cat([fields.flatten(1), others.expand(order, -1)], dim=1)
        tied = rows[:, :, None] * width + self.basis.place[:, None]
        end = (a.equivariant * order + a.invariant) * width
        return torch.cat([tied, self._read_from_plain(end, order)], dim=1)

    def _read_into_invariant(self, turned_width: int, fixed_width: int) -> Tensor:
        """Where an invariant output reads its kernels, shape (1, in channel, pixel).

        Its sources are a row of kernels from every input field, one from every invariant unit, and then its free
        kernels from plain units.
        """
        a = self.in_fields
        fields = torch.arange(a.equivariant)[:, None, None] * turned_width + self.basis.place
        start = a.equivariant * turned_width
        others = start + torch.arange(a.invariant)[:, None] * fixed_width + torch.arange(self.kernel_size**2)
        tied = torch.cat([fields.flatten(0, 1), others])[None]
        return torch.cat([tied, self._read_from_plain(start + a.invariant * fixed_width, 1)], dim=1)

    def _read_from_plain(self, start: int, n_channels: int) -> Tensor:
        """Where channels of a unit read their kernels from plain units, shape (out channel, plain, pixel).

        Parameters
        ----------
        start
            Where the free ones start; before it is a zero if there are none.
        n_channels
            Channels of the unit.
        """
        shape = n_channels, self.in_fields.plain, self.kernel_size**2
        if self.plain_to == "plain":
            return torch.full(shape, start - 1)
        return start + torch.arange(math.prod(shape)).reshape(shape)

    def reset_parameters(self) -> None:
        """Draw parameters so that each output has the variance of He's initialisation before a ReLU."""
        n_tied = self.in_fields.n_channels if self.plain_to == "all" else self.in_fields.n_tied_channels
        n_pixels = self.kernel_size**2
        basis, order = self.basis, self.in_fields.order
        tied: dict[str, Callable[..., Tensor]] = {
            "fields_to_fields": basis.draw,
            "invariant_to_fields": basis.draw,
            "fields_to_invariant": partial(basis.draw, n_copies=order),
            "invariant_to_invariant": partial(basis.draw, is_fixed=True),
        }
        with torch.no_grad():
            for name, draw in tied.items():
                parameter = getattr(self, name)
                if parameter is not None:
                    parameter.copy_(draw(*parameter.shape[:-1]) * math.sqrt(2 / (n_tied * n_pixels)))
            for name, n_in in (("to_plain", self.in_fields.n_channels), ("plain_to_tied", n_tied)):
                parameter = getattr(self, name)
                if parameter is not None:
                    nn.init.normal_(parameter, std=math.sqrt(2 / (n_in * n_pixels)))
            if self.bias is not None:
                nn.init.zeros_(self.bias)

    def expand_weight(self) -> Tensor:
        """Write the kernel of the plain convolution out, shape (out channel, in channel, y, x)."""
        b, size = self.out_fields, self.kernel_size
        free = {}
        if self.plain_to_tied is not None:
            parts = torch.split(self.plain_to_tied, [b.n_field_channels, b.invariant])
            free = dict(zip(("field", "invariant"), parts, strict=True))
        written = []
        if b.equivariant:
            relative = None if self.fields_to_fields is None else self.fields_to_fields.flatten(1, 2)
            coefficients = _present(relative, self.invariant_to_fields)
            sources = [_join(coefficients) @ self._turned] if coefficients else []
            sources += [free["field"]] if free else []
            joined = _join([source.reshape(b.equivariant, -1) for source in sources])
            written.append(joined.index_select(1, self._into_field))
        if b.invariant:
            turned = None if self.fields_to_invariant is None else self.fields_to_invariant @ self._turned
            fixed = None if self.invariant_to_invariant is None else self.invariant_to_invariant @ self._fixed
            sources = _present(turned, fixed, free.get("invariant"))
            joined = _join([source.flatten(1) for source in sources])
            written.append(joined.index_select(1, self._into_invariant))
        if self.to_plain is not None:
            written.append(self.to_plain)
        kernels = [part.reshape(-1, self.in_fields.n_channels, size, size) for part in written]
        return _join(kernels, dim=0)

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return f"{super().extra_repr()}, plain_to={self.plain_to!r}"


def _present(*parts: Tensor | None) -> list[Tensor]:
    """Give the parts that there are."""
    return [part for part in parts if part is not None]


def _join(parts: list[Tensor], dim: int = 1) -> Tensor:
    """Put tensors beside each other; one alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
