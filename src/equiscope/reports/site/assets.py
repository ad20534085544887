"""The scripts and style sheets of a site: its own, and those of its views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equiscope.foundations.files import write_changed
from equiscope.reports.site.addresses import SITE, own_files
from equiscope.reports.views.templates import read_asset
from equiscope.reports.views.view import View

__all__ = ["write_assets"]

# The first script makes the namespace, the last one shows the first view. The first style sheet is for all views.
_FIRST_SCRIPT, _LAST_SCRIPT, _FIRST_STYLE = "core.js", "router.js", "base.css"
# What views share besides these.
_SCRIPTS, _STYLES = ("hover.js", "search.js"), ("charts.css",)


def write_assets(folder: Path, views: Sequence[View]) -> tuple[list[str], list[str]]:
    """Write scripts and style sheets; give their addresses in the order in which they are loaded.

    Parameters
    ----------
    folder
        That of the site's scripts and style sheets; others that an earlier site left there are removed.
    views
        Whose scripts and style sheets are written.

    Examples
    --------
    >>> scripts, styles = write_assets(Path("."), views=())
    >>> scripts[0], styles[0]
    ('site/app/core.js', 'site/app/base.css')
    """
    own = (_FIRST_SCRIPT, *_SCRIPTS, _LAST_SCRIPT, _FIRST_STYLE, *_STYLES)
    content = {name: read_asset(__name__, name) for name in own}
    content |= {name: view.read(name) for view in views for name in (view.script, view.style) if name}
    for name, text in content.items():
        write_changed(folder / name, text.encode())
    for path in own_files(folder, f"{SITE}/app"):
        if path.name not in content:
            path.unlink(missing_ok=True)
    middle = sorted(content.keys() - {_FIRST_SCRIPT, _LAST_SCRIPT, _FIRST_STYLE})
    scripts = [_FIRST_SCRIPT, *(name for name in middle if name.endswith(".js")), _LAST_SCRIPT]
    styles = [_FIRST_STYLE, *(name for name in middle if name.endswith(".css"))]
    return [f"{SITE}/app/{name}" for name in scripts], [f"{SITE}/app/{name}" for name in styles]
