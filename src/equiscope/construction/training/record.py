"""What a training leaves in its folder, and accuracies over several trainings.

``training.json`` holds the settings, the versions, the curve and the result. `summarise` puts trainings together that
differ in their seed alone.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from scipy.stats import t as student

from equiscope.construction.training.checkpoint import read_checkpoint
from equiscope.construction.training.descriptions import Description
from equiscope.construction.training.network import DesignedNetwork
from equiscope.construction.training.parsing import parse_description
from equiscope.construction.training.recipe import whiten_like
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import shown_command
from equiscope.foundations.records import read_record, reading

__all__ = [
    "SCHEMA_VERSION",
    "Accuracy",
    "Summary",
    "TrainingRun",
    "load_training",
    "read_manifest",
    "summarise",
]

SCHEMA_VERSION = 1
_LEVEL = 0.95


@dataclass(frozen=True)
class TrainingRun:
    """A finished training, as its folder holds it.

    Attributes
    ----------
    folder
        Where it lies.
    manifest
        Contents of ``training.json``.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def description(self) -> Description:
        """The network's description."""
        return parse_description(self.manifest["settings"]["network"])

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.manifest["settings"]["seed"])

    @property
    def top1(self) -> float:
        """Share of the validation images whose class is the likeliest, of the exported network."""
        return float(self.manifest["result"]["top1"])

    @property
    def model_file(self) -> Path:
        """The exported network, which `equiscope.load_model` and ``equiscope survey`` take."""
        return self.folder / "model.safetensors"

    def load_network(self) -> DesignedNetwork:
        """Load the network as it was trained, ties and all, in evaluation mode."""
        network = DesignedNetwork(self.description, len(self.manifest["data"]["classes"]))
        weights = read_checkpoint(self.folder / "checkpoint.pt")["network"]
        whiten_like(network, weights)
        network.load_state_dict(weights)
        return network.eval()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read ``training.json``.

    Raises
    ------
    EquiscopeError
        If it is not there, is not JSON, or is of a newer schema.

    Examples
    --------
    >>> network = {"name": "small", "layers": [{"name": "conv1", "kernel_px": 3, "plain": 8}]}
    >>> begun = {"schema_version": 1, "is_complete": False, "command": None, "counts": {}, "step": 5, "n_steps": 9}
    >>> begun |= {"seconds": 2.0, "settings": {"network": network, "seed": 0}, "data": {"classes": [], "failures": []}}
    >>> _ = Path("training.json").write_text(json.dumps(begun))
    >>> read_manifest(Path("."))["step"]
    5
    """
    path = folder / "training.json"
    if not path.exists():
        raise EquiscopeError(
            f"{folder} holds no training.json: expected the folder of a training, as `equiscope train --out` makes it"
        )
    with reading(path, "cannot be read as the record of a training"):
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["schema_version"]
        if version == SCHEMA_VERSION:
            read_record(_Finished if document.get("is_complete") else _Begun, document)
    if version != SCHEMA_VERSION:
        raise EquiscopeError(
            f"{path} has schema version {version!r}, this equiscope reads trainings of version {SCHEMA_VERSION}: "
            "update equiscope"
        )
    return dict(document)


class _Settings(TypedDict):
    network: dict[str, Any]
    seed: int


class _Data(TypedDict):
    classes: list[str]
    failures: list[dict[str, str]]


class _Begun(TypedDict):
    """What ``training.json`` holds from its first checkpoint on, as far as it is read."""

    is_complete: bool
    command: str | None
    settings: _Settings
    counts: dict[str, Any]
    data: _Data
    step: int
    n_steps: int
    seconds: float


class _Result(TypedDict):
    top1: float
    low: float
    high: float
    n_images: int


class _Finished(_Begun):
    """What it holds of a finished training."""

    result: _Result


def load_training(folder: str | Path) -> TrainingRun:
    """Open the folder of a finished training.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a finished training, or of a newer schema.

    Examples
    --------
    >>> network = {"name": "small", "layers": [{"name": "conv1", "kernel_px": 3, "plain": 8}]}
    >>> begun = {"schema_version": 1, "is_complete": False, "command": None, "counts": {}, "step": 5, "n_steps": 9}
    >>> begun |= {"seconds": 2.0, "settings": {"network": network, "seed": 0}, "data": {"classes": [], "failures": []}}
    >>> result = {"top1": 0.6, "low": 0.5, "high": 0.7, "n_images": 100}
    >>> _ = Path("training.json").write_text(json.dumps(begun | {"is_complete": True, "result": result}))
    >>> load_training(".").top1
    0.6
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if not manifest["is_complete"]:
        raise EquiscopeError(
            f"the training in {folder} is not finished (step {manifest['step']} of {manifest['n_steps']}): give the "
            f"same command again and it goes on ({shown_command(manifest['command'])})"
        )
    return TrainingRun(folder, manifest)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one training.

    Attributes
    ----------
    seed
        Its seed.
    top1
        Share of validation images.
    low, high
        Wilson's 95 % interval over validation images: what another set of so many images might give.
    n_images
        Number of validation images.
    """

    seed: int
    top1: float
    low: float
    high: float
    n_images: int


@dataclass(frozen=True)
class Summary:
    """Accuracy over trainings that differ in their seed.

    Attributes
    ----------
    name
        Of the network.
    mean
        Mean top-1 accuracy over seeds.
    low, high
        Its 95 % interval by Student's t over seeds: what other seeds might give on the same images. NaN for one seed.
        Not cut at 0 and 1.
    runs
        Each training, by rising seed.
    """

    name: str
    mean: float
    low: float
    high: float
    runs: tuple[Accuracy, ...]


def summarise(runs: Iterable[TrainingRun | str | Path]) -> Summary:
    """Summarise the accuracy of trainings that differ in nothing but their seed.

    Parameters
    ----------
    runs
        Finished trainings, or their folders.

    Raises
    ------
    EquiscopeError
        If there are none, one is not finished, two have one seed, or they differ in more than the seed.

    Examples
    --------
    >>> network = {"name": "small", "layers": [{"name": "conv1", "kernel_px": 3, "plain": 8}]}
    >>> def trained(seed, top1):
    ...     result = {"top1": top1, "low": 0.5, "high": 0.7, "n_images": 100}
    ...     return TrainingRun(Path(f"{seed}"), {"settings": {"network": network, "seed": seed}, "result": result})
    >>> summary = summarise([trained(0, 0.58), trained(1, 0.62)])
    >>> round(summary.mean, 3)
    0.6
    """
    opened = [run if isinstance(run, TrainingRun) else load_training(run) for run in runs]
    if not opened:
        raise EquiscopeError("no training was given to summarise: give the folders of one or more")
    opened.sort(key=lambda run: run.seed)
    first = opened[0]
    for one, other in itertools.pairwise(opened):
        if one.seed == other.seed:
            raise EquiscopeError(
                f"{one.folder} and {other.folder} have the same seed, {one.seed}: they are no two draws"
            )
        different = _differences(first.manifest["settings"], other.manifest["settings"])
        if different:
            raise EquiscopeError(
                f"{first.folder} and {other.folder} differ in {', '.join(different)} and not in the seed alone: "
                "summarise each by itself"
            )
    accuracies = tuple(map(_accuracy, opened))
    mean, low, high = _mean_interval([accuracy.top1 for accuracy in accuracies])
    return Summary(first.description.name, mean, low, high, accuracies)


def _accuracy(run: TrainingRun) -> Accuracy:
    result = run.manifest["result"]
    return Accuracy(run.seed, run.top1, float(result["low"]), float(result["high"]), int(result["n_images"]))


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    # Where a training ran draws nothing.
    return [key for key in one if key not in ("seed", "device") and one[key] != other.get(key)]


def _mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and its interval by Student's t."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(student.ppf((1 + _LEVEL) / 2, len(values) - 1)) * error
    return mean, mean - reach, mean + reach
