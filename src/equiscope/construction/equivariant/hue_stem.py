"""A first convolution whose fields turn with hue.

Turning the hue of an image by h is a linear map M(h) of RGB that holds luma. A kernel that was turned with it,
``K · M(h)⁻¹``, answers to the turned image as K does to the image: a unit that likes red edges becomes one that likes
green edges. So a field of six such kernels, 60° apart, is exactly equivariant to hue, and the layers behind it go on
with the group.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from equiscope.construction.equivariant.fields import Colours, Fields
from equiscope.construction.equivariant.tied import TiedConvolution
from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations.pixels.colour import LUMA

__all__ = ["HueStem"]


class HueStem(TiedConvolution):
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
        If the group has no hue, or the kernel is even or too small for the group.

    Notes
    -----
    Hue is turned by a linear map M of RGB that holds luma (`equiscope.transformations.pixels.hue_matrix`), so the
    symmetry in hue is exact at every element. The kernel of element (hue, angle) is ``R_angle K · M(hue)⁻¹``. An
    invariant unit sees luma alone, through a kernel that no turn of the plane changes. Behind the stem `Conv2d` goes on
    with the group.
    """

    out_fields: Fields
    to_fields: nn.Parameter | None
    to_invariant: nn.Parameter | None
    to_plain: nn.Parameter | None
    _unhue: Tensor
    _luma: Tensor

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
                f"the group {out_fields.group} does not turn hue: give fields of one that does, such as H6 or H4xC8, "
                "or use Conv2d from Fields(group, invariant=3)"
            )
        super().__init__(Colours(out_fields.group), out_fields, kernel_size, stride, padding, bias)
        n, n_fixed = self.basis.n_coefficients, self.basis.n_fixed
        shapes = {
            "to_fields": (out_fields.equivariant, 3, n),
            "to_invariant": (out_fields.invariant, n_fixed),
            "to_plain": (out_fields.plain, 3, kernel_size, kernel_size),
        }
        self.register_free(shapes)

    def derive(self) -> dict[str, Tensor]:
        """Derive the turned basis, where each channel's kernel stands in it, and what turns hue back."""
        basis, action = self.basis, self.out_fields.action
        hue_of_element = torch.arange(action.order) // action.n_angles
        place = hue_of_element[:, None] * basis.turned[0].numel() + basis.place
        # M(hue)⁻¹ is M(-hue), the matrix of the opposite element.
        unhue = Colours(action.name).hue_matrices()[-torch.arange(action.n_hues) % action.n_hues]
        return {
            "_unit": self.out_fields.unit_of_channel,
            "_turned": basis.turned.flatten(1),
            "_fixed": basis.fixed,
            "_place": place.flatten(),
            "_unhue": unhue,
            "_luma": torch.tensor(LUMA, dtype=torch.float64)[:, None],
        }

    def reset_parameters(self) -> None:
        """Draw parameters so that each output has the variance of He's initialisation before a ReLU."""
        b, n_pixels = self.out_fields, self.kernel_size**2
        hues = Colours(b.group).hue_matrices()
        # Energy of the rows of hue matrices against that of colours left as they are.
        stretch = hues.square().sum().item() / (3 * len(hues))
        with torch.no_grad():
            if self.to_fields is not None:
                scale = math.sqrt(2 / (3 * n_pixels * stretch))
                self.to_fields.copy_(self.basis.draw(b.equivariant, 3) * scale)
            if self.to_invariant is not None:
                scale = math.sqrt(2 / (self._luma.square().sum().item() * n_pixels))
                self.to_invariant.copy_(self.basis.draw(b.invariant, is_fixed=True) * scale)
            if self.to_plain is not None:
                nn.init.normal_(self.to_plain, std=math.sqrt(2 / (3 * n_pixels)))
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
