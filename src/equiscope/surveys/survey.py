"""The main job: from a network and images to verified families and a report, resumable at any point."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

import equiscope
from equiscope.families.family import (
    Family,
    LayerFamilies,
    NullSummary,
    Symmetry,
    Tuning,
    Unit,
    join_units,
    with_invariances,
)
from equiscope.families.rotation_scale import FamilyLink, find_rotation_scale_families
from equiscope.families.scales import ScaleEdge
from equiscope.families.synchronisation import MIN_SCORE
from equiscope.foundations import limits
from equiscope.foundations.devices import choose_device, choose_precision, keep_large_buffers
from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import DamagedFileError, EquiscopeError, unknown_name
from equiscope.foundations.files import is_unused
from equiscope.foundations.limits import list_names
from equiscope.foundations.progress import Progress, Stages, silent
from equiscope.foundations.records import NumberTree, reading
from equiscope.measurement.examples import (
    Examples,
    collect_examples,
    empty_examples,
    merge_examples,
    split_halves,
)
from equiscope.measurement.fidelity import settle_geometries
from equiscope.measurement.responses import Responses, not_finite
from equiscope.models import Model, load_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.layers import left_out
from equiscope.models.repeatability import require_repeatable
from equiscope.reports.document.building import build_document
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.turned import turned_responses
from equiscope.reports.document.unit_tuning import UnitTunings, tune_units
from equiscope.reports.site.files import save_report, with_evidence
from equiscope.runs.store import (
    SCHEMA_VERSION,
    FamiliesFile,
    Run,
    create_json,
    families_document,
    is_as_written,
    layer_path,
    load_examples,
    load_record,
    load_run,
    read_geometries,
    read_manifest,
    save_examples,
    units_document,
    write_json,
)
from equiscope.stimuli import ImageFailure, ImageSet, open_images
from equiscope.surveys.stages import TRANSFORMATIONS, Stage, StageResult, with_needed
from equiscope.surveys.timings import Timings

__all__ = ["Progress", "survey"]

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
# Images between two checkpoints of the pass: about three seconds of GoogLeNet on two cores.
_SHARD = 128
# Candidates a unit should have for each stimulus that it keeps, before several come from one image.
_IMAGES_PER_EXAMPLE = 4
_MAX_PER_IMAGE = 8
# Receptive fields, the pass over the images, the tuning of all units, the report.
_N_OTHER_STAGES = 4
# The embedded network has 29; from twice that on it is worth saying how a survey gets smaller.
_MANY_STAGES = 64


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
    on_plan: Callable[[str], object] = lambda _plan: None,
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
    on_plan
        Called once, before the work begins, with a sentence that says how much will be done.
    progress
        Called at the start of each part of a stage, whose name ends with the stage's number and that of all stages.

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
    settings = _check_options(angles, examples_per_unit, false_discovery_rate, min_score, n_null, seed)
    if isinstance(model, str):
        model = load_model(model)
    elif not isinstance(model, Model):
        model = Model(model, type(model).__name__)
    if not isinstance(images, ImageSet):
        images = open_images(images)
    n_photographs = len(set(images.groups))
    if n_photographs < 2:
        copies = f" ({images.n_copies} of its {len(images)} images are copies)" if images.n_copies else ""
        raise EquiscopeError(
            f"{images.name} holds {n_photographs} photograph(s){copies}: one half of the images finds families and the "
            "other verifies them, so at least 2 are needed, and some hundreds for results worth trusting"
        )
    folder = Path(out)
    chosen = model.resolve_layers(list_names(layers))
    wanted = _resolve_transformations(transformations)
    target = choose_device(device)
    computes_in = choose_precision(precision, target)
    require_repeatable(model, chosen)
    identity = {
        "model": {"name": model.name, "weights_sha256": model.weights_sha256()},
        "images": {"name": images.name, "n_images": len(images), "fingerprint": images.fingerprint}
        # A run that was begun before copies were told apart has other halves.
        | ({"n_copies": images.n_copies} if images.n_copies else {}),
        "settings": {
            "layers": chosen,
            "transformations": wanted,
            "precision": str(computes_in).removeprefix("torch."),
            **settings,
        },
    }
    manifest = _open_manifest(folder, identity, command)
    n_stages = _count_stages(folder, chosen, wanted)
    on_plan(_word_plan(len(chosen), len(wanted), n_stages))
    home = model.device
    try:
        model.module.to(target)
        timings = Timings(folder / "seconds.json", manifest.get("seconds"))
        stages = Stages(timings.noting(progress), n_stages)
        with model.evaluating():
            _Survey(model, images, folder, manifest, stages, computes_in, timings).run()
    finally:
        model.module.to(home)
    return load_run(folder)


def _check_options(
    angles: int, examples_per_unit: int, false_discovery_rate: float, min_score: float, n_null: int, seed: int
) -> dict[str, Any]:
    """Give the numbers of a survey as the manifest keeps them."""
    return {
        "angles": limits.ANGLES.check("angles", angles),
        "examples_per_unit": limits.EXAMPLES_PER_UNIT.check("examples_per_unit", examples_per_unit),
        "false_discovery_rate": limits.FALSE_DISCOVERY_RATE.check(
            "false_discovery_rate", false_discovery_rate
        ),
        "min_score": limits.MIN_SCORE.check("min_score", min_score),
        "n_null": limits.NULL_DRAWS.check("n_null", n_null),
        "seed": limits.SEED.check("seed", seed),
    }


def _resolve_transformations(transformations: Sequence[str] | None) -> list[str]:
    """Put the transformations asked for into their order, with those that they need."""
    asked = list(TRANSFORMATIONS) if transformations is None else list_names(transformations)
    if not asked:
        raise EquiscopeError(f"no transformation was asked for: name some of {', '.join(TRANSFORMATIONS)}")
    for name in asked:
        if name not in TRANSFORMATIONS:
            raise unknown_name("transformation", name, TRANSFORMATIONS)
    return with_needed(asked)


def _results(folder: Path, layers: Sequence[str], transformations: Sequence[str]) -> list[Path]:
    """Where the results of all stages that look for families are kept."""
    within = [name for name in transformations if name != "scale"]
    paths = [layer_path(folder, f"results/{name}", layer, ".json") for layer in layers for name in within]
    return paths + [folder / "results" / "scale.json"] * ("scale" in transformations)


def _count_stages(folder: Path, layers: Sequence[str], transformations: Sequence[str]) -> int:
    """Count the stages that are still to do."""
    missing = [path for path in _results(folder, layers, transformations) if not path.exists()]
    return len(missing) + _N_OTHER_STAGES


def _word_plan(n_layers: int, n_transformations: int, n_stages: int) -> str:
    """Say how much will be done, and how it could be less."""
    layers, transformations = (
        f"{n} {word}{'s' * (n != 1)}"
        for n, word in ((n_layers, "layer"), (n_transformations, "transformation"))
    )
    plan = f"{layers} × {transformations}: {n_stages} stages to do"
    if n_stages <= _MANY_STAGES:
        return plan
    return f"{plan}, deep layers take longest; for fewer name some with --layers or --transformations"


def _open_manifest(folder: Path, identity: dict[str, Any], command: str | None) -> dict[str, Any]:
    """Open the manifest of this run: a new one, or that of the run that goes on.

    Of several surveys that begin in one folder at once one creates the manifest; the others find it, and go on with its
    run if theirs is the same.
    """
    path = folder / "run.json"
    if not path.exists():
        # Another survey may have begun here since: the first that it writes is its manifest.
        if not is_unused(folder) and not path.exists():
            raise EquiscopeError(
                f"{folder} is there already and is not the folder of a run: choose another with --out"
            )
        create_json(path, _begin_manifest(identity, command))
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


def _begin_manifest(identity: dict[str, Any], command: str | None) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "equiscope_version": equiscope.__version__,
        "command": command or "equiscope.survey(...)",
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "is_complete": False,
        **identity,
        "machine": {"torch": torch.__version__, "python": platform.python_version(), "cpus": os.cpu_count()},
        "seconds": {},
    }


class _Survey:
    """The stages of one run; every one is skipped where its result is already on disk."""

    def __init__(
        self,
        model: Model,
        images: ImageSet,
        folder: Path,
        manifest: dict[str, Any],
        progress: Stages,
        precision: torch.dtype,
        timings: Timings,
    ) -> None:
        self.model, self.images, self.folder, self.manifest = model, images, folder, manifest
        self.progress, self.precision = progress, precision
        self.timings, self._timed = timings, timings.measure
        self.settings = manifest["settings"]
        self.photographs = np.asarray(images.groups, dtype=np.int64)
        self.earlier_failures: list[ImageFailure] = []
        self.was_complete = bool(manifest.get("is_complete"))

    def run(self) -> None:
        """Go through all stages."""
        self.progress.begin_next()
        with self._timed("geometry"):
            geometries, notes = self._geometries()
        self.progress.begin_next()
        with self._timed("examples"):
            examples = self._examples(geometries)
        for layer in geometries:
            n_images = int(examples[layer].n_images.sum())
            n_failed = len({failure.name for failure in self._failures()} & set(self.images.names))
            if n_images < len(self.images) - n_failed:
                said = f"{n_images} of {len(self.images)} images were large enough for its receptive field"
                notes[layer] = [*(note for note in notes[layer] if note != said), said]
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
        self.progress.expect(self._costs(stage))
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
        self._write("families.json", families_document(families))
        self._write("units.json", units_document(units))
        self.progress.begin_next()
        unit_tunings = self._unit_tunings(stage, found)
        self.progress.begin_next()
        with self._timed("report"), self.progress("drawing the report", len(self.images)) as on_image:
            self.manifest |= {
                "device": str(self.model.device),
                "seconds": self.timings.seconds,
                "images": self.manifest["images"]
                | {
                    "failures": [asdict(f) for f in self._failures()],
                    "n_copies": self.images.n_copies,
                    "notes": self.images.notes,
                },
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
            # A finished run that is given again keeps what later commands found since.
            save_report(self.folder, with_evidence(self.folder, document))
        self.manifest |= {"is_complete": True, "seconds": self.timings.seconds}
        write_json(self.folder / "run.json", self.manifest)
        self.timings.close()

    def _costs(self, stage: Stage) -> list[float]:
        """Costs of the stages that are still to do, in their order."""
        layers, chosen = list(stage.geometries), self.settings["transformations"]
        whole = [stage.cost(name, layer) for layer in layers for name in chosen if name != "scale"]
        if "scale" in chosen:
            whole.append(sum(stage.cost("scale", layer) for layer in layers))
        paths = _results(self.folder, layers, chosen)
        return [cost for cost, path in zip(whole, paths, strict=True) if not path.exists()]

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
                entry = self._kept(path, _read_result)
                if entry is None:
                    self.progress.begin_next()
                    with self._timed(name):
                        entry = stage.run(name, layer, earlier)
                    write_json(path, _result_document(entry))
                earlier[name] = entry.result
                own.append(entry)
            path = layer_path(self.folder, "results/explained", layer, ".json")
            by_id = self._kept(path, partial(_read_explained, of=own))
            if by_id is None:
                with self._timed("explaining"):
                    explained = stage.explain(earlier, layer)
                families = [family for result in explained.values() for family in result.families]
                write_json(path, families_document(families))
                by_id = _read_explained(path, of=own)
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
            entry = self._kept(path, _read_result)
            if entry is None:
                self.progress.begin_next()
                with self._timed("scale"):
                    entry = stage.run_scale()
                write_json(path, _result_document(entry))
            found.append(entry)
        return found

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

    def _examples(self, geometries: dict[str, LayerGeometry]) -> dict[str, Examples]:
        """Pass over all images, in shards, each of which is kept."""
        path = self.folder / "examples.npz"
        per_half = -(-self.settings["examples_per_unit"] // 2)
        found = {n: empty_examples(n, g.n_channels, per_half) for n, g in geometries.items()}
        n_done = 0
        kept = self._kept(path, partial(_read_examples, geometries=geometries))
        if kept is not None:
            found, n_done, self.earlier_failures = kept
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


@dataclass(frozen=True)
class _TuningPart:
    axes: dict[str, list[float]]
    values: NumberTree


@dataclass(frozen=True)
class _ResultFile:
    """Contents of a file of ``results``."""

    layer: str
    transformation: str
    families: tuple[Family, ...]
    symmetries: tuple[Symmetry, ...]
    null: NullSummary
    n_refused: int
    notes: tuple[str, ...]
    tuning: dict[str, _TuningPart]
    edges: tuple[ScaleEdge, ...]
    scale_layers: tuple[str, ...]


def _read_result(path: Path) -> StageResult:
    """Read back what `_result_document` worded."""
    stored: _ResultFile = load_record(path, _ResultFile)
    with reading(path):
        result = LayerFamilies(
            stored.layer,
            stored.transformation,
            stored.families,
            stored.symmetries,
            stored.null,
            stored.n_refused,
            stored.notes,
        )
        tunings = {
            name: Tuning(tuning.axes, np.array(tuning.values, dtype=float))
            for name, tuning in stored.tuning.items()
        }
    return StageResult(result, tunings, stored.edges, stored.scale_layers)


def _read_explained(path: Path, of: Sequence[StageResult]) -> dict[str, Family]:
    """Read the families of a layer, by their ids, once their transformations are compared."""
    by_id = {family.id: family for family in load_record(path, FamiliesFile).families}
    with reading(path):
        return {family.id: by_id[family.id] for entry in of for family in entry.result.families}


def _read_examples(
    path: Path, geometries: dict[str, LayerGeometry]
) -> tuple[dict[str, Examples], int, list[ImageFailure]]:
    """Read the strongest stimuli of all layers of the survey."""
    found, n_done, failures = load_examples(path)
    with reading(path):
        sizes = {layer: own.n_units for layer, own in found.items()}
        wanted = {layer: geometry.n_channels for layer, geometry in geometries.items()}
        if sizes != wanted:
            raise ValueError(f"it has units of {sizes}, expected {wanted}")
    return found, n_done, failures
