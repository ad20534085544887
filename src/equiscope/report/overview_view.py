"""The first view: what was found, and what the units of each layer do."""

from __future__ import annotations

from equiscope.report.context import SiteContext
from equiscope.report.fragment import Fragment
from equiscope.report.html import render_template

__all__ = ["render_overview"]


def render_overview(context: SiteContext) -> Fragment:
    """Render the overview."""
    return Fragment(render_template("site/overview.html.jinja", document=context.document))
