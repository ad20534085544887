"""Write the site of a run: the shell with its index, the views as data files, and the scripts and style sheets.

Everything lies in the run's folder and nothing is fetched from anywhere else. Scripts and data are loaded by script
elements, which a browser allows from disk too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.files import write_atomically
from equiscope.reports.site.addresses import PAGE, SITE
from equiscope.reports.site.assets import write_assets
from equiscope.reports.site.data import join_ranges, write_pages
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.registry import all_views
from equiscope.reports.views.templates import render_template, view_address
from equiscope.reports.views.view import View

__all__ = ["read_index", "write_site"]


def write_site(folder: Path, context: SiteContext) -> list[str]:
    """Write the site of one run into a folder, the run's own as a rule; sheets of pictures are not written.

    Parameters
    ----------
    folder
        Where ``index.html`` and ``site/`` go. Data files of an earlier site are removed, sheets stay.
    context
        What is shown.

    Returns
    -------
    list of str
        Addresses of what was written, relative to ``index.html``, which is the last.

    Raises
    ------
    EquiscopeError
        If two families have one id, or a family is of a layer that the document does not have.

    Notes
    -----
    ``index.html`` is written when everything that it leads to is there, and what an earlier one led to is removed after
    that: a build that is interrupted leaves a site whose addresses lead somewhere.

    Examples
    --------
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> from equiscope.reports.document.stored import read_document
    >>> document = read_document(Path("equiscope-runs/mini"))
    >>> addresses = write_site(Path("site-of-mini"), SiteContext(document, Pictures(document)))
    >>> "site/data/family/conv2d0-rotation-1.js" in addresses, addresses[-1]
    (True, 'index.html')
    """
    _check_families(context)
    views = all_views()
    scripts, styles = write_assets(folder / SITE / "app", views)
    stale: list[Path] = []
    first, *others = views
    index = {
        kind: write_pages(folder, kind, renderer(context), stale)
        for view in others
        for kind, renderer in view.renderers.items()
    }
    addresses = [*styles, *scripts]
    for kind, named in index.items():
        addresses += [f"{SITE}/data/{kind}/{name}" for name in dict.fromkeys(named.values())]
    page = _render_page(context, first, others, index, scripts, styles)
    write_atomically(folder / PAGE, lambda stream: stream.write(page.encode()))
    for path in stale:
        path.unlink(missing_ok=True)
    return [*addresses, PAGE]


def _render_page(
    context: SiteContext,
    first: View,
    others: Sequence[View],
    index: Mapping[str, Mapping[str, str]],
    scripts: Sequence[str],
    styles: Sequence[str],
) -> str:
    """Render ``index.html``: the first view as it is, the bar that leads to the others, and the index of all pages."""
    (render,) = first.renderers.values()
    _, opening = next(render(context))
    bar = [{"kind": first.kind, "title": first.title, "address": "#/"}]
    bar += [
        {"kind": view.kind, "title": view.title, "address": view_address(view.kind)}
        for view in others
        if view.is_in_bar(context)
    ]
    # Thousands of names of units take too much room.
    ranges = {"unit": join_ranges(index["unit"])}
    return render_template(
        __name__,
        "shell.html.jinja",
        document=context.document,
        opening=opening.html,
        index={**index, **ranges, first.kind: opening.data},
        bar=bar,
        scripts=scripts,
        styles=styles,
    )


def _check_families(context: SiteContext) -> None:
    """Check that ids are unique, and that every member's layer is one of the document's."""
    families = context.document["families"]
    if len(context.families) < len(families):
        raise EquiscopeError(
            f"the document has {len(families)} families with {len(context.families)} different ids; expected one id a "
            "family"
        )
    for family in families:
        for member in family["members"]:
            if member["layer"] not in context.layers:
                raise unknown_name("layer", member["layer"], context.layers)


def read_index(page: str) -> dict[str, Any]:
    """Read the index back out of a page.

    Examples
    --------
    >>> read_index('<script type="application/json" id="index">{"family": {"conv1-rotation-1": "f.js"}}</script>')
    {'family': {'conv1-rotation-1': 'f.js'}}
    """
    found = re.search(r'<script type="application/json" id="index">(.*?)</script>', page, re.DOTALL)
    return dict(json.loads(found[1])) if found else {}
