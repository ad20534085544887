"""Drawings in pixels: pictures cut out of their sheets, and whole figures as PNG."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from equiscope.foundations.errors import EquiscopeError, MissingExtraError, packages_of
from equiscope.foundations.received import is_sheet
from equiscope.reports.drawing.svg import Node

__all__ = ["Cropper", "rasterise"]

# A page of a journal is some 900 units of a drawing wide: 3 pixels a unit are 400 dots an inch there.
_PIXELS_A_UNIT = 3.0


class Cropper:
    """Cuts what an image of a drawing shows out of its sheet, as a PNG: print programs do not all read WebP."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._sheets: dict[str, Image.Image | None] = {}

    def __call__(self, image: Node) -> str | None:
        """Give the address of a picture, as a PNG in itself; None where its sheet is not there."""
        address = image.attributes["href"]
        if self._folder is None or not is_sheet(self._folder, address):
            return None
        if address not in self._sheets:
            self._sheets[address] = _read_sheet(self._folder / address)
        own = self._sheets[address]
        column, row, n_columns, n_rows = (
            abs(int(float(image.attributes[key]))) for key in ("x", "y", "width", "height")
        )
        if own is None or n_columns > own.width or n_rows > own.height:
            return None
        width, height = own.width // n_columns, own.height // n_rows
        tile = own.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))
        stream = io.BytesIO()
        tile.save(stream, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _read_sheet(path: Path) -> Image.Image | None:
    """Read a sheet of pictures, as WebP and nothing else; None where it is damaged, or larger than any sheet is."""
    try:
        with Image.open(path, formats=("WEBP",)) as sheet:
            return sheet.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def rasterise(svg: str) -> bytes:
    """Draw an SVG in pixels.

    Raises
    ------
    MissingExtraError
        If the extra ``figures`` is not installed.
    EquiscopeError
        If the machine has no fonts, so that the words would be missing.

    Examples
    --------
    >>> dot = '<circle cx="10" cy="5" r="5" fill="red"/>'
    >>> png = rasterise(f'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">{dot}</svg>')
    >>> picture = Image.open(io.BytesIO(png)).convert("RGB")
    >>> picture.size, picture.getpixel((30, 15)), picture.getpixel((0, 0))
    ((60, 30), (255, 0, 0), (255, 255, 255))
    """
    try:
        import resvg_py
    except ImportError as error:
        raise MissingExtraError(
            f"a PNG needs resvg_py, which cannot be imported ({error}): "
            f"pip install {packages_of('figures')}, or write an .svg"
        ) from error
    options: dict[str, Any] = {"zoom": _PIXELS_A_UNIT, "background": "white"}
    letter = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><text y="15">A</text></svg>'
    with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=letter, background="white")))) as drawn:
        low, _ = drawn.convert("L").getextrema()
    if low == 255:
        raise EquiscopeError(
            "this machine has no fonts, so a PNG would have no words: install some, or write an .svg"
        )
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, **options))
