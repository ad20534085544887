"""Labelled images on which a network is evaluated, and others by which it is recalibrated.

Labels come from class folders, an ``.npz``, or a CSV file with a line an image. Images without a label, or the training
part, recalibrate; no label of theirs is used.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.training.datasets import Split, open_labelled
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.limits import SIDE_PX
from equiscope.stimuli.sources import (
    Listing,
    check_regular,
    find_files,
    note_left_out,
    note_others,
    open_tar,
    read_npz,
)

__all__ = ["EvaluationImages", "open_evaluation"]

Ints = NDArray[np.int64]

_FILE_COLUMNS = ("file", "image", "name", "path", "filename")


@dataclass(frozen=True)
class EvaluationImages:
    """Images with a class each, and images to measure moments on.

    Attributes
    ----------
    name
        Of the file or folder.
    evaluated
        Labelled images.
    calibration
        Other images; their labels, if any, are not used.
    notes
        What is to be known of them, a sentence each: which folders were taken for classes and for splits.
    """

    name: str
    evaluated: Split
    calibration: Split
    notes: tuple[str, ...] = ()


def open_evaluation(
    images: str | Path,
    *,
    n_logits: int,
    side_px: int,
    labels: str | Path | None = None,
    label_column: str = "label",
    classes: Sequence[str] | None = None,
) -> EvaluationImages:
    """Open labelled images, split into those that are evaluated and those that a network is recalibrated with.

    Parameters
    ----------
    images
        What `equiscope.construction.training.open_labelled` takes: its validation part is evaluated, its training part
        recalibrates. With ``labels`` a folder, ``.tar`` or ``.npz`` of any images: those without a label recalibrate.
    n_logits, side_px
        Classes of the network, and the side to which the shorter one of each image is resized, px.
    labels
        A CSV file with a header and a line an image.
    label_column
        Its column with labels: numbers from 0, or names. The other column that counts is ``file`` (or ``image``,
        ``name``, ``path``), otherwise the first.
    classes
        Names in the order of the network's logits. Without them names are numbered in alphabetical order, as class
        folders are, and there must be as many as logits: synsets of ImageNet are numbered so.

    Raises
    ------
    EquiscopeError
        If there are no such images, no labels, labels that the network does not have, or no image is left to
        recalibrate with.

    Examples
    --------
    >>> from PIL import Image
    >>> for split in ("train", "val"):
    ...     for name in ("cat", "dog"):
    ...         Path(split, name).mkdir(parents=True)
    ...         Image.new("RGB", (16, 16)).save(Path(split, name, "1.png"))
    >>> open_evaluation(".", n_logits=2, side_px=16).evaluated.labels.tolist()
    [0, 1]
    """
    side_px = SIDE_PX.check("side_px", side_px)
    if labels is None:
        return _open_folders(Path(images), side_px, classes, n_logits)
    listing = _open_images(Path(images))
    by_file = _read_labels(Path(labels), label_column)
    place = _places(listing.source.names)
    chosen: list[tuple[int, str]] = []
    for file, label in by_file.items():
        if file not in place:
            where = f"image of {str(Path(images))!r}, named in {str(labels)!r},"
            raise unknown_name(where, file, list(place))
        chosen.append((place[file], label))
    chosen.sort()
    numbers = _number([label for _, label in chosen], classes, n_logits, str(labels))
    indices = [index for index, _ in chosen]
    return _split(listing, Path(images), labels, indices, numbers, side_px)


def _open_folders(path: Path, side_px: int, classes: Sequence[str] | None, n_logits: int) -> EvaluationImages:
    """Open class folders, or an ``.npz`` with labels: the validation part is evaluated."""
    check_regular(path, "a folder of class folders, or an .npz")
    if path.is_file() and path.suffix.lower() != ".npz":
        raise EquiscopeError(
            f"{str(path)!r} holds images without labels, so nothing tells what is right: give a CSV file of labels "
            "with --labels, or a folder of class folders"
        )
    opened = open_labelled(path, side_px)
    order = _order(opened.classes, classes, n_logits, str(path))
    return EvaluationImages(
        opened.name,
        _renumbered(opened.val, order),
        _renumbered(opened.train, order),
        (*opened.notes, *note_left_out(opened.left_out)),
    )


def _number(words: Sequence[str], classes: Sequence[str] | None, n_logits: int, where: str) -> Ints:
    """Give the logit of each label, shape (label,): the number that it is, or the place of its name."""
    if not all(word.isdigit() for word in words) or classes is not None:
        names = tuple(sorted(set(words)))
        order = _order(names, classes, n_logits, where)
        return np.array([order[names.index(word)] for word in words], np.int64)
    numbers = np.array([int(word) for word in words], np.int64)
    if numbers.max() >= n_logits:
        raise EquiscopeError(
            f"the labels of {where!r} go up to {numbers.max()}, expected 0 to {n_logits - 1} for a network "
            f"of {n_logits} classes: number the classes from 0"
        )
    return numbers


def _split(
    listing: Listing, path: Path, labels: str | Path, indices: list[int], numbers: Ints, side_px: int
) -> EvaluationImages:
    """Evaluate the images that have a label, and recalibrate with the others."""
    source, labelled = listing.source, set(indices)
    rest = [index for index in range(len(source.names)) if index not in labelled]
    if not rest:
        raise EquiscopeError(
            f"every image of {str(path)!r} has a label in {str(labels)!r}, so none is left to recalibrate with: leave "
            "the labels of some out"
        )
    return EvaluationImages(
        path.name,
        Split(source, indices, numbers, side_px),
        Split(source, rest, np.zeros(len(rest), np.int64), side_px),
        (*note_others(path.name, listing.others), *note_left_out(listing.left_out)),
    )


def _open_images(path: Path) -> Listing:
    check_regular(path, "a folder, a .tar or an .npz of images")
    if path.is_dir():
        return find_files(path)
    if not path.is_file():
        raise EquiscopeError(
            f"there is no file or folder {str(path)!r} of images: give a folder, a .tar or an .npz"
        )
    if path.suffix.lower() == ".npz":
        return Listing(read_npz(path, None), {}, Counter())
    return open_tar(path)


def _read_labels(path: Path, column: str) -> dict[str, str]:
    """Labels by file, lines without one left out."""
    check_regular(path, "a CSV file with a header, such as file,label")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            lines = list(reader)
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EquiscopeError(
            f"cannot read the labels in {str(path)!r} ({error}): expected a CSV file with a header, such as file,label"
        ) from error
    if column not in columns:
        raise unknown_name(f"column of {str(path)!r}", column, columns)
    file_column = next((name for name in _FILE_COLUMNS if name in columns), columns[0])
    found = {line[file_column] or "": line[column].strip() for line in lines if (line[column] or "").strip()}
    if not found:
        raise EquiscopeError(
            f"no line of {str(path)!r} has a {column}: name the column of labels with --label-column"
        )
    return found


def _places(names: Sequence[str]) -> dict[str, int]:
    """Where each image is, by its name, and by the last part of it where no other ends alike."""
    place: dict[str, int] = {}
    short: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        place[name] = index
        short.setdefault(name.rpartition("/")[2], []).append(index)
    for name, indices in short.items():
        if len(indices) == 1:
            place.setdefault(name, indices[0])
    return place


def _order(names: Sequence[str], classes: Sequence[str] | None, n_logits: int, where: str) -> list[int]:
    """Tell the logit of each name."""
    if classes is None:
        if len(names) != n_logits:
            raise EquiscopeError(
                f"{where!r} has {len(names)} classes, the network {n_logits}: name its classes in the order of its "
                "logits with --classes, or take another --label-column"
            )
        return list(range(n_logits))
    if len(classes) != n_logits:
        raise EquiscopeError(
            f"{len(classes)} classes are named, the network has {n_logits}: give one a line, in the order of its logits"
        )
    number = {name: index for index, name in enumerate(classes)}
    for name in names:
        if name not in number:
            raise unknown_name("class", name, number)
    return [number[name] for name in names]


def _renumbered(split: Split, order: Sequence[int]) -> Split:
    return replace(split, labels=np.asarray(order, np.int64)[split.labels])
