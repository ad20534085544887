"""What ``run.json`` has to hold: the parts of a run's manifest and their types, which reading checks."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

__all__ = ["Begun", "Finished"]


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
    model: _ModelPart
    images: _ImagesPart
    settings: _SettingsPart
    seconds: dict[str, float]


class Finished(Begun):
    """What ``run.json`` holds of a finished run."""

    geometry: list[dict[str, Any]]
    layers: list[_LayerPart]
    results: list[_ResultPart]
