"""Which convolutions of a network join surveyed units: found by touching units and watching, not by reading code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.circuits.paths import run_to
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry

__all__ = ["IMAGE", "Wire", "find_wires"]

Ints = NDArray[np.int64]

# Name of the source whose "units" are the image's colour channels.
IMAGE = "image"
# Random halves of a layer's units that are touched in turn: enough to tell two units of a thousand apart.
_N_CODES = 48
_TOUCH = 1.25
_SIDE_PX = 48
# Correlation, over codes, of how much a channel moves with whether its unit was touched. A channel that is one unit's
# own has 1 but for what a local normalisation lets in; one that sums several units has less.
_OWN = 0.95


@dataclass(frozen=True)
class Wire:
    """One convolution, and the surveyed units at its two sides.

    Attributes
    ----------
    name
        Of the module.
    source, target
        Surveyed layers; the source may be ``image``.
    source_units, target_units
        The unit of each input and output channel, -1 for channels that are none, shapes (input,) and (output,).
    """

    name: str
    source: str
    target: str
    source_units: Ints
    target_units: Ints


def find_wires(
    model: Model,
    geometries: Sequence[LayerGeometry],
    on_step: Callable[[int], None] = lambda _n: None,
) -> tuple[Wire, ...]:
    """Find the convolutions whose inputs and outputs are units of surveyed layers.

    Parameters
    ----------
    model
        The network.
    geometries
        Of the surveyed layers, in the order of the forward pass.
    on_step
        Called with a number of passes after each.

    Returns
    -------
    tuple of Wire
        In the order of the network's modules.

    Notes
    -----
    A layer's output is replaced by noise, in 48 copies of which each has another random half of its units made larger;
    an input channel of a convolution is the unit whose halves it follows. Rectifiers, pools, normalisations,
    concatenations and their order need no special care, and whatever mixes units is no match. Which surveyed layer a
    convolution's output is, is found in the same way. Grouped convolutions are left out.
    """
    modules = dict(model.module.named_modules())
    convolutions = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.Conv2d) and module.groups == 1
    }
    last = geometries[-1].layer
    side_px = _smallest_side(model, geometries)
    codes = _codes(max(g.n_channels for g in geometries))
    inputs: dict[str, tuple[str, Ints]] = {}
    # Later layers overrule earlier ones: an identity connection carries both.
    for geometry in geometries:
        moved = _touch(model, geometry.layer, codes, side_px, last, convolutions, is_input=True)
        on_step(1)
        for name, change in moved.items():
            units = _match(change, codes[:, : geometry.n_channels])
            if (units >= 0).any() and name != geometry.layer:
                inputs[name] = (geometry.layer, units)
    first = _first_convolution(model, side_px, last, convolutions)
    if first is not None and convolutions[first].in_channels == 3:
        inputs.setdefault(first, (IMAGE, np.arange(3)))
    layers = {g.layer: modules[g.layer] for g in geometries}
    wires = []
    for name, (source, source_units) in inputs.items():
        if name in layers:
            wires.append(Wire(name, source, name, source_units, np.arange(convolutions[name].out_channels)))
            continue
        own = (
            codes
            if codes.shape[1] >= convolutions[name].out_channels
            else _codes(convolutions[name].out_channels)
        )
        moved = _touch(model, name, own, side_px, last, layers, is_input=False)
        on_step(1)
        for geometry in geometries:
            if geometry.layer not in moved or geometry.layer == source:
                continue
            channel_of_unit = _match(moved[geometry.layer], own[:, : convolutions[name].out_channels])
            if (channel_of_unit >= 0).any():
                target_units = np.full(convolutions[name].out_channels, -1)
                is_own = channel_of_unit >= 0
                target_units[channel_of_unit[is_own]] = np.nonzero(is_own)[0]
                wires.append(Wire(name, source, geometry.layer, source_units, target_units))
                break
    order = list(convolutions)
    return tuple(sorted(wires, key=lambda wire: order.index(wire.name)))


def _smallest_side(model: Model, geometries: Sequence[LayerGeometry]) -> int:
    """Side of images, px, on which the network runs up to its last surveyed layer: small ones do where they pass."""
    with torch.no_grad():
        try:
            run_to(model, torch.zeros(1, 3, _SIDE_PX, _SIDE_PX), geometries[-1].layer, {})
            return _SIDE_PX
        except RuntimeError:
            sizes = [g.patch_px for g in geometries if not g.is_global]
            return max([*sizes, model.input_size_px or 224])


def _codes(n_units: int) -> NDArray[np.bool_]:
    return np.random.default_rng(0).random((_N_CODES, n_units)) < 0.5


def _touch(
    model: Model,
    touched: str,
    codes: NDArray[np.bool_],
    side_px: int,
    last: str,
    watched: dict[str, Any],
    *,
    is_input: bool,
) -> dict[str, NDArray[np.float64]]:
    """How far each channel of watched modules moves in each code, shape (code, channel)."""
    seen: dict[str, NDArray[np.float64]] = {}
    modules = dict(model.module.named_modules())

    def replace(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(output.shape[1:], generator=generator).to(output) + 0.5
        factor = torch.as_tensor(np.where(codes[:, : output.shape[1]], _TOUCH, 1.0)).to(output)
        copies = noise * torch.cat([torch.ones_like(factor[:1]), factor])[:, :, None, None]
        return copies.contiguous()

    def watch(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, inputs: tuple[Any, ...], output: object = None) -> None:
            x = inputs[0] if is_input else output
            if isinstance(x, Tensor) and x.ndim == 4 and len(x) == len(codes) + 1:
                seen[name] = (x[1:] - x[:1]).abs().mean((2, 3)).double().cpu().numpy()

        return note

    with ExitStack() as stack, torch.no_grad():
        for name in watched:
            register = (
                modules[name].register_forward_pre_hook if is_input else modules[name].register_forward_hook
            )
            if name != touched:
                stack.callback(register(watch(name)).remove)
        images = torch.zeros(len(codes) + 1, 3, side_px, side_px)
        run_to(model, images, last, {touched: replace})
    return seen


def _match(change: NDArray[np.float64], codes: NDArray[np.bool_]) -> Ints:
    """Tell the unit whose code each channel follows, -1 for none, shape (channel,)."""
    is_moved = change.max(0) > 0
    unit, channel = (
        (part - part.mean(0)) / np.maximum(part.std(0), 1e-12) for part in (codes.astype(float), change)
    )
    correlation = unit.T @ channel / len(codes)
    best = correlation.argmax(0)
    is_own = is_moved & (correlation[best, np.arange(len(best))] > _OWN)
    return np.where(is_own, best, -1)


def _first_convolution(
    model: Model, side_px: int, last: str, convolutions: dict[str, nn.Conv2d]
) -> str | None:
    """Name of the convolution that runs first."""
    ran: list[str] = []
    with ExitStack() as stack, torch.no_grad():
        for name, module in convolutions.items():
            hook = module.register_forward_pre_hook(lambda _m, _i, name=name: ran.append(name))
            stack.callback(hook.remove)
        run_to(model, torch.zeros(1, 3, side_px, side_px), last, {})
    return ran[0] if ran else None
