"""The main job: from a network and images to verified families and a report, resumable at any point."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import equiscope
from equiscope.allocator import keep_large_buffers
from equiscope.errors import EquiscopeError
from equiscope.examples import Examples, collect_examples, empty_examples, merge_examples, split_halves
from equiscope.families import LayerFamilies, NullSummary, find_families, joint_tuning
from equiscope.groups import CyclicGroup
from equiscope.models import Model, load_model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.report.document import build_document
from equiscope.report.page import render_page
from equiscope.responses import build_bank, measure_responses, not_finite, open_responses
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
    read_units,
    save_examples,
    units_document,
    write_atomically,
    write_json,
)
from equiscope.synchronisation import MIN_SCORE

__all__ = ["Progress", "survey"]

# Opens one stage: given its name and number of steps, a context that yields a function to call with steps done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

# Images between two checkpoints of the pass: about three seconds of GoogLeNet on two cores.
_SHARD = 128
_SIZE_SAMPLE = 32
# Candidates a unit should have for each stimulus that it keeps, before several come from one image.
_IMAGES_PER_EXAMPLE = 4
_MAX_PER_IMAGE = 8


def _silent(_stage: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda _steps: None)


def survey(
    model: Model | nn.Module | str,
    images: ImageSet | str | Path | None = None,
    layers: Sequence[str] | None = None,
    *,
    out: str | Path,
    angles: int = 16,
    examples_per_unit: int = 8,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCORE,
    n_null: int = 20,
    device: str = "auto",
    seed: int = 0,
    command: str | None = None,
    progress: Progress = _silent,
) -> Run:
    """Find the rotation families of a network, verify them on held-out images and write a report.

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
    identity = {
        "model": {"name": model.name, "weights_sha256": model.weights_sha256()},
        "images": {"name": images.name, "n_images": len(images), "fingerprint": images.fingerprint},
        "settings": {
            "layers": chosen,
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
    target = _resolve_device(device)
    try:
        model.module.to(target)
        _Survey(model, images, folder, manifest, progress).run()
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


def _resolve_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise EquiscopeError(
            f"device {device!r} cannot be used here ({str(error).splitlines()[0]}): expected auto, cpu or cuda"
        ) from error
    return chosen


def _open_manifest(folder: Path, identity: dict[str, Any], command: str | None) -> dict[str, Any]:
    """Open the manifest of this run: a new one, or that of the interrupted run that goes on."""
    path = folder / "run.json"
    if path.exists():
        manifest = read_json(path)
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
        self, model: Model, images: ImageSet, folder: Path, manifest: dict[str, Any], progress: Progress
    ) -> None:
        self.model, self.images, self.folder, self.manifest = model, images, folder, manifest
        self.progress = progress
        self.settings = manifest["settings"]
        self.group = CyclicGroup(self.settings["angles"])
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
        results: list[LayerFamilies] = []
        tunings: dict[str, NDArray[np.float64]] = {}
        for layer, geometry in geometries.items():
            result, tuning = self._layer(layer, geometry, examples[layer], notes[layer])
            results.append(result)
            tunings |= tuning
        families = tuple(family for result in results for family in result.families)
        units = tuple(unit for result in results for unit in result.units)
        write_json(self.folder / "families.json", families_document(families))
        write_json(self.folder / "units.json", units_document(units))
        with self._timed("report"), self.progress("Drawing the report", len(families)) as on_step:
            self.manifest |= {
                "device": str(self.model.device),
                "images": self.manifest["images"] | {"failures": [asdict(f) for f in self._failures()]},
                "geometry": [asdict(geometry) for geometry in geometries.values()],
                "layers": [
                    {
                        "layer": r.layer,
                        "null": asdict(r.null),
                        "n_refused": r.n_refused,
                        "notes": list(r.notes),
                    }
                    for r in results
                ],
            }
            document = build_document(
                self.manifest,
                self.images,
                geometries,
                examples,
                results,
                tunings,
                self.group,
                self.whole_px,
                on_step,
            )
            page = render_page(document)
            write_atomically(self.folder / "index.html", lambda stream: stream.write(page.encode()))
        self.manifest["is_complete"] = True
        write_json(self.folder / "run.json", self.manifest)

    def _geometries(self) -> tuple[dict[str, LayerGeometry], dict[str, list[str]]]:
        """Geometry of each layer, made global where no image is as large as its receptive field."""
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
        with self.progress("Finding receptive fields", 1) as on_step:
            geometries = find_geometry(self.model, self.settings["layers"])
            on_step(1)
        for layer, geometry in geometries.items():
            notes[layer] = []
            if not geometry.is_global:
                problem = None
                try:
                    geometry.position_in_patch()
                except EquiscopeError as error:
                    problem = str(error)
                if geometry.patch_px > max(sides):
                    problem = (
                        f"its receptive field needs {geometry.patch_px} px stimuli and the images have "
                        f"{max(sides)} px at most"
                    )
                if problem is None:
                    continue
                notes[layer].append(problem)
                geometries[layer] = replace(geometry, is_global=True)
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
        with self.progress("Showing images", len(self.images)) as on_images:
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

    def _layer(
        self, layer: str, geometry: LayerGeometry, examples: Examples, notes: list[str]
    ) -> tuple[LayerFamilies, dict[str, NDArray[np.float64]]]:
        """Responses, families and joint tuning curves of one layer."""
        path = layer_path(self.folder, "layers", layer, ".json")
        if path.exists():
            return _read_layer(read_json(path))
        bank = build_bank(examples, self.photographs)
        n_images = int(examples.n_images.sum())
        if n_images < len(self.images) - len(self._failures()):
            notes = [
                *notes,
                f"{n_images} of {len(self.images)} images were large enough for its receptive field",
            ]
        responses = open_responses(
            layer_path(self.folder, "responses", layer, ".zarr"), bank, self.group, examples.n_units
        )
        with self._timed("responses"), self.progress(f"Turning stimuli of {layer}", len(bank)) as on_stimuli:
            measure_responses(
                self.model, self.images, geometry, responses, whole_px=self.whole_px, on_stimuli=on_stimuli
            )
        n_null = self.settings["n_null"]
        with self._timed("families"), self.progress(f"Finding families of {layer}", n_null + 2) as on_step:
            result = find_families(
                responses,
                examples,
                seed=self.settings["seed"],
                false_discovery_rate=self.settings["false_discovery_rate"],
                min_score=self.settings["min_score"],
                n_null=n_null,
                on_step=on_step,
            )
            tunings = {family.id: joint_tuning(responses, examples, family) for family in result.families}
        result = replace(result, notes=(*notes, *result.notes))
        document = families_document(result.families) | units_document(result.units)
        document |= {"layer": layer, "null": asdict(result.null), "n_refused": result.n_refused}
        document |= {"notes": list(result.notes), "tuning": tunings}
        write_json(path, document)
        return result, tunings


def _read_layer(document: dict[str, Any]) -> tuple[LayerFamilies, dict[str, NDArray[np.float64]]]:
    null: dict[str, Any] = {k: np.nan if v is None else v for k, v in document["null"].items()}
    result = LayerFamilies(
        document["layer"],
        read_families(document),
        read_units(document),
        NullSummary(**null),
        document["n_refused"],
        tuple(document["notes"]),
    )
    return result, {name: np.array(rows, dtype=float) for name, rows in document["tuning"].items()}
