"""Stimuli made of outlines, each drawn as a signal in [-1, 1].

A figure of share s in a pixel has the signal ``polarity * (2 s - 1)``: 1 inside a light figure, -1 around it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equiscope.stimuli.drawn.apertures import (
    BLUR_PX,
    disc_share,
    half_plane,
    ramp_px,
    ring_share,
    strip,
    wedge_share,
)
from equiscope.stimuli.drawn.parameters import Values

__all__ = [
    "draw_bent_line",
    "draw_black_white_centre",
    "draw_brightness_gradient",
    "draw_circle",
    "draw_colour_disc",
    "draw_corner",
    "draw_cross",
    "draw_curve",
    "draw_disc",
    "draw_edge",
    "draw_line",
    "draw_spiral",
    "draw_t_junction",
]


def _figure(share: Tensor, values: Values) -> Tensor:
    return values["polarity"] * (2 * share - 1)


def draw_line(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a horizontal line about the centre.

    Examples
    --------
    >>> y = torch.tensor([0.0, 5.0])
    >>> values = {"width_px": 4.0, "length_px": 20.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_line(torch.zeros(2), y, values).tolist()]
    [1.0, -1.0]
    """
    return _figure(strip(y, values["width_px"]) * strip(x, values["length_px"]), values)


def draw_edge(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw light above and dark below, or a hue above and its opposite below.

    Examples
    --------
    >>> y = torch.tensor([-4.0, 0.0, 4.0])
    >>> [round(signal, 2) for signal in draw_edge(torch.zeros(3), y, {"softness_px": 1.0}).tolist()]
    [-1.0, 0.0, 1.0]
    """
    return 2 * half_plane(y, values["softness_px"]) - 1


def draw_curve(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw an arc whose lowest point is at the centre.

    Examples
    --------
    >>> y = torch.tensor([0.0, -6.0], dtype=torch.float64)
    >>> values = {"radius_px": 9.0, "width_px": 3.0, "arc_length_px": 12.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_curve(torch.zeros_like(y), y, values).tolist()]
    [0.99, -1.0]
    """
    radius_px = values["radius_px"]
    down = radius_px - y
    distance_px = torch.hypot(x, down)
    # The ends are cut along radii; the depth behind that cut, not the length of the arc, is what the aperture sees.
    left_over = values["arc_length_px"] / (2 * radius_px) - torch.atan2(x, down).abs()
    depth_px = distance_px * left_over.clamp(-math.pi / 2, math.pi / 2).sin()
    share = ring_share(distance_px, radius_px, values["width_px"]) * half_plane(depth_px)
    return _figure(share, values)


def draw_corner(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a filled wedge with its tip on the centre.

    Examples
    --------
    >>> y = torch.tensor([5.0, -5.0], dtype=torch.float64)
    >>> values = {"angle_between_deg": 90.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_corner(torch.zeros_like(y), y, values).tolist()]
    [1.0, -1.0]
    """
    return _figure(wedge_share(x, y, values["angle_between_deg"]), values)


def draw_bent_line(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw two strokes that leave the centre upwards.

    Examples
    --------
    >>> y = torch.tensor([0.0, 9.0], dtype=torch.float64)
    >>> values = {"angle_between_deg": 90.0, "width_px": 4.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_bent_line(torch.zeros_like(y), y, values).tolist()]
    [1.0, -1.0]
    """
    opening_deg = values["angle_between_deg"]
    # A stroke on both sides of a bent line is what lies between two wedges.
    mitre_px = values["width_px"] / 2 / math.sin(math.radians(opening_deg / 2))
    share = wedge_share(x, y + mitre_px, opening_deg) - wedge_share(x, y - mitre_px, opening_deg)
    return _figure(share, values)


def draw_circle(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a ring about the centre.

    Examples
    --------
    >>> x = torch.tensor([0.0, 4.0], dtype=torch.float64)
    >>> values = {"radius_px": 4.0, "width_px": 3.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_circle(x, torch.zeros_like(x), values).tolist()]
    [-1.0, 0.99]
    """
    return _figure(ring_share(torch.hypot(x, y), values["radius_px"], values["width_px"]), values)


def draw_disc(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a filled disc about the centre.

    Examples
    --------
    >>> x = torch.tensor([0.0, 9.0], dtype=torch.float64)
    >>> [round(s, 2) for s in draw_disc(x, torch.zeros_like(x), {"radius_px": 4.0, "polarity": -1.0}).tolist()]
    [-1.0, 1.0]
    """
    return _figure(disc_share(torch.hypot(x, y), values["radius_px"]), values)


def draw_spiral(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw Archimedes' spiral from the left of the centre outwards.

    Examples
    --------
    >>> x = torch.tensor([-12.0, 30.0], dtype=torch.float64)
    >>> values = {"spacing_px": 8.0, "width_px": 4.0, "outer_radius_px": 20.0, "handedness": 1.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_spiral(x, torch.zeros_like(x), values).tolist()]
    [1.0, -1.0]
    """
    # Archimedes' spiral: the radius grows by the spacing in each turn.
    per_radian_px = values["spacing_px"] / (2 * math.pi)
    y = values["handedness"] * y
    distance_px = torch.hypot(x, y)
    # The centre has no angle, and the sign of a zero must not choose one.
    polar = torch.where(distance_px > 0, torch.atan2(y, x), 0.0)
    n_turns = torch.floor((distance_px / per_radian_px - polar) / (2 * math.pi))
    # The strokes to both sides: halfway between, the aperture sees either's border.
    share = torch.zeros_like(x)
    for further in (0, 1):
        turned = polar + 2 * math.pi * (n_turns + further)
        share += _spiral_stroke_share(x, y, turned, per_radian_px, values)
    return _figure(share, values)


def _spiral_stroke_share(
    x: Tensor, y: Tensor, turned: Tensor, per_radian_px: float, values: Values
) -> Tensor:
    """Give the share of a spiral's stroke where it has `turned` by that many radians since the centre."""
    # It begins half a spacing from the centre, where it is not yet bent more tightly than it is wide.
    first, last = math.pi, values["outer_radius_px"] / per_radian_px
    distance_px = torch.hypot(x, y)
    middle_px = per_radian_px * turned.clamp(min=first)

    def inside(side: int) -> Tensor:
        # The width is measured along the radius; the outline is slanted against it, and bent.
        outline_px = middle_px + side * values["width_px"] / 2
        squared = outline_px**2 + per_radian_px**2
        bend_per_px = (squared + per_radian_px**2) / squared**1.5
        depth_px = (outline_px - distance_px) * outline_px / squared.sqrt()
        return half_plane(depth_px - BLUR_PX**2 / 2 * bend_per_px)

    def beyond(tip: float) -> Tensor:
        # Cut across the stroke at its tip; what is a quarter turn away or more lies wholly before it or beyond it.
        cos, sin, length = math.cos(tip), math.sin(tip), math.hypot(1.0, tip)
        along_x, along_y = (cos - tip * sin) / length, (sin + tip * cos) / length
        tip_x, tip_y = per_radian_px * tip * cos, per_radian_px * tip * sin
        is_far = (turned - tip).abs() > math.pi / 2
        depth_px = (x - tip_x) * along_x + (y - tip_y) * along_y
        return torch.where(is_far, (turned > tip).double(), half_plane(depth_px))

    return (inside(1) - inside(-1)) * beyond(first) * (1 - beyond(last))


def draw_cross(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a horizontal and a vertical line.

    Examples
    --------
    >>> x = torch.tensor([0.0, 6.0], dtype=torch.float64)
    >>> values = {"width_px": 4.0, "length_px": 40.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_cross(x, x, values).tolist()]
    [1.0, -1.0]
    """
    width_px, length_px = values["width_px"], values["length_px"]
    across, upright = strip(y, width_px), strip(x, width_px)
    share = across * strip(x, length_px) + upright * strip(y, length_px) - across * upright
    return _figure(share, values)


def draw_t_junction(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a horizontal line, and a stroke from its middle downwards.

    Examples
    --------
    >>> y = torch.tensor([9.0, -9.0], dtype=torch.float64)
    >>> values = {"width_px": 4.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_t_junction(torch.zeros_like(y), y, values).tolist()]
    [-1.0, 1.0]
    """
    width_px = values["width_px"]
    share = strip(y, width_px) + strip(x, width_px) * half_plane(-width_px / 2 - y)
    return _figure(share, values)


def draw_brightness_gradient(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw light above that fades into dark below.

    Examples
    --------
    >>> y = torch.tensor([-20.0, 0.0, 5.0])
    >>> [round(s, 2) for s in draw_brightness_gradient(torch.zeros(3), y, {"extent_px": 20.0}).tolist()]
    [-1.0, 0.0, 0.5]
    """
    half_px = values["extent_px"] / 2
    # A ramp with an end to both sides is the difference of two that begin and never end.
    return (ramp_px(y + half_px) - ramp_px(y - half_px)) / half_px - 1


def draw_black_white_centre(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a grey disc in a hue, or a disc of a hue in grey.

    Examples
    --------
    >>> x = torch.tensor([0.0, 9.0], dtype=torch.float64)
    >>> values = {"radius_px": 4.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_black_white_centre(x, torch.zeros_like(x), values).tolist()]
    [0.0, 1.0]
    """
    share = disc_share(torch.hypot(x, y), values["radius_px"])
    return 1 - share if values["polarity"] > 0 else share


def draw_colour_disc(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a disc of a hue in its opposite.

    Examples
    --------
    >>> x = torch.tensor([0.0, 9.0], dtype=torch.float64)
    >>> [round(s, 2) for s in draw_colour_disc(x, torch.zeros_like(x), {"radius_px": 4.0}).tolist()]
    [1.0, -1.0]
    """
    return 2 * disc_share(torch.hypot(x, y), values["radius_px"]) - 1
