"""Which networks are evaluated: the blocks that are tied at each point of a curve, and what other methods keep there.

Tying a block of w weights that has f free parameters saves w - f of them; members of a family keep a factor each, which
counts as a parameter. Blocks come in the order of error per parameter saved, or layer by layer. At each point every
method keeps as many parameters as the tied network has, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.simplify.baselines import low_rank, prune
from equiscope.construction.simplify.result import LOW_RANK, METHODS, PRUNED_BLOCKS, TIED, WRONG
from equiscope.construction.simplify.templates import Block
from equiscope.construction.simplify.tying import Ties
from equiscope.construction.simplify.wiring import Wire

__all__ = ["Plan", "make_plans"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Goal:
    """The blocks that are tied at one point, and those at wrong poses among which as many parameters are saved."""

    layer: str | None
    blocks: Sequence[tuple[str, Block]]
    wrong: Sequence[tuple[str, Block]]


def _goals_by_error(tied: Ties, wrong: Ties, n_points: int) -> list[_Goal]:
    """Let each point remove as many parameters more, wherever that costs least."""
    own, other = _orders(tied, wrong)
    most = _removed(own)
    return [_Goal(None, _take(own, most * step / n_points), other) for step in range(1, n_points + 1)]


def _goals_by_layer(tied: Ties, wrong: Ties, wires: Sequence[Wire], layers: Sequence[str]) -> list[_Goal]:
    """Let each point have all blocks into the units of one more layer."""
    own, other = _orders(tied, wrong)
    place = {wire.name: layers.index(wire.target) for wire in wires}
    return [
        _Goal(layer, *([entry for entry in order if place[entry[0]] <= last] for order in (own, other)))
        for last, layer in enumerate(layers)
    ]


def _orders(tied: Ties, wrong: Ties) -> tuple[list[tuple[str, Block]], list[tuple[str, Block]]]:
    """All blocks, and all at wrong poses, in the order of their error."""
    # With other poses within a convolution it may be another one in which nothing can be saved.
    return (
        _in_order(tied.blocks),
        _in_order([(name, block) for name, block in wrong.blocks if name in tied.weights]),
    )


@dataclass(frozen=True)
class Plan:
    """One network to evaluate."""

    method: str
    layer: str | None
    weights: Mapping[str, Floats]
    n_free: int
    n_blocks: int
    error: float


def make_plans(
    tied: Ties,
    wrong: Ties,
    methods: Sequence[str],
    *,
    n_points: int | None = None,
    wires: Sequence[Wire] = (),
    layers: Sequence[str] = (),
) -> list[Plan]:
    """Choose the weights of every network to evaluate: at each point all methods leave as many parameters as tying.

    Parameters
    ----------
    tied, wrong
        All convolutions tied, and tied at wrong poses.
    methods
        Some of ``METHODS``; ``tied`` is always among them.
    n_points
        Points in the order of error. Without it there is one for each layer, in which the wires end.
    wires, layers
        The convolutions, and the surveyed layers in order.

    Examples
    --------
    >>> block = Block("a", "b", np.arange(2), np.arange(1), 2, 1, False, error=0.5, energy=10.0)
    >>> weights, tied = np.array([1.0, 3.0]).reshape(2, 1, 1, 1), np.full((2, 1, 1, 1), 2.0)
    >>> ties = Ties({"conv": weights}, {"conv": tied}, {"conv": np.ones((2, 1))}, [("conv", block)])
    >>> [(plan.method, plan.n_free) for plan in make_plans(ties, ties, ["magnitude"], n_points=1)]
    [('tied', 1), ('magnitude', 1)]
    """
    goals = (
        _goals_by_layer(tied, wrong, wires, layers)
        if n_points is None
        else _goals_by_error(tied, wrong, n_points)
    )
    plans: dict[str, list[Plan]] = {method: [] for method in METHODS if method in methods or method == TIED}
    for goal in goals:
        n_free = tied.n_weights - _removed(goal.blocks)
        if n_free >= (plans[TIED][-1].n_free if plans[TIED] else tied.n_weights):
            continue
        for method in plans:
            n_blocks = 0
            if method == TIED:
                weights, own_free, n_blocks = (
                    _apply(tied.weights, tied.tied, goal.blocks),
                    n_free,
                    len(goal.blocks),
                )
            elif method == WRONG:
                some = _take(goal.wrong, tied.n_weights - n_free)
                weights, n_blocks = _apply(tied.weights, wrong.tied, some), len(some)
                own_free = tied.n_weights - _removed(some)
            elif method == LOW_RANK:
                weights, own_free = low_rank(tied.weights, tied.importance, n_free)
            else:
                within = _is_within(tied, goal.blocks) if method == PRUNED_BLOCKS else None
                weights, own_free = prune(tied.weights, tied.importance, n_free, within)
            plans[method].append(Plan(method, goal.layer, weights, own_free, n_blocks, tied.error(weights)))
    return [plan for own in plans.values() for plan in own]


def _in_order(blocks: Sequence[tuple[str, Block]]) -> list[tuple[str, Block]]:
    """Blocks by error per parameter saved."""
    return sorted(blocks, key=lambda entry: entry[1].error / (entry[1].n_weights - entry[1].n_free))


def _take(order: Sequence[tuple[str, Block]], n_removed: float) -> list[tuple[str, Block]]:
    """As many blocks from the beginning as remove a number of parameters."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _removed(order[:middle]) < n_removed else (low, middle)
    return list(order[:low])


def _removed(blocks: Sequence[tuple[str, Block]]) -> int:
    """Parameters that tying removes; rows that share templates keep a factor each."""
    rows = {(name, row) for name, block in blocks if block.is_shared for row in block.rows.tolist()}
    return sum(block.n_weights - block.n_free for _, block in blocks) - len(rows)


def _is_within(ties: Ties, blocks: Sequence[tuple[str, Block]]) -> dict[str, NDArray[np.bool_]]:
    """Tell which kernels stand in some blocks, by convolution, shape (output, input)."""
    within = {name: np.zeros(w.shape[:2], bool) for name, w in ties.weights.items()}
    for name, block in blocks:
        within[name][np.ix_(block.rows, block.columns)] = True
    return within


def _apply(
    weights: Mapping[str, Floats], tied: Mapping[str, Floats], blocks: Sequence[tuple[str, Block]]
) -> dict[str, Floats]:
    """Replace blocks of weights by tied ones."""
    applied = {name: w.copy() for name, w in weights.items()}
    for name, block in blocks:
        place = np.ix_(block.rows, block.columns)
        applied[name][place] = tied[name][place]
    return applied
