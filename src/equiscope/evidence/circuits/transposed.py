"""The same pattern used forwards and backwards: circuits whose templates agree once input and output change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from equiscope.evidence.circuits.harmonics import rotating_basis
from equiscope.foundations.statistics import adjust_p_values

__all__ = ["Template", "Transposed", "find_transposed"]

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Templates are compared on a square of so many cells, out to so many of their mean radii.
_ORDER, _SIDE, _REACH = 5, 11, 2.2
_N_TURNS = 72
_N_NULL = 30
_LEAST_COSINE = 0.8


@dataclass(frozen=True)
class Template:
    """A kernel at pose 0, and how it is used.

    Attributes
    ----------
    circuit
        Id of the circuit.
    is_forward
        True from a unit to a family that turns, False from a family that turns to a unit.
    kernel, cells
        Shape (cell,), and the cells' places (x, y), shape (cell, 2).
    """

    circuit: str
    is_forward: bool
    kernel: Floats
    cells: Floats


@dataclass(frozen=True)
class Transposed:
    """Two circuits with one pattern, used in opposite directions.

    ``cosine``: agreement of the templates after one is transposed (mirrored through its centre), turned by ``turn_deg``
    and brought to the other's size; ``q_value``: from the same for templates with random phases.
    """

    forward: str
    backward: str
    cosine: float
    turn_deg: float
    q_value: float


def find_transposed(
    templates: Sequence[Template], *, false_discovery_rate: float = 0.05, seed: int = 0
) -> tuple[Transposed, ...]:
    """Compare every forward template with every backward one.

    Transposing mirrors a kernel through its centre: a weight from u at x to v is, seen from v, one from -x. Templates
    are brought to one mean radius; poses have no common zero, so the best of 72 turns counts, for the null as well.

    Returns
    -------
    tuple of Transposed
        Pairs with a cosine of 0.8 or more and a q-value up to ``false_discovery_rate``, the best first.

    Examples
    --------
    >>> cells = np.indices((5, 5)).reshape(2, -1).T - 2.0
    >>> one = Template("a>b", True, cells[:, 0] * np.exp(-(cells**2).sum(1)), cells)
    >>> [found.backward for found in find_transposed([one, Template("b>c", False, one.kernel[::-1], cells)])]
    ['b>c']
    """
    forward = [t for t in templates if t.is_forward]
    backward = [t for t in templates if not t.is_forward]
    if not forward or not backward:
        return ()
    axis = np.linspace(-_REACH, _REACH, _SIDE)
    x, y = np.meshgrid(axis, -axis)
    common = np.stack([x.ravel(), y.ravel()], axis=1)
    basis = rotating_basis(common / (axis[1] - axis[0]), _ORDER)
    orders = basis.orders
    coefficients: list[list[Complex]] = [[], []]
    for side, some in enumerate((forward, backward)):
        for template in some:
            own = basis.coefficients(_at_one_size(template, common))
            own = own / max(float(np.linalg.norm(own)), 1e-30)
            coefficients[side].append(own * (-1.0) ** orders if side else own)
    a, b = (np.array(part) for part in coefficients)
    cosine, turn = _best_turn(a, b, orders)
    rng = np.random.default_rng(seed)
    pooled = []
    still = orders == 0
    for _ in range(_N_NULL):
        scrambled = b * np.exp(2j * np.pi * rng.random(b.shape))
        scrambled[:, still] = np.abs(b[:, still]) * rng.choice([-1.0, 1.0], (len(b), int(still.sum())))
        pooled.append(_best_turn(a, scrambled, orders)[0].ravel())
    null = np.sort(np.concatenate(pooled))
    n_exceeding = len(null) - np.searchsorted(null, cosine.ravel(), side="left")
    q_values = adjust_p_values(((1 + n_exceeding) / (1 + len(null))).tolist()).reshape(cosine.shape)
    found = [
        Transposed(
            forward[i].circuit,
            backward[j].circuit,
            float(cosine[i, j]),
            float(turn[i, j]),
            float(q_values[i, j]),
        )
        for i, j in zip(
            *np.nonzero((q_values <= false_discovery_rate) & (cosine >= _LEAST_COSINE)), strict=True
        )
    ]
    return tuple(sorted(found, key=lambda t: -t.cosine))


def _at_one_size(template: Template, places: Floats) -> Floats:
    """Read a template at places given in its own mean radii, shape (place,), linearly between its cells."""
    energy = template.kernel**2
    distance = (template.cells**2).sum(1)
    radius = max(float(np.sqrt((energy * distance).sum() / max(float(energy.sum()), 1e-30))), 0.5)
    x, y = (np.unique(template.cells[:, axis]) for axis in (0, 1))
    if len(x) < 2 or len(y) < 2:
        return np.asarray(template.kernel.sum() * np.exp(-(places**2).sum(1) / 2))
    # Rows run downwards, y upwards.
    grid = template.kernel.reshape(len(y), len(x))[::-1]
    read = RegularGridInterpolator((y, x), grid, bounds_error=False, fill_value=0.0)
    return np.asarray(read(places[:, ::-1] * radius))


def _best_turn(a: Complex, b: Complex, orders: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Highest cosine over turns, and that turn, degrees, shapes (a, b)."""
    by_order = np.stack(
        [a[:, orders == m] @ b[:, orders == m].conj().T for m in range(int(orders.max()) + 1)]
    )  # (order, a, b)
    turns = np.arange(_N_TURNS) * 2 * np.pi / _N_TURNS
    phase = np.exp(1j * np.outer(turns, np.arange(len(by_order))))
    at = np.einsum("tm,mab->tab", phase, by_order, optimize=True).real
    best = at.argmax(0)
    return at.max(0), np.degrees(turns[best])
