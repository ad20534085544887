"""What a network is made of, layer by layer: how many units are equivariant to which group, invariant and plain.

A description is data: it is written and read as JSON, compared, resized to another width, and built by
`equiscope.construction.training.network`. A convolution to four fields of C8, 16 invariant and 16 plain units,
which have 64 channels, is
``{"name": "conv1", "group": "C8", "kernel_px": 5, "stride": 1, "equivariant": 4, "invariant": 16, "plain": 16}``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from equiscope.construction.equivariant import Fields
from equiscope.foundations.errors import EquiscopeError

__all__ = [
    "KINDS",
    "Convolution",
    "Description",
    "Inception",
    "Layer",
    "Pool",
    "branch_names",
    "fields_of",
]

# Of units, as `Fields` names them.
KINDS = ("equivariant", "invariant", "plain")
# What layers would be confused with where the network is built, or written out as a plain one.
_TAKEN = frozenset((*dir(nn.ModuleDict()), "steps", "rectifiers"))
_NUMBERED = re.compile(r"(pool|blur)\d+")


@dataclass(frozen=True)
class Convolution:
    """A convolution, its batch normalisation and its ReLU.

    Parameters
    ----------
    name
        Name of the layer, as surveys will know it.
    fields
        Its units.
    kernel_px
        Side of the kernel, px, odd.
    stride
        Distance of neighbouring outputs, px.
    """

    name: str
    fields: Fields
    kernel_px: int
    stride: int = 1


@dataclass(frozen=True)
class Pool:
    """The largest of 3 x 3 values, at every second pixel."""

    name: str = ""


@dataclass(frozen=True)
class Inception:
    """Convolutions of several sizes side by side, as in GoogLeNet.

    Parameters
    ----------
    name
        Name of the layer.
    direct
        Units of the 1 x 1 convolution of the input.
    reduced
        Of each branch the units of its 1 x 1 bottleneck, those of the larger convolution after it, and the side of
        that one's kernel, px. Sides differ.
    pooled
        Units of the 1 x 1 convolution of the pooled input.
    """

    name: str
    direct: Fields
    reduced: tuple[tuple[Fields, Fields, int], ...]
    pooled: Fields

    @property
    def outputs(self) -> tuple[Fields, ...]:
        """Units of every branch, in the order of the channels of a plain network."""
        return (self.direct, *(out for _, out, _ in self.reduced), self.pooled)

    @property
    def fields(self) -> Fields:
        """Units of the whole block."""
        return sum(self.outputs[1:], self.outputs[0])


Layer = Convolution | Pool | Inception


@dataclass(frozen=True)
class Description:
    """A network to train, from images to the last layer before the classifier.

    Parameters
    ----------
    name
        Short name for files and reports.
    layers
        From the first, a convolution, to the last.
    is_antialiased
        Pooling blurs before it leaves pixels out, and crops have sides on which strided layers lie symmetrically, so
        that a quarter turn of the image reads the same pixels. Needed by equivariant and invariant units.
    plain_to
        What plain units may feed: ``"plain"`` units only, or ``"all"`` (`equiscope.construction.equivariant.Conv2d`).
    is_blurred
        Strided convolutions read blurred features and a blur follows every ReLU, so that rotations finer than quarter
        turns survive several layers (`equiscope.construction.equivariant.BlurredReLU`).

    Raises
    ------
    EquiscopeError
        If there is no first convolution, names repeat or are taken, a stride is below 1, or units need an antialiased
        network that is none.
    """

    name: str
    layers: tuple[Layer, ...]
    is_antialiased: bool = False
    plain_to: str = "plain"
    is_blurred: bool = False

    def __post_init__(self) -> None:
        if not self.layers or not isinstance(self.layers[0], Convolution):
            raise EquiscopeError(
                f"the network {self.name!r} does not begin with a convolution: give one with kernel_px as first layer"
            )
        names = [layer.name for layer in self.units]
        if len({*names, "classifier"}) <= len(names) or not all(name.isidentifier() for name in names):
            raise EquiscopeError(
                f"the layers of {self.name!r} are called {', '.join(map(repr, names))}: expected different names of "
                "letters, digits and _, and none of them classifier"
            )
        for name in names:
            if name in _TAKEN or _NUMBERED.fullmatch(name):
                raise EquiscopeError(
                    f"a layer of {self.name!r} is called {name!r}, which is the name of another part of the network: "
                    "call it something else"
                )
        for layer in self.units:
            if isinstance(layer, Convolution) and layer.stride < 1:
                raise EquiscopeError(f"the stride of {layer.name} is {layer.stride}, expected 1 or more")
            if isinstance(layer, Inception):
                sides = [side for _, _, side in layer.reduced]
                if len({*sides, 1}) <= len(sides):
                    raise EquiscopeError(
                        f"the branches of {layer.name} have kernels of {sides} px: expected a different side above 1 "
                        "for each"
                    )
        if not self.is_antialiased and any(layer.fields.n_tied_channels for layer in self.units):
            raise EquiscopeError(
                f"the network {self.name!r} has equivariant or invariant units and is not antialiased, so its grids "
                "would break the symmetry: set antialiased"
            )

    @property
    def units(self) -> tuple[Convolution | Inception, ...]:
        """The layers that have units."""
        return tuple(layer for layer in self.layers if not isinstance(layer, Pool))

    @property
    def stem(self) -> Convolution:
        """The first layer."""
        stem = self.layers[0]
        if not isinstance(stem, Convolution):  # refused above
            raise TypeError(f"the stem is a {type(stem).__name__}")
        return stem

    def fit_side(self, side_px: int) -> int:
        """Give the smallest side of at least ``side_px`` on which every strided convolution lies symmetrically, px."""
        if not self.is_antialiased:
            return side_px
        return next(side for side in range(side_px, side_px + 4096) if self._lies_symmetrically(side))

    def _lies_symmetrically(self, side_px: int) -> bool:
        for layer in self.layers:
            if isinstance(layer, Pool):
                side_px = math.ceil(side_px / 2)
            elif isinstance(layer, Convolution):
                left_over = (side_px + 2 * (layer.kernel_px // 2) - layer.kernel_px) % layer.stride
                if left_over:
                    return False
                side_px = math.ceil(side_px / layer.stride)
        return True

    def document(self) -> dict[str, Any]:
        """Word it as the JSON that `parse_description` reads."""
        blurred = {"blurred": True} if self.is_blurred else {}
        return {
            "name": self.name,
            "antialiased": self.is_antialiased,
            **blurred,
            "plain_to": self.plain_to,
            "layers": [_layer_document(layer) for layer in self.layers],
        }


def fields_of(layer: Layer) -> tuple[Fields, ...]:
    """All units of a layer, bottlenecks too.

    Examples
    --------
    >>> direct, narrow, out, pooled = (Fields("C8", plain=n) for n in (16, 24, 56, 8))
    >>> block = Inception("mixed3a", direct, ((narrow, out, 3),), pooled)
    >>> [fields.n_channels for fields in fields_of(block)]
    [16, 56, 8, 24]
    """
    if isinstance(layer, Pool):
        return ()
    if isinstance(layer, Convolution):
        return (layer.fields,)
    return (*layer.outputs, *(bottleneck for bottleneck, _, _ in layer.reduced))


def branch_names(layer: Inception) -> list[str]:
    """Names of a block's outputs, those of GoogLeNet.

    Examples
    --------
    >>> own = Fields("C8", plain=8)
    >>> branch_names(Inception("mixed3a", own, ((own, own, 3), (own, own, 5)), own))
    ['1x1', '3x3', '5x5', 'pool_reduce']
    """
    return ["1x1", *(f"{side}x{side}" for _, _, side in layer.reduced), "pool_reduce"]


def _units_document(fields: Fields) -> dict[str, Any]:
    return {kind: getattr(fields, kind) for kind in KINDS if getattr(fields, kind)}


def _layer_document(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Pool):
        return {"pool": "max"}
    head = {"name": layer.name, "group": layer.fields.group}
    if isinstance(layer, Convolution):
        return head | {"kernel_px": layer.kernel_px, "stride": layer.stride} | _units_document(layer.fields)
    return head | {
        "direct": _units_document(layer.direct),
        "reduced": [
            {"kernel_px": side, "bottleneck": _units_document(a), "units": _units_document(b)}
            for a, b, side in layer.reduced
        ],
        "pooled": _units_document(layer.pooled),
    }
