"""Orbit correlations: how alike two units are under every element of a group, for all pairs at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import CyclicGroup, TorusGroup

__all__ = ["OrbitCorrelations", "TorusCorrelations", "correlate_orbits", "correlate_torus"]


# From so many angles on poses may lie between them.
_MANY_ANGLES = 8


@dataclass(frozen=True)
class OrbitCorrelations:
    """Correlation of every pair of units under every rotation, as a Fourier series of the angle.

    ``rho_uv(g) = corr over (stimulus p, element h) of A[p, g⁻¹h, u] and A[p, h, v]`` is 1 exactly if
    ``v = g · u`` on these stimuli.

    Attributes
    ----------
    coefficients
        Complex, shape (frequency, unit u, unit v): ``rho_uv(angle) = Re sum_f coefficients[f] exp(i f angle)``.
        Rows and columns of units that did not vary are NaN.
    n_stimuli
        Number of stimuli.
    has_nyquist
        Whether the highest frequency is that of two samples a turn, of which only one of two phases is measured.
    """

    coefficients: NDArray[np.complex64]
    n_stimuli: int
    has_nyquist: bool = False

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.coefficients.shape[1])

    def at(
        self, u: NDArray[np.int64], v: NDArray[np.int64], angle_deg: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """``rho_uv`` at any angle, for arrays of pairs and angles that broadcast together."""
        u, v, angle_deg = np.broadcast_arrays(u, v, np.asarray(angle_deg, dtype=float))
        frequency = np.arange(len(self.coefficients)).reshape((-1,) + (1,) * u.ndim)
        wave = np.exp(1j * np.radians(angle_deg) * frequency)
        return np.asarray((self.coefficients[:, u, v] * wave).real.sum(0))

    def curves(
        self, u: NDArray[np.int64], v: NDArray[np.int64], angles_deg: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """``rho_uv`` of pairs at a list of angles, shape (angle, pair)."""
        wave = np.exp(1j * np.radians(np.outer(angles_deg, np.arange(len(self.coefficients)))))
        return np.asarray((wave @ self.coefficients[:, u, v]).real)

    def autocorrelation(self, angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """``rho_uu`` of every unit, shape (angle, unit)."""
        units = np.arange(self.n_units)
        return self.curves(units, units, angles_deg)

    def nearest(
        self, units: NDArray[np.int64], angles_deg: NDArray[np.float64], n_units: int
    ) -> NDArray[np.float64]:
        """Highest correlation of each of some units with another at any of some angles; -1 where nothing varies.

        Units whose numbers differ by ``n_units`` are one unit, seen in two ways.
        """
        wave = np.exp(1j * np.radians(np.outer(angles_deg, np.arange(len(self.coefficients)))))
        highest = np.full(len(units), -1.0)
        for place, unit in enumerate(units.tolist()):
            is_other = np.arange(self.n_units) % n_units != unit % n_units
            with_others = self.coefficients[:, unit, is_other]
            curves = np.nan_to_num((wave @ with_others).real, nan=-1.0)
            highest[place] = curves.max(initial=-1.0)
        return highest

    def peaks(
        self, units: NDArray[np.int64], n_grid: int = 128
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Height and place of the highest correlation of every pair among some units.

        Returns
        -------
        height : ndarray, shape (unit, unit)
        angle_deg : ndarray, shape (unit, unit)
            The rotation g with ``v ≈ g · u``, degrees in [0, 360), refined by a parabola through the three
            points about the maximum of the interpolated curve. NaN, as the height, where a unit did not vary.
        """
        step = 360.0 / n_grid
        wave = np.exp(1j * np.radians(np.outer(np.arange(n_grid) * step, np.arange(len(self.coefficients)))))
        wave = wave.astype(np.complex64)
        height = np.empty((len(units), len(units)), np.float32)
        angle = np.empty_like(height)
        for row, u in enumerate(units.tolist()):
            curve = (wave @ self.coefficients[:, u, units]).real
            top = curve.argmax(0)
            columns = np.arange(len(units))
            before, at, after = (curve[(top + d) % n_grid, columns] for d in (-1, 0, 1))
            bend = before - 2 * at + after
            shift = np.where(bend < -1e-9, 0.5 * (before - after) / np.where(bend < -1e-9, bend, 1), 0.0)
            height[row] = at - 0.25 * (before - after) * shift
            angle[row] = np.where(np.isnan(at), np.nan, (top + shift) * step)
        # Twice, because the first remainder of a tiny negative angle is 360 by rounding.
        return height, angle % 360.0 % 360.0


