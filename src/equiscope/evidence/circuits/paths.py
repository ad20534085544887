"""Expanded weights: the linear map from one layer's units to another's, along every path between them at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.leaving import EverythingSeen, no_exit
from equiscope.models.sides import fitted

__all__ = ["ExpandedWeights", "Gains", "NoPathError", "expanded_weights", "measure_gains", "run_to"]

Floats = NDArray[np.float32]

# Passed on unchanged, as the Circuits articles do: what a unit would add if it were active.
_RECTIFIERS = frozenset(
    "relu relu_ relu6 relu6_ leaky_relu leaky_relu_ rrelu elu elu_ selu celu silu gelu mish hardswish hardtanh "
    "hardtanh_ softplus prelu clamp_min clamp_min_".split()
)
# Replaced by one measured factor a channel.
_NORMALISERS = frozenset("local_response_norm layer_norm group_norm instance_norm tanh sigmoid".split())
# Nodes of the autograd graph that are linear in their input, as far as the rest of their inputs is constant.
_LINEAR_NODES = re.compile(
    r"(Convolution|Mkldnn|AvgPool|AdaptiveAvgPool|Add|Sub|Neg|Cat|Stack|Slice|Select|Split|Unbind|View|Reshape|Permute|"
    r"Transpose|Expand|Clone|Copy|Alias|Mean|Sum|ConstantPad|ReflectionPad|ReplicationPad|BatchNorm|Addmm|Mm|Bmm|Mul|Div|"
    r"Upsample|Index|Gather|Squeeze|Unsqueeze|AccumulateGrad|T|ToCopy|Roll|Flip|PixelShuffle|AsStrided|Contiguous)\w*Backward"
)
_TARGETS_PER_PASS = 64
_TOLERANCE = 1e-3
# Share of the variance of a module's output that one factor a channel must explain to stand for it.
_LEAST_FIT = 0.25


@dataclass(frozen=True)
class ExpandedWeights:
    """What each unit of one layer adds to each unit of a later one, by place.

    Attributes
    ----------
    source, target
        Names of the layers.
    weights
        Shape (target unit, source unit, y, x).
    y_px, x_px
        Where in the image the source positions lie, relative to the centre of the target's receptive field, px, shapes
        (y,) and (x,); y grows downwards.
    stride_px
        Distance of neighbouring source positions, px.
    linearised
        What on the path is not linear and by what it was replaced, in words; empty where the weights are exact.
    """

    source: str
    target: str
    weights: Floats
    y_px: NDArray[np.float64]
    x_px: NDArray[np.float64]
    stride_px: float
    linearised: tuple[str, ...]

    def cells(self) -> NDArray[np.float64]:
        """Places of the kernel's cells, (x, y) with y upwards, in source positions, shape (cell, 2), row by row."""
        y, x = np.meshgrid(-self.y_px / self.stride_px, self.x_px / self.stride_px, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)


@dataclass(frozen=True)
class Gains:
    """Measured factors a channel of what is neither linear nor a rectifier, in the order in which a pass meets them."""

    functions: tuple[Tensor, ...] = ()
    modules: dict[str, Tensor] | None = None


class NoPathError(EquiscopeError):
    """No weight joins two layers, along no path that goes through no other surveyed layer."""


class _Linearise(TorchFunctionMode):
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
            if float((double - 2 * plain + zero).abs().max()) < _TOLERANCE * scale:
                return False
            touched = sample.clone()
            touched[:, :, 0, 0] += sample.abs().max()
            moved = (module(touched) - plain).abs().amax((0, 1))
            moved[0, 0] = 0
            return float(moved.max()) < _TOLERANCE * scale
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


def run_to(model: Model, images: Tensor, target: str, hooks: dict[str, Callable[..., Any]]) -> Tensor:
    """Run images up to a layer, with hooks on others; give the layer's output."""
    modules = dict(model.module.named_modules())
    seen: list[Tensor] = []

    def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.append(output)
        raise EverythingSeen

    with ExitStack() as stack:
        stack.enter_context(model.evaluating())
        for name, hook in hooks.items():
            stack.callback(modules[name].register_forward_hook(hook).remove)
        stack.callback(modules[target].register_forward_hook(stop).remove)
        try:
            with no_exit(f"the forward pass of {model.name}"):
                model.module(model.preprocess(images.to(model.device).clone()))  # some normalise in place
        except EverythingSeen:
            pass
        except Exception:
            if not seen:  # a network that caught the signal may fail further on
                raise
    if seen:
        return seen[0]
    raise EquiscopeError(f"{model.name} did not run {target} in its forward pass: name another layer")


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
    with torch.no_grad(), _Linearise(None) as mode:
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


