"""The stages of one survey, in order: receptive fields, images, families, what joins them, tuning of units, the page.

Every stage is skipped where its result is already on disk, so that the same call goes on where another stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from equiscope.evidence.effective_fields import measure_effective_fields
from equiscope.evidence.witnesses.judge import judge_families
from equiscope.evidence.witnesses.weights import consult_weights
from equiscope.families.family import Family, Symmetry, Unit, join_units, with_invariances
from equiscope.families.layer_families import LayerFamilies
from equiscope.families.rotation_scale import FamilyLink, find_rotation_scale_families
from equiscope.foundations.devices import release_buffers
from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import DamagedFileError
from equiscope.foundations.options import untold
from equiscope.foundations.progress import Stages
from equiscope.measurement.examples import Examples
from equiscope.measurement.fidelity import settle_geometries
from equiscope.measurement.responses import Responses
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.layers import left_out
from equiscope.reports.document.building import Findings, build_document
from equiscope.reports.document.pictures.shown import ShownImages
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.turned import turned_responses
from equiscope.reports.document.unit_tuning import UnitTunings, tune_units
from equiscope.reports.site.files import save_report, with_evidence
from equiscope.runs.digests import is_as_written
from equiscope.runs.findings import families_document, units_document
from equiscope.runs.layout import SCHEMA_VERSION, layer_path
from equiscope.runs.manifest import read_geometries, read_manifest
from equiscope.runs.writing import write_json
from equiscope.stimuli import ImageSet
from equiscope.surveys.asked import bare_stage
from equiscope.surveys.image_pass import ImagePass
from equiscope.surveys.planning import plan_stage
from equiscope.surveys.results import (
    read_explained,
    read_judged,
    read_result,
    result_document,
    result_path,
    result_paths,
)
from equiscope.surveys.shown import effective_document, read_effective, read_first_kernels
from equiscope.surveys.stages import Stage, StageResult
from equiscope.surveys.timings import Timings
from equiscope.transformations import find
from equiscope.transformations.rotation_scale import RotationScale

__all__ = ["Pipeline"]

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class Pipeline:
    """The stages of one run.

    Parameters
    ----------
    model, images
        The network, where it is to run, and the images.
    folder, manifest
        The run's folder, and what its ``run.json`` says.
    progress, timings
        Where the start of each stage is announced, and how long each took.
    precision
        What the network computes in while it is shown transformed stimuli.
    on_plan
        Told how long it will take, once receptive fields are known; nothing is measured for nobody.
    """

    def __init__(
        self,
        model: Model,
        images: ImageSet,
        folder: Path,
        manifest: dict[str, Any],
        progress: Stages,
        timings: Timings,
        precision: torch.dtype,
        on_plan: Callable[[str], object] = untold,
    ) -> None:
        self.model, self.images, self.folder, self.manifest = model, images, folder, manifest
        self.progress, self.precision, self.on_plan = progress, precision, on_plan
        self.timings, self._timed = timings, timings.measure
        self.settings = manifest["settings"]
        self.was_complete = bool(manifest.get("is_complete"))

    def run(self) -> None:
        """Go through all stages."""
        self.progress.begin_next()
        with self._timed("geometry"):
            geometries, notes = self._geometries()
        self._tell_plan(geometries)
        self.progress.begin_next()
        shown = ImagePass(self.model, self.images, self.folder, self.settings)
        with self._timed("examples"), self.progress("showing images", len(self.images)) as on_images:
            examples = shown.collect(geometries, self._kept, on_images)
        shown.note_small_images(examples, notes)
        stage = self._stage(geometries, examples)
        self.progress.expect(self._costs(stage))
        found = self._stages(stage)
        families, units, links = self._join(found, examples)
        self.progress.begin_next()
        families = self._judged(families, units, geometries)
        self._write("families.json", families_document(families))
        self._write("units.json", units_document(units))
        self.progress.begin_next()
        unit_tunings = self._unit_tunings(stage, found)
        self.progress.begin_next()
        with self._timed("report"), self.progress("drawing the report", len(self.images)) as on_image:
            self._tell_results(found, notes, links, shown)
            tunings = {name: tuning for entry in found for name, tuning in entry.tunings.items()}
            document = build_document(
                self.manifest,
                self._shown(geometries, examples),
                Findings(families, units, tunings, unit_tunings),
                self.folder,
                on_image,
            )
            self._answer_turned(stage, found, document["families"])
            # A finished run that is given again keeps what later commands found since.
            save_report(self.folder, with_evidence(self.folder, document))
        self.manifest |= {"is_complete": True, "seconds": self.timings.seconds}
        write_json(self.folder / "run.json", self.manifest)
        self.timings.close()

    # Before families ------------------------------------------------------------------------------------------------

    def _geometries(self) -> tuple[dict[str, LayerGeometry], dict[str, list[str]]]:
        """Geometry of each layer and notes on it; an interrupted run goes on with what it had settled."""
        if "whole_px" not in self.manifest:
            with self.progress("finding receptive fields", 1) as on_step:
                settled = settle_geometries(self.model, self.images, self.settings["layers"])
                on_step(1)
            settled.notes[next(iter(settled.notes))] += left_out(self.model, self.settings["layers"])
            self.manifest |= {
                "whole_px": settled.whole_px,
                "geometry": [asdict(geometry) for geometry in settled.geometries.values()],
                "layers": [{"layer": layer, "notes": own} for layer, own in settled.notes.items()],
            }
            write_json(self.folder / "run.json", self.manifest)
            self.manifest = read_manifest(self.folder)
        self.whole_px = int(self.manifest["whole_px"])
        notes = {entry["layer"]: list(entry["notes"]) for entry in self.manifest["layers"]}
        return read_geometries(self.manifest), notes

    def _tell_plan(self, geometries: dict[str, LayerGeometry]) -> None:
        """Tell how long the survey will take, where somebody listens and it is not half done."""
        if self.on_plan is not untold and not (self.folder / "examples.npz").exists():
            stage = bare_stage(
                self.model,
                self.images,
                geometries,
                self.settings,
                whole_px=self.whole_px,
                precision=self.precision,
            )
            self.on_plan(plan_stage(stage).sentence)

    def _stage(self, geometries: dict[str, LayerGeometry], examples: dict[str, Examples]) -> Stage:
        return Stage(
            model=self.model,
            images=self.images,
            geometries=geometries,
            examples=examples,
            photographs=np.asarray(self.images.groups, dtype=np.int64),
            folder=self.folder,
            settings=self.settings,
            whole_px=self.whole_px,
            precision=self.precision,
            progress=self.progress,
        )

    # Families -------------------------------------------------------------------------------------------------------

    def _divided(self) -> tuple[list[str], list[str]]:
        """Give the transformations that are surveyed layer by layer, and those over all layers together."""
        chosen = self.settings["transformations"]
        joint = [name for name in chosen if find(name).is_joint]
        return [name for name in chosen if name not in joint], joint

    def _costs(self, stage: Stage) -> list[float]:
        """Costs of the stages that are still to do, in their order."""
        layers, (alone, joint) = list(stage.geometries), self._divided()
        whole = [stage.cost(name, layer) for layer in layers for name in alone]
        whole += [sum(stage.cost(name, layer) for layer in layers) for name in joint]
        paths = result_paths(self.folder, layers, self.settings["transformations"])
        return [cost for cost, path in zip(whole, paths, strict=True) if not path.exists()]

    def _stages(self, stage: Stage) -> list[StageResult]:
        """Every transformation of every layer, then those over all layers; by layer, in the order of the survey."""
        found: list[StageResult] = []
        alone, joint = self._divided()
        for layer in stage.geometries:
            earlier: dict[str, LayerFamilies] = {}
            own: list[StageResult] = []
            for name in alone:
                entry = self._stage_result(name, layer, partial(stage.run, name, layer, earlier))
                earlier[name] = entry.result
                own.append(entry)
            found += self._explained(stage, layer, earlier, own)
        return found + [self._joint_result(stage, name) for name in joint]

    def _joint_result(self, stage: Stage, name: str) -> StageResult:
        """Give the result of a stage over all layers; an earlier version named them in one text."""
        entry = self._stage_result(name, "", partial(stage.run_joint, name))
        return replace(entry, result=replace(entry.result, layers=tuple(stage.geometries)))

    def _stage_result(self, name: str, layer: str, make: Callable[[], StageResult]) -> StageResult:
        """Give the result of one stage, kept or made."""
        path = result_path(self.folder, name, layer)
        entry = self._kept(path, read_result)
        if entry is None:
            self.progress.begin_next()
            with self._timed(name):
                entry = make()
            release_buffers()
            write_json(path, result_document(entry))
        return entry

    def _explained(
        self, stage: Stage, layer: str, earlier: dict[str, LayerFamilies], own: Sequence[StageResult]
    ) -> list[StageResult]:
        """Results of a layer, each family with what explains it best."""
        path = layer_path(self.folder, "results/explained", layer, ".json")
        by_id = self._kept(path, partial(read_explained, of=own))
        if by_id is None:
            with self._timed("explaining"):
                explained = stage.explain(earlier, layer)
            release_buffers()
            families = [family for result in explained.values() for family in result.families]
            write_json(path, families_document(families))
            by_id = read_explained(path, of=own)
        return [
            replace(entry, result=replace(entry.result, families=_named(by_id, entry.result.families)))
            for entry in own
        ]

    def _join(
        self, found: Sequence[StageResult], examples: Mapping[str, Examples]
    ) -> tuple[tuple[Family, ...], tuple[Unit, ...], tuple[FamilyLink, ...]]:
        """Families and units of all layers, and what joins rotation families of different sizes."""
        results = [entry.result for entry in found]
        families = tuple(family for result in results for family in result.families)
        joined, links = self._join_families(families, found, examples)
        families += joined
        units: tuple[Unit, ...] = ()
        for layer, own in examples.items():
            lines = (_of_layer(result, layer, examples) for result in results)
            units += join_units(own, [own_lines for own_lines in lines if own_lines])
        return with_invariances(families, units), units, links

    def _join_families(
        self, families: Sequence[Family], found: Sequence[StageResult], examples: Mapping[str, Examples]
    ) -> tuple[tuple[Family, ...], tuple[FamilyLink, ...]]:
        """Rotation families that are scaled copies of each other, where both were surveyed."""
        turning, growing = RotationScale.needs
        scale = next((entry for entry in found if entry.result.transformation == growing), None)
        if scale is None:
            return (), ()
        first_column, n_units = {}, 0
        for layer, own in examples.items():
            if layer in scale.joint_layers:
                first_column[layer] = n_units
                n_units += own.n_units
        return find_rotation_scale_families(
            [family for family in families if family.transformation == turning],
            scale.result.pairs,
            first_column,
            false_discovery_rate=self.settings["false_discovery_rate"],
            seed=self.settings["seed"],
        )

    def _judged(
        self, families: tuple[Family, ...], units: Sequence[Unit], geometries: Mapping[str, LayerGeometry]
    ) -> tuple[Family, ...]:
        """All families, each with the verdict of its weights."""
        path = self.folder / "results" / "judged.json"
        by_id = self._kept(path, partial(read_judged, of=families))
        if by_id is None:
            with (
                self._timed("verdicts"),
                self.progress("verdicts by the weights", len(families)) as on_family,
                threadpool_limits(limits=1, user_api="blas"),
            ):
                weights = consult_weights(self.model, self.images, geometries, families, units)
                judged = judge_families(families, weights, on_family)
            write_json(path, families_document(judged))
            by_id = {family.id: family for family in judged}
        return _named(by_id, families)

    # What is kept ---------------------------------------------------------------------------------------------------

    def _kept(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Read what an earlier process left; None where that must be made, again if it was lost or damaged."""
        if not path.exists():
            if self.was_complete:
                _LOG.warning("%s was lost: it is made again", path)
            return None
        try:
            found = read(path)
        except DamagedFileError as error:
            if path.is_dir():
                raise  # what lies in it is not the survey's to remove
            _LOG.warning("%s (done now)", error)
            return None
        if path.suffix == ".json" and not is_as_written(path):
            _LOG.warning("%s was changed since it was written: it is made again", path)
            return None
        return found

    def _write(self, name: str, document: dict[str, Any]) -> None:
        """Write one of the files that say what was found; if it said something else before, that is told."""
        path = self.folder / name
        if self.was_complete and not (path.is_file() and path.read_bytes() == to_json(document).encode()):
            _LOG.warning("%s was not what the results of the run say: it is made again", path)
        write_json(path, document)

    # The page -------------------------------------------------------------------------------------------------------

    def _tell_results(
        self,
        found: Sequence[StageResult],
        notes: Mapping[str, list[str]],
        links: Sequence[FamilyLink],
        shown: ImagePass,
    ) -> None:
        """Put into the manifest what was found, and where."""
        self.manifest |= {
            # A run that an earlier version began is of this version from here on.
            "schema_version": SCHEMA_VERSION,
            "device": str(self.model.device),
            "seconds": self.timings.seconds,
            "images": self.manifest["images"]
            | {
                "failures": [asdict(failure) for failure in shown.failures()],
                "n_copies": self.images.n_copies,
                "notes": self.images.notes,
            },
            "layers": [{"layer": layer, "notes": own} for layer, own in notes.items()],
            "results": [
                {
                    "layers": list(result.layers),
                    "transformation": result.transformation,
                    "null": asdict(result.null),
                    "n_refused": result.n_refused,
                    "notes": list(result.notes),
                }
                for result in (entry.result for entry in found)
            ],
            "family_links": [asdict(link) for link in links],
        }

    def _unit_tunings(self, stage: Stage, found: Sequence[StageResult]) -> dict[str, dict[str, UnitTunings]]:
        """How every unit responds to its own strongest stimuli, by layer and transformation."""
        tunings: dict[str, dict[str, UnitTunings]] = {layer: {} for layer in stage.geometries}
        results = _by_layer(found, stage.geometries)
        joint = self._divided()[1]
        n_steps = sum(len(own) for own in results.values()) + len(joint)
        with self._timed("report"), self.progress("tuning of all units", n_steps) as on_step:
            for layer, own in results.items():
                for name, result in own.items():
                    if result.null.n_draws:
                        responses, channels = stage.measured(name, layer, own)
                        shown = stage.own(find(name), layer, responses)
                        tunings[layer][name] = tune_units(
                            responses, shown, stage.geometries[layer], channels=channels
                        )
                    on_step(1)
            for name in joint:
                layers, together = stage.measured_jointly(name)
                for layer, first_column in _first_columns(layers, stage.examples).items():
                    if together is not None:
                        tunings[layer][name] = tune_units(
                            together,
                            stage.examples[layer],
                            stage.geometries[layer],
                            first_column=first_column,
                        )
                on_step(1)
        return tunings

    def _shown(self, geometries: dict[str, LayerGeometry], examples: dict[str, Examples]) -> ShownImages:
        """Collect what pictures are cut from, and to how much of it."""
        path = self.folder / "results" / "effective.json"
        effective = self._kept(path, read_effective)
        if effective is None:
            effective = measure_effective_fields(self.model, self.images, geometries, examples)
            write_json(path, effective_document(effective))
        kernels = read_first_kernels(self.model, geometries)
        return ShownImages(self.images, geometries, examples, self.whole_px, effective, kernels)

    def _answer_turned(
        self, stage: Stage, found: Sequence[StageResult], families: Sequence[FamilyEntry]
    ) -> None:
        """Add to each family's transformed stimulus what its members answered to it."""
        results = _by_layer(found, stage.geometries)
        opened: dict[tuple[str, str], tuple[Responses[Any] | None, dict[str, int]]] = {}
        for family in families:
            turned = family.get("turned")
            if turned is None:
                continue
            layer, name = turned["layer"], family["transformation"]
            key = ("" if find(name).is_joint else layer, name)
            if key not in opened and find(name).is_joint:
                layers, together = stage.measured_jointly(name)
                opened[key] = together, _first_columns(layers, stage.examples)
            elif key not in opened:
                opened[key] = stage.measured(name, layer, results[layer])[0], {layer: 0}
            responses, columns = opened[key]
            if responses is not None:
                answers = turned_responses(
                    responses, stage.examples, stage.geometries, columns, family, turned
                )
                if answers is not None:
                    turned["responses"] = answers


