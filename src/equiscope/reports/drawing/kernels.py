"""Weights as pictures: red positive, blue negative, paper at zero, in a few kilobytes each."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["LEAST_PX", "KernelGrid", "draw_kernels", "kernel_scale"]

# Shades of each sign. Nobody tells more apart, and fewer compress better.
_N_SHADES = 31
# Colours at the largest weight. Smaller ones are the same colours, more transparent: zero is whatever paper lies
# below, so that one picture serves the light and the dark page. Both have 4 : 1 against either.
_POSITIVE, _NEGATIVE = (209, 63, 52), (47, 121, 201)
# Lines between kernels, and slots without a kernel: a veil that is seen on both papers.
_BLANK, _BLANK_ALPHA = (128, 128, 128), 56
# Kernels are enlarged to this many pixels, so that the line between them is thin beside them.
LEAST_PX = 9
_SATURATED = 0.995


class KernelGrid:
    """A picture of kernels in rows and columns.

    Attributes
    ----------
    address
        ``data:image/png;base64,…``.
    n_rows, n_columns
        Kernels.
    pitch_y, pitch_x
        Pixels from one kernel to the next; the last of each is the line between them.
    """

    def __init__(self, kernels: NDArray[Any], scale: float, line: int = 1, least_px: int = LEAST_PX) -> None:
        self.n_rows, self.n_columns, n_y, n_x = kernels.shape
        factor = -(-least_px // max(n_y, n_x))
        self.pitch_y, self.pitch_x = n_y * factor + line, n_x * factor + line
        share = np.clip(np.asarray(kernels, dtype=np.float64) / scale, -1, 1)
        shades = np.where(np.isfinite(share), np.round(share * _N_SHADES) + _N_SHADES + 1, 0).astype(np.uint8)
        shades = shades.repeat(factor, axis=2).repeat(factor, axis=3)
        shades = np.pad(shades, ((0, 0), (0, 0), (0, line), (0, line)))
        pixels = shades.transpose(0, 2, 1, 3).reshape(
            self.n_rows * self.pitch_y, self.n_columns * self.pitch_x
        )
        self.address = _png_address(pixels)


def _png_address(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.putpalette([part for colour in _palette() for part in colour[:3]])
    stream = io.BytesIO()
    alphas = bytes(colour[3] for colour in _palette())
    image.save(stream, "PNG", optimize=True, transparency=alphas)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _palette() -> list[tuple[int, int, int, int]]:
    """Return blank, then from the most negative over zero to the most positive."""
    shades = range(-_N_SHADES, _N_SHADES + 1)
    return [
        (*_BLANK, _BLANK_ALPHA),
        *((*(_NEGATIVE if i < 0 else _POSITIVE), round(255 * abs(i) / _N_SHADES)) for i in shades),
    ]


def kernel_scale(kernels: NDArray[Any]) -> float:
    """Give the weight that has the full colour: what all but a few in a thousand stay below.

    Examples
    --------
    >>> kernel_scale(np.array([-2.0, 2.0, np.nan]))
    2.0
    """
    finite = np.abs(np.asarray(kernels, dtype=np.float64))
    finite = finite[np.isfinite(finite)]
    return max(float(np.quantile(finite, _SATURATED)), 1e-12) if finite.size else 1.0


def draw_kernels(
    kernels: NDArray[Any], scale: float | None = None, *, has_lines: bool = True, least_px: int = LEAST_PX
) -> KernelGrid:
    """Draw kernels of shape (row, column, y, x); NaN is left blank.

    Parameters
    ----------
    kernels
        Weights.
    scale
        The weight that has the full colour; default: their own.
    has_lines
        Draw a line after each kernel.
    least_px
        Enlarge kernels to at least this many pixels, by a whole number: print programs smooth what they enlarge
        themselves.

    Examples
    --------
    >>> grid = draw_kernels(np.ones((2, 4, 3, 3)))
    >>> grid.n_rows, grid.n_columns, grid.address[:22]
    (2, 4, 'data:image/png;base64,')
    """
    return KernelGrid(kernels, kernel_scale(kernels) if scale is None else scale, int(has_lines), least_px)
