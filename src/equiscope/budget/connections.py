"""What each parameter of a network joins: read from its own forward pass, whatever its architecture.

A channel that is set to NaN spoils everything that is computed from it. So a layer's channels are numbered in binary,
one image a digit: channels with a 1 there are NaN. Convolutions and linear maps answer with zeros, so that nothing
passes them, and note which digits reach each of their input channels. That tells one by one which channels they read,
through rectifiers, pools, concatenations and additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil, log2, nan, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from equiscope.budget.blocks import FIXED, Block, Convolution, Units
from equiscope.errors import EquiscopeError
from equiscope.models import Model

__all__ = ["find_convolutions"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Functions that mix channels by weights, with the axis of their input channels.
_MIXING = {"conv2d": 1, "conv_transpose2d": 1, "linear": -1}
# Functions that act channel by channel once what they measure is a constant.
_NORMALISERS = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "local_response_norm", "rms_norm")
_IMAGE = "image"


@dataclass
class _Place:
    """What parameters act at one place: the first call of a function.

    ``weights`` are names, ``shapes`` theirs; ``seen`` says for each node, by its name, which of its channels reaches
    each input channel: -1 none, -2 several.
    """

    function: str
    weights: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    n_groups: int
    seen: dict[str, Ints] = field(default_factory=dict)


class _Probe(TorchFunctionMode):
    """Stops everything at convolutions, and numbers the channels of one node."""

    def __init__(self, names: dict[int, str], active: str, n_images: int) -> None:
        super().__init__()
        self.names, self.active, self.n_images = names, active, n_images
        self.places: dict[str, _Place] = {}
        self.widths: dict[str, int] = {}
        self.reached: dict[str, Ints] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        function = getattr(func, "__name__", "")
        if function in _MIXING and len(args) > 1:
            return self._stop(func, function, args, kwargs)
        if function in _NORMALISERS:
            self._note(function, args, kwargs, -1 if function in ("layer_norm", "rms_norm") else 1)
            return args[0]
        return func(*args, **kwargs)

    def _stop(self, func: Any, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        axis = _MIXING[function]
        name = self._note(function, args, kwargs, axis)
        shapes_only = [value.to("meta") if isinstance(value, Tensor) else value for value in args]
        named = {
            key: value.to("meta") if isinstance(value, Tensor) else value for key, value in kwargs.items()
        }
        output = torch.zeros(func(*shapes_only, **named).shape, device=args[0].device)
        self.widths.setdefault(name, output.shape[axis])
        return number_channels(output, axis, self.n_images) if name == self.active else output

    def _note(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], axis: int) -> str:
        """Note which digits reach the input of a call; gives the name of its place."""
        given = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, Tensor)]
        own = [value for value in given if id(value) in self.names]
        # A weight that was computed has no name, but its call still has an order.
        name = self.names[id(own[0])] if own else f"{function} {len(self.places)}"
        if name not in self.places:
            groups = kwargs.get("groups", args[6] if len(args) > 6 and function == "conv2d" else 1)
            self.places[name] = _Place(
                function,
                tuple(self.names[id(value)] for value in own),
                tuple(value.shape for value in own),
                int(groups) if function == "conv2d" else 1,
                {self.active: read_channels(args[0], axis, self.n_images)},
            )
        return name


def number_channels(zeros: Tensor, axis: int, n_images: int) -> Tensor:
    """Write the channels' numbers in binary into a batch: NaN for 1 in one half of its images, for 0 in the other.

    Parameters
    ----------
    zeros
        Tensor of zeros whose first axis holds the images, or several parts of each.
    axis
        Of the channels.
    n_images
        Twice the digits that a number may have.
    """
    n_channels = zeros.shape[axis]
    number = torch.arange(n_channels)
    is_one = torch.stack([(number >> digit) & 1 == 1 for digit in range(n_images // 2)])
    pattern = torch.where(torch.cat([is_one, ~is_one]), nan, 0.0).to(zeros.device)
    shape = [1] * zeros.ndim
    shape[0], shape[axis] = len(zeros), n_channels
    return zeros + pattern.repeat_interleave(len(zeros) // n_images, 0).view(shape)


def read_channels(x: Tensor, axis: int, n_images: int) -> Ints:
    """Read back which channel reached each channel of a batch, shape (channel,): -1 none, -2 several."""
    reached = torch.isnan(x.movedim(axis, -1))
    reached = reached.reshape(n_images, -1, reached.shape[-1]).any(1)
    ones, zeros = reached.cpu().numpy().reshape(2, n_images // 2, -1)
    number = (ones * (1 << np.arange(len(ones)))[:, None]).sum(0)
    number = np.where((ones & zeros).any(0), -2, number)
    return np.asarray(np.where((ones | zeros).any(0), number, -1), dtype=np.int64)


def find_convolutions(model: Model, layers: Mapping[str, int], size_px: int) -> tuple[Convolution, ...]:
    """Find every parameter on the way to some layers, and which of their units it joins.

    Parameters
    ----------
    model
        The network; only its architecture matters.
    layers
        Numbers of channels of the surveyed layers, in any order.
    size_px
        Side of an image that the network takes and that every layer has a position on, px.

    Returns
    -------
    tuple of Convolution
        In the order of the forward pass, one a module. A channel between two convolutions that is no surveyed unit
        (a bottleneck, a sum of branches) stands for the surveyed units that it leads to first.

    Raises
    ------
    EquiscopeError
        If there is none.

    Notes
    -----
    Of a weight that is used more than once, the first use counts. A depthwise kernel counts as one of its output
    channel's own. Parameters that are used neither as a convolution or linear map nor by a normalisation are not found.
    """
    images = _run_probe(model, layers, size_px, _IMAGE, 3)
    places, reached = images.places, {name: {_IMAGE: seen} for name, seen in images.reached.items()}
    nodes = [(name, layers[name]) for name in images.reached] + list(images.widths.items())
    for name, n_channels in nodes:
        probe = _run_probe(model, layers, size_px, name, n_channels)
        for key, place in probe.places.items():
            places[key].seen |= place.seen
        for layer, seen in probe.reached.items():
            reached[layer][name] = seen
    found = _Reader(places, reached, images.widths).convolutions()
    if not found:
        raise EquiscopeError(
            f"{model.name} has no parameters of a convolution, a linear map or a normalisation on the way to "
            f"{', '.join(layers)}: leave the network away, and kernels are counted, all alike"
        )
    return found


def _run_probe(model: Model, layers: Mapping[str, int], size_px: int, active: str, n_channels: int) -> _Probe:
    """Run the network once with one node's channels numbered."""
    n_images = 2 * max(1, ceil(log2(n_channels)))
    images = torch.zeros(n_images, 3, size_px, size_px)
    if active == _IMAGE:
        images = number_channels(images, 1, n_images)
    names = {id(value): name for name, value in model.module.named_parameters()}
    probe = _Probe(names, active, n_images)

    def hook_for(layer: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def replace(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            if layer in probe.reached:
                return None
            probe.reached[layer] = read_channels(output, 1, n_images)
            zeros = torch.zeros_like(output)
            return number_channels(zeros, 1, n_images) if layer == active else zeros

        return replace

    with ExitStack() as stack:
        for module in _own_leaves(model.module):
            stack.callback(module.register_forward_hook(_pass_on).remove)
        modules = dict(model.module.named_modules())
        for layer in layers:
            stack.callback(modules[layer].register_forward_hook(hook_for(layer)).remove)
        stack.enter_context(probe)
        model.record(images, list(layers))
    return probe


def _own_leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the user's own modules without parameters and children: torch's are known by their functions."""
    for part in module.modules():
        is_bare = not any(True for _ in part.parameters()) and not any(True for _ in part.children())
        if is_bare and not type(part).__module__.startswith("torch."):
            yield part


def _pass_on(_module: nn.Module, inputs: tuple[Any, ...], output: object) -> Tensor | None:
    """Let each channel through alone where a module, such as a normalisation over channels, mixes them."""
    x = inputs[0] if inputs else None
    if not isinstance(x, Tensor) or not isinstance(output, Tensor) or x.shape != output.shape or x.ndim != 4:
        return None
    before, after = (torch.isnan(value).any((2, 3)) for value in (x, output))
    return x.clone() if bool((after | ~before).all()) else None


class _Reader:
    """Turns what reached what into units at the ends of each parameter."""

    def __init__(
        self, places: dict[str, _Place], reached: dict[str, dict[str, Ints]], widths: dict[str, int]
    ) -> None:
        self.places, self.layers = places, list(reached)
        # Where each output channel of a convolution goes, as layer and unit: the first surveyed one.
        self.goes: dict[str, list[tuple[str, int] | None]] = {
            name: [None] * width for name, width in widths.items()
        }
        for layer, seen in reached.items():
            for name, channels in seen.items():
                for unit, channel in enumerate(channels.tolist()):
                    if name in self.goes and channel >= 0 and self.goes[name][channel] is None:
                        self.goes[name][channel] = (layer, unit)
        self._ahead: dict[str, Units | None] = {}
        # What follows is called later, so that from the last one on each is found at once.
        for name in reversed(places):
            self.ahead(name)

    def convolutions(self) -> tuple[Convolution, ...]:
        found: dict[str, list[Block]] = {}
        targets: dict[str, str] = {}
        counted: set[str] = set()
        for name, place in self.places.items():
            ahead = self.ahead(name)
            new = [i for i, weight in enumerate(place.weights) if weight not in counted]
            if ahead is None or not new:
                continue
            counted |= set(place.weights)
            module = name.rpartition(".")[0]
            targets.setdefault(module, ahead.layer)
            for i in new:
                found.setdefault(module, []).extend(self._blocks(name, place, place.shapes[i], ahead))
        return tuple(Convolution(module, targets[module], tuple(blocks)) for module, blocks in found.items())

    def ahead(self, name: str) -> Units | None:
        """Give the surveyed units that a place leads to first; None if it leads to none."""
        if name not in self._ahead:
            found = [own for own in self._own(name) if own is not None]
            for other in [] if found else self._following(name):
                following = self.ahead(other)
                if following is not None:
                    found += [(following.layer, channel) for channel in following.channels.tolist()]
            layer = min((layer for layer, _ in found), key=self.layers.index, default=None)
            channels = np.array(sorted({channel for own, channel in found if own == layer}))
            self._ahead[name] = None if layer is None else Units(layer, channels, is_surveyed=False)
        return self._ahead[name]

    def _following(self, name: str) -> list[str]:
        """Name the convolutions that read what a place gives; of a normalisation those whose outputs it changes."""
        if name not in self.goes:
            return [
                node
                for node, seen in self.places[name].seen.items()
                if node in self.goes and (seen != -1).any()
            ]
        return [
            other
            for other, place in self.places.items()
            if other in self.goes and other != name and (place.seen.get(name, np.array([-1])) != -1).any()
        ]

    def _own(self, name: str) -> list[tuple[str, int] | None]:
        """Give the unit that each channel of a place is, None where it is none that was surveyed."""
        if name in self.goes:
            return self.goes[name]
        # A normalisation: its channels are those of what it normalises.
        return [self._origin(name, channel, through=True) for channel in range(self._width(name))]

    def _width(self, name: str) -> int:
        return len(next(iter(self.places[name].seen.values())))

    def _origin(self, name: str, channel: int, *, through: bool = False) -> tuple[str, int] | None:
        """Give the surveyed unit that an input channel reads, (`FIXED`, 0) for the image; None if it is unknown.

        ``through``: a convolution's output counts as the unit that it goes to.
        """
        seen = {node: int(own[channel]) for node, own in self.places[name].seen.items() if own[channel] != -1}
        if set(seen) == {_IMAGE}:
            return FIXED, 0
        if len(seen) != 1:
            return None
        ((node, number),) = seen.items()
        if number < 0:
            return None
        if node in self.goes:
            return self.goes[node][number] if through else None
        return node, number

    def _blocks(self, name: str, place: _Place, shape: torch.Size, ahead: Units) -> Iterator[Block]:
        outputs = self._own(name)
        constant = [Units(FIXED, np.zeros(1, dtype=np.int64))]
        if len(shape) < 2:
            # A bias, or the factor of a normalisation: one number a channel.
            if prod(shape) == len(outputs):
                yield from (Block(constant[0], end) for end in _gather(outputs, ahead))
            return
        is_transposed = place.function == "conv_transpose2d"
        n_weights = prod(shape[2:])
        n_groups = place.n_groups
        inputs = [self._origin(name, channel) for channel in range(self._width(name))]
        if n_groups == len(inputs) == len(outputs):
            yield from (Block(constant[0], end, n_weights) for end in _gather(outputs, ahead))
            return
        if is_transposed and shape[1] != len(outputs):
            return
        n_in, n_out = len(inputs) // n_groups, len(outputs) // n_groups
        for group in range(n_groups):
            own_inputs = inputs[group * n_in : (group + 1) * n_in]
            own_outputs = outputs[group * n_out : (group + 1) * n_out]
            for source in _gather(own_inputs, ahead):
                for target in _gather(own_outputs, ahead):
                    yield Block(source, target, n_weights)


def _gather(channels: Sequence[tuple[str, int] | None], ahead: Units) -> list[Units]:
    """Put channels together by their layer; those that are no surveyed unit stand for the units ahead."""
    by_layer: dict[str, list[int]] = {}
    for own in channels:
        if own is not None:
            by_layer.setdefault(own[0], []).append(own[1])
    ends = [
        Units(layer, np.array([0]), len(own)) if layer == FIXED else Units(layer, np.array(own))
        for layer, own in by_layer.items()
    ]
    n_unknown = sum(own is None for own in channels)
    if n_unknown:
        ends.append(Units(ahead.layer, ahead.channels, n_unknown / len(ahead.channels), is_surveyed=False))
    return ends
