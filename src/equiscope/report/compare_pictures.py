"""Pictures of the other run of a comparison, kept in the first run's folder so that its site needs no other."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from equiscope.comparison import Comparison
from equiscope.files import file_name, write_changed
from equiscope.records import leave_out_damaged, read_record, reading
from equiscope.report.sheets import SPRITES, FileStems
from equiscope.report.sprites import Pictures, Tile
from equiscope.store import SCHEMA_VERSION, read_json, write_json

__all__ = ["keep_pictures", "kept_tiles"]

_FILE = "pictures.json"


def keep_pictures(folder: Path, comparison: Comparison, other: Path, pictures: Pictures) -> int:
    """Copy the sheets that hold the strongest stimuli of the other run's members into ``compare/NAME``.

    Parameters
    ----------
    folder
        Of the run that keeps the comparison.
    comparison
        What was compared.
    other, pictures
        Folder of the other run, and the pictures of its document.

    Returns
    -------
    int
        Members that have a picture.
    """
    place = _place(folder, comparison.name)
    shutil.rmtree(place, ignore_errors=True)
    sheets: list[dict[str, Any]] = []
    number_of: dict[str, int] = {}
    tiles: dict[str, list[int]] = {}
    stem = f"compare-{FileStems().of(comparison.name)}"
    for family in comparison.families:
        for member in family.members if family.run == "b" else ():
            tile = pictures.tile(member.layer, member.channel)
            if tile is None or not (other / tile.sheet).exists():
                continue
            if tile.sheet not in number_of:
                number = number_of[tile.sheet] = len(sheets)
                name = f"{stem}-{number}.webp"
                place.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(other / tile.sheet, place / name)
                sheets.append({"name": name, "n_columns": tile.n_columns, "n_rows": tile.n_rows})
            tiles[f"{member.layer}:{member.channel}"] = [number_of[tile.sheet], tile.column, tile.row]
    write_json(
        place / _FILE, {"schema_version": SCHEMA_VERSION, "sheets": sheets, "tiles": tiles}, is_compact=True
    )
    return len(tiles)


def kept_tiles(folder: Path, comparison: Comparison) -> dict[tuple[str, int], Tile]:
    """Give the tile of each unit of the other run that has one, after seeing to it that its sheet is in the site."""
    place = _place(folder, comparison.name)
    if not (place / _FILE).exists():
        return {}
    kept = leave_out_damaged(partial(_read, place / _FILE))
    if kept is None:
        return {}
    is_there = []
    for sheet in kept["sheets"]:
        source, target = place / sheet["name"], folder / SPRITES / sheet["name"]
        if source.exists():
            write_changed(target, source.read_bytes())
        is_there.append(target.exists())
    tiles = {}
    for name, (number, column, row) in kept["tiles"].items():
        layer, _, channel = name.rpartition(":")
        sheet = kept["sheets"][number]
        if is_there[number]:
            tiles[layer, int(channel)] = Tile(
                f"{SPRITES}/{sheet['name']}", column, row, sheet["n_columns"], sheet["n_rows"]
            )
    return tiles


class _Sheet(TypedDict):
    name: str
    n_columns: int
    n_rows: int


class _Kept(TypedDict):
    sheets: list[_Sheet]
    tiles: dict[str, tuple[int, int, int]]


def _read(path: Path) -> dict[str, Any]:
    kept = read_json(path)
    with reading(path):
        read_record(_Kept, kept)
        for name, (number, _column, _row) in kept["tiles"].items():
            int(name.rpartition(":")[2])
            if not 0 <= number < len(kept["sheets"]):
                raise ValueError(f"tiles.{name} is on sheet {number} of {len(kept['sheets'])}")
    return kept


def _place(folder: Path, name: str) -> Path:
    return folder / "compare" / file_name(name, ending="")
