"""Labelled images to train on: an ``.npz`` of JPEG files, CIFAR's python folders, a folder of class folders."""

from __future__ import annotations

import hashlib
import math
import pickle
import threading
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiscope.construction.training.class_folders import read_class_folders
from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.decoding import DecodedImage, UndecodableError, decode_image, find_size
from equiscope.stimuli.sources import (
    Source,
    check_regular,
    note_assumptions,
    note_others,
    read_arrays,
    read_encoded,
    read_npz,
)

__all__ = ["LabelledImages", "Split", "open_labelled"]

# Decoded pixels that are kept; 40,000 images of 64 px take a quarter of it.
_CACHE_BYTES = 2 << 30
_FIRST_BYTES = 4096
Moments = tuple[float, float, float]
_EXPECTED = (
    "Expected a folder of class folders (or train and val with class folders in each), CIFAR's folder of python "
    "pickles, or an .npz with train_jpeg, train_offset, train_label and likewise val_"
)


@dataclass
class Split:
    """One part of a data set, decoded when it is asked for.

    Parameters
    ----------
    source
        Where the bytes are.
    indices
        The images of this part, in the source.
    labels
        Class of each, int64, shape (image,).
    side_px
        Images are resized so that their shorter side is this long.

    Attributes
    ----------
    failures
        Name and reason of each image that could not be decoded so far.
    assumptions
        Name of each image decoded so far whose range of values had to be assumed, and how.
    """

    source: Source
    indices: Sequence[int]
    labels: NDArray[np.int64]
    side_px: int
    failures: dict[str, str] = field(default_factory=dict)
    assumptions: dict[str, str] = field(default_factory=dict)
    _cache: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    _n_cached: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> NDArray[np.uint8] | None:
        """Decode one image; may be called from several threads.

        Returns
        -------
        array, shape (3, y, x), uint8, or None
            None if it cannot be decoded; the reason is then in ``failures``.
        """
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        place = int(self.indices[index])
        try:
            data = read_encoded(self.source, place)
            pixels, assumption = _decode(data, self.source.pixel_shape, self.side_px)
        except Exception as error:  # damaged bytes make Pillow's readers raise nearly any type
            reason = str(error) if isinstance(error, UndecodableError) else f"{type(error).__name__}: {error}"
            self.failures[self.source.names[place]] = reason
            return None
        if assumption is not None:
            self.assumptions[self.source.names[place]] = assumption
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        with self._lock:
            if self._n_cached + planes.nbytes <= _CACHE_BYTES:
                self._n_cached += planes.nbytes
                self._cache[index] = planes
        return planes


