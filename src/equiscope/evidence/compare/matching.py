"""Which rows and columns of tables of scores are each other's best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["match_by_layers", "mutually_best"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def mutually_best(tables: Sequence[Floats]) -> list[tuple[int, int]]:
    """Pairs (row, column) of which each is the other's best in every table.

    Examples
    --------
    >>> mutually_best([np.array([[0.9, 0.2], [0.8, 0.1]])])
    [(0, 0)]
    """
    if not tables[0].size:
        return []
    best_of_row = [table.argmax(1) for table in tables]
    best_of_column = [table.argmax(0) for table in tables]
    return [
        (i, int(best_of_row[0][i]))
        for i in range(tables[0].shape[0])
        if all(
            rows[i] == best_of_row[0][i] and columns[rows[i]] == i and np.isfinite(table[i, rows[i]])
            for table, rows, columns in zip(tables, best_of_row, best_of_column, strict=True)
        )
    ]


def match_by_layers(tables: Sequence[Floats], first: Ints, second: Ints) -> list[tuple[int, int]]:
    """Mutually best pairs of the families of every two layers, whose numbers are given by row and by column.

    Examples
    --------
    Both families of the first network, which are of different layers, find the same one.

    >>> match_by_layers([np.array([[0.9], [0.8]])], np.array([0, 1]), np.array([0]))
    [(0, 0), (1, 0)]
    """
    pairs = []
    for layer in np.unique(first):
        for other in np.unique(second):
            rows, columns = np.flatnonzero(first == layer), np.flatnonzero(second == other)
            block = np.ix_(rows, columns)
            found = mutually_best([table[block] for table in tables])
            pairs += [(int(rows[i]), int(columns[j])) for i, j in found]
    return pairs
