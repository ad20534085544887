"""Where the bytes of images come from: a folder, a tar archive, an npz file."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.stimuli.decoding import (
    IMAGE_ENDINGS,
    USUAL_ENDINGS,
    UndecodableError,
    name_format,
    refuse_ending,
)

__all__ = [
    "FileSource",
    "Listing",
    "Source",
    "check_regular",
    "find_files",
    "note_assumptions",
    "note_left_out",
    "note_others",
    "open_tar",
    "read_arrays",
    "read_encoded",
    "read_npz",
]

_ENDINGS = frozenset(IMAGE_ENDINGS)
_HEAD_BYTES = 16
# More than the largest picture that is decoded takes without any compression: 179 million pixels of 6 bytes.
_MAX_IMAGE_BYTES = 1 << 30
# Photographs hardly shrink further, and drawings or blank pictures seldom this far: what shrinks more, and unpacks to
# more than this, was made to fill memory or disk.
_MAX_RATIO, _ALWAYS_UNPACKED_BYTES = 100, 1 << 30

_NPZ_EXPECTED = (
    "Expected one uint8 array `images` of shape (n, y, x, 3) or (n, y, x), or for each split the encoded "
    "images end to end as `<split>_jpeg` (uint8) and their n + 1 boundaries as `<split>_offset` (integer)"
)
# MemoryError and OverflowError: a header that claims more than there is. RuntimeError: an encrypted archive.
_NPZ_DAMAGE = (
    zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, MemoryError, OverflowError, zlib.error
)  # fmt: skip


class Source(Protocol):
    """Named runs of bytes, readable from several threads."""

    names: list[str]
    pixel_shape: tuple[int, ...] | None
    """None: `read` gives an encoded image. Otherwise raw uint8 pixels of this shape."""

    def n_bytes(self, index: int) -> int:
        """Size of one image as it is stored."""
        ...

    def read(self, index: int, start: int, stop: int) -> bytes:
        """Bytes of one image from `start` up to `stop`, or up to its end."""
        ...


@dataclass
class Listing:
    """What a folder or an archive holds.

    Attributes
    ----------
    source
        The images.
    left_out
        The reason for each thing that was left out although it is, or may hold, a picture.
    others
        How many other things there are, by their ending.
    """

    source: Source
    left_out: dict[str, str]
    others: Counter[str]


@dataclass
class _Found:
    """What was seen so far of a folder or an archive."""

    left_out: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


class FileSource:
    """Images as files of their own."""

    def __init__(self, names: list[str], folder: Path, files: list[str]) -> None:
        self.names = names
        self.pixel_shape: tuple[int, ...] | None = None
        self._folder = folder
        self._files = files

    def n_bytes(self, index: int) -> int:
        """See :class:`Source`."""
        return (self._folder / self._files[index]).stat().st_size

    def read(self, index: int, start: int, stop: int) -> bytes:
        """See :class:`Source`."""
        with _open_regular(self._folder / self._files[index]) as file:
            file.seek(start)
            return file.read(stop - start)


def _open_regular(path: Path | str) -> IO[bytes]:
    """Open a file that is none of those which are read for ever or never: a pipe without a writer, a device."""
    # Without waiting for a writer, and looked at once it is open: nothing can take its place in between.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(descriptor, "rb")
    kind = _name_special(os.fstat(descriptor).st_mode)
    if kind is not None:
        file.close()
        raise OSError(f"it is {kind}, not a file")
    return file


def _name_special(mode: int) -> str | None:
    """Name what neither is a file nor a folder."""
    for is_kind, name in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            return name
    return None


def check_regular(path: Path, expected: str) -> None:
    """Refuse a pipe, a socket or a device, which would be read for ever.

    Raises
    ------
    EquiscopeError
        If `path` is one; `expected` tells what it should have been.
    """
    try:
        kind = _name_special(path.stat().st_mode)
    except OSError:  # what is not there is told by whoever opens it
        return
    if kind is not None:
        raise EquiscopeError(f"{str(path)!r} is {kind}, not a file: expected {expected}")


def read_encoded(source: Source, index: int) -> bytes:
    """Read one image as it is stored.

    Raises
    ------
    UndecodableError
        If it is larger than any picture.
    """
    n_bytes = source.n_bytes(index)
    if n_bytes > _MAX_IMAGE_BYTES:
        raise UndecodableError(
            f"the file has {n_bytes} bytes, more than the {_MAX_IMAGE_BYTES} of a picture that can be decoded"
        )
    return source.read(index, 0, n_bytes)


class _TarSource:
    """Plain members of an uncompressed archive, read in place."""

    def __init__(self, archive: IO[bytes], spans: Mapping[str, tuple[int, int]]) -> None:
        self.names = sorted(spans)
        self.pixel_shape: tuple[int, ...] | None = None
        self._spans = np.array([spans[name] for name in self.names], np.int64)
        self._archive = archive
        self._lock = threading.Lock()
        weakref.finalize(self, archive.close)

    def n_bytes(self, index: int) -> int:
        """See :class:`Source`."""
        return int(self._spans[index, 1])

    def read(self, index: int, start: int, stop: int) -> bytes:
        """See :class:`Source`."""
        offset, n_bytes = self._spans[index].tolist()
        with self._lock:
            self._archive.seek(offset + start)
            return self._archive.read(min(stop, n_bytes) - start)


class _JpegRunSource:
    """Encoded images end to end in one array a split, with the boundaries between them."""

    def __init__(self, runs: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
        self.names = [
            f"{split}/{i:06d}" for split, (_, offset) in runs.items() for i in range(len(offset) - 1)
        ]
        self.pixel_shape: tuple[int, ...] | None = None
        self._runs = list(runs.values())
        self._first_index = np.cumsum([0] + [len(offset) - 1 for _, offset in self._runs])

    def _encoded(self, index: int) -> NDArray[np.uint8]:
        run = int(np.searchsorted(self._first_index, index, side="right")) - 1
        encoded, offset = self._runs[run]
        within = index - int(self._first_index[run])
        return encoded[int(offset[within]) : int(offset[within + 1])]

    def n_bytes(self, index: int) -> int:
        """See :class:`Source`."""
        return self._encoded(index).nbytes

    def read(self, index: int, start: int, stop: int) -> bytes:
        """See :class:`Source`."""
        return self._encoded(index)[start:stop].tobytes()


class _ArraySource:
    """Images as one array of pixels."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.names = [f"images/{i:06d}" for i in range(len(images))]
        self.pixel_shape: tuple[int, ...] | None = images.shape[1:]
        self._flat = np.ascontiguousarray(images).reshape(len(images), -1)

    def n_bytes(self, index: int) -> int:
        """See :class:`Source`."""
        return self._flat.shape[1]

    def read(self, index: int, start: int, stop: int) -> bytes:
        """See :class:`Source`."""
        return self._flat[index, start:stop].tobytes()


