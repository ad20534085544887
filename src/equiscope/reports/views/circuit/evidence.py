"""What ``equiscope circuits`` recovered: circuits, and what they say about the families that they join."""

from __future__ import annotations

from dataclasses import asdict
from math import inf
from typing import cast

from equiscope.evidence.circuits import Circuits, load_circuits
from equiscope.families.asked import family_of
from equiscope.reports.document.schema import ConfirmationEntry, ReportDocument
from equiscope.reports.document.wording import measured
from equiscope.reports.views.evidence import Evidence

__all__ = ["CIRCUITS"]


def _join(document: ReportDocument, circuits: Circuits) -> ReportDocument:
    """Give the document with what weights said about its families; what it said before is replaced."""
    of_family: dict[str, ConfirmationEntry] = {}
    for confirmation in circuits.confirmations:
        fields = asdict(confirmation)
        entry = cast("ConfirmationEntry", {key: fields[key] for key in ConfirmationEntry.__annotations__})
        name = family_of(confirmation.family)
        of_family[name] = _both(of_family[name], entry) if name in of_family else entry
    families = [family | {"confirmation": of_family.get(family["id"])} for family in document["families"]]
    return document | {"families": families, "has_circuits": True}


def _both(one: ConfirmationEntry, other: ConfirmationEntry) -> ConfirmationEntry:
    """Say of a family what is said of two of its cores."""
    both = max(one, other, key=_beyond_null).copy()
    both["n_tested"] = one["n_tested"] + other["n_tested"]
    both["n_symmetric"] = one["n_symmetric"] + other["n_symmetric"]
    return both


def _beyond_null(entry: ConfirmationEntry) -> float:
    r2, null = measured(entry["best_r2"]), measured(entry["best_null_95"])
    return -inf if r2 is None or null is None else r2 - null


CIRCUITS = Evidence("circuits", "circuits.json", load_circuits, _join)
