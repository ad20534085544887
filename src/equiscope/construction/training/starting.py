"""The main job of this package: from a description and labelled images to a trained and exported network.

On one CPU with one number of threads an interrupted training ends bit for bit as an uninterrupted one. Several
processes (under torchrun each takes one GPU, or all share the CPU) normalise each by its own images, so their number
matters to the result. Weights are float32; forward passes in training may be bfloat16. CUDA graphs make small networks
several times faster and take some memory. A single process that is interrupted writes a checkpoint first.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import equiscope
from equiscope.construction.training.architectures import describe_network
from equiscope.construction.training.datasets import LabelledImages, open_labelled
from equiscope.construction.training.descriptions import Description
from equiscope.construction.training.loop import Pace, Plan, Training
from equiscope.construction.training.matching import count, match_budget
from equiscope.construction.training.processes import Processes, join_processes
from equiscope.construction.training.recipe import Recipe
from equiscope.construction.training.record import SCHEMA_VERSION, TrainingRun, load_training, read_manifest
from equiscope.construction.training.stopping import stop_requests
from equiscope.foundations import limits
from equiscope.foundations.devices import choose_precision, keep_large_buffers
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import is_unused
from equiscope.foundations.progress import Progress, silent
from equiscope.foundations.received import refuse_links

__all__ = ["train"]


def train(
    network: Description | str | Path,
    data: str | Path,
    out: str | Path,
    *,
    recipe: Recipe | None = None,
    match: str = "widths",
    reference: Description | str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    n_workers: int = 1,
    checkpoint_every: int = 500,
    use_graphs: bool = True,
    command: str = "",
    progress: Progress | None = None,
) -> TrainingRun:
    """Train a network; an interrupted training goes on where it was when it is called again.

    Parameters
    ----------
    network, data
        A description, or what `describe_network` takes; and labelled images, what `open_labelled` takes.
    out, recipe
        Folder of the training; hyperparameters, those of the embedded network by default.
    match, reference
        The network is resized to the budget of the reference, if there is one, as `match_budget` does it.
    seed
        Of the start, the order of the images and their augmentation.
    device, precision
        ``auto``, ``cpu`` or ``cuda``; ``auto``, ``float32`` or ``bfloat16`` for forward passes in training.
    n_workers, checkpoint_every, use_graphs
        Threads that decode ahead; steps between checkpoints, beside each epoch's; whether passes are CUDA graphs.
    command, progress
        What the message of an unfinished training says; what makes a progress bar.

    Raises
    ------
    EquiscopeError
        If something cannot be used, the folder is of another training, or the loss or a weight is not finite.
    KeyboardInterrupt
        After SIGINT or SIGTERM, once a checkpoint is written.
    """
    keep_large_buffers()
    pace = Pace(
        limits.STEPS_BETWEEN.check("checkpoint_every", checkpoint_every),
        limits.THREADS.check("n_workers", n_workers),
        use_graphs,
    )
    seed = limits.SEED.check("seed", seed)
    own, against = describe_network(network), None if reference is None else describe_network(reference)
    wish = _Wish(own, against, match, recipe or Recipe(), seed, precision)
    with join_processes(device) as processes:
        plan = _settle(wish, data, processes)
        finished = _check_folder(Path(out), plan.settings)
        if finished is not None:
            return finished
        training = Training(Path(out), plan, processes, pace, _manifest(plan, wish, command))
        with stop_requests(processes.n == 1) as stop:
            return training.run(progress or silent, stop)


@dataclass(frozen=True)
class _Wish:
    """What is to be trained, before the images are known."""

    network: Description
    against: Description | None
    match: str
    recipe: Recipe
    seed: int
    precision: str


def _settle(wish: _Wish, data: str | Path, processes: Processes) -> Plan:
    """Open the images, resize the network, and fill in what the recipe leaves open."""
    recipe, description = wish.recipe, wish.network
    side_px = _side_px(recipe, description, wish.against)
    images = open_labelled(data, side_px)
    if wish.against is not None:
        description = match_budget(description, wish.against, wish.match, recipe.crop_px, len(images.classes))
    if recipe.mean is None:
        mean, sd = images.moments()
        recipe = replace(recipe, mean=mean, sd=sd, side_px=side_px)
    dtype = choose_precision(wish.precision, processes.device)
    settings = {
        "network": description.document(),
        "recipe": asdict(replace(recipe, side_px=side_px)),
        "data": images.fingerprint,
        "seed": wish.seed,
        "precision": str(dtype).removeprefix("torch."),
        "device": processes.device.type,
        "n_processes": processes.n,
    }
    return Plan(description, images, recipe, wish.seed, dtype, json.loads(json.dumps(settings)))


def _manifest(plan: Plan, wish: _Wish, command: str) -> dict[str, Any]:
    """Say what the record holds from the beginning on."""
    recipe, n_classes = plan.recipe, len(plan.images.classes)
    return {
        "schema_version": SCHEMA_VERSION,
        "is_complete": False,
        "command": command,
        "versions": _versions(),
        "settings": plan.settings,
        "counts": asdict(count(plan.description, recipe.crop_px, n_classes)),
        "reference": _reference(wish.against, wish.match, recipe, n_classes),
        "data": _data_document(plan.images),
        "n_threads": torch.get_num_threads(),
    }


def _side_px(recipe: Recipe, *networks: Description | None) -> int:
    """Side to which images are resized: what the recipe says, and no less than the largest crop of either twin."""
    wanted = recipe.side_px if recipe.side_px is not None else round(recipe.crop_px * 8 / 7)
    crop_px = max(network.fit_side(recipe.crop_px) for network in networks if network is not None)
    if recipe.side_px is not None and wanted < crop_px:
        raise EquiscopeError(
            f"images of {wanted} px are smaller than crops of {crop_px} px: give a larger side_px or a smaller crop_px"
        )
    return max(wanted, crop_px)


def _check_folder(folder: Path, settings: dict[str, Any]) -> TrainingRun | None:
    """Give the training if it is finished; refuse a folder of something else."""
    if is_unused(folder):
        return None
    if not (folder / "training.json").is_file():
        raise EquiscopeError(
            f"{folder} is there already and is not the folder of a training: give another --out"
        )
    refuse_links(folder)
    manifest = read_manifest(folder)
    stored = manifest["settings"]
    different = [key for key, value in settings.items() if stored.get(key) != value]
    if different:
        raise EquiscopeError(
            f"{folder} holds another training, which differs in {', '.join(different)}: give another --out, or delete "
            "the folder"
        )
    return load_training(folder) if manifest["is_complete"] else None


def _versions() -> dict[str, str]:
    return {
        "equiscope": equiscope.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _reference(
    against: Description | None, match: str, recipe: Recipe, n_classes: int
) -> dict[str, Any] | None:
    if against is None:
        return None
    counts = asdict(count(against, recipe.crop_px, n_classes))
    return {"name": against.name, "match": match, "counts": counts}


def _data_document(images: LabelledImages) -> dict[str, Any]:
    return {
        "name": images.name,
        "classes": list(images.classes),
        "n_train": len(images.train),
        "n_val": len(images.val),
        "notes": images.notes,
        "failures": [],
    }
