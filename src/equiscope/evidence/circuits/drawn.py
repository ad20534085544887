"""Which circuits are drawn, and the files of their weights in a run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import Circuit, CircuitEnd
from equiscope.evidence.circuits.ends import End, unit_end
from equiscope.evidence.circuits.kept_weights import KeptWeights
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.stretched import tie_stretched
from equiscope.evidence.circuits.tied import Tied, tie_circuit
from equiscope.foundations.files import file_name
from equiscope.runs.writing import write_archive

__all__ = ["across_path", "choose_drawn", "find_ends", "save_tied", "save_weights", "weights_path"]

_FOLDER = "circuits"
# Circuits whose weights are kept to be drawn, for each family: the strongest that lead to it, and from it.
_DRAWN_IN, _DRAWN_OUT = 4, 2


def choose_drawn(circuits: Iterable[Circuit]) -> list[Circuit]:
    """Choose the strongest symmetric circuits into and out of each end, single kernels between two units aside.

    Examples
    --------
    >>> from dataclasses import replace
    >>> ends, kinds = (CircuitEnd(("a",), "one"), CircuitEnd(("b",), "other")), {"rotation": ("equivariant",) * 2}
    >>> figures = 0.9, 0.8, 1.0, 0.1, 0.2, 0.01, 0.01, 0.5, 1.0
    >>> symmetric = Circuit("one>other", ends, "rotation", kinds, 9, 8, False, *figures)
    >>> no_class = replace(symmetric, id="another", kinds={"rotation": None})
    >>> [circuit.id for circuit in choose_drawn([no_class, symmetric])]
    ['one>other']
    """
    symmetric = sorted(
        (c for c in circuits if c.is_symmetric and not c.pair_class and c.n_source * c.n_target > 1),
        key=lambda c: -c.r2 * c.energy_share,
    )
    n_in: dict[CircuitEnd, int] = {}
    n_out: dict[CircuitEnd, int] = {}
    drawn = []
    for circuit in symmetric:
        is_strong_in = n_in.get(circuit.ends[1], 0) < _DRAWN_IN
        is_strong_out = n_out.get(circuit.ends[0], 0) < _DRAWN_OUT
        if is_strong_in or is_strong_out:
            drawn.append(circuit)
            n_in[circuit.ends[1]] = n_in.get(circuit.ends[1], 0) + 1
            n_out[circuit.ends[0]] = n_out.get(circuit.ends[0], 0) + 1
    return drawn


def find_ends(pair: LayerPair, circuits: Iterable[Circuit]) -> dict[str, tuple[End, End]]:
    """Give the source and the target of each circuit between two layers with their poses, by its id.

    Examples
    --------
    >>> from equiscope.evidence.circuits.find import find_circuits
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> pair = LayerPair(weights, planted.families, planted.units)
    >>> ends = find_ends(pair, find_circuits(pair, n_draws=20))
    >>> source, target = ends["early-rotation-0>late-rotation-1"]
    >>> source.size, target.size
    (9, 6)
    """
    known = {end.named: end for end in (*pair.sources, *pair.targets)}

    def find_end(end: CircuitEnd) -> End:
        return known[end] if end.channel is None else unit_end(end.layer, end.channel)

    return {c.id: (find_end(c.ends[0]), find_end(c.ends[1])) for c in circuits}


def save_weights(
    folder: Path,
    pair: LayerPair,
    still: Mapping[str, KeptWeights],
    circuits: Sequence[Circuit],
    ends: dict[str, tuple[End, End]],
) -> None:
    """Write the weights of the circuits between two layers that are drawn.

    Examples
    --------
    >>> from equiscope.evidence.circuits.find import find_circuits
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> pair = LayerPair(weights, planted.families, planted.units)
    >>> (first, *_) = find_circuits(pair, n_draws=20)
    >>> save_weights(Path("my-run"), pair, {}, [first], find_ends(pair, [first]))
    >>> np.load("my-run/circuits/early+late.npz")["ids"].tolist()
    ['early-rotation-0>late-rotation-0']
    """
    ties = {}
    for circuit in circuits:
        kept = None if circuit.is_between_families else still.get(circuit.transformation)
        if kept is not None:
            ties[circuit.id] = tie_stretched(circuit, [kept], pair.families, pair.units)
        else:
            ties[circuit.id] = tie_circuit(pair, *ends[circuit.id])
    save_tied(weights_path(folder, pair.weights.source, pair.weights.target), ties)


def save_tied(path: Path, ties: Mapping[str, Tied]) -> None:
    """Write the kernels and templates of circuits that are drawn, by the circuits' ids.

    Examples
    --------
    >>> kernels = np.ones((2, 3, 5, 5))
    >>> tied = Tied(kernels, kernels, kernels, kernels[0], np.zeros(0), np.arange(2), np.arange(3))
    >>> save_tied(Path("tied.npz"), {"a>b": tied})
    >>> stored = np.load("tied.npz")
    >>> stored["ids"].tolist(), stored["0:raw"].shape
    (['a>b'], (2, 3, 5, 5))
    """
    arrays: dict[str, NDArray[Any]] = {"ids": np.array(list(ties), dtype=np.str_)}
    for index, tied in enumerate(ties.values()):
        for name in ("raw", "reordered", "template"):
            arrays[f"{index}:{name}"] = getattr(tied, name).astype(np.float16)
        for name in ("slots", "rows", "columns"):
            arrays[f"{index}:{name}"] = getattr(tied, name)
    write_archive(path, arrays)


def weights_path(folder: Path, source: str, target: str) -> Path:
    """File of the weights that are drawn of the circuits between two layers.

    Examples
    --------
    >>> weights_path(Path("my-run"), "conv1", "block/2").as_posix()
    'my-run/circuits/conv1+block%2F2.npz'
    """
    # A plus sign in a layer's own name is percent-encoded, so that no two pairs share a file.
    return folder / _FOLDER / file_name(source, target, ending=".npz")


def across_path(folder: Path) -> Path:
    """File of the weights that are drawn of circuits over several layers.

    Examples
    --------
    >>> across_path(Path("my-run")).as_posix()
    'my-run/circuits/across.npz'
    """
    # No pair of layers has this name, which lacks the plus sign.
    return folder / _FOLDER / "across.npz"
