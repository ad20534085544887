"""Normalisation and dropout that treat all channels of a field alike.

Channels of a field are one unit in several poses. Batch normalisation with a mean and a factor for each channel would
make them differ, and the field would no longer turn with its input. Here a field has one mean, one variance, one factor
and one shift, and dropout drops whole fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from equiscope.construction.equivariant.constants import DerivedConstants
from equiscope.construction.equivariant.fields import Fields
from equiscope.construction.equivariant.precision import full_precision
from equiscope.foundations.errors import EquiscopeError

__all__ = ["BatchNorm2d", "Dropout2d"]

# Features of as many values are normalised where they stand, by some thirty calls more. Measured on CPUs: few calls and
# copies are faster below that many values.
_WORTH_MANY_CALLS = 1 << 16


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

    Notes
    -----
    Features keep their layout, channels last or not. In training large features are normalised where they stand, and
    can then be differentiated once, not twice.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    _unit: Tensor
    _average: Tensor
    _n_channels: Tensor

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
        """Derive which unit each channel belongs to, and what averages channels to units."""
        unit = self.in_fields.unit_of_channel
        members = F.one_hot(unit).T.double()
        n_channels = members.sum(1)
        return {"_unit": unit, "_n_channels": n_channels, "_average": members / n_channels[:, None]}

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
        """Normalise, shape (image, channel, y, x).

        Raises
        ------
        EquiscopeError
            If they have other channels than this space.
        """
        self.in_fields.check(features)
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
        if self.in_fields.order == 1 or not self.in_fields.equivariant:
            return self._normalise(features, self.running_mean, self.running_var, self.weight, self.bias)
        if self._is_worth_many_calls(features):
            return self._normalise_channels(features)
        return self._normalise_fields(features)

    def _is_worth_many_calls(self, features: Tensor) -> bool:
        """Whether large features should be normalised where they stand: not where that would round moments."""
        if torch.compiler.is_compiling() or self.running_mean.itemsize < 4:
            return False
        # Otherwise these are copied, and a GPU reads the few larger pictures by few of its processors.
        is_slow = self.in_fields.n_units > self.in_fields.equivariant or _is_channels_last(features)
        return (is_slow or features.is_cuda) and features.numel() >= _WORTH_MANY_CALLS

    def _normalise_fields(self, features: Tensor) -> Tensor:
        """Normalise fields as larger pictures, and other units by themselves: few calls, but copies of features."""
        is_channels_last = _is_channels_last(features)
        n_fields, n_others = self.in_fields.equivariant, self.in_fields.n_units - self.in_fields.equivariant
        held = self.running_mean, self.running_var, self.weight, self.bias
        if not n_others:
            return self._normalise_as_pictures(features, is_channels_last, *held)
        parts = [(None, None) if part is None else torch.split(part, [n_fields, n_others]) for part in held]
        of_fields, of_others = zip(*parts, strict=True)
        fields, others = torch.split(features, [self.in_fields.n_field_channels, n_others], dim=1)
        # Torch's normalisation is slow on parts that are not contiguous.
        layout = torch.channels_last if is_channels_last else torch.contiguous_format
        others = self._normalise_aligned(others.contiguous(memory_format=layout), *of_others)
        return torch.cat([self._normalise_as_pictures(fields, is_channels_last, *of_fields), others], dim=1)

    def _normalise_aligned(self, features: Tensor, *held: Tensor | None) -> Tensor:
        """Normalise with parts of the moments, scales and shifts that a GPU can read several numbers of at a time."""
        if not features.is_cuda:
            return self._normalise(features, *held)
        aligned = [None if part is None else part.clone() for part in held]
        normalised = self._normalise(features, *aligned)
        is_compiling = torch.compiler.is_compiling()  # which counts no versions
        with torch.no_grad():
            for part, moved in zip(held[:2], aligned[:2], strict=True):
                if part is not None and moved is not None:
                    (part if is_compiling else part.data).copy_(moved)  # as in _normalise_channels
        return normalised

    def _normalise_as_pictures(self, fields: Tensor, is_channels_last: bool, *held: Tensor | None) -> Tensor:
        """Normalise the channels of fields, those of one beside each other in the layout that they have."""
        n_fields, order = self.in_fields.equivariant, self.in_fields.order
        if is_channels_last:
            beside = fields.permute(0, 2, 3, 1)
            larger = beside.reshape(-1, n_fields, order).contiguous()
            return self._normalise(larger, *held).reshape(beside.shape).permute(0, 3, 1, 2)
        taller = fields.reshape(len(fields), n_fields, -1, fields.shape[3]).contiguous()
        return self._normalise(taller, *held).reshape(fields.shape)

    def _normalise_channels(self, features: Tensor) -> Tensor:
        """Normalise channel by channel, by moments of units: no copies, but many small calls."""
        weight = torch.ones_like(self.running_var) if self.weight is None else self.weight
        bias = torch.zeros_like(self.running_mean) if self.bias is None else self.bias
        normalise = cast("Callable[..., tuple[Tensor, ...]]", _TiedNormalisation.apply)
        normalised, mean, variance, *_ = normalise(
            features, weight, bias, self._unit, self._average, self._n_channels, self.eps
        )
        n_values = features.numel() // features.shape[1] * self._n_channels
        # Passes before this one may wait for their gradients, which torch thinks need the running moments.
        self.running_mean.data.lerp_(mean, self.momentum)
        self.running_var.data.lerp_(variance * (n_values / (n_values - 1)), self.momentum)
        return normalised

    def _normalise(
        self,
        features: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        """Normalise by the batch; the running mean and variance follow."""
        return F.batch_norm(
            features, mean, variance, weight, bias, training=True, momentum=self.momentum, eps=self.eps
        )

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return f"{self.in_fields}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"


class _TiedNormalisation(torch.autograd.Function):
    """Normalise by moments of units, reading and writing features channel by channel, as they are stored.

    Torch's own normalisation gives the moments of channels in one pass, and applies those of units in another.
    """

    @staticmethod
    def forward(
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        unit: Tensor,
        average: Tensor,
        n_channels: Tensor,
        eps: float,
    ) -> tuple[Tensor, ...]:
        """Normalise.

        Parameters
        ----------
        features
            Shape (image, channel, y, x).
        weight, bias
            Scale and shift, shape (unit,).
        unit
            The unit of each channel, shape (channel,).
        average
            What averages channels to units, shape (unit, channel).
        n_channels
            Channels of each unit, shape (unit,); the gradient wants them.
        eps
            What is added to variances.

        Returns
        -------
        Tensor, shape (image, channel, y, x)
        Tensor, Tensor, shape (unit,)
            Mean and variance of units.
        Tensor, Tensor, shape (channel,)
            The same for each channel.
        """
        scale, shift = weight.index_select(0, unit), bias.index_select(0, unit)
        # Its moments are in float32 also where features are in half precision; its first answer is not used.
        _, means, inverse_sd = torch.native_batch_norm(features, scale, shift, None, None, True, 0.0, 0.0)
        with full_precision(features.device):
            unit_mean = average @ means
            mean = unit_mean.index_select(0, unit)
            # Torch gives 0 as the inverse of a constant channel's standard deviation, too.
            variances = torch.where(inverse_sd == 0, 0.0, inverse_sd.pow(-2))
            # A field's variance is the mean of its channels', and how far their means lie apart.
            apart = means - mean
            unit_variance = average @ torch.addcmul(variances, apart, apart)
        variance = unit_variance.index_select(0, unit)
        normalised = F.batch_norm(features, mean, variance, scale, shift, eps=eps)
        return normalised, unit_mean, unit_variance, mean, variance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradient needs."""
        features, weight, _, *constants, ctx.eps = inputs
        _, *moments = output
        ctx.mark_non_differentiable(*moments)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(features, weight, *constants, *moments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of features, scales and shifts."""
        features, weight, unit, average, n_channels, _, unit_variance, mean, variance = ctx.saved_tensors
        unused = mean.new_empty(0)
        # As if the moments were given. The gradients of scale and shift are sums over the values of a channel.
        direct, *sums = torch.ops.aten.native_batch_norm_backward(
            gradient,
            features,
            weight.index_select(0, unit),
            mean,
            variance,
            unused,
            unused,
            False,
            ctx.eps,
            [True, True, True],
        )
        with full_precision(features.device):
            averages = torch.stack(sums) @ average.T
        # The moments follow the features, too.
        scaled = averages * (weight * (unit_variance + ctx.eps).rsqrt())
        # Not rows of one tensor, which a GPU may not be able to read several numbers of at a time.
        scale, shift = (row.index_select(0, unit) for row in scaled)
        through_moments = F.batch_norm(features, mean, variance, scale, shift, eps=ctx.eps)
        direct.sub_(through_moments, alpha=features.shape[1] / features.numel())
        of_weight, of_bias = averages * n_channels
        return direct, of_weight, of_bias, None, None, None, None


def _is_channels_last(features: Tensor) -> bool:
    """Whether the channels of a pixel stand beside each other, and not the pixels of a channel."""
    return features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous()


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
        """Drop and scale what is left, shape (image, channel, y, x).

        Raises
        ------
        EquiscopeError
            If they have other channels than this space.
        """
        self.in_fields.check(features)
        if not self.training or self.p == 0:
            return features
        ones = features.new_ones(len(features), self.in_fields.n_units)
        kept: Tensor = F.dropout(ones, self.p)
        return features * kept.index_select(1, self._unit)[:, :, None, None]

    def extra_repr(self) -> str:
        """Say what ``print(module)`` shows."""
        return f"{self.in_fields}, p={self.p}"
