"""Read orbits: the responses of units to one stimulus under every element, at poses between and beyond the samples.

An *orbit* is a row of responses, one an element. Elements of a circle are equal turns, so that an orbit is a closed
curve, and its Fourier series tells it between the samples:

    curve(angle) = Re sum_f c_f exp(i f (angle - start)).

Orbits of different stimuli start at different angles (`equiscope.transformations.groups.stagger`), and a stimulus shows
its feature at some pose. Turning an orbit back by both puts all of them onto the same axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations import find
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Group, Segment, TorusGroup

__all__ = ["orbit_axes", "read_circle", "turn_back"]

Floats = NDArray[np.float64]


def orbit_axes(group: Group) -> dict[str, list[float]]:
    """Give the axes along which an orbit is read, the slowest first: the name of each coordinate and its values.

    Examples
    --------
    >>> orbit_axes(DihedralGroup(4))
    {'is_mirrored': [0.0, 1.0], 'angle_deg': [0.0, 90.0, 180.0, 270.0]}
    """
    axes = find(group.name).axes
    if isinstance(group, CyclicGroup):
        return {axes[0].name: group.angles_deg.tolist()}
    if isinstance(group, DihedralGroup):
        return {axes[1].name: [0.0, 1.0], axes[0].name: group.rotations.angles_deg.tolist()}
    if isinstance(group, TorusGroup):
        return {
            axes[1].name: group.hues.angles_deg.tolist(),
            axes[0].name: group.rotations.angles_deg.tolist(),
        }
    return {axes[0].name: list(group.values) if isinstance(group, Segment) else [0.0, 1.0]}


def turn_back(values: NDArray[Any], group: Group, offsets_deg: Sequence[Floats]) -> Floats:
    """Turn orbits back, so that what stood at an offset stands at 0.

    Parameters
    ----------
    values
        Shape (stimulus, element, unit).
    group
        The elements.
    offsets_deg
        For each turn of the group (of a torus the slow one first) by how much each orbit is turned back, degrees, shape
        (stimulus,): where it starts, plus the angle at which its stimulus shows the feature.

    Returns
    -------
    ndarray
        Shape (stimulus, *axes, unit), the axes those of `orbit_axes`. Elements that are no turns stay where they are.

    Examples
    --------
    An orbit that is highest at 90°, turned back by 90°.

    >>> orbit = np.array([1.0, 3.0, 1.0, 0.0]).reshape(1, 4, 1)
    >>> turn_back(orbit, CyclicGroup(4), [np.array([90.0])])[0, :, 0].round(3).tolist()
    [0.0, 1.0, 3.0, 1.0]
    """
    n = len(values)
    if isinstance(group, CyclicGroup):
        return _turned(values, 1, offsets_deg[0])
    if isinstance(group, DihedralGroup):
        sheets = values.reshape(n, 2, group.n_angles, -1)
        mirrored = _turned(sheets[:, 1], 1, offsets_deg[0])
        # Elements turn before they mirror, poses mirror before they turn: the angle changes its sign.
        return np.stack(
            [_turned(sheets[:, 0], 1, offsets_deg[0]), np.roll(mirrored[:, ::-1], 1, axis=1)], axis=1
        )
    if isinstance(group, TorusGroup):
        spectrum = np.fft.fft2(values.reshape(n, group.n_hues, group.n_angles, -1), axes=(1, 2))
        slow = np.fft.fftfreq(group.n_hues, 1 / group.n_hues)[None, :, None, None]
        fast = np.fft.fftfreq(group.n_angles, 1 / group.n_angles)[None, None, :, None]
        slow_deg, fast_deg = (np.radians(offset)[:, None, None, None] for offset in offsets_deg)
        shifted = spectrum * np.exp(-1j * (slow * slow_deg + fast * fast_deg))
        return np.asarray(np.fft.ifft2(shifted, axes=(1, 2)).real)
    return np.asarray(values, dtype=np.float64)


def _turned(values: NDArray[Any], axis: int, offset_deg: Floats) -> Floats:
    """Read closed curves ``offset_deg`` later, each its own, at as many equal steps."""
    n = values.shape[axis]
    spectrum = np.fft.rfft(values, axis=axis)
    phase = np.exp(-1j * np.radians(offset_deg)[:, None] * np.arange(n // 2 + 1))
    shape = [len(values)] + [1] * (values.ndim - 1)
    shape[axis] = n // 2 + 1
    return np.asarray(np.fft.irfft(spectrum * phase.reshape(shape), n=n, axis=axis))


def read_circle(
    values: NDArray[Any], axis: int, start_deg: float | Floats, angles_deg: Sequence[float] | Floats
) -> Floats:
    """Read closed curves anywhere.

    Parameters
    ----------
    values
        Samples at equal steps round the circle along ``axis``.
    axis
        Which.
    start_deg
        Angle of the first sample; of each curve along the first axis its own, shape (stimulus,).
    angles_deg
        Where to read, shape (angle,).

    Returns
    -------
    ndarray
        With the angles along ``axis``; exact at the samples, a Fourier series between them.

    Examples
    --------
    >>> curve = np.cos(np.radians(np.arange(8) * 45.0))
    >>> read_circle(curve, 0, 0.0, [60.0]).round(6).tolist()
    [0.5]
    """
    n = values.shape[axis]
    spectrum = np.fft.rfft(np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1), axis=-1)
    order = np.arange(n // 2 + 1)
    weight = np.where((order == 0) | (2 * order == n), 1.0, 2.0) / n
    start = np.asarray(start_deg, dtype=float)
    start = start.reshape(start.shape + (1,) * (spectrum.ndim + 1 - start.ndim)) if start.ndim else start
    waves = np.exp(1j * np.radians(np.asarray(angles_deg, dtype=float)[:, None] - start) * order)
    return np.moveaxis((spectrum[..., None, :] * (waves * weight)).real.sum(-1), -1, axis)
