"""The view of all families in a list, which its script makes from the index of the site."""

from __future__ import annotations

from equiscope.reports.views.view import View

__all__ = ["VIEW"]

VIEW = View("families", __name__, title="Families", script="families.js")
