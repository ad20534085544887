"""Which images are copies of one photograph: files of equal bytes, and pictures that were encoded or resized again.

A photograph and its copy are no two draws: were one in each half, what the first half finds the second would confirm
whatever it is, and a bootstrap over photographs would draw both as if they were independent.

Two pictures are copies if they show nearly the same at 8 x 8 (`_MAX_COARSE`) *and* agree in what 32 x 32 shows beyond
that (`_MAX_DETAIL`), either as they are or one of them mirrored. The first alone would join any two plain pictures or
skies; those have too little detail to tell (`_MIN_DETAIL`), and are copies only if their bytes are equal.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiscope.stimuli.decoding import decode_image, find_size
from equiscope.stimuli.sources import Source, read_encoded

__all__ = ["find_copies"]

_END_BYTES = 4096
# Pictures are compared in sets of up to this many: at 0.8 ms for each of 224 px, eight seconds.
_MAX_COMPARED = 10_000
_SIDE, _BLOCK = 32, 4
# Root mean square differences of 8 x 8 colours, in levels of 255, and of the 32 x 32 details beyond them, as a share of
# the details; and least detail, in levels. Copies at quality 10, at half the size or of 64 px differ by up to 3.8 and
# 0.38; of 1,880 photographs no two by less than 7 and 0.66 (two dark textures behind a bright edge).
_MAX_COARSE, _MAX_DETAIL, _MIN_DETAIL = 5.0, 0.5, 2.0
_MAX_ASPECT = 1.04


def find_copies(source: Source) -> list[int]:
    """Give each image the index of the first image of which it is a copy, its own where there is none.

    Returns
    -------
    list of int, shape (image,)
        Copies of copies share one number, whatever the order of the files.

    Notes
    -----
    Files are read whole where size, beginning and end agree. Pictures are compared in sets of up to 10,000 images,
    which takes one decoding of each (a JPEG's at a fraction of its size); in larger sets only bytes are.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.stimuli.sources.folders import find_files
    >>> for name, grey in {"a.png": 0, "b.png": 99, "c.png": 0}.items():
    ...     Image.new("L", (32, 32), grey).save(name)
    >>> find_copies(find_files(Path(".")).source)
    [0, 1, 0]
    """
    pairs = list(_equal_bytes(source))
    if len(source.names) <= _MAX_COMPARED:
        pairs += _equal_pictures(source)
    return _join(len(source.names), pairs)


def _join(n: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Smallest index of each connected component, shape (n,)."""
    first = list(range(n))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = first[first[index]]
            index = first[index]
        return index

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        first[high] = low
    return [root(index) for index in range(n)]


# --- equal bytes ---------------------------------------------------------------------------------------------


def _equal_bytes(source: Source) -> Iterator[tuple[int, int]]:
    """Pairs of images of equal bytes: read whole only where size, beginning and end agree."""
    for same_size in _shared(range(len(source.names)), lambda index: source.n_bytes(index) or None):
        for same_ends in _shared(same_size, lambda index: _read_ends(source, index)):
            for copies in _shared(
                same_ends, lambda index: hashlib.sha256(read_encoded(source, index)).digest()
            ):
                if _is_picture(source, copies[0]):
                    yield from ((copies[0], other) for other in copies[1:])


def _is_picture(source: Source, index: int) -> bool:
    """Whether an image looks like one from its beginning: files that are none are no copies of a photograph."""
    try:
        return source.pixel_shape is not None or bool(find_size(read_encoded(source, index)))
    except Exception:  # `ImageSet.load` names what it is instead
        return False


def _shared(indices: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Images that have a key in common; without those whose key cannot be read, or is None."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        with suppress(Exception):  # `ImageSet.load` names what cannot be read
            found[key(index)].append(index)
    found.pop(None, None)
    return [shared for shared in found.values() if len(shared) > 1]


def _read_ends(source: Source, index: int) -> bytes:
    n_bytes = source.n_bytes(index)
    return source.read(index, 0, _END_BYTES) + source.read(index, max(0, n_bytes - _END_BYTES), n_bytes)


# --- nearly equal pictures -----------------------------------------------------------------------------------


def _equal_pictures(source: Source) -> Iterator[tuple[int, int]]:
    """Pairs of images that show the same picture, as it is or mirrored."""
    indices, aspects, pictures = [], [], []
    for index in range(len(source.names)):
        found = _shrink(source, index)
        if found is not None:
            indices.append(index)
            aspects.append(found[0])
            pictures.append(found[1])
    if pictures:
        yield from _compare(np.array(indices), np.array(aspects), np.stack(pictures))


def _shrink(source: Source, index: int) -> tuple[float, NDArray[np.uint8]] | None:
    """Aspect ratio of an image, and its picture at 32 x 32; None where it cannot be decoded."""
    try:
        pixels, _ = decode_image(read_encoded(source, index), source.pixel_shape, 2 * _SIDE)
    except Exception:  # `ImageSet.load` names what cannot be decoded
        return None
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return width / height, np.asarray(small)


def _compare(
    indices: NDArray[np.int64], aspects: NDArray[np.float64], pictures: NDArray[np.uint8]
) -> Iterator[tuple[int, int]]:
    """Compare pictures of shape (image, 32, 32, 3); in whole numbers, so that no order of files matters."""
    blocks = _SIDE // _BLOCK
    tiles = pictures.astype(np.int64).reshape(-1, blocks, _BLOCK, blocks, _BLOCK, 3)
    sums = tiles.sum((2, 4))
    coarse = (sums // _BLOCK**2).astype(np.int32)
    # Differences of means are at most those of root mean squares: only neighbours in brightness can be copies.
    brightness = coarse.mean((1, 2, 3))
    order = np.argsort(brightness, kind="stable")
    ends = np.searchsorted(brightness[order], brightness[order] + _MAX_COARSE, side="right")
    for place, (mine, end) in enumerate(zip(order.tolist(), ends.tolist(), strict=True)):
        others = order[place + 1 : end]
        ratio = aspects[others] / aspects[mine]
        others = others[np.maximum(ratio, 1 / ratio) <= _MAX_ASPECT]
        for is_mirrored in (False, True):
            step = -1 if is_mirrored else 1
            distance = ((coarse[others] - coarse[mine][:, ::step]) ** 2).mean((1, 2, 3))
            for other in others[distance <= _MAX_COARSE**2].tolist():
                if _agree_in_detail(pictures[other], pictures[mine][:, ::step]):
                    yield int(indices[mine]), int(indices[other])


def _agree_in_detail(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    details = [_detail(picture) for picture in (a, b)]
    least = min(float((detail**2).mean()) for detail in details) / _BLOCK**4
    difference = float(((details[0] - details[1]) ** 2).mean()) / _BLOCK**4
    return least >= _MIN_DETAIL**2 and difference <= _MAX_DETAIL**2 * least


def _detail(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Subtract from each pixel the mean of its block, times 16; shape (8, 4, 8, 4, 3)."""
    blocks = _SIDE // _BLOCK
    tiles = picture.astype(np.int64).reshape(blocks, _BLOCK, blocks, _BLOCK, 3)
    return np.asarray(_BLOCK**2 * tiles - tiles.sum((1, 3), keepdims=True))
