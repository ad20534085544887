"""The kinds of views that the site has, and what renders each.

A renderer takes the context of the whole run and gives the name and the fragment of every view of its kind, in the
order of the network. The name is what stands in the view's address, ``#/family/NAME``, and what the files under
``site/data`` are found by; a kind of which there is one only, such as ``circuits``, has the empty name. All scripts and
style sheets in ``assets/site`` are part of the site; a script that registers ``equiscope.views[kind]`` gives the views
of its kind their behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from equiscope.reports.budget_view import render_budget
from equiscope.reports.circuit_view import render_circuits
from equiscope.reports.circuits_view import render_all_circuits, render_lists
from equiscope.reports.compare_view import render_comparisons
from equiscope.reports.context import SiteContext
from equiscope.reports.family_view import render_families
from equiscope.reports.fragment import Fragment
from equiscope.reports.layer_view import render_layers
from equiscope.reports.simplify_view import render_simplification
from equiscope.reports.unit_view import render_units

__all__ = ["RENDERERS", "Renderer"]

Renderer = Callable[[SiteContext], Iterator[tuple[str, Fragment]]]

RENDERERS: Mapping[str, Renderer] = {
    "layer": render_layers,
    "unit": render_units,
    "family": render_families,
    "circuit": render_circuits,
    "circuits": render_all_circuits,
    "list": render_lists,
    "compare": render_comparisons,
    "budget": render_budget,
    "simplify": render_simplification,
}