def correlate_orbits(
    responses: Responses[CyclicGroup], half: int, *, scramble: np.random.Generator | None = None
) -> OrbitCorrelations:
    """Correlate the responses of all pairs of units over one half of the stimuli.

    Parameters
    ----------
    responses
        Responses to the bank.
    half
        0 or 1.
    scramble
        If given, the null: each (stimulus, unit) is turned by its own random group element first, which keeps
        every unit's strength and tuning for every stimulus and destroys only what units share in pose.

    Notes
    -----
    An FFT over the orbit, then one matrix product a frequency over the stimuli: all pairs of a 480-unit layer
    in under a second. One chunk of stimuli is in memory at a time.

    Examples
    --------
    The second unit answers to a turned stimulus as the first does to the upright one.

    >>> from equiscope.measurement.bank import Bank
    >>> place = np.arange(8)
    >>> bank = Bank("conv1", place // 8, place, np.zeros((8, 2), int), place)
    >>> first = np.abs(np.random.default_rng(0).normal(size=(8, 4))).astype(np.float32)
    >>> values = np.stack([first, np.roll(first, 1, axis=1)], axis=2)
    >>> found = correlate_orbits(Responses(bank, CyclicGroup(4), values), half=0)
    >>> round(float(found.at(np.array(0), np.array(1), np.array(90.0))), 3)
    1.0
    """
    order = responses.group.order
    n_frequencies = order // 2 + 1
    n_units = responses.n_units
    cross = torch.zeros(n_frequencies, n_units, n_units, dtype=torch.complex64)
    total = torch.zeros(n_units, dtype=torch.float64)
    n_stimuli = 0
    frequency = torch.arange(n_frequencies).view(1, -1, 1)
    for _, chunk in responses.chunks(half):
        values = torch.from_numpy(chunk)
        total += values.double().sum((0, 1))
        n_stimuli += len(values)
        spectrum = torch.fft.rfft(values, dim=1)
        if scramble is not None:
            shift = torch.from_numpy(scramble.integers(0, order, (len(values), 1, n_units)))
            waves = torch.polar(torch.ones(order), -2 * math.pi / order * torch.arange(order).float())
            spectrum = spectrum * waves[(frequency * shift) % order]
        spectrum = spectrum.permute(1, 0, 2).contiguous()
        cross.baddbmm_(spectrum.conj().transpose(1, 2), spectrum)
    return _normalise(cross, total, n_stimuli, order)


def _normalise(cross: Tensor, total: Tensor, n_stimuli: int, order: int) -> OrbitCorrelations:
    """Turn summed cross-spectra into Fourier coefficients of correlations, in their place: they are large."""
    multiplicity = torch.full((len(cross), 1, 1), 2.0)
    multiplicity[0] = 1
    if order % 2 == 0:
        multiplicity[-1] = 1
    count = n_stimuli * order
    covariance = cross.mul_(multiplicity / order)
    mean = total / max(count, 1)
    covariance[0] -= (count * torch.outer(mean, mean)).to(torch.complex64)
    variance = covariance.diagonal(dim1=1, dim2=2).real.sum(0).double()
    # A unit that did not vary has no correlation: NaN, not zero.
    sd = torch.where(variance > 1e-6 * count * mean**2 + 1e-20, variance, torch.nan).sqrt().float()
    # With few angles turns are those between them, at which that phase is all there is.
    has_nyquist = order % 2 == 0 and order >= _MANY_ANGLES
    return OrbitCorrelations(covariance.div_(torch.outer(sd, sd)).numpy(), n_stimuli, has_nyquist)


