"""Orbits as Fourier series, in which a turn is a factor and the score of two families a series of the offset.

A unit's *orbit* is its response to a stimulus under every element of the group. Two orbits correlate at an offset of
their elements; over all offsets that correlation is a Fourier series, whose coefficients are products of both orbits'
coefficients. A family is brought to its own frame: each member's orbit is turned back by the member's pose, and the
mean over members is the family's *template*, its answer to every stimulus under every element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.groups import CyclicGroup, Involution

__all__ = [
    "LEAST_VARIANCE",
    "FamilyResponses",
    "Half",
    "best_offsets",
    "correlation_series",
    "family_templates",
    "mean_of_measured",
    "normalise_spectra",
    "orbit_spectra",
    "pair_series",
    "score_held_out",
    "turn_spectra",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Spectra = NDArray[np.complex64]

# Offsets tried on a circle; between them the best one is found by a parabola.
_N_OFFSETS = 128
# Share of an orbit's power below which its variation is rounding of float32.
LEAST_VARIANCE = 1e-5


@dataclass(frozen=True)
class FamilyResponses:
    """Families of one network, and what the units of their layers answered to the shared stimuli.

    Attributes
    ----------
    responses
        After the ReLU, shape (stimulus, element, unit), activation units; units of several layers side by side.
    members
        For each family the columns of its members.
    poses
        For each family its members' poses, in elements of the group.
    stabiliser_orders
        For each family; 1 for a reflection or contrast pair.
    layer_of_unit
        Number of each unit's layer, shape (unit,).
    is_varying
        Units that the transformation changes, shape (unit,): only those can be taken for members.
    """

    responses: NDArray[np.float32]
    members: tuple[Ints, ...]
    poses: tuple[Floats, ...]
    stabiliser_orders: tuple[int, ...]
    layer_of_unit: Ints
    is_varying: NDArray[np.bool_]

    @property
    def layer_of_family(self) -> Ints:
        """Number of each family's layer, shape (family,)."""
        return np.array([self.layer_of_unit[own[0]] for own in self.members], np.int64)

    @property
    def singles(self) -> Ints:
        """Units that the transformation changes and that are in no family, shape (unit,)."""
        has_family = np.isin(np.arange(len(self.layer_of_unit)), np.concatenate(self.members))
        return np.flatnonzero(self.is_varying & ~has_family)

    def is_kin(self) -> NDArray[np.bool_]:
        """Whether two families are different ones of one layer, shape (family, family)."""
        layers = self.layer_of_family
        return np.asarray((layers[:, None] == layers) & ~np.eye(len(layers), dtype=bool))


@dataclass(frozen=True)
class Half:
    """One half of the photographs: centred spectra of templates and of units for both networks, of unit norm."""

    templates: tuple[Spectra, Spectra]
    units: tuple[Spectra, Spectra]


def orbit_spectra(responses: NDArray[np.float32]) -> Spectra:
    """Fourier series over elements, (stimulus, frequency, unit), whose scalar products are those of the orbits.

    Examples
    --------
    Scalar products of series are those of orbits, whose root mean square is made 1.

    >>> spectra = orbit_spectra(np.random.default_rng(0).random((5, 8, 2)).astype(np.float32))
    >>> spectra.shape, round(float((np.abs(spectra[:, :, 0]) ** 2).sum() / (5 * 8)), 3)
    ((5, 5, 2), 1.0)
    """
    order = responses.shape[1]
    rms = np.sqrt(np.mean(responses.astype(np.float64) ** 2, axis=(0, 1)))
    scaled = responses / np.where(rms > 0, rms, 1.0).astype(np.float32)
    n_frequencies = order // 2 + 1
    weight = np.full(n_frequencies, 2.0)
    weight[0] = 1
    if order % 2 == 0:
        weight[-1] = 1
    return np.asarray(np.fft.rfft(scaled, axis=1) * np.sqrt(weight / order)[:, None], np.complex64)


