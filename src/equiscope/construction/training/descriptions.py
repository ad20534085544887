"""What a network is made of, layer by layer: how many units are equivariant to which group, invariant and plain.

A description is data: it is written and read as JSON, compared, resized to another width, and built by
`equiscope.construction.training.network`. A convolution to four fields of C8, 16 invariant and 16 plain units,
which have 64 channels, is
``{"name": "conv1", "group": "C8", "kernel_px": 5, "stride": 1, "equivariant": 4, "invariant": 16, "plain": 16}``.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from equiscope.construction.equivariant import Fields
from equiscope.foundations.errors import EquiscopeError, unknown_name

__all__ = [
    "Convolution",
    "Description",
    "Inception",
    "Layer",
    "Pool",
    "branch_names",
    "divide",
    "divide_bottleneck",
    "fields_of",
    "load_description",
    "parse_description",
    "resized",
]

_KINDS = ("equivariant", "invariant", "plain")
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
    """All units of a layer, bottlenecks too."""
    if isinstance(layer, Pool):
        return ()
    if isinstance(layer, Convolution):
        return (layer.fields,)
    return (*layer.outputs, *(bottleneck for bottleneck, _, _ in layer.reduced))


def _units_document(fields: Fields) -> dict[str, Any]:
    return {kind: getattr(fields, kind) for kind in _KINDS if getattr(fields, kind)}


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


def load_description(path: Path) -> Description:
    """Read a network's description from a ``.json`` or ``.toml`` file.

    Raises
    ------
    EquiscopeError
        If there is no such file, it cannot be parsed, or describes no network.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise EquiscopeError(
            f"cannot read the network's description {str(path)!r} ({error}): expected a JSON or TOML file"
        ) from error
    # What `equiscope design` writes holds a description beside what it was made from.
    if isinstance(document, dict):
        document = document.get("description", document)
    if not isinstance(document, dict):
        raise EquiscopeError(f"{str(path)!r} holds a {type(document).__name__}, expected a table with layers")
    return parse_description({"name": path.stem} | document)


def parse_description(document: Mapping[str, Any]) -> Description:
    """Turn a document into a description.

    Parameters
    ----------
    document
        ``name``, ``group`` (that of layers which name none), ``antialiased``, ``blurred``, ``plain_to`` and
        ``layers``; see docs/training.md.

    Raises
    ------
    EquiscopeError
        If a key is missing, unknown or of the wrong kind, or the network could not be built.

    Examples
    --------
    >>> layer = {"name": "conv1", "kernel_px": 5, "equivariant": 2, "plain": 8}
    >>> str(parse_description({"name": "small", "layers": [layer]}).stem.fields)
    '24 channels (2 fields of C8, 8 plain)'
    """
    table = _Table(document, "the network")
    table.check(("name", "group", "antialiased", "blurred", "plain_to", "layers"))
    group = table.take("group", str, "C8")
    layers = [
        _parse_layer(_Table(entry, f"layer {index}"), group)
        for index, entry in enumerate(table.take("layers", list))
    ]
    plain_to = table.take("plain_to", str, "plain")
    if plain_to not in ("plain", "all"):
        raise unknown_name("value of plain_to", plain_to, ("plain", "all"))
    has_tied = any(fields.n_tied_channels for layer in layers for fields in fields_of(layer))
    is_antialiased = table.take("antialiased", bool, has_tied)
    is_blurred = table.take("blurred", bool, False)
    return Description(table.take("name", str), tuple(layers), is_antialiased, plain_to, is_blurred)


def _parse_layer(table: _Table, group: str) -> Layer:
    if "pool" in table.entries:
        table.check(("pool",))
        if table.take("pool", str) != "max":
            raise unknown_name("pool", table.take("pool", str), ("max",))
        return Pool()
    group = table.take("group", str, group)
    name = table.take("name", str)
    if "kernel_px" in table.entries:
        table.check(("name", "group", "kernel_px", "stride", *_KINDS))
        return Convolution(
            name, _parse_units(table, group), table.take("kernel_px", int), table.take("stride", int, 1)
        )
    table.check(("name", "group", "direct", "reduced", "pooled"))
    branches = [_Table(entry, f"a branch of {name}") for entry in table.take("reduced", list)]
    for branch in branches:
        branch.check(("kernel_px", "bottleneck", "units"))
    return Inception(
        name,
        _parse_units(table.inner("direct"), group),
        tuple(
            (
                _parse_units(branch.inner("bottleneck"), group),
                _parse_units(branch.inner("units"), group),
                branch.take("kernel_px", int),
            )
            for branch in branches
        ),
        _parse_units(table.inner("pooled"), group),
    )


def _parse_units(table: _Table, group: str) -> Fields:
    return Fields(group, *(table.take(kind, int, 0) for kind in _KINDS))


_REQUIRED: Any = object()


class _Table:
    """A table of a description and what it is called in messages."""

    def __init__(self, entries: Any, place: str) -> None:
        if not isinstance(entries, Mapping):
            raise EquiscopeError(f"{place} is {entries!r}, expected a table of keys and values")
        self.entries, self.place = entries, place

    def check(self, known: Sequence[str]) -> None:
        """Refuse keys that mean nothing, before they are silently left out."""
        for key in self.entries:
            if key not in known:
                raise unknown_name(f"key of {self.place}", str(key), known)

    def take(self, key: str, kind: type, default: Any = _REQUIRED) -> Any:
        """Give a value of the right type."""
        value = self.entries.get(key, default)
        if value is _REQUIRED:
            raise EquiscopeError(
                f"{self.place} has no {key}: add it (docs/training.md shows a whole description)"
            )
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise EquiscopeError(
                f"{key} of {self.place} is {value!r}, expected a value of type {kind.__name__}"
            )
        return value

    def inner(self, key: str) -> _Table:
        """Give a table in this one."""
        return _Table(self.take(key, dict), f"{key} of {self.place}")


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


def branch_names(layer: Inception) -> list[str]:
    """Names of a block's outputs, those of GoogLeNet."""
    return ["1x1", *(f"{side}x{side}" for _, _, side in layer.reduced), "pool_reduce"]


def shares_of(parts: Sequence[Fields]) -> tuple[float, float]:
    """Shares of the channels of several spaces that are equivariant, and invariant."""
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
    """
    (fields,) = divide([width], equivariant, invariant, group)
    least = fields.order / width
    if out.equivariant and equivariant > 0 and not fields.equivariant and least <= 1:
        (fields,) = divide([width], least, min(invariant, 1 - least), group)
    if out.n_tied_channels and not fields.n_tied_channels:
        fields = Fields(group, 0, 1, fields.n_channels - 1)
    return fields