@dataclass(frozen=True)
class TorusCorrelations:
    """Correlation of every pair of some units under every turn of hue and of the plane, as a Fourier series.

    Attributes
    ----------
    array
        Complex, shape (hue frequency, angle frequency, unit u, unit v), hue frequencies from -N/2 to N/2:
        ``rho_uv(hue, angle) = Re sum array[m, n] exp(i (m hue + n angle))``. NaN for units that did not vary.
    n_stimuli
        Number of stimuli.
    """

    array: NDArray[np.complex64]
    n_stimuli: int

    @property
    def frequencies(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hue and angle frequency of each coefficient, shape (hue frequency, angle frequency) both."""
        n_hue, n_angle = self.array.shape[:2]
        hue, angle = np.meshgrid(np.arange(n_hue) - n_hue // 2, np.arange(n_angle), indexing="ij")
        return hue, angle

    def coefficients(self, u: NDArray[np.int64], v: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Coefficients of pairs that broadcast together, shape (*pair, hue frequency, angle frequency)."""
        return np.moveaxis(self.array[:, :, u, v], (0, 1), (-2, -1))

    def turned(
        self, coefficients: NDArray[np.complex64], pose_deg: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Coefficients times their waves at relative poses, (*pair, 2) degrees: their real parts sum to rho."""
        hue, angle = self.frequencies
        phase = np.radians(pose_deg)[..., None, None]
        wave = np.exp(1j * (hue * phase[..., 0, :, :] + angle * phase[..., 1, :, :]))
        return np.asarray(coefficients * wave)

    def at(
        self,
        u: NDArray[np.int64],
        v: NDArray[np.int64],
        hue_deg: NDArray[np.float64] | float,
        angle_deg: NDArray[np.float64] | float,
    ) -> NDArray[np.float64]:
        """``rho_uv`` at any turn, for arrays that broadcast together."""
        u, v, hue, angle = np.broadcast_arrays(u, v, hue_deg, angle_deg)
        pose = np.stack([hue, angle], axis=-1).astype(float)
        return np.array(self.turned(self.coefficients(u, v), pose).real.sum((-2, -1)))

    def shifted_mean(
        self, coefficients: NDArray[np.complex64], poses_deg: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Coefficients of the mean correlation with members at known poses, as a function of one unit's own pose."""
        return np.asarray(self.turned(coefficients, -poses_deg).mean(0))

    def evaluate(self, coefficients: NDArray[Any]) -> NDArray[np.float64]:
        """Correlations on the grid of `TORUS_GRID` steps, shape (*pair, hue, angle)."""
        n_hue, n_angle = self.array.shape[:2]
        hue_wave, angle_wave = _torus_waves(n_hue, n_angle)
        return np.asarray((hue_wave @ coefficients @ angle_wave.T).real)

    def grid(self, u: NDArray[np.int64], v: NDArray[np.int64]) -> NDArray[np.float64]:
        """``rho_uv`` of pairs on the grid, shape (pair, hue, angle)."""
        return self.evaluate(self.coefficients(u, v))

    @staticmethod
    def peak(grid: NDArray[np.float64]) -> tuple[float, float]:
        """Place (hue, angle) of the maximum of one grid, refined by a parabola along each axis, degrees."""
        top = np.unravel_index(int(grid.argmax()), grid.shape)
        place = []
        for axis, (index, n) in enumerate(zip(top, grid.shape, strict=True)):
            line = grid[:, top[1]] if axis == 0 else grid[top[0]]
            before, at, after = line[index - 1], line[index], line[(index + 1) % n]
            bend = before - 2 * at + after
            shift = 0.5 * (before - after) / bend if bend < -1e-9 else 0.0
            place.append((index + shift) * 360.0 / n)
        return float(place[0]), float(place[1])


# Steps of the grid on which peaks over hue and rotation are looked for, before they are refined.
TORUS_GRID = (32, 64)


@lru_cache(maxsize=4)
def _torus_waves(n_hue: int, n_angle: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    steps = [2 * np.pi / n * np.arange(n) for n in TORUS_GRID]
    hue = np.exp(1j * np.outer(steps[0], np.arange(n_hue) - n_hue // 2)).astype(np.complex64)
    angle = np.exp(1j * np.outer(steps[1], np.arange(n_angle))).astype(np.complex64)
    return hue, angle


def correlate_torus(
    responses: Responses[TorusGroup],
    half: int,
    units: NDArray[np.int64],
    *,
    scramble: np.random.Generator | None = None,
) -> TorusCorrelations:
    """Correlate the responses of all pairs of some units over hue and rotation, on one half of the stimuli.

    Parameters
    ----------
    responses
        Responses to the bank.
    half
        0 or 1.
    units
        Channels, shape (unit,); the result counts them from 0 in this order.
    scramble
        If given, the null: each (stimulus, unit) is turned by its own random hue and angle first.

    Examples
    --------
    The second unit is the first, turned by one step of hue.

    >>> from equiscope.measurement.bank import Bank
    >>> place = np.arange(8)
    >>> bank = Bank("conv1", place // 8, place, np.zeros((8, 2), int), place)
    >>> first = np.abs(np.random.default_rng(0).normal(size=(8, 4, 6))).astype(np.float32)
    >>> values = np.stack([first, np.roll(first, 1, axis=1)], axis=-1).reshape(8, 24, 2)
    >>> found = correlate_torus(Responses(bank, TorusGroup(4, 6), values), 0, np.arange(2))
    >>> round(float(found.at(np.array(0), np.array(1), 90.0, 0.0)), 3)
    1.0
    """
    n_hues, n_angles = responses.group.n_hues, responses.group.n_angles
    shape = (n_hues, n_angles // 2 + 1)
    cross = torch.zeros(*shape, len(units), len(units), dtype=torch.complex64)
    total = torch.zeros(len(units), dtype=torch.float64)
    n_stimuli = 0
    for _, chunk in responses.chunks(half):
        values = torch.from_numpy(np.ascontiguousarray(chunk[:, :, units])).view(
            len(chunk), n_hues, n_angles, len(units)
        )
        total += values.double().sum((0, 1, 2))
        n_stimuli += len(values)
        spectrum = torch.fft.rfft(values, dim=2)
        spectrum = torch.fft.fft(spectrum, dim=1)
        if scramble is not None:
            spectrum = _turn_torus(spectrum, scramble, n_hues, n_angles)
        spectrum = spectrum.permute(1, 2, 0, 3).flatten(0, 1)
        cross.flatten(0, 1).baddbmm_(spectrum.conj().transpose(1, 2), spectrum)
    return _normalise_torus(cross, total, n_stimuli, n_hues, n_angles)


def _turn_torus(spectrum: Tensor, scramble: np.random.Generator, n_hues: int, n_angles: int) -> Tensor:
    """Turn each stimulus and unit by a random hue and angle of its own: waves times the spectrum of the orbit."""
    n_stimuli, _, n_frequencies, n_units = spectrum.shape
    draws = [
        torch.from_numpy(scramble.integers(0, n, (n_stimuli, 1, 1, n_units))) for n in (n_hues, n_angles)
    ]
    hue = torch.arange(n_hues).view(1, -1, 1, 1)
    angle = torch.arange(n_frequencies).view(1, 1, -1, 1)
    turns = hue * draws[0] / n_hues + angle * draws[1] / n_angles
    return spectrum * torch.polar(torch.ones(1), (-2 * math.pi * (turns % 1)).float())


def _normalise_torus(
    cross: Tensor, total: Tensor, n_stimuli: int, n_hues: int, n_angles: int
) -> TorusCorrelations:
    """Turn summed cross-spectra into Fourier coefficients of correlations, in their place."""
    order = n_hues * n_angles
    covariance = cross.div_(order)
    covariance[:, 1:] *= 2
    if n_angles % 2 == 0:
        covariance[:, -1] /= 2
    count = n_stimuli * order
    mean = total / max(count, 1)
    covariance[0, 0] -= (count * torch.outer(mean, mean)).to(torch.complex64)
    variance = covariance.diagonal(dim1=2, dim2=3).real.sum((0, 1)).double()
    sd = torch.where(variance > 1e-6 * count * mean**2 + 1e-20, variance, torch.nan).sqrt().float()
    rho = covariance.div_(torch.outer(sd, sd))
    # From -N/2 to N/2, the alias at N/2 shared by both signs so that the curve between the samples is real.
    rho = torch.fft.fftshift(rho, dim=0)
    if n_hues % 2 == 0:
        rho[0] /= 2
        rho = torch.cat([rho, rho[:1]])
    return TorusCorrelations(rho.numpy(), n_stimuli)