def find_files(folder: Path) -> Listing:
    """List the images under a folder, following links to folders once each.

    A picture is what has the ending of one, or begins as one. Links may lead out of the folder: they are its owner's.
    """
    found = _Found()
    files: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            status = (folder / prefix).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder / prefix) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.left_out[_shown(prefix.rstrip("/")) or "."] = (
                f"the folder cannot be listed: {error.strerror}"
            )
            continue
        for entry in inside:
            path = prefix + entry.name
            if entry.name.startswith("."):
                found.others["hidden"] += 1
            elif entry.is_dir():
                waiting.append(f"{path}/")
            elif _is_picture(entry, path, found):
                files[_shown(path)] = path
    if not files:
        raise _no_image(f"the folder {str(folder)!r}", found)
    names = sorted(files)
    return Listing(FileSource(names, folder, [files[name] for name in names]), found.left_out, found.others)


def _shown(path: str) -> str:
    """Give a name that every text file can hold, also of a file whose name is no UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_picture(entry: os.DirEntry[str], path: str, found: _Found) -> bool:
    """Tell whether something in a folder is a picture; otherwise it is noted."""
    is_file = entry.is_file()
    if not is_file:
        try:
            kind = _name_special(entry.stat().st_mode)
        except OSError:  # a link to nowhere, which is told when it is read
            kind = None
        if kind is not None:
            found.left_out[_shown(path)] = f"it is {kind}, not a file"
            return False
    if _ending_of(path) in _ENDINGS:
        return True
    if (
        refuse_ending(_ending_of(path)) is None
        and is_file
        and name_format(_read_head(entry.path)) is not None
    ):
        return True
    _note_other(path, found)
    return False


def _read_head(path: str) -> bytes:
    try:
        with _open_regular(path) as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


def open_tar(path: Path) -> Listing:
    """List the images in a ``.tar`` or ``.tar.gz``; a compressed one is unpacked once, into a temporary file.

    Nothing is unpacked under a name that the archive gives, and no link in it is followed.
    """
    spans: dict[str, tuple[int, int]] = {}
    found = _Found()
    check_regular(path, "a .tar or a .tar.gz")
    with ExitStack() as opened:
        try:
            archive = _open_unpacked(path, opened)
            for member in _list_members(archive):
                name = _shown(str(PurePosixPath(member.name)))
                if member.isdir():
                    continue
                if any(part.startswith(".") and part != ".." for part in name.split("/")):
                    found.others["hidden"] += 1
                elif _ending_of(name) not in _ENDINGS and not _begins_as_picture(archive, member):
                    _note_other(name, found)
                elif member.isreg() and not member.issparse():
                    # As in unpacking, a later member replaces an earlier one of the same name.
                    spans[name] = (member.offset_data, member.size)
                else:
                    found.left_out[name] = "a link or a sparse member of the archive, not a plain file"
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
            raise EquiscopeError(
                f"cannot read the archive {str(path)!r} past its first {len(spans)} images: {error} "
                f"({type(error).__name__}). Expected a whole .tar or .tar.gz; fetch it again, or unpack it "
                "and give the folder."
            ) from error
        if not spans:
            raise _no_image(f"the archive {str(path)!r}", found)
        opened.pop_all()
    return Listing(_TarSource(archive, spans), found.left_out, found.others)


def _begins_as_picture(archive: IO[bytes], member: tarfile.TarInfo) -> bool:
    if not member.isreg() or member.issparse() or refuse_ending(_ending_of(member.name)) is not None:
        return False
    archive.seek(member.offset_data)
    return name_format(archive.read(min(_HEAD_BYTES, member.size))) is not None


def _open_unpacked(path: Path, opened: ExitStack) -> IO[bytes]:
    file = opened.enter_context(path.open("rb"))
    is_compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not is_compressed:
        return file
    # Reading a compressed archive out of order would unpack it from its beginning for every image.
    unpacked: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    with file, gzip.open(file) as stream:
        n_packed, n_bytes = os.fstat(file.fileno()).st_size, 0
        while block := stream.read(1 << 20):
            n_bytes += unpacked.write(block)
            _check_ratio(n_bytes, n_packed)
    unpacked.seek(0)
    return unpacked


def _check_ratio(n_bytes: int, n_packed: int) -> None:
    if n_bytes > max(_ALWAYS_UNPACKED_BYTES, _MAX_RATIO * n_packed):
        raise ValueError(
            f"its {n_packed} bytes unpack to {n_bytes} or more, over {_MAX_RATIO} times as many, as no images do"
        )


def _list_members(archive: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # else a kilobyte of memory stays for each
            if member.size < 0:  # the next header would be sought before this one, for ever
                raise tarfile.ReadError(f"a member of {member.size} bytes")
            yield member
        # The standard library takes a damaged header for the end of the archive; the real end is zeros.
        archive.seek(tar.offset)
        if archive.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"damaged member header at byte {tar.offset}")


def read_npz(path: Path, split: str | None) -> Source:
    """Read the images of an ``.npz``, or of one of its splits, into memory.

    Each array is unpacked here, once, and only if it is asked for.
    """
    with read_arrays(path) as stored:
        splits = [key.removesuffix("_jpeg") for key in stored if key.endswith("_jpeg")]
        if split is not None:
            if split not in splits:
                raise unknown_name(f"split of {str(path)!r}", split, splits)
            splits = [split]
        elif "images" in stored:
            return _ArraySource(_check_images(path, stored["images"]))
        if not splits:
            found = ", ".join(stored) or "none"
            raise EquiscopeError(f"no images in {str(path)!r}: its arrays are {found}. {_NPZ_EXPECTED}.")
        return _JpegRunSource({name: _check_run(path, name, stored) for name in splits})


@contextmanager
def read_arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open an ``.npz`` of images for the time of the block; an array is unpacked when it is taken out.

    Raises
    ------
    EquiscopeError
        If it is no such file, is damaged, holds Python objects, or unpacks to far more than images do.
    """
    check_regular(path, "an .npz")
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("this is no zip archive, which every .npz is")
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_ratio(member.file_size, member.compress_size)
        with np.load(path, allow_pickle=False) as stored:
            yield stored
    except EquiscopeError:
        raise
    except _NPZ_DAMAGE as error:
        raise _unreadable_npz(path, error) from error


