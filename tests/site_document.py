"""Documents as a survey of this version makes them, of any size, with sheets of drawn pictures in a folder.

`python tests/site_document.py FOLDER` writes the site of a run of 10,000 units and 1,000 families.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from equiscope.reports import (
    FamilyEntry,
    LayerEntry,
    ReportDocument,
    SymmetryEntry,
    UnitEntry,
    UnitPicturesEntry,
    save_report,
)
from equiscope.reports.document.pictures.sheets import SheetWriter
from equiscope.reports.document.pictures.sprites import TILE_PX
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.writing import write_json
from report_document import ANGLES_DEG, assemble_family, make_member, make_result

KINDS = ("equivariant", "invariant", "neither", "inactive", "not measurable")
TRANSFORMATIONS = ("rotation", "hue", "reflection")
N_HALF = 4


def tuning_curve(pose_deg: float, sharpness: float) -> list[float]:
    return [round(math.exp(sharpness * (math.cos(math.radians(a - pose_deg)) - 1)), 3) for a in ANGLES_DEG]


def draw_tiles(n: int, generator: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bars at random angles in random colours: as large as photographs once they are compressed, nearly."""
    y, x = np.mgrid[:TILE_PX, :TILE_PX] - TILE_PX / 2
    angle = generator.uniform(0, 2 * np.pi, (n, 1, 1))
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * generator.uniform(0.1, 0.7, (n, 1, 1)))
    colour = generator.uniform(60, 195, (n, 1, 1, 3))
    pixels = colour + 55 * wave[..., None] + generator.normal(0, 9, (n, TILE_PX, TILE_PX, 1))
    return pixels.clip(0, 255).astype(np.uint8)


def site_document(
    folder: Path,
    *,
    layers: tuple[tuple[str, int], ...] = (("conv2d0", 12), ("mixed3a", 40), ("mixed3b", 60)),
    n_families: int = 12,
    seed: int = 0,
) -> ReportDocument:
    """Make a document of layers (name, units), its families evenly over them, and write its sheets."""
    generator = np.random.default_rng(seed)
    writer = SheetWriter(folder)
    # Layers share the drawn pictures, not the files: it is the number and the size of those that count.
    tiles = draw_tiles(max(n for _, n in layers), generator)
    units: list[UnitEntry] = []
    entries: list[LayerEntry] = []
    families: list[FamilyEntry] = []
    for index, (name, n_units) in enumerate(layers):
        strongest = writer.write(
            f"{name}-strongest", [np.array([i]) for i in range(n_units)], tiles.__getitem__
        )
        runs = [(np.arange(2 * N_HALF) + 2 * N_HALF * i) % len(tiles) for i in range(min(n_units, 18))]
        stimuli = writer.write(f"{name}-stimuli", runs, tiles.__getitem__)
        first, last = index * n_families // len(layers), (index + 1) * n_families // len(layers)
        own_families, family_of = make_families(name, n_units, last - first, generator)
        families += own_families
        own = []
        for channel in range(n_units):
            pictures: UnitPicturesEntry | None = {
                "strongest": list(strongest[channel]),
                "stimuli": list(stimuli[channel % len(stimuli)]),
                "n": [N_HALF, N_HALF],
                "order": [0, 4, 1, 5, 2, 6, 3, 7],
            }
            is_silent = channel == n_units - 1
            own.append(
                make_unit(name, channel, family_of.get(channel), None if is_silent else pictures, generator)
            )
        units += own
        entries.append(
            {
                "name": name,
                "n_units": n_units,
                "receptive_field_px": 7 + 8 * index,
                "stride_px": 2,
                "whole_images": False,
                "notes": [],
                "kinds": [count_kinds(own, transformation) for transformation in TRANSFORMATIONS],
                "unit_axes": {
                    "rotation": {"angle_deg": ANGLES_DEG},
                    "reflection": {"is_mirrored": [0.0, 1.0]},
                },
            }
        )
    writer.remove_others()
    return {
        "title": "Families of a drawn network",
        "equiscope_version": "0.1.0",
        "command": "equiscope survey drawn --out run",
        "created": "2026-11-25T12:00:00+0000",
        "model": {"name": "drawn", "weights_sha256": "9f" * 32},
        "images": {"name": "drawings", "n_images": 1880, "n_failed": 0, "licences": {}},
        "settings": {
            "transformations": list(TRANSFORMATIONS),
            "angles": 16,
            "examples_per_unit": 2 * N_HALF,
            "false_discovery_rate": 0.05,
            "seed": 0,
            "min_score": 0.35,
        },
        "seconds": {"examples": 61.2},
        "layers": entries,
        "results": [make_result(name, t) for name, _ in layers for t in TRANSFORMATIONS],
        "families": families,
        "links": [],
        "units": units,
        "sheets": writer.sheets,
    }


