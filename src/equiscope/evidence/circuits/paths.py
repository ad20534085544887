"""Expanded weights: the linear map from one layer's units to another's, along every path between them at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.evidence.circuits.linearised import TOLERANCE, Gains, Linearise
from equiscope.evidence.circuits.running import run_to
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted

__all__ = ["ExpandedWeights", "NoPathError", "expanded_weights"]

Floats = NDArray[np.float32]

# Nodes of the autograd graph that are linear in their input, as far as the rest of their inputs is constant.
_LINEAR_NODES = re.compile(
    r"(Convolution|Mkldnn|AvgPool|AdaptiveAvgPool|Add|Sub|Neg|Cat|Stack|Slice|Select|Split|Unbind|View|Reshape|Permute|"
    r"Transpose|Expand|Clone|Copy|Alias|Mean|Sum|ConstantPad|ReflectionPad|ReplicationPad|BatchNorm|Addmm|Mm|Bmm|Mul|Div|"
    r"Upsample|Index|Gather|Squeeze|Unsqueeze|AccumulateGrad|T|ToCopy|Roll|Flip|PixelShuffle|AsStrided|Contiguous)\w*Backward"
)
_TARGETS_PER_PASS = 64


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
    noise
        A draw of the weights' sampling error, of their shape, where they are means over stimuli; None where they are
        read off the network.
    """

    source: str
    target: str
    weights: Floats
    y_px: NDArray[np.float64]
    x_px: NDArray[np.float64]
    stride_px: float
    linearised: tuple[str, ...]
    noise: Floats | None = None

    def cells(self) -> NDArray[np.float64]:
        """Places of the kernel's cells, (x, y) with y upwards, in source positions, shape (cell, 2), row by row."""
        y, x = np.meshgrid(-self.y_px / self.stride_px, self.x_px / self.stride_px, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)


class NoPathError(EquiscopeError):
    """No weight joins two layers, along no path that goes through no other surveyed layer."""


@borrows_model
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
        From `equiscope.evidence.circuits.linearised.measure_gains`, for networks with normalisations.
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
    # What hooks do in a backward pass is put back after it.
    with model.evaluating():
        is_whole = _check_path(path.pass_through, shape, source.layer, target.layer, model.device)
    kernels = np.zeros((target.n_channels, *shape), np.float32)
    for start in range(0, target.n_channels, _TARGETS_PER_PASS):
        n = min(_TARGETS_PER_PASS, target.n_channels - start)
        leaf = torch.zeros(n, *shape, device=model.device, requires_grad=True)
        with model.evaluating(), torch.enable_grad():
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
        self.mode = Linearise(gains)

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


def _scale_by(gain: Tensor, mode: Linearise) -> Callable[..., Tensor]:
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
    if not away <= TOLERANCE * size:
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
