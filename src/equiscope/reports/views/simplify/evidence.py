"""What ``equiscope simplify`` found out about the network with its families tied."""

from __future__ import annotations

from equiscope.construction.simplify import load_simplification
from equiscope.reports.views.evidence import Evidence

__all__ = ["SIMPLIFICATION"]

SIMPLIFICATION = Evidence("simplify", "simplify.json", load_simplification)