@dataclass(frozen=True)
class LabelledImages:
    """Training and validation images with their classes.

    Attributes
    ----------
    name
        Name of the file or folder.
    classes
        Names of the classes, by label.
    train, val
        The two parts.
    layout
        What was taken for a class and what for a split, a sentence.
    left_out
        Name and reason of each picture in the folder that is not read.
    others
        How many things in the folder are no pictures, by their ending.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    layout: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def notes(self) -> list[str]:
        """What the user should know of the set so far, a sentence each."""
        assumptions = {**self.train.assumptions, **self.val.assumptions}
        return [self.layout, *note_others(self.name, self.others), *note_assumptions(assumptions)]

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of classes, labels, ``side_px``, and names, sizes and first bytes of some images.

        Up to 1,000 of each part, evenly spaced, 4,096 bytes of each.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for split in (self.train, self.val):
            digest.update(f"{len(split)} {split.side_px}".encode())
            digest.update(split.labels.astype("<i8").tobytes())
            for index in np.linspace(0, len(split) - 1, min(len(split), 1000)).astype(int).tolist():
                place = int(split.indices[index])
                n_bytes = split.source.n_bytes(place)
                digest.update(f"{split.source.names[place]} {n_bytes}".encode("utf-8", "surrogateescape"))
                digest.update(split.source.read(place, 0, _FIRST_BYTES))
        return digest.hexdigest()

    def moments(self, n_images: int = 500) -> tuple[Moments, Moments]:
        """Mean and standard deviation of each channel over evenly spaced training images, in [0, 1]."""
        chosen = np.linspace(0, len(self.train) - 1, min(n_images, len(self.train))).astype(int).tolist()
        planes = [image.reshape(3, -1) for i in chosen if (image := self.train.load(i)) is not None]
        if not planes:
            raise EquiscopeError(
                f"none of {len(chosen)} images of {self.name} could be decoded, the first: "
                f"{next(iter(self.train.failures.items()))}"
            )
        pixels = np.concatenate(planes, axis=1).astype(np.float64) / 255
        mean, sd = pixels.mean(1).tolist(), np.maximum(pixels.std(1), 1e-3).tolist()
        return (mean[0], mean[1], mean[2]), (sd[0], sd[1], sd[2])


def _decode(data: bytes, pixel_shape: tuple[int, ...] | None, side_px: int) -> DecodedImage:
    """Decode an image and bring its shorter side to a length; shape (y, x, 3)."""
    longest = 1 << 16
    if pixel_shape is None and data:
        width, height = find_size(data)
        # So that a JPEG can be decoded at a fraction of its size.
        longest = math.ceil(2 * side_px * max(width, height) / min(width, height))
    pixels, assumption = decode_image(data, pixel_shape, longest)
    height, width = pixels.shape[:2]
    shortest = min(height, width)
    if shortest == side_px:
        return DecodedImage(pixels, assumption)
    size = (max(side_px, round(width * side_px / shortest)), max(side_px, round(height * side_px / shortest)))
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    return DecodedImage(resized, assumption)


def open_labelled(path: str | Path, side_px: int) -> LabelledImages:
    """Open labelled images.

    Parameters
    ----------
    path
        An ``.npz`` with ``train_jpeg``, ``train_offset``, ``train_label`` and the same for ``val_``, and class names in
        ``name`` or ``wnid``; a folder with CIFAR's python pickles (10 or 100 classes); or a folder of class folders,
        under ``train`` and ``val`` or by itself, when every tenth image of a class is held out.
    side_px
        Images are resized so that their shorter side is this long.

    Raises
    ------
    EquiscopeError
        If there are no such images, fewer than two classes, labels that no class has, or a class without images.

    Examples
    --------
    >>> for place in ("train/cat", "train/dog", "val/cat", "val/dog"):
    ...     Path(place).mkdir(parents=True)
    ...     _ = Path(place, "1.png").write_bytes(b"...")
    >>> opened = open_labelled(".", side_px=16)
    >>> opened.classes, opened.train.labels.tolist()
    (('cat', 'dog'), [0, 1])
    """
    path = Path(path)
    check_regular(path, _EXPECTED.removeprefix("Expected "))
    if path.is_dir():
        opened = _open_cifar(path, side_px) if _is_cifar(path) else _open_folders(path, side_px)
    elif path.is_file():
        opened = _open_archive(path, side_px)
    else:
        raise EquiscopeError(f"there is no file or folder {str(path)!r} to train on. {_EXPECTED}")
    n_classes = len(opened.classes)
    if n_classes < 2:
        raise EquiscopeError(
            f"{str(path)!r} has one class, {opened.classes[0]!r}: there is nothing to tell apart. {_EXPECTED}"
        )
    for split, name in ((opened.train, "training"), (opened.val, "validation")):
        if not len(split):
            raise EquiscopeError(f"{str(path)!r} has no {name} image. {_EXPECTED}")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= n_classes:
            raise EquiscopeError(
                f"the {name} labels of {str(path)!r} go from {low} to {high}, expected 0 to {n_classes - 1} for "
                f"{n_classes} classes: number the classes from 0"
            )
    counts = np.bincount(opened.train.labels, minlength=n_classes)
    if not counts.all():
        empty = opened.classes[int(counts.argmin())]
        raise EquiscopeError(
            f"class {empty!r} of {str(path)!r} has no training image: add some, or leave it out"
        )
    return opened


# --- .npz ----------------------------------------------------------------------------------------------------


def _open_archive(path: Path, side_px: int) -> LabelledImages:
    if not zipfile.is_zipfile(path):
        raise EquiscopeError(f"{str(path)!r} is no .npz archive. {_EXPECTED}")
    splits = {}
    with read_arrays(path) as stored:
        for split in ("train", "val"):
            key = f"{split}_label"
            if key not in stored:
                raise EquiscopeError(f"{str(path)!r} has no {key}, only {', '.join(stored)}. {_EXPECTED}")
            splits[split] = stored[key]
        names = next((stored[key] for key in ("name", "wnid") if key in stored), None)
    parts = {}
    for split, labels in splits.items():
        source = read_npz(path, split)
        if (
            labels.ndim != 1
            or not np.issubdtype(labels.dtype, np.integer)
            or len(labels) != len(source.names)
        ):
            raise EquiscopeError(
                f"{split}_label of {str(path)!r} is {labels.dtype} of shape {labels.shape}, expected one whole number "
                f"for each of {len(source.names)} images"
            )
        parts[split] = Split(source, range(len(labels)), labels.astype(np.int64), side_px)
    if names is None:
        names = np.arange(int(splits["train"].max()) + 1)
    classes = tuple(str(name) for name in names)
    layout = f"{len(classes)} classes; train_* was taken for training, val_* for validation"
    return LabelledImages(path.name, classes, parts["train"], parts["val"], layout)


# --- CIFAR ---------------------------------------------------------------------------------------------------


class _PixelSource:
    """Raw pixels of one size, shape (image, y, x, 3)."""

    def __init__(self, pixels: NDArray[np.uint8], names: list[str]) -> None:
        self.names = names
        self.pixel_shape: tuple[int, ...] | None = pixels.shape[1:]
        self._pixels = pixels

    def n_bytes(self, index: int) -> int:
        """See `equiscope.stimuli.sources.Source`."""
        return int(self._pixels[index].nbytes)

    def read(self, index: int, start: int, stop: int) -> bytes:
        """See `equiscope.stimuli.sources.Source`."""
        return bytes(self._pixels[index].tobytes()[start:stop])


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays, lists and texts, and nothing that could run code."""

    _allowed = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """Give what a pickle names, if it is part of an array."""
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module, name)


