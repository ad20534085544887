"""Descriptions of networks from files: what is in a table of JSON or TOML, checked key by key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equiscope.construction.equivariant import Fields
from equiscope.construction.training.descriptions import (
    KINDS,
    Convolution,
    Description,
    Inception,
    Layer,
    Pool,
    fields_of,
)
from equiscope.foundations.errors import EquiscopeError, unknown_name

__all__ = ["load_description", "parse_description"]


def load_description(path: Path) -> Description:
    """Read a network's description from a ``.json`` or ``.toml`` file.

    Raises
    ------
    EquiscopeError
        If there is no such file, it cannot be parsed, or describes no network.

    Examples
    --------
    >>> layer = {"name": "conv1", "kernel_px": 5, "equivariant": 2, "plain": 8}
    >>> _ = Path("small.json").write_text(json.dumps({"layers": [layer]}), encoding="utf-8")
    >>> description = load_description(Path("small.json"))
    >>> description.name, str(description.stem.fields)
    ('small', '24 channels (2 fields of C8, 8 plain)')
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
        table.check(("name", "group", "kernel_px", "stride", *KINDS))
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
    return Fields(group, *(table.take(kind, int, 0) for kind in KINDS))


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
