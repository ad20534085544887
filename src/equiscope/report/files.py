"""The report's files in a run's folder: the document that everything shown was taken from, and the page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from equiscope.circuits import load_circuits
from equiscope.report.document import with_circuits, with_verification
from equiscope.report.page import render_page
from equiscope.report.schema import ReportDocument
from equiscope.store import SCHEMA_VERSION, read_json, write_atomically, write_json
from equiscope.verification import FamilyVerification

__all__ = ["load_document", "save_report", "show_circuits", "show_verification"]

_DOCUMENT, _PAGE = "report.json", "index.html"


def save_report(folder: Path, document: ReportDocument) -> None:
    """Write the document and its page into a run's folder."""
    write_json(folder / _DOCUMENT, {"schema_version": SCHEMA_VERSION, **document})
    page = render_page(document)
    write_atomically(folder / _PAGE, lambda stream: stream.write(page.encode()))


def load_document(folder: Path) -> ReportDocument | None:
    """Read the document back; None where the run was made before reports kept theirs."""
    if not (folder / _DOCUMENT).exists():
        return None
    document = read_json(folder / _DOCUMENT)
    del document["schema_version"]
    return cast("ReportDocument", document)


def show_verification(folder: Path, verifications: Iterable[FamilyVerification]) -> bool:
    """Draw a run's report again with what synthetic stimuli said about its families.

    Returns
    -------
    bool
        False where there is no document to draw it from, because the run was made by an earlier version.
    """
    document = load_document(folder)
    if document is None:
        return False
    save_report(folder, with_verification(document, verifications))
    return True


def show_circuits(folder: Path) -> bool:
    """Write the page of a run's circuits, and draw its report again with what they say about its families.

    A run of an earlier version, which kept no document, has its circuits' page without pictures, and its report stays
    as it is.

    Returns
    -------
    bool
        False where the run's circuits were not recovered, so that there is nothing to show.
    """
    # That module reads the document through this one.
    from equiscope.report.circuits_page import save_circuits_page

    circuits = load_circuits(folder)
    if circuits is None or save_circuits_page(folder) is None:
        return False
    document = load_document(folder)
    if document is not None:
        save_report(folder, with_circuits(document, circuits.confirmations))
    return True
