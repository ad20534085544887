"""Two ordinary ways to remove as many parameters from the same convolutions: pruning, and low rank.

Pruning sets the weights to zero whose squares, times how much a change of them matters, are the least. Low rank
replaces the kernels, as a matrix (output, input x cell), by a product of two matrices through the largest singular
values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["low_rank", "prune"]

Floats = NDArray[np.float64]
# Halvings of the price of a parameter.
_N_HALVINGS = 60


def prune(
    weights: Mapping[str, Floats],
    importance: Mapping[str, Floats],
    n_free: int,
    within: Mapping[str, NDArray[np.bool_]] | None = None,
) -> tuple[dict[str, Floats], int]:
    """Set the least weights of several convolutions to zero, with one threshold for all.

    Parameters
    ----------
    weights
        Kernels by convolution, shape (output, input, y, x).
    importance
        How much a squared change of a weight matters, by convolution, shape (output, input).
    n_free
        How many weights stay.
    within
        Kernels that may lose weights, shape (output, input); by default all.

    Returns
    -------
    tuple
        The kernels, and how many weights stayed. Where they are is not counted.

    Examples
    --------
    >>> weights = {"conv": np.array([[[[3.0]], [[1.0]], [[-2.0]]]])}
    >>> pruned, n_free = prune(weights, {"conv": np.ones((1, 3))}, 2)
    >>> pruned["conv"].flatten().tolist(), n_free
    ([3.0, 0.0, -2.0], 2)
    """
    size = {name: w**2 * importance[name][:, :, None, None] for name, w in weights.items()}
    if within is not None:
        size = {name: np.where(within[name][:, :, None, None], part, np.inf) for name, part in size.items()}
    every = np.concatenate([part.ravel() for part in size.values()])
    n_free = min(max(n_free, 0), len(every))
    if n_free == len(every):
        return {name: w.copy() for name, w in weights.items()}, n_free
    is_kept = np.zeros(len(every), bool)
    # By place, so that ties at the threshold do not keep more.
    is_kept[np.argsort(-every, kind="stable")[:n_free]] = True
    pruned, start = {}, 0
    for name, w in weights.items():
        pruned[name] = np.where(is_kept[start : start + w.size].reshape(w.shape), w, 0.0)
        start += w.size
    return pruned, n_free


# Of each convolution, choice by choice: parameters that it takes, and energy that it loses.
_Choices = dict[str, tuple[Floats, Floats]]


def _total(choices: _Choices, picks: Mapping[str, int]) -> int:
    """Count the parameters of all picks."""
    return int(sum(choices[name][0][pick] for name, pick in picks.items()))


def _pick(choices: _Choices, n_free: int) -> dict[str, int]:
    """Pick a choice for each convolution, such that all lose least for a number of parameters."""

    def chosen(price: float) -> dict[str, int]:
        return {name: int((lost + price * cost).argmin()) for name, (cost, lost) in choices.items()}

    low, high = 0.0, max(float(lost[0]) for _, lost in choices.values()) + 1.0
    picks = chosen(low)
    if _total(choices, picks) > n_free:
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if _total(choices, chosen(middle)) > n_free else (low, middle)
        picks = chosen(high)
    _spend(choices, picks, n_free)
    return picks


def _spend(choices: _Choices, picks: dict[str, int], n_free: int) -> None:
    """Give what one price leaves over, in place: to the convolution that then loses least, as long as it lasts."""
    while True:
        left = n_free - sum(choices[name][0][pick] for name, pick in picks.items())
        better: dict[str, tuple[float, int]] = {}
        for name, (cost, lost) in choices.items():
            pick = int(np.where(cost <= cost[picks[name]] + left, lost, np.inf).argmin())
            if lost[pick] < lost[picks[name]]:
                better[name] = (float(lost[picks[name]] - lost[pick]), pick)
        if not better:
            return
        name = max(better, key=lambda own: better[own][0])
        picks[name] = better[name][1]


def low_rank(
    weights: Mapping[str, Floats], importance: Mapping[str, Floats], n_free: int
) -> tuple[dict[str, Floats], int]:
    """Replace convolutions by products of two matrices, of the ranks that lose least for a number of parameters.

    Parameters
    ----------
    weights, importance
        As for `prune`; the importance is that of an input over that of an output, of rank one.
    n_free
        The largest number of parameters, both factors counted.

    Returns
    -------
    tuple
        The kernels, and their parameters: rank x (outputs + inputs x cells), or all of a convolution that stays whole.

    Notes
    -----
    The singular values are those of the kernels as a matrix (output, input x cell), scaled by the root of the
    importance. Ranks are chosen together, by one price for a parameter; what that leaves over is spent greedily.

    Examples
    --------
    Twelve weights of rank one are three numbers times four.

    >>> weights = {"conv": np.outer([1.0, 2.0, 3.0], [1.0, -1.0, 2.0, 1.0]).reshape(3, 4, 1, 1)}
    >>> reduced, n_free = low_rank(weights, {"conv": np.ones((3, 4))}, 10)
    >>> n_free, np.allclose(reduced["conv"], weights["conv"])
    (7, True)
    """
    choices: _Choices = {}
    parts = {}
    for name, w in weights.items():
        root = np.sqrt(np.maximum(importance[name], 1e-30))
        scaled = (w * root[:, :, None, None]).reshape(len(w), -1)
        left, values, right = np.linalg.svd(scaled, full_matrices=False)
        parts[name] = (left, values, right, root)
        each = sum(scaled.shape)
        ranks = np.arange(min(len(values), (w.size - 1) // each) + 1)
        lost = np.append(np.cumsum(values[::-1] ** 2)[::-1], 0.0)[ranks]
        # The last choice is to leave it as it is.
        choices[name] = (np.append(ranks * each, w.size).astype(float), np.append(lost, 0.0))
    picks = _pick(choices, n_free)
    reduced = {}
    for name, pick in picks.items():
        w = weights[name]
        if pick == len(choices[name][0]) - 1:
            reduced[name] = w.copy()
            continue
        left, values, right, root = parts[name]
        kept = (left[:, :pick] * values[:pick]) @ right[:pick]
        reduced[name] = kept.reshape(w.shape) / root[:, :, None, None]
    return reduced, _total(choices, picks)
