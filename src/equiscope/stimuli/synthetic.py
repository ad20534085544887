"""Stimuli drawn from formulas, with known parameters, from which a unit's tuning is measured.

Orientations found on photographs are verified by evidence that no photograph takes part in. A picture is a formula of
the plane; it is turned by turning the coordinates, so nothing is interpolated at any angle. x grows to the right, y
upwards, angles are counter-clockwise on screen.

=========================  ==================================================================  ================
kind                       at 0°                                                               `period_deg`
=========================  ==================================================================  ================
``grating``                horizontal bars; phase 0° a light bar on the centre, 90° light      180, or 360 if
                           above the centre and dark below, 180° a dark bar on the centre      the phase is not
                                                                                               0° or 180°
``gabor``                  the same under a round Gaussian window                              as ``grating``
``line``                   horizontal, centred                                                 180
``edge``                   light above, dark below                                             360
``curve``                  lowest point of a ring at the centre, bending upwards (∪)           360
``corner``                 filled, tip on the centre, opening upwards (V)                      360
``bent_line``              two strokes from the centre upwards (V), meeting in a mitre         360
``circle``                 ring about the centre                                               0
``disc``                   filled, about the centre                                            0
``spiral``                 begins left of the centre; handedness 1 winds counter-clockwise     360
                           on its way out, -1 clockwise
``cross``                  one horizontal and one vertical line                                90
``t_junction``             horizontal line, a stroke from its middle downwards                 360
``high_low_frequency``     fine texture above, coarse texture below                            360
``hair``                   horizontal hairs                                                    180
``diverging_lines``        lines that leave a point below the centre, upwards                  360
``brightness_gradient``    light above, dark below                                             360
``colour_contrast``        the hue above, the opposite hue below                               360
``colour_centre_surround`` a disc of the hue in the opposite hue                               0
``black_white_centre``     polarity 1 a grey disc in the hue, -1 a disc of the hue in grey     0
=========================  ==================================================================  ================

Colours. Grey kinds go from (1 - contrast) / 2 to (1 + contrast) / 2 in all three channels. With polarity 1 the figure
is the light one, with -1 the dark one, which mirrors luma at 0.5. Coloured kinds have luma 0.5 in every pixel: hues
are added to mid-grey without luma. `MAX_CHROMA_STRENGTH` is the most that leaves every hue in [0, 1].

Mean luma over a picture. Exactly 0.5 where half a turn inverts the picture (``edge``, ``brightness_gradient``, and
waves of phase 90° or 270°) and for every coloured kind. Figures have 0.5 + polarity · contrast · (share - 0.5), with
the share of the picture that they cover. Other waves and textures are 0.5 in the plane; a picture keeps what its border
cuts from a wave.

Anti-aliasing. Figures are what a camera with a Gaussian aperture of standard deviation 0.5 px would see: an edge rises
from 16 % to 84 % within one pixel. Unlike the square of a pixel a Gaussian is the same in every direction, so that the
picture turns rigidly. The aperture's integral is known in closed form for straight figures and discs; other outlines
take it at their distance, corrected for their curvature. Against 15 x 15 samples per pixel under the same aperture, the
largest error in any pixel of any figure of the catalogues for 7, 15 and 51 px was, as a share of the contrast: 0.0003
for straight figures, discs and rings, 0.015 for curves, 0.036 for spirals (4 x 4 samples in a pixel's square: 0.125 at
an edge). Waves are finer than two pixels nowhere and not blurred.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from scipy import special
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.transformations.pixels.colour import chroma_of_hue

__all__ = ["MAX_CHROMA_STRENGTH", "SyntheticStimulus", "catalogue", "kinds", "render"]

# Standard deviation of the aperture: see the module's note.
_BLUR_PX = 0.5

# From here on the first order is right to 0.001 of the contrast.
_RADIUS_OF_EXACT_DISCS_PX = 8.0

# A hue on mid-grey changes a channel by up to the channel's amplitude over all hues, and 0.5 is what there is.
MAX_CHROMA_STRENGTH = 0.5 / torch.hypot(chroma_of_hue(0.0), chroma_of_hue(90.0)).max().item()

# The catalogue's contrast leaves figures a little off black and white, which photographs seldom reach in an area.
_CONTRAST = 0.8
# A sum of waves is at its bounds almost nowhere, so that all of [0, 1] is needed for an ordinary contrast.
_TEXTURE_CONTRAST = 1.0
# Below the largest that is safe, by a margin for rounding.
_CHROMA_STRENGTH = 0.4

_Values = Mapping[str, float]


@dataclass(frozen=True)
class SyntheticStimulus:
    """One picture of the plane, from which patches of any size and angle are rendered.

    Attributes
    ----------
    kind
        One of `kinds`; the module's table says what it shows.
    parameters
        Name and value of each parameter, in the kind's own order whatever order they were given in. Suffixes carry
        units; `polarity` and `handedness` are 1 or -1, `contrast` is in (0, 1], `chroma_strength` is the distance
        from grey, at most `MAX_CHROMA_STRENGTH`.
    period_deg
        Smallest rotation after which the picture repeats; 0 if it looks the same at every angle.
    hue_deg
        Hue of a coloured stimulus, 0° red, 120° green, 240° blue; NaN if it is grey.

    Raises
    ------
    EquiscopeError
        If there is no such kind, a parameter is missing or not the kind's, or a value is out of its range.
    """

    kind: str
    parameters: tuple[tuple[str, float], ...]
    # Both follow from the above. NaN is not equal to itself and must not make a stimulus differ from its like.
    period_deg: float = field(init=False, compare=False)
    hue_deg: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise unknown_name("kind of synthetic stimulus", self.kind, _KINDS)
        kind = _KINDS[self.kind]
        values = dict(self.parameters)
        if len(self.parameters) != len(kind.names) or set(values) != set(kind.names):
            received = ", ".join(name for name, _ in self.parameters) or "nothing"
            raise EquiscopeError(
                f"a synthetic {self.kind} was given {received}: expected each of {', '.join(kind.names)} once."
            )
        for name, value in values.items():
            is_allowed, expected = _RANGES[name] if name in _RANGES else _RANGES[name.rpartition("_")[2]]
            if not (math.isfinite(value) and is_allowed(value)):
                raise EquiscopeError(
                    f"{name} of a synthetic {self.kind} is {value}, expected {expected}: give another value."
                )
        for is_drawable, expected in kind.conditions:
            if not is_drawable(values):
                received = ", ".join(f"{name} {value:g}" for name, value in values.items())
                raise EquiscopeError(
                    f"a synthetic {self.kind} cannot be drawn with {received}: expected {expected}."
                )
        object.__setattr__(self, "parameters", tuple((name, float(values[name])) for name in kind.names))
        object.__setattr__(self, "period_deg", kind.period_deg(values))
        object.__setattr__(self, "hue_deg", values.get("hue_deg", math.nan))

    @property
    def label(self) -> str:
        """The kind and its parameters in words; contrast and chroma strength, common to a catalogue, are left out."""
        words = [self.kind.replace("_", " ")]
        words += [
            _parameter_in_words(self.kind, name, value)
            for name, value in self.parameters
            if name not in ("contrast", "chroma_strength")
        ]
        return ", ".join(words)


def kinds() -> tuple[str, ...]:
    """Give the names of all kinds of stimuli, in the order of the module's table."""
    return tuple(_KINDS)


