"""Documents of earlier versions, said as this version says them, with what it shows beyond them.

Schema version 3 holds by the names of axes what versions 1 and 2 held in a field a transformation, or in words: poses,
disagreements, stabilisers; layers are lists. `typed_document` says the one as the other, `earlier_document` adds what
the run's folder has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from equiscope.families.family import Unit
from equiscope.reports.document.entries import unit_entry
from equiscope.reports.document.pictures.sheets import SheetWriter, read_strips
from equiscope.reports.document.schema import (
    FamilyEntry,
    MemberEntry,
    ReportDocument,
    ResultEntry,
    UnitEntry,
)
from equiscope.runs.earlier import family_of_2, split_layers
from equiscope.runs.findings import load_units
from equiscope.transformations import find
from equiscope.transformations.spaces import Pair

__all__ = ["earlier_document", "typed_document"]

# How the axis of a pair was called, whatever is switched.
_ELEMENT = "element"


def typed_document(document: dict[str, Any]) -> dict[str, Any]:
    """Say a document of version 1 or 2 as one of version 3; what is said so already stays as it is.

    Parameters
    ----------
    document
        As ``report.json`` holds it.

    Raises
    ------
    ValueError
        If what must be said anew is not what these versions wrote.
    EquiscopeError
        If a family is of a transformation that this version does not know.

    Examples
    --------
    >>> member = {"layer": "conv1", "channel": 4, "pose_deg": 90.0}
    >>> family = {"transformation": "rotation", "layer": "conv1", "stabiliser_order": 1, "members": [member]}
    >>> said = typed_document({"schema_version": 2, "layers": [{"name": "conv1"}], "families": [family]})
    >>> said["families"][0]["members"]
    [{'layer': 'conv1', 'channel': 4, 'pose': {'angle_deg': 90.0}}]
    """
    layers = _entries(document, "layers")
    known = [str(layer.get("name")) for layer in layers]
    said = {
        "layers": [_layer(entry) for entry in layers],
        "results": [_result(entry, known) for entry in _entries(document, "results")],
        "families": [_family(entry) for entry in _entries(document, "families")],
    }
    return document | {key: entries for key, entries in said.items() if entries}


def _entries(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Give the entries of a list; none where it is no such list, which whoever checks the document says."""
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        return []
    return found


def _layer(entry: dict[str, Any]) -> dict[str, Any]:
    axes = entry.get("unit_axes")
    if not isinstance(axes, dict):
        return entry
    return entry | {"unit_axes": {name: _axes(own, name) for name, own in axes.items()}}


def _is_earlier(entry: Mapping[str, Any]) -> bool:
    return "layers" not in entry and isinstance(entry.get("layer"), str)


def _result(entry: dict[str, Any], known: list[str]) -> dict[str, Any]:
    if not _is_earlier(entry):
        return entry
    return _picked(ResultEntry, entry | {"layers": split_layers(entry["layer"], known)})


def _family(entry: dict[str, Any]) -> dict[str, Any]:
    if not _is_earlier(entry):
        return entry
    typed = family_of_2(entry)
    typed["members"] = [_picked(MemberEntry, member) for member in typed["members"]]
    for part in ("tuning", "turned"):
        if isinstance(own := typed.get(part), dict):
            typed[part] = own | {"axes": _axes(own.get("axes"), entry["transformation"])}
    return _picked(FamilyEntry, typed)


def _axes(axes: Any, transformation: str) -> Any:
    if not isinstance(axes, dict) or _ELEMENT not in axes:
        return axes
    space = find(transformation).space
    if not isinstance(space, Pair):
        return axes
    return {space.axis.name if name == _ELEMENT else name: values for name, values in axes.items()}


def _picked(kind: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parts that this version has."""
    return {key: entry[key] for key in kind.__annotations__ if key in entry}


def earlier_document(folder: Path, document: ReportDocument) -> ReportDocument:
    """Give a document what this version shows and the run's folder has; one of this version stays as it is.

    Parameters
    ----------
    folder
        Of the run; pictures that the document carries are written onto sheets there.
    document
        As ``report.json`` holds it.

    Examples
    --------
    >>> document = earlier_document(Path("run"), {"layers": [{"name": "conv1", "n_units": 2}]})
    >>> [(unit["layer"], unit["channel"]) for unit in document["units"]]
    [('conv1', 0), ('conv1', 1)]
    >>> document["missing"][0][:49]
    'An earlier version of equiscope made this run: it'
    """
    if "units" in document and "sheets" in document:
        return document
    units = _stored_units(folder, document)
    writer = SheetWriter(folder)
    for picture, place in read_strips(document.get("pictures", []), writer):
        unit = units.get((picture["layer"], picture["channel"]))
        if unit is not None:
            unit["pictures"] = place
    writer.remove_others()
    missing = [
        *document.get("missing", []),
        "An earlier version of equiscope made this run: it has pictures of members of families only, the halves of the "
        "images are not told apart in them, and units have no tuning of their own. A new survey has all of it.",
    ]
    rest = {key: value for key, value in document.items() if key != "pictures"}
    return cast(
        "ReportDocument", rest | {"units": list(units.values()), "sheets": writer.sheets, "missing": missing}
    )


def _stored_units(folder: Path, document: ReportDocument) -> dict[tuple[str, int], UnitEntry]:
    """Units by ``units.json``; where that is not there, what the families and the layers' sizes say."""
    if (folder / "units.json").exists():
        units = load_units(folder)
    else:
        nan = float("nan")
        units = tuple(
            Unit(layer["name"], channel, nan, nan)
            for layer in document["layers"]
            for channel in range(layer["n_units"])
        )
    return {(unit.layer, unit.channel): unit_entry(unit) for unit in units}
