"""Kernels that can be turned: a basis, the same basis under every element of the group, and what stays fixed.

Where a group has quarter turns and mirrors only, every kernel can be turned exactly, and the basis is its pixels. Where
it has finer rotations, kernels are sums of circular harmonics. A kernel on a grid of pixels is no pure harmonic, so
those are taken that come nearest: for angular frequency m, the kernels K that maximise

    E |part of K * x that turns as exp(i m angle)|² / E |K * x|²

over random pictures x. That is a generalised eigenvalue problem in the pixels of K (a concentration problem in
Slepian's sense), and its solution is as good as any basis of this size can be. Those whose remainder is small are
kept; they are turned by theta by a phase, ``exp(-i m theta)``, which is a true representation of the circle: turning by
45° twice is turning by 90°.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.linalg
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.construction.equivariant.fields import Action, action_of
from equiscope.foundations.errors import EquiscopeError

__all__ = ["KernelBasis", "kernel_basis"]

# Pictures for which kernels should turn well: white noise blurred by a Gaussian of this width, which is about what an
# antialiased picture holds. A narrower one asks for high frequencies that no small kernel can turn.
_BLUR_PX = 1.0
# Largest relative remainder of a harmonic on such pictures. 0.1 keeps frequencies to 2, 4 and 6 in kernels of 3, 5 and
# 7 px; docs/equivariant.md has the error of whole layers.
_LARGEST_REMAINDER = 0.1
# Frequencies of the radial quadrature, and the highest order of the Bessel functions that pixels of 15 px reach.
_N_RADIAL, _HIGHEST_ORDER = 200, 40
# An element turns by at least a quarter of the finest detail's period: beyond, neighbours are the same.
_ELEMENTS_A_PERIOD = 4


@dataclass(frozen=True)
class KernelBasis:
    """A basis of the kernels of one size, and how a group turns it.

    Parameters
    ----------
    turned
        The basis under each representative of the group modulo exact elements (quarter turns, mirrors), shape
        (coefficient, representative, pixel), float64.
    place
        Where to read element g's kernel in the flattened last two axes of ``turned``, shape (element, pixel): the
        representative's kernel with its pixels moved, bit for bit.
    fixed
        Orthonormal basis of what no element changes, shape (coefficient, pixel), float64: kernels between
        invariant units.
    """

    turned: Tensor
    place: Tensor
    fixed: Tensor

    @property
    def n_coefficients(self) -> int:
        """Free numbers of a kernel."""
        return len(self.turned)

    @property
    def n_fixed(self) -> int:
        """Free numbers of a kernel between invariant units."""
        return len(self.fixed)

    def draw(self, *shape: int, is_fixed: bool = False, n_copies: int = 1) -> Tensor:
        """Draw coefficients of random kernels with the moments of independent pixels of variance 1.

        Parameters
        ----------
        *shape
            Of the kernels.
        is_fixed
            Draw of the kernels between invariant units.
        n_copies
            How many turned copies of a kernel an output adds up, which have one sum.

        Returns
        -------
        Tensor, shape (*shape, coefficient), default type

        Notes
        -----
        Independent pixels give a kernel the same energy at every frequency, so that its output has one variance
        whether the input is noise or flat. A smooth basis with independent coefficients has most energy at low
        frequencies, where activations have theirs, and the variance grows from layer to layer (by 8 for 5 px between
        invariant units). So the coefficients along the sum of the kernel are scaled to give that sum the variance
        it has with independent pixels, ``n_pixels / n_copies``, and the others to bring the energy to ``n_pixels``.
        """
        # Also where another device is the default one: the same numbers everywhere.
        with torch.device("cpu"):
            rows = self.fixed if is_fixed else self.turned[:, 0]
            n_pixels = rows.shape[1]
            sums = rows.sum(1)
            along = sums / sums.norm()
            gram = rows @ rows.T
            scale_along = math.sqrt(n_pixels / n_copies) / sums.norm().item()
            energy_along = (along @ gram @ along).item()
            energy_across = gram.trace().item() - energy_along
            left = n_pixels - scale_along**2 * energy_along
            scale_across = math.sqrt(left / energy_across) if energy_across > 1e-9 else 0.0
            shaping = scale_across * torch.eye(len(rows)) + (scale_along - scale_across) * torch.outer(
                along, along
            )
            drawn: Tensor = torch.randn(*shape, len(rows)) @ shaping.to(torch.get_default_dtype())
            return drawn


@lru_cache
def kernel_basis(group: str, size_px: int) -> KernelBasis:
    """Basis of the kernels of a group and size.

    Parameters
    ----------
    group
        Its name, see `equiscope.construction.equivariant.Fields`.
    size_px
        Side of the kernel, px, odd.

    Raises
    ------
    EquiscopeError
        If the size is not odd and at least 1, or carries too few angular frequencies to tell the group's elements
        apart. 1 px is allowed: such kernels mix units and leave angles alone.

    Examples
    --------
    >>> basis = kernel_basis("C4", 3)
    >>> basis.n_coefficients, basis.n_fixed
    (9, 3)
    """
    if size_px < 1 or size_px % 2 == 0:
        raise EquiscopeError(
            f"kernel_size is {size_px}, expected an odd number: an even kernel has no central pixel to turn about"
        )
    # What is shared by all layers stays on the CPU, also where another device is the default one.
    with torch.device("cpu"):
        return _make_basis(action_of(group), size_px)


def _make_basis(action: Action, size_px: int) -> KernelBasis:
    """Make the basis of an odd size."""
    if size_px == 1 or all(action.is_exact(g) for g in range(action.order)):
        turned = torch.eye(size_px**2, dtype=torch.float64)[:, None]
    else:
        harmonics = _harmonics(size_px)
        highest = max(harmonics)
        if action.n_angles > _ELEMENTS_A_PERIOD * highest:
            smallest = next(k for k in range(size_px, 64, 2) if max(_harmonics(k)) * 4 >= action.n_angles)
            raise EquiscopeError(
                f"a kernel of {size_px} px is too small for {action.name}: it carries angular frequencies up to "
                f"{highest}, so turns by {360 / action.n_angles:g}° hardly differ: {action.n_angles} turned copies "
                f"span {2 * highest + 1} dimensions. Use {smallest} px or more, 1 px, or a group of at most "
                f"{_ELEMENTS_A_PERIOD * highest} rotations"
            )
        steps_deg = sorted({action.angle_deg(g) % 90 for g in range(action.order)})
        turned = torch.stack([_turned(harmonics, step) for step in steps_deg], dim=1)
    place = _places(action, size_px, turned.shape[1])
    every = turned.flatten(1)[:, place]
    return KernelBasis(turned, place, _fixed(every, action, size_px))


@lru_cache
def _harmonics(size_px: int) -> dict[int, NDArray[np.complex128]]:
    """Kernels that turn as one angular frequency, for each that this size carries: shape (kernel, pixel)."""
    axis = np.arange(size_px) - (size_px - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    radius, azimuth = np.hypot(x, y).ravel(), np.arctan2(-y, x).ravel()
    node, weight = np.polynomial.legendre.leggauss(_N_RADIAL)
    frequency = (node + 1) * np.pi / 2
    power = np.exp(-((frequency * _BLUR_PX) ** 2)) * frequency * weight
    power /= power.sum()

    def covariance(order: int) -> NDArray[np.complex128]:
        """Covariance of pixels of a random picture's part of one angular frequency (Jacobi and Anger)."""
        bessel = scipy.special.jv(order, np.outer(frequency, radius))
        turn = np.exp(1j * order * (azimuth[:, None] - azimuth[None, :]))
        return np.asarray((bessel.T * power) @ bessel * turn)

    total = sum(covariance(order).real for order in range(-_HIGHEST_ORDER, _HIGHEST_ORDER + 1))
    whiten = np.linalg.inv(np.linalg.cholesky(total))
    distance = np.rint(4 * radius**2)
    rings = (distance == np.unique(distance)[:, None]).astype(np.float64)
    harmonics: dict[int, NDArray[np.complex128]] = {}
    for order in range(2 * size_px):
        share, vectors = np.linalg.eigh(whiten @ covariance(order) @ whiten.T)
        kept = 1 - share < _LARGEST_REMAINDER**2
        if not kept.any():
            break
        kernels = _chosen(whiten.T @ vectors[:, kept], rings * np.exp(1j * order * azimuth))
        # On the grid, too, quarter turns are exactly a phase: leave out what rounding added.
        grid = kernels.reshape(-1, size_px, size_px)
        quarters = [np.rot90(grid, q, (1, 2)) * 1j ** (order * q) for q in range(4)]
        harmonics[order] = np.mean(quarters, axis=0).reshape(kernels.shape)
    return harmonics


