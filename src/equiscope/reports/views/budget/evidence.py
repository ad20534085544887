"""What ``equiscope budget`` counted."""

from __future__ import annotations

from equiscope.construction.budget import load_budget
from equiscope.reports.views.evidence import Evidence

__all__ = ["BUDGET"]

BUDGET = Evidence("budget", "budget.json", load_budget)
