"""From the stages of a run to the document that a page is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equiscope
from equiscope.evidence.effective_fields import SHARE, EffectiveField
from equiscope.families.family import Family, Tuning, Unit
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.entries import count_kinds, family_entry, shown_axes, unit_entry
from equiscope.reports.document.pictures.cutting import CutPictures, cut_pictures
from equiscope.reports.document.pictures.shown import ShownImages
from equiscope.reports.document.schema import (
    EffectiveFieldEntry,
    LayerEntry,
    ReportDocument,
    ResultEntry,
    UnitEntry,
)
from equiscope.reports.document.unit_tuning import UnitTunings
from equiscope.stimuli import ImageSet

__all__ = ["Findings", "ShownImages", "build_document"]


@dataclass(frozen=True)
class Findings:
    """What a survey found, in all layers and under all transformations.

    Attributes
    ----------
    families, units
        The families, and every unit.
    tunings
        Joint tuning of each family, by its id; families without one are shown without it.
    unit_tunings
        Tuning of the units of each layer, by layer and transformation.
    """

    families: Sequence[Family]
    units: Sequence[Unit]
    tunings: Mapping[str, Tuning]
    unit_tunings: Mapping[str, Mapping[str, UnitTunings]]


def build_document(
    manifest: dict[str, Any],
    shown: ShownImages,
    found: Findings,
    folder: Path,
    on_image: Callable[[int], None] = lambda _steps: None,
) -> ReportDocument:
    """Collect what the report shows, and write the pictures that it names.

    Parameters
    ----------
    manifest
        Contents of ``run.json``.
    shown, found
        What the network was shown, and what was found.
    folder
        Of the run: sheets of pictures go into ``site/sprites``.
    on_image
        Called with 1 after each image that was cut up.

    Examples
    --------
    >>> from equiscope.runs.examples import load_examples
    >>> from equiscope.runs.manifest import read_geometries
    >>> from equiscope.runs.run import load_run
    >>> from equiscope.stimuli import open_images
    >>> run = load_run("equiscope-runs/mini")
    >>> examples, *_ = load_examples(run.folder / "examples.npz")
    >>> shown = ShownImages(open_images(), read_geometries(run.manifest), examples, whole_px=224)
    >>> document = build_document(run.manifest, shown, Findings(run.families, run.units, {}, {}), run.folder)
    >>> document["title"], document["families"][0]["id"], document["units"][0]["pictures"]["n"]
    ('Families of mini', 'conv2d0-rotation-1', [4, 4])
    """
    of_layer: dict[str, list[Unit]] = {layer: [] for layer in shown.geometries}
    for unit in found.units:
        of_layer[unit.layer].append(unit)
    entries = [family_entry(family, found.tunings.get(family.id)) for family in found.families]
    pictures = cut_pictures(folder, shown, entries, on_image)
    for entry in entries:
        entry["turned"] = pictures.turned.get(entry["id"])
        entry["moved"] = pictures.moved.get(entry["id"])
    return {
        **_heading(manifest, shown.images),  # type: ignore[typeddict-item]
        "layers": [
            _layer_entry(geometry, of_layer[layer], manifest, found.unit_tunings.get(layer, {}))
            | {"effective_field": _effective_entry(shown.effective.get(layer))}
            for layer, geometry in shown.geometries.items()
        ],
        "results": [_result_entry(result) for result in manifest["results"]],
        "families": entries,
        "links": [dict(link) for link in manifest["family_links"]],
        "units": _unit_entries(of_layer, pictures, found.unit_tunings),
        "sheets": pictures.sheets,
        **({"missing": [manifest["look"]]} if manifest.get("look") else {}),
    }


def _heading(manifest: Mapping[str, Any], images: ImageSet) -> dict[str, Any]:
    """Say what was surveyed, and how."""
    settings, model = manifest["settings"], manifest["model"]
    return {
        "title": f"Families of {model['name']}",
        "equiscope_version": equiscope.__version__,
        "command": manifest["command"],
        "created": manifest["created"],
        "model": {"name": model["name"], "weights_sha256": model["weights_sha256"]},
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
    }


def _layer_entry(
    geometry: LayerGeometry,
    units: Sequence[Unit],
    manifest: Mapping[str, Any],
    tunings: Mapping[str, UnitTunings],
) -> LayerEntry:
    """Word a layer: what it is, and how many of its units are of which kind."""
    layer = geometry.layer
    notes = {entry["layer"]: list(entry["notes"]) for entry in manifest["layers"]}
    surveyed = [result["transformation"] for result in manifest["results"] if layer in result["layers"]]
    return {
        "name": layer,
        "n_units": len(units),
        "receptive_field_px": None if geometry.is_global else max(geometry.receptive_field_px),
        "stride_px": None if geometry.is_global else max(geometry.stride_px),
        "whole_images": geometry.is_global,
        "notes": notes.get(layer, []),
        "kinds": [count_kinds(units, name) for name in dict.fromkeys(surveyed)],
        "unit_axes": {name: shown_axes(own.axes) for name, own in tunings.items()},
    }


def _effective_entry(field: EffectiveField | None) -> EffectiveFieldEntry | None:
    """Word to how much of the receptive field the pictures of a layer are cut."""
    if field is None:
        return None
    return {
        "side_px": field.side_px,
        "low_px": field.low_px,
        "high_px": field.high_px,
        "n_units": field.n_units,
        "share": SHARE,
    }


def _result_entry(result: Mapping[str, Any]) -> ResultEntry:
    """Word how the search of one transformation in one layer went."""
    null = result["null"]
    return {
        "layers": list(result["layers"]),
        "transformation": result["transformation"],
        "null": {"families_expected": null["families_expected"], "score_95": null["score_95"]}
        if null["n_draws"]
        else None,
        "n_refused": result["n_refused"],
        "notes": list(result["notes"]),
    }


def _unit_entries(
    of_layer: Mapping[str, Sequence[Unit]],
    pictures: CutPictures,
    unit_tunings: Mapping[str, Mapping[str, UnitTunings]],
) -> list[UnitEntry]:
    """Word every unit, with its pictures and its tuning."""
    entries: list[UnitEntry] = []
    for layer, units in of_layer.items():
        for unit in units:
            entry = unit_entry(unit)
            entry["pictures"] = pictures.units.get((layer, unit.channel))
            for name, own in unit_tunings.get(layer, {}).items():
                if unit.channel in own.units:
                    entry["tuning"][name] = own.units[unit.channel]
            entries.append(entry)
    return entries
