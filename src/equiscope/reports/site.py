"""Write the site of a run: the shell with its index, the views as data files, and the scripts and style sheets.

Everything lies in the run's folder and nothing is fetched from anywhere else. Scripts and data are loaded by script
elements, which a browser allows from disk too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.files import write_atomically, write_changed
from equiscope.reports.context import SiteContext
from equiscope.reports.fragment import Fragment
from equiscope.reports.html import asset, render_template
from equiscope.reports.overview_view import render_overview
from equiscope.reports.sheets import FileStems
from equiscope.reports.views import RENDERERS

__all__ = ["DOCUMENT", "PAGE", "SITE", "is_own", "read_index", "write_site"]

PAGE, SITE, DOCUMENT = "index.html", "site", "report.json"
# The first script makes the namespace, the last one shows the first view.
_FIRST, _LAST = "core.js", "router.js"
_OWN = re.compile(
    rf"{SITE}/(app/[A-Za-z0-9_][\w.-]*\.(js|css)|data/\w+/[A-Za-z0-9_][\w.-]*\.js|"
    r"sprites/[A-Za-z0-9_][\w.-]*\.webp)",
    re.ASCII,
)
# Fragments of one kind share a file up to this size; only units are so small that many do.
_SHARED_BYTES = 150_000
_SHARED = ("unit",)


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
    """
    _check_families(context)
    scripts, styles = _write_assets(folder / SITE / "app")
    addresses = [*styles, *scripts]
    stale: list[Path] = []
    index: dict[str, Any] = {
        kind: _write_views(folder, kind, renderer(context), stale) for kind, renderer in RENDERERS.items()
    }
    for kind, named in index.items():
        addresses += [f"{SITE}/data/{kind}/{name}" for name in dict.fromkeys(named.values())]
    index["unit"] = _ranges(index.get("unit", {}))
    overview = render_overview(context)
    page = render_template(
        "site/shell.html.jinja",
        document=context.document,
        overview=overview.html,
        index=index | {"overview": overview.data},
        scripts=scripts,
        styles=styles,
        has_circuits=context.circuits is not None,
        has_comparisons=len(index["compare"]) > 1,
        has_budget=context.budget is not None,
        has_simplification=context.simplification is not None,
    )
    write_atomically(folder / PAGE, lambda stream: stream.write(page.encode()))
    for path in stale:
        path.unlink(missing_ok=True)
    return [*addresses, PAGE]


def is_own(address: str) -> bool:
    """Say whether an address is one where a site has its files: only those are ever removed."""
    return _OWN.fullmatch(address) is not None


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


def _write_assets(folder: Path) -> tuple[list[str], list[str]]:
    """Copy scripts and style sheets; give their addresses in the order in which they are loaded."""
    names = sorted(path.name for path in (files("equiscope.reports") / "assets" / "site").iterdir())
    scripts = [name for name in names if name.endswith(".js") and name not in (_FIRST, _LAST)]
    styles = [name for name in names if name.endswith(".css") and name != "base.css"]
    ordered = [[_FIRST, *scripts, _LAST], ["base.css", *styles]]
    for name in (name for some in ordered for name in some):
        write_changed(folder / name, asset(f"site/{name}").encode())
    for path in _own_files(folder, f"{SITE}/app"):
        if path.name not in (name for some in ordered for name in some):
            path.unlink(missing_ok=True)
    first, second = ([f"{SITE}/app/{name}" for name in some] for some in ordered)
    return first, second


def _write_views(
    folder: Path, kind: str, views: Iterable[tuple[str, Fragment]], stale: list[Path]
) -> dict[str, str]:
    """Write all views of a kind; give the file of each by its name, and add files that are no longer needed."""
    place = folder / SITE / "data" / kind
    place.mkdir(parents=True, exist_ok=True)
    stems = FileStems()
    found: dict[str, str] = {}
    written: set[str] = set()
    for names, text in _gather(kind, views):
        name = f"{stems.of(names[0] or kind)}.js"
        write_changed(place / name, text.encode())
        written.add(name)
        found |= dict.fromkeys(names, name)
    stale += [path for path in _own_files(place, f"{SITE}/data/{kind}") if path.name not in written]
    return found


def _own_files(place: Path, address: str) -> list[Path]:
    """Give the files of a folder of the site that a site wrote there, this one or an earlier one."""
    return [path for path in place.iterdir() if is_own(f"{address}/{path.name}") and path.is_file()]


def _ranges(files: dict[str, str]) -> dict[str, list[list[Any]]]:
    """Word the files of units by layer as first channel, last channel, file: thousands of names take too much room."""
    found: dict[str, list[list[Any]]] = {}
    for name, file in files.items():
        layer, _, channel = name.rpartition("-")
        own = found.setdefault(layer, [])
        if own and own[-1][2] == file and own[-1][1] == int(channel) - 1:
            own[-1][1] = int(channel)
        else:
            own.append([int(channel), int(channel), file])
    return found


def _gather(kind: str, views: Iterable[tuple[str, Fragment]]) -> Iterator[tuple[list[str], str]]:
    """Give names and content of each data file."""
    names: list[str] = []
    parts: list[str] = []
    n_bytes = 0
    for name, fragment in views:
        part = _call(f"{kind}/{name}", fragment)
        if names and (kind not in _SHARED or n_bytes + len(part) > _SHARED_BYTES):
            yield names, "".join(parts)
            names, parts, n_bytes = [], [], 0
        names.append(name)
        parts.append(part)
        n_bytes += len(part)
    if names:
        yield names, "".join(parts)


def _call(key: str, fragment: Fragment) -> str:
    content = {"html": fragment.html, "data": fragment.data}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    call = f"equiscope.receive({json.dumps(key)},{text});\n"
    # A file name that is not valid UTF-8 reaches Python as lone surrogates, which UTF-8 cannot hold.
    return call.encode("utf-8", "replace").decode()


def read_index(page: str) -> dict[str, Any]:
    """Read the index back out of a page."""
    found = re.search(r'<script type="application/json" id="index">(.*?)</script>', page, re.DOTALL)
    return dict(json.loads(found[1])) if found else {}
