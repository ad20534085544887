"""Stimuli made of waves, each drawn as a signal in [-1, 1].

A wave is ``cos(2 pi y / wavelength - phase)`` with y upwards. None is finer than two pixels, so none is blurred.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equiscope.stimuli.drawn.apertures import half_plane
from equiscope.stimuli.drawn.parameters import Values

__all__ = ["draw_diverging_lines", "draw_gabor", "draw_grating", "draw_hair", "draw_high_low_frequency"]


def wave(y: Tensor, wavelength_px: float, phase_deg: float) -> Tensor:
    return torch.cos(2 * math.pi * y / wavelength_px - math.radians(phase_deg))


def scatter(index: int, seed: float) -> tuple[float, float, float]:
    """Give three numbers in [0, 1) that fill the cube evenly: the same on every machine and in every version."""
    # Powers of the root of z**4 = z + 1, the golden ratio's kin in three dimensions (Roberts 2018).
    root = 1.2207440846057596
    place = index + 101 * seed
    return (place / root % 1.0, place / root**2 % 1.0, place / root**3 % 1.0)


def isotropic_texture(x: Tensor, y: Tensor, wavelength_px: float, seed: float) -> Tensor:
    """Give a texture without direction, in [-1, 1], of root mean square 0.32: five waves, 36° apart."""
    total = torch.zeros_like(x)
    for index in range(5):
        phase, jitter, first = scatter(index, seed)
        direction = math.radians(36 * (index + first / 2))
        across = x * math.cos(direction) + y * math.sin(direction)
        total += wave(across, wavelength_px * 1.2 ** (2 * jitter - 1), 360 * phase)
    return total / 5


def draw_grating(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw horizontal bars.

    Examples
    --------
    >>> y = torch.tensor([0.0, 4.0])
    >>> values = {"wavelength_px": 8.0, "phase_deg": 0.0}
    >>> [round(signal, 2) for signal in draw_grating(torch.zeros(2), y, values).tolist()]
    [1.0, -1.0]
    """
    return wave(y, values["wavelength_px"], values["phase_deg"])


def draw_gabor(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw horizontal bars under a round Gaussian window.

    Examples
    --------
    >>> y = torch.tensor([0.0, 4.0, 40.0])
    >>> values = {"wavelength_px": 8.0, "envelope_px": 4.0, "phase_deg": 0.0}
    >>> [round(signal, 2) for signal in draw_gabor(torch.zeros(3), y, values).tolist()]
    [1.0, -0.61, 0.0]
    """
    window = torch.exp(-(x**2 + y**2) / (2 * values["envelope_px"] ** 2))
    return window * wave(y, values["wavelength_px"], values["phase_deg"])


def draw_high_low_frequency(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw a fine texture above and a coarse one below.

    Examples
    --------
    >>> values = {"wavelength_px": 4.0, "low_wavelength_px": 12.0, "softness_px": 2.0, "seed": 0.0}
    >>> signal = draw_high_low_frequency(torch.linspace(-9, 9, 50), torch.linspace(-9, 9, 50), values)
    >>> bool(signal.abs().max() <= 1)
    True
    """
    above = half_plane(y, values["softness_px"])
    # Seeds half a step apart, so that the coarse texture is no enlarged copy of the fine one.
    fine = isotropic_texture(x, y, values["wavelength_px"], values["seed"])
    coarse = isotropic_texture(x, y, values["low_wavelength_px"], values["seed"] + 0.5)
    return above * fine + (1 - above) * coarse


def draw_hair(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw horizontal hairs.

    Examples
    --------
    It is the same after half a turn.

    >>> place = torch.tensor([3.0, -3.0])
    >>> signal = draw_hair(place, place, {"wavelength_px": 8.0, "seed": 0.0})
    >>> bool(signal[0] == signal[1])
    True
    """
    # Seven waves within 12° of the hairs and of wavelengths within a factor of 2. Cosines are even, so that half a turn
    # leaves the texture as it is; a random sign takes the place of a phase.
    total = torch.zeros_like(x)
    for index in range(7):
        sign, jitter, slant = scatter(index, values["seed"])
        direction = math.radians(12 * (2 * slant - 1))
        across = y * math.cos(direction) + x * math.sin(direction)
        total += wave(across, values["wavelength_px"] * 2 ** (jitter - 0.5), 180.0 if sign < 0.5 else 0.0)
    return total / 7


def draw_diverging_lines(x: Tensor, y: Tensor, values: Values) -> Tensor:
    """Draw lines that leave a point below the centre.

    Examples
    --------
    They fade out where the lines would be too fine.

    >>> y = torch.tensor([0.0, -19.0])
    >>> values = {"wavelength_px": 6.0, "origin_distance_px": 20.0, "polarity": 1.0}
    >>> [round(signal, 2) for signal in draw_diverging_lines(torch.zeros(2), y, values).tolist()]
    [0.58, 0.0]
    """
    origin_px = values["origin_distance_px"]
    distance_px = torch.hypot(x, y + origin_px)
    polar = torch.atan2(x, y + origin_px)
    # Lines are fewer than can be resolved near their origin, and none lie straight behind it: there they fade out. At
    # two pixels a wave 0.7 % are left.
    cycles_per_px = origin_px / (values["wavelength_px"] * distance_px.clamp(min=1e-9))
    fade = torch.exp(-2 * (math.pi * cycles_per_px) ** 2) * (1 + torch.cos(polar)) / 2
    return values["polarity"] * fade * torch.cos(2 * math.pi * origin_px / values["wavelength_px"] * polar)
