"""The same pattern used forwards and backwards: circuits whose templates agree once input and output change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.circuits.harmonics import rotating_basis
from equiscope.significance import adjust_p_values

__all__ = ["Template", "Transposed", "find_transposed"]

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

_ORDER = 5
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

    A weight from u at the place x to v is, seen from v, a weight from the place -x: transposing a kernel mirrors it
    through its centre. Templates are brought to one size by their mean radius; poses have no common zero, so that the
    best of 72 turns counts, for the null as well.

    Returns
    -------
    tuple of Transposed
        Pairs with a cosine of 0.8 or more and a q-value up to ``false_discovery_rate``, the best first.
    """
    forward = [t for t in templates if t.is_forward]
    backward = [t for t in templates if not t.is_forward]
    if not forward or not backward:
        return ()
    orders = np.zeros(0, np.int64)
    coefficients: list[list[Complex]] = [[], []]
    for side, some in enumerate((forward, backward)):
        for template in some:
            energy = template.kernel**2
            radius = float(np.sqrt((energy * (template.cells**2).sum(1)).sum() / max(energy.sum(), 1e-30)))
            basis = rotating_basis(template.cells, _ORDER, max(radius, 0.5))
            orders = basis.orders
            own = basis.coefficients(template.kernel)
            own = own / max(float(np.linalg.norm(own)), 1e-30)
            coefficients[side].append(own * (-1.0) ** basis.orders if side else own)
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
