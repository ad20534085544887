"""The kernels of a run's circuits, read from its folder one circuit at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from equiscope.circuits import Circuits
from equiscope.circuits.recover import across_path, weights_path
from equiscope.received import check_archive

__all__ = ["StoredWeights", "Weights"]

Weights = Mapping[str, NDArray[Any]]

_PARTS = ("raw", "reordered", "template", "slots", "rows", "columns")


class StoredWeights:
    """The circuits of a run whose weights were kept.

    Parameters
    ----------
    folder
        Of the run; None where there is nothing to read.
    circuits
        What was recovered.
    """

    def __init__(self, folder: Path | None, circuits: Circuits) -> None:
        self._places: dict[str, tuple[NpzFile, int]] = {}
        if folder is None:
            return
        paths = [weights_path(folder, pair.source, pair.target) for pair in circuits.pairs]
        for path in [*paths, across_path(folder)]:
            if path.exists():
                # Stays open: finding its thousands of arrays takes longer than reading some.
                check_archive(path)
                archive = np.load(path, allow_pickle=False)
                self._places |= {str(name): (archive, i) for i, name in enumerate(archive["ids"].tolist())}

    def __contains__(self, circuit: str) -> bool:
        return circuit in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> list[str]:
        """Ids of these circuits."""
        return list(self._places)

    def read(self, circuit: str) -> Weights | None:
        """Read the arrays of `equiscope.circuits.tied.Tied` of one circuit; None where they were not kept."""
        if circuit not in self._places:
            return None
        archive, index = self._places[circuit]
        return {part: archive[f"{index}:{part}"] for part in _PARTS}
