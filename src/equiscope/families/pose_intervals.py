"""How certain poses are: by how much they move if photographs are left out, one after the other.

A family's poses are those at which its members correlate best. With ``rho_uv`` the correlation of two members as a
function of their relative pose, they are the maximum of

    sum over pairs of rho_uv(p_v - p_u),

and rho is a sum over photographs. So each photograph *pulls* at each pose, by the slope of its share of that sum, and
the curvature holds against it. Without photograph k the poses move by

    L_k⁻¹ (g - g_k),

one step of Newton's method: g are the slopes of the whole sum (0 at its maximum), g_k those of the photograph's share,
L_k the curvatures of what is left, a matrix of members by members. The spread of the poses over all photographs that
can be left out, the jackknife, gives the standard error, and Student's t for as many photographs the 95 % interval.
For example: if three of four photographs agree on a pose and the fourth would have it 2° further, the interval is wide,
however many stimuli were cut from each.

Only relative poses are measured. A family as a whole can be turned at will, so that each interval is of the member's
pose against the mean of all members.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as students_t

__all__ = ["LEVEL", "PosePulls", "half_widths", "jackknife_half_widths", "pull_poses"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Share of intervals that are to hold the true pose.
LEVEL = 0.95


@dataclass(frozen=True)
class PosePulls:
    """What each photograph says of the poses of one family's members.

    Attributes
    ----------
    slopes
        Of the summed correlation along each coordinate of each pose, per radian, shape (photograph, coordinate,
        member).
    curvatures
        Of the correlation of each two members at their poses, its sign turned so that a maximum is positive, shape
        (photograph, coordinate, coordinate, member, member), per square radian.
    """

    slopes: Floats
    curvatures: Floats


def pull_poses(
    orbits: NDArray[np.complexfloating[Any, Any]], frequencies: Floats, photograph: Ints
) -> PosePulls:
    """Measure how each photograph pulls at the poses of a family.

    Parameters
    ----------
    orbits
        Fourier coefficients of the members' orbits, turned back to pose 0, without the constant one, shape (stimulus,
        frequency, member); scaled so that the sum of ``|z|²`` over frequencies is an orbit's variance.
    frequencies
        How often each coefficient's wave repeats along each coordinate, shape (coordinate, frequency).
    photograph
        From which each stimulus was cut, shape (stimulus,).

    Notes
    -----
    Members are weighted by how strongly they are tuned, all stimuli together. The search weighs them by all of their
    variance, which also holds how strengths differ between stimuli: for copies both are in proportion.

    Examples
    --------
    Two members at one pose: on the first photograph they agree, on the second the other is 90° further.

    >>> orbits = np.array([[[1.0, 1.0]], [[1.0, 1j]]])
    >>> pull_poses(orbits, np.ones((1, 1)), np.arange(2)).slopes[1].round(2).tolist()
    [[0.5, -0.5]]
    """
    order = np.argsort(photograph, kind="stable")
    _, starts = np.unique(photograph[order], return_index=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = orbits[order] / np.sqrt((np.abs(orbits) ** 2).sum((0, 1)))
    whole = scaled.sum(2).conj()
    slopes = np.stack([-((whole * own)[..., None] * scaled).sum(1).imag for own in frequencies], axis=1)
    n_axes, (_, _, n) = len(frequencies), scaled.shape
    curvatures = np.empty((len(starts), n_axes, n_axes, n, n))
    for a, b in itertools.product(range(n_axes), repeat=2):
        weighted = scaled * (frequencies[a] * frequencies[b])[:, None]
        pairs = (weighted.conj().transpose(0, 2, 1) @ scaled).real
        curvatures[:, a, b] = np.add.reduceat(pairs, starts, axis=0)
    curvatures[..., np.arange(n), np.arange(n)] = 0.0
    return PosePulls(np.add.reduceat(slopes, starts, axis=0), curvatures)


def half_widths(pulls: PosePulls) -> Floats:
    """Half the width of the 95 % interval of each pose, shape (coordinate, member), degrees.

    NaN where fewer than two photographs were shown, or where without some photograph the poses are not held at all.

    Examples
    --------
    On two photographs that agree, poses are as certain as can be.

    >>> orbits = np.array([[[1.0, 1.0]], [[1.0, 1.0]]])
    >>> half_widths(pull_poses(orbits, np.ones((1, 1)), np.arange(2))).tolist()
    [[0.0, 0.0]]
    """
    n_photographs, n_axes, n = pulls.slopes.shape
    left = pulls.curvatures.sum(0) - pulls.curvatures
    matrix = -left
    members = np.arange(n)
    matrix[..., members, members] += left.sum(-1)
    matrix = matrix.transpose(0, 1, 3, 2, 4).reshape(n_photographs, n_axes * n, n_axes * n)
    pull = (pulls.slopes.sum(0) - pulls.slopes).reshape(n_photographs, n_axes * n)
    # A turn of the whole family changes nothing, so it is held in place: its mean moves along no coordinate.
    whole = np.kron(np.eye(n_axes), np.full((n, n), 1 / n))
    if not np.isfinite(matrix).all() or not n_photographs:
        return np.full((n_axes, n), nan)
    stiffness = np.abs(matrix).max((1, 2), keepdims=True) + 1e-300
    held = matrix + stiffness * whole
    if np.linalg.eigvalsh(held).min() <= 1e-9 * stiffness.max():
        return np.full((n_axes, n), nan)
    moved = np.linalg.solve(held, pull[..., None])[..., 0].reshape(n_photographs, n_axes, n)
    return jackknife_half_widths(np.degrees(moved))


def jackknife_half_widths(estimates: Floats) -> Floats:
    """Half the width of a 95 % interval from estimates that leave out one photograph each.

    Parameters
    ----------
    estimates
        Shape (photograph, ...).

    Returns
    -------
    ndarray
        Shape (...): Student's t for as many photographs times the jackknife's standard error. NaN for fewer than two.

    References
    ----------
    Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 11.

    Examples
    --------
    The mean of 1, 2 and 6, each left out in turn; its standard error is 1.53.

    >>> means = np.array([4.0, 3.5, 1.5])
    >>> float(jackknife_half_widths(means).round(2))
    6.57
    """
    n = len(estimates)
    if n < 2:
        return np.full(estimates.shape[1:], nan)
    spread = ((estimates - estimates.mean(0)) ** 2).sum(0)
    return np.asarray(students_t.ppf((1 + LEVEL) / 2, n - 1) * np.sqrt((n - 1) / n * spread))