def turn_spectra(spectra: Spectra, by: Floats, order: int) -> Spectra:
    """Bring to element h what was at h + by, for each column; shape (stimulus, frequency, unit).

    Examples
    --------
    >>> orbits = np.random.default_rng(0).random((5, 8, 2)).astype(np.float32)
    >>> by = np.array([3.0, 3.0])
    >>> turned, moved = turn_spectra(orbit_spectra(orbits), by, 8), orbit_spectra(np.roll(orbits, -3, axis=1))
    >>> np.allclose(turned, moved, atol=1e-5)
    True
    """
    frequency = np.arange(spectra.shape[1])
    return np.asarray(spectra * np.exp(2j * np.pi / order * np.outer(frequency, by)), np.complex64)


def family_templates(spectra: Spectra, side: FamilyResponses, order: int) -> Spectra:
    """Each family's mean over members at pose 0, shape (stimulus, frequency, family).

    Examples
    --------
    Two members, the second turned by three elements, are one template.

    >>> first = np.random.default_rng(0).random((5, 8, 1)).astype(np.float32)
    >>> spectra = orbit_spectra(np.concatenate([first, np.roll(first, 3, axis=1)], axis=2))
    >>> poses, layers = (np.array([0.0, 3.0]),), np.zeros(2, int)
    >>> side = FamilyResponses(np.zeros((5, 8, 2)), (np.arange(2),), poses, (1,), layers, layers == 0)
    >>> np.allclose(family_templates(spectra, side, 8)[:, :, 0], spectra[:, :, 0], atol=1e-5)
    True
    """
    means = [
        turn_spectra(spectra[:, :, own], poses, order).mean(2)
        for own, poses in zip(side.members, side.poses, strict=True)
    ]
    return np.stack(means, axis=2) if means else np.zeros((*spectra.shape[:2], 0), np.complex64)


def normalise_spectra(spectra: Spectra) -> Spectra:
    """Zero mean and unit norm over stimuli and elements; NaN for a column that does not vary.

    Examples
    --------
    >>> spectra = normalise_spectra(orbit_spectra(np.random.default_rng(0).random((5, 8, 2)).astype(np.float32)))
    >>> (np.abs(spectra) ** 2).sum((0, 1)).round(3).tolist()
    [1.0, 1.0]
    """
    centred = spectra.copy()
    centred[:, 0] -= centred[:, 0].mean(0)
    power = (np.abs(centred) ** 2).sum((0, 1), dtype=np.float64)
    total = (np.abs(spectra) ** 2).sum((0, 1), dtype=np.float64)
    norm = np.sqrt(np.where(power > LEAST_VARIANCE * total, power, nan))
    with np.errstate(invalid="ignore"):
        return np.asarray(centred / norm, np.complex64)


def correlation_series(x: Spectra, y: Spectra) -> Spectra:
    """Correlation of any two columns as a Fourier series of the offset of y, shape (frequency, x, y).

    Examples
    --------
    At no offset a column correlates with itself by 1.

    >>> spectra = normalise_spectra(orbit_spectra(np.random.default_rng(0).random((5, 8, 2)).astype(np.float32)))
    >>> float(correlation_series(spectra, spectra)[:, 0, 0].real.sum().round(3))
    1.0
    """
    return np.asarray(np.matmul(x.transpose(1, 2, 0).conj(), y.transpose(1, 0, 2)))


