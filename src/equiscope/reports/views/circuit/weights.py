"""The kernels of a run's circuits, read from its folder one circuit at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from equiscope.evidence.circuits import Circuits
from equiscope.evidence.circuits.drawn import across_path, weights_path
from equiscope.foundations.records import Archive, leave_out_damaged, reading

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
        self._places: dict[str, tuple[Archive, int]] = {}
        if folder is None:
            return
        paths = [weights_path(folder, pair.source, pair.target) for pair in circuits.pairs]
        for path in [*paths, across_path(folder)]:
            if path.exists():
                self._places |= leave_out_damaged(partial(_places, path)) or {}

    def __contains__(self, circuit: str) -> bool:
        return circuit in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> list[str]:
        """Ids of these circuits."""
        return list(self._places)

    def read(self, circuit: str) -> Weights | None:
        """Read the arrays of `equiscope.evidence.circuits.tied.Tied` of one circuit; None where they were not kept."""
        if circuit not in self._places:
            return None
        archive, index = self._places[circuit]
        return leave_out_damaged(lambda: {part: archive[f"{index}:{part}"] for part in _PARTS})


def _places(path: Path) -> dict[str, tuple[Archive, int]]:
    """Find each circuit of a file."""
    archive = Archive(path)
    with reading(path):
        return {str(name): (archive, index) for index, name in enumerate(archive["ids"].tolist())}
