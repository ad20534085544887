"""How certain steps along a line are, such as octaves: by how much they move if photographs are left out.

Families along a line are joined from pairs. The relative pose of a pair is where the correlation of its two units, one
of them moved, is highest, refined by a parabola through the highest of the steps and its neighbours. Correlations are
made of sums over photographs, so that those without one photograph are what is left of the sums; the poses of the
family then follow along the pairs that joined it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equiscope.families.pose_intervals import jackknife_half_widths

__all__ = ["step_half_widths"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def step_half_widths(
    values: Floats, pairs: Sequence[tuple[int, int, float]], poses: Floats, step: float, photograph: Ints
) -> Floats:
    """Half the width of the 95 % interval of each pose of a family, shape (member,), in the unit of the step.

    Parameters
    ----------
    values
        Responses of the members, shape (stimulus, element, member).
    pairs
        (u, v, away): pairs of members, and by how much v is further along the line than u.
    poses
        Of the members, shape (member,). Pairs whose relative pose is another were not what joined them.
    step
        From one element to the next.
    photograph
        From which each stimulus was cut, shape (stimulus,).

    Returns
    -------
    ndarray
        Of each pose against the mean of all; NaN for fewer than two photographs, and where a correlation is not
        highest between two others without each of them.

    Examples
    --------
    The second unit answers as the first does to what is two steps smaller.

    >>> rng = np.random.default_rng(0)
    >>> shown = rng.uniform(-1, 1, (40, 1)) + np.arange(9) - 4
    >>> values = np.exp(-np.stack([shown + 1, shown - 1], axis=2) ** 2) + rng.normal(0, 0.1, (40, 9, 2))
    >>> step_half_widths(values, [(0, 1, 2.0)], np.array([0.0, 2.0]), 1.0, np.arange(40)).round(2).tolist()
    [0.02, 0.02]
    """
    joining = [pair for pair in pairs if abs(poses[pair[1]] - poses[pair[0]] - pair[2]) < 1e-6]
    moved = np.zeros((len(np.unique(photograph)), len(poses)))
    known = np.zeros(len(poses), bool)
    known[:1] = True
    left = list(joining)
    while left:
        pair = next((own for own in left if known[own[0]] != known[own[1]]), None)
        if pair is None:
            break
        left.remove(pair)
        u, v, away = pair
        without = step * _places(values[:, :, u], values[:, :, v], round(away / step), photograph)
        start, end, sign = (u, v, 1.0) if known[u] else (v, u, -1.0)
        moved[:, end] = moved[:, start] + sign * without
        known[end] = True
    if not known.all():
        return np.full(len(poses), np.nan)
    return jackknife_half_widths(moved - moved.mean(1, keepdims=True))


def _places(x: Floats, y: Floats, nearest: int, photograph: Ints) -> Floats:
    """Lag of y against x at which they correlate best without each photograph, in steps, shape (photograph,)."""
    curves = np.stack([_without(x, y, lag, photograph) for lag in range(nearest - 2, nearest + 3)])
    top = 1 + int(curves[1:4].mean(1).argmax())
    before, at, after = curves[top - 1 : top + 2]
    bend = before - 2 * at + after
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.where(bend < -1e-9, 0.5 * (before - after) / bend, np.nan)
    return np.asarray(nearest - 2 + top + np.where(np.abs(shift) <= 1, shift, np.nan))


def _without(x: Floats, y: Floats, lag: int, photograph: Ints) -> Floats:
    """Correlation of y with x that many steps before, without each photograph, shape (photograph,)."""
    n = x.shape[1] - abs(lag)
    _, own = np.unique(photograph, return_inverse=True)
    if n < 2:
        return np.full(int(own.max()) + 1, np.nan)
    first, second = (part[:, at : at + n] for part, at in ((x, max(-lag, 0)), (y, max(lag, 0))))
    series = (np.ones_like(first), first, second, first**2, second**2, first * second)
    totals = [np.bincount(own, part.sum(1)) for part in series]
    count, sum_x, sum_y, xx, yy, xy = (total.sum() - total for total in totals)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = sum_x / count, sum_y / count
        variance = (xx / count - mean_x**2) * (yy / count - mean_y**2)
        return np.asarray((xy / count - mean_x * mean_y) / np.sqrt(np.where(variance > 0, variance, np.nan)))
