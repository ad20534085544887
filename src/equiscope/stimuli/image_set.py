"""Named images in a fixed order, decoded when they are asked for.

Names give the order, so that an image has one index wherever the files lie. An image that cannot be decoded is left out
and noted with the reason; copies of one photograph are one group, which is never divided between two halves.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.limits import SIDE_PX, STACK
from equiscope.stimuli.copies import find_copies
from equiscope.stimuli.decoding import UndecodableError, decode_image
from equiscope.stimuli.embedded import find_embedded
from equiscope.stimuli.sources import (
    Chosen,
    Source,
    check_regular,
    find_files,
    note_assumptions,
    note_others,
    open_tar,
    read_encoded,
    read_npz,
)

__all__ = ["ImageFailure", "ImageSet", "as_images", "open_images"]

_END_BYTES = 4096
# A cold hard disk with 5 ms a seek takes 20 s to open this many files; from memory under a second.
_MAX_SAMPLED = 4096


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be used: its name within the set, and why."""

    name: str
    reason: str


class ImageSet:
    """Named images in a fixed order, decoded on demand; made by :func:`open_images`.

    Attributes
    ----------
    name : str
        What the images came from, without its folder: ``"photos.tar"``, ``"photos.npz:val"``, ``"embedded"``.
    names : list of str
        One for each image, unique; sorted in folders and archives, in stored order in an ``.npz``.
    groups : list of int
        Images made from one original photograph, and copies of each other, share a number: that of the first of
        them. Split by group, not by image, wherever the parts of a set must be independent.
    licences : dict
        Image name to licence and source, for the embedded photographs; otherwise empty.
    max_side_px : int
        Images with a longer side than this are reduced to it.

    Notes
    -----
    Greyscale becomes three equal channels, 16 bits are scaled by 1/65535 (and then kept at 8 bits, as everything
    else; `notes` tells where values show that they hold fewer), CMYK is converted without its colour profile,
    transparency is composited on mid-grey (128/255: the least contrast on average with whatever is opaque), an EXIF
    orientation is applied, and animations give their first frame. :meth:`load` may be called from several threads.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        *,
        max_side_px: int,
        sides_px: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        left_out: Mapping[str, str] | None = None,
        others: Counter[str] | None = None,
        licences: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.names = source.names
        self.licences = dict(licences or {})
        self.max_side_px = max_side_px
        self._source = source
        self._sides_px = sides_px
        self._groups = groups
        self._reasons = dict(left_out or {})
        self._others = others or Counter()
        self._assumptions: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"ImageSet({self.name!r}, {len(self)} images, {len(self._reasons)} failures so far)"

    @property
    def failures(self) -> list[ImageFailure]:
        """What could not be found or decoded so far, each once, sorted by name."""
        return [ImageFailure(name, reason) for name, reason in sorted(self._reasons.copy().items())]

    @cached_property
    def groups(self) -> list[int]:
        """The photograph of each image, shape (image,); see the attributes above.

        Notes
        -----
        Copies are looked for when this is asked for first: about a millisecond an image of 224 px
        (`equiscope.stimuli.copies`).
        """
        return list(self._groups) if self._groups is not None else find_copies(self._source)

    @property
    def n_copies(self) -> int:
        """Images that are copies of an earlier one; 0 where the groups are known without looking for copies."""
        return 0 if self._groups is not None else len(self) - len(set(self.groups))

    @property
    def notes(self) -> list[str]:
        """What was unusual about the set so far, a sentence each: things that are no images, copies, assumptions."""
        notes = note_others(self.name, self._others)
        if self.n_copies:
            n_photographs = len(set(self.groups))
            notes.append(
                f"{self.n_copies} of {len(self)} images are copies of others: they count as {n_photographs} "
                "photographs, and copies are never in both halves"
            )
        return notes + note_assumptions(self._assumptions.copy())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the names, the sizes in bytes, and the first and last 4 KiB of the contents.

        Notes
        -----
        Catches every image that is added, removed, renamed or changed in size. Contents are read from at
        most 4,096 images, evenly spaced over the set, so that a million files cost little more than their
        listing. Not caught, where the size stays: a change in the middle of an image over 8 KiB and, in sets
        of more than 4,096, any change to an image between the sampled ones. The set's own name, its place
        on disk, times of modification and `max_side_px` do not count.
        """
        n_images = len(self)
        digest = hashlib.sha256(f"{n_images} {self._source.pixel_shape}".encode())
        sampled = set(np.linspace(0, n_images - 1, min(n_images, _MAX_SAMPLED)).astype(int).tolist())
        for index, name in enumerate(self.names):
            try:
                n_bytes = self._source.n_bytes(index)
                ends = self._read_ends(index, n_bytes) if index in sampled else b""
            except OSError as error:
                # `load` reports an unreadable file by name; here it only needs a defined part.
                n_bytes, ends = -1, type(error).__name__.encode()
            # Each part is preceded by its length, so that no two sets give the same run of bytes.
            encoded_name = name.encode("utf-8", "surrogateescape")
            digest.update(f"{len(encoded_name)} {n_bytes} {len(ends)} ".encode() + encoded_name + ends)
        return digest.hexdigest()

    def spread(self, n_most: int) -> ImageSet:
        """Give a set of at most so many of the images, evenly over this one; this one itself where it has no more.

        The set keeps its name, and is told from this one by its `fingerprint`.

        Examples
        --------
        >>> images = open_images()
        >>> len(images), len(images.spread(10)), images.spread(39) is images
        (39, 10, True)
        """
        if len(self) <= n_most:
            return self
        chosen = np.linspace(0, len(self) - 1, n_most).round().astype(int).tolist()
        return ImageSet(
            self.name,
            Chosen(self._source, chosen),
            max_side_px=self.max_side_px,
            sides_px=None if self._sides_px is None else [self._sides_px[index] for index in chosen],
            groups=None if self._groups is None else [self._groups[index] for index in chosen],
            left_out={},
            others=self._others,
            licences=self.licences,
        )

    def _read_ends(self, index: int, n_bytes: int) -> bytes:
        head = self._source.read(index, 0, _END_BYTES)
        return head + self._source.read(index, max(len(head), n_bytes - _END_BYTES), n_bytes)

    def load(self, index: int) -> Tensor | None:
        """Decode one image.

        Parameters
        ----------
        index
            Position in `names`.

        Returns
        -------
        Tensor, shape (3, y, x), float32 RGB in [0, 1], or None
            None if the image cannot be decoded; the reason is then in `failures`.
        """
        index = range(len(self))[index]
        source = self._source
        max_side_px = self.max_side_px if self._sides_px is None else self._sides_px[index]
        try:
            decoded = decode_image(read_encoded(source, index), source.pixel_shape, max_side_px)
        except UndecodableError as error:
            self._reasons[self.names[index]] = str(error)
            return None
        except Exception as error:  # damaged bytes make Pillow's readers raise nearly any type
            self._reasons[self.names[index]] = f"{type(error).__name__}: {error}"
            return None
        if decoded.assumption is not None:
            self._assumptions[self.names[index]] = decoded.assumption
        # In NumPy, because this runs beside the network, whose thread pool torch would wake.
        planes = np.ascontiguousarray(decoded.pixels.transpose(2, 0, 1))
        return torch.from_numpy(np.divide(planes, np.float32(255), dtype=np.float32))

    def load_again(self, index: int) -> Tensor:
        """Decode one image that could be decoded before: shape (3, y, x), float32 RGB in [0, 1].

        Raises
        ------
        EquiscopeError
            If it no longer can.

        Examples
        --------
        >>> open_images().load_again(0).shape[0]
        3
        """
        picture = self.load(index)
        if picture is None:
            name = self.names[index]
            raise EquiscopeError(f"{name} could be read before but no longer: {self._reasons[name]}")
        return picture

    def batches(
        self, indices: Sequence[int], batch_size: int
    ) -> Generator[tuple[list[int], Tensor], None, None]:
        """Iterate over images in stacks, decoding the next ones while the caller works on a stack.

        Parameters
        ----------
        indices
            Positions in `names`, in the order wanted.
        batch_size
            Most images in one stack.

        Returns
        -------
        generator of (list of int, Tensor of shape (batch, 3, y, x), float32 RGB in [0, 1])
            The positions in a stack and their pixels. A stack holds consecutive images of one size; images
            that fail are left out (see `failures`).

        Raises
        ------
        EquiscopeError
            If `batch_size` is less than 1.

        Notes
        -----
        One background thread decodes at most `batch_size` images ahead. It ends when the generator is
        exhausted, is closed, or raises.
        """
        return self._stack(indices, STACK.check("batch_size", batch_size))

    def _stack(
        self, indices: Sequence[int], batch_size: int
    ) -> Generator[tuple[list[int], Tensor], None, None]:
        stacked: list[int] = []
        images: list[Tensor] = []
        with closing(self._load_ahead(indices, batch_size)) as loaded:
            for index, image in loaded:
                if image is None:
                    continue
                if images and image.shape != images[0].shape:
                    yield stacked, torch.stack(images)
                    stacked, images = [], []
                stacked.append(index)
                images.append(image)
                if len(images) == batch_size:
                    yield stacked, torch.stack(images)
                    stacked, images = [], []
        if images:
            yield stacked, torch.stack(images)

    def _load_ahead(
        self, indices: Sequence[int], n_ahead: int
    ) -> Generator[tuple[int, Tensor | None], None, None]:
        decoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="equiscope-decode")
        ahead: deque[tuple[int, Future[Tensor | None]]] = deque()
        try:
            for index in indices:
                ahead.append((index, decoder.submit(self.load, index)))
                if len(ahead) > n_ahead:
                    loaded_index, image = ahead.popleft()
                    yield loaded_index, image.result()
            while ahead:
                loaded_index, image = ahead.popleft()
                yield loaded_index, image.result()
        finally:
            decoder.shutdown(wait=True, cancel_futures=True)


