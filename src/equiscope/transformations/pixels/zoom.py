"""How scale and stretch act on image patches: magnified by splines, reduced with antialiasing.

A patch magnified by s octaves shows content 2^s times larger; one stretched by s octaves shows it 2^(s/2) times wider
and as many times less high, so that its area stays. Rows and columns are read apart, through the same quintic B-spline
as for rotations; before an image is reduced it is smoothed by a Gaussian, so that what a reduced pixel cannot hold does
not alias into it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from equiscope.transformations.pixels.turning import _prefilter, _quintic, _windows

__all__ = ["stretch_crop_px", "stretch_patches", "zoom_crop_px", "zoom_patches"]

_MARGIN_PX = 4
# Blur that an image is taken to have already, px: reducing by f needs sqrt(f² - 1) times as much again (Lowe,
# *Distinctive image features from scale-invariant keypoints*, 2004, section 3.3).
_OWN_BLUR_PX = 0.5
_PATCHES_PER_BLOCK = 4
# Rows of a patch that are read together: of 16 to 64 the fastest, half of the time of all at once.
_ROWS_PER_BAND = 32
# Weights that are left out. The spline's prefilter reaches over the whole window and fades by 0.43 a pixel; what is
# left out changes a pixel by 2e-6 at most.
_NEGLIGIBLE = 1e-6


def zoom_crop_px(size_px: int, octaves: float) -> int:
    """Side of the crop from which `zoom_patches` can cut a patch at this magnification or a larger one, px.

    Examples
    --------
    A patch of half the size needs twice the surroundings.

    >>> zoom_crop_px(16, 0.0), zoom_crop_px(16, -1.0)
    (26, 46)
    """
    return 2 * _reach_px(size_px, octaves) + 2


def zoom_patches(crops: Tensor, centres_px: Tensor, octaves: Sequence[float], size_px: int) -> Tensor:
    """Magnify the content of each crop about a centre of its own and cut a patch around that centre.

    Parameters
    ----------
    crops
        Tensor, shape (stimulus, channel, y, x), floating point.
    centres_px
        Tensor, shape (stimulus, 2): where the (y, x) centre lies in each crop, px.
    octaves
        Magnifications; 0 leaves the size as it is, 1 doubles it.
    size_px
        Side of the patches, px.

    Returns
    -------
    Tensor, shape (stimulus, octave, channel, size_px, size_px)
        Patches whose centre is the centre of magnification.

    Raises
    ------
    EquiscopeError
        If a crop ends before a reduced patch does: it needs ``zoom_crop_px`` of the smallest magnification.

    Notes
    -----
    Exact for 0 octaves where the patch's grid falls on pixels. A plane wave of 0.1 cycles per pixel magnified by half
    an octave has a relative error of 0.0003; reduced by half an octave it keeps 0.96 of its amplitude, the rest of it
    being accurate to 0.0002.

    Examples
    --------
    >>> side_px = zoom_crop_px(8, -0.5)
    >>> crops = torch.rand(2, 3, side_px, side_px)
    >>> middles = torch.full((2, 2), (side_px - 1) / 2, dtype=torch.float64)
    >>> zoom_patches(crops, middles, [-0.5, 0.0, 0.5], 8).shape
    torch.Size([2, 3, 3, 8, 8])
    """
    return _magnify(crops, centres_px, [(own, own) for own in octaves], size_px)


def stretch_crop_px(size_px: int, octaves: float) -> int:
    """Side of the crop from which `stretch_patches` can cut a patch at this stretch or a smaller one, px.

    Examples
    --------
    >>> stretch_crop_px(16, 1.0), stretch_crop_px(16, -1.0)
    (36, 36)
    """
    return zoom_crop_px(size_px, -abs(octaves) / 2)


def stretch_patches(crops: Tensor, centres_px: Tensor, octaves: Sequence[float], size_px: int) -> Tensor:
    """Stretch the content of each crop along x about a centre of its own and cut a patch around that centre.

    Parameters
    ----------
    crops
        Tensor, shape (stimulus, channel, y, x), floating point.
    centres_px
        Tensor, shape (stimulus, 2): where the (y, x) centre lies in each crop, px.
    octaves
        By how much the ratio of width to height grows; 0 leaves it as it is, 1 doubles it, -1 halves it.
    size_px
        Side of the patches, px.

    Returns
    -------
    Tensor, shape (stimulus, octave, channel, size_px, size_px)
        Patches whose centre stays in its place.

    Raises
    ------
    EquiscopeError
        If a crop ends before a patch does: it needs ``stretch_crop_px`` of the largest stretch.

    Notes
    -----
    As exact along each axis as `zoom_patches` at half of the octaves.

    Examples
    --------
    A spot becomes twice as wide as high.

    >>> side_px = stretch_crop_px(9, 1.0)
    >>> y, x = torch.meshgrid(*[torch.arange(side_px) - (side_px - 1) / 2] * 2, indexing="ij")
    >>> spot = torch.exp(-(y**2 + x**2) / 8)[None, None]
    >>> middle = torch.full((1, 2), (side_px - 1) / 2, dtype=torch.float64)
    >>> stretched = stretch_patches(spot, middle, [1.0], 9)[0, 0, 0]
    >>> [round(float(stretched[place]), 2) for place in ((4, 4), (4, 6), (6, 4))]
    [0.97, 0.76, 0.38]
    """
    return _magnify(crops, centres_px, [(-own / 2, own / 2) for own in octaves], size_px)


def _magnify(
    crops: Tensor, centres_px: Tensor, octaves: Sequence[tuple[float, float]], size_px: int
) -> Tensor:
    """Magnify by so many octaves along y and along x, shape (stimulus, octave, channel, size_px, size_px)."""
    n_stimuli, n_channels = crops.shape[:2]
    magnified = crops.new_empty(n_stimuli, len(octaves), n_channels, size_px, size_px)
    centres = centres_px.detach().to("cpu", torch.float64)
    whole = centres.floor()
    fractions, group_of = torch.unique(centres - whole, dim=0, return_inverse=True)
    for group, fraction in enumerate(fractions.tolist()):
        members = (group_of == group).nonzero()[:, 0]
        for index, along in enumerate(octaves):
            reach = [_reach_px(size_px, own) for own in along]
            height, width = (2 * own + 2 for own in reach)
            rows, columns = (
                _bands(own, size_px, at, side, crops.dtype, crops.device)
                for own, at, side in zip(along, fraction, (height, width), strict=True)
            )
            for start in range(0, len(members), _PATCHES_PER_BLOCK):
                block = members[start : start + _PATCHES_PER_BLOCK]
                first = whole[block].long() - torch.tensor(reach)
                magnified[block, index] = _read(
                    _windows(crops, block, first, height, width), rows, columns, size_px
                )
    return magnified


def _read(windows: Tensor, rows: Sequence[_Band], columns: Sequence[_Band], size_px: int) -> Tensor:
    """Read patches, shape (stimulus, channel, size_px, size_px), out of windows: along y, then along x."""
    half = windows.new_empty(*windows.shape[:2], size_px, windows.shape[3])
    for band in rows:
        half[:, :, band.patch] = band.weights @ windows[:, :, band.window]
    patches = windows.new_empty(*windows.shape[:2], size_px, size_px)
    for band in columns:
        patches[..., band.patch] = half[..., band.window] @ band.weights.T
    return patches


def _reach_px(size_px: int, octaves: float) -> int:
    """Whole pixels from the centre's pixel to the last one that a patch reads."""
    reduction: float = 2.0**-octaves
    return math.ceil((size_px - 1) / 2 * reduction + 3 * _smoothing_px(reduction)) + _MARGIN_PX


