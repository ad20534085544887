"""Runs whose units are what a test says, under any transformations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equiscope.families.family import Family, Symmetry, Unit
from equiscope.models import Model
from equiscope.models.geometry import find_geometry
from equiscope.runs.findings import families_document, units_document
from equiscope.runs.run import Run
from equiscope.runs.writing import write_json
from hand_made import IMAGES, SETTINGS, a_family, a_member

# What a unit is under each transformation: the name of its family, "invariant", or nothing.
Kinds = Mapping[str, str]


def make_unit(layer: str, channel: int, kinds: Kinds, transformations: Sequence[str]) -> Unit:
    symmetries = []
    for name in transformations:
        own = kinds.get(name, "neither")
        is_family = own not in ("neither", "invariant", "not measurable")
        symmetries.append(Symmetry(name, "equivariant" if is_family else own, own if is_family else None))
    return Unit(layer, channel, math.nan, math.nan, tuple(symmetries))


def make_scale_family(name: str, members: Sequence[tuple[str, int, float]]) -> Family:
    """Make a family of (layer, channel, octaves)."""
    parts = [a_member(layer, channel, octaves=size) for layer, channel, size in members]
    return a_family("scale", parts, name=name)


def planted_run(
    folder: Path,
    layers: Mapping[str, Sequence[Kinds]],
    transformations: Sequence[str],
    families: Sequence[Family] = (),
    model: Model | None = None,
) -> Run:
    """Make a run of units that are what is said of them; with a network it has that one's weights and geometry."""
    units = [
        make_unit(layer, channel, kinds, transformations)
        for layer, own in layers.items()
        for channel, kinds in enumerate(own)
    ]
    manifest: dict[str, Any] = {
        "images": IMAGES,
        "settings": SETTINGS | {"layers": list(layers), "transformations": list(transformations)},
        "model": {"name": "planted", "weights_sha256": ""},
    }
    if model is not None:
        geometry = [dataclasses.asdict(own) for own in find_geometry(model, list(layers)).values()]
        own = {"name": model.name, "weights_sha256": model.weights_sha256()}
        manifest |= {"geometry": geometry, "model": own}
    return Run(folder, manifest, tuple(units), tuple(families))


def save_planted(run: Run) -> None:
    """Write a planted run as far as it can be opened again."""
    write_json(run.folder / "run.json", {"schema_version": 2, "is_complete": True, **run.manifest})
    write_json(run.folder / "units.json", units_document(run.units))
    write_json(run.folder / "families.json", families_document(run.families))
