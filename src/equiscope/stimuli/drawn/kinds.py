"""The kinds of stimuli that there are: how each is drawn, what it takes, and when it repeats."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from equiscope.stimuli.drawn import figures, waves
from equiscope.stimuli.drawn.parameters import Values

__all__ = ["KINDS", "Kind", "kinds"]


@dataclass(frozen=True)
class Kind:
    """How a kind is drawn, what it takes, and when it repeats."""

    draw: Callable[[Tensor, Tensor, Values], Tensor]
    names: tuple[str, ...]
    period_deg: Callable[[Values], float]
    # What must hold between parameters, in code and in words.
    conditions: tuple[tuple[Callable[[Values], bool], str], ...] = ()


def _kind(
    draw: Callable[[Tensor, Tensor, Values], Tensor],
    names: str,
    period_deg: float | Callable[[Values], float],
    *conditions: tuple[Callable[[Values], bool], str],
) -> Kind:
    if callable(period_deg):
        return Kind(draw, tuple(names.split()), period_deg, conditions)
    constant_deg = period_deg
    return Kind(draw, tuple(names.split()), lambda values: constant_deg, conditions)


def _period_of_waves_deg(values: Values) -> float:
    return 180.0 if values["phase_deg"] % 180.0 == 0.0 else 360.0


# Wider rings have hardly a hole, and wider arcs are no strokes.
_THIN_RING = (
    lambda values: values["width_px"] <= values["radius_px"],
    "a width_px of at most radius_px",
)
KINDS = {
    "grating": _kind(waves.draw_grating, "wavelength_px phase_deg contrast", _period_of_waves_deg),
    "gabor": _kind(waves.draw_gabor, "wavelength_px envelope_px phase_deg contrast", _period_of_waves_deg),
    "line": _kind(figures.draw_line, "width_px length_px polarity contrast", 180.0),
    "edge": _kind(figures.draw_edge, "softness_px contrast", 360.0),
    "curve": _kind(
        figures.draw_curve,
        "radius_px width_px arc_length_px polarity contrast",
        360.0,
        _THIN_RING,
        (
            lambda values: values["arc_length_px"] <= math.pi * values["radius_px"],
            "an arc_length_px of at most half a turn, pi times radius_px",
        ),
    ),
    "corner": _kind(figures.draw_corner, "angle_between_deg polarity contrast", 360.0),
    "bent_line": _kind(figures.draw_bent_line, "angle_between_deg width_px polarity contrast", 360.0),
    "circle": _kind(figures.draw_circle, "radius_px width_px polarity contrast", 0.0, _THIN_RING),
    "disc": _kind(figures.draw_disc, "radius_px polarity contrast", 0.0),
    "spiral": _kind(
        figures.draw_spiral,
        "spacing_px width_px outer_radius_px handedness polarity contrast",
        360.0,
        (lambda values: values["width_px"] < values["spacing_px"], "a width_px of less than spacing_px"),
        (
            lambda values: values["outer_radius_px"] > values["spacing_px"],
            "an outer_radius_px of more than spacing_px",
        ),
    ),
    "cross": _kind(
        figures.draw_cross,
        "width_px length_px polarity contrast",
        90.0,
        (lambda values: values["width_px"] < values["length_px"], "a width_px of less than length_px"),
    ),
    "t_junction": _kind(figures.draw_t_junction, "width_px polarity contrast", 360.0),
    "high_low_frequency": _kind(
        waves.draw_high_low_frequency, "wavelength_px low_wavelength_px softness_px seed contrast", 360.0
    ),
    "hair": _kind(waves.draw_hair, "wavelength_px seed contrast", 180.0),
    "diverging_lines": _kind(
        waves.draw_diverging_lines, "wavelength_px origin_distance_px polarity contrast", 360.0
    ),
    "brightness_gradient": _kind(figures.draw_brightness_gradient, "extent_px contrast", 360.0),
    "colour_contrast": _kind(figures.draw_edge, "hue_deg softness_px chroma_strength", 360.0),
    "colour_centre_surround": _kind(figures.draw_colour_disc, "hue_deg radius_px chroma_strength", 0.0),
    "black_white_centre": _kind(
        figures.draw_black_white_centre, "hue_deg radius_px polarity chroma_strength", 0.0
    ),
}


def kinds() -> tuple[str, ...]:
    """Give the names of all kinds of stimuli, in the order of the table of `equiscope.stimuli.drawn`.

    Examples
    --------
    >>> kinds()[:3]
    ('grating', 'gabor', 'line')
    """
    return tuple(KINDS)
