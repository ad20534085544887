"""From the stages of a run to the document that a page is made from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

import equiscope
from equiscope.evidence.circuits import Confirmation
from equiscope.evidence.verify.verification import FamilyVerification
from equiscope.families.family import Family, Tuning, Unit
from equiscope.measurement.examples import Examples
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.cutting import cut_pictures
from equiscope.reports.schema import (
    ConfirmationEntry,
    FamilyEntry,
    KindsEntry,
    LayerEntry,
    ReportDocument,
    TuningEntry,
    UnitEntry,
    VerificationEntry,
)
from equiscope.reports.unit_tuning import UnitTunings
from equiscope.stimuli import ImageSet
from equiscope.transformations import find
from equiscope.transformations.spaces import Circle, Cylinder, HandedCircle, Pair, Torus

__all__ = [
    "build_document",
    "count_kinds",
    "family_entry",
    "unit_entry",
    "with_circuits",
    "with_verification",
]


def build_document(
    manifest: dict[str, Any],
    images: ImageSet,
    geometries: Mapping[str, LayerGeometry],
    examples: Mapping[str, Examples],
    families: Sequence[Family],
    units: Sequence[Unit],
    tunings: Mapping[str, Tuning],
    whole_px: int,
    *,
    folder: Path,
    unit_tunings: Mapping[str, Mapping[str, UnitTunings]] = MappingProxyType({}),
    on_image: Callable[[int], None] = lambda _steps: None,
) -> ReportDocument:
    """Collect what the report shows, and write the pictures that it names.

    Parameters
    ----------
    manifest
        Contents of ``run.json``.
    images
        What the network was shown.
    geometries, examples
        Geometry and strongest stimuli of each layer.
    families, units
        What was found, all layers and all transformations.
    tunings
        Joint tuning of each family, by its id; families without one are shown without it.
    whole_px
        Side of whole-image stimuli, px.
    folder
        Of the run: sheets of pictures go into ``site/sprites``.
    unit_tunings
        Tuning of the units of each layer, by layer and transformation.
    on_image
        Called with 1 after each image that was cut up.
    """
    results = manifest["results"]
    notes = {entry["layer"]: list(entry["notes"]) for entry in manifest["layers"]}
    of_layer: dict[str, list[Unit]] = {layer: [] for layer in geometries}
    for unit in units:
        of_layer[unit.layer].append(unit)
    layers: list[LayerEntry] = []
    for layer, geometry in geometries.items():
        surveyed = [r["transformation"] for r in results if layer in r["layers"]]
        layers.append(
            {
                "name": layer,
                "n_units": len(of_layer[layer]),
                "receptive_field_px": None if geometry.is_global else max(geometry.receptive_field_px),
                "stride_px": None if geometry.is_global else max(geometry.stride_px),
                "whole_images": geometry.is_global,
                "notes": notes.get(layer, []),
                "kinds": [count_kinds(of_layer[layer], name) for name in dict.fromkeys(surveyed)],
                "unit_axes": {
                    name: shown_axes(own.axes, name) for name, own in unit_tunings.get(layer, {}).items()
                },
            }
        )
    entries = [family_entry(family, tunings.get(family.id)) for family in families]
    pictures = cut_pictures(folder, images, geometries, examples, entries, whole_px, on_image)
    for entry in entries:
        entry["turned"] = pictures.turned.get(entry["id"])
    unit_entries: list[UnitEntry] = []
    for unit in (unit for own in of_layer.values() for unit in own):
        entry_of_unit = unit_entry(unit)
        entry_of_unit["pictures"] = pictures.units.get((unit.layer, unit.channel))
        for name, own_tunings in unit_tunings.get(unit.layer, {}).items():
            if unit.channel in own_tunings.units:
                entry_of_unit["tuning"][name] = own_tunings.units[unit.channel]
        unit_entries.append(entry_of_unit)
    settings = manifest["settings"]
    return {
        "title": f"Families of {manifest['model']['name']}",
        "equiscope_version": equiscope.__version__,
        "command": manifest["command"],
        "created": manifest["created"],
        "model": {
            "name": manifest["model"]["name"],
            "weights_sha256": manifest["model"]["weights_sha256"],
        },
        "images": {
            "name": images.name,
            "n_images": len(images),
            "n_failed": len(manifest["images"]["failures"]),
            "licences": images.licences,
        },
        "settings": {
            "transformations": list(settings["transformations"]),
            "angles": settings["angles"],
            "examples_per_unit": settings["examples_per_unit"],
            "false_discovery_rate": settings["false_discovery_rate"],
            "seed": settings["seed"],
            "min_score": settings["min_score"],
        },
        "seconds": manifest["seconds"],
        "layers": layers,
        "results": [
            {
                "layer": "+".join(result["layers"]),
                "transformation": result["transformation"],
                "null": {
                    "families_expected": result["null"]["families_expected"],
                    "score_95": result["null"]["score_95"],
                }
                if result["null"]["n_draws"]
                else None,
                "n_refused": result["n_refused"],
                "notes": list(result["notes"]),
            }
            for result in results
        ],
        "families": entries,
        "links": [dict(link) for link in manifest["family_links"]],  # type: ignore[misc]
        "units": unit_entries,
        "sheets": pictures.sheets,
    }


def with_verification(
    document: ReportDocument, verifications: Iterable[FamilyVerification]
) -> ReportDocument:
    """Give the document with what synthetic stimuli said about its families; what it said before is replaced."""
    of_family: dict[str, list[VerificationEntry]] = {}
    for verification in verifications:
        fields = asdict(verification)
        entry = {key: fields[key] for key in VerificationEntry.__annotations__}
        of_family.setdefault(verification.family, []).append(cast("VerificationEntry", entry))
    families = [family | {"verification": of_family.get(family["id"], [])} for family in document["families"]]
    return cast("ReportDocument", document | {"families": families})


def with_circuits(document: ReportDocument, confirmations: Iterable[Confirmation]) -> ReportDocument:
    """Give the document with what weights said about its families; what it said before is replaced."""
    of_family: dict[str, ConfirmationEntry] = {}
    for confirmation in confirmations:
        fields = asdict(confirmation)
        entry = {key: fields[key] for key in ConfirmationEntry.__annotations__}
        of_family[confirmation.family] = cast("ConfirmationEntry", entry)
    families = [family | {"confirmation": of_family.get(family["id"])} for family in document["families"]]
    return document | {"families": families, "has_circuits": True}


def count_kinds(units: Iterable[Unit], transformation: str) -> KindsEntry:
    """Count how many units of a layer are of which kind under a transformation."""
    counts = Counter(unit.under(transformation).kind for unit in units)
    return {
        "transformation": transformation,
        "counts": {
            "equivariant": counts["equivariant"],
            "invariant": counts["invariant"],
            "neither": counts["neither"],
            "inactive": counts["inactive"],
            "not measurable": counts["not measurable"],
        },
    }


def unit_entry(unit: Unit) -> UnitEntry:
    """Word one unit as the document does, without pictures and tuning."""
    return {
        "layer": unit.layer,
        "channel": unit.channel,
        "mean": _measured(unit.mean),
        "sd": _measured(unit.sd),
        "symmetries": [
            {
                "transformation": line.transformation,
                "kind": line.kind,
                "family": line.family,
                "score": _measured(line.score),
                "invariance": _measured(line.invariance),
                "stabiliser_order": line.stabiliser_order,
            }
            for line in unit.symmetries
        ],
        "tuning": {},
        "pictures": None,
    }


def family_entry(family: Family, tuning: Tuning | None) -> FamilyEntry:
    """Word one family as the document does."""
    return {
        "id": family.id,
        "layer": family.layer,
        "transformation": family.transformation,
        "size": family.size,
        "score": family.score,
        "score_low": family.score_low,
        "score_high": family.score_high,
        "disagreement_deg": family.disagreement.get("angle_deg", math.nan),
        "disagreement_hue_deg": family.disagreement.get("hue_deg", math.nan),
        "disagreement_octaves": family.disagreement.get("octaves", math.nan),
        "phase_coherence": family.phase_coherence,
        "margin": family.margin,
        "margin_low": family.margin_low,
        "margin_high": family.margin_high,
        "q_value": family.q_value,
        "stabiliser_order": family.stabiliser_order,
        "stabiliser": _stabiliser_text(family),
        "half_turns": list(family.half_turns),
        "gap_deviation_deg": family.gap_deviation_deg,
        "holes_deg": [list(hole) for hole in family.holes_deg],
        "duplicates": [list(pair) for pair in family.duplicates],
        "explained_by": family.explained_by,
        "alternatives": [
            {
                "transformation": own.transformation,
                "score": own.score,
                "deficit": own.deficit,
                "deficit_low": own.deficit_low,
                "deficit_high": own.deficit_high,
            }
            for own in family.alternatives
        ],
        "tuning": None if tuning is None else _tuning_entry(tuning, family.transformation),
        "verification": [],
        "members": [
            {
                "layer": member.layer,
                "channel": member.channel,
                "pose_deg": _measured(member.pose_deg),
                "hue_deg": _measured(member.hue_deg),
                "octaves": _measured(member.octaves),
                "is_mirrored": member.is_mirrored,
                "is_inverted": member.is_inverted,
                "score": member.score,
                "score_low": member.score_low,
                "score_high": member.score_high,
            }
            for member in family.members
        ],
    }


def _measured(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tuning_entry(tuning: Tuning, transformation: str) -> TuningEntry:
    values = np.asarray(tuning.values, dtype=np.float64)
    return {
        "axes": shown_axes(tuning.axes, transformation),
        "values": np.where(np.isfinite(values), values, None).tolist(),  # type: ignore[call-overload]
    }


def shown_axes(axes: Mapping[str, Sequence[float]], transformation: str) -> dict[str, list[float]]:
    """Give the axes of a tuning as the document calls them: that of a pair is its ``element``."""
    is_pair = isinstance(find(transformation).space, Pair)
    return {
        "element" if is_pair else name: [float(value) for value in values] for name, values in axes.items()
    }


def _stabiliser_text(family: Family) -> str:
    """Word the elements of a stabiliser as the document does."""
    space = find(family.transformation).space
    match space:
        case Circle(axis) | Cylinder(axis, _):
            said = [f"{element[axis.name]:g}°" for element in family.stabiliser]
        case HandedCircle(axis, hand):
            said = [f"{element[axis.name]:g}°" for element in family.stabiliser if not element[hand.name]]
            said += ["mirror"] * any(element[hand.name] for element in family.stabiliser)
        case Torus(axis, other):
            said = [f"({element[other.name]:g}°, {element[axis.name]:g}°)" for element in family.stabiliser]
        case _:
            said = ["identity" if isinstance(space, Pair) else "0 octaves"]
    return "{" + ", ".join(said) + "}"
