"""The main job: from a network and images to verified families and a report, resumable at any point."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import equiscope
from equiscope.allocator import keep_large_buffers
from equiscope.circuits import load_circuits
from equiscope.errors import EquiscopeError, unknown_name
from equiscope.examples import Examples, collect_examples, empty_examples, merge_examples, split_halves
from equiscope.families import (
    Family,
    LayerFamilies,
    NullSummary,
    Symmetry,
    Unit,
    join_units,
    with_invariances,
)
from equiscope.models import Model, load_model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.progress import Progress, silent
from equiscope.report.document import build_document, with_circuits, with_verification
from equiscope.report.files import save_report
from equiscope.report.schema import FamilyEntry
from equiscope.report.turned import turned_responses
from equiscope.report.unit_tuning import UnitTunings, tune_units
from equiscope.responses import Responses, not_finite
from equiscope.rotation_scale import FamilyLink, find_rotation_scale_families
from equiscope.scales import ScaleEdge
from equiscope.stages import (
    TRANSFORMATIONS,
    Stage,
    StageResult,
    Tuning,
    choose_device,
    choose_precision,
    with_needed,
)
from equiscope.stimuli import ImageFailure, ImageSet, open_images
from equiscope.store import (
    SCHEMA_VERSION,
    Run,
    families_document,
    layer_path,
    load_examples,
    load_run,
    read_families,
    read_json,
    read_manifest,
    read_symmetries,
    save_examples,
    units_document,
    write_json,
)
from equiscope.synchronisation import MIN_SCORE
from equiscope.verification import load_verification

__all__ = ["Progress", "survey"]

# Images between two checkpoints of the pass: about three seconds of GoogLeNet on two cores.
_SHARD = 128
_SIZE_SAMPLE = 32
# Candidates a unit should have for each stimulus that it keeps, before several come from one image.
_IMAGES_PER_EXAMPLE = 4
_MAX_PER_IMAGE = 8


def survey(
    model: Model | nn.Module | str,
    images: ImageSet | str | Path | None = None,
    layers: Sequence[str] | None = None,
    *,
    transformations: Sequence[str] | None = None,
    out: str | Path,
    angles: int = 16,
    examples_per_unit: int = 8,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCORE,
    n_null: int = 20,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
    command: str | None = None,
    progress: Progress = silent,
) -> Run:
    """Find the families of a network under all transformations, verify them on held-out images, write a report.

    Parameters
    ----------
    model
        An ``equiscope.Model``, any module that takes (image, 3, y, x) RGB in [0, 1], or a name for
        ``load_model``.
    images
        What the network is shown: an ``ImageSet``, a folder, ``.tar`` or ``.npz``, by default the embedded
        photographs.
    layers
        Names of modules; by default the model's own choice, or all convolutions.
    transformations
        Some of ``rotation``, ``hue``, ``reflection``, ``contrast``, ``dihedral``, ``hue-rotation`` and ``scale``; by
        default all. Those that one needs are surveyed with it.
    out
        Folder of the run. The same call goes on where an interrupted one stopped.
    angles
        Order of the rotation group, at least 4; multiples of 4 include the exact quarter turns.
    examples_per_unit
        Strongest stimuli of each unit, half of them to find and half to verify; at least 2.
    false_discovery_rate
        Largest accepted q-value of a family.
    min_score
        Smallest mean correlation with the other members that makes a member.
    n_null
        Null draws for each layer.
    device
        ``auto`` takes the GPU if there is one; the module is returned to where it was.
    precision
        ``float32`` or ``bfloat16`` for the passes that show transformed stimuli; ``auto`` takes ``bfloat16`` where
        the processor computes in it (docs/results.md has what it changes).
    seed
        Seed of the halves, the null and the bootstrap.
    command
        What to record as the command that made the run.
    progress
        Called at the start of each stage.

    Returns
    -------
    Run
        Families and units, also written to ``out`` (docs/run.md).

    Raises
    ------
    EquiscopeError
        If something given cannot be used, or ``out`` holds a run of something else.
    """
    keep_large_buffers()
    _check_options(angles, examples_per_unit, false_discovery_rate, n_null)
    if isinstance(model, str):
        model = load_model(model)
    elif not isinstance(model, Model):
        model = Model(model, type(model).__name__)
    if not isinstance(images, ImageSet):
        images = open_images(images)
    n_photographs = len(set(images.groups))
    if n_photographs < 2:
        raise EquiscopeError(
            f"{images.name} holds {n_photographs} photograph(s): one half of the images finds families and the other "
            "verifies them, so at least 2 are needed, and some hundreds for results worth trusting"
        )
    folder = Path(out)
    chosen = model.resolve_layers(layers)
    wanted = _resolve_transformations(transformations)
    target = choose_device(device)
    computes_in = choose_precision(precision, target)
    identity = {
        "model": {"name": model.name, "weights_sha256": model.weights_sha256()},
        "images": {"name": images.name, "n_images": len(images), "fingerprint": images.fingerprint},
        "settings": {
            "layers": chosen,
            "transformations": wanted,
            "precision": str(computes_in).removeprefix("torch."),
            "angles": angles,
            "examples_per_unit": examples_per_unit,
            "false_discovery_rate": false_discovery_rate,
            "min_score": min_score,
            "n_null": n_null,
            "seed": seed,
        },
    }
    manifest = _open_manifest(folder, identity, command)
    home = model.device
    try:
        model.module.to(target)
        _Survey(model, images, folder, manifest, progress, computes_in).run()
    finally:
        model.module.to(home)
    return load_run(folder)


def _check_options(angles: int, examples_per_unit: int, false_discovery_rate: float, n_null: int) -> None:
    if angles < 4:
        raise EquiscopeError(
            f"angles is {angles}, expected at least 4: fewer cannot tell a pose (16 is usual)"
        )
    if examples_per_unit < 2:
        raise EquiscopeError(
            f"examples_per_unit is {examples_per_unit}, expected at least 2: one to find with, one to verify with"
        )
    if not 0 < false_discovery_rate < 1:
        raise EquiscopeError(
            f"false_discovery_rate is {false_discovery_rate}, expected a share between 0 and 1"
        )
    if n_null < 1:
        raise EquiscopeError(
            f"n_null is {n_null}, expected at least 1: without a null nothing can be accepted"
        )


def _resolve_transformations(transformations: Sequence[str] | None) -> list[str]:
    """Put the transformations asked for into their order, with those that they need."""
    asked = list(TRANSFORMATIONS if transformations is None else transformations)
    if not asked:
        raise EquiscopeError(f"no transformation was asked for: name some of {', '.join(TRANSFORMATIONS)}")
    for name in asked:
        if name not in TRANSFORMATIONS:
            raise unknown_name("transformation", name, TRANSFORMATIONS)
    return with_needed(asked)


def _open_manifest(folder: Path, identity: dict[str, Any], command: str | None) -> dict[str, Any]:
    """Open the manifest of this run: a new one, or that of the interrupted run that goes on."""
    path = folder / "run.json"
    if path.exists():
        manifest = read_manifest(folder)
        for part, ours in identity.items():
            theirs = manifest.get(part, {})
            for key, value in ours.items():
                if theirs.get(key) != value:
                    raise EquiscopeError(
                        f"{folder} holds another run: its {part} {key} is {theirs.get(key)!r}, asked for is {value!r}; "
                        "choose another folder with --out, or delete that one"
                    )
        return manifest
    # A process killed in its very first write leaves a part of that file, and nothing else.
    if folder.exists() and (
        not folder.is_dir() or any(not path.name.startswith(".run.json.") for path in folder.iterdir())
    ):
        raise EquiscopeError(
            f"{folder} is there already and is not the folder of a run: choose another with --out"
        )
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "equiscope_version": equiscope.__version__,
        "command": command or "equiscope.survey(...)",
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "is_complete": False,
        **identity,
        "machine": {"torch": torch.__version__, "python": platform.python_version(), "cpus": os.cpu_count()},
        "seconds": {},
    }
    write_json(path, manifest)
    return manifest


class _Survey:
    """The stages of one run; every one is skipped where its result is already on disk."""

    def __init__(
        self,
        model: Model,
        images: ImageSet,
        folder: Path,
        manifest: dict[str, Any],
        progress: Progress,
        precision: torch.dtype,
    ) -> None:
        self.model, self.images, self.folder, self.manifest = model, images, folder, manifest
        self.progress, self.precision = progress, precision
        self.settings = manifest["settings"]
        self.photographs = np.asarray(images.groups, dtype=np.int64)
        self.earlier_failures: list[ImageFailure] = []

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to the manifest, also when it is interrupted."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.manifest["seconds"]
            seconds[stage] = round(seconds.get(stage, 0.0) + time.perf_counter() - started, 2)

    def run(self) -> None:
        """Go through all stages."""
        with self._timed("geometry"):
            geometries, notes = self._geometries()
        with self._timed("examples"):
            examples = self._examples(geometries)
        for layer in geometries:
            n_images = int(examples[layer].n_images.sum())
            if n_images < len(self.images) - len(self._failures()):
                notes[layer].append(
                    f"{n_images} of {len(self.images)} images were large enough for its receptive field"
                )
        stage = Stage(
            model=self.model,
            images=self.images,
            geometries=geometries,
            examples=examples,
            photographs=self.photographs,
            folder=self.folder,
            settings=self.settings,
            whole_px=self.whole_px,
            precision=self.precision,
            progress=self.progress,
        )
        found = self._stages(stage)
        results = [entry.result for entry in found]
        families = tuple(family for result in results for family in result.families)
        links: tuple[FamilyLink, ...] = ()
        scale = next((entry for entry in found if entry.result.transformation == "scale"), None)
        if scale is not None:
            joined, links = self._rotation_scale(families, scale, examples)
            families += joined
        units: tuple[Unit, ...] = ()
        for layer, own in examples.items():
            lines = (_of_layer(result, layer, examples) for result in results)
            units += join_units(own, [own_lines for own_lines in lines if own_lines])
        families = with_invariances(families, units)
        write_json(self.folder / "families.json", families_document(families))
        write_json(self.folder / "units.json", units_document(units))
        unit_tunings = self._unit_tunings(stage, found)
        with self._timed("report"), self.progress("drawing the report", len(self.images)) as on_image:
            self.manifest |= {
                "device": str(self.model.device),
                "images": self.manifest["images"] | {"failures": [asdict(f) for f in self._failures()]},
                "geometry": [asdict(geometry) for geometry in geometries.values()],
                "layers": [{"layer": layer, "notes": own} for layer, own in notes.items()],
                "results": [
                    {
                        "layer": r.layer,
                        "transformation": r.transformation,
                        "null": asdict(r.null),
                        "n_refused": r.n_refused,
                        "notes": list(r.notes),
                    }
                    for r in results
                ],
                "family_links": [asdict(link) for link in links],
            }
            document = build_document(
                self.manifest,
                self.images,
                geometries,
                examples,
                families,
                units,
                {name: tuning for entry in found for name, tuning in entry.tunings.items()},
                self.whole_px,
                folder=self.folder,
                unit_tunings=unit_tunings,
                on_image=on_image,
            )
            self._answer_turned(stage, found, document["families"])
            # A finished run that is given again keeps what `verify` and `circuits` found since.
            document = with_verification(document, load_verification(self.folder))
            circuits = load_circuits(self.folder)
            if circuits is not None:
                document = with_circuits(document, circuits.confirmations)
            save_report(self.folder, document)
        self.manifest["is_complete"] = True
        write_json(self.folder / "run.json", self.manifest)

    def _stages(self, stage: Stage) -> list[StageResult]:
        """Every transformation of every layer, then scale over all; by layer, in the order of the survey."""
        found: list[StageResult] = []
        chosen = self.settings["transformations"]
        for layer in stage.geometries:
            earlier: dict[str, LayerFamilies] = {}
            own: list[StageResult] = []
            for name in chosen:
                if name == "scale":
                    continue
                path = layer_path(self.folder, f"results/{name}", layer, ".json")
                if path.exists():
                    entry = _read_result(read_json(path))
                else:
                    with self._timed(name):
                        entry = stage.run(name, layer, earlier)
                    write_json(path, _result_document(entry))
                earlier[name] = entry.result
                own.append(entry)
            path = layer_path(self.folder, "results/explained", layer, ".json")
            if not path.exists():
                with self._timed("explaining"):
                    explained = stage.explain(earlier, layer)
                families = [family for result in explained.values() for family in result.families]
                write_json(path, families_document(families))
            by_id = {family.id: family for family in read_families(read_json(path))}
            found += [
                replace(
                    entry,
                    result=replace(
                        entry.result, families=tuple(by_id[family.id] for family in entry.result.families)
                    ),
                )
                for entry in own
            ]
        if "scale" in chosen:
            path = self.folder / "results" / "scale.json"
            if path.exists():
                entry = _read_result(read_json(path))
            else:
                with self._timed("scale"):
                    entry = stage.run_scale()
                write_json(path, _result_document(entry))
            found.append(entry)
        return found

    def _rotation_scale(
        self, families: Sequence[Family], scale: StageResult, examples: dict[str, Examples]
    ) -> tuple[tuple[Family, ...], tuple[FamilyLink, ...]]:
        """Rotation families that are scaled copies of each other."""
        part = set(scale.scale_layers)
        first_column, n_units = {}, 0
        for layer, own in examples.items():
            if layer in part:
                first_column[layer] = n_units
                n_units += own.n_units
        rotation = [family for family in families if family.transformation == "rotation"]
        return find_rotation_scale_families(
            rotation,
            scale.edges,
            first_column,
            false_discovery_rate=self.settings["false_discovery_rate"],
            seed=self.settings["seed"],
        )

    def _unit_tunings(self, stage: Stage, found: Sequence[StageResult]) -> dict[str, dict[str, UnitTunings]]:
        """How every unit responds to its own strongest stimuli, by layer and transformation."""
        tunings: dict[str, dict[str, UnitTunings]] = {layer: {} for layer in stage.geometries}
        results: dict[str, dict[str, LayerFamilies]] = {layer: {} for layer in stage.geometries}
        for entry in found:
            if entry.result.layer in results and entry.result.transformation != "scale":
                results[entry.result.layer][entry.result.transformation] = entry.result
        n_steps = sum(len(own) for own in results.values()) + 1
        with self._timed("report"), self.progress("tuning of all units", n_steps) as on_step:
            for layer, own in results.items():
                for name, result in own.items():
                    if result.null.n_draws:
                        responses, channels = stage.measured(name, layer, own)
                        tunings[layer][name] = tune_units(
                            responses, stage.examples[layer], stage.geometries[layer], channels=channels
                        )
                    on_step(1)
            if "scale" in self.settings["transformations"]:
                layers, joint = stage.measured_scale()
                first_column = 0
                for layer in layers:
                    own_examples = stage.examples[layer]
                    if joint is not None:
                        tunings[layer]["scale"] = tune_units(
                            joint, own_examples, stage.geometries[layer], first_column=first_column
                        )
                    first_column += own_examples.n_units
            on_step(1)
        return tunings

    def _answer_turned(
        self, stage: Stage, found: Sequence[StageResult], families: Sequence[FamilyEntry]
    ) -> None:
        """Add to each family's transformed stimulus what its members answered to it."""
        results: dict[str, dict[str, LayerFamilies]] = {layer: {} for layer in stage.geometries}
        for entry in found:
            if entry.result.layer in results:
                results[entry.result.layer][entry.result.transformation] = entry.result
        opened: dict[tuple[str, str], tuple[Responses[Any] | None, dict[str, int]]] = {}
        for family in families:
            turned = family.get("turned")
            if turned is None:
                continue
            layer, name = family["layer"], family["transformation"]
            key = ("", name) if name == "scale" else (layer, name)
            if key not in opened and name == "scale":
                layers, joint = stage.measured_scale()
                sizes = [stage.examples[own].n_units for own in layers]
                opened[key] = joint, {own: sum(sizes[:i]) for i, own in enumerate(layers)}
            elif key not in opened:
                opened[key] = stage.measured(name, layer, results[layer])[0], {layer: 0}
            responses, columns = opened[key]
            if responses is not None:
                answers = turned_responses(
                    responses, stage.examples, stage.geometries, columns, family, turned
                )
                if answers is not None:
                    turned["responses"] = answers

    def _geometries(self) -> tuple[dict[str, LayerGeometry], dict[str, list[str]]]:
        """Geometry of each layer; patches leave out the rim of receptive fields that are larger than the images."""
        step = max(1, len(self.images) // _SIZE_SAMPLE)
        loaded = (self.images.load(index) for index in range(0, len(self.images), step))
        sides = [min(picture.shape[1:]) for picture in loaded if picture is not None]
        if not sides:
            raise EquiscopeError(
                f"none of {_SIZE_SAMPLE} images tried in {self.images.name} could be read; the first failed with: "
                f"{self.images.failures[0].reason}"
            )
        self.whole_px = int(np.median(sides))
        notes: dict[str, list[str]] = {}
        with self.progress("finding receptive fields", 1) as on_step:
            geometries = find_geometry(self.model, self.settings["layers"])
            on_step(1)
        for layer, geometry in geometries.items():
            notes[layer] = []
            fitted, problem = geometry, None
            if not geometry.is_global and geometry.patch_px > max(sides):
                fitted = replace(geometry, largest_px=self.whole_px)
                problem = (
                    f"its receptive field needs {geometry.patch_px} px stimuli and the images have "
                    f"{max(sides)} px at most"
                )
            if not fitted.is_global:
                try:
                    fitted.position_in_patch()
                    if fitted.largest_px is not None:
                        problem = f"{problem}: stimuli of {fitted.patch_px} px leave out its rim"
                except EquiscopeError as error:
                    problem = problem or str(error)
                    fitted = replace(geometry, is_global=True)
            geometries[layer] = fitted
            if problem is not None:
                notes[layer].append(problem)
            if fitted.is_global:
                notes[layer].append(
                    f"whole images of {self.whole_px} px served as stimuli, turned about their centres with reflected "
                    "corners: the layer has no receptive field that could be centred in them"
                )
        return geometries, notes

    def _examples(self, geometries: dict[str, LayerGeometry]) -> dict[str, Examples]:
        """Pass over all images, in shards, each of which is kept."""
        path = self.folder / "examples.npz"
        per_half = -(-self.settings["examples_per_unit"] // 2)
        found = {n: empty_examples(n, g.n_channels, per_half) for n, g in geometries.items()}
        n_done = 0
        if path.exists():
            found, n_done, self.earlier_failures = load_examples(path)
        half = split_halves(self.images.groups, self.settings["seed"])
        smaller = int(np.bincount(half, minlength=2).min())
        per_image = int(np.clip(-(-_IMAGES_PER_EXAMPLE * per_half // max(smaller, 1)), 1, _MAX_PER_IMAGE))
        with self.progress("showing images", len(self.images)) as on_images:
            on_images(n_done)
            for start in range(n_done, len(self.images), _SHARD):
                shard = range(start, min(start + _SHARD, len(self.images)))
                part = collect_examples(
                    self.model, self.images, geometries, half, per_half, indices=shard, per_image=per_image
                )
                found = {layer: merge_examples(found[layer], part[layer]) for layer in geometries}
                for layer, examples in found.items():
                    if not np.isfinite(examples.mean).all():
                        raise not_finite(self.model, layer, int(np.argmin(np.isfinite(examples.mean))))
                save_examples(path, found, shard.stop, self._failures())
                on_images(len(shard))
        return found

    def _failures(self) -> list[ImageFailure]:
        """Images that could not be used, also those found before an interruption."""
        by_name = {failure.name: failure for failure in (*self.earlier_failures, *self.images.failures)}
        return [by_name[name] for name in sorted(by_name)]


def _of_layer(result: LayerFamilies, layer: str, examples: dict[str, Examples]) -> tuple[Symmetry, ...]:
    """Lines of one layer's units in a result that may be about all layers."""
    if result.layer == layer:
        return result.symmetries
    if result.transformation != "scale":
        return ()
    start = 0
    for name, own in examples.items():
        if name == layer:
            return result.symmetries[start : start + own.n_units]
        start += own.n_units
    return ()


def _result_document(entry: StageResult) -> dict[str, Any]:
    """Word the result of one transformation of one layer as the run's contract does."""
    result = entry.result
    return families_document(result.families) | {
        "layer": result.layer,
        "transformation": result.transformation,
        "symmetries": [asdict(line) for line in result.symmetries],
        "null": asdict(result.null),
        "n_refused": result.n_refused,
        "notes": list(result.notes),
        "tuning": {name: asdict(tuning) for name, tuning in entry.tunings.items()},
        "edges": [asdict(edge) for edge in entry.edges],
        "scale_layers": list(entry.scale_layers),
    }


def _read_result(document: dict[str, Any]) -> StageResult:
    """Read back what `_result_document` worded."""
    null: dict[str, Any] = {k: np.nan if v is None else v for k, v in document["null"].items()}
    result = LayerFamilies(
        document["layer"],
        document["transformation"],
        read_families(document),
        read_symmetries(document["symmetries"]),
        NullSummary(**null),
        document["n_refused"],
        tuple(document["notes"]),
    )
    tunings = {
        name: Tuning(tuning["axes"], np.array(tuning["values"], dtype=float))
        for name, tuning in document["tuning"].items()
    }
    edges = tuple(ScaleEdge(**edge) for edge in document["edges"])
    return StageResult(result, tunings, edges, tuple(document["scale_layers"]))
