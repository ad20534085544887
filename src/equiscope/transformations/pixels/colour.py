"""How hue rotation and contrast inversion act on the colours of an image.

Both are linear maps of RGB about the grey axis, applied to every pixel alike. A colour is ``luma · (1, 1, 1)`` plus a
chroma without luma (Rec. 709 weights). Hue turns the chroma: seen along the grey axis it is an ordinary rotation of
the plane in which red lies at 0°, green at 120° and blue at 240°, and luma stays as it is, so the maps are a true
cyclic group. Contrast inversion mirrors luma at mid-grey and keeps the chroma: light on dark becomes dark on light.

The gamut. A turned colour can leave [0, 1], most often where a saturated blue (luma 0.07) would need to become an
equally saturated yellow. Values are left as they are: clamping is not linear, so it would break the group. The
network is then shown a few values that no photograph has; docs/transformations.md tells how many and what clamping
them would change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "LUMA",
    "chroma_of_hue",
    "chroma_strength",
    "hue_matrix",
    "invert_contrast",
    "luma_of",
    "rotate_hue",
]

# Rec. 709 luma weights of R, G and B.
LUMA = (0.2126, 0.7152, 0.0722)


def _chroma_basis() -> Tensor:
    """Return the chroma, RGB without luma, of hues 0° and 90°: shape (2, 3), float64."""
    towards_red = torch.tensor([2.0, -1.0, -1.0], dtype=torch.float64) / math.sqrt(6)
    towards_lime = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64) / math.sqrt(2)
    plane = torch.stack([towards_red, towards_lime])
    luma = torch.tensor(LUMA, dtype=torch.float64)
    # The plane across the grey axis has luma of its own; taking it off shifts each colour along the axis only.
    return plane - (plane @ luma)[:, None]


def chroma_of_hue(hue_deg: float, strength: float = 1.0) -> Tensor:
    """Give the chroma of a hue: what to add to a grey to colour it without changing its luma.

    Parameters
    ----------
    hue_deg
        0° red, 120° green, 240° blue.
    strength
        Distance from the grey axis; pure red has 0.82.

    Returns
    -------
    Tensor, shape (3,), float64, RGB

    Examples
    --------
    >>> chroma = chroma_of_hue(0.0)
    >>> bool(chroma[0] > 0 > chroma[1]), abs(float(chroma @ torch.tensor(LUMA, dtype=torch.float64))) < 1e-12
    (True, True)
    """
    angle = math.radians(hue_deg)
    direction = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    return strength * (direction @ _chroma_basis())


def hue_matrix(hue_deg: float) -> Tensor:
    """Give the linear map of RGB that turns hue and holds luma.

    Parameters
    ----------
    hue_deg
        Any real number; positive from red (0°) over green (120°) to blue (240°).

    Returns
    -------
    Tensor, shape (3, 3), float64
        To be multiplied from the left to an RGB column. ``hue_matrix(a) @ hue_matrix(b) == hue_matrix(a + b)``.

    Examples
    --------
    Grey stays grey, and luma stays as it is.

    >>> grey = torch.full((3,), 0.4, dtype=torch.float64)
    >>> torch.allclose(hue_matrix(75.0) @ grey, grey)
    True
    """
    luma = torch.tensor(LUMA, dtype=torch.float64)
    towards_red = torch.tensor([2.0, -1.0, -1.0], dtype=torch.float64) / math.sqrt(6)
    towards_lime = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64) / math.sqrt(2)
    angle = math.radians(hue_deg)
    # Coordinates of a colour in the plane across the grey axis, turned, and lifted back to chroma without luma.
    coordinates = torch.stack([towards_red, towards_lime])
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )
    return _chroma_basis().T @ turn @ coordinates + torch.outer(torch.ones(3, dtype=torch.float64), luma)


def rotate_hue(images: Tensor, hues_deg: Sequence[float]) -> Tensor:
    """Turn the hue of images by each of several angles.

    Parameters
    ----------
    images
        Tensor, shape (..., 3, y, x), floating point RGB.
    hues_deg
        Angles; 0 leaves an image as it is, bit for bit.

    Returns
    -------
    Tensor, shape (..., hue, 3, y, x)
        Not clamped: see the module's note on the gamut.

    Examples
    --------
    Three turns by 120° bring every colour back.

    >>> image = torch.rand(3, 4, 5)
    >>> turned = image
    >>> for _ in range(3):
    ...     turned = rotate_hue(turned, [120.0])[0]
    >>> torch.allclose(turned, image, atol=1e-5)
    True
    """
    turned = []
    for hue_deg in hues_deg:
        if hue_deg % 360.0 == 0.0:
            turned.append(images)
        else:
            turned.append(torch.einsum("ij,...jyx->...iyx", hue_matrix(hue_deg).to(images), images))
    return torch.stack(turned, dim=-4)


def invert_contrast(images: Tensor) -> Tensor:
    """Mirror luma at mid-grey and keep the chroma: light on dark becomes dark on light in the same hues.

    Parameters
    ----------
    images
        Tensor, shape (..., 3, y, x), RGB in [0, 1].

    Examples
    --------
    >>> [round(float(v), 3) for v in invert_contrast(torch.full((3, 1, 1), 0.9)).flatten()]
    [0.1, 0.1, 0.1]
    """
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
    luma = torch.einsum("j,...jyx->...yx", weights, images)
    return images + (1 - 2 * luma).unsqueeze(-3)


def luma_of(images: Tensor) -> Tensor:
    """Luma of images, shape (..., 3, y, x), as one channel: shape (..., 1, y, x).

    Examples
    --------
    >>> round(luma_of(torch.ones(3, 2, 2)).mean().item(), 6)
    1.0
    """
    return torch.einsum("j,...jyx->...yx", images.new_tensor(LUMA), images).unsqueeze(-3)


def chroma_strength(images: Tensor) -> Tensor:
    """Root mean square chroma, shape (image,): distance of pixels from the grey of their luma, 0.3 for vivid pictures.

    Examples
    --------
    >>> chroma_strength(torch.ones(1, 3, 4, 4)).round(decimals=6).abs().tolist()
    [0.0]
    """
    return (images - luma_of(images)).square().sum(1).mean((1, 2)).sqrt()
