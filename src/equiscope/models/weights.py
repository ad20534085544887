"""Weights from files, from the cache and from downloads that are checked, and how they get into a module.

A public file has a name, an address and a sha1. It is looked for in the cache, downloaded if it is not there and a sha1
is known, and refused if its sha1 is another. Then each tensor gets into the parameter that is named for it: what is
missing, left over or of another shape is refused with its name.
"""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import write_atomically
from equiscope.models.caffe import Tensors, read_caffemodel

__all__ = [
    "PublicFile",
    "assign",
    "obtain",
    "read_tensors",
    "require_file",
]

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
# What an archive may hold when unpacked: GoogLeNet with its auxiliary heads in float64 has 0.1 GB.
_LARGEST_BYTES = 1 << 30
# What damaged or hostile archives raise: numpy, zipfile and zlib each have their own.
_UNREADABLE = (
    OSError, ValueError, TypeError, SyntaxError, EOFError, KeyError, MemoryError, OverflowError, RuntimeError,
    NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class PublicFile:
    """A file of weights at its public address.

    Parameters
    ----------
    name
        File name in the cache.
    url
        Where its authors publish it.
    sha1
        Checksum, 40 hexadecimal digits; ``None`` where none is known: then nothing is downloaded.
    """

    name: str
    url: str
    sha1: str | None


def _read_npz(path: Path) -> Tensors:
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(entry.file_size for entry in archive.infolist())
        if n_bytes > _LARGEST_BYTES:
            raise ValueError(f"unpacked it would have {n_bytes / 1e9:.1f} GB, the largest network has 0.1")
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    except _UNREADABLE as error:
        told = (
            "it holds Python objects" if "allow_pickle" in str(error) else str(error) or type(error).__name__
        )
        raise EquiscopeError(
            f"{path} is cut short or not an .npz of arrays: {told}. Fetch the file again"
        ) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise EquiscopeError(f"{path} is not an .npz of arrays: {name!r} is none. Fetch the file again")
    for name, array in found.items():
        if array.dtype.kind != "f":
            raise EquiscopeError(f"{path}: tensor {name!r} has type {array.dtype}, expected floats")
    return {name: array.astype(np.float32) for name, array in found.items()}


def read_tensors(path: Path) -> Tensors:
    """Read a file of weights, by its ending: ``.npz`` or ``.caffemodel``.

    Parameters
    ----------
    path
        The file. Half-precision values are widened.

    Returns
    -------
    dict
        Name to array, float32.

    Raises
    ------
    EquiscopeError
        If the file does not exist, has another ending, or cannot be read as a whole.

    Examples
    --------
    >>> np.savez("weights.npz", **{"conv1/weights": np.zeros((4, 3, 5, 5), np.float16)})
    >>> read_tensors(Path("weights.npz"))["conv1/weights"].dtype
    dtype('float32')
    """
    readers: dict[str, Callable[[Path], Tensors]] = {".npz": _read_npz, ".caffemodel": read_caffemodel}
    require_file(path)
    if path.suffix not in readers:
        endings = " or ".join(readers)
        raise EquiscopeError(f"cannot read weights from {path}: expected a file ending in {endings}")
    return readers[path.suffix](path)


def require_file(path: Path) -> None:
    """Refuse a path that is not a file, and say which weights were asked for.

    Examples
    --------
    >>> try:
    ...     require_file(Path("absent.npz"))
    ... except EquiscopeError as error:
    ...     "absent.npz" in str(error)
    True
    """
    if not path.is_file():
        raise EquiscopeError(f"weights {path}: there is no such file; give an existing file with --weights")


# --- into the network --------------------------------------------------------------------------------------


def assign(
    module: nn.Module,
    names: Mapping[str, str],
    tensors: Mapping[str, NDArray[np.float32]],
    source: str,
) -> None:
    """Copy tensors into a network, each exactly once, shapes checked.

    Parameters
    ----------
    module, names
        The network whose parameters are overwritten, and for each of them the name of the tensor that belongs there.
    tensors
        Name to array, float32. Axes of size one in front of the expected shape are dropped: old Caffe
        files give each blob four axes.
    source
        Where the tensors come from, for messages.

    Raises
    ------
    EquiscopeError
        If a tensor is missing, left over, of the wrong shape or not finite; nothing has been copied then.

    Examples
    --------
    >>> assign(layer := nn.Linear(2, 1, bias=False), {"weight": "w"}, {"w": np.float32([[1, 2]])}, "here")
    >>> layer.weight.tolist()
    [[1.0, 2.0]]
    """
    parameters = dict(module.named_parameters())
    checked: dict[str, Tensor] = {}
    for parameter_name, tensor_name in names.items():
        expected = tuple(parameters[parameter_name].shape)
        if tensor_name not in tensors:
            raise EquiscopeError(
                f"{source} has no tensor {tensor_name!r}, expected shape {expected}: "
                "the file is cut short or belongs to another network"
            )
        array = tensors[tensor_name]
        found, n_extra = array.shape, max(0, array.ndim - len(expected))
        if found[:n_extra] != (1,) * n_extra or found[n_extra:] != expected:
            raise EquiscopeError(
                f"{source}: tensor {tensor_name!r} has shape {found}, expected {expected}: "
                "the file belongs to another network"
            )
        if not np.isfinite(array).all():
            raise EquiscopeError(
                f"{source}: tensor {tensor_name!r} holds infinities or NaN: fetch the file again"
            )
        checked[parameter_name] = torch.from_numpy(np.array(array.reshape(expected), np.float32))
    left_over = [name for name in tensors if name not in set(names.values())]
    if left_over:
        shape = tensors[left_over[0]].shape
        raise EquiscopeError(
            f"{source} has a tensor {left_over[0]!r} of shape {shape} that the network does not know "
            f"({len(left_over)} such in all): the file belongs to another network"
        )
    with torch.no_grad():
        for parameter_name, tensor in checked.items():
            parameters[parameter_name].copy_(tensor)


# --- cache and download ------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Folder of downloaded weights: ``$EQUISCOPE_CACHE``, or else ``~/.cache/equiscope``."""
    chosen = os.environ.get("EQUISCOPE_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "equiscope"


def obtain(public: PublicFile) -> Path:
    """Give the path of a public file of weights, from the cache or freshly downloaded.

    Parameters
    ----------
    public
        The file.

    Returns
    -------
    pathlib.Path
        A whole file in the cache whose checksum has been compared where one is known.

    Raises
    ------
    EquiscopeError
        If the file is neither cached nor to be had, or its checksum is wrong. A failed download leaves
        nothing behind.

    Examples
    --------
    >>> from unittest import mock
    >>> Path("small.npz").touch()
    >>> with mock.patch.dict("os.environ", EQUISCOPE_CACHE="."):
    ...     obtain(PublicFile("small.npz", "https://example.org/small.npz", sha1=None)).name
    'small.npz'
    """
    path = cache_folder() / public.name
    if path.is_file():
        if public.sha1 is not None and (found := _sha1(path)) != public.sha1:
            raise EquiscopeError(
                f"{path} has sha1 {found}, expected {public.sha1}: delete it and start again"
            )
        return path
    if public.sha1 is None:
        raise EquiscopeError(
            f"{public.name} is not downloaded, because no checksum that could verify it is known: "
            f"fetch it from {public.url} and give it with --weights FILE, or put it at {path}"
        )
    try:
        _download(public, path)
    except (OSError, HTTPException) as error:
        raise EquiscopeError(
            f"could not download {public.url} to {path}: {error}. "
            "Fetch it in another way and give it with --weights FILE"
        ) from error
    return path


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()


def _download(public: PublicFile, path: Path) -> None:
    """Fetch a file; its name appears only when it is whole and what was published."""
    write_atomically(path, lambda file: _fetch(public, file))


def _fetch(public: PublicFile, file: BinaryIO) -> None:
    digest = hashlib.sha1(usedforsecurity=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with (
        urllib.request.urlopen(public.url, timeout=_TIMEOUT_S) as answer,  # noqa: S310 - our own addresses
        Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress,
    ):
        length = answer.headers.get("Content-Length")
        n_expected = int(length) if length else None
        task = progress.add_task(f"downloading {public.name}", total=n_expected)
        n_bytes = 0
        while chunk := answer.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            n_bytes += len(chunk)
            progress.update(task, completed=n_bytes)
    if n_expected is not None and n_bytes != n_expected:
        raise EquiscopeError(
            f"{public.url} ended after {n_bytes} of {n_expected} bytes: "
            "start again, or give the file with --weights FILE"
        )
    if digest.hexdigest() != public.sha1:
        raise EquiscopeError(
            f"{public.url} has sha1 {digest.hexdigest()}, expected {public.sha1}: nothing was kept; "
            "start again, or give the file with --weights FILE"
        )
