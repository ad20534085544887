"""Normalisation and dropout that treat all channels of a field alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.equivariant.constants import DerivedConstants
from equiscope.equivariant.fields import Fields
from equiscope.errors import EquiscopeError

__all__ = ["BatchNorm2d", "Dropout2d"]


class BatchNorm2d(DerivedConstants):
    """Batch normalisation with one mean, variance, scale and shift a unit: a field counts as one unit.

    Parameters
    ----------
    fields
        The space, before and after.
    eps, momentum
        As in ``torch.nn.BatchNorm2d``.
    affine
        Whether units have a scale and a shift.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    _unit: Tensor

    def __init__(self, fields: Fields, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        self.in_fields = self.out_fields = fields
        self.eps, self.momentum = eps, momentum
        n_units = fields.n_units
        self.weight = nn.Parameter(torch.ones(n_units)) if affine else None
        self.bias = nn.Parameter(torch.zeros(n_units)) if affine else None
        self.register_buffer("running_mean", torch.zeros(n_units))
        self.register_buffer("running_var", torch.ones(n_units))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.set_constants()

    def derive(self) -> dict[str, Tensor]:
        """Derive which unit each channel belongs to."""
        return {"_unit": self.in_fields.unit_of_channel}

    @property
    def n_free_parameters(self) -> int:
        """Scales and shifts."""
        return sum(parameter.numel() for parameter in self.parameters())

    def expand(self) -> dict[str, Tensor | None]:
        """Write out what an ordinary batch normalisation of the same channels holds, by the names of its parts."""
        parts = {
            "weight": self.weight,
            "bias": self.bias,
            "running_mean": self.running_mean,
            "running_var": self.running_var,
        }
        return {
            name: None if part is None else part.index_select(0, self._unit) for name, part in parts.items()
        }

    def forward(self, features: Tensor) -> Tensor:
        """Normalise, shape (image, channel, y, x)."""
        if not self.training:
            parts = self.expand()
            return F.batch_norm(
                features,
                parts["running_mean"],
                parts["running_var"],
                parts["weight"],
                parts["bias"],
                eps=self.eps,
            )
        self.num_batches_tracked.add_(1)
        n, n_fields = self.in_fields.n_field_channels, self.in_fields.equivariant
        if self.in_fields.order == 1 or not n_fields:
            return self._normalise(features, slice(None))
        # The elements of a field stand below each other, as if they were one taller picture.
        fields = features[:, :n].reshape(len(features), n_fields, -1, features.shape[3])
        parts_done = [
            self._normalise(fields, slice(None, n_fields)).reshape(len(features), n, *features.shape[2:])
        ]
        if n < self.in_fields.n_channels:
            parts_done.append(self._normalise(features[:, n:], slice(n_fields, None)))
        return torch.cat(parts_done, dim=1)

    def _normalise(self, features: Tensor, units: slice) -> Tensor:
        """Normalise some units by the batch and let their running moments follow."""
        weight = None if self.weight is None else self.weight[units]
        bias = None if self.bias is None else self.bias[units]
        # Views of the buffers, which batch_norm changes in place.
        return F.batch_norm(
            features,
            self.running_mean[units],
            self.running_var[units],
            weight,
            bias,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return f"{self.in_fields}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"


class Dropout2d(DerivedConstants):
    """Drop whole units in training: a field with all of its channels, an invariant or plain unit by itself.

    Parameters
    ----------
    fields
        The space, before and after.
    p
        Probability of being dropped.
    """

    _unit: Tensor

    def __init__(self, fields: Fields, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise EquiscopeError(f"p is {p!r}, expected a probability of 0 or more and below 1")
        self.in_fields = self.out_fields = fields
        self.p = p
        self.set_constants()

    def derive(self) -> dict[str, Tensor]:
        """Derive which unit each channel belongs to."""
        return {"_unit": self.in_fields.unit_of_channel}

    def forward(self, features: Tensor) -> Tensor:
        """Drop and scale what is left, shape (image, channel, y, x)."""
        if not self.training or self.p == 0:
            return features
        ones = features.new_ones(len(features), self.in_fields.n_units)
        kept: Tensor = F.dropout(ones, self.p)
        return features * kept.index_select(1, self._unit)[:, :, None, None]

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return f"{self.in_fields}, p={self.p}"
