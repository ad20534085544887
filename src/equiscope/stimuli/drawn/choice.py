"""Which stimuli suit a receptive field: all kinds, in sizes from what can be resolved to half of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.drawn.apertures import BLUR_PX
from equiscope.stimuli.drawn.kinds import KINDS
from equiscope.stimuli.drawn.stimulus import SyntheticStimulus

__all__ = ["catalogue"]

# The catalogue's contrast leaves figures a little off black and white, which photographs seldom reach in an area.
_CONTRAST = 0.8
# A sum of waves is at its bounds almost nowhere, so that all of [0, 1] is needed for an ordinary contrast.
_TEXTURE_CONTRAST = 1.0
# Below the largest that is safe, by a margin for rounding.
_CHROMA_STRENGTH = 0.4


def catalogue(receptive_field_px: float, *, hues_deg: Sequence[float] = ()) -> tuple[SyntheticStimulus, ...]:
    """Give stimuli of all kinds in sizes that suit a receptive field.

    Parameters
    ----------
    receptive_field_px
        Width of the receptive field, px, at least 3.
    hues_deg
        Hues of the coloured kinds; without any, eight hues 45° apart. Hues that differ by whole turns count once.

    Returns
    -------
    tuple of SyntheticStimulus
        Ordered by kind, none twice. With eight hues 86 for a receptive field of 7 px, 138 for 15 px, 184 from 51 px on.

    Raises
    ------
    EquiscopeError
        If the receptive field is less than 3 px or a hue is not finite.

    Notes
    -----
    Sizes are geometric series, no two nearer than a factor of 1.4, from what can be resolved (1 px of a stroke, 3 px of
    a wave) or a small part of the receptive field up to about half of it, the part that moves a response most. A
    receptive field of a few pixels has few such sizes, so that it gets fewer stimuli and, below 20 px, not all kinds.

    What rotation makes of another stimulus is left out: gratings of phase 270° are those of 90°, turned by half a turn.
    ``colour_contrast`` has that too for opposite hues, and is given at each hue all the same.

    Examples
    --------
    >>> chosen = catalogue(7.0, hues_deg=[0.0])
    >>> len(chosen), chosen[0].label
    (51, 'grating, wavelength 3 px, phase 0°')
    """
    field_px = receptive_field_px
    if not (math.isfinite(field_px) and field_px >= 3):
        raise EquiscopeError(
            f"receptive_field_px is {field_px}, expected at least 3: nothing drawn can be told apart in less."
        )
    for hue_deg in hues_deg:
        if not math.isfinite(hue_deg):
            raise EquiscopeError(f"a hue of the catalogue is {hue_deg}, expected a finite number of degrees.")
    hues = dict.fromkeys(hue_deg % 360.0 for hue_deg in hues_deg or range(0, 360, 45))
    found = [*_catalogue_of_waves(field_px), *_catalogue_of_figures(field_px)]
    radii = _sizes_px(max(1.0, field_px / 12), 0.3 * field_px, 2)
    for hue_deg in hues:
        coloured = {"hue_deg": hue_deg, "chroma_strength": _CHROMA_STRENGTH}
        found.append(_make("colour_contrast", softness_px=BLUR_PX, **coloured))
        found += [_make("colour_centre_surround", radius_px=radius, **coloured) for radius in radii]
        found += [
            _make("black_white_centre", radius_px=radius, polarity=sign, **coloured)
            for radius in radii[-1:]
            for sign in (1, -1)
        ]
    order = {name: index for index, name in enumerate(KINDS)}
    return tuple(sorted(found, key=lambda stimulus: order[stimulus.kind]))


def _make(kind: str, **values: float) -> SyntheticStimulus:
    return SyntheticStimulus(kind, tuple(values.items()))


def _sizes_px(smallest_px: float, largest_px: float, n_most: int, factor: float = 1.4) -> list[float]:
    """Give a geometric series from the smallest to the largest, none if they are in the wrong order."""
    n_sizes = min(n_most, 1 + math.floor(math.log(largest_px / smallest_px) / math.log(factor)))
    step = (largest_px / smallest_px) ** (1 / max(n_sizes - 1, 1))
    # Three digits, so that a label states the size itself.
    return [float(f"{smallest_px * step**index:.3g}") for index in range(n_sizes)]


def _catalogue_of_waves(field_px: float) -> list[SyntheticStimulus]:
    found = [
        _make("grating", wavelength_px=wavelength, phase_deg=phase, contrast=_CONTRAST)
        for wavelength in _sizes_px(max(3.0, field_px / 32), 0.7 * field_px, 6)
        for phase in (0, 90, 180)
    ]
    # A window of half a wavelength shows two bars or three, as filters of early layers do.
    found += [
        _make(
            "gabor", wavelength_px=wavelength, envelope_px=wavelength / 2, phase_deg=phase, contrast=_CONTRAST
        )
        for wavelength in _sizes_px(max(3.0, field_px / 16), field_px / 2, 4)
        for phase in (0, 90, 180)
    ]
    # The boundary is as soft as half a fine wave: no edge of its own.
    found += [
        _make(
            "high_low_frequency",
            wavelength_px=wavelength,
            low_wavelength_px=3 * wavelength,
            softness_px=wavelength / 2,
            seed=seed,
            contrast=_TEXTURE_CONTRAST,
        )
        for wavelength in _sizes_px(max(3.0, field_px / 32), field_px / 5, 3)
        for seed in range(3)
    ]
    found += [
        _make("hair", wavelength_px=wavelength, seed=seed, contrast=_TEXTURE_CONTRAST)
        for wavelength in _sizes_px(max(3.0, field_px / 24), field_px / 4, 2)
        for seed in range(2)
    ]
    found += [
        _make(
            "diverging_lines",
            wavelength_px=wavelength,
            origin_distance_px=field_px / 2,
            polarity=sign,
            contrast=_CONTRAST,
        )
        for wavelength in _sizes_px(max(4.0, field_px / 12), field_px / 4, 2)
        for sign in (1, -1)
    ]
    found += [
        _make("brightness_gradient", extent_px=share * field_px, contrast=_CONTRAST) for share in (1, 2)
    ]
    return found


def _catalogue_of_figures(field_px: float) -> list[SyntheticStimulus]:
    # Longer than any patch of this receptive field: no end is in view.
    endless_px = 4 * field_px
    found = [
        _make("edge", softness_px=softness, contrast=_CONTRAST)
        for softness in _sizes_px(BLUR_PX, max(BLUR_PX, field_px / 10), 3, factor=2)
    ]
    strokes_px = _sizes_px(max(1.0, field_px / 40), field_px / 7, 4)
    few_strokes_px = strokes_px[1:3] if len(strokes_px) > 2 else strokes_px[:1]
    for sign in (1, -1):
        ink = {"polarity": sign, "contrast": _CONTRAST}
        for width in strokes_px:
            found += [
                _make("line", width_px=width, length_px=length, **ink)
                for length in (float(f"{field_px / 2:.3g}"), endless_px)
            ]
        for width in few_strokes_px:
            found += [
                _make("cross", width_px=width, length_px=length, **ink)
                for length in (float(f"{field_px / 2:.3g}"), endless_px)
            ]
            found.append(_make("t_junction", width_px=width, **ink))
        for opening in (45, 90, 135):
            found.append(_make("corner", angle_between_deg=opening, **ink))
            found += [
                _make("bent_line", angle_between_deg=opening, width_px=width, **ink)
                for width in few_strokes_px
            ]
        # Arcs of one length differ by their sagitta alone, which takes larger steps.
        for radius in _sizes_px(max(2.0, field_px / 12), 0.8 * field_px, 5, factor=1.7):
            # Not more than a third of a turn, to be a curve and no circle; nor longer than what is looked at.
            arc = float(f"{min(2 * math.pi / 3 * radius, 0.7 * field_px):.3g}")
            found += [
                _make("curve", radius_px=radius, width_px=width, arc_length_px=arc, **ink)
                for width in few_strokes_px
                if width <= radius / 2
            ]
        for radius in _sizes_px(max(2.0, field_px / 12), 0.35 * field_px, 4):
            found += [
                _make("circle", radius_px=radius, width_px=width, **ink)
                for width in few_strokes_px
                if width <= radius / 2
            ]
        found += [
            _make("disc", radius_px=radius, **ink)
            for radius in _sizes_px(max(1.0, field_px / 40), 0.35 * field_px, 5)
        ]
        found += [
            _make(
                "spiral",
                spacing_px=spacing,
                width_px=spacing / 2,
                outer_radius_px=float(f"{0.45 * field_px:.3g}"),
                handedness=handedness,
                **ink,
            )
            for spacing in _sizes_px(max(5.0, field_px / 14), field_px / 4, 3)
            for handedness in (1, -1)
        ]
    return found
