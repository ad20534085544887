"""Tiles that wait for their sheets in a temporary file: images come in another order than what shows parts of them."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.files import naming
from equiscope.reports.document.pictures.sprites import TILE_PX

__all__ = ["TileFile", "open_tiles"]

_SHAPE = (TILE_PX, TILE_PX, 3)
_N_BYTES = math.prod(_SHAPE)


class TileFile:
    """Tiles by number, in a file.

    Written and read by calls, which fail with an error where the disk is full: a page of a memory-mapped file for which
    there is no room ends the process with a signal instead, and without a word.

    Parameters
    ----------
    stream
        Open for reading and writing.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, number: int, tile: NDArray[np.uint8]) -> None:
        """Write a tile, shape (y, x, 3)."""
        self._stream.seek(number * _N_BYTES)
        self._stream.write(tile.tobytes())

    def finish(self) -> None:
        """Make sure that all tiles are stored: a file system in a network may say only now that it has no room."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read tiles, shape (tile, y, x, 3)."""
        tiles = np.empty((len(numbers), *_SHAPE), np.uint8)
        for tile, number in zip(tiles, numbers.tolist(), strict=True):
            self._stream.seek(number * _N_BYTES)
            tile[:] = np.frombuffer(self._stream.read(_N_BYTES), np.uint8).reshape(_SHAPE)
        return tiles


@contextmanager
def open_tiles(folder: Path) -> Iterator[TileFile]:
    """Open an empty file for tiles in a folder; nothing of it is left, however the process ends.

    Examples
    --------
    >>> with open_tiles(Path(".")) as tiles:
    ...     tiles.write(3, np.full((TILE_PX, TILE_PX, 3), 7, np.uint8))
    ...     tiles.read(np.array([3]))[0, 0, 0].tolist()
    [7, 7, 7]
    """
    with naming(folder), tempfile.TemporaryFile(dir=folder, prefix=".tiles.") as stream:
        yield TileFile(stream)