def _chosen(space: NDArray[np.complex128], references: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Orthonormal basis of a space that follows from the space alone.

    LAPACK gives eigenvectors with any phase, and those of nearly equal values in any mixture: others from one processor
    to the next. A network's coefficients must mean the same kernels everywhere.

    Parameters
    ----------
    space
        Vectors that span it, shape (pixel, kernel).
    references
        Pictures that tell its vectors apart, at least as many, shape (reference, pixel).

    Returns
    -------
    array, shape (kernel, pixel)
    """
    spanning = np.linalg.qr(space)[0]
    # Mirrored pictures are seen alike: of unequal length, the first comes first however numbers are rounded.
    lengths = np.linspace(1, 0.5, len(references)) / np.linalg.norm(references, axis=1)
    seen = spanning.conj().T @ (references.T * lengths)
    directions, triangle, _ = scipy.linalg.qr(seen, mode="economic", pivoting=True)
    diagonal = np.diagonal(triangle)
    return np.asarray((spanning @ (directions * (diagonal / np.abs(diagonal)))).T)


def _turned(harmonics: dict[int, NDArray[np.complex128]], angle_deg: float) -> Tensor:
    """Real basis turned counter-clockwise by an angle, shape (coefficient, pixel), about unit norm each."""
    parts = []
    for order, kernels in harmonics.items():
        turned = kernels * np.exp(-1j * order * np.radians(angle_deg))
        # Frequency 0 has real kernels, as the rings are that they were chosen by.
        parts += [turned.real] if order == 0 else [np.sqrt(2) * turned.real, np.sqrt(2) * turned.imag]
    return torch.from_numpy(np.concatenate(parts))


def _places(action: Action, size_px: int, n_representatives: int) -> Tensor:
    """Index of each element's kernel in (representative, pixel) flattened, shape (element, pixel)."""
    pixels = torch.arange(size_px**2).reshape(size_px, size_px)
    places = []
    for element in range(action.order):
        n_quarters, rest = divmod(element % action.n_angles * 4, action.n_angles)
        # Representatives are the elements below a quarter turn, in steps of 360° / n_angles.
        representative = rest // 4 if n_representatives > 1 else 0
        moved = torch.rot90(pixels, n_quarters)
        moved = moved.flip(-1) if action.is_mirrored(element) else moved
        places.append(representative * size_px**2 + moved.flatten())
    return torch.stack(places)


def _fixed(every: Tensor, action: Action, size_px: int) -> Tensor:
    """Orthonormal basis of kernels that no element changes, shape (coefficient, pixel).

    Parameters
    ----------
    every
        The basis under every element, shape (coefficient, element, pixel).
    """
    averages = every.mean(1)
    _, strength, directions = torch.linalg.svd(averages, full_matrices=False)
    spanning = directions[strength > 1e-6 * strength.max()]
    # Bit for bit the same at all pixels that exact elements exchange: each takes the value of the first of them.
    pixels = torch.arange(size_px**2)
    first = pixels.clone()
    moves = _places(action, size_px, 1)
    for element in range(action.order):
        if action.is_exact(element):
            first = torch.minimum(first, moves[element])
    orbits = (first.numpy() == np.unique(first)[:, None]).astype(np.float64)
    fixed = torch.from_numpy(_chosen(spanning.T.numpy(), orbits).real)
    return fixed[:, first]
