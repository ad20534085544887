"""Documents of earlier versions: what this version shows beyond them, as far as the run's folder has it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from equiscope.families.family import Unit
from equiscope.reports.document.entries import unit_entry
from equiscope.reports.document.pictures.sheets import SheetWriter, read_strips
from equiscope.reports.document.schema import ReportDocument, UnitEntry
from equiscope.runs.store import load_units

__all__ = ["earlier_document"]


def earlier_document(folder: Path, document: ReportDocument) -> ReportDocument:
    """Give a document what this version shows and the run's folder has; one of this version stays as it is.

    Parameters
    ----------
    folder
        Of the run; pictures that the document carries are written onto sheets there.
    document
        As ``report.json`` holds it.
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
