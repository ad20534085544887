"""`equiscope.train`: train a network of equivariant, invariant and plain units."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from equiscope.construction.training import (
    Description,
    Recipe,
    TrainingRun,
    Wish,
    describe_network,
    train_network,
)
from equiscope.foundations.options import TrainOptions, take_options
from equiscope.foundations.received import folder_name

__all__ = ["train"]


def train(
    network: Description | str | Path,
    data: str | Path,
    out: str | Path | None = None,
    *,
    recipe: Recipe | None = None,
    match: str = "widths",
    reference: Description | str | Path | None = None,
    checkpoint_every: int = 500,
    **options: Unpack[TrainOptions],
) -> TrainingRun:
    """Train a network, and export it as a plain one that can be surveyed.

    Parameters
    ----------
    network
        A description, ``plain``, ``half``, ``inceptionv1``, ``inceptionv1-half``, a FILE.json or FILE.toml that
        describes a network, or ``twin:`` before one of these for its plain twin.
    data
        Labelled images: folder of class folders, CIFAR's python folder, or ``.npz`` of JPEG files.
    out
        Folder of the training, by default ``equiscope-runs/trained/NETWORK-SEED``. An interrupted training goes on when
        it is called again.
    recipe
        Hyperparameters; those of the embedded network by default.
    match, reference
        The network is resized to the budget of the reference, by ``widths``, ``parameters`` or ``compute``. Without a
        reference it stays as it is.
    checkpoint_every
        Steps between checkpoints.
    **options
        ``seed`` (of start, order and augmentation, 0), ``device`` (under torchrun a GPU a process), ``precision`` (for
        passes in training), ``n_workers`` (threads that decode and crop ahead, 1), ``use_graphs`` (on one GPU, record
        passes as CUDA graphs), ``command`` (what to record as the command) and ``progress``.

    Returns
    -------
    TrainingRun

    Raises
    ------
    EquiscopeError
        If something given cannot be used, the folder is of another training, or the loss or a weight is not finite.
    KeyboardInterrupt
        After SIGINT or SIGTERM, once a checkpoint is written.

    Examples
    --------
    >>> import equiscope
    >>> from PIL import Image
    >>> for folder in ("train/red", "train/green", "val/red", "val/green"):
    ...     Path("data", folder).mkdir(parents=True)
    ...     Image.new("RGB", (32, 32), Path(folder).name).save(f"data/{folder}/1.png")
    >>> equiscope.train("plain", "data", recipe=Recipe(epochs=12, batch=2, components=0, crop_px=24)).top1
    1.0
    """
    chosen = take_options(train, TrainOptions, options)
    wish = _wish(network, recipe or Recipe(), match, reference)
    folder = _usual_folder(wish.network, chosen.seed) if out is None else Path(out)
    return train_network(wish, data, folder, checkpoint_every=checkpoint_every, options=chosen)


def _wish(
    network: Description | str | Path, recipe: Recipe, match: str, reference: Description | str | Path | None
) -> Wish:
    against = None if reference is None else describe_network(reference)
    return Wish(describe_network(network), recipe, match, against)


def _usual_folder(network: Description, seed: int) -> Path:
    return Path("equiscope-runs/trained") / f"{folder_name(network.name)}-{seed}"