def _is_cifar(folder: Path) -> bool:
    return (folder / "data_batch_1").is_file() or (folder / "train").is_file()


def _open_cifar(folder: Path, side_px: int) -> LabelledImages:
    is_ten = (folder / "data_batch_1").is_file()
    label_key = "labels" if is_ten else "fine_labels"
    train = [f"data_batch_{i}" for i in range(1, 6)] if is_ten else ["train"]
    meta, names_key = ("batches.meta", "label_names") if is_ten else ("meta", "fine_label_names")
    splits = {}
    for split, files in (("train", train), ("val", ["test_batch" if is_ten else "test"])):
        batches = [_read_cifar(folder / file) for file in files]
        labels = np.concatenate([np.asarray(_entry(folder, batch, label_key)) for batch in batches])
        data = np.concatenate([np.asarray(_entry(folder, batch, "data")) for batch in batches])
        if data.ndim != 2 or data.shape[1] != 3072 or len(data) != len(labels):
            raise EquiscopeError(
                f"{split} images of {str(folder)!r} are of shape {data.shape} with {len(labels)} labels, expected "
                "3,072 bytes and a label for each"
            )
        pixels = np.ascontiguousarray(data.astype(np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        names = [f"{split}/{i:05d}" for i in range(len(pixels))]
        splits[split] = Split(
            _PixelSource(pixels, names), range(len(pixels)), labels.astype(np.int64), side_px
        )
    if (folder / meta).is_file():
        classes = [
            name.decode() if isinstance(name, bytes) else str(name)
            for name in _entry(folder, _read_cifar(folder / meta), names_key)
        ]
    else:
        classes = [str(label) for label in range(10 if is_ten else 100)]
    layout = f"{len(classes)} classes of CIFAR; its test images were taken for validation"
    return LabelledImages(folder.name, tuple(classes), splits["train"], splits["val"], layout)


def _read_cifar(path: Path) -> dict[Any, Any]:
    check_regular(path, "a batch of CIFAR's python version")
    try:
        with path.open("rb") as stream:
            batch = _ArrayUnpickler(stream, encoding="bytes").load()
    except FileNotFoundError:
        raise EquiscopeError(
            f"{str(path.parent)!r} has no {path.name}, as CIFAR's python version has: unpack the archive again"
        ) from None
    except Exception as error:  # a damaged pickle raises nearly any type
        raise EquiscopeError(
            f"cannot read {str(path)!r} ({type(error).__name__}: {error}): expected CIFAR's python version, with "
            "nothing but arrays and lists in it"
        ) from error
    return dict(batch)


def _entry(folder: Path, batch: dict[Any, Any], key: str) -> Any:
    value = batch.get(key.encode(), batch.get(key))
    if value is None:
        raise EquiscopeError(
            f"a batch of {str(folder)!r} has no {key}, only {', '.join(map(str, batch))}: expected CIFAR's python "
            "version"
        )
    return value


# --- class folders -------------------------------------------------------------------------------------------


def _open_folders(folder: Path, side_px: int) -> LabelledImages:
    found = read_class_folders(folder)
    train, val = (
        Split(part.listing.source, part.indices, np.array(part.labels, np.int64), side_px)
        for part in (found.training, found.validation)
    )
    listings = {id(part.listing): part.listing for part in (found.training, found.validation)}.values()
    left_out = {name: reason for listing in listings for name, reason in listing.left_out.items()}
    others = sum((listing.others for listing in listings), Counter[str]())
    return LabelledImages(folder.name, found.classes, train, val, found.layout, left_out, others)
