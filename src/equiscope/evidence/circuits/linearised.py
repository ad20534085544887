"""What is not linear on a path between layers, and what stands for it: rectifiers, max-pools, normalisations.

Rectifiers are passed on, a max-pool counts as the mean of its window, and a normalisation as one factor a channel: the
slope of its output on its input, measured on images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from equiscope.evidence.circuits.running import run_to
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model

__all__ = ["TOLERANCE", "Gains", "Linearise", "measure_gains"]

# Passed on unchanged, as the Circuits articles do: what a unit would add if it were active.
_RECTIFIERS = frozenset(
    "relu relu_ relu6 relu6_ leaky_relu leaky_relu_ rrelu elu elu_ selu celu silu gelu mish hardswish hardtanh "
    "hardtanh_ softplus prelu clamp_min clamp_min_".split()
)
# Replaced by one measured factor a channel.
_NORMALISERS = frozenset("local_response_norm layer_norm group_norm instance_norm tanh sigmoid".split())
# Share of a response by which what counts as linear may miss being so.
TOLERANCE = 1e-3
# Share of the variance of a module's output that one factor a channel must explain to stand for it.
_LEAST_FIT = 0.25


@dataclass(frozen=True)
class Gains:
    """Measured factors a channel of what is neither linear nor a rectifier, in the order in which a pass meets them."""

    functions: tuple[Tensor, ...] = ()
    modules: dict[str, Tensor] | None = None


class Linearise(TorchFunctionMode):
    """Replaces what is not linear while it is active; with ``gains`` None it measures them instead."""

    def __init__(self, gains: Gains | None) -> None:
        super().__init__()
        self.gains = gains
        self.measured: list[Tensor] = []
        self.replaced: dict[str, None] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        is_clamp = name in ("clamp", "clamp_", "clip") and _bound(args, kwargs, 1, "min") == 0
        if name in _NORMALISERS:
            place = len(self.measured)
            if self.gains is None:
                output = func(*args, **kwargs)
                self.measured.append(_regress(args[0], output, _channel_axis(name, args[0]))[0])
                return output
            if place >= len(self.gains.functions):
                raise EquiscopeError(
                    f"{name} lies on the path, which counts as one factor a channel: measure those on images first "
                    "(measure_gains; `equiscope circuits --images`)"
                )
            gain = self.gains.functions[place]
            self.measured.append(gain)
            self.replaced[f"{name}: one factor a channel, measured on images"] = None
            return args[0] * _along(gain, args[0], _channel_axis(name, args[0]))
        if self.gains is None:
            return func(*args, **kwargs)
        if name in _RECTIFIERS or (is_clamp and _bound(args, kwargs, 2, "max") is None):
            self.replaced[f"{name.rstrip('_')}: passed on"] = None
            return args[0]
        if name in ("max_pool2d", "_max_pool2d", "max_pool2d_with_indices"):
            pooled = _average_instead(*args, **kwargs)
            if pooled is not None:
                self.replaced["max_pool2d: mean of its window"] = None
                return pooled
        return func(*args, **kwargs)


def _bound(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _average_instead(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """Average over the window of a max-pool; None where there is no such average."""
    if return_indices or any(d != 1 for d in np.atleast_1d(dilation).tolist()):
        return None
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad=True)


def _channel_axis(name: str, x: Tensor) -> int:
    """Axis of the channels: the last where layer_norm normalises it, as in networks that keep channels last."""
    return x.ndim - 1 if name == "layer_norm" else 1


def _along(gain: Tensor, x: Tensor, axis: int) -> Tensor:
    shape = [1] * x.ndim
    shape[axis] = -1
    return gain.view(shape)


def _regress(before: Tensor, after: Tensor, axis: int = 1) -> tuple[Tensor, float]:
    """Slope of the output on the input, channel by channel, shape (channel,), and the share of variance it explains."""
    x, y = before.detach().double(), after.detach().double()
    dims = [d for d in range(x.ndim) if d != axis]
    x, y = x - x.mean(dims, keepdim=True), y - y.mean(dims, keepdim=True)
    spread = (x * x).sum(dims)
    slope = (x * y).sum(dims) / spread.clamp(min=1e-30)
    slope = torch.where(spread > 0, slope, torch.ones_like(slope))
    missed = (y - x * _along(slope, x, axis)).square().sum() / y.square().sum().clamp(min=1e-30)
    return slope.float(), 1 - float(missed)


def _is_local_nonlinearity(module: nn.Module, sample: Tensor) -> bool:
    """Whether a module bends its input, place by place: what a factor a channel can stand for."""
    with torch.no_grad():
        try:
            plain, zero = module(sample), module(torch.zeros_like(sample))
            double = module(2 * sample)
            if not isinstance(plain, Tensor) or plain.shape != sample.shape or sample.ndim != 4:
                return False
            scale = float((plain - zero).abs().max()) + 1e-12
            if float((double - 2 * plain + zero).abs().max()) < TOLERANCE * scale:
                return False
            touched = sample.clone()
            touched[:, :, 0, 0] += sample.abs().max()
            moved = (module(touched) - plain).abs().amax((0, 1))
            moved[0, 0] = 0
            return float(moved.max()) < TOLERANCE * scale
        except Exception:  # modules refuse with any type
            return False


def _own_leaves(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the user's own modules without parameters and children: torch's are known by their functions."""
    for name, part in module.named_modules():
        is_leaf = not any(True for _ in part.children())
        if (
            is_leaf
            and not any(True for _ in part.parameters())
            and not type(part).__module__.startswith("torch.")
        ):
            yield name, part


def measure_gains(model: Model, images: Tensor, target: str) -> Gains:
    """Measure the factors by which normalisations are replaced: the slope of output on input, a channel each.

    Parameters
    ----------
    model
        The network.
    images
        Real images, shape (image, 3, y, x), RGB in [0, 1]; a dozen is enough.
    target
        The last layer that matters.

    Examples
    --------
    The standard deviation of stripes of 0 and 1 is a half, by which they are divided.

    >>> model = Model(nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 2, 3)))
    >>> stripes = (torch.arange(8) % 2).float().expand(2, 3, 8, 8)
    >>> measure_gains(model, stripes, "1").functions[0].round(decimals=1)
    tensor([2., 2., 2.])
    """
    found: dict[str, Tensor] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def measure(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
            x = inputs[0] if inputs else None
            if not isinstance(x, Tensor) or not isinstance(output, Tensor) or name in found:
                return
            if output.shape == x.shape and _is_local_nonlinearity_quiet(module, x):
                gain, fit = _regress(x, output)
                # What a factor a channel does not describe is left as it is, and found not to be linear.
                if fit > _LEAST_FIT:
                    found[name] = gain

        return measure

    hooks = {name: hook_for(name) for name, _ in _own_leaves(model.module) if name}
    with torch.no_grad(), Linearise(None) as mode:
        run_to(model, images, target, hooks)
    return Gains(tuple(mode.measured), found)


def _is_local_nonlinearity_quiet(module: nn.Module, x: Tensor) -> bool:
    """Check on a small corner of real input, with the module called past its hooks and past any mode."""
    with torch._C.DisableTorchFunction():
        return _is_local_nonlinearity(_Bare(module), x[:2, :, :8, :8].detach().clone())


class _Bare(nn.Module):
    """A module called by its forward alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._call = module.forward

    def forward(self, x: Tensor) -> Any:
        return self._call(x)