def make_families(
    layer: str, n_units: int, n_families: int, generator: np.random.Generator
) -> tuple[list[FamilyEntry], dict[int, FamilyEntry]]:
    """Rotation families of neighbouring channels, some three quarters of the layer together."""
    families, family_of = [], {}
    size = max(2, 3 * n_units // (4 * max(1, n_families)))
    for number in range(n_families):
        channels = [c for c in range(number * size, (number + 1) * size) if c < n_units - 1]
        if not channels:
            break
        poses_deg = [360.0 * k / len(channels) for k in range(len(channels))]
        family = assemble_family(
            f"{layer}-rotation-{number + 1}",
            layer,
            "rotation",
            round(float(generator.uniform(0.4, 0.95)), 3),
            [
                make_member(layer, channel, 0.8, angle_deg=pose)
                for channel, pose in zip(channels, poses_deg, strict=True)
            ],
            {"angle_deg": ANGLES_DEG},
            [tuning_curve(pose, 2.0) for pose in poses_deg],
            disagreement={"angle_deg": 3.0},
            phase_coherence=0.9,
            q_value=0.003,
            explained_by="rotation",
        )
        families.append(family)
        family_of |= dict.fromkeys(channels, family)
    return families, family_of


def make_unit(
    layer: str,
    channel: int,
    family: FamilyEntry | None,
    pictures: UnitPicturesEntry | None,
    generator: np.random.Generator,
) -> UnitEntry:
    symmetries: list[SymmetryEntry] = []
    for transformation in TRANSFORMATIONS:
        is_member = family is not None and transformation == "rotation"
        kind = "inactive" if pictures is None else "equivariant" if is_member else "neither"
        invariance = float(generator.uniform(-0.4, 1.0))
        if kind == "neither" and invariance > 0.7:
            kind = "invariant"
        symmetries.append(
            {
                "transformation": transformation,
                "kind": kind,
                "family": family["id"] if is_member and family is not None else None,
                "score": 0.8 if is_member else None,
                "invariance": None
                if pictures is None
                else min(0.69, invariance)
                if is_member
                else invariance,
                "stabiliser_order": 1,
            }
        )
    curve = tuning_curve(0.0, float(generator.uniform(0.2, 3.0)))
    return {
        "layer": layer,
        "channel": channel,
        "mean": -0.2,
        "sd": 1.1,
        "symmetries": symmetries,
        "tuning": {
            "rotation": {"n_stimuli": 8, "values": curve, "error": [0.05] * len(curve)},
            "reflection": {"n_stimuli": 8, "values": [1.0, 0.4], "error": [0.1, 0.1]},
        }
        if pictures is not None
        else {},
        "pictures": pictures,
    }


def count_kinds(units: list[UnitEntry], transformation: str) -> Any:
    found = [
        line["kind"]
        for unit in units
        for line in unit["symmetries"]
        if line["transformation"] == transformation
    ]
    return {"transformation": transformation, "counts": {kind: found.count(kind) for kind in KINDS}}


def large_document(
    folder: Path, n_units: int = 10_000, n_families: int = 1_000, n_layers: int = 20
) -> ReportDocument:
    """Make a document of many units in layers of equal size."""
    layers = tuple((f"block{i}.conv", n_units // n_layers) for i in range(n_layers))
    return site_document(folder, layers=layers, n_families=n_families)


def save_run(folder: Path, document: ReportDocument) -> Path:
    """Write a run's folder as far as its site needs it; give the page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "run.json", {"schema_version": SCHEMA_VERSION, "is_complete": True})
    save_report(folder, document)
    return folder / "index.html"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    save_run(place, large_document(place))
