"""Read the JSON documents of a run, of this schema version and of earlier ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from equiscope.foundations.errors import DamagedFileError, EquiscopeError
from equiscope.foundations.received import within_limits
from equiscope.foundations.records import read_record, reading
from equiscope.runs.layout import SCHEMA_VERSION

__all__ = ["load_record", "read_json"]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON document of a run.

    Raises
    ------
    EquiscopeError
        If it is not there, is not JSON, is no document of a run, or is of a newer schema than this version knows.

    Examples
    --------
    >>> document = read_json(Path("equiscope-runs/mini/run.json"))
    >>> document["schema_version"], document["model"]["name"]
    (3, 'mini')
    """
    if path.name == "run.json" and not path.exists():
        raise EquiscopeError(
            f"{path.parent} holds no {path.name}: expected the folder of a finished run, as `equiscope survey --out` "
            "makes it (an interrupted one goes on when the same command is given again)"
        )
    with reading(path, "cannot be read as JSON"):
        text = path.read_text(encoding="utf-8")
        document = json.loads(text, parse_constant=_refuse_constant, object_hook=within_limits)
    version = document.get("schema_version") if isinstance(document, dict) else None
    with reading(path):
        if type(version) is not int or version < 1:
            raise ValueError(
                f"schema version {version!r}, expected 1 to {SCHEMA_VERSION}: it is no file of a run"
            )
    if version > SCHEMA_VERSION:
        raise DamagedFileError(
            f"{path} has schema version {version}, this equiscope reads 1 to {SCHEMA_VERSION}: update equiscope"
        )
    return dict(document)


def load_record(path: Path, kind: Any) -> Any:
    """Read a JSON document of a run into the dataclass ``kind`` that it was written from, by `read_record`.

    A kind whose ``from_earlier`` says documents of earlier versions as this version does is read through that.

    Raises
    ------
    EquiscopeError
        As for `read_json`, or if something in it is missing or of another type.

    Examples
    --------
    >>> from equiscope.runs.findings import FamiliesFile
    >>> found = load_record(Path("equiscope-runs/mini/families.json"), FamiliesFile)
    >>> found.families[0].id
    'conv2d0-rotation-1'
    """
    document = read_json(path)
    with reading(path):
        if document["schema_version"] < SCHEMA_VERSION and hasattr(kind, "from_earlier"):
            document = kind.from_earlier(document)
        return read_record(kind, document)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
