"""Where the bytes of images come from: a folder, a tar archive, an npz file."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from equiscope.errors import EquiscopeError, unknown_name
from equiscope.stimuli.decoding import IMAGE_ENDINGS

__all__ = ["FileSource", "Source", "find_files", "open_tar", "read_npz"]

_NPZ_EXPECTED = (
    "Expected one uint8 array `images` of shape (n, y, x, 3) or (n, y, x), or for each split the encoded "
    "images end to end as `<split>_jpeg` (uint8) and their n + 1 boundaries as `<split>_offset` (integer)"
)


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
        with (self._folder / self._files[index]).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)


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


def find_files(folder: Path) -> tuple[Source, dict[str, str]]:
    """List the images under a folder, following links to folders once each.

    Returns
    -------
    Source, dict
        The images, and the reason for each thing that was left out although it may hold images.
    """
    names: list[str] = []
    others: Counter[str] = Counter()
    left_out: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()

    def note_unlisted(error: OSError) -> None:
        left_out[os.path.relpath(error.filename, folder)] = f"the folder cannot be listed: {error.strerror}"

    for parent, subfolders, files in os.walk(folder, onerror=note_unlisted, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        prefix = "" if Path(parent) == folder else f"{Path(parent).relative_to(folder).as_posix()}/"
        names += [prefix + file for file in files if _is_image(prefix + file, others)]
    if not names:
        raise _no_image(f"the folder {str(folder)!r}", others, left_out)
    names.sort()
    return FileSource(names, folder, names), left_out


def open_tar(path: Path) -> tuple[Source, dict[str, str]]:
    """List the images in a ``.tar`` or ``.tar.gz``; a compressed one is unpacked once, into a temporary file.

    Returns
    -------
    Source, dict
        The images, and the reason for each member that was left out although it is named like an image.
    """
    spans: dict[str, tuple[int, int]] = {}
    others: Counter[str] = Counter()
    left_out: dict[str, str] = {}
    with ExitStack() as opened:
        try:
            archive = _open_unpacked(path, opened)
            for member in _list_members(archive):
                name = str(PurePosixPath(member.name))
                if member.isdir() or not _is_image(name, others):
                    continue
                if member.isreg() and not member.issparse():
                    # As in unpacking, a later member replaces an earlier one of the same name.
                    spans[name] = (member.offset_data, member.size)
                else:
                    left_out[name] = "a link or a sparse member of the archive, not a plain file"
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise EquiscopeError(
                f"cannot read the archive {str(path)!r} past its first {len(spans)} images: {error} "
                f"({type(error).__name__}). Expected a whole .tar or .tar.gz; fetch it again, or unpack it "
                "and give the folder."
            ) from error
        if not spans:
            raise _no_image(f"the archive {str(path)!r}", others, left_out)
        opened.pop_all()
    return _TarSource(archive, spans), left_out


def _open_unpacked(path: Path, opened: ExitStack) -> IO[bytes]:
    file = opened.enter_context(path.open("rb"))
    is_compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not is_compressed:
        return file
    # Reading a compressed archive out of order would unpack it from its beginning for every image.
    unpacked: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    with file, gzip.open(file) as stream:
        shutil.copyfileobj(stream, unpacked, 1 << 20)
    unpacked.seek(0)
    return unpacked


def _list_members(archive: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # else a kilobyte of memory stays for each
            yield member
        # The standard library takes a damaged header for the end of the archive; the real end is zeros.
        archive.seek(tar.offset)
        if archive.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"damaged member header at byte {tar.offset}")


def read_npz(path: Path, split: str | None) -> Source:
    """Read the images of an ``.npz``, or of one of its splits, into memory.

    Each array is unpacked here, once, and only if it is asked for.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("this is no zip archive, which every .npz is")
        with np.load(path, allow_pickle=False) as stored:
            splits = [key.removesuffix("_jpeg") for key in stored.files if key.endswith("_jpeg")]
            if split is not None:
                if split not in splits:
                    raise unknown_name(f"split of {str(path)!r}", split, splits)
                splits = [split]
            elif "images" in stored:
                return _ArraySource(_check_images(path, stored["images"]))
            if not splits:
                found = ", ".join(stored.files) or "none"
                raise EquiscopeError(f"no images in {str(path)!r}: its arrays are {found}. {_NPZ_EXPECTED}.")
            return _JpegRunSource({name: _check_run(path, name, stored) for name in splits})
    except EquiscopeError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
        raise EquiscopeError(
            f"cannot read {str(path)!r} ({type(error).__name__}: {error}). {_NPZ_EXPECTED}; fetch the file "
            "again, or save the arrays with numpy.savez."
        ) from error


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


def _is_image(name: str, others: Counter[str]) -> bool:
    """Tell by its name whether a file is an image; count it by its ending if it is not, nor hidden."""
    parts = name.split("/")
    if any(part.startswith(".") and part != ".." for part in parts):
        return False
    # By hand: a path object for each of a million names takes half a minute.
    _, dot, ending = parts[-1].rpartition(".")
    if dot and f".{ending.lower()}" in IMAGE_ENDINGS:
        return True
    others[f".{ending.lower()}" if dot else "without an ending"] += 1
    return False


def _no_image(place: str, others: Mapping[str, int], left_out: Mapping[str, str]) -> EquiscopeError:
    found = ", ".join(f"{n} {ending}" for ending, n in Counter(others).most_common(6)) or "none"
    skipped = "".join(f" Left out: {name} ({reason})." for name, reason in list(left_out.items())[:3])
    return EquiscopeError(
        f"no image in {place}; other files there: {found}.{skipped} Expected files that end in "
        f"{' '.join(IMAGE_ENDINGS)} and are not hidden; give the folder or archive that holds them."
    )
