"""Widths divided into fields, invariant and plain units, by shares that a whole layer has.

A layer of 64 channels with half of them equivariant to C8 and a quarter invariant is four fields, 16 invariant and 16
plain units. The branches of a block share out what the block has, and a network is resized layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from equiscope.construction.equivariant import Fields
from equiscope.construction.training.descriptions import (
    Convolution,
    Description,
    Inception,
    Layer,
    branch_names,
)

__all__ = ["divide", "divide_bottleneck", "resized", "shares_of"]


def resized(description: Description, widths: Callable[[str, int], int], name: str) -> Description:
    """Give a network with other widths and the same shares of equivariant, invariant and plain units.

    Parameters
    ----------
    description
        The network.
    widths
        Maps the name of a convolution, such as ``"conv2d0"`` or ``"mixed3a.5x5_bottleneck"``, and its number of
        channels to the wanted number.
    name
        Of the new network.

    Notes
    -----
    Shares are kept over a whole layer, as nearly as whole fields allow; the branches of a block share them out.
    Channels come in whole fields, so where a layer has fields only its width may differ from the wanted one.

    Examples
    --------
    >>> from equiscope.construction.training.architectures import describe_network
    >>> half = describe_network("half")
    >>> narrow = resized(half, lambda _name, n_channels: n_channels // 2, "narrow")
    >>> [str(description.stem.fields) for description in (half, narrow)]
    ['48 channels (2 fields of C16, 16 invariant)', '24 channels (1 fields of C16, 8 invariant)']
    """
    layers: list[Layer] = []
    for layer in description.layers:
        if isinstance(layer, Convolution):
            (fields,) = divide(
                [widths(layer.name, layer.fields.n_channels)], *shares_of([layer.fields]), layer.fields.group
            )
            layers.append(replace(layer, fields=fields))
        elif isinstance(layer, Inception):
            parts = dict(zip(branch_names(layer), layer.outputs, strict=True))
            wanted = [widths(f"{layer.name}.{part}", fields.n_channels) for part, fields in parts.items()]
            group = layer.fields.group
            direct, *outs, pooled = divide(wanted, *shares_of(layer.outputs), group)
            reduced = []
            for (bottleneck, _, side), out in zip(layer.reduced, outs, strict=True):
                width = widths(f"{layer.name}.{side}x{side}_bottleneck", bottleneck.n_channels)
                narrow = divide_bottleneck(width, *shares_of([bottleneck]), group, out)
                reduced.append((narrow, out, side))
            layers.append(Inception(layer.name, direct, tuple(reduced), pooled))
        else:
            layers.append(layer)
    return replace(description, name=name, layers=tuple(layers))


def shares_of(parts: Sequence[Fields]) -> tuple[float, float]:
    """Shares of the channels of several spaces that are equivariant, and invariant.

    Examples
    --------
    >>> shares_of([Fields("C8", equivariant=2, plain=16), Fields("C8", invariant=32)])
    (0.25, 0.5)
    """
    n = sum(part.n_channels for part in parts)
    return sum(part.n_field_channels for part in parts) / n, sum(part.invariant for part in parts) / n


def divide(widths: Sequence[int], equivariant: float, invariant: float, group: str) -> list[Fields]:
    """Divide the branches of a layer into fields, invariant and plain units by shares of the whole layer.

    Parameters
    ----------
    widths
        Channels of each branch.
    equivariant, invariant
        Shares of all channels; the rest is plain.
    group
        Of the fields.

    Returns
    -------
    list
        One space a branch. Branches too narrow for a field have none, and others more (largest remainders).

    Examples
    --------
    >>> [str(fields) for fields in divide([64], equivariant=0.5, invariant=0.25, group="C8")]
    ['64 channels (4 fields of C8, 16 invariant, 16 plain)']
    """
    order = Fields(group, 1).order
    widths = [max(1, width) for width in widths]
    rest = 1 - equivariant
    if rest < 1e-9:
        return [Fields(group, max(1, round(width / order))) for width in widths]
    quotas = [width * equivariant / order for width in widths]
    n_fields = [
        min(math.floor(quota + 1e-9), width // order) for quota, width in zip(quotas, widths, strict=True)
    ]
    wanted = math.floor(sum(quotas) + 0.5)
    while sum(n_fields) < wanted:
        free = [i for i, width in enumerate(widths) if (n_fields[i] + 1) * order <= width]
        if not free:
            break
        chosen = min(free, key=lambda i: (n_fields[i] - quotas[i], i))
        n_fields[chosen] += 1
    spaces, due = [], 0.0
    for width, n in zip(widths, n_fields, strict=True):
        left = width - n * order
        due += left * invariant / rest
        n_invariant = min(left, max(0, math.floor(due + 0.5)))
        due -= n_invariant
        spaces.append(Fields(group, n, n_invariant, left - n_invariant))
    return spaces


def divide_bottleneck(width: int, equivariant: float, invariant: float, group: str, out: Fields) -> Fields:
    """Divide a bottleneck by shares so that what it promises reaches the units behind it.

    Parameters
    ----------
    width
        Its channels.
    equivariant, invariant
        Shares of them. Without an equivariant share there is no field, because a kernel of 1 px might not make one.
    group
        Of the fields.
    out
        Units behind it. If they hold fields it gets one at least where it is wide enough, and if they are tied at all
        one invariant unit at least.

    Examples
    --------
    A tenth of 16 channels is no field of C8, but fields behind the bottleneck need one.

    >>> [str(divide_bottleneck(16, 0.1, 0.0, "C8", out)) for out in (Fields("C8", plain=8), Fields("C8", 4))]
    ['16 channels (16 plain)', '16 channels (1 fields of C8, 8 plain)']
    """
    (fields,) = divide([width], equivariant, invariant, group)
    least = fields.order / width
    if out.equivariant and equivariant > 0 and not fields.equivariant and least <= 1:
        (fields,) = divide([width], least, min(invariant, 1 - least), group)
    if out.n_tied_channels and not fields.n_tied_channels:
        fields = Fields(group, 0, 1, fields.n_channels - 1)
    return fields