def render(
    stimulus: SyntheticStimulus, size_px: int, angles_deg: Sequence[float], *, hue_shift_deg: float = 0.0
) -> Tensor:
    """Draw a stimulus at each of several angles.

    Parameters
    ----------
    stimulus
        What to draw.
    size_px
        Side of the pictures, px. The centre of rotation is at ((size_px - 1) / 2, (size_px - 1) / 2).
    angles_deg
        Counter-clockwise on screen; any finite numbers, in any order.
    hue_shift_deg
        Added to the hue of a coloured stimulus; a grey one stays as it is.

    Returns
    -------
    Tensor, shape (angle, 3, size_px, size_px), float32 RGB in [0, 1]

    Raises
    ------
    EquiscopeError
        If the size is less than 1 px or an angle is not finite.

    Notes
    -----
    Angles that differ by a quarter turn give pictures that differ by `torch.rot90`, bit for bit. The module's
    docstring states the error of anti-aliasing.

    The catalogue for 51 px at 16 angles of that size took 0.6 s of one core, the one for 171 px 6 s; a picture holds
    some twenty arrays of (angle, y, x) in float64 while it is drawn.
    """
    if size_px < 1:
        raise EquiscopeError(
            f"size_px is {size_px}, expected at least 1: give the side of the pictures in pixels."
        )
    for angle_deg in (*angles_deg, hue_shift_deg):
        if not math.isfinite(angle_deg):
            raise EquiscopeError(
                f"an angle of a synthetic stimulus is {angle_deg}, expected a finite number of degrees: leave it out."
            )
    values = dict(stimulus.parameters)
    x, y = _turned_coordinates(size_px, angles_deg)
    # Rounding may leave the sum of some waves beyond its bound by 1e-16, and a pixel below 0.
    signal = _KINDS[stimulus.kind].draw(x, y, values).clamp(-1.0, 1.0)
    if math.isnan(stimulus.hue_deg):
        amplitude = torch.full((3,), values["contrast"] / 2, dtype=torch.float64)
    else:
        hue_deg = (stimulus.hue_deg + hue_shift_deg) % 360.0
        amplitude = chroma_of_hue(hue_deg, values["chroma_strength"])
    return (0.5 + amplitude[:, None, None] * signal[:, None]).float()


