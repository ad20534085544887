"""A run's site, and nothing else of the run, in a folder that can be put on any web server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import refuse_links
from equiscope.reports.document.stored import DOCUMENT
from equiscope.reports.site.addresses import PAGE, SITE, is_own
from equiscope.reports.site.files import write_files

__all__ = ["publish_site"]


def publish_site(folder: str | Path, target: str | Path) -> Path:
    """Copy a run's site, and nothing else of the run, into a folder that can be put on any web server.

    Parameters
    ----------
    folder
        Of the run; its site is built first.
    target
        Where the copy goes. An earlier copy is replaced.

    Returns
    -------
    Path
        Of the copy's ``index.html``.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a run, or ``target`` holds anything but such a copy.

    Examples
    --------
    >>> page = publish_site("equiscope-runs/mini", "published")
    >>> sorted(path.name for path in page.parent.iterdir())
    ['index.html', 'report.json', 'site']
    """
    folder, target = Path(folder), Path(target)
    earlier = _earlier_copy(target)
    written = write_files(folder)
    if (folder / DOCUMENT).exists():
        written = {DOCUMENT: folder / DOCUMENT, **written}
    for path in earlier:
        path.unlink()
    # Made first and never removed: by it a copy is known that was killed half way.
    (target / SITE / "app").mkdir(parents=True, exist_ok=True)
    for address, source in written.items():
        path = target / address
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    return target / PAGE


def _earlier_copy(target: Path) -> list[Path]:
    """Give the files of an earlier copy of a report in a folder, its page first.

    Raises
    ------
    EquiscopeError
        If the folder holds anything else, only a part of such a copy, or a link.
    """
    if not os.path.lexists(target):
        return []
    held = sorted(path.name for path in target.iterdir()) if target.is_dir() else [target.name]
    others = [name for name in held if name not in (PAGE, SITE, DOCUMENT)]
    # A copy that was killed half way may have no file yet.
    is_copy = (target / SITE / "app").is_dir() or all(path.is_dir() for path in [target, *target.rglob("*")])
    if held and not others and not is_copy:
        others = held
    if not others:
        refuse_links(target)
    inner = [] if others else sorted(path for path in (target / SITE).rglob("*") if path.is_file())
    others += [address for path in inner if not is_own(address := path.relative_to(target).as_posix())]
    if others:
        raise EquiscopeError(
            f"{target} holds {others[0]!r}: expected a new or empty folder, or an earlier copy of a report, to publish "
            "to"
        )
    return [path for path in (target / PAGE, target / DOCUMENT, *inner) if path.exists()]