def _named(by_id: Mapping[str, Family], families: Sequence[Family]) -> tuple[Family, ...]:
    return tuple(by_id[family.id] for family in families)


def _by_layer(
    found: Sequence[StageResult], layers: Mapping[str, object]
) -> dict[str, dict[str, LayerFamilies]]:
    """Results of each layer that was surveyed alone, by transformation."""
    results: dict[str, dict[str, LayerFamilies]] = {layer: {} for layer in layers}
    for entry in found:
        if not find(entry.result.transformation).is_joint:
            (layer,) = entry.result.layers
            results[layer][entry.result.transformation] = entry.result
    return results


def _first_columns(layers: Sequence[str], examples: Mapping[str, Examples]) -> dict[str, int]:
    """Where each layer's units begin, of layers that were measured side by side."""
    starts = np.cumsum([0] + [examples[layer].n_units for layer in layers]).tolist()
    return dict(zip(layers, starts, strict=False))


def _of_layer(result: LayerFamilies, layer: str, examples: Mapping[str, Examples]) -> tuple[Symmetry, ...]:
    """Lines of one layer's units in a result that may be about several layers."""
    start = 0
    for name in result.layers:
        if name == layer:
            return result.symmetries[start : start + examples[name].n_units]
        start += examples[name].n_units
    return ()
