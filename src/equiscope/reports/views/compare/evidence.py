"""What ``equiscope compare`` found: the comparisons of a run with others, whose pictures come along."""

from __future__ import annotations

from equiscope.evidence.compare.comparison import load_comparisons
from equiscope.reports.views.compare.pictures import bring_sheets
from equiscope.reports.views.evidence import Evidence

__all__ = ["COMPARISONS"]

COMPARISONS = Evidence("compare", "compare", load_comparisons, bring=bring_sheets)
