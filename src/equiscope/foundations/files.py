"""Write files so that a kill, a full disk or a second process never leaves half of one.

A file is written under a temporary name in its own folder and then renamed, which file systems do in one step: its name
leads to all of the old bytes or to all of the new ones. A process that is killed leaves the temporary file. Its name
says which process made it, so that the next process that writes into the folder can tell what is left over:

    .equiscope-MARK-PID-NUMBER.part

MARK stands for the machine since it was started, and for the container: process numbers mean something only there.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import platform
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from equiscope.foundations.errors import EquiscopeError

__all__ = [
    "check_output",
    "file_name",
    "is_unused",
    "naming",
    "remove_left_overs",
    "temporary_beside",
    "write_atomically",
    "write_changed",
    "write_new",
    "write_output",
]

# File systems take names of 255 bytes, and what is longer than this never could be written with the temporary names of
# earlier versions, which were longer than the name itself: no run has a file under a name that is shortened now.
_MOST_BYTES = 240
# A temporary file of another machine is left over after this time: no single file takes a day to write.
_MOST_SECONDS = 24 * 3600.0
_TEMPORARY = re.compile(r"\.equiscope-([0-9a-f]{8})-(\d+)-\d+\.part")
_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")
_numbers = itertools.count()


def write_atomically(path: Path, write: Callable[[BinaryIO], object], *, is_synced: bool = True) -> None:
    """Write a file of a run so that it is either there whole or not there at all.

    Parameters
    ----------
    path
        The file; folders that are missing are made. A link is replaced, not followed: a folder that comes from
        somebody else must not lead out of itself.
    write
        Called with the open file.
    is_synced
        Whether the bytes are on the disk before the name leads to them. What can be made again need not be.

    Raises
    ------
    OSError
        Where it cannot be written; its ``filename`` is the path.

    Examples
    --------
    >>> path = Path("results") / "units.json"
    >>> write_atomically(path, lambda stream: stream.write(b"[]"))
    >>> path.read_bytes()
    b'[]'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(path.parent)
    temporary = temporary_beside(path)
    try:
        with naming(path):
            # Exclusively: a link of this name would be written through.
            with temporary.open("xb") as stream:
                write(stream)
                stream.flush()
                if is_synced:
                    os.fsync(stream.fileno())
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # the error that led here is the one to tell
            temporary.unlink(missing_ok=True)
        raise


