"""Write small square pictures side by side onto sheets, none of which is large."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import write_atomically
from equiscope.foundations.received import is_sheet
from equiscope.reports.document.pictures.sprites import TILE_PX
from equiscope.reports.document.schema import PictureEntry, ReportDocument, SheetEntry, UnitPicturesEntry

__all__ = ["SPRITES", "FileStems", "SheetWriter", "lost_sheets", "read_strips", "shrink"]

SPRITES = "site/sprites"
# A sheet of photographs at this quality has 150 to 250 kB, and is halved where it has more than the most allowed.
_N_TILES = 144
_MOST_BYTES = 290_000
_QUALITY = 75
# What `_checked_address` names. Other formats are not even tried: PIL draws some by other programs.
_STRIP_FORMATS = ("JPEG", "PNG", "WEBP")


class FileStems:
    """File names without ending: harmless on every file system and in an address, and each once."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def of(self, name: str) -> str:
        """Give the next free stem like a name; names that differ only in case, or after cleaning, get numbers."""
        clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80].strip(".-") or "unnamed"
        stem, n_same = clean, 1
        while stem.lower() in self._used:
            n_same += 1
            stem = f"{clean}--{n_same}"
        self._used.add(stem.lower())
        return stem


class SheetWriter:
    """Collects runs of tiles onto sheets; the tiles of one run stand one after the other on one sheet.

    Parameters
    ----------
    folder
        Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.sheets: list[SheetEntry] = []
        self._folder = folder
        self._stems = FileStems()
        self._places: list[tuple[int, int]] = []

    def write(
        self,
        name: str,
        runs: Sequence[NDArray[np.int64]],
        read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    ) -> list[tuple[int, int]]:
        """Write runs of tiles.

        Parameters
        ----------
        name
            What the files are called like.
        runs
            Tiles of each run, by index.
        read
            Gives tiles by their indices, shape (tile, y, x, 3).

        Returns
        -------
        list of (sheet, first)
            Where each run is.
        """
        stem = self._stems.of(name)
        places: list[tuple[int, int]] = []
        number, start = 0, 0
        while start < len(runs):
            stop, n_tiles = start, 0
            while stop < len(runs) and (stop == start or n_tiles + len(runs[stop]) <= _N_TILES):
                n_tiles += len(runs[stop])
                stop += 1
            while True:
                chosen = np.concatenate(runs[start:stop])
                entry, content = _encode(read(chosen))
                if len(content) <= _MOST_BYTES or stop == start + 1:
                    break
                stop = start + (stop - start + 1) // 2
            address = f"{SPRITES}/{stem}-{number}.webp"
            write_atomically(self._folder / address, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
            first = 0
            for run in runs[start:stop]:
                places.append((len(self.sheets), first))
                first += len(run)
            self.sheets.append(cast("SheetEntry", {"address": address, **entry}))
            number, start = number + 1, stop
        return places

    def remove_others(self) -> None:
        """Remove the sheets of an earlier report."""
        kept = {sheet["address"] for sheet in self.sheets}
        for path in (self._folder / SPRITES).glob("*.webp"):
            if f"{SPRITES}/{path.name}" not in kept and path.is_file():
                path.unlink(missing_ok=True)


def _encode(tiles: NDArray[np.uint8]) -> tuple[dict[str, int], bytes]:
    """Lay tiles out in a nearly square sheet, and encode it."""
    n_columns = min(len(tiles), max(1, int(np.ceil(np.sqrt(len(tiles))))))
    n_rows = -(-len(tiles) // n_columns)
    sheet = np.full((n_rows * n_columns, TILE_PX, TILE_PX, 3), 128, np.uint8)
    sheet[: len(tiles)] = tiles
    pixels = sheet.reshape(n_rows, n_columns, TILE_PX, TILE_PX, 3).transpose(0, 2, 1, 3, 4)
    stream = io.BytesIO()
    picture = Image.fromarray(pixels.reshape(n_rows * TILE_PX, n_columns * TILE_PX, 3))
    picture.save(stream, "WEBP", quality=_QUALITY, method=4)
    return {"n_columns": n_columns, "n_rows": n_rows}, stream.getvalue()


def lost_sheets(folder: Path, document: ReportDocument) -> list[str]:
    """Give the addresses of a document's sheets that are not there, or that are not those of sheets (`is_sheet`).

    Examples
    --------
    >>> sheet = {"address": "site/sprites/conv1-strongest-0.webp", "n_columns": 3, "n_rows": 2}
    >>> lost_sheets(Path("run"), {"sheets": [sheet]})
    ['site/sprites/conv1-strongest-0.webp']
    """
    return [
        sheet["address"] for sheet in document.get("sheets", []) if not is_sheet(folder, sheet["address"])
    ]


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give a picture, shape (y, x, 3), the size of a tile.

    Examples
    --------
    >>> shrink(np.full((90, 90, 3), 200, np.uint8)).shape
    (56, 56, 3)
    """
    picture = Image.fromarray(pixels).resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def read_strips(
    pictures: Sequence[PictureEntry], writer: SheetWriter
) -> Iterator[tuple[PictureEntry, UnitPicturesEntry]]:
    """Move the pictures of a document of an earlier version onto sheets; one that cannot be read is left out.

    Raises
    ------
    EquiscopeError
        If a picture is not a ``data:image/`` address.

    Examples
    --------
    >>> content = io.BytesIO()
    >>> Image.new("RGB", (3 * TILE_PX, TILE_PX)).save(content, "PNG")
    >>> strip = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
    >>> picture = {"layer": "conv1", "channel": 4, "n_stimuli": 3, "stimuli": strip}
    >>> [place for _, place in read_strips([picture], SheetWriter(Path(".")))]
    [{'strongest': [0, 0], 'stimuli': [1, 0], 'n': [3], 'order': [0, 1, 2]}]
    """
    tiles: list[NDArray[np.uint8]] = []
    by_layer: dict[str, list[tuple[PictureEntry, NDArray[np.int64]]]] = {}
    for picture in pictures:
        content = base64.b64decode(_checked_address(picture).partition(",")[2])
        try:
            with Image.open(io.BytesIO(content), formats=_STRIP_FORMATS) as strip:
                n = max(1, picture["n_stimuli"])
                size = (TILE_PX * n, TILE_PX)
                pixels = np.asarray(strip.convert("RGB").resize(size), np.uint8)
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
            continue
        own = np.arange(len(tiles), len(tiles) + n)
        tiles += list(pixels.reshape(TILE_PX, n, TILE_PX, 3).transpose(1, 0, 2, 3))
        by_layer.setdefault(picture["layer"], []).append((picture, own))
    for layer, entries in by_layer.items():
        read = np.stack(tiles).__getitem__
        strongest = writer.write(f"{layer}-strongest", [own[:1] for _, own in entries], read)
        stimuli = writer.write(f"{layer}-stimuli", [own for _, own in entries], read)
        for (picture, own), first, place in zip(entries, strongest, stimuli, strict=True):
            yield (
                picture,
                {
                    "strongest": list(first),
                    "stimuli": list(place),
                    "n": [len(own)],
                    "order": list(range(len(own))),
                },
            )


def _checked_address(picture: PictureEntry) -> str:
    """Give the address of a picture.

    Raises
    ------
    EquiscopeError
        If it is not a base64 ``data:image/`` address and nothing else: the page may not fetch anything, and the address
        stands in a style sheet.
    """
    address = picture["stimuli"]
    if not re.fullmatch(r"data:image/(jpeg|png|webp);base64,[A-Za-z0-9+/=]+", address):
        raise EquiscopeError(
            f"the stimuli of {picture['layer']}:{picture['channel']} are {address[:60]!r}; expected a "
            f"base64 data:image/jpeg, png or webp address, because the page may not fetch anything"
        )
    return address
