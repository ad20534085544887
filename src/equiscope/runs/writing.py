"""Write the files of a run: whole or not at all, and with the digest by which a later change is seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equiscope.foundations.documents import to_json
from equiscope.foundations.files import write_atomically, write_new
from equiscope.runs.digests import keeping_digest

__all__ = ["create_json", "write_archive", "write_json"]


def write_json(path: Path, document: dict[str, Any], *, is_compact: bool = False) -> None:
    """Write a document as JSON, atomically; inside a run's folder its SHA-256 digest goes into ``digests.json``.

    Examples
    --------
    >>> write_json(Path("scores.json"), {"schema_version": 3, "score": float("nan")}, is_compact=True)
    >>> Path("scores.json").read_text().splitlines()
    ['{"schema_version":3,"score":null}']
    """
    content = to_json(document, is_compact=is_compact).encode()
    with keeping_digest(path, content):
        write_atomically(path, lambda stream: stream.write(content))


def write_archive(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed ``.npz``, atomically; inside a run's folder ``digests.json`` lists its name.

    Examples
    --------
    >>> write_archive(Path("weights.npz"), {"kernel": np.eye(2)})
    >>> with np.load("weights.npz") as stored:
    ...     stored["kernel"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    with keeping_digest(path, None):
        write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))


def create_json(path: Path, document: dict[str, Any]) -> bool:
    """Write a document as JSON unless a file of that name exists: of several processes exactly one succeeds.

    Returns
    -------
    bool
        False where another was there already, which stays as it is.

    Examples
    --------
    >>> create_json(Path("first.json"), {"from": "one"}), create_json(Path("first.json"), {"from": "another"})
    (True, False)
    """
    content = to_json(document).encode()
    return write_new(path, lambda stream: stream.write(content))
