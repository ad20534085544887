"""Parameters of drawn stimuli: their ranges, and how they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from equiscope.stimuli.drawn.apertures import BLUR_PX
from equiscope.transformations.pixels.colour import chroma_of_hue

__all__ = ["MAX_CHROMA_STRENGTH", "Values", "parameter_in_words", "range_of"]

Values = Mapping[str, float]

# A hue on mid-grey changes a channel by up to the channel's amplitude over all hues, and 0.5 is what there is.
MAX_CHROMA_STRENGTH = 0.5 / torch.hypot(chroma_of_hue(0.0), chroma_of_hue(90.0)).max().item()

# By parameter, or by its unit if all parameters of that unit have one range.
_SIGN: tuple[Callable[[float], bool], str] = (lambda value: value in (1.0, -1.0), "1 or -1")
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "px": (lambda value: value > 0, "more than 0 px"),
    "deg": (lambda value: True, "a finite number of degrees"),
    # The aperture blurs every edge by this much already.
    "softness_px": (lambda value: value >= BLUR_PX, f"at least {BLUR_PX} px"),
    # Waves of a texture are up to 1.42 times finer than stated, and finer than 2 px they would alias.
    "wavelength_px": (lambda value: value >= 3, "at least 3 px"),
    "low_wavelength_px": (lambda value: value >= 3, "at least 3 px"),
    "angle_between_deg": (lambda value: 0 < value < 180, "more than 0 and less than 180 degrees"),
    "contrast": (lambda value: 0 < value <= 1, "more than 0 and at most 1"),
    "chroma_strength": (
        lambda value: 0 < value <= MAX_CHROMA_STRENGTH,
        f"more than 0 and at most {MAX_CHROMA_STRENGTH:.3f}",
    ),
    "polarity": _SIGN,
    "handedness": _SIGN,
    "seed": (lambda value: value >= 0 and value == int(value), "a whole number from 0"),
}


def range_of(name: str) -> tuple[Callable[[float], bool], str]:
    """Give which finite values a parameter may have, as a test and in words.

    Examples
    --------
    >>> range_of("radius_px")[1], range_of("softness_px")[1]
    ('more than 0 px', 'at least 0.5 px')
    """
    return _RANGES[name] if name in _RANGES else _RANGES[name.rpartition("_")[2]]


def parameter_in_words(kind: str, name: str, value: float) -> str:
    """Tell one parameter of a kind in words.

    Examples
    --------
    >>> parameter_in_words("line", "width_px", 2.5), parameter_in_words("line", "polarity", -1)
    ('width 2.5 px', 'dark on light')
    """
    if name == "polarity":
        words = (
            ("grey in colour", "colour in grey")
            if kind == "black_white_centre"
            else ("light on dark", "dark on light")
        )
        return words[0] if value > 0 else words[1]
    if name == "handedness":
        return "counter-clockwise outwards" if value > 0 else "clockwise outwards"
    stem, _, unit = name.rpartition("_")
    if unit == "px":
        return f"{stem.replace('_', ' ')} {value:g} px"
    if unit == "deg":
        return f"{stem.replace('_', ' ')} {value:g}°"
    return f"{name} {value:g}"
