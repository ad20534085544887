"""Documents of runs that are not as this version makes them: of earlier versions, and of runs that are not finished."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from equiscope.families.family import Family, Symmetry, Unit
from equiscope.foundations.files import file_name
from equiscope.foundations.received import shown_command
from equiscope.foundations.records import leave_out_damaged, reading
from equiscope.reports.document import count_kinds, family_entry, shown_axes, unit_entry
from equiscope.reports.schema import LayerEntry, ReportDocument, ResultEntry, TuningEntry, UnitEntry
from equiscope.reports.sheets import SheetWriter, read_strips
from equiscope.runs.earlier import result_of_2
from equiscope.runs.store import load_families, load_record, load_units, read_manifest

__all__ = ["earlier_document", "partial_document"]


def earlier_document(folder: Path, document: ReportDocument) -> ReportDocument:
    """Give a document what this version shows and the run's folder has; one of this version stays as it is.

    Parameters
    ----------
    folder
        Of the run; pictures that the document carries are written onto sheets there.
    document
        As ``report.json`` holds it.
    """
    if "units" in document and "sheets" in document:
        return document
    units = _stored_units(folder, document)
    writer = SheetWriter(folder)
    for picture, place in read_strips(document.get("pictures", []), writer):
        unit = units.get((picture["layer"], picture["channel"]))
        if unit is not None:
            unit["pictures"] = place
    writer.remove_others()
    missing = [
        *document.get("missing", []),
        "An earlier version of equiscope made this run: it has pictures of members of families only, the halves of the "
        "images are not told apart in them, and units have no tuning of their own. A new survey has all of it.",
    ]
    rest = {key: value for key, value in document.items() if key != "pictures"}
    return cast(
        "ReportDocument", rest | {"units": list(units.values()), "sheets": writer.sheets, "missing": missing}
    )


def _stored_units(folder: Path, document: ReportDocument) -> dict[tuple[str, int], UnitEntry]:
    """Units by ``units.json``; where that is not there, what the families and the layers' sizes say."""
    if (folder / "units.json").exists():
        units = load_units(folder)
    else:
        nan = float("nan")
        units = tuple(
            Unit(layer["name"], channel, nan, nan)
            for layer in document["layers"]
            for channel in range(layer["n_units"])
        )
    return {(unit.layer, unit.channel): unit_entry(unit) for unit in units}


@dataclass(frozen=True)
class _StoredNull:
    n_draws: int
    families_expected: float
    score_95: float


@dataclass(frozen=True)
class _StoredResult:
    """What is shown of the result of one transformation of one layer."""

    layers: tuple[str, ...]
    transformation: str
    families: tuple[Family, ...]
    symmetries: tuple[Symmetry, ...]
    null: _StoredNull
    n_refused: int
    notes: tuple[str, ...]
    tuning: dict[str, TuningEntry] = field(default_factory=dict)

    @staticmethod
    def from_earlier(document: dict[str, Any]) -> dict[str, Any]:
        """Say one of an earlier version as this version does."""
        return result_of_2(document)


