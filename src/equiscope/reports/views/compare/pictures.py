"""Pictures of the other run of a comparison, kept in the first run's folder so that its site needs no other."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from equiscope.evidence.compare.comparison import Comparison, load_comparisons
from equiscope.foundations.files import file_name, write_changed
from equiscope.foundations.received import inside, is_sheet, is_webp
from equiscope.foundations.records import leave_out_damaged, read_record, reading
from equiscope.reports.document.pictures.sheets import SPRITES, FileStems, lost_sheets
from equiscope.reports.document.pictures.sprites import Pictures, Tile
from equiscope.reports.document.stored import read_document
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json
from equiscope.runs.writing import write_json

__all__ = ["bring_sheets", "keep_pictures", "kept_tiles"]

_FILE = "pictures.json"
_SHEET = re.compile(r"compare-[A-Za-z0-9._-]+\.webp")


def keep_pictures(folder: Path, comparison: Comparison, other: Path) -> int:
    """Copy the sheets that hold the strongest stimuli of the other run's members into ``compare/NAME``.

    Parameters
    ----------
    folder
        Of the run that keeps the comparison.
    comparison
        What was compared.
    other
        Folder of the other run. Where that has no document, what was kept before stays.

    Returns
    -------
    int
        Members that have a picture.

    Examples
    --------
    >>> run, other = Path("equiscope-runs/mini"), Path("equiscope-runs/seed-1")
    >>> (comparison,) = load_comparisons(run)
    >>> keep_pictures(run, comparison, other) > 10
    True
    >>> sorted(path.name for path in Path(run, "compare/seed-1").iterdir())
    ['compare-seed-1-0.webp', 'compare-seed-1-1.webp', 'pictures.json']
    """
    document = leave_out_damaged(partial(read_document, other))
    if document is None:
        return 0
    pictures = Pictures(document, lost_sheets(other, document))
    place = _place(folder, comparison.name)
    _remove_kept(place)
    sheets: list[dict[str, Any]] = []
    number_of: dict[str, int] = {}
    tiles: dict[str, list[int]] = {}
    stem = f"compare-{FileStems().of(comparison.name)}"
    for family in comparison.families:
        for member in family.members if family.run == "b" else ():
            tile = pictures.tile(member.layer, member.channel)
            if tile is None or not is_sheet(other, tile.sheet):
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
    """Give the tile of each unit of the other run that has one and whose sheet was kept.

    Examples
    --------
    >>> (comparison,) = load_comparisons("equiscope-runs/mini")
    >>> tiles = kept_tiles(Path("equiscope-runs/mini"), comparison)
    >>> sorted({tile.sheet for tile in tiles.values()})
    ['site/sprites/compare-seed-1-0.webp', 'site/sprites/compare-seed-1-1.webp']
    """
    kept = _kept(folder, comparison.name)
    if kept is None:
        return {}
    is_there = [_source(folder, comparison.name, sheet["name"]) is not None for sheet in kept["sheets"]]
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


def _kept(folder: Path, name: str) -> dict[str, Any] | None:
    """Read which pictures a comparison kept; None where it kept none, or that is damaged, which is said."""
    path = _place(folder, name) / _FILE
    return leave_out_damaged(partial(_read, path)) if path.exists() else None


def bring_sheets(folder: Path, target: Path) -> list[str]:
    """Copy the kept sheets of all comparisons of a run into a site, where they differ; give their addresses.

    Examples
    --------
    >>> bring_sheets(Path("equiscope-runs/mini"), Path("published"))
    ['site/sprites/compare-seed-1-0.webp', 'site/sprites/compare-seed-1-1.webp']
    >>> len(list(Path("published/site/sprites").iterdir()))
    2
    """
    addresses = []
    for comparison in load_comparisons(folder):
        kept = _kept(folder, comparison.name)
        for sheet in kept["sheets"] if kept else ():
            source, address = _source(folder, comparison.name, sheet["name"]), f"{SPRITES}/{sheet['name']}"
            if source is None:
                continue
            write_changed(inside(target, address), source.read_bytes())
            addresses.append(address)
    return addresses


def _source(folder: Path, comparison: str, name: Any) -> Path | None:
    """Give a kept sheet; None where it is not there, or is no picture of a comparison."""
    if not isinstance(name, str) or not _SHEET.fullmatch(name):
        return None
    path = _place(folder, comparison) / name
    return path if is_webp(path) else None


def _remove_kept(place: Path) -> None:
    """Remove the pictures of an earlier comparison of this name, and nothing else."""
    for path in place.iterdir() if place.is_dir() else ():
        if _SHEET.fullmatch(path.name) or path.name == _FILE:
            path.unlink()


def _place(folder: Path, name: str) -> Path:
    stem = file_name(name, ending="")
    # Never `.` or `..`: the folder above would be taken for that of a comparison.
    return folder / "compare" / (f"%2E{stem[1:]}" if stem.startswith(".") else stem)
