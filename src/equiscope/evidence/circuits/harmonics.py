"""Kernels as sums of functions that turn: rotating a kernel by any angle becomes a change of phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_genlaguerre

__all__ = ["KernelBasis", "fitted_basis", "rotating_basis"]

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Energy of coefficients that weighs as much as energy missed.
_STIFFNESS = 0.03
# Combinations of functions that are smaller than this on the cells, of the largest, do not count.
_LEAST_NORM = 1e-2


@dataclass(frozen=True)
class KernelBasis:
    """Functions on the plane in which kernels are written.

    Attributes
    ----------
    orders
        Angular order of each function, shape (function,): turning a kernel counter-clockwise by b multiplies its
        coefficient by ``exp(-1j * order * b)``.
    analyse
        From kernels, shape (cell,), to complex coefficients: shape (function, cell).
    synthesise
        Back: the real part of ``synthesise @ coefficients``, shape (cell, function).
    width
        Of the Gaussian, in cells.
    mixings
        Of the Gauss-Laguerre functions of each angular order, from 0 on, into the functions of the basis.
    """

    orders: NDArray[np.int64]
    analyse: Complex
    synthesise: Complex
    width: float
    mixings: tuple[Floats, ...]

    def at(self, points: Floats) -> Complex:
        """Give ``synthesise`` for any places (x, y), in units of the cells' distance, shape (place, function)."""
        return _functions(points, self.width, self.mixings)

    def coefficients(self, kernels: NDArray[np.floating[Any]]) -> Complex:
        """Coefficients of kernels, shape (..., cell) to (..., function)."""
        return np.asarray(kernels @ self.analyse.T)

    def kernels(self, coefficients: Complex) -> Floats:
        """Kernels on the cells, shape (..., function) to (..., cell)."""
        return np.asarray((coefficients @ self.synthesise.T).real)


def rotating_basis(cells: Floats, order: int | None = None, width: float | None = None) -> KernelBasis:
    """Make a basis of circular harmonics under Gaussians (Gauss-Laguerre functions) for the cells of a kernel.

    All functions up to one total order are taken; rotation maps their span onto itself, so quarter turns and all other
    turns are alike. Coefficients balance what they miss of the kernel against their own energy, which keeps the corners
    of the square, which turn out of it, from counting many times.

    Parameters
    ----------
    cells
        Places (x, y), y upwards, in units of the cells' distance, shape (cell, 2).
    order
        Highest total order; by default about as many real functions as the kernel has cells.
    width
        Of the Gaussian, in cells; by default functions reach the grid's resolution and the kernel's rim alike.

    References
    ----------
    Jacovitti and Neri, "Multiresolution circular harmonic decomposition", IEEE Trans. Signal Process. 48 (2000) 3242;
    Weiler, Hamprecht and Storath, "Learning steerable filters for rotation equivariant CNNs" (2018), section 2.

    Examples
    --------
    A quarter turn of a kernel multiplies its coefficients by phases.

    >>> x, y = np.meshgrid(np.arange(-2.0, 3.0), np.arange(2.0, -3.0, -1.0))
    >>> basis = rotating_basis(np.stack([x.ravel(), y.ravel()], axis=1))
    >>> kernel = np.random.default_rng(0).normal(size=(5, 5))
    >>> turned = basis.coefficients(kernel.ravel()) * np.exp(-0.5j * pi * basis.orders)
    >>> np.allclose(turned, basis.coefficients(np.rot90(kernel).ravel()))
    True
    """
    side = max(1.0, float(np.ptp(cells, axis=0).max()) + 1) if len(cells) else 1.0
    if order is None:
        order = 0 if len(cells) == 1 else int(np.ceil(sqrt(2) * side - 1.5))
    if width is None:
        # Functions reach sqrt(2 (order + 1)) · width far, and have frequencies up to sqrt(2 (order + 1)) / width, where
        # the grid's is pi.
        reach = sqrt(2 * (order + 1))
        width = max(reach / pi, sqrt(2) * (side - 1) / 2 / reach, 0.5)
    orders: list[int] = []
    mixings = []
    for m in range(order + 1):
        # Orthonormal on the cells, averaged over turns: coefficients then have the energy of the weights themselves.
        raw = _profiles(np.hypot(*cells.T) / width, m, order)
        value, vector = np.linalg.eigh(raw.T @ raw / (1 if m == 0 else 2))
        kept = value > _LEAST_NORM * max(value[-1], 1e-30)
        orders += [m] * int(kept.sum())
        mixings.append(vector[:, kept] / np.sqrt(value[kept]))
    synthesise = _functions(cells, width, mixings)
    # A coefficient c stands for Re(c f) = Re c Re f - Im c Im f.
    is_turning = np.array(orders) > 0
    real = np.concatenate([synthesise.real, -synthesise.imag[:, is_turning]], axis=1)
    inverse = np.linalg.solve(real.T @ real + _STIFFNESS * np.eye(real.shape[1]), real.T)
    n = len(orders)
    analyse = inverse[:n].astype(complex)
    analyse[is_turning] += 1j * inverse[n:]
    return KernelBasis(np.array(orders), analyse, synthesise, width, tuple(mixings))


def _profiles(share: Floats, m: int, order: int) -> Floats:
    """Radial parts of the functions of angular order m at radii in units of the width, shape (place, function)."""
    profiles = []
    for j in range((order - m) // 2 + 1):
        norm = sqrt(factorial(j) / factorial(j + m))
        profiles.append(norm * share**m * eval_genlaguerre(j, m, share**2) * np.exp(-(share**2) / 2))
    return np.stack(profiles, axis=1)


def _functions(points: Floats, width: float, mixings: Sequence[Floats]) -> Complex:
    """All functions at places (x, y), shape (place, function)."""
    radius, azimuth = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
    order = len(mixings) - 1
    return np.concatenate(
        [
            (_profiles(radius / width, m, order) @ mixing) * np.exp(1j * m * azimuth)[:, None]
            for m, mixing in enumerate(mixings)
        ],
        axis=1,
    )


def fitted_basis(cells: Floats, kernels: Floats, missed: float = 0.003, most: int = 11) -> KernelBasis:
    """Make the smallest `rotating_basis` that misses no more than a share of the energy of some kernels.

    Kernels behind a pool are smooth, so that far fewer functions than cells hold them.

    Parameters
    ----------
    cells
        As for `rotating_basis`.
    kernels
        Shape (kernel, cell).
    missed
        That share, where it can be had.
    most
        Highest order: finer detail of wide kernels differs between copies and only costs time.

    Examples
    --------
    A smooth spot needs fewer functions than its 81 cells.

    >>> x, y = np.meshgrid(np.arange(-4.0, 5.0), np.arange(4.0, -5.0, -1.0))
    >>> cells = np.stack([x.ravel(), y.ravel()], axis=1)
    >>> spot = np.exp(-(cells**2).sum(1) / 8)
    >>> bool(fitted_basis(cells, spot[None]).orders.max() < rotating_basis(cells).orders.max())
    True
    """
    full = min(most, int(rotating_basis(cells).orders.max()))
    energy = float((kernels**2).sum())
    for order in range(min(3, full), full):
        basis = rotating_basis(cells, order)
        away = basis.kernels(basis.coefficients(kernels)) - kernels
        if float((away**2).sum()) <= missed * energy:
            return basis
    return rotating_basis(cells, full)
