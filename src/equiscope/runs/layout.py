"""How a run's folder is laid out: the version of its files, and the names of those that a layer has."""

from __future__ import annotations

from pathlib import Path

from equiscope.foundations.files import file_name

__all__ = ["SCHEMA_VERSION", "layer_path"]

SCHEMA_VERSION = 3


def layer_path(folder: Path, stage: str, layer: str, ending: str) -> Path:
    """File of one layer in a stage's folder; any layer name makes a safe file name.

    Examples
    --------
    >>> layer_path(Path("my-run"), "results/rotation", "block/1", ".json").as_posix()
    'my-run/results/rotation/block%2F1.json'
    """
    return folder / stage / file_name(layer, ending=ending)
