"""The pass over all images: every unit's strongest stimuli and moments, kept shard by shard in ``examples.npz``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from equiscope.foundations.records import reading
from equiscope.measurement.examples import (
    Examples,
    collect_examples,
    empty_examples,
    merge_examples,
    split_halves,
)
from equiscope.measurement.responses import not_finite
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.examples import load_examples, save_examples
from equiscope.stimuli import ImageFailure, ImageSet

__all__ = ["ImagePass"]

T = TypeVar("T")

# Images between two checkpoints of the pass: about three seconds of GoogLeNet on two cores.
_SHARD = 128
# Candidates a unit should have for each stimulus that it keeps, before several come from one image.
_IMAGES_PER_EXAMPLE = 4
_MAX_PER_IMAGE = 8


class Keeps(Protocol):
    """What reads back what an earlier process left, or None where that must be made."""

    def __call__(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Read a file."""


class ImagePass:
    """The images of a survey, shown to its network."""

    def __init__(self, model: Model, images: ImageSet, folder: Path, settings: Mapping[str, Any]) -> None:
        self.model, self.images, self.folder, self.settings = model, images, folder, settings
        self._earlier: list[ImageFailure] = []

    def collect(
        self, geometries: dict[str, LayerGeometry], kept: Keeps, on_images: Callable[[int], None]
    ) -> dict[str, Examples]:
        """Show all images, or those that an interrupted pass had not shown.

        Parameters
        ----------
        geometries
            Of each layer.
        kept
            Reads back what an earlier process left.
        on_images
            Called with the number of images shown since the last call.
        """
        path = self.folder / "examples.npz"
        per_half = -(-self.settings["examples_per_unit"] // 2)
        found = {n: empty_examples(n, g.n_channels, per_half) for n, g in geometries.items()}
        n_done = 0
        earlier = kept(path, partial(_read_examples, geometries=geometries))
        if earlier is not None:
            found, n_done, self._earlier = earlier
        half = split_halves(self.images.groups, self.settings["seed"])
        smaller = int(np.bincount(half, minlength=2).min())
        per_image = int(np.clip(-(-_IMAGES_PER_EXAMPLE * per_half // max(smaller, 1)), 1, _MAX_PER_IMAGE))
        on_images(n_done)
        for start in range(n_done, len(self.images), _SHARD):
            shard = range(start, min(start + _SHARD, len(self.images)))
            part = collect_examples(
                self.model, self.images, geometries, half, per_half, indices=shard, per_image=per_image
            )
            found = {layer: merge_examples(found[layer], part[layer]) for layer in geometries}
            for layer, examples in found.items():
                if len(damaged := np.flatnonzero(~np.isfinite(examples.mean))):
                    raise not_finite(self.model, layer, damaged.tolist())
            save_examples(path, found, shard.stop, self.failures())
            on_images(len(shard))
        return found

    def failures(self) -> list[ImageFailure]:
        """Images that could not be used, also those found before an interruption."""
        by_name = {failure.name: failure for failure in (*self._earlier, *self.images.failures)}
        return [by_name[name] for name in sorted(by_name)]

    def note_small_images(self, examples: Mapping[str, Examples], notes: dict[str, list[str]]) -> None:
        """Note of each layer how many images were large enough, where some were not."""
        n_failed = len({failure.name for failure in self.failures()} & set(self.images.names))
        for layer, own in examples.items():
            n_images = int(own.n_images.sum())
            if n_images < len(self.images) - n_failed:
                said = f"{n_images} of {len(self.images)} images were large enough for its receptive field"
                notes[layer] = [*(note for note in notes[layer] if note != said), said]


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
