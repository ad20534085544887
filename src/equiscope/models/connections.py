"""Which surveyed units the channels of a convolution are: read from the network's own forward pass.

A channel that is set to NaN spoils everything that is computed from it. So a layer's channels are numbered in binary,
one image a digit: channels with a 1 there are NaN. Convolutions and linear maps answer with zeros, so that nothing
passes them, and note which digits reach each of their input channels. That tells one by one which channels they read,
through rectifiers, pools, normalisations, concatenations and additions, whatever the architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from math import ceil, log2, nan
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from equiscope.models.borrowing import borrows_model
from equiscope.models.model import Model

__all__ = ["IMAGE", "Connections", "Place", "find_connections", "number_channels", "read_channels"]

Ints = NDArray[np.int64]

# Name of the source whose "units" are the channels of the prepared image.
IMAGE = "image"
# Functions that mix channels by weights, with the axis of their input channels.
_MIXING = {"conv2d": 1, "conv_transpose2d": 1, "linear": -1}
# Functions that act channel by channel once what they measure is a constant.
_NORMALISERS = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "local_response_norm", "rms_norm")
# Side of the images where the network takes them: two positions are left after five halvings. Else its own side, or
# what such networks are usually shown.
_SIDE_PX = 64
_USUAL_PX = 224


@dataclass(frozen=True)
class Place:
    """Where parameters act: the first call of a function.

    Attributes
    ----------
    function
        ``conv2d``, ``conv_transpose2d``, ``linear`` or a normalisation.
    weights, shapes
        Names of its parameters, and their shapes.
    n_groups
        Of a convolution.
    n_channels, n_positions
        Of its input.
    seen
        For each source that reaches it (a surveyed layer, another place, the image) which of its channels reaches each
        input channel, shape (channel,): -1 none, -2 several.
    """

    function: str
    weights: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    n_groups: int
    n_channels: int
    n_positions: int
    seen: dict[str, Ints] = field(default_factory=dict)


@dataclass(frozen=True)
class Connections:
    """What reaches what on the way to some layers.

    Attributes
    ----------
    layers
        The layers, in the order of the forward pass.
    places
        Convolutions, linear maps and normalisations before the last of them, in that order, by the name of their first
        parameter, as ``mixed3a.1x1.weight``.
    targets
        For each place but normalisations the surveyed unit that each output channel goes to first, as layer and unit;
        None for channels that are part of none.
    n_positions
        Of the output of each source.
    """

    layers: tuple[str, ...]
    places: Mapping[str, Place]
    targets: Mapping[str, Sequence[tuple[str, int] | None]]
    n_positions: Mapping[str, int]

    def reaching(self, name: str, channel: int) -> dict[str, int]:
        """Give the channel of each source that reaches an input channel of a place; -2 for several.

        What is one number for the whole image, a gate, scales or shifts a channel and does not count beside others.
        """
        place = self.places[name]
        seen = {node: int(own[channel]) for node, own in place.seen.items() if own[channel] != -1}
        spread = {node: number for node, number in seen.items() if self.n_positions[node] > 1}
        return spread if spread and place.n_positions > 1 else seen

    def inputs(self, name: str) -> list[dict[str, int]]:
        """Give the surveyed units, and channels of the image, whose sum each input channel of a place is.

        A channel of a residual sum reads several layers. It is empty where anything else reaches it too, such as a
        convolution that was not surveyed; a unit is -2 where several of a layer do.
        """
        known = {IMAGE, *self.layers}
        reached = [self.reaching(name, channel) for channel in range(self.places[name].n_channels)]
        return [seen if seen.keys() <= known else {} for seen in reached]

    def outputs(self, name: str) -> Sequence[tuple[str, int] | None]:
        """Give the surveyed unit that each output channel of a place is, None where it is none.

        Of a convolution it is the one that the channel goes to first. Of a normalisation, which has no output of its
        own, it is that of the convolution before it, or the unit or channel of the image that it reads.
        """
        if name in self.targets:
            return self.targets[name]
        return [self._normalised(name, channel) for channel in range(self.places[name].n_channels)]

    def _normalised(self, name: str, channel: int) -> tuple[str, int] | None:
        seen = self.reaching(name, channel)
        if len(seen) != 1:
            return None
        ((node, number),) = seen.items()
        if number < 0 and node != IMAGE:
            return None
        return self.targets[node][number] if node in self.targets else (node, number)


@borrows_model
def find_connections(model: Model, layers: Sequence[str]) -> Connections:
    """Find what each convolution, linear map and normalisation reads, and where it leads.

    Parameters
    ----------
    model
        The network; only its architecture matters.
    layers
        Surveyed layers, in any order.

    Returns
    -------
    Connections
        Of everything that runs before the last of them.

    Raises
    ------
    EquiscopeError
        If the network has no such layer, or does not run it.

    Notes
    -----
    One pass for each layer and each convolution, on small images where the network takes them; no convolution is
    computed. Of a module or weight that is used more than once, the first use counts. A module of one's own that
    normalises over channels, with no more parameters than factors and shifts a channel, counts as treating them apart;
    where a larger module does so in its own code, what follows reads several channels.

    Examples
    --------
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 4, 1)))
    >>> find_connections(model, ["0", "2"]).inputs("2.weight")
    [{'0': 0}, {'0': 1}]
    """
    first = _run_first(model, model.resolve_layers(layers))
    places, reached = first.places, {layer: {IMAGE: seen} for layer, seen in first.reached.items()}
    for node, (n_channels, _) in first.nodes.items():
        if node == IMAGE:
            continue
        probe = _run(model, list(first.reached), first.image, node, n_channels)
        for name, place in probe.places.items():
            places[name].seen.update(place.seen)
        for layer, seen in probe.reached.items():
            reached[layer][node] = seen
    targets: dict[str, list[tuple[str, int] | None]] = {
        node: [None] * n_channels for node, (n_channels, _) in first.nodes.items() if node in places
    }
    for layer, sources in reached.items():
        for node, channels in sources.items():
            for unit, channel in enumerate(channels.tolist()):
                if node in targets and channel >= 0 and targets[node][channel] is None:
                    targets[node][channel] = (layer, unit)
    n_positions = {node: n for node, (_, n) in first.nodes.items()}
    return Connections(tuple(reached), places, targets, n_positions)


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

    Examples
    --------
    Channels 0, 1 and 2 in four images: two digits, and the same inverted.

    >>> numbered = number_channels(torch.zeros(4, 3, 1, 1), axis=1, n_images=4)
    >>> torch.isnan(numbered[:, :, 0, 0]).int().tolist()
    [[0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 0]]
    """
    n_channels = zeros.shape[axis]
    number = torch.arange(n_channels)
    is_one = torch.stack([(number >> digit) & 1 == 1 for digit in range(n_images // 2)])
    pattern = torch.where(torch.cat([is_one, ~is_one]), nan, 0.0).to(zeros)
    shape = [1] * zeros.ndim
    shape[0], shape[axis] = len(zeros), n_channels
    return zeros + pattern.repeat_interleave(len(zeros) // n_images, 0).view(shape)


def read_channels(x: Tensor, axis: int, n_images: int) -> Ints:
    """Read back which channel reached each channel of a batch, shape (channel,): -1 none, -2 several.

    Examples
    --------
    >>> numbered = number_channels(torch.zeros(4, 3, 1, 1), axis=1, n_images=4)
    >>> read_channels(numbered.flip(1), axis=1, n_images=4).tolist()
    [2, 1, 0]
    """
    reached = torch.isnan(x.movedim(axis, -1))
    reached = reached.reshape(n_images, -1, reached.shape[-1]).any(1)
    ones, zeros = reached.cpu().numpy().reshape(2, n_images // 2, -1)
    number = (ones * (1 << np.arange(len(ones)))[:, None]).sum(0)
    number = np.where((ones & zeros).any(0), -2, number)
    return np.asarray(np.where((ones | zeros).any(0), number, -1), dtype=np.int64)


class _Probe(TorchFunctionMode):
    """Stops everything at convolutions and surveyed layers, and numbers the channels of one source."""

    def __init__(self, image: Tensor, names: Mapping[int, str], active: str, n_images: int) -> None:
        super().__init__()
        self.image, self.names, self.active, self.n_images = image, names, active, n_images
        self.places: dict[str, Place] = {}
        self.reached: dict[str, Ints] = {}
        # Channels and positions of every source, in the order of the pass.
        self.nodes: dict[str, tuple[int, int]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        function = getattr(func, "__name__", "")
        if function in _MIXING and len(args) > 1:
            name = self._note(function, args, kwargs, _MIXING[function])
            place = self.places[name]
            if not place.weights and place.n_groups == place.n_channels > 1:
                # A fixed kernel for each channel, as a blur before a stride, is a pool.
                return func(*args, **kwargs)
            named = {key: _without_data(value) for key, value in kwargs.items()}
            shape = func(*map(_without_data, args), **named).shape
            return self.answer(name, args[0].new_zeros(shape), _MIXING[function])
        if function in _NORMALISERS:
            self._note(function, args, kwargs, -1 if function in ("layer_norm", "rms_norm") else 1)
            return args[0]
        return func(*args, **kwargs)

    def answer(self, name: str, zeros: Tensor, axis: int = 1) -> Tensor:
        """Give the output of a source: numbered if it is its turn."""
        self.nodes.setdefault(name, self._size(zeros, axis))
        return number_channels(zeros, axis, self.n_images) if name == self.active else zeros

    def read(self, x: Tensor, axis: int = 1) -> Ints:
        """Tell which of the numbered channels reach each channel."""
        return read_channels(x, axis, self.n_images)

    def _size(self, x: Tensor, axis: int) -> tuple[int, int]:
        return x.shape[axis], x.numel() // (x.shape[axis] * self.n_images)

    def _note(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], axis: int) -> str:
        """Note which digits reach the input of a call; gives the name of its place."""
        given = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, Tensor)]
        own = [value for value in given if id(value) in self.names]
        # A weight that was computed has no name, but its call still has an order.
        name = self.names[id(own[0])] if own else f"{function} {len(self.places)}"
        if name not in self.places:
            groups = kwargs.get("groups", args[6] if len(args) > 6 and function == "conv2d" else 1)
            seen = self.read(args[0], axis)
            self.places[name] = Place(
                function,
                tuple(self.names[id(value)] for value in own),
                tuple(value.shape for value in own),
                int(groups) if function == "conv2d" else 1,
                *self._size(args[0], axis),
                {self.active: seen} if (seen != -1).any() else {},
            )
        return name


def _without_data(value: object) -> object:
    return value.to("meta") if isinstance(value, Tensor) else value


def _run_first(model: Model, layers: Sequence[str]) -> _Probe:
    """Run with the channels of the prepared image numbered, on small images if the network takes them."""

    def run(side_px: int) -> _Probe:
        image = model.preprocess(torch.zeros(1, 3, side_px, side_px, device=model.device))
        return _run(model, layers, image, IMAGE, image.shape[1])

    try:
        return run(_SIDE_PX)
    except Exception:  # networks refuse a size with any type, timm's with AssertionError
        return run(model.input_size_px or _USUAL_PX)


def _run(model: Model, layers: Sequence[str], image: Tensor, active: str, n_channels: int) -> _Probe:
    """Run the network once, from the prepared image on, with one source's channels numbered."""
    n_images = 2 * max(1, ceil(log2(n_channels)))
    names = {id(value): name for name, value in model.module.named_parameters()}
    probe = _Probe(image, names, active, n_images)

    def hook_for(layer: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def replace_output(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            if layer in probe.reached:
                return None
            probe.reached[layer] = probe.read(output)
            return probe.answer(layer, torch.zeros_like(output))

        return replace_output

    with ExitStack() as stack:
        for module in _own_leaves(model.module):
            stack.callback(module.register_forward_hook(_pass_on).remove)
        modules = dict(model.module.named_modules())
        for layer in layers:
            stack.callback(modules[layer].register_forward_hook(hook_for(layer)).remove)
        stack.enter_context(probe)
        images = probe.answer(IMAGE, torch.zeros_like(image).repeat(n_images, 1, 1, 1))
        replace(model, preprocess=lambda given: given).record(images, layers)
    return probe


def _own_leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the user's own modules without children or kernels: torch's are known by their functions."""
    for part in module.modules():
        is_bare = all(value.numel() == max(value.shape, default=1) for value in part.parameters())
        if (
            is_bare
            and not any(True for _ in part.children())
            and not type(part).__module__.startswith("torch.")
        ):
            yield part


def _pass_on(_module: nn.Module, inputs: tuple[Any, ...], output: object) -> Tensor | None:
    """Let each channel through alone where a module, such as a normalisation over channels, mixes them."""
    x = inputs[0] if inputs else None
    if not isinstance(x, Tensor) or not isinstance(output, Tensor) or x.shape != output.shape or x.ndim != 4:
        return None
    before, after = (torch.isnan(value).any((2, 3)) for value in (x, output))
    return x.clone() if bool(before.any() and (after | ~before).all()) else None
