"""The manifest of a run, ``run.json``: what it has to hold, part by part with their types, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from equiscope.foundations.received import refuse_links
from equiscope.foundations.records import read_record, reading
from equiscope.models.receptive_fields import LayerGeometry
from equiscope.runs.earlier import manifest_of_2
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import read_json

__all__ = ["Begun", "Finished", "read_geometries", "read_manifest"]


class _ModelPart(TypedDict):
    name: str
    weights_sha256: str


class _ImagesPart(TypedDict):
    name: str
    n_images: int
    fingerprint: str
    failures: NotRequired[list[dict[str, str]]]


class _SettingsPart(TypedDict):
    layers: list[str]
    transformations: list[str]
    precision: NotRequired[str]
    angles: int
    examples_per_unit: int
    false_discovery_rate: float
    min_score: float
    n_null: int
    seed: int


class _LayerPart(TypedDict):
    layer: str
    notes: list[str]


class _ResultPart(TypedDict):
    layers: list[str]
    transformation: str
    null: dict[str, float | None]
    n_refused: int
    notes: list[str]


class Begun(TypedDict):
    """What ``run.json`` holds from the start of a run on."""

    equiscope_version: str
    command: str
    created: str
    is_complete: NotRequired[bool]
    look: NotRequired[str]
    model: _ModelPart
    images: _ImagesPart
    settings: _SettingsPart
    seconds: dict[str, float]


class Finished(Begun):
    """What ``run.json`` holds of a finished run."""

    geometry: list[dict[str, Any]]
    layers: list[_LayerPart]
    results: list[_ResultPart]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the ``run.json`` of a run, finished or not, and refuse a folder that holds links.

    Raises
    ------
    EquiscopeError
        If it is not there, is damaged, or is of a newer schema, or if the folder holds links (`refuse_links`).

    Examples
    --------
    >>> manifest = read_manifest(Path("equiscope-runs/mini"))
    >>> manifest["model"]["name"], manifest["images"]["name"], manifest["settings"]["transformations"]
    ('mini', 'embedded', ['rotation', 'hue'])
    """
    path = folder / "run.json"
    # A folder that is none of a run may be a whole disk.
    if path.exists():
        refuse_links(folder)
    manifest = read_json(path)
    with reading(path):
        if manifest["schema_version"] < SCHEMA_VERSION:
            manifest = manifest_of_2(manifest)
        # What the first version wrote, and what other programs made, is taken as it is.
        if manifest["schema_version"] > 1 and "equiscope_version" in manifest:
            read_record(Finished if manifest.get("is_complete") else Begun, manifest)
            read_geometries({"geometry": manifest.get("geometry", [])})
    return manifest


def read_geometries(manifest: dict[str, Any]) -> dict[str, LayerGeometry]:
    """Turn the ``geometry`` of a run's manifest back into geometries, in the order of the survey.

    Examples
    --------
    >>> geometries = read_geometries(read_manifest(Path("equiscope-runs/mini")))
    >>> {layer: geometry.receptive_field_px for layer, geometry in geometries.items()}
    {'conv2d0': (7, 7), 'conv2d1': (11, 11)}
    """
    found = read_record(list[LayerGeometry], manifest["geometry"])
    return {geometry.layer: geometry for geometry in found}
