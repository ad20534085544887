"""Files of runs that earlier versions made, said as this version says them.

Schema version 3 holds as values what versions 1 and 2 held as prose: poses by the names of their axes, stabilisers as
elements, layers as lists. Nothing of what was found is lost or added; what an earlier version did not keep is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import nan
from typing import Any

from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations import Axis, Switch, Transformation, find
from equiscope.transformations.spaces import Circle, Cylinder, HandedCircle, Pair, Torus

__all__ = ["families_of_2", "family_of_2", "manifest_of_2", "result_of_2", "split_layers"]

# How coordinates of poses, and differences between them, were called where that was not the name of their axis.
_POSE_KEYS = {"angle_deg": "pose_deg"}
_DISTANCE_KEYS = {
    "angle_deg": "disagreement_deg",
    "hue_deg": "disagreement_hue_deg",
    "octaves": "disagreement_octaves",
}
_COMPARED = ("transformation", "score", "deficit", "deficit_low", "deficit_high")
_NUMBER = r"-?\d+(?:\.\d+)?"
_TORAL_ELEMENT = re.compile(rf"\(({_NUMBER})°, ({_NUMBER})°\)")
_TORAL_ELEMENTS = re.compile(rf"\{{{_TORAL_ELEMENT.pattern}(?:, {_TORAL_ELEMENT.pattern})*\}}")


def families_of_2(document: dict[str, Any]) -> dict[str, Any]:
    """Convert a ``families.json`` of schema version 1 or 2 to version 3.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    A pose was called ``pose_deg``, and is a coordinate along the axis ``angle_deg``.

    >>> members = [{"layer": "conv1", "channel": 3, "pose_deg": 45.0}]
    >>> family = {"transformation": "rotation", "members": members}
    >>> families_of_2({"families": [family]})["families"][0]["members"]
    [{'layer': 'conv1', 'channel': 3, 'pose': {'angle_deg': 45.0}}]
    """
    found = _entries(document, "families", "a list of families")
    families = [family_of_2(entry) | {"alternatives": _alternatives(entry)} for entry in found]
    return document | {"families": families}


def family_of_2(entry: dict[str, Any]) -> dict[str, Any]:
    """Say what a family of version 1 or 2 is by axes: poses, stabiliser, disagreement; the rest stays as it is.

    Raises
    ------
    ValueError
        If it is none.
    """
    transformation = _transformation(entry)
    axes = transformation.axes
    members = [
        {
            key: member[key]
            for key in ("layer", "channel", "score", "score_low", "score_high")
            if key in member
        }
        | {"pose": {axis.name: _coordinate(axis, member) for axis in axes}}
        for member in _entries(entry, "members", "a list of members")
    ]
    layers = list(dict.fromkeys(str(member["layer"]) for member in members if "layer" in member))
    moved = [axis for axis in axes if not isinstance(axis, Switch)]
    return entry | {
        "layers": layers or [_text(entry, "layer")],
        "members": members,
        "stabiliser": _stabiliser(transformation, entry),
        "disagreement": {axis.name: entry.get(_DISTANCE_KEYS.get(axis.name, "")) for axis in moved},
    }


def _coordinate(axis: Axis, member: dict[str, Any]) -> Any:
    missing = False if isinstance(axis, Switch) else None
    return member.get(_POSE_KEYS.get(axis.name, axis.name), missing)


def _alternatives(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Name what stood in rows without names: the transformations that were compared."""
    rows = entry.get("alternatives", [])
    if not isinstance(rows, list) or not all(
        isinstance(row, list) and len(row) == len(_COMPARED) for row in rows
    ):
        raise ValueError(f"alternatives is {str(rows)[:60]!r}, expected rows of {', '.join(_COMPARED)}")
    return [dict(zip(_COMPARED, row, strict=True)) for row in rows]


