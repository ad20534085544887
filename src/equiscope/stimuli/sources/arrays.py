"""Images in an ``.npz``: as one array of pixels, or encoded and end to end."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.stimuli.sources.folders import check_regular
from equiscope.stimuli.sources.listing import Source
from equiscope.stimuli.sources.unpacking import check_ratio

__all__ = [
    "read_arrays",
    "read_npz",
]

_NPZ_EXPECTED = (
    "Expected one uint8 array `images` of shape (n, y, x, 3) or (n, y, x), or for each split the encoded "
    "images end to end as `<split>_jpeg` (uint8) and their n + 1 boundaries as `<split>_offset` (integer)"
)
# MemoryError and OverflowError: a header that claims more than there is. RuntimeError: an encrypted archive.
_NPZ_DAMAGE = (
    zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, MemoryError, OverflowError, zlib.error
)  # fmt: skip


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


def read_npz(path: Path, split: str | None) -> Source:
    """Read the images of an ``.npz``, or of one of its splits, into memory.

    Each array is unpacked here, once, and only if it is asked for.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "images.npz"
    ...     np.savez(path, images=np.zeros((2, 4, 6, 3), np.uint8))
    ...     source = read_npz(path, None)
    >>> source.names, source.pixel_shape
    (['images/000000', 'images/000001'], (4, 6, 3))
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

    Examples
    --------
    >>> np.savez("images.npz", images=np.zeros((5, 8, 8, 3), np.uint8))
    >>> with read_arrays(Path("images.npz")) as stored:
    ...     {name: stored[name].shape for name in stored}
    {'images': (5, 8, 8, 3)}
    """
    check_regular(path, "an .npz")
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("this is no zip archive, which every .npz is")
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                check_ratio(member.file_size, member.compress_size)
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
