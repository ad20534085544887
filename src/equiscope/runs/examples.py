"""The strongest stimuli of every unit in a run's folder: ``examples.npz``, kept after each shard of the images."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.files import write_atomically
from equiscope.foundations.records import Archive, reading
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.stimuli import ImageFailure

__all__ = ["load_examples", "save_examples"]


def save_examples(
    path: Path, examples: dict[str, Examples], n_done: int, failures: list[ImageFailure]
) -> None:
    """Store the examples of all layers after the first ``n_done`` images, and the images that failed so far.

    Examples
    --------
    After 40 images, of which one could not be read.

    >>> failures = [ImageFailure("cat.jpg", "is no image")]
    >>> save_examples(Path("examples.npz"), {"conv1": empty_examples("conv1", 2, 3)}, 40, failures)
    >>> Path("examples.npz").exists()
    True
    """
    arrays: dict[str, NDArray[Any]] = {
        "n_done": np.array(n_done),
        "failures": np.array([[failure.name, failure.reason] for failure in failures], dtype=np.str_),
        "layers": np.array(list(examples), dtype=np.str_),
    }
    for index, result in enumerate(examples.values()):
        for part in fields(Examples):
            arrays[f"{index}:{part.name}"] = np.asarray(getattr(result, part.name))
    write_atomically(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]


def load_examples(path: Path) -> tuple[dict[str, Examples], int, list[ImageFailure]]:
    """Read back what ``save_examples`` wrote.

    Raises
    ------
    DamagedFileError
        If the file is not there, or is damaged.

    Examples
    --------
    >>> save_examples(Path("stored.npz"), {"conv1": empty_examples("conv1", 2, 3)}, 40, [])
    >>> examples, n_done, failures = load_examples(Path("stored.npz"))
    >>> examples["conv1"].n_units, n_done, failures
    (2, 40, [])
    """
    with Archive(path) as stored, reading(path):
        examples = {}
        for index, layer in enumerate(stored["layers"].tolist()):
            arrays: dict[str, Any] = {part.name: stored[f"{index}:{part.name}"] for part in fields(Examples)}
            arrays |= {"layer": str(layer), "n_positions": int(arrays["n_positions"])}
            examples[str(layer)] = own = Examples(**arrays)
            _check_shapes(own)
        failures = [
            ImageFailure(str(name), str(reason)) for name, reason in stored["failures"].reshape(-1, 2)
        ]
        return examples, int(stored["n_done"]), failures


def _check_shapes(found: Examples) -> None:
    """Check that all arrays are of as many units and stimuli, and of the types that the contract says."""
    wanted = empty_examples(found.layer, found.n_units, found.value.shape[2])
    for part in fields(Examples):
        own, right = np.asarray(getattr(found, part.name)), np.asarray(getattr(wanted, part.name))
        if part.name != "layer" and (own.shape, own.dtype.kind) != (right.shape, right.dtype.kind):
            raise ValueError(
                f"{part.name} of {found.layer} has shape {own.shape} and type {own.dtype}, expected {right.shape} and "
                f"{right.dtype}"
            )
