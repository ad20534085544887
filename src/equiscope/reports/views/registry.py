"""The views of the site, one a line, and through them all that later commands bring to the report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from equiscope.foundations.errors import unknown_name
from equiscope.reports.views.evidence import Evidence
from equiscope.reports.views.view import View

__all__ = ["FOLDERS", "all_evidence", "all_views", "evidence_of"]

# Each is a folder beside this module, whose `view.py` ends with the record `VIEW`. The first is what the site opens
# with; the bar leads to the others in this order.
FOLDERS = [
    "overview",
    "families",
    "judge",
    "layer",
    "unit",
    "family",
    "circuit",
    "circuits",
    "budget",
    "simplify",
    "compare",
]


def all_views() -> Sequence[View]:
    """Give the record of every view.

    Examples
    --------
    >>> [view.kind for view in all_views()][:4]
    ['overview', 'families', 'judge', 'layer']
    """
    return [import_module(f"{__package__}.{name}.view").VIEW for name in FOLDERS]


def all_evidence() -> Sequence[Evidence[Any]]:
    """Give what later commands find and some view shows, each once.

    Examples
    --------
    >>> sorted(evidence.command for evidence in all_evidence())
    ['budget', 'circuits', 'compare', 'featurevis', 'simplify', 'verify']
    """
    return list(dict.fromkeys(evidence for view in all_views() for evidence in view.evidence))


def evidence_of(command: str) -> Evidence[Any]:
    """Give what a command finds.

    Raises
    ------
    EquiscopeError
        If no view shows anything of such a command.

    Examples
    --------
    >>> evidence_of("circuits").file
    'circuits.json'
    """
    known = {evidence.command: evidence for evidence in all_evidence()}
    if command not in known:
        raise unknown_name("command whose findings the report shows", command, known)
    return known[command]
