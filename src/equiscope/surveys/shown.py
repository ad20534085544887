"""What the pictures of a report need besides the images: how much of them to show, and the kernels of first layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from equiscope.evidence.effective_fields import EffectiveField
from equiscope.evidence.witnesses.alignment import ImageWeights
from equiscope.evidence.witnesses.image_kernels import read_image_kernels
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import load_record

__all__ = ["effective_document", "read_effective", "read_first_kernels"]


@dataclass(frozen=True)
class _OfLayer:
    """The effective field of one layer, as its file has it."""

    layer: str
    side_px: int
    low_px: float
    high_px: float
    n_units: int


@dataclass(frozen=True)
class _EffectiveFile:
    """Contents of ``results/effective.json``."""

    effective: tuple[_OfLayer, ...]


def effective_document(fields: Mapping[str, EffectiveField]) -> dict[str, Any]:
    """Turn effective fields, by layer, into the contents of their file.

    Examples
    --------
    >>> effective_document({"conv1": EffectiveField(17, 16.0, 19.0, 64)})["effective"]
    [{'layer': 'conv1', 'side_px': 17, 'low_px': 16.0, 'high_px': 19.0, 'n_units': 64}]
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "effective": [{"layer": layer, **asdict(own)} for layer, own in fields.items()],
    }


def read_effective(path: Path) -> dict[str, EffectiveField]:
    """Read effective fields back, by layer.

    Raises
    ------
    DamagedFileError
        If the file is damaged.

    Examples
    --------
    >>> from equiscope.runs.writing import write_json
    >>> write_json(Path("effective.json"), effective_document({"conv1": EffectiveField(17, 16.0, 19.0, 64)}))
    >>> read_effective(Path("effective.json"))["conv1"].side_px
    17
    """
    found: _EffectiveFile = load_record(path, _EffectiveFile)
    return {
        own.layer: EffectiveField(own.side_px, own.low_px, own.high_px, own.n_units)
        for own in found.effective
    }


@borrows_model
def read_first_kernels(model: Model, geometries: Mapping[str, LayerGeometry]) -> dict[str, ImageWeights]:
    """Read the kernels of the layers, from the first on, that answer to the image by kernels alone.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    >>> list(read_first_kernels(model, find_geometry(model, ["0", "2"])))
    ['0']
    """
    found = {}
    for layer, geometry in geometries.items():
        kernels = read_image_kernels(model, geometry)
        if kernels is None:
            break  # what comes later reads the image through this one
        found[layer] = ImageWeights(kernels)
    return found
