"""The document in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from equiscope.families.verdict import check_verdict
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.records import read_record, reading
from equiscope.reports.document.earlier import earlier_document, typed_document
from equiscope.reports.document.schema import FamilyEntry, ReportDocument
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json
from equiscope.runs.writing import write_json
from equiscope.transformations import Axis, Step, find
from equiscope.transformations.spaces import Torus

__all__ = ["DOCUMENT", "read_document", "write_document"]

DOCUMENT = "report.json"
# Axes of charts have a mark at each whole step, and one at each turn of a stabiliser: more would never be drawn.
_MOST_STEPS, _LEAST_TURN_DEG = 100, 0.1


def write_document(folder: Path, document: ReportDocument) -> None:
    """Write the document into a run's folder.

    Examples
    --------
    >>> write_document(Path("."), {"title": "Families of mini"})
    >>> read_json(Path("report.json"))["title"]
    'Families of mini'
    """
    write_json(folder / DOCUMENT, {"schema_version": SCHEMA_VERSION, **document}, is_compact=True)


def read_document(folder: Path) -> ReportDocument | None:
    """Read the document back; None where the run was made before reports kept theirs, or is not finished.

    A document of an earlier version gets what this one shows and the run's folder has; its pictures are put onto
    sheets.

    Examples
    --------
    >>> document = read_document(Path("equiscope-runs/mini"))
    >>> [(layer["name"], layer["n_units"]) for layer in document["layers"]]
    [('conv2d0', 48), ('conv2d1', 96)]
    """
    if not (folder / DOCUMENT).exists():
        return None
    stored = read_json(folder / DOCUMENT)
    with reading(folder / DOCUMENT):
        stored = typed_document(stored)
        read_record(ReportDocument, stored)
        _check_families(cast("ReportDocument", stored))
    del stored["schema_version"]
    return earlier_document(folder, cast("ReportDocument", stored))


def _check_families(document: ReportDocument) -> None:
    """Check that transformations and their axes are known, without which nothing can be shown, and verdicts."""
    try:
        for layer in document["layers"]:
            for kinds in layer["kinds"]:
                find(kinds["transformation"])
            for name, axes in layer.get("unit_axes", {}).items():
                _check_tuned(axes, find(name).axes, f"unit_axes of layer {layer['name']}")
        for result in document["results"]:
            find(result["transformation"])
        for family in document["families"]:
            _check_family(family)
    except EquiscopeError as error:
        raise ValueError(str(error)) from None


def _check_family(family: FamilyEntry) -> None:
    space = find(family["transformation"]).space
    if (verdict := family.get("verdict")) is not None:
        check_verdict(verdict["word"], (core["members"] for core in verdict["cores"]), len(family["members"]))
    axes, stabiliser = space.axes, family["stabiliser"]
    for shown in (family["tuning"], family.get("turned")):
        if shown is not None:
            _check_tuned(shown["axes"], axes, f"axes of family {family['id']}")
    for axis in axes:
        if isinstance(axis, Step):
            _check_steps(axis, [member["pose"].get(axis.name) for member in family["members"]])
    least = 360.0 / max(1, len(stabiliser))
    if isinstance(space, Torus):
        turns = [(element.get(axis.name) or 0.0) % 360 for element in stabiliser for axis in axes]
        least = min([least, *(turn for turn in turns if turn)])
    if least < _LEAST_TURN_DEG:
        raise ValueError(
            f"stabiliser of family {family['id'][:60]} turns by {least:g}°, expected {_LEAST_TURN_DEG:g}° or more"
        )


def _check_tuned(tuned: Mapping[str, Sequence[float]], axes: Sequence[Axis], what: str) -> None:
    expected = [axis.name for axis in axes]
    if sorted(tuned) != sorted(expected):
        raise ValueError(
            f"{what[:80]} are {', '.join(tuned)[:60] or 'none'}, expected {' and '.join(expected)}"
        )
    for axis in axes:
        if isinstance(axis, Step):
            _check_steps(axis, tuned[axis.name])


def _check_steps(axis: Step, values: Sequence[float | None]) -> None:
    for value in values:
        if value is not None and abs(value) > _MOST_STEPS:
            raise ValueError(f"{axis.name} is {value:g}, expected {-_MOST_STEPS} to {_MOST_STEPS}")
