"""What a view of the site is: the record that registers it, and the fragments that it is shown by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from equiscope.reports.drawing.svg import Drawing
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.evidence import Evidence
from equiscope.reports.views.templates import read_asset

__all__ = ["Charts", "Fragment", "Renderer", "View"]


@dataclass(frozen=True)
class Fragment:
    """One page of a view.

    Attributes
    ----------
    html
        Goes into the page's ``<main>`` as it is: everything in it was escaped.
    data
        JSON types, for the view's script.
    """

    html: str
    data: dict[str, Any] = field(default_factory=dict)


# Gives the name and the fragment of every page of a view, in the order of the network. The name is what stands in the
# page's address; a view that has one page only gives it the empty name.
Renderer = Callable[[SiteContext], Iterator[tuple[str, Fragment]]]
# The charts that there are of one thing, by their kinds, the main one first; a chart may turn out to be empty.
Charts = Mapping[str, Callable[[], Drawing | None]]


@dataclass(frozen=True)
class View:
    """One kind of view: what its pages are made from, how they look and behave, and what they show of later commands.

    Attributes
    ----------
    kind
        The pages' addresses are ``#/KIND/NAME``, or ``#/KIND`` of one without a name; their data files lie in
        ``site/data/KIND``.
    module
        The ``__name__`` of the module in which the record stands: templates, script and style sheet lie beside it.
    render
        Gives the pages; None for a view that its script makes from the index alone.
    parts
        What the script loads besides pages, by the kind under which it asks for it.
    title
        The words that lead to the view in the bar of the site; empty for a view that is reached from others only. A
        view with evidence of its own is in the bar where there is any of the first.
    script, style
        Names of the files; None where there is none. The script gives the pages their behaviour, as
        ``equiscope.views[KIND]``.
    evidence
        What later commands find that this view shows.
    charts
        The charts of one thing of a name, which ``equiscope figure`` saves; None where the view has none.
    """

    kind: str
    module: str
    render: Renderer | None = None
    parts: Mapping[str, Renderer] = field(default_factory=dict)
    title: str = ""
    script: str | None = None
    style: str | None = None
    evidence: tuple[Evidence[Any], ...] = ()
    charts: Callable[[SiteContext, str], Charts] | None = None

    @property
    def renderers(self) -> Mapping[str, Renderer]:
        """What gives the pages of the view, and what its script loads besides, by kind."""
        return {**({} if self.render is None else {self.kind: self.render}), **self.parts}

    def read(self, name: str) -> str:
        """Read one of the files that lie beside the record's module."""
        return read_asset(self.module, name)

    def is_in_bar(self, context: SiteContext) -> bool:
        """Whether the bar of a run's site leads to the view."""
        return bool(self.title) and (not self.evidence or bool(context.found(self.evidence[0])))