def expanded_weights(
    model: Model,
    source: LayerGeometry,
    target: LayerGeometry,
    gains: Gains | None = None,
    without: Sequence[str] = (),
) -> ExpandedWeights:
    """Compose everything that leads from one layer to another into one kernel for each two units.

    Rectifiers are passed on, max-pools counted as the mean of their window, normalisations replaced by one factor a
    channel; all else must be linear, and is checked to be. Bottlenecks, parallel branches, residual additions, pools,
    strides, folded batch-norms come out of the network's own forward pass, so nothing is assumed of its architecture.

    Parameters
    ----------
    model
        The network.
    source, target
        Geometry of the two layers; weights are from values before the source's rectifier to values before the target's.
    gains
        From `measure_gains`, for networks with normalisations.
    without
        Layers that paths must not go through.

    Raises
    ------
    EquiscopeError
        If there is no path, or an operation on it is not linear (attention, custom autograd); the message names it.

    Examples
    --------
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 5)))
    >>> geometry = find_geometry(model, ["0", "2"])
    >>> expanded_weights(model, geometry["0"], geometry["2"]).weights.shape
    (2, 4, 5, 5)
    """
    if source.is_global or target.is_global:
        name = source.layer if source.is_global else target.layer
        raise EquiscopeError(
            f"layer {name!r} sees the whole image, so its weights have no centre: leave it out"
        )
    path = _Path(model, source, target, gains or Gains(), tuple(without))
    shape = path.find_shape()
    is_whole = _check_path(path.pass_through, shape, source.layer, target.layer, model.device)
    kernels = np.zeros((target.n_channels, *shape), np.float32)
    for start in range(0, target.n_channels, _TARGETS_PER_PASS):
        n = min(_TARGETS_PER_PASS, target.n_channels - start)
        leaf = torch.zeros(n, *shape, device=model.device, requires_grad=True)
        with torch.enable_grad():
            centre = path.pass_through(leaf, n if is_whole else 1)
            (slope,) = torch.autograd.grad(centre[:, start : start + n].diagonal().sum(), leaf)
        kernels[start : start + n] = slope.cpu().numpy()
    if not kernels.any():
        raise NoPathError(f"no path leads from {source.layer} to {target.layer}: no weight joins their units")
    return _cut_to_used(kernels, source, target, tuple(path.mode.replaced))


def _cut_to_used(
    kernels: NDArray[np.float32], source: LayerGeometry, target: LayerGeometry, linearised: tuple[str, ...]
) -> ExpandedWeights:
    """Cut kernels over all positions of the source to those that matter, and say where these lie."""
    y_px, x_px = (
        source.centre_px[axis]
        + source.stride_px[axis] * np.arange(kernels.shape[2 + axis])
        - (target.patch_px - 1) / 2
        for axis in (0, 1)
    )
    used = (kernels != 0).any((0, 1))
    rows, columns = (
        slice(int(there[0]), int(there[-1]) + 1)
        for there in (np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0)))
    )
    return ExpandedWeights(
        source.layer,
        target.layer,
        np.ascontiguousarray(kernels[:, :, rows, columns]),
        np.asarray(y_px[rows], dtype=np.float64),
        np.asarray(x_px[columns], dtype=np.float64),
        float(source.stride_px[0]),
        linearised,
    )