def _unreadable_npz(path: Path, error: Exception) -> EquiscopeError:
    reason = str(error)
    if "allow_pickle" in reason:
        reason = "an array of it holds Python objects, which could run code"
    return EquiscopeError(
        f"cannot read {str(path)!r} ({type(error).__name__}: {reason}). {_NPZ_EXPECTED}; fetch the file "
        "again, or save the arrays with numpy.savez."
    )


def _check_images(path: Path, images: NDArray[Any]) -> NDArray[np.uint8]:
    is_shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not is_shaped or images.size == 0:
        raise EquiscopeError(
            f"`images` in {str(path)!r} is {images.dtype} of shape {images.shape}. {_NPZ_EXPECTED}. "
            "Transpose it, or scale it to 0-255 and convert it to uint8."
        )
    return images


def _check_run(
    path: Path, split: str, stored: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    if f"{split}_offset" not in stored:
        raise EquiscopeError(f"{str(path)!r} holds `{split}_jpeg` but no `{split}_offset`. {_NPZ_EXPECTED}.")
    encoded, offset = stored[f"{split}_jpeg"], stored[f"{split}_offset"]
    if encoded.dtype != np.uint8 or encoded.ndim != 1:
        found = f"`{split}_jpeg` is {encoded.dtype} of shape {encoded.shape}"
    elif not np.issubdtype(offset.dtype, np.integer) or offset.ndim != 1 or len(offset) < 2:
        found = f"`{split}_offset` is {offset.dtype} of shape {offset.shape}"
    elif offset[0] < 0 or offset[-1] > len(encoded) or (np.diff(offset.astype(np.int64)) < 0).any():
        found = f"`{split}_offset` does not rise within 0 to {len(encoded)}, the bytes of `{split}_jpeg`"
    else:
        return encoded, offset
    raise EquiscopeError(f"in {str(path)!r}, {found}. {_NPZ_EXPECTED}.")


def _ending_of(path: str) -> str:
    """Give the ending in lower case, with its dot; empty where there is none."""
    # By hand: a path object for each of a million names takes half a minute.
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot else ""


def _note_other(path: str, found: _Found) -> None:
    """Name a picture that cannot be read; count what is no picture."""
    reason = refuse_ending(_ending_of(path))
    if reason is not None:
        found.left_out[_shown(path)] = reason
    else:
        found.others[_ending_of(path) or "without an ending"] += 1


def _list(others: Counter[str]) -> str:
    """List endings, the most frequent first."""
    ordered = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{n} {ending}" for ending, n in ordered[:6]] + (["…"] if len(ordered) > 6 else [])
    return ", ".join(listed) or "none"


def note_others(place: str, others: Counter[str]) -> list[str]:
    """Say in a sentence how many things are no pictures; nothing where there are none."""
    n = others.total()
    if not n:
        return []
    return [
        f"{n} {'thing' if n == 1 else 'things'} in {place} {'is' if n == 1 else 'are'} no images: {_list(others)}"
    ]


def note_left_out(left_out: Mapping[str, str]) -> list[str]:
    """Say in a sentence how many pictures are not read, and why the first is not."""
    if not left_out:
        return []
    name, reason = min(left_out.items())
    n = len(left_out)
    return [f"{n} {'thing was' if n == 1 else 'things were'} left out, such as {name}: {reason}"]


def note_assumptions(assumptions: Mapping[str, str]) -> list[str]:
    """Say in a sentence of how many images the range of values was assumed, and how that of the first."""
    if not assumptions:
        return []
    name, reason = min(assumptions.items())
    n = len(assumptions)
    return [
        f"the range of values of {n} {'image' if n == 1 else 'images'} had to be assumed, of {name}: {reason}"
    ]


def _no_image(place: str, found: _Found) -> EquiscopeError:
    skipped = "".join(f" Left out: {name} ({reason})." for name, reason in list(found.left_out.items())[:3])
    return EquiscopeError(
        f"no image in {place}; other files there: {_list(found.others)}.{skipped} Expected files that end in "
        f"{' '.join(USUAL_ENDINGS)} and are not hidden; give the folder or archive that holds them."
    )
