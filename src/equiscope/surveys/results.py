"""What each stage of a survey leaves in ``results/``, written and read back, so that a survey can go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from equiscope.families.family import Family, Symmetry, Tuning
from equiscope.families.layer_families import LayerFamilies, NullSummary, UnitPair
from equiscope.foundations.records import NumberTree, reading
from equiscope.runs.earlier import result_of_2
from equiscope.runs.findings import FamiliesFile, families_document
from equiscope.runs.layout import layer_path
from equiscope.runs.reading import load_record
from equiscope.surveys.stages import StageResult
from equiscope.transformations import find

__all__ = ["read_explained", "read_judged", "read_result", "result_document", "result_path", "result_paths"]


def result_path(folder: Path, name: str, layer: str) -> Path:
    """Give the path of the results of one transformation in one layer, or in all layers if they are measured together.

    Examples
    --------
    >>> result_path(Path("my-run"), "rotation", "conv1").as_posix()
    'my-run/results/rotation/conv1.json'
    >>> result_path(Path("my-run"), "scale", "conv1").as_posix()
    'my-run/results/scale.json'
    """
    if find(name).is_joint:
        return folder / "results" / f"{name}.json"
    return layer_path(folder, f"results/{name}", layer, ".json")


def result_paths(folder: Path, layers: Sequence[str], transformations: Sequence[str]) -> list[Path]:
    """Give the paths of all results of a survey, in the order in which they are computed.

    Examples
    --------
    >>> [path.as_posix() for path in result_paths(Path("my-run"), ["conv1", "conv2"], ["rotation", "scale"])]
    ['my-run/results/rotation/conv1.json', 'my-run/results/rotation/conv2.json', 'my-run/results/scale.json']
    """
    alone = [name for name in transformations if not find(name).is_joint]
    joint = [name for name in transformations if find(name).is_joint]
    paths = [result_path(folder, name, layer) for layer in layers for name in alone]
    return paths + [result_path(folder, name, "") for name in joint]


def result_document(entry: StageResult) -> dict[str, Any]:
    """Turn the result of one transformation in one layer into the contents of its file.

    Examples
    --------
    >>> null = NullSummary(n_draws=20, families_per_draw=0.5, families_expected=0.0, score_95=0.4)
    >>> document = result_document(StageResult(LayerFamilies(("conv1",), "rotation", (), (), null, n_refused=1)))
    >>> document["layers"], document["transformation"], document["null"]["n_draws"], document["n_refused"]
    (['conv1'], 'rotation', 20, 1)
    """
    result = entry.result
    return families_document(result.families) | {
        "layers": list(result.layers),
        "transformation": result.transformation,
        "symmetries": [asdict(line) for line in result.symmetries],
        "null": asdict(result.null),
        "n_refused": result.n_refused,
        "notes": list(result.notes),
        "tuning": {name: asdict(tuning) for name, tuning in entry.tunings.items()},
        "pairs": [asdict(pair) for pair in result.pairs],
        "joint_layers": list(entry.joint_layers),
    }


@dataclass(frozen=True)
class _TuningPart:
    axes: dict[str, list[float]]
    values: NumberTree


@dataclass(frozen=True)
class _ResultFile:
    """Contents of a file of ``results``."""

    layers: tuple[str, ...]
    transformation: str
    families: tuple[Family, ...]
    symmetries: tuple[Symmetry, ...]
    null: NullSummary
    n_refused: int
    notes: tuple[str, ...]
    tuning: dict[str, _TuningPart]
    pairs: tuple[UnitPair, ...]
    joint_layers: tuple[str, ...]

    @staticmethod
    def from_earlier(document: dict[str, Any]) -> dict[str, Any]:
        """Say one of an earlier version as this version does."""
        return result_of_2(document)


def read_result(path: Path) -> StageResult:
    """Read a file that was written from `result_document`.

    Raises
    ------
    DamagedFileError
        If the file is damaged, or says something else.

    Examples
    --------
    >>> from equiscope.runs.writing import write_json
    >>> null = NullSummary(n_draws=20, families_per_draw=0.5, families_expected=0.0, score_95=0.4)
    >>> entry = StageResult(LayerFamilies(("conv1",), "rotation", (), (), null, n_refused=1))
    >>> write_json(Path("rotation.json"), result_document(entry))
    >>> read_result(Path("rotation.json")) == entry
    True
    """
    stored: _ResultFile = load_record(path, _ResultFile)
    with reading(path):
        result = LayerFamilies(
            stored.layers,
            stored.transformation,
            stored.families,
            stored.symmetries,
            stored.null,
            stored.n_refused,
            stored.notes,
            stored.pairs,
        )
        tunings = {
            name: Tuning(tuning.axes, np.array(tuning.values, dtype=float))
            for name, tuning in stored.tuning.items()
        }
    return StageResult(result, tunings, stored.joint_layers)


def read_explained(path: Path, of: Sequence[StageResult]) -> dict[str, Family]:
    """Read the families of a layer, by their ids, once their transformations are compared.

    Raises
    ------
    DamagedFileError
        If the file is damaged, or lacks one of the families.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from equiscope.runs.writing import write_json
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=())
    >>> explained = replace(family, explained_by="rotation")
    >>> write_json(Path("explained.json"), families_document([explained]))
    >>> null = NullSummary(n_draws=20, families_per_draw=0.5, families_expected=0.0, score_95=0.4)
    >>> entry = StageResult(LayerFamilies(("conv1",), "rotation", (family,), (), null, n_refused=0))
    >>> read_explained(Path("explained.json"), [entry])["conv1-rotation-1"].explained_by
    'rotation'
    """
    by_id = {family.id: family for family in load_record(path, FamiliesFile).families}
    with reading(path):
        return {family.id: by_id[family.id] for entry in of for family in entry.result.families}


def read_judged(path: Path, of: Sequence[Family]) -> dict[str, Family]:
    """Read the verdicts on families, by their ids.

    Raises
    ------
    DamagedFileError
        If the file is damaged, lacks one of the families or its verdict, or judged one of other members.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from equiscope.families.verdict import Verdict
    >>> from equiscope.runs.writing import write_json
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=())
    >>> write_json(Path("judged.json"), families_document([replace(family, verdict=Verdict("copies"))]))
    >>> read_judged(Path("judged.json"), [family])["conv1-rotation-1"].verdict.word
    'copies'
    """
    by_id = {family.id: family for family in load_record(path, FamiliesFile).families}
    with reading(path):
        for family in of:
            if by_id[family.id].members != family.members:
                raise ValueError(f"the verdict on {family.id} is about other members")
            if by_id[family.id].verdict is None:
                raise ValueError(f"it holds no verdict on {family.id}")
        return {family.id: replace(family, verdict=by_id[family.id].verdict) for family in of}
