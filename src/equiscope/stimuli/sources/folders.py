"""Images as files of their own, under a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.decoding import name_format, refuse_ending
from equiscope.stimuli.sources.listing import (
    ENDINGS,
    HEAD_BYTES,
    Found,
    Listing,
    ending_of,
    no_image,
    note_other,
    shown_name,
)

__all__ = [
    "FileSource",
    "check_regular",
    "find_files",
]


class FileSource:
    """Images as files of their own."""

    def __init__(self, names: list[str], folder: Path, files: list[str]) -> None:
        self.names = names
        self.pixel_shape: tuple[int, ...] | None = None
        self._folder = folder
        self._files = files

    def n_bytes(self, index: int) -> int:
        """See :class:`Source`."""
        return (self._folder / self._files[index]).stat().st_size

    def read(self, index: int, start: int, stop: int) -> bytes:
        """See :class:`Source`."""
        with open_regular(self._folder / self._files[index]) as file:
            file.seek(start)
            return file.read(stop - start)


def open_regular(path: Path | str) -> IO[bytes]:
    """Open a file that is none of those which are read for ever or never: a pipe without a writer, a device."""
    # Without waiting for a writer, and looked at once it is open: nothing can take its place in between.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(descriptor, "rb")
    kind = name_special(os.fstat(descriptor).st_mode)
    if kind is not None:
        file.close()
        raise OSError(f"it is {kind}, not a file")
    return file


def name_special(mode: int) -> str | None:
    """Name what neither is a file nor a folder."""
    for is_kind, name in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            return name
    return None


def check_regular(path: Path, expected: str) -> None:
    """Refuse a pipe, a socket or a device, which would be read for ever.

    Raises
    ------
    EquiscopeError
        If `path` is one; `expected` tells what it should have been.

    Examples
    --------
    >>> Path("images.npz").touch()
    >>> check_regular(Path("images.npz"), "an .npz")  # a pipe of this name is refused
    """
    try:
        kind = name_special(path.stat().st_mode)
    except OSError:  # what is not there is told by whoever opens it
        return
    if kind is not None:
        raise EquiscopeError(f"{str(path)!r} is {kind}, not a file: expected {expected}")


def find_files(folder: Path) -> Listing:
    """List the images under a folder, following links to folders once each.

    A picture is what has the ending of one, or begins as one. Links may lead out of the folder: they are its owner's.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     (Path(name) / "a.png").touch()
    ...     (Path(name) / "notes.txt").touch()
    ...     listing = find_files(Path(name))
    >>> listing.source.names, dict(listing.others)
    (['a.png'], {'.txt': 1})
    """
    found = Found()
    files: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            status = (folder / prefix).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder / prefix) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.left_out[shown_name(prefix.rstrip("/")) or "."] = (
                f"the folder cannot be listed: {error.strerror}"
            )
            continue
        for entry in inside:
            path = prefix + entry.name
            if entry.name.startswith("."):
                found.others["hidden"] += 1
            elif entry.is_dir():
                waiting.append(f"{path}/")
            elif _is_picture(entry, path, found):
                files[shown_name(path)] = path
    if not files:
        raise no_image(f"the folder {str(folder)!r}", found)
    names = sorted(files)
    return Listing(FileSource(names, folder, [files[name] for name in names]), found.left_out, found.others)


def _is_picture(entry: os.DirEntry[str], path: str, found: Found) -> bool:
    """Tell whether something in a folder is a picture; otherwise it is noted."""
    is_file = entry.is_file()
    if not is_file:
        try:
            kind = name_special(entry.stat().st_mode)
        except OSError:  # a link to nowhere, which is told when it is read
            kind = None
        if kind is not None:
            found.left_out[shown_name(path)] = f"it is {kind}, not a file"
            return False
    if ending_of(path) in ENDINGS:
        return True
    if refuse_ending(ending_of(path)) is None and is_file and name_format(_read_head(entry.path)) is not None:
        return True
    note_other(path, found)
    return False


def _read_head(path: str) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""
