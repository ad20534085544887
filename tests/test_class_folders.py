"""What folders of labelled images are taken for: classes, or splits into training and validation."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiscope.construction.simplify import open_evaluation
from equiscope.construction.training import open_labelled
from equiscope.construction.training.class_folders import find_split, read_class_folders
from equiscope.foundations.errors import EquiscopeError


def write(folder: Path, places: Sequence[str], n: int = 2) -> Path:
    """Write images of as many colours into folders."""
    for number, place in enumerate(places):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for index in range(n):
            colour = (20 * number, 10 * index, 0)
            Image.new("RGB", (12, 10), colour).save(folder / place / f"{index:02}.png")
    return folder


def crossed(outer: Sequence[str], inner: Sequence[str]) -> list[str]:
    return [f"{a}/{b}" for a in outer for b in inner]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "training"),
        ("Training", "training"),
        ("TRAIN", "training"),
        ("Train_set", "training"),
        ("trainset", "training"),
        ("train2017", "training"),
        ("training images", "training"),
        ("val", "validation"),
        ("Valid", "validation"),
        ("dev-set", "validation"),
        ("Evaluation", "validation"),
        ("Testing", "test"),
        ("test_images", "test"),
        ("cat", None),
        ("trainer", None),
        ("training shoe", None),
        ("test tube", None),
        ("images", None),
        ("n01443537", None),
        ("7", None),
    ],
)
def test_splits_are_known_by_their_names(name: str, split: str | None) -> None:
    assert find_split(name) == split


@pytest.mark.parametrize(
    ("training", "validation"),
    [
        ("Training", "Testing"),
        ("train", "val"),
        ("TRAIN", "Validation"),
        ("Train_set", "dev"),
        ("train2017", "val2017"),
    ],
)
@pytest.mark.parametrize("is_split_first", [True, False])
def test_splits_are_no_classes(tmp_path: Path, training: str, validation: str, is_split_first: bool) -> None:
    splits, classes = (training, validation), ("cat", "dog", "newt")
    folder = write(tmp_path / "set", crossed(splits, classes) if is_split_first else crossed(classes, splits))
    images = open_labelled(folder, 8)
    assert images.classes == classes
    assert images.train.labels.tolist() == images.val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    names = [{split.source.names[i] for i in split.indices} for split in (images.train, images.val)]
    if not is_split_first:
        assert all(f"/{training}/" in name for name in names[0])
        assert all(f"/{validation}/" in name for name in names[1])
    reds = [[int(split.load(i)[0, 0, 0]) for i in range(6)] for split in (images.train, images.val)]  # type: ignore[index]
    assert not set(reds[0]) & set(reds[1])
    for word in (
        "3 classes (cat, dog, newt)",
        f"{training} (taken for training)",
        f"{validation} (taken for validation)",
    ):
        assert word in images.layout
    assert images.notes == [images.layout]


def test_three_splits_leave_the_test_images_alone_and_say_so(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", crossed(("train", "val", "test"), ("a", "b")))
    images = open_labelled(folder, 8)
    assert (len(images.train), len(images.val)) == (4, 4)
    assert images.layout.endswith("in val (taken for validation); test was left alone")
    # As Tiny ImageNet comes, whose test images have no classes.
    write(tmp_path / "flat", [*crossed(("train", "val"), ("a", "b")), "test/images"])
    assert open_labelled(tmp_path / "flat", 8).classes == ("a", "b")


def test_folders_of_classes_alone_hold_out_and_say_so(tmp_path: Path) -> None:
    write(tmp_path / "set", ("training shoe", "test tube", "cat"), n=10)
    images = open_labelled(tmp_path / "set", 8)
    assert images.classes == ("cat", "test tube", "training shoe")
    assert (len(images.train), len(images.val)) == (27, 3)
    assert images.layout.endswith("folders in set; every 10th image of each was taken for validation")


def test_a_training_part_alone_holds_out(tmp_path: Path) -> None:
    images = open_labelled(write(tmp_path / "set", crossed(["Training"], ("a", "b")), n=10), 8)
    assert images.classes == ("a", "b")
    assert (len(images.train), len(images.val)) == (18, 2)


def test_folders_of_archives_are_gone_through(tmp_path: Path) -> None:
    write(tmp_path / "set", crossed(("download/train/train", "download/test/test"), ("a", "b")))
    found = read_class_folders(tmp_path / "set")
    assert found.classes == ("a", "b")
    assert (found.training.labels, found.validation.labels) == ([0, 0, 1, 1], [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["train/a", "train/b", "cat"], r"mixes folders of splits \(train\) with others \(cat\)"),
        (["Training/a", "Testing/a", "cat", "dog"], r"mixes folders of splits .* with others \(cat, dog\)"),
        (
            ["train/a", "Training/b", "val/a"],
            "Training and train of .* are both named like folders for training",
        ),
        (["val/a", "val/b", "test/a"], "has a folder for .* and none for training: add one, or give"),
        (["my train v", "their test v"], "look like splits and not like classes"),
        (
            ["a/train", "a/val", "b/other"],
            r"folders of splits \(train, val\), but 2 images are in none, such as b/other",
        ),
        (["a/train", "a/val", "b"], "but 2 images are in none, such as b/00.png"),
        (["a/train", "b/train"], "expected one for training and one for validation in each"),
        (["a/val", "b/test"], "expected one for training and one for validation in each"),
        (["train/a", "train/b", "val/a", "val/c"], "unknown class in .*val' 'c'"),
    ],
)
def test_folders_that_are_neither_are_refused(tmp_path: Path, places: list[str], message: str) -> None:
    write(tmp_path / "set", places)
    with pytest.raises(EquiscopeError, match=message):
        open_labelled(tmp_path / "set", 8)


def test_simplify_reads_the_same_folders(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", crossed(("Training", "Testing"), ("a", "b")))
    (folder / "readme.txt").write_text("x")
    (folder / "Training" / "a" / "x.heic").write_bytes(b"x")
    opened = open_evaluation(folder, n_logits=2, side_px=8)
    assert opened.evaluated.labels.tolist() == [0, 0, 1, 1]
    assert "Training (taken for training) and in Testing (taken for validation)" in opened.notes[0]
    assert opened.notes[1].startswith("1 thing was left out, such as a/x.heic: a picture in a format")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    folder = write(tmp_path / "set", ["a", "b"], n=10)
    os.mkfifo(folder / "a" / "zz.png")
    assert open_labelled(folder, 8).left_out == {"a/zz.png": "it is a named pipe, not a file"}
    cifar = tmp_path / "cifar"
    cifar.mkdir()
    (cifar / "train").write_bytes(pickle.dumps({b"fine_labels": [0], b"data": np.zeros((1, 3072), np.uint8)}))
    os.mkfifo(cifar / "test")
    with pytest.raises(EquiscopeError, match="is a named pipe, not a file: expected a batch of CIFAR"):
        open_labelled(cifar, 8)
    for place in (tmp_path / "pipe.npz", Path("/dev/zero")):
        with pytest.raises(EquiscopeError, match="not a file: expected a folder of class folders"):
            open_labelled(place, 8)
        with pytest.raises(EquiscopeError, match="not a file: expected a folder of class folders"):
            open_evaluation(place, n_logits=2, side_px=8)
        with pytest.raises(EquiscopeError, match="not a file: expected a CSV file"):
            open_evaluation(folder, n_logits=2, side_px=8, labels=place)