def partial_document(folder: Path) -> ReportDocument:
    """Collect what a run without a document has: one that is not finished, or was made before reports kept theirs.

    Parameters
    ----------
    folder
        Of the run; ``run.json`` must be there.
    """
    manifest = read_manifest(folder)
    with reading(folder / "run.json"):
        settings = manifest["settings"]
        names = [str(name) for name in settings["layers"]]
    results: list[ResultEntry] = []
    families: list[Family] = []
    lines: dict[str, dict[int, list[Any]]] = {name: defaultdict(list) for name in names}
    tunings: dict[str, Any] = {}
    names_of_files = {file_name(name, ending=".json") for name in names}
    for path in sorted((folder / "results").glob("*/*.json")):
        if path.parent.name != "explained" and path.name in names_of_files:
            stored = leave_out_damaged(partial(load_record, path, _StoredResult))
            if stored is None or len(stored.layers) > 1 or stored.layers[0] not in lines:
                continue
            layer = stored.layers[0]
            families += stored.families
            for name, tuning in stored.tuning.items():
                axes = shown_axes(tuning["axes"], stored.transformation)
                tunings[name] = {"axes": axes, "values": tuning["values"]}
            null = stored.null
            results.append(
                {
                    "layer": layer,
                    "transformation": stored.transformation,
                    "null": {"families_expected": null.families_expected, "score_95": null.score_95}
                    if null.n_draws
                    else None,
                    "n_refused": stored.n_refused,
                    "notes": list(stored.notes),
                }
            )
            for channel, line in enumerate(stored.symmetries):
                lines[layer][channel].append(line)
    is_complete = bool(manifest.get("is_complete"))
    if is_complete:
        families = list(load_families(folder))
        units = load_units(folder)
    else:
        nan = float("nan")
        units = tuple(
            Unit(name, channel, nan, nan, tuple(own))
            for name in names
            for channel, own in lines[name].items()
        )
    order = {name: i for i, name in enumerate(settings.get("transformations", ["rotation"]))}
    families.sort(
        key=lambda f: (
            names.index(f.layer) if f.layer in names else len(names),
            order.get(f.transformation, 9),
        )
    )
    geometry = {entry["layer"]: entry for entry in manifest.get("geometry", [])}
    notes = {entry["layer"]: entry["notes"] for entry in manifest.get("layers", [])}
    layers: list[LayerEntry] = []
    for name in names:
        own = [unit for unit in units if unit.layer == name]
        found = {line.transformation for unit in own for line in unit.symmetries}
        surveyed = sorted(found, key=lambda name: order.get(name, len(order)))
        place = geometry.get(name)
        is_global = bool(place and place["is_global"])
        is_known = place is not None and not is_global
        layers.append(
            {
                "name": name,
                "n_units": len(own),
                "receptive_field_px": max(place["receptive_field_px"]) if is_known and place else None,
                "stride_px": max(place["stride_px"]) if is_known and place else None,
                "whole_images": is_global,
                "notes": notes.get(name, []),
                "kinds": [count_kinds(own, transformation) for transformation in surveyed],
            }
        )
    entries = []
    for family in families:
        entry = family_entry(family, None)
        if family.id in tunings:
            entry["tuning"] = tunings[family.id]
        entries.append(entry)
    images = manifest["images"]
    return {
        "title": f"Families of {manifest['model']['name']}",
        "equiscope_version": manifest.get("equiscope_version", ""),
        "command": manifest.get("command", ""),
        "created": manifest.get("created", ""),
        "model": {
            "name": manifest["model"]["name"],
            "weights_sha256": manifest["model"].get("weights_sha256"),
        },
        "images": {
            "name": images["name"],
            "n_images": images["n_images"],
            "n_failed": len(images.get("failures", [])),
            "licences": {},
        },
        "settings": {
            "transformations": list(settings.get("transformations", ["rotation"])),
            "angles": settings["angles"],
            "examples_per_unit": settings["examples_per_unit"],
            "false_discovery_rate": settings["false_discovery_rate"],
            "seed": settings["seed"],
            "min_score": settings.get("min_score"),
        },
        "seconds": manifest.get("seconds", {}),
        "layers": layers,
        "results": results,
        "families": entries,
        "links": manifest.get("family_links", []),
        "units": [unit_entry(unit) for unit in units],
        "sheets": [],
        "missing": [_what_is_missing(manifest, is_complete, len(results))],
        "is_finished": is_complete,
    }


def _what_is_missing(manifest: dict[str, Any], is_complete: bool, n_results: int) -> str:
    if is_complete:
        return (
            "This run has no report.json, because an earlier version of equiscope made it or the file was damaged: "
            "there are no pictures and no tuning of units. The command of the survey, given again, makes all of it."
        )
    n_all = len(manifest["settings"]["layers"]) * len(
        manifest["settings"].get("transformations", ["rotation"])
    )
    return (
        f"This run is not finished: {n_results} of about {n_all} searches are there, and no pictures yet. The same "
        f"command goes on where it stopped: {shown_command(manifest.get('command'))}"
    )
