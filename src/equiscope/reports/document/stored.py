"""The document in a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from equiscope.foundations.records import read_record, reading
from equiscope.reports.document.earlier import earlier_document
from equiscope.reports.document.schema import ReportDocument
from equiscope.runs.store import SCHEMA_VERSION, read_json, write_json

__all__ = ["DOCUMENT", "read_document", "write_document"]

DOCUMENT = "report.json"


def write_document(folder: Path, document: ReportDocument) -> None:
    """Write the document into a run's folder."""
    write_json(folder / DOCUMENT, {"schema_version": SCHEMA_VERSION, **document}, is_compact=True)


def read_document(folder: Path) -> ReportDocument | None:
    """Read the document back; None where the run was made before reports kept theirs, or is not finished.

    A document of an earlier version gets what this one shows and the run's folder has; its pictures are put onto
    sheets.
    """
    if not (folder / DOCUMENT).exists():
        return None
    stored = read_json(folder / DOCUMENT)
    with reading(folder / DOCUMENT):
        read_record(ReportDocument, stored)
    del stored["schema_version"]
    return earlier_document(folder, cast("ReportDocument", stored))
