"""The data files of a site: each holds one page of a view, or several that are small."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from equiscope.foundations.files import write_changed
from equiscope.reports.document.pictures.sheets import FileStems
from equiscope.reports.site.addresses import SITE, own_files
from equiscope.reports.views.view import Fragment

__all__ = ["join_ranges", "write_pages"]

# Fragments of one kind share a file up to this size; only units are so small that many do.
_SHARED_BYTES = 150_000
_SHARED = ("unit",)


def write_pages(
    folder: Path, kind: str, pages: Iterable[tuple[str, Fragment]], stale: list[Path]
) -> dict[str, str]:
    """Write all pages of a kind; give the file of each by its name, and add files that are no longer needed.

    Examples
    --------
    >>> stale = []
    >>> page = Fragment("<p>A family of 4</p>")
    >>> write_pages(Path("."), "family", [("conv1-rotation-1", page)], stale)
    {'conv1-rotation-1': 'conv1-rotation-1.js'}
    """
    place = folder / SITE / "data" / kind
    place.mkdir(parents=True, exist_ok=True)
    stems = FileStems()
    found: dict[str, str] = {}
    written: set[str] = set()
    for names, text in _gather(kind, pages):
        name = f"{stems.of(names[0] or kind)}.js"
        write_changed(place / name, text.encode())
        written.add(name)
        found |= dict.fromkeys(names, name)
    stale += [path for path in own_files(place, f"{SITE}/data/{kind}") if path.name not in written]
    return found


def join_ranges(files: Mapping[str, str]) -> dict[str, list[list[Any]]]:
    """Shorten the file of each unit to ranges by layer, (first channel, last channel, file): names take much room.

    Examples
    --------
    >>> join_ranges({"conv1-0": "a.js", "conv1-1": "a.js", "conv1-2": "b.js"})
    {'conv1': [[0, 1, 'a.js'], [2, 2, 'b.js']]}
    """
    found: dict[str, list[list[Any]]] = {}
    for name, file in files.items():
        layer, _, channel = name.rpartition("-")
        own = found.setdefault(layer, [])
        if own and own[-1][2] == file and own[-1][1] == int(channel) - 1:
            own[-1][1] = int(channel)
        else:
            own.append([int(channel), int(channel), file])
    return found


def _gather(kind: str, pages: Iterable[tuple[str, Fragment]]) -> Iterator[tuple[list[str], str]]:
    """Give names and content of each data file."""
    names: list[str] = []
    parts: list[str] = []
    n_bytes = 0
    for name, fragment in pages:
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
