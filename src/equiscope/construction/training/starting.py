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
from equiscope.foundations.options import DEFAULTS, Options
from equiscope.foundations.received import refuse_links

__all__ = ["Wish", "train_network"]


@dataclass(frozen=True)
class Wish:
    """What is to be trained, before the images are known.

    Attributes
    ----------
    network
        Its description.
    recipe
        Hyperparameters.
    match, reference
        The network is resized to the budget of the reference, if there is one, as `match_budget` does it.
    """

    network: Description
    recipe: Recipe
    match: str
    reference: Description | None


def train_network(
    wish: Wish, data: str | Path, out: Path, *, checkpoint_every: int = 500, options: Options = DEFAULTS
) -> TrainingRun:
    """Train a network that is described; what everything means is said by `equiscope.train`.

    Raises
    ------
    EquiscopeError
        If something cannot be used, the folder is of another training, or the loss or a weight is not finite.
    KeyboardInterrupt
        After SIGINT or SIGTERM, once a checkpoint is written.

    Examples
    --------
    Every tenth image of a class is left out of the training, and classified at its end.

    >>> import itertools
    >>> from PIL import Image
    >>> from equiscope.construction.equivariant import Fields
    >>> from equiscope.construction.training.descriptions import Convolution
    >>> for colour, index in itertools.product(("blue", "red"), range(10)):
    ...     Path("colours", colour).mkdir(parents=True, exist_ok=True)
    ...     Image.new("RGB", (32, 32), colour).save(Path("colours", colour, f"{index}.png"))
    >>> small = Description("small", (Convolution("conv1", Fields("C4", plain=4), kernel_px=3),))
    >>> wish = Wish(small, Recipe(epochs=10, batch=6, crop_px=24, components=0), "widths", None)
    >>> train_network(wish, "colours", Path("my-training")).top1
    1.0
    """
    keep_large_buffers()
    checkpoint_every = limits.STEPS_BETWEEN.check("checkpoint_every", checkpoint_every)
    pace = Pace(checkpoint_every, options.n_workers, options.use_graphs)
    with join_processes(options.device) as processes:
        plan = _settle(wish, data, options, processes)
        finished = _check_folder(out, plan.settings)
        if finished is not None:
            return finished
        training = Training(out, plan, processes, pace, _manifest(plan, wish, options.command))
        with stop_requests(processes.n == 1) as stop:
            return training.run(options.progress, stop)


def _settle(wish: Wish, data: str | Path, options: Options, processes: Processes) -> Plan:
    """Open the images, resize the network, and fill in what the recipe leaves open."""
    recipe, description = wish.recipe, wish.network
    side_px = _side_px(recipe, description, wish.reference)
    images = open_labelled(data, side_px)
    if wish.reference is not None:
        description = match_budget(
            description, wish.reference, wish.match, recipe.crop_px, len(images.classes)
        )
    if recipe.mean is None:
        mean, sd = images.moments()
        recipe = replace(recipe, mean=mean, sd=sd, side_px=side_px)
    dtype = choose_precision(options.precision, processes.device)
    settings = {
        "network": description.document(),
        "recipe": asdict(replace(recipe, side_px=side_px)),
        "data": images.fingerprint,
        "seed": options.seed,
        "precision": str(dtype).removeprefix("torch."),
        "device": processes.device.type,
        "n_processes": processes.n,
    }
    return Plan(description, images, recipe, options.seed, dtype, json.loads(json.dumps(settings)))


def _manifest(plan: Plan, wish: Wish, command: str) -> dict[str, Any]:
    """Say what the record holds from the beginning on."""
    recipe, n_classes = plan.recipe, len(plan.images.classes)
    return {
        "schema_version": SCHEMA_VERSION,
        "is_complete": False,
        "command": command,
        "versions": _versions(),
        "settings": plan.settings,
        "counts": asdict(count(plan.description, recipe.crop_px, n_classes)),
        "reference": _reference(wish.reference, wish.match, recipe, n_classes),
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