def _stabiliser(
    transformation: Transformation, entry: dict[str, Any]
) -> list[dict[str, float | bool | None]]:
    """Elements of a stabiliser, from the number of its turns and what was said of it in words."""
    said, order = str(entry.get("stabiliser", "")), entry.get("stabiliser_order", 1)
    if type(order) is not int:
        raise ValueError(f"stabiliser_order is {str(order)[:60]!r}, expected a number of turns")
    turns = [360 / order * k for k in range(order)] or [0.0]
    space = transformation.space
    match space:
        case Circle(axis):
            return [{axis.name: turn} for turn in turns]
        case Cylinder(axis, step):
            return [{axis.name: turn, step.name: 0.0} for turn in turns]
        case HandedCircle(axis, hand):
            plain: list[dict[str, Any]] = [{axis.name: turn, hand.name: False} for turn in turns]
            # At which angle the mirror stands was not kept.
            return plain + ([{axis.name: None, hand.name: True} for _ in turns] if "mirror" in said else [])
        case Torus(axis, other):
            # The first version did not write it down.
            if said and _TORAL_ELEMENTS.fullmatch(said) is None:
                raise ValueError(
                    f"stabiliser is {said[:60]!r}, expected elements (hue, angle) such as "
                    "'{(0°, 0°), (180°, 180°)}'"
                )
            found = _TORAL_ELEMENT.findall(said) or [(0.0, 0.0)]
            return [{axis.name: float(turn), other.name: float(hue)} for hue, turn in found]
        case Pair(axis):
            return [{axis.name: False}]
        case _:
            return [{space.axes[0].name: 0.0}]


def result_of_2(document: dict[str, Any]) -> dict[str, Any]:
    """Convert a file of ``results/`` of schema version 2 to version 3.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> result = result_of_2({"transformation": "rotation", "layer": "conv1"})
    >>> result["layers"], result["pairs"]
    (['conv1'], [])
    """
    joint = document.get("scale_layers", [])
    # Stages over several layers name all of them in one text, which only the manifest can take apart.
    layers = [_text(document, "layer")]
    (axis, *_) = _transformation(document).axes
    tuning = {
        key: own | {"axes": {axis.name if part == "element" else part: v for part, v in own["axes"].items()}}
        for key, own in document.get("tuning", {}).items()
    }
    pairs = [
        {
            "u": edge["u"],
            "v": edge["v"],
            "away": edge["octaves"],
            "score": edge["score"],
            "margin": edge["margin"],
            "q_value": edge.get("q_value", nan),
            "held_out_away": edge.get("held_out_octaves"),
        }
        for edge in document.get("edges", [])
    ]
    return families_of_2(document) | {
        "layers": layers,
        "tuning": tuning,
        "pairs": pairs,
        "joint_layers": joint,
    }


def manifest_of_2(manifest: dict[str, Any]) -> dict[str, Any]:
    """Convert a ``run.json`` of schema version 1 or 2 to version 3.

    Raises
    ------
    ValueError
        If its results are none.

    Examples
    --------
    >>> geometry = [{"layer": "conv1"}, {"layer": "conv2"}]
    >>> manifest_of_2({"geometry": geometry, "results": [{"layer": "conv1+conv2"}]})["results"][0]["layers"]
    ['conv1', 'conv2']
    """
    known = [
        entry["layer"] for entry in _entries(manifest, "geometry", "a list of layers") if "layer" in entry
    ]
    results = [
        entry | {"layers": split_layers(_text(entry, "layer"), known)}
        for entry in _entries(manifest, "results", "a list of results")
    ]
    return manifest | {"results": results} if "results" in manifest else manifest


def split_layers(said: str, known: Sequence[str]) -> list[str]:
    """Take apart names that were joined by ``+``, some of which may hold one: the layers that they are of, in order."""
    if said in known or "+" not in said:
        return [said]
    if said == "+".join(known):
        return list(known)
    for name in known:
        if said.startswith(f"{name}+"):
            rest = split_layers(said.removeprefix(f"{name}+"), known)
            if all(part in known for part in rest):
                return [name, *rest]
    return [said]


def _entries(document: dict[str, Any], key: str, expected: str) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ValueError(f"{key} is {type(found).__name__}, expected {expected}")
    return found


def _text(document: dict[str, Any], key: str) -> str:
    found = document.get(key)
    if not isinstance(found, str):
        raise ValueError(f"{key} is {found!r}, expected text")
    return found


def _transformation(document: dict[str, Any]) -> Transformation:
    """Give the transformation that a document names."""
    try:
        return find(_text(document, "transformation"))
    except EquiscopeError as error:
        raise ValueError(str(error)) from error
