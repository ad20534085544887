"""What ``equiscope verify`` found: families on drawn stimuli, which their own views show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import cast

from equiscope.evidence.verify.verification import FamilyVerification, load_verification
from equiscope.reports.document.schema import ReportDocument, VerificationEntry
from equiscope.reports.views.evidence import Evidence

__all__ = ["VERIFICATION"]


def _join(document: ReportDocument, verifications: Iterable[FamilyVerification]) -> ReportDocument:
    """Give the document with what synthetic stimuli said about its families; what it said before is replaced."""
    of_family: dict[str, list[VerificationEntry]] = {}
    for verification in verifications:
        fields = asdict(verification)
        entry = {key: fields[key] for key in VerificationEntry.__annotations__}
        of_family.setdefault(verification.family, []).append(cast("VerificationEntry", entry))
    families = [family | {"verification": of_family.get(family["id"], [])} for family in document["families"]]
    return cast("ReportDocument", document | {"families": families})


# The figures of a family are in its entry of the document, and nowhere else.
VERIFICATION = Evidence("verify", "verification.json", load_verification, _join, stands_alone=False)
