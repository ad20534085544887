"""Labelled images to train on: an ``.npz`` of JPEG files, CIFAR's python folders, a folder of class folders."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import threading
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiscope.errors import EquiscopeError, unknown_name
from equiscope.stimuli.decoding import UndecodableError, decode_image
from equiscope.stimuli.sources import FileSource, Source, find_files, read_npz

__all__ = ["LabelledImages", "Split", "open_labelled"]

# Of a folder without a validation part, every so many images of a class are held out.
_HELD_OUT = 10
_TRAIN_NAMES = ("train", "training")
_VALIDATION_NAMES = ("val", "valid", "validation", "test")
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
    """

    source: Source
    indices: Sequence[int]
    labels: NDArray[np.int64]
    side_px: int
    failures: dict[str, str] = field(default_factory=dict)
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
            data = self.source.read(place, 0, self.source.n_bytes(place))
            pixels = _decode(data, self.source.pixel_shape, self.side_px)
        except Exception as error:  # damaged bytes make Pillow's readers raise nearly any type
            reason = str(error) if isinstance(error, UndecodableError) else f"{type(error).__name__}: {error}"
            self.failures[self.source.names[place]] = reason
            return None
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
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split

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


def _decode(data: bytes, pixel_shape: tuple[int, ...] | None, side_px: int) -> NDArray[np.uint8]:
    """Decode an image and bring its shorter side to a length; shape (y, x, 3)."""
    longest = 1 << 16
    if pixel_shape is None and data:
        try:
            width, height = Image.open(io.BytesIO(data)).size
            # So that a JPEG can be decoded at a fraction of its size.
            longest = math.ceil(2 * side_px * max(width, height) / min(width, height))
        except (OSError, SyntaxError):  # what it is not is told by the decoding below
            pass
    pixels = decode_image(data, pixel_shape, longest)
    height, width = pixels.shape[:2]
    shortest = min(height, width)
    if shortest == side_px:
        return pixels
    size = (max(side_px, round(width * side_px / shortest)), max(side_px, round(height * side_px / shortest)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


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
    """
    path = Path(path)
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
    with np.load(path, allow_pickle=False) as stored:
        for split in ("train", "val"):
            key = f"{split}_label"
            if key not in stored:
                raise EquiscopeError(
                    f"{str(path)!r} has no {key}, only {', '.join(stored.files)}. {_EXPECTED}"
                )
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
    return LabelledImages(path.name, tuple(str(name) for name in names), parts["train"], parts["val"])


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
    return LabelledImages(folder.name, tuple(classes), splits["train"], splits["val"])


def _read_cifar(path: Path) -> dict[Any, Any]:
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
    inner = {
        kind: next((folder / name for name in names if (folder / name).is_dir()), None)
        for kind, names in (("train", _TRAIN_NAMES), ("val", _VALIDATION_NAMES))
    }
    if inner["train"] is not None and inner["val"] is not None:
        source, of_class = _list_classes(inner["train"])
        val_source, val_of_class = _list_classes(inner["val"])
        classes = sorted(of_class)
        for name in val_of_class:
            if name not in of_class:
                raise unknown_name(f"class in {str(inner['val'])!r}", name, classes)
        train = _of_classes(source, of_class, classes, side_px, lambda _position: True)
        val = _of_classes(val_source, val_of_class, classes, side_px, lambda _position: True)
    else:
        source, of_class = _list_classes(folder)
        classes = sorted(of_class)
        train = _of_classes(source, of_class, classes, side_px, lambda i: i % _HELD_OUT != _HELD_OUT - 1)
        val = _of_classes(source, of_class, classes, side_px, lambda i: i % _HELD_OUT == _HELD_OUT - 1)
        if not len(val):
            raise EquiscopeError(
                f"no class of {str(folder)!r} has {_HELD_OUT} images, so none could be held out: add images, or give "
                "folders train and val"
            )
    return LabelledImages(folder.name, tuple(classes), train, val)


def _list_classes(folder: Path) -> tuple[FileSource, dict[str, list[int]]]:
    """List the images of each class folder."""
    source, _left_out = find_files(folder)
    of_class: dict[str, list[int]] = {}
    loose = []
    for index, name in enumerate(source.names):
        first, slash, _ = name.partition("/")
        if slash:
            of_class.setdefault(first, []).append(index)
        else:
            loose.append(name)
    if not of_class or loose:
        raise EquiscopeError(
            f"{len(loose)} images of {str(folder)!r} are in no class folder ({', '.join(loose[:3])}): put each into a "
            "folder named by its class"
        )
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and child.name not in of_class:
            raise EquiscopeError(
                f"the class folder {str(child)!r} holds no image: add some, or remove the folder"
            )
    if not isinstance(source, FileSource):
        raise TypeError(f"the source of a folder is a {type(source).__name__}")
    return source, of_class


def _of_classes(
    source: Source,
    of_class: dict[str, list[int]],
    classes: Sequence[str],
    side_px: int,
    is_wanted: Callable[[int], bool],
) -> Split:
    chosen = [
        (index, label)
        for label, name in enumerate(classes)
        for position, index in enumerate(of_class.get(name, []))
        if is_wanted(position)
    ]
    indices = [index for index, _ in chosen]
    return Split(source, indices, np.array([label for _, label in chosen], np.int64), side_px)
