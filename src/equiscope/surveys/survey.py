"""The main job: from a network and images to verified families and a report, resumable at any point."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import equiscope
from equiscope.foundations.devices import keep_large_buffers
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import is_unused
from equiscope.foundations.options import Options
from equiscope.foundations.progress import Stages
from equiscope.models import Model
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.manifest import read_manifest
from equiscope.runs.run import Run, load_run
from equiscope.runs.writing import create_json
from equiscope.stimuli import ImageSet
from equiscope.surveys.asked import ask_survey
from equiscope.surveys.pipeline import Pipeline
from equiscope.surveys.results import result_paths
from equiscope.surveys.timings import Timings

__all__ = ["survey_network"]

# Receptive fields, the pass over the images, verdicts, the tuning of all units, the report.
_N_OTHER_STAGES = 5
# The embedded network has 30; from twice that on it is worth saying how a survey gets smaller.
_MANY_STAGES = 64


def survey_network(
    model: Model,
    images: ImageSet,
    layers: Sequence[str] | None = None,
    *,
    transformations: Sequence[str] | None = None,
    out: str | Path,
    angles: int | None = None,
    examples_per_unit: int | None = None,
    options: Options,
) -> Run:
    """Survey a network that is open on images that are open; what everything means is said by `equiscope.survey`.

    Examples
    --------
    >>> from equiscope.foundations.options import DEFAULTS
    >>> from equiscope.models import load_model
    >>> from equiscope.stimuli import open_images
    >>> asked = {"transformations": ["hue"], "out": "hues", "options": DEFAULTS}
    >>> run = survey_network(load_model("mini"), open_images(), ["conv2d0"], **asked)
    >>> run.families[0].id, run.manifest["images"]["n_images"]
    ('conv2d0-hue-1', 39)
    """
    keep_large_buffers()
    asked = ask_survey(model, images, layers, transformations, angles, examples_per_unit, options)
    folder, chosen, wanted = Path(out), asked.settings["layers"], asked.settings["transformations"]
    identity = _identify(model, asked.images, asked.settings)
    manifest = _open_manifest(folder, identity, options.command, asked.look)
    n_stages = _count_stages(folder, chosen, wanted)
    options.on_plan(_word_plan(len(chosen), len(wanted), n_stages))
    home = model.device
    try:
        model.module.to(asked.device)
        timings = Timings(folder / "seconds.json", manifest.get("seconds"))
        stages = Stages(timings.noting(options.progress), n_stages)
        with model.evaluating():
            Pipeline(
                model, asked.images, folder, manifest, stages, timings, asked.precision, options.on_plan
            ).run()
    finally:
        model.module.to(home)
    return load_run(folder)


def _identify(model: Model, images: ImageSet, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the parts of the manifest by which a run is known again."""
    return {
        "model": {"name": model.name, "weights_sha256": model.weights_sha256()},
        "images": {"name": images.name, "n_images": len(images), "fingerprint": images.fingerprint}
        # A run that was begun before copies were told apart has other halves.
        | ({"n_copies": images.n_copies} if images.n_copies else {}),
        "settings": settings,
    }


def _count_stages(folder: Path, layers: Sequence[str], transformations: Sequence[str]) -> int:
    """Count the stages that are still to do."""
    missing = [path for path in result_paths(folder, layers, transformations) if not path.exists()]
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


def _open_manifest(folder: Path, identity: dict[str, Any], command: str, look: str = "") -> dict[str, Any]:
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
        create_json(path, _begin_manifest(identity, command) | ({"look": look} if look else {}))
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


def _begin_manifest(identity: dict[str, Any], command: str) -> dict[str, Any]:
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