def _turned_coordinates(size_px: int, angles_deg: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Give each pixel's place in the upright picture: x to the right and y upwards, (angle, y, x), float64, px."""
    steps = torch.arange(size_px, dtype=torch.float64) - (size_px - 1) / 2
    right, up = steps[None, :], -steps[:, None]
    xs, ys = [], []
    for angle_deg in angles_deg:
        # Quarter turns exchange sine and cosine, so that they are exact where the functions themselves are not.
        quarters, rest_deg = divmod(angle_deg, 90.0)
        cos, sin = math.cos(math.radians(rest_deg)), math.sin(math.radians(rest_deg))
        for _ in range(int(quarters) % 4):
            cos, sin = -sin, cos
        xs.append(cos * right + sin * up)
        ys.append(cos * up - sin * right)
    if not xs:
        nothing = torch.empty(0, size_px, size_px, dtype=torch.float64)
        return nothing, nothing
    return torch.stack(xs), torch.stack(ys)


# --- shares of a figure in a pixel: 1 inside, 0 outside, blurred by the aperture ---------------------------


def _half_plane(depth_px: Tensor, softness_px: float = _BLUR_PX) -> Tensor:
    """Give the share of what lies deeper than 0: the normal distribution function."""
    share: Tensor = torch.special.ndtr(depth_px / softness_px)
    return share


def _ramp_px(depth_px: Tensor) -> Tensor:
    """Give the depth itself where it is more than 0: the integral of a half plane."""
    density = torch.exp(-((depth_px / _BLUR_PX) ** 2) / 2) * (_BLUR_PX / math.sqrt(2 * math.pi))
    return depth_px * _half_plane(depth_px) + density


def _strip(offset_px: Tensor, width_px: float | Tensor) -> Tensor:
    """Give the share of a band about offset 0."""
    return _half_plane(offset_px + width_px / 2) - _half_plane(offset_px - width_px / 2)


def _disc_share(distance_px: Tensor, radius_px: float) -> Tensor:
    """Give the share of a disc at some distance from its centre."""
    # To first order a blur moves an outline towards its centre of curvature by half of variance times curvature.
    share = _half_plane(radius_px - _BLUR_PX**2 / (2 * radius_px) - distance_px)
    if radius_px < _RADIUS_OF_EXACT_DISCS_PX:
        # The exact share is a noncentral chi-square distribution function, which takes ten times as long.
        is_near = (distance_px - radius_px).abs() < 8 * _BLUR_PX
        off_centre = (distance_px[is_near] / _BLUR_PX).square()
        exact = special.chndtr((radius_px / _BLUR_PX) ** 2, 2.0, off_centre.numpy())
        share[is_near] = torch.from_numpy(exact)
    return share


def _ring_share(distance_px: Tensor, radius_px: float, width_px: float) -> Tensor:
    outer = _disc_share(distance_px, radius_px + width_px / 2)
    return outer - _disc_share(distance_px, radius_px - width_px / 2)


def _wedge_share(x: Tensor, y: Tensor, opening_deg: float) -> Tensor:
    """Give the share of a wedge that opens upwards from a tip at the origin."""
    half = math.radians(opening_deg / 2)
    right, left = ((y * math.sin(half) + side * x * math.cos(half)) / _BLUR_PX for side in (-1.0, 1.0))
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


# --- waves -------------------------------------------------------------------------------------------------


def _wave(y: Tensor, wavelength_px: float, phase_deg: float) -> Tensor:
    return torch.cos(2 * math.pi * y / wavelength_px - math.radians(phase_deg))


def _scatter(index: int, seed: float) -> tuple[float, float, float]:
    """Give three numbers in [0, 1) that fill the cube evenly: the same on every machine and in every version."""
    # Powers of the root of z**4 = z + 1, the golden ratio's kin in three dimensions (Roberts 2018).
    root = 1.2207440846057596
    place = index + 101 * seed
    return (place / root % 1.0, place / root**2 % 1.0, place / root**3 % 1.0)


def _isotropic_texture(x: Tensor, y: Tensor, wavelength_px: float, seed: float) -> Tensor:
    """Give a texture without direction, in [-1, 1], of root mean square 0.32: five waves, 36° apart."""
    total = torch.zeros_like(x)
    for index in range(5):
        phase, jitter, first = _scatter(index, seed)
        direction = math.radians(36 * (index + first / 2))
        across = x * math.cos(direction) + y * math.sin(direction)
        total += _wave(across, wavelength_px * 1.2 ** (2 * jitter - 1), 360 * phase)
    return total / 5


# --- the kinds, each drawn as a signal in [-1, 1] ----------------------------------------------------------


def _figure(share: Tensor, values: _Values) -> Tensor:
    return values["polarity"] * (2 * share - 1)


def _draw_grating(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    return _wave(y, values["wavelength_px"], values["phase_deg"])


def _draw_gabor(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    window = torch.exp(-(x**2 + y**2) / (2 * values["envelope_px"] ** 2))
    return window * _wave(y, values["wavelength_px"], values["phase_deg"])


def _draw_line(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    return _figure(_strip(y, values["width_px"]) * _strip(x, values["length_px"]), values)


def _draw_edge(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    return 2 * _half_plane(y, values["softness_px"]) - 1


def _draw_curve(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    radius_px = values["radius_px"]
    down = radius_px - y
    distance_px = torch.hypot(x, down)
    # The ends are cut along radii; the depth behind that cut, not the length of the arc, is what the aperture sees.
    left_over = values["arc_length_px"] / (2 * radius_px) - torch.atan2(x, down).abs()
    depth_px = distance_px * left_over.clamp(-math.pi / 2, math.pi / 2).sin()
    share = _ring_share(distance_px, radius_px, values["width_px"]) * _half_plane(depth_px)
    return _figure(share, values)


def _draw_corner(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    return _figure(_wedge_share(x, y, values["angle_between_deg"]), values)


def _draw_bent_line(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    opening_deg = values["angle_between_deg"]
    # A stroke on both sides of a bent line is what lies between two wedges.
    mitre_px = values["width_px"] / 2 / math.sin(math.radians(opening_deg / 2))
    share = _wedge_share(x, y + mitre_px, opening_deg) - _wedge_share(x, y - mitre_px, opening_deg)
    return _figure(share, values)


def _draw_circle(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    return _figure(_ring_share(torch.hypot(x, y), values["radius_px"], values["width_px"]), values)


def _draw_disc(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    return _figure(_disc_share(torch.hypot(x, y), values["radius_px"]), values)


def _draw_spiral(x: Tensor, y: Tensor, values: _Values) -> Tensor:
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
    x: Tensor, y: Tensor, turned: Tensor, per_radian_px: float, values: _Values
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
        return _half_plane(depth_px - _BLUR_PX**2 / 2 * bend_per_px)

    def beyond(tip: float) -> Tensor:
        # Cut across the stroke at its tip; what is a quarter turn away or more lies wholly before it or beyond it.
        cos, sin, length = math.cos(tip), math.sin(tip), math.hypot(1.0, tip)
        along_x, along_y = (cos - tip * sin) / length, (sin + tip * cos) / length
        tip_x, tip_y = per_radian_px * tip * cos, per_radian_px * tip * sin
        is_far = (turned - tip).abs() > math.pi / 2
        depth_px = (x - tip_x) * along_x + (y - tip_y) * along_y
        return torch.where(is_far, (turned > tip).double(), _half_plane(depth_px))

    return (inside(1) - inside(-1)) * beyond(first) * (1 - beyond(last))


def _draw_cross(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    width_px, length_px = values["width_px"], values["length_px"]
    across, upright = _strip(y, width_px), _strip(x, width_px)
    share = across * _strip(x, length_px) + upright * _strip(y, length_px) - across * upright
    return _figure(share, values)


def _draw_t_junction(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    width_px = values["width_px"]
    share = _strip(y, width_px) + _strip(x, width_px) * _half_plane(-width_px / 2 - y)
    return _figure(share, values)


def _draw_high_low_frequency(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    above = _half_plane(y, values["softness_px"])
    # Seeds half a step apart, so that the coarse texture is no enlarged copy of the fine one.
    fine = _isotropic_texture(x, y, values["wavelength_px"], values["seed"])
    coarse = _isotropic_texture(x, y, values["low_wavelength_px"], values["seed"] + 0.5)
    return above * fine + (1 - above) * coarse


def _draw_hair(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    # Seven waves within 12° of the hairs and of wavelengths within a factor of 2. Cosines are even, so that half a turn
    # leaves the texture as it is; a random sign takes the place of a phase.
    total = torch.zeros_like(x)
    for index in range(7):
        sign, jitter, slant = _scatter(index, values["seed"])
        direction = math.radians(12 * (2 * slant - 1))
        across = y * math.cos(direction) + x * math.sin(direction)
        total += _wave(across, values["wavelength_px"] * 2 ** (jitter - 0.5), 180.0 if sign < 0.5 else 0.0)
    return total / 7


def _draw_diverging_lines(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    origin_px = values["origin_distance_px"]
    distance_px = torch.hypot(x, y + origin_px)
    polar = torch.atan2(x, y + origin_px)
    # Lines are fewer than can be resolved near their origin, and none lie straight behind it: there they fade out. At
    # two pixels a wave 0.7 % are left.
    cycles_per_px = origin_px / (values["wavelength_px"] * distance_px.clamp(min=1e-9))
    fade = torch.exp(-2 * (math.pi * cycles_per_px) ** 2) * (1 + torch.cos(polar)) / 2
    return values["polarity"] * fade * torch.cos(2 * math.pi * origin_px / values["wavelength_px"] * polar)


def _draw_brightness_gradient(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    half_px = values["extent_px"] / 2
    # A ramp with an end to both sides is the difference of two that begin and never end.
    return (_ramp_px(y + half_px) - _ramp_px(y - half_px)) / half_px - 1


def _draw_black_white_centre(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    share = _disc_share(torch.hypot(x, y), values["radius_px"])
    return 1 - share if values["polarity"] > 0 else share


def _draw_colour_disc(x: Tensor, y: Tensor, values: _Values) -> Tensor:
    return 2 * _disc_share(torch.hypot(x, y), values["radius_px"]) - 1


# --- what there is -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """How a kind is drawn, what it takes, and when it repeats."""

    draw: Callable[[Tensor, Tensor, _Values], Tensor]
    names: tuple[str, ...]
    period_deg: Callable[[_Values], float]
    # What must hold between parameters, in code and in words.
    conditions: tuple[tuple[Callable[[_Values], bool], str], ...] = ()


def _kind(
    draw: Callable[[Tensor, Tensor, _Values], Tensor],
    names: str,
    period_deg: float | Callable[[_Values], float],
    *conditions: tuple[Callable[[_Values], bool], str],
) -> _Kind:
    if callable(period_deg):
        return _Kind(draw, tuple(names.split()), period_deg, conditions)
    constant_deg = period_deg
    return _Kind(draw, tuple(names.split()), lambda values: constant_deg, conditions)


def _period_of_waves_deg(values: _Values) -> float:
    return 180.0 if values["phase_deg"] % 180.0 == 0.0 else 360.0


# Wider rings have hardly a hole, and wider arcs are no strokes.
_THIN_RING = (
    lambda values: values["width_px"] <= values["radius_px"],
    "a width_px of at most radius_px",
)
_KINDS = {
    "grating": _kind(_draw_grating, "wavelength_px phase_deg contrast", _period_of_waves_deg),
    "gabor": _kind(_draw_gabor, "wavelength_px envelope_px phase_deg contrast", _period_of_waves_deg),
    "line": _kind(_draw_line, "width_px length_px polarity contrast", 180.0),
    "edge": _kind(_draw_edge, "softness_px contrast", 360.0),
    "curve": _kind(
        _draw_curve,
        "radius_px width_px arc_length_px polarity contrast",
        360.0,
        _THIN_RING,
        (
            lambda values: values["arc_length_px"] <= math.pi * values["radius_px"],
            "an arc_length_px of at most half a turn, pi times radius_px",
        ),
    ),
    "corner": _kind(_draw_corner, "angle_between_deg polarity contrast", 360.0),
    "bent_line": _kind(_draw_bent_line, "angle_between_deg width_px polarity contrast", 360.0),
    "circle": _kind(_draw_circle, "radius_px width_px polarity contrast", 0.0, _THIN_RING),
    "disc": _kind(_draw_disc, "radius_px polarity contrast", 0.0),
    "spiral": _kind(
        _draw_spiral,
        "spacing_px width_px outer_radius_px handedness polarity contrast",
        360.0,
        (lambda values: values["width_px"] < values["spacing_px"], "a width_px of less than spacing_px"),
        (
            lambda values: values["outer_radius_px"] > values["spacing_px"],
            "an outer_radius_px of more than spacing_px",
        ),
    ),
    "cross": _kind(
        _draw_cross,
        "width_px length_px polarity contrast",
        90.0,
        (lambda values: values["width_px"] < values["length_px"], "a width_px of less than length_px"),
    ),
    "t_junction": _kind(_draw_t_junction, "width_px polarity contrast", 360.0),
    "high_low_frequency": _kind(
        _draw_high_low_frequency, "wavelength_px low_wavelength_px softness_px seed contrast", 360.0
    ),
    "hair": _kind(_draw_hair, "wavelength_px seed contrast", 180.0),
    "diverging_lines": _kind(
        _draw_diverging_lines, "wavelength_px origin_distance_px polarity contrast", 360.0
    ),
    "brightness_gradient": _kind(_draw_brightness_gradient, "extent_px contrast", 360.0),
    "colour_contrast": _kind(_draw_edge, "hue_deg softness_px chroma_strength", 360.0),
    "colour_centre_surround": _kind(_draw_colour_disc, "hue_deg radius_px chroma_strength", 0.0),
    "black_white_centre": _kind(_draw_black_white_centre, "hue_deg radius_px polarity chroma_strength", 0.0),
}

# By parameter, or by its unit if all parameters of that unit have one range.
_SIGN: tuple[Callable[[float], bool], str] = (lambda value: value in (1.0, -1.0), "1 or -1")
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "px": (lambda value: value > 0, "more than 0 px"),
    "deg": (lambda value: True, "a finite number of degrees"),
    # The aperture blurs every edge by this much already.
    "softness_px": (lambda value: value >= _BLUR_PX, f"at least {_BLUR_PX} px"),
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


def _parameter_in_words(kind: str, name: str, value: float) -> str:
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


# --- the catalogue -----------------------------------------------------------------------------------------


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
        found.append(_make("colour_contrast", softness_px=_BLUR_PX, **coloured))
        found += [_make("colour_centre_surround", radius_px=radius, **coloured) for radius in radii]
        found += [
            _make("black_white_centre", radius_px=radius, polarity=sign, **coloured)
            for radius in radii[-1:]
            for sign in (1, -1)
        ]
    order = {name: index for index, name in enumerate(_KINDS)}
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
        for softness in _sizes_px(_BLUR_PX, max(_BLUR_PX, field_px / 10), 3, factor=2)
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
