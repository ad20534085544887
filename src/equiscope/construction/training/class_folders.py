"""What the folders of labelled images mean: which are classes, and which are splits into training and validation.

Three layouts are read: folders of splits with folders of classes in each (``Training/cat``), folders of classes with
folders of splits in each (``cat/Training``), and folders of classes alone. Wherever a folder stands for a class or a
split it is decided here, and said in words (`ClassFolders.layout`): a split that is taken for a class would be learnt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.stimuli.sources import Listing, find_files

__all__ = ["ClassFolders", "Labelled", "find_split", "read_class_folders"]

# Of a folder without a validation part, every so many images of a class are held out.
_HELD_OUT = 10
_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training", "trn"), "training"),
    **dict.fromkeys(
        ("val", "valid", "validation", "validate", "dev", "eval", "evaluation", "holdout"), "validation"
    ),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
# What stands beside the word in the name of a split: `Train_set`, `val2017`, `test-images`.
_FILLING = ("datasets", "dataset", "images", "image", "imgs", "data", "sets", "set", "splits", "split")


@dataclass(frozen=True)
class Labelled:
    """Some images of a folder, each with its class.

    Attributes
    ----------
    listing
        What is in the folder.
    indices
        The images, in the listing's source.
    labels
        Class of each.
    """

    listing: Listing
    indices: list[int]
    labels: list[int]


@dataclass(frozen=True)
class ClassFolders:
    """What was found in a folder.

    Attributes
    ----------
    classes
        Names of the classes, by label.
    training, validation
        The two parts.
    layout
        What was taken for a class and what for a split, a sentence.
    """

    classes: tuple[str, ...]
    training: Labelled
    validation: Labelled
    layout: str


def find_split(name: str) -> str | None:
    """Tell whether a folder is named like a split.

    Returns
    -------
    str or None
        ``"training"``, ``"validation"`` or ``"test"``; None for any other name.

    Examples
    --------
    >>> [find_split(name) for name in ("Training", "val2017", "test_set", "trainset", "test tube")]
    ['training', 'validation', 'test', 'training', None]
    """
    words = [_without_filling(word) for word in re.findall("[a-z]+", name.lower())]
    words = [word for word in words if word]
    return _SPLIT_OF_WORD.get(words[0]) if len(words) == 1 else None


def _without_filling(word: str) -> str:
    if word in _FILLING:
        return ""
    shorter = next((word.removesuffix(end) for end in _FILLING if word.endswith(end)), word)
    return shorter if shorter in _SPLIT_OF_WORD else word


def _holds_split(name: str) -> bool:
    """Whether one of the words of a name is that of a split: ``seg_train``, but also ``test tube``."""
    return any(_without_filling(word) in _SPLIT_OF_WORD for word in re.findall("[a-z]+", name.lower()))


def read_class_folders(folder: Path) -> ClassFolders:
    """List labelled images in folders.

    Raises
    ------
    EquiscopeError
        If images are in no class folder, a class has none, or it cannot be told what is a class and what a split.

    Examples
    --------
    >>> for place in ("train/cat", "train/dog", "val/cat", "val/dog"):
    ...     Path(place).mkdir(parents=True)
    ...     _ = Path(place, "1.png").write_bytes(b"...")
    >>> read_class_folders(Path(".")).classes
    ('cat', 'dog')
    """
    listing = find_files(folder)
    while (inner := _only_folder(listing)) is not None and find_split(inner) is None:
        folder /= inner  # an archive's own folder
        listing = find_files(folder)
    names = _folders(listing.source.names)
    splits = {name: split for name in names if (split := find_split(name)) is not None}
    if splits:
        return _read_splits(folder, names, splits)
    if len(names) > 1 and all(_holds_split(name) for name in names):
        raise EquiscopeError(
            f"the folders of {str(folder)!r} look like splits and not like classes ({', '.join(names[:4])}): name them "
            "train and val, with a folder for each class in both"
        )
    _check_classes(folder, listing)
    if any(find_split(_part(name, 1)) for name in listing.source.names):
        return _read_splits_of_classes(folder, listing, names)
    return _hold_out(folder.name, listing, names)


def _only_folder(listing: Listing) -> str | None:
    """Give the folder that all images are in, if they are in folders of it."""
    names = _folders(listing.source.names)
    is_nested = all(name.count("/") > 1 for name in listing.source.names)
    return names[0] if len(names) == 1 and is_nested else None


def _folders(names: Sequence[str]) -> list[str]:
    """First folders of paths, in their order."""
    return sorted({name.partition("/")[0] for name in names if "/" in name})


def _part(name: str, index: int) -> str:
    """Give the folder at a depth of a path; empty where it is not that deep."""
    *folders, _ = name.split("/")
    return folders[index] if index < len(folders) else ""


# --- Training/cat --------------------------------------------------------------------------------------------


def _read_splits(folder: Path, names: Sequence[str], splits: Mapping[str, str]) -> ClassFolders:
    if others := [name for name in names if name not in splits]:
        raise EquiscopeError(
            f"{str(folder)!r} mixes folders of splits ({', '.join(splits)}) with others ({', '.join(others[:4])}): put "
            "a folder for each class into every split, or rename what is no split"
        )
    of_split = _by_split(folder, splits)
    if "training" not in of_split:
        name = next(iter(splits))
        raise EquiscopeError(
            f"{str(folder)!r} has a folder for {splits[name]} ({name}) and none for training: add one, or give "
            f"{str(folder / name)!r} itself, of which every {_HELD_OUT}th image is held out"
        )
    training = of_split.pop("training")
    root = _inside(folder / training)
    listing = find_files(root)
    _check_classes(root, listing)
    classes = _folders(listing.source.names)
    held = of_split.pop("validation", None) or of_split.pop("test", None)
    if held is None:
        return _hold_out(f"{folder.name}/{training}", listing, classes)
    held_root = _inside(folder / held)
    held_listing = find_files(held_root)
    _check_classes(held_root, held_listing)
    for name in _folders(held_listing.source.names):
        if name not in classes:
            raise unknown_name(f"class in {str(held_root)!r}", name, classes)
    unused = "".join(f"; {name} was left alone" for name in of_split.values())
    return ClassFolders(
        tuple(classes),
        _labelled(listing, classes),
        _labelled(held_listing, classes),
        f"{_name_classes(classes)}, folders in {training} (taken for training) and in {held} (taken for validation)"
        f"{unused}",
    )


def _by_split(folder: Path, splits: Mapping[str, str]) -> dict[str, str]:
    """Folder of each split."""
    found: dict[str, str] = {}
    for name, split in splits.items():
        if split in found:
            raise EquiscopeError(
                f"{found[split]} and {name} of {str(folder)!r} are both named like folders for {split}: keep one"
            )
        found[split] = name
    return found


def _inside(folder: Path) -> Path:
    """Go through folders of one split within each other, as archives come: ``train/train/cat``."""
    while len(inner := [path for path in folder.iterdir() if not path.name.startswith(".")]) == 1:
        split = find_split(inner[0].name)
        if split is None or split != find_split(folder.name):
            break
        folder = inner[0]
    return folder


# --- cat/Training --------------------------------------------------------------------------------------------


def _read_splits_of_classes(folder: Path, listing: Listing, classes: Sequence[str]) -> ClassFolders:
    names = listing.source.names
    inside = sorted({_part(name, 1) for name in names})
    splits = {name: split for name in inside if (split := find_split(name)) is not None}
    unsplit = [name for name in names if _part(name, 1) not in splits]
    if unsplit:
        raise EquiscopeError(
            f"in some classes of {str(folder)!r} there are folders of splits ({', '.join(splits)}), but "
            f"{len(unsplit)} images are in none, such as {unsplit[0]}: put every image of a class into a split"
        )
    of_split = _by_split(folder, splits)
    if "training" not in of_split or len(of_split) == 1:
        raise EquiscopeError(
            f"the classes of {str(folder)!r} hold folders for {' and '.join(of_split)} ({', '.join(splits)}): expected "
            "one for training and one for validation in each"
        )
    training = of_split.pop("training")
    held = of_split.pop("validation", None) or of_split.pop("test")
    unused = "".join(f"; {name} was left alone" for name in of_split.values())
    return ClassFolders(
        tuple(classes),
        _labelled(listing, classes, lambda name, _: _part(name, 1) == training),
        _labelled(listing, classes, lambda name, _: _part(name, 1) == held),
        f"{_name_classes(classes)}, each with {training} (taken for training) and {held} (taken for validation)"
        f"{unused}",
    )


# --- cat -----------------------------------------------------------------------------------------------------


def _hold_out(name: str, listing: Listing, classes: Sequence[str]) -> ClassFolders:
    last = _HELD_OUT - 1
    validation = _labelled(listing, classes, lambda _, place: place % _HELD_OUT == last)
    if not validation.indices:
        raise EquiscopeError(
            f"no class of {name!r} has {_HELD_OUT} images, so none could be held out: add images, or give "
            "folders train and val"
        )
    return ClassFolders(
        tuple(classes),
        _labelled(listing, classes, lambda _, place: place % _HELD_OUT != last),
        validation,
        f"{_name_classes(classes)}, folders in {name}; every {_HELD_OUT}th image of each was taken for validation",
    )


def _name_classes(classes: Sequence[str]) -> str:
    more = ", …" if len(classes) > 4 else ""
    return f"{len(classes)} classes ({', '.join(classes[:4])}{more})"


def _check_classes(folder: Path, listing: Listing) -> None:
    """Refuse images beside the class folders, and class folders without images."""
    loose = [name for name in listing.source.names if "/" not in name]
    classes = _folders(listing.source.names)
    if loose or not classes:
        raise EquiscopeError(
            f"{len(loose)} images of {str(folder)!r} are in no class folder ({', '.join(loose[:3])}): put each into a "
            "folder named by its class"
        )
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and child.name not in classes:
            raise EquiscopeError(
                f"the class folder {str(child)!r} holds no image: add some, or remove the folder"
            )


def _labelled(
    listing: Listing,
    classes: Sequence[str],
    is_wanted: Callable[[str, int], bool] = lambda _name, _place: True,
) -> Labelled:
    """Take some images of each class, by name and place within it; in the order of the classes."""
    of_class: dict[str, list[tuple[int, str]]] = {name: [] for name in classes}
    for index, name in enumerate(listing.source.names):
        of_class[_part(name, 0)].append((index, name))
    chosen = [
        (index, label)
        for label, own in enumerate(of_class.values())
        for place, (index, name) in enumerate(own)
        if is_wanted(name, place)
    ]
    return Labelled(listing, [index for index, _ in chosen], [label for _, label in chosen])
