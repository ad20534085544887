"""Sheets of small pictures, and where on them each unit's stimuli are."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

from equiscope.reports.document.schema import ReportDocument, SheetEntry, UnitPicturesEntry

__all__ = ["MOST_MOVED", "TILE_PX", "Pictures", "Tile"]

# Side at which a stimulus is stored, px.
TILE_PX = 56
# Of one member, moved back: a run that was changed may claim any number.
MOST_MOVED = 16


@dataclass(frozen=True)
class Tile:
    """One square of a sheet.

    Attributes
    ----------
    sheet
        Address of the sheet, relative to ``index.html``.
    column, row
        Its place on the sheet, counted from 0.
    n_columns, n_rows
        Tiles of the whole sheet.
    """

    sheet: str
    column: int
    row: int
    n_columns: int
    n_rows: int


class Pictures:
    """The pictures of one document.

    Parameters
    ----------
    document
        Its ``sheets``, ``units`` and ``families`` are read.
    missing
        Addresses of sheets that are not there: what stands on them has no picture.
    """

    def __init__(self, document: ReportDocument, missing: Collection[str] = ()) -> None:
        self._sheets: Sequence[SheetEntry] = document.get("sheets", [])
        self._missing = frozenset(missing)
        self._units: dict[tuple[str, int], UnitPicturesEntry] = {
            (unit["layer"], unit["channel"]): unit["pictures"]
            for unit in document.get("units", [])
            if unit["pictures"] is not None
        }
        self._turned = {family["id"]: family.get("turned") for family in document["families"]}
        self._moved = {family["id"]: family.get("moved") for family in document["families"]}
        self._size = {family["id"]: len(family["members"]) for family in document["families"]}

    def tile(self, layer: str, channel: int, rank: int = 0, half: int | None = None) -> Tile | None:
        """Give a unit's stimulus of a rank, 0 being the strongest.

        Parameters
        ----------
        layer, channel
            The unit.
        rank
            Its place among the unit's stimuli by falling response.
        half
            0 counts only those of the finding half of the images, 1 those of the verifying half, None all.

        Returns
        -------
        Tile or None
            None where there is no such stimulus, or its sheet is missing.
        """
        own = self._units.get((layer, channel))
        if own is None or rank < 0 or rank >= self.n_stimuli(layer, channel, half):
            return None
        if half is None:
            if rank == 0:
                return self._at(*own["strongest"])
            place = own["order"][rank]
        else:
            place = rank + sum(own["n"][:half])
        sheet, first = own["stimuli"]
        return self._at(sheet, first + place)

    def n_stimuli(self, layer: str, channel: int, half: int | None = None) -> int:
        """Count a unit's stimuli that have a picture; 0 for a half where halves are not told apart."""
        own = self._units.get((layer, channel))
        if own is None:
            return 0
        if half is None:
            return sum(own["n"])
        return own["n"][half] if len(own["n"]) > 1 else 0

    def turned(self, family_id: str) -> Sequence[Tile]:
        """Give a stimulus of a family under each element of its `TurnedEntry`; empty where there is none."""
        own = self._turned.get(family_id)
        if own is None:
            return ()
        n_tiles = math.prod(len(axis) for axis in own["axes"].values())
        tiles = [self._at(own["sheet"], own["first"] + i) for i in range(n_tiles)]
        return [tile for tile in tiles if tile is not None]

    def turned_at(self, family_id: str) -> Sequence[dict[str, float]]:
        """Give for each tile of ``turned`` its value on each axis."""
        own = self._turned.get(family_id)
        if own is None:
            return ()
        return [dict(zip(own["axes"], values, strict=True)) for values in product(*own["axes"].values())]

    def moved(self, family_id: str) -> Sequence[Sequence[Tile]]:
        """Give the stimuli of each member, in the family's order, moved back to pose 0; empty where there are none."""
        own = self._moved.get(family_id)
        if own is None:
            return ()
        rows, place = [], own["first"]
        for n in own["n"]:
            row = [self._on_sheet(own["sheet"], place + i) for i in range(min(max(n, 0), MOST_MOVED))]
            rows.append([tile for tile in row if tile is not None])
            place += n
        return rows if any(rows) else ()

    def kernels(self, family_id: str, *, is_moved: bool) -> Sequence[Tile]:
        """Give the kernels of a family's members, as they are or moved back to pose 0; empty where there are none."""
        own = self._moved.get(family_id)
        if own is None:
            return ()
        place = own.get("moved_kernels") if is_moved else own.get("kernels")
        if place is None or len(place) != 2:
            return ()
        tiles = [self._on_sheet(place[0], place[1] + i) for i in range(self._size[family_id])]
        return [tile for tile in tiles if tile is not None] if all(tiles) else ()

    def _on_sheet(self, sheet: int, tile: int) -> Tile | None:
        """Give a tile of a run that may have been changed: None beside the sheet."""
        found = self._at(sheet, tile)
        return found if found is not None and 0 <= found.row < found.n_rows else None

    def _at(self, sheet: int, tile: int) -> Tile | None:
        if not 0 <= sheet < len(self._sheets):
            return None
        entry = self._sheets[sheet]
        if entry["address"] in self._missing:
            return None
        row, column = divmod(tile, entry["n_columns"])
        return Tile(entry["address"], column, row, entry["n_columns"], entry["n_rows"])
