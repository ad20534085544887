"""Where a site has its files."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["PAGE", "SITE", "is_own", "own_files"]

PAGE, SITE = "index.html", "site"
_OWN = re.compile(
    rf"{SITE}/(app/[A-Za-z0-9_][\w.-]*\.(js|css)|data/\w+/[A-Za-z0-9_][\w.-]*\.js|"
    r"sprites/[A-Za-z0-9_][\w.-]*\.webp)",
    re.ASCII,
)


def is_own(address: str) -> bool:
    """Say whether an address is one where a site has its files: only those are ever removed.

    Examples
    --------
    >>> is_own("site/app/site.js"), is_own("site/app/../../notes.txt")
    (True, False)
    """
    return _OWN.fullmatch(address) is not None


def own_files(place: Path, address: str) -> list[Path]:
    """Give the files of a folder of the site that a site wrote there, this one or an earlier one.

    Examples
    --------
    >>> for name in ("site.js", "notes of mine.txt"):
    ...     Path(name).touch()
    >>> [path.name for path in own_files(Path("."), "site/app")]
    ['site.js']
    """
    return [path for path in place.iterdir() if is_own(f"{address}/{path.name}") and path.is_file()]