def _smoothing_px(reduction: float) -> float:
    return _OWN_BLUR_PX * math.sqrt(max(reduction**2 - 1, 0.0))


@dataclass(frozen=True)
class _Band:
    """Some rows of a patch, the rows of the window that they read, and with which weights."""

    patch: slice
    window: slice
    weights: Tensor


@lru_cache(maxsize=128)
def _bands(
    octaves: float,
    size_px: int,
    fraction_px: float,
    side_px: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[_Band, ...]:
    """Divide the matrix from a row of the window to the patch's row, most of which is nearly zero, into bands."""
    matrix = _reading(octaves, size_px, fraction_px, side_px)
    bands = []
    for first in range(0, size_px, _ROWS_PER_BAND):
        own = matrix[first : first + _ROWS_PER_BAND]
        read = (own.abs().amax(0) > _NEGLIGIBLE).nonzero()[:, 0]
        window = slice(int(read[0]), int(read[-1]) + 1)
        weights = own[:, window].to(device, dtype).contiguous()
        bands.append(_Band(slice(first, first + len(own)), window, weights))
    return tuple(bands)


def _reading(octaves: float, size_px: int, fraction_px: float, side_px: int) -> Tensor:
    """Matrix from a row of the window to the patch's row, shape (size_px, side_px), float64."""
    reduction = 2.0**-octaves
    middle = side_px // 2 - 1
    source = (
        (torch.arange(size_px, dtype=torch.float64) - (size_px - 1) / 2) * reduction + middle + fraction_px
    )
    if octaves == 0.0 and bool((source == source.round()).all()):
        return torch.nn.functional.one_hot(source.long(), side_px).double()
    position = torch.arange(side_px, dtype=torch.float64)
    matrix = _quintic(source[:, None] - position) @ _prefilter(side_px)
    smoothing = _smoothing_px(reduction)
    if smoothing > 0:
        gaussian = torch.exp(-0.5 * ((position[:, None] - position[None, :]) / smoothing) ** 2)
        matrix = matrix @ (gaussian / gaussian.sum(1, keepdim=True))
    return matrix
