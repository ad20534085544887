"""Digests of a run's files, in ``digests.json``: they tell which file was changed, or lost, since it was written."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import write_atomically
from equiscope.foundations.received import inside
from equiscope.foundations.records import leave_out_damaged, remedy, run_folder
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import load_record

try:
    import fcntl
except ImportError:  # Windows has no such locks; what they keep apart hardly ever meets.
    fcntl = None  # type: ignore[assignment]

__all__ = ["is_as_written", "keeping_digest", "say_changes"]

_DIGESTS = "digests.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _DigestsFile:
    """Contents of ``digests.json``: of each JSON file of the run what was written to it last, and before that.

    Archives have checksums of their own, so that of them only the names stand here, without a digest.
    """

    files: dict[str, list[str]]


@contextmanager
def keeping_digest(path: Path, content: bytes | None) -> Iterator[None]:
    """Keep the digest of a file of a run that the block writes; of one without content that it was written.

    The digest is added before the file takes its name, and that of the file before it stays beside it: a process that
    is killed between the two leaves a file that has one of both. Other processes wait meanwhile.

    Examples
    --------
    >>> path = Path("equiscope-runs/mini/remarks.json")
    >>> with keeping_digest(path, b"{}"):
    ...     n_bytes = path.write_bytes(b"{}")
    >>> is_as_written(path)
    True
    """
    folder = run_folder(path)
    if not (folder / "run.json").exists() or (folder / _DIGESTS).is_dir():
        yield
        return
    with _locked(folder):
        files = _known_digests(folder)
        name = path.relative_to(folder).as_posix()
        own = files.get(name, [])[-1:]
        kept = own if content is None or own == [_digest(content)] else [*own, _digest(content)]
        if files.get(name) is None or kept != own:
            document = {"schema_version": SCHEMA_VERSION, "files": files | {name: kept}}
            text = to_json(document).encode()
            write_atomically(folder / _DIGESTS, lambda stream: stream.write(text))
        yield


def is_as_written(path: Path) -> bool:
    """Whether a JSON file of a run has the digest listed in ``digests.json``; True where none is listed.

    Examples
    --------
    >>> path = Path("equiscope-runs/mini/units.json")
    >>> is_as_written(path)
    True
    >>> n_characters = path.write_text(path.read_text().replace("equivariant", "invariant"))
    >>> is_as_written(path)
    False
    """
    folder = run_folder(path)
    known = _known_digests(folder).get(path.relative_to(folder).as_posix())
    return not known or _digest(path.read_bytes()) in known


def say_changes(folder: Path) -> None:
    """Log a warning for every file of a run that is missing, or is a JSON file and differs from what was written.

    Notes
    -----
    Cost: every such file is read once, 0.1 s for a hundred megabytes.

    Examples
    --------
    >>> from unittest import TestCase
    >>> Path("equiscope-runs/seed-1/units.json").unlink()
    >>> with TestCase().assertLogs("equiscope") as said:
    ...     say_changes(Path("equiscope-runs/seed-1"))
    >>> said.records[0].getMessage().partition(", or")[0]
    'equiscope-runs/seed-1/units.json was lost'
    """
    for name, known in _known_digests(folder).items():
        try:
            # A run that comes from somebody else names no file outside it.
            path = inside(folder, name)
            is_there = path.exists()
        except (EquiscopeError, OSError):
            continue  # no file of a run is called so
        if not is_there:
            _LOG.warning("%s was lost, or never finished, and is left out here: %s", path, remedy(path))
        elif known and path.is_file() and (found := _digest(path.read_bytes())) not in known:
            _LOG.warning(
                "%s was changed since it was written (sha256 %s…, was %s…): what is said here is what it says now",
                path, found[:12], known[-1][:12],
            )  # fmt: skip


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a block that reads digests and writes them."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network drives have no locks.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _known_digests(folder: Path) -> dict[str, list[str]]:
    """Digests of a run's files; none where there are none, as in runs of earlier versions."""
    path = folder / _DIGESTS
    found = leave_out_damaged(partial(load_record, path, _DigestsFile)) if path.exists() else None
    return found.files if found is not None else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