class _Path:
    """The network between two layers as a linear function of the source's maps."""

    def __init__(
        self,
        model: Model,
        source: LayerGeometry,
        target: LayerGeometry,
        gains: Gains,
        without: tuple[str, ...],
    ) -> None:
        self._source, self._target, self._gains, self._without = source, target, gains, without
        self._network = fitted(model, target.sides)
        self.mode = _Linearise(gains)

    def find_shape(self) -> torch.Size:
        """Shape (unit, y, x) of the source's maps where the target is shown one patch."""
        source, target, size_px = self._source, self._target, self._target.patch_px
        shapes: list[torch.Size] = []
        with torch.no_grad():
            see = {source.layer: lambda _m, _i, output: shapes.append(output.shape[1:])}
            run_to(self._network, torch.zeros(1, 3, size_px, size_px), target.layer, see)
        if not shapes:
            raise NoPathError(
                f"no path leads from {source.layer} to {target.layer}: {target.layer} is computed before it"
            )
        if shapes[0][0] != source.n_channels:
            raise EquiscopeError(
                f"layer {source.layer!r} gave {shapes[0][0]} channels, its geometry says {source.n_channels}"
            )
        return shapes[0]

    def pass_through(self, leaf: Tensor, n_images: int) -> Tensor:
        """Put maps in the source's place, shape (map, unit, y, x); give the target's centre, shape (map, unit)."""
        size_px = self._target.patch_px
        row, column = self._target.position_in_patch(size_px)
        hooks: dict[str, Callable[..., Any]] = {
            name: _scale_by(gain, self.mode) for name, gain in (self._gains.modules or {}).items()
        }
        has_run = False

        def substitute(_module: nn.Module, _inputs: object, _output: object) -> Tensor | None:
            nonlocal has_run
            if has_run:
                return None
            has_run = True
            self.mode.replaced.clear()
            # A copy, so that what follows may change it in place.
            return leaf.clone()

        hooks |= {name: lambda _m, _i, output: torch.zeros_like(output) for name in self._without}
        hooks[self._source.layer] = substitute
        self.mode.measured.clear()
        with self.mode:
            images = torch.zeros(n_images, 3, size_px, size_px)
            output = run_to(self._network, images, self._target.layer, hooks)
        return output[:, :, row, column]


def _scale_by(gain: Tensor, mode: _Linearise) -> Callable[..., Tensor]:
    def scale(module: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> Tensor:
        mode.replaced[f"{type(module).__name__}: one factor a channel, measured on images"] = None
        return inputs[0] * gain.view(1, -1, 1, 1)

    return scale


def _check_path(
    pass_through: Callable[[Tensor, int], Tensor],
    shape: torch.Size,
    source: str,
    target: str,
    device: torch.device,
) -> bool:
    """Check that the path is there and linear; whether it needs as many images as there are source maps.

    One image is enough where everything from the image to the target goes through the source; a branch that goes past
    it (a dense block) needs its own.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, *shape, generator=generator).to(device) for _ in range(2))
    with torch.no_grad():
        try:
            pass_through(a, 1)
            is_whole = False
        except Exception:  # networks refuse with any type
            is_whole = True
        n = 2 if is_whole else 1
        zero, of_a, of_b, of_both = (pass_through(x, n) for x in (torch.zeros_like(a), a, b, a + b))
    away = float((of_both - of_a - of_b + zero).abs().max())
    size = float((of_a - zero).abs().max())
    if size == 0:
        raise NoPathError(f"no path leads from {source} to {target}: no weight joins their units")
    leaf = a.clone().requires_grad_()
    with torch.enable_grad():
        output = pass_through(leaf, n)
        slope = (
            torch.autograd.grad(output.sum(), leaf, allow_unused=True, retain_graph=True)[0]
            if output.requires_grad
            else None
        )
    if slope is None:
        raise EquiscopeError(
            f"no gradient leads from {target} back to {source}: something on the path detaches it"
        )
    if not away <= _TOLERANCE * size:
        raise EquiscopeError(
            f"the path from {source} to {target} is not linear beyond rectifiers, max-pools and normalisations "
            f"({', '.join(_suspects(output))}): it has no expanded weights"
        )
    return is_whole


def _suspects(output: Tensor) -> list[str]:
    """Operations in a tensor's history that are not linear, by the names that autograd gives them."""
    names: dict[str, None] = {}
    seen: set[Any] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = type(node).__name__
        if not _LINEAR_NODES.match(name) and name != "AccumulateGrad":
            names[re.sub(r"Backward\d*$", "", name)] = None
        waiting += [earlier for earlier, _ in node.next_functions]
    return list(names) or ["a product of activations"]
