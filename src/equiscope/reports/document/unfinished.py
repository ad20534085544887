"""Documents of runs without one: what of a survey is there, finished or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from equiscope.families.family import Family, Symmetry, Unit
from equiscope.foundations.files import file_name
from equiscope.foundations.received import shown_command
from equiscope.foundations.records import leave_out_damaged, reading
from equiscope.reports.document.entries import count_kinds, family_entry, shown_axes, unit_entry
from equiscope.reports.document.schema import (
    FamilyEntry,
    LayerEntry,
    ReportDocument,
    ResultEntry,
    TuningEntry,
)
from equiscope.runs.earlier import result_of_2
from equiscope.runs.findings import load_families, load_units
from equiscope.runs.manifest import read_manifest
from equiscope.runs.reading import load_record
from equiscope.transformations import alone
from equiscope.transformations.rotation import ANGLE

__all__ = ["partial_document"]

# What the first version surveyed, without a word about it.
_FIRST = [alone(ANGLE)]


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

    @property
    def layer(self) -> str:
        """Its layer, where it is of one."""
        return self.layers[0] if len(self.layers) == 1 else ""


def partial_document(folder: Path) -> ReportDocument:
    """Collect what a run without a document has: one that is not finished, or was made before reports kept theirs.

    Parameters
    ----------
    folder
        Of the run; ``run.json`` must be there.

    Examples
    --------
    >>> document = partial_document(Path("equiscope-runs/mini"))
    >>> document["families"][0]["id"], document["sheets"], document["missing"][0][:27]
    ('conv2d0-rotation-1', [], 'This run has no report.json')
    """
    manifest = read_manifest(folder)
    with reading(folder / "run.json"):
        settings = manifest["settings"]
        names = [str(name) for name in settings["layers"]]
    order = {name: i for i, name in enumerate(settings.get("transformations", _FIRST))}
    results = list(_stored_results(folder, names))
    is_complete = bool(manifest.get("is_complete"))
    if is_complete:
        families = list(load_families(folder))
        units = load_units(folder)
    else:
        families = [family for result in results for family in result.families]
        units = _found_units(results, names)
    families.sort(
        key=lambda f: (
            names.index(f.layers[0]) if len(f.layers) == 1 and f.layers[0] in names else len(names),
            order.get(f.transformation, 9),
        )
    )
    tunings: dict[str, TuningEntry] = {
        name: {"axes": shown_axes(tuning["axes"]), "values": tuning["values"]}
        for result in results
        for name, tuning in result.tuning.items()
    }
    return {
        **_heading(manifest),  # type: ignore[typeddict-item]
        "layers": [_layer_entry(name, units, manifest, order) for name in names],
        "results": [_result_entry(result) for result in results],
        "families": [_family_entry(family, tunings) for family in families],
        "links": manifest.get("family_links", []),
        "units": [unit_entry(unit) for unit in units],
        "sheets": [],
        "missing": [
            _what_is_missing(manifest, is_complete, len(results)),
            *([str(manifest["look"])] if manifest.get("look") else []),
        ],
        "is_finished": is_complete,
    }


def _stored_results(folder: Path, names: Sequence[str]) -> Iterator[_StoredResult]:
    """Read the results of single layers that are there; what is damaged is said, and left out."""
    files = {file_name(name, ending=".json") for name in names}
    for path in sorted((folder / "results").glob("*/*.json")):
        if path.parent.name != "explained" and path.name in files:
            stored = leave_out_damaged(partial(load_record, path, _StoredResult))
            if stored is not None and stored.layer in names:
                yield stored


def _found_units(results: Sequence[_StoredResult], names: Sequence[str]) -> tuple[Unit, ...]:
    """Give the units of each layer with what the results say about them."""
    lines: dict[str, dict[int, list[Symmetry]]] = {name: defaultdict(list) for name in names}
    for result in results:
        for channel, line in enumerate(result.symmetries):
            lines[result.layer][channel].append(line)
    nan = float("nan")
    return tuple(
        Unit(name, channel, nan, nan, tuple(own)) for name in names for channel, own in lines[name].items()
    )


def _heading(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say what was surveyed, and how."""
    settings, model, images = manifest["settings"], manifest["model"], manifest["images"]
    return {
        "title": f"Families of {model['name']}",
        "equiscope_version": manifest.get("equiscope_version", ""),
        "command": manifest.get("command", ""),
        "created": manifest.get("created", ""),
        "model": {"name": model["name"], "weights_sha256": model.get("weights_sha256")},
        "images": {
            "name": images["name"],
            "n_images": images["n_images"],
            "n_failed": len(images.get("failures", [])),
            "licences": {},
        },
        "settings": {
            "transformations": list(settings.get("transformations", _FIRST)),
            "angles": settings["angles"],
            "examples_per_unit": settings["examples_per_unit"],
            "false_discovery_rate": settings["false_discovery_rate"],
            "seed": settings["seed"],
            "min_score": settings.get("min_score"),
        },
        "seconds": manifest.get("seconds", {}),
    }


def _layer_entry(
    name: str, units: Sequence[Unit], manifest: Mapping[str, Any], order: Mapping[str, int]
) -> LayerEntry:
    """Word a layer: what is known of it, and how many of its units are of which kind."""
    place = next((entry for entry in reversed(manifest.get("geometry", [])) if entry["layer"] == name), None)
    notes = {entry["layer"]: entry["notes"] for entry in manifest.get("layers", [])}
    own = [unit for unit in units if unit.layer == name]
    found = {line.transformation for unit in own for line in unit.symmetries}
    surveyed = sorted(found, key=lambda name: order.get(name, len(order)))
    is_global = bool(place and place["is_global"])
    is_known = place is not None and not is_global
    return {
        "name": name,
        "n_units": len(own),
        "receptive_field_px": max(place["receptive_field_px"]) if is_known and place else None,
        "stride_px": max(place["stride_px"]) if is_known and place else None,
        "whole_images": is_global,
        "notes": notes.get(name, []),
        "kinds": [count_kinds(own, transformation) for transformation in surveyed],
    }


def _result_entry(stored: _StoredResult) -> ResultEntry:
    """Word how the search of one transformation in one layer went."""
    null = stored.null
    return {
        "layers": list(stored.layers),
        "transformation": stored.transformation,
        "null": {"families_expected": null.families_expected, "score_95": null.score_95}
        if null.n_draws
        else None,
        "n_refused": stored.n_refused,
        "notes": list(stored.notes),
    }


def _family_entry(family: Family, tunings: Mapping[str, TuningEntry]) -> FamilyEntry:
    entry = family_entry(family, None)
    if family.id in tunings:
        entry["tuning"] = tunings[family.id]
    return entry


def _what_is_missing(manifest: dict[str, Any], is_complete: bool, n_results: int) -> str:
    if is_complete:
        return (
            "This run has no report.json, because an earlier version of equiscope made it or the file was damaged: "
            "there are no pictures and no tuning of units. The command of the survey, given again, makes all of it."
        )
    settings = manifest["settings"]
    n_all = len(settings["layers"]) * len(settings.get("transformations", _FIRST))
    return (
        f"This run is not finished: {n_results} of about {n_all} searches are there, and no pictures yet. The same "
        f"command goes on where it stopped: {shown_command(manifest.get('command'))}"
    )
