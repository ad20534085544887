"""Shares of figures in a pixel: 1 inside, 0 outside, and in between along an outline, as a camera would see it.

A pixel sees the plane through a Gaussian aperture of standard deviation `BLUR_PX`. The share of a half plane whose
border lies ``depth`` before the pixel's centre is ``Phi(depth / BLUR_PX)``, with the normal distribution function Phi:
0.5 on the border, 0.84 half a pixel inside. Unlike the square of a pixel, a Gaussian is the same in every direction, so
that a turned figure is the figure, turned.
"""

from __future__ import annotations

import math

import torch
from scipy import special
from torch import Tensor

__all__ = ["BLUR_PX", "disc_share", "half_plane", "ramp_px", "ring_share", "strip", "wedge_share"]

# Standard deviation of the aperture, px: an edge rises from 16 % to 84 % within one pixel.
BLUR_PX = 0.5

# From here on the first order is right to 0.001 of the contrast.
_RADIUS_OF_EXACT_DISCS_PX = 8.0


def half_plane(depth_px: Tensor, softness_px: float = BLUR_PX) -> Tensor:
    """Give the share of what lies deeper than 0: the normal distribution function.

    Examples
    --------
    >>> [round(share, 2) for share in half_plane(torch.tensor([-0.5, 0.0, 0.5])).tolist()]
    [0.16, 0.5, 0.84]
    """
    share: Tensor = torch.special.ndtr(depth_px / softness_px)
    return share


def ramp_px(depth_px: Tensor) -> Tensor:
    """Give the depth itself where it is more than 0: the integral of a half plane.

    Examples
    --------
    >>> [round(depth, 2) for depth in ramp_px(torch.tensor([-3.0, 0.0, 3.0])).tolist()]
    [0.0, 0.2, 3.0]
    """
    density = torch.exp(-((depth_px / BLUR_PX) ** 2) / 2) * (BLUR_PX / math.sqrt(2 * math.pi))
    return depth_px * half_plane(depth_px) + density


def strip(offset_px: Tensor, width_px: float | Tensor) -> Tensor:
    """Give the share of a band about offset 0.

    Examples
    --------
    >>> [round(share, 2) for share in strip(torch.tensor([0.0, 1.0, 3.0]), 2.0).tolist()]
    [0.95, 0.5, 0.0]
    """
    return half_plane(offset_px + width_px / 2) - half_plane(offset_px - width_px / 2)


def disc_share(distance_px: Tensor, radius_px: float) -> Tensor:
    """Give the share of a disc at some distance from its centre.

    Examples
    --------
    >>> distance = torch.tensor([0.0, 4.0, 8.0], dtype=torch.float64)
    >>> [round(share, 2) for share in disc_share(distance, 4.0).tolist()]
    [1.0, 0.48, 0.0]
    """
    # To first order a blur moves an outline towards its centre of curvature by half of variance times curvature.
    share = half_plane(radius_px - BLUR_PX**2 / (2 * radius_px) - distance_px)
    if radius_px < _RADIUS_OF_EXACT_DISCS_PX:
        # The exact share is a noncentral chi-square distribution function, which takes ten times as long.
        is_near = (distance_px - radius_px).abs() < 8 * BLUR_PX
        off_centre = (distance_px[is_near] / BLUR_PX).square()
        exact = special.chndtr((radius_px / BLUR_PX) ** 2, 2.0, off_centre.numpy())
        share[is_near] = torch.from_numpy(exact)
    return share


def ring_share(distance_px: Tensor, radius_px: float, width_px: float) -> Tensor:
    """Give the share of a ring at some distance from its centre: a larger disc without a smaller one.

    Examples
    --------
    >>> distance = torch.tensor([0.0, 4.0, 8.0], dtype=torch.float64)
    >>> [round(share, 2) for share in ring_share(distance, 4.0, 2.0).tolist()]
    [0.0, 0.95, 0.0]
    """
    outer = disc_share(distance_px, radius_px + width_px / 2)
    return outer - disc_share(distance_px, radius_px - width_px / 2)


def wedge_share(x: Tensor, y: Tensor, opening_deg: float) -> Tensor:
    """Give the share of a wedge that opens upwards from a tip at the origin.

    Examples
    --------
    The tip of a right angle covers a quarter of the aperture.

    >>> zero = torch.zeros(1, dtype=torch.float64)
    >>> round(wedge_share(zero, zero, 90.0).item(), 3)
    0.25
    """
    half = math.radians(opening_deg / 2)
    right, left = ((y * math.sin(half) + side * x * math.cos(half)) / BLUR_PX for side in (-1.0, 1.0))
    share: Tensor = torch.special.ndtr(right) * torch.special.ndtr(left)
    # Blurring both sides apart is right unless both are near. There it is the bivariate normal distribution function
    # of the two depths, by Owen (1956); 8 standard deviations are beyond the precision of the rest.
    is_near = (right.abs() < 8) & (left.abs() < 8)
    share[is_near] = _bivariate_normal(right[is_near], left[is_near], -math.cos(2 * half))
    return share


def _bivariate_normal(h: Tensor, k: Tensor, correlation: float) -> Tensor:
    """Give the probability that two standard normal variables of a known correlation lie below h and k."""
    # The formula divides by h and k and is continuous in both.
    h, k = (torch.where(depth.abs() < 1e-9, 1e-9, depth) for depth in (h, k))
    root = math.sqrt(1 - correlation**2)
    owen = [
        torch.from_numpy(special.owens_t(one.numpy(), ((other - correlation * one) / (one * root)).numpy()))
        for one, other in ((h, k), (k, h))
    ]
    below: Tensor = (torch.special.ndtr(h) + torch.special.ndtr(k)) / 2 - owen[0] - owen[1]
    return below - 0.5 * (h * k < 0)