def write_new(path: Path, write: Callable[[BinaryIO], object]) -> bool:
    """Write a file of a run unless there is one of that name: of several processes one succeeds.

    Returns
    -------
    bool
        False where another was there already, which stays as it is.

    Examples
    --------
    >>> write_new(Path("begun"), lambda stream: stream.write(b"1")), write_new(Path("begun"), lambda stream: None)
    (True, False)
    >>> Path("begun").read_bytes()
    b'1'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(path.parent)
    temporary = temporary_beside(path)
    try:
        with naming(path):
            _write_exclusively(temporary, write)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:
                # A file system without hard links; a kill before the content is there leaves a damaged file.
                _write_exclusively(path, write)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _write_exclusively(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file that is not there yet, and bring it to the disk. A link of its name would be written through."""
    with path.open("xb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())


def temporary_beside(path: Path) -> Path:
    """Give the name for a temporary file in a file's folder, which no other process and no other thread has.

    Examples
    --------
    >>> path = temporary_beside(Path("results") / "units.json")
    >>> path.parent.name, path.suffix
    ('results', '.part')
    """
    temporary = path.with_name(f".equiscope-{_mark()}-{os.getpid()}-{next(_numbers)}.part")
    temporary.unlink(missing_ok=True)  # of a dead process that had the same number
    return temporary


def write_changed(path: Path, content: bytes) -> None:
    """Write a file that can be made again, whole or not at all; one that has this content already stays.

    Examples
    --------
    >>> write_changed(Path("chart.svg"), b"<svg/>")
    >>> before = Path("chart.svg").stat().st_mtime_ns
    >>> write_changed(Path("chart.svg"), b"<svg/>")
    >>> Path("chart.svg").stat().st_mtime_ns == before
    True
    """
    remove_left_overs(path.parent)
    if not (path.is_file() and path.read_bytes() == content):
        write_atomically(path, lambda stream: stream.write(content), is_synced=False)


def write_output(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file that the user named.

    Parameters
    ----------
    path
        A file is written as by `write_atomically`; of a link, the file that it leads to. Into a terminal, a pipe,
        ``/dev/stdout`` or another device the bytes go as they come: nothing takes its place.
    write
        Called with the open file.

    Raises
    ------
    EquiscopeError
        If the path is a disk.
    OSError
        Where it cannot be written: a folder, a full disk, no permission.

    Examples
    --------
    >>> write_output(Path("families.csv"), lambda stream: stream.write(b"family,size"))
    >>> Path("families.csv").read_bytes()
    b'family,size'
    """
    check_output(path)
    descriptor = _DESCRIPTOR.fullmatch(os.fspath(path))
    if descriptor is not None:
        # Opened by name, a file behind standard output would be emptied of what was printed before.
        number = {"stdout": 1, "stderr": 2}.get(descriptor[1]) or int(descriptor[2])
        sys.stdout.flush()
        with naming(path), os.fdopen(os.dup(number), "wb") as stream:
            write(stream)
    elif stat.S_ISREG(_mode(path)):
        write_atomically(Path(os.path.realpath(path)), write)
    else:
        with naming(path), path.open("wb") as stream:
            write(stream)


def check_output(path: Path) -> None:
    """Refuse a place where `write_output` could not write, before anything is computed for it.

    Raises
    ------
    EquiscopeError
        If the path is a disk.
    OSError
        If it is a folder, or lies below a file.

    Examples
    --------
    >>> check_output(Path("families.csv"))
    >>> check_output(Path.cwd())  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    IsADirectoryError: ...
    """
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if stat.S_ISBLK(mode):
        raise EquiscopeError(f"{path} is a disk, and writing there would destroy what is on it: name a file")


def _mode(path: Path) -> int:
    """Give what a path leads to; what is not there yet will be a file."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return stat.S_IFREG


def remove_left_overs(folder: Path) -> None:
    """Remove what killed processes left in a folder; each process looks once into each.

    Examples
    --------
    >>> remove_left_overs(Path.cwd())
    """
    _remove_left_overs(os.fspath(folder.absolute()))


@cache
def _remove_left_overs(folder: str) -> None:
    with suppress(OSError):  # what cannot be listed or removed harms nobody
        for path in Path(folder).iterdir():
            found = _TEMPORARY.fullmatch(path.name)
            if found is not None and _is_left_over(path, found[1], int(found[2])):
                path.unlink(missing_ok=True)


def is_unused(folder: Path) -> bool:
    """Whether a folder is not there, or holds nothing but the beginning of a first file.

    Examples
    --------
    >>> is_unused(Path("no-such-folder"))
    True
    """
    if not folder.exists():
        return True
    return folder.is_dir() and all(_TEMPORARY.fullmatch(path.name) for path in folder.iterdir())


def _is_left_over(path: Path, mark: str, process: int) -> bool:
    """Whether the process that writes a temporary file is dead; one of another machine is so after a day."""
    if mark == _mark() and os.name == "posix":
        return not _is_alive(process)
    return time.time() - path.stat().st_mtime > _MOST_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@cache
def _mark() -> str:
    """Give eight letters for where process numbers are unique: a machine since it was started, a container in it."""
    parts = [platform.node()]
    with suppress(OSError):  # Linux has both
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of the file system name the file that was meant, where they name a temporary one or none.

    Examples
    --------
    >>> try:
    ...     with naming(Path("units.json")):
    ...         raise OSError(28, "No space left on device")
    ... except OSError as error:
    ...     print(error.filename)
    units.json
    """
    try:
        yield
    except OSError as error:
        name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, (str, bytes)) else ""
        if error.errno is not None and (not name or _TEMPORARY.fullmatch(name)):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def file_name(*names: str, ending: str) -> str:
    """Give a file name for any name, or for several: percent-encoded, joined by ``+``.

    A name that would be longer than file systems take is cut, and told from others by a checksum after ``%~``, which
    no percent-encoded name contains.

    Examples
    --------
    >>> file_name("block/1", ending=".json")
    'block%2F1.json'
    >>> file_name("a+b", "c", ending=".npz")
    'a%2Bb+c.npz'
    """
    whole = "+".join(quote(name, safe="", errors="surrogateescape") for name in names)
    room = _MOST_BYTES - len(ending)
    if len(whole) > room:
        checksum = hashlib.sha256(whole.encode()).hexdigest()[:16]
        whole = f"{re.sub('%.?$', '', whole[: room - len(checksum) - 2])}%~{checksum}"
    return whole + ending
