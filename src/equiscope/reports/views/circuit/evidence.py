"""What ``equiscope circuits`` recovered: circuits, and what they say about the families that they join."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from equiscope.evidence.circuits import Circuits, load_circuits
from equiscope.reports.document.schema import ConfirmationEntry, ReportDocument
from equiscope.reports.views.evidence import Evidence

__all__ = ["CIRCUITS"]


def _join(document: ReportDocument, circuits: Circuits) -> ReportDocument:
    """Give the document with what weights said about its families; what it said before is replaced."""
    of_family: dict[str, ConfirmationEntry] = {}
    for confirmation in circuits.confirmations:
        fields = asdict(confirmation)
        entry = {key: fields[key] for key in ConfirmationEntry.__annotations__}
        of_family[confirmation.family] = cast("ConfirmationEntry", entry)
    families = [family | {"confirmation": of_family.get(family["id"])} for family in document["families"]]
    return document | {"families": families, "has_circuits": True}


CIRCUITS = Evidence("circuits", "circuits.json", load_circuits, _join)