def as_images(images: ImageSet | str | Path | None) -> ImageSet:
    """Give the images that somebody means: a set that is open, or what `open_images` opens.

    Examples
    --------
    >>> images = open_images()
    >>> as_images(images) is images, as_images(None).name
    (True, 'embedded')
    """
    return images if isinstance(images, ImageSet) else open_images(images)


def open_images(path: str | Path | None = None, *, max_side_px: int = 512) -> ImageSet:
    """Open the images of a survey.

    Parameters
    ----------
    path
        A folder with its subfolders; a ``.tar`` or ``.tar.gz``; an ``.npz`` with one uint8 array ``images``, shape
        (n, y, x) or (n, y, x, 3), or encoded images end to end as ``<split>_jpeg`` with boundaries ``<split>_offset``
        (``"file.npz:val"`` takes one split); None for the free photographs of `equiscope.stimuli.embedded`.
    max_side_px
        Longer sides are reduced to it with antialiasing; 512 keeps ImageNet's 500 px and bounds a batch's memory.

    Raises
    ------
    EquiscopeError
        If `path` does not exist, is of another kind, or holds no image.

    Examples
    --------
    >>> open_images().name
    'embedded'
    """
    max_side_px = SIDE_PX.check("max_side_px", max_side_px)
    if path is None:
        photos = find_embedded(max_side_px)
        return ImageSet(
            "embedded",
            photos.source,
            max_side_px=max_side_px,
            sides_px=photos.sides_px,
            groups=photos.groups,
            left_out=photos.left_out,
            licences=photos.licences,
        )

    text, colon, split = str(path).rpartition(":")
    if not text.lower().endswith(".npz"):
        text, colon, split = str(path), "", ""
    place = Path(text).expanduser()
    if not text or not place.exists():
        raise EquiscopeError(
            f"no images at {text!r}: there is no such file or folder, seen from {Path.cwd()}. "
            "Expected a folder of images, a .tar, a .tar.gz or an .npz; check the spelling."
        )
    name = place.resolve().name + colon + split
    ending = place.name.lower()
    check_regular(place, "a folder of images, a .tar, a .tar.gz or an .npz")
    if ending.endswith(".npz") and not place.is_dir():
        return ImageSet(name, read_npz(place, split or None), max_side_px=max_side_px)
    if place.is_dir():
        found = find_files(place)
    elif ending.endswith((".tar", ".tar.gz", ".tgz")):
        found = open_tar(place)
    else:
        raise EquiscopeError(
            f"cannot read images from {str(place)!r}, a file ending in {place.suffix or 'nothing'!r}. "
            "Expected a folder of images, a .tar, a .tar.gz or an .npz; put single images into a folder and "
            "give its path."
        )
    return ImageSet(name, found.source, max_side_px=max_side_px, left_out=found.left_out, others=found.others)
