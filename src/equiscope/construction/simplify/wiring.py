"""Which convolutions join units of two surveyed layers, and which of their channels are which units.

`equiscope.models.connections` tells what each channel of a convolution reads and gives. A wire is a convolution with
surveyed units at both sides: ``mixed3a.3x3`` of GoogLeNet is none if its bottleneck was not surveyed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from equiscope.models import Model
from equiscope.models.connections import IMAGE, find_connections

__all__ = ["Wire", "find_wires"]

Ints = NDArray[np.int64]


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


def find_wires(model: Model, layers: Sequence[str]) -> tuple[Wire, ...]:
    """Find the convolutions whose inputs and outputs are units of surveyed layers.

    Parameters
    ----------
    model
        The network; only its architecture matters.
    layers
        Surveyed layers, in any order.

    Returns
    -------
    tuple of Wire
        In the order of the network's modules.

    Notes
    -----
    Where the inputs are units of several layers, or sums of them, the last in the forward pass counts: an identity
    connection carries both. A sum with something that was not surveyed is no unit. Of the layers that the outputs go to
    the first counts. Grouped convolutions are left out, and kernels that are computed from other parameters.

    Examples
    --------
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3)))
    >>> [(wire.name, wire.source, wire.target) for wire in find_wires(model, ["0", "2"])]
    [('0', 'image', '0'), ('2', '0', '2')]
    """
    found = find_connections(model, layers)
    order = (IMAGE, *found.layers)
    wires = []
    for name, module in model.module.named_modules():
        place = f"{name}.weight"
        if not isinstance(module, nn.Conv2d) or module.groups > 1 or place not in found.targets:
            continue
        inputs, outputs = [_last(read, order) for read in found.inputs(place)], found.outputs(place)
        sources, targets = (
            [order.index(end[0]) for end in ends if end is not None] for ends in (inputs, outputs)
        )
        if sources and targets:
            source, target = order[max(sources)], order[min(targets)]
            wires.append(Wire(name, source, target, _units(inputs, source), _units(outputs, target)))
    return tuple(wires)


def _last(read: Mapping[str, int], order: Sequence[str]) -> tuple[str, int] | None:
    """Give the last of the units whose sum an input channel is, None if it is none."""
    last = max(read, key=order.index, default=None)
    return (last, read[last]) if last is not None and read[last] >= 0 else None


def _units(ends: Sequence[tuple[str, int] | None], layer: str) -> Ints:
    return np.array([-1 if end is None or end[0] != layer else end[1] for end in ends])
