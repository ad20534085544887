"""Colours of the page: of poses, of hues, of layers and transformations; each for a light and for a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equiscope.transformations.pixels import chroma_of_hue

__all__ = ["category_colours", "hue_colours", "pose_colours", "rim_colour"]

# After Okabe and Ito's palette, which dichromats can tell apart, with a contrast of 3 : 1 on the light and dark page.
_CATEGORIES = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#f0894a"),
    ("#00805a", "#2fc79a"),
    ("#a8518f", "#e3a0c8"),
    ("#9a7100", "#e6b93c"),
    ("#1c1d1f", "#e6e5e1"),
    ("#6a4fc0", "#b9aef5"),
    ("#6b6f76", "#a5a8ad"),
)
# Distance from mid grey at which no hue leaves [0, 1] by more than a rounding to the nearest colour hides.
_RIM_CHROMA = 0.45


def category_colours(index: int) -> tuple[str, str]:
    """Give the colour of the n-th of several things without an order, for a light and a dark page; eight differ.

    Examples
    --------
    >>> category_colours(0), category_colours(8) == category_colours(0)
    (('#0072b2', '#56b4e9'), True)
    """
    return _CATEGORIES[index % len(_CATEGORIES)]


def pose_colours(turn: float) -> tuple[str, str]:
    """Give the colour of a pose on a cyclic palette, for a light and for a dark page.

    Parameters
    ----------
    turn
        Pose as a share of the period, cyclic: 0 and 1 are the same colour.

    Returns
    -------
    tuple of str
        Two colours as ``#rrggbb``, with a contrast of at least 3 : 1 on the light and the dark page.

    Notes
    -----
    A cyclic palette of constant lightness cannot be told apart by a dichromat, for whom it folds onto a line.
    This one is a tilted circle in Oklab: lightness goes once round together with red-green, so that lightness
    and blue-yellow, which red-green dichromats see, form a closed curve that does not cross itself.

    Examples
    --------
    >>> pose_colours(0.0) == pose_colours(1.0), len(set(map(pose_colours, (0.0, 0.25, 0.5, 0.75))))
    (True, 4)
    """
    phase = 2 * math.pi * turn
    light, dark = (
        _oklab_to_hex(lightness - 0.095 * math.cos(phase), 0.115 * math.cos(phase), 0.115 * math.sin(phase))
        for lightness in (0.55, 0.755)
    )
    return light, dark


def rim_colour(hue_deg: float) -> str:
    """Give the colour of a hue on the rim of a dial: mid grey with chroma of that hue, as ``#rrggbb``.

    Examples
    --------
    >>> rim_colour(0.0), rim_colour(120.0)
    ('#ee6262', '#1ba81b')
    """
    return _rgb_to_hex([0.5 + value for value in chroma_of_hue(hue_deg, _RIM_CHROMA).tolist()])


def hue_colours(hue_deg: float) -> tuple[str, str]:
    """Give the colour that stands for a hue in lines and marks, for a light and for a dark page.

    Its contrast with the page is the same for all hues and at least 3 : 1.

    Examples
    --------
    >>> hue_colours(0.0)
    ('#b4514f', '#f78d88')
    """
    grey = [0.5 + value for value in chroma_of_hue(hue_deg, _RIM_CHROMA).tolist()]
    _, green_red, blue_yellow = _rgb_to_oklab(grey)
    strength = math.hypot(green_red, blue_yellow)
    light, dark = (
        _oklab_to_hex(lightness, 0.13 * green_red / strength, 0.13 * blue_yellow / strength)
        for lightness in (0.56, 0.755)
    )
    return light, dark


def _rgb_to_hex(channels: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, value))):02x}" for value in channels)


def _rgb_to_oklab(channels: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (min(1.0, max(0.0, channel)) for channel in channels)
    )
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _oklab_to_hex(lightness: float, green_red: float, blue_yellow: float) -> str:
    long = (lightness + 0.3963377774 * green_red + 0.2158037573 * blue_yellow) ** 3
    medium = (lightness - 0.1055613458 * green_red - 0.0638541728 * blue_yellow) ** 3
    short = (lightness - 0.0894841775 * green_red - 1.2914855480 * blue_yellow) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return _rgb_to_hex(
        [
            12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
            for value in (min(1.0, max(0.0, channel)) for channel in linear)
        ]
    )