def pair_series(half: Half, sides: tuple[FamilyResponses, FamilyResponses], order: int) -> Spectra:
    """Score every two families as a Fourier series of the offset between their poses, shape (frequency, a, b).

    Examples
    --------
    Both networks hold the same family: at no offset, the sum of the series, the score is 1.

    >>> orbits = np.random.default_rng(0).random((5, 8, 1)).astype(np.float32)
    >>> layers = np.zeros(1, int)
    >>> side = FamilyResponses(orbits, (np.arange(1),), (np.zeros(1),), (1,), layers, layers == 0)
    >>> spectra = normalise_spectra(orbit_spectra(orbits))
    >>> series = pair_series(Half((spectra, spectra), (spectra, spectra)), (side, side), 8)
    >>> series.shape, round(float(series.sum().real), 3)
    ((5, 1, 1), 1.0)
    """
    a, b = sides
    to_units = correlation_series(half.templates[0], half.units[1])
    from_units = correlation_series(half.units[0], half.templates[1])
    frequency = np.arange(len(to_units))[:, None]
    wave = 2j * np.pi / order
    # A member that never fired is left out, as it was of the template's variation.
    forward = [
        mean_of_measured(to_units[:, :, own] * np.exp(wave * frequency * poses)[:, None], 2)
        for own, poses in zip(b.members, b.poses, strict=True)
    ]
    backward = [
        mean_of_measured(from_units[:, own] * np.exp(-wave * frequency * poses)[:, :, None], 1)
        for own, poses in zip(a.members, a.poses, strict=True)
    ]
    return np.asarray((np.stack(forward, axis=2) + np.stack(backward, axis=1)) / 2, np.complex64)


def mean_of_measured(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Mean over what is a number; NaN where nothing is.

    Examples
    --------
    >>> mean_of_measured(np.array([[1.0, nan, 3.0], [nan, nan, nan]]), 1).tolist()
    [2.0, nan]
    """
    is_number = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(is_number, values, 0).sum(axis) / is_number.sum(axis))


def _at(series: Spectra, offsets: Floats, order: int) -> Floats:
    """Value of each Fourier series at an offset of its own; shapes (frequency, ...) and (...)."""
    frequency = np.arange(len(series)).reshape(-1, *[1] * offsets.ndim)
    return np.asarray((series * np.exp(2j * np.pi / order * frequency * offsets)).real.sum(0), np.float64)


def score_held_out(series: Sequence[Spectra], offsets: Sequence[Floats], order: int) -> Floats:
    """Mean over both halves of the value at the offset that the other half chose.

    Examples
    --------
    One half's best offset is the other's, too.

    >>> series = np.array([0.0, 0.5, 0.0], np.complex64).reshape(3, 1, 1)
    >>> score_held_out([series, series], [np.zeros((1, 1)), np.zeros((1, 1))], 4).tolist()
    [[0.5]]
    """
    return (_at(series[1], offsets[0], order) + _at(series[0], offsets[1], order)) / 2


def best_offsets(series: Spectra, group: CyclicGroup | Involution) -> tuple[Floats, Floats]:
    """Offset, in elements, at which each series is highest, and its value there; -inf where it was not measured.

    Examples
    --------
    The second column is the first, two elements on.

    >>> orbits = np.random.default_rng(0).random((5, 8, 1)).astype(np.float32)
    >>> here, there = (normalise_spectra(orbit_spectra(np.roll(orbits, k, axis=1))) for k in (0, 2))
    >>> offset, value = best_offsets(correlation_series(here, there), CyclicGroup(8))
    >>> round(float(offset[0, 0]), 2), round(float(value[0, 0]), 2)
    (2.0, 1.0)
    """
    is_circle = isinstance(group, CyclicGroup)
    n_offsets = max(_N_OFFSETS, group.order) if is_circle else group.order
    step = group.order / n_offsets
    frequency = np.arange(len(series))
    best = np.zeros(series.shape[1:])
    # By rows of x, so that the table of all offsets stays small.
    wave = np.exp(2j * np.pi / group.order * np.outer(np.arange(n_offsets) * step, frequency))
    for row in range(series.shape[1]):
        curves = (wave @ series[:, row]).real
        top = np.nan_to_num(curves, nan=-np.inf).argmax(0)
        best[row] = top * step
        if is_circle:
            before, at, after = (
                np.take_along_axis(curves, ((top + k) % n_offsets)[None], 0)[0] for k in (-1, 0, 1)
            )
            bend = before - 2 * at + after
            with np.errstate(invalid="ignore", divide="ignore"):
                shift = np.where(bend < 0, 0.5 * (before - after) / bend, 0.0)
            best[row] += np.clip(np.nan_to_num(shift), -0.5, 0.5) * step
    value = _at(series, best, group.order)
    return best, np.where(np.isfinite(value), value, -np.inf)
