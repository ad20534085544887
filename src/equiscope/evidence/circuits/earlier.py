"""Circuits as versions 1 and 2 of a run's schema wrote them: ends and classes as text."""

from __future__ import annotations

from typing import Any

from equiscope.evidence.circuits.circuit import NOT_SYMMETRIC
from equiscope.evidence.circuits.tying_axes import COLOURING, GROWING, TURNING, stretches

__all__ = ["current_circuit"]


def current_circuit(entry: Any, index: int) -> Any:
    """Turn one entry of ``circuits.json`` into what is written today; give back what is that already, or nonsense.

    Earlier versions wrote an end as its name (``source``) and its layers joined by ``+`` (``source_layer``), a unit
    being called ``LAYER:CHANNEL``; a class under each transformation as text (``rotation_class``), empty where the
    transformation does not apply; and names of classes in ``alternatives``.

    Raises
    ------
    ValueError
        If a field of such an entry is missing or no text, or a class is not understood.

    Examples
    --------
    >>> old = {"source": "early:3", "source_layer": "early", "target": "late-hue-1", "target_layer": "late"}
    >>> old |= {"transformation": "hue", "hue_class": "invariant→equivariant", "rotation_class": "", "pair_class": ""}
    >>> new = current_circuit(old, 0)
    >>> new["ends"][0], new["kinds"]
    ({'layers': ['early'], 'family': None, 'channel': 3}, {'hue': ['invariant', 'equivariant']})
    """
    if not isinstance(entry, dict) or "ends" in entry or "source" not in entry:
        return entry
    where = f"circuits[{index}]"
    transformation = _text(entry, "transformation", where)
    kinds: dict[str, Any] = {}
    for name in (TURNING, COLOURING, GROWING):
        # Classes of scale are newer than the others.
        if text := _text(entry, f"{name}_class", where, default="" if name == GROWING else None):
            kinds[name] = _kinds(text, where)
    if text := _text(entry, "pair_class", where):
        kinds[transformation] = _kinds(text, where)
    alternatives = entry.get("alternatives", [])
    if isinstance(alternatives, list):
        alternatives = [
            [_kinds(own[0], where), *own[1:]] if isinstance(own, list) and own else own
            for own in alternatives
        ]
    ends = [_end(entry, side, transformation, where) for side in ("source", "target")]
    return entry | {"ends": ends, "kinds": kinds, "alternatives": alternatives}


def _text(entry: dict[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = entry.get(name, default)
    if not isinstance(value, str):
        said = f"is {str(value)[:60]!r}, expected text" if name in entry else "is missing"
        raise ValueError(f"{where}.{name} {said}")
    return value


def _kinds(text: Any, where: str) -> list[str] | None:
    if text == NOT_SYMMETRIC:
        return None
    kinds = text.split("→") if isinstance(text, str) else []
    if len(kinds) != 2:
        raise ValueError(
            f"{where} has the class {str(text)[:60]!r}, expected such as 'invariant→equivariant'"
        )
    return list(kinds)


def _end(entry: dict[str, Any], side: str, transformation: str, where: str) -> dict[str, Any]:
    name, layer = (_text(entry, part, where) for part in (side, f"{side}_layer"))
    channel = name.removeprefix(f"{layer}:")
    if channel != name and channel.isdecimal():
        return {"layers": [layer], "family": None, "channel": int(channel)}
    # Of families that scale, and of no others, members stand in several layers.
    layers = layer.split("+") if stretches(transformation) else [layer]
    return {"layers": layers, "family": name, "channel": None}
