"""What feeds each unit most, and what each unit feeds most: the strongest kernels between two layers, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.paths import ExpandedWeights
from equiscope.foundations.files import file_name
from equiscope.foundations.records import Archive, reading
from equiscope.runs.writing import write_archive

__all__ = ["Neighbours", "find_neighbours", "load_neighbours", "save_neighbours"]

# Kernels that are kept for each unit in each direction; what comes after has little of the energy.
_N_KEPT = 8
# A kernel is kept up to this many cells a side, cut about its middle: more are not told apart at the size of a picture.
_MOST_CELLS = 25


@dataclass(frozen=True)
class Neighbours:
    """The strongest kernels between the units of two layers.

    Attributes
    ----------
    source, target
        The layers; the source comes first in the network.
    path
        How the weights were had: ``expanded`` along every path, or ``gradient``.
    inputs
        The source units that feed each target unit most, strongest first, shape (target unit, rank).
    input_kernels
        Their kernels, shape (target unit, rank, y, x), activation units of the target a unit of the source's.
    input_shares
        Share of the energy of everything that the target unit gets from this layer, shape (target unit, rank).
    outputs, output_kernels, output_shares
        Likewise the target units that each source unit feeds most, shape (source unit, rank, ...); the shares are of
        the energy of everything that it gives to that layer.
    """

    source: str
    target: str
    path: str
    inputs: NDArray[np.int64]
    input_kernels: NDArray[np.float32]
    input_shares: NDArray[np.float32]
    outputs: NDArray[np.int64]
    output_kernels: NDArray[np.float32]
    output_shares: NDArray[np.float32]


def find_neighbours(weights: ExpandedWeights, path: str) -> Neighbours:
    """Find the strongest inputs and outputs of every unit between two layers.

    Parameters
    ----------
    weights
        Between the layers.
    path
        How they were had.

    Returns
    -------
    Neighbours
        Strength is the energy of a kernel: the sum of its squared weights.

    Examples
    --------
    Two units, the second of which hears the third input most.

    >>> kernels = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, -2.0]]).reshape(2, 3, 1, 1)
    >>> found = find_neighbours(ExpandedWeights("a", "b", kernels, np.zeros(1), np.zeros(1), 1.0, ()), "expanded")
    >>> found.inputs[:, 0].tolist(), np.allclose(found.input_shares[:, 0], [0.9, 0.8])
    ([0, 2], True)
    """
    kernels = np.asarray(weights.weights)
    energy = np.einsum("tsyx,tsyx->ts", kernels, kernels, dtype=np.float64)
    cut = _middle(kernels)
    inputs, input_shares = _strongest(energy)
    outputs, output_shares = _strongest(energy.T)
    n_target, n_source = energy.shape
    return Neighbours(
        weights.source,
        weights.target,
        path,
        inputs,
        cut[np.arange(n_target)[:, None], inputs].astype(np.float32),
        input_shares,
        outputs,
        cut[outputs, np.arange(n_source)[:, None]].astype(np.float32),
        output_shares,
    )


def _middle(kernels: NDArray[Any]) -> NDArray[Any]:
    """Cut kernels, shape (..., y, x), to a size that is worth drawing."""
    for axis in (-2, -1):
        excess = kernels.shape[axis] - _MOST_CELLS
        if excess > 0:
            kernels = kernels.take(range(excess // 2, excess // 2 + _MOST_CELLS), axis=axis)
    return kernels


def _strongest(energy: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the columns of most energy in each row, and their shares of the row's; NaN where a row has none."""
    chosen = np.argsort(-energy, axis=1, kind="stable")[:, :_N_KEPT]
    total = energy.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.take_along_axis(energy, chosen, axis=1) / total
    return chosen.astype(np.int64), shares.astype(np.float32)


def save_neighbours(folder: Path, neighbours: Neighbours) -> None:
    """Write the neighbours between two layers into a run's folder; kernels in half precision.

    Examples
    --------
    >>> kernels = np.ones((2, 3, 1, 1))
    >>> weights = ExpandedWeights("a", "b", kernels, np.zeros(1), np.zeros(1), 1.0, ())
    >>> save_neighbours(Path("my-run"), find_neighbours(weights, "expanded"))
    >>> load_neighbours(Path("my-run"), "a", "b").inputs.shape
    (2, 3)
    """
    arrays = {part.name: np.asarray(getattr(neighbours, part.name)) for part in fields(Neighbours)}
    for name in ("input_kernels", "output_kernels"):
        # Each unit's kernels are stored against their largest weight: half precision alone would lose small ones.
        largest = np.abs(arrays[name]).max(axis=(1, 2, 3), initial=0.0)
        scale = np.where(largest > 0, largest, 1.0)
        arrays[f"{name}_scale"] = scale.astype(np.float32)
        arrays[name] = (arrays[name] / scale[:, None, None, None]).astype(np.float16)
    write_archive(_path(folder, neighbours.source, neighbours.target), arrays)


def load_neighbours(folder: Path, source: str, target: str) -> Neighbours | None:
    """Read what `save_neighbours` wrote; None where it is not there.

    Raises
    ------
    EquiscopeError
        If the file is damaged.

    Examples
    --------
    >>> print(load_neighbours(Path("another-run"), "a", "b"))
    None
    """
    path = _path(folder, source, target)
    if not path.exists():
        return None
    with Archive(path) as stored, reading(path):
        arrays: dict[str, Any] = {part.name: stored[part.name] for part in fields(Neighbours)}
        for name in ("input_kernels", "output_kernels"):
            scale = stored[f"{name}_scale"][:, None, None, None]
            arrays[name] = arrays[name].astype(np.float32) * scale
    return Neighbours(**(arrays | {name: str(arrays[name]) for name in ("source", "target", "path")}))


def _path(folder: Path, source: str, target: str) -> Path:
    return folder / "circuits" / file_name(source, target, ending=".units.npz")
