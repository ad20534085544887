"""Images in a ``.tar`` or ``.tar.gz``, read in place."""

from __future__ import annotations

import gzip
import os
import tarfile
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.decoding import name_format, refuse_ending
from equiscope.stimuli.sources.folders import check_regular
from equiscope.stimuli.sources.listing import (
    ENDINGS,
    HEAD_BYTES,
    Found,
    Listing,
    ending_of,
    no_image,
    note_other,
    shown_name,
)
from equiscope.stimuli.sources.unpacking import check_ratio

__all__ = [
    "open_tar",
]


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


def open_tar(path: Path) -> Listing:
    """List the images in a ``.tar`` or ``.tar.gz``; a compressed one is unpacked once, into a temporary file.

    Nothing is unpacked under a name that the archive gives, and no link in it is followed.

    Examples
    --------
    >>> _ = Path("a.png").write_bytes(b"...")
    >>> with tarfile.open("images.tar", "w") as archive:
    ...     archive.add("a.png")
    >>> open_tar(Path("images.tar")).source.names
    ['a.png']
    """
    spans: dict[str, tuple[int, int]] = {}
    found = Found()
    check_regular(path, "a .tar or a .tar.gz")
    with ExitStack() as opened:
        try:
            archive = _open_unpacked(path, opened)
            for member in _list_members(archive):
                name = shown_name(str(PurePosixPath(member.name)))
                if member.isdir():
                    continue
                if any(part.startswith(".") and part != ".." for part in name.split("/")):
                    found.others["hidden"] += 1
                elif ending_of(name) not in ENDINGS and not _begins_as_picture(archive, member):
                    note_other(name, found)
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
            raise no_image(f"the archive {str(path)!r}", found)
        opened.pop_all()
    return Listing(_TarSource(archive, spans), found.left_out, found.others)


def _begins_as_picture(archive: IO[bytes], member: tarfile.TarInfo) -> bool:
    if not member.isreg() or member.issparse() or refuse_ending(ending_of(member.name)) is not None:
        return False
    archive.seek(member.offset_data)
    return name_format(archive.read(min(HEAD_BYTES, member.size))) is not None


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
            check_ratio(n_bytes, n_packed)
    unpacked.seek(0)
    return unpacked


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
