"""The parameters of a network as blocks of kernels, by the surveyed units that each of them joins.

`equiscope.models.connections` tells which unit each channel of a convolution reads and gives. Here these units are put
together by their layers, a block for each two. A convolution from 3 colours to 64 units of conv1 is one block; one
behind a concatenation of two layers is two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from equiscope.construction.budget.blocks import FIXED, Block, Convolution, Units
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.connections import IMAGE, Connections, Place, find_connections

__all__ = ["find_convolutions"]


def find_convolutions(model: Model, layers: Sequence[str]) -> tuple[Convolution, ...]:
    """Find every parameter on the way to some layers, and which of their units it joins.

    Parameters
    ----------
    model
        The network; only its architecture matters.
    layers
        Surveyed layers, in any order.

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

    Examples
    --------
    >>> from torch import nn
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3)), "small")
    >>> [(convolution.module, convolution.n_parameters) for convolution in find_convolutions(model, ["0", "2"])]
    [('0', 112), ('2', 222)]
    """
    found = _Reader(find_connections(model, layers)).convolutions()
    if not found:
        raise EquiscopeError(
            f"{model.name} has no parameters of a convolution, a linear map or a normalisation on the way to "
            f"{', '.join(layers)}: leave the network away, and kernels are counted, all alike"
        )
    return found


class _Reader:
    """Turns what reached what into units at the ends of each parameter."""

    def __init__(self, found: Connections) -> None:
        self.found, self.places, self.targets, self.layers = found, found.places, found.targets, found.layers
        self._ahead: dict[str, Units | None] = {}
        # What follows is called later, so that from the last one on each is found at once.
        for name in reversed(list(self.places)):
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
        if name not in self.targets:
            return [node for node in self.places[name].seen if node in self.targets]
        return [
            other
            for other, place in self.places.items()
            if other in self.targets and other != name and name in place.seen
        ]

    def _own(self, name: str) -> Sequence[tuple[str, int] | None]:
        """Give the unit that each channel of a place is, None where it is none that was surveyed."""
        return [_only([own] if own else []) for own in self.found.outputs(name)]

    def _blocks(self, name: str, place: Place, shape: Sequence[int], ahead: Units) -> Iterator[Block]:
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
        inputs = [_only(list(read.items())) for read in self.found.inputs(name)]
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


def _only(read: Sequence[tuple[str, int]]) -> tuple[str, int] | None:
    """Give the one unit that was read, (`FIXED`, 0) for the image; None if it is unknown, or there are several."""
    if len(read) != 1:
        return None
    ((layer, channel),) = read
    if layer == IMAGE:
        return FIXED, 0
    return (layer, channel) if channel >= 0 else None


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
