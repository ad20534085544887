"""Weights from files: Caffe's and NumPy's formats, the cache, and downloads that are checked."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
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

__all__ = [
    "PublicFile",
    "WireError",
    "assign",
    "floats",
    "integers",
    "last_integer",
    "message_fields",
    "nested",
    "obtain",
    "read_caffemodel",
    "read_tensors",
    "require_file",
    "shaped",
    "text",
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

Tensors = dict[str, NDArray[np.float32]]


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


# --- the protobuf wire format, as far as Caffe's and TensorFlow's weight files need it ---------------------


class WireError(ValueError):
    """Bytes that are not a whole protobuf message."""


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise WireError("a number is longer than 64 bits")
    raise WireError("it ends inside a number")


def message_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Go through the fields of one protobuf message, in the order of the file.

    Parameters
    ----------
    message
        The bytes of one message.

    Yields
    ------
    number, value
        Field number, and its value: an ``int`` for a varint, otherwise the field's bytes, uninterpreted
        (a string, a nested message, a packed list, or one 32-bit or 64-bit number).

    Raises
    ------
    WireError
        If the bytes end inside a field, or cannot be a protobuf message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise WireError("it has a field with number 0")
        if wire_type == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == 2:
            n_bytes, at = _varint(message, at)
        elif wire_type in (1, 5):
            n_bytes = 8 if wire_type == 1 else 4
        else:
            raise WireError(f"it has a field of wire type {wire_type}")
        if at + n_bytes > len(message):
            raise WireError(
                f"field {number} should have {n_bytes} bytes, but only {len(message) - at} follow"
            )
        yield number, message[at : at + n_bytes]
        at += n_bytes


def nested(value: int | memoryview) -> memoryview:
    """Bytes of a field that must be a string, a nested message or a packed list."""
    if isinstance(value, int):
        raise WireError("a number stands where bytes should be")
    return value


def text(value: int | memoryview) -> str:
    """Text of a string field."""
    return str(nested(value), "utf-8", "replace")


def floats(value: int | memoryview) -> NDArray[np.float32]:
    """Values of a float field, packed or single, shape (value,)."""
    content = nested(value)
    if len(content) % 4:
        raise WireError(f"a list of 32-bit floats has {len(content)} bytes")
    return np.frombuffer(content, "<f4")


def last_integer(value: int | memoryview) -> int:
    """Value of an integer field; the last one counts where it is repeated."""
    found = integers(value)
    if not found:
        raise WireError("a list of integers is empty where one should be")
    return found[-1]


def shaped(data: NDArray[np.float32], shape: list[int]) -> NDArray[np.float32]:
    """Give values their shape, of which nothing is known but what the file says."""
    try:
        if data.size == math.prod(shape):
            return data.reshape(shape)
    except (ValueError, OverflowError) as error:  # too many axes, or an empty one beside one that is too long
        raise WireError(f"an array has the shape {tuple(shape)!r:.80} ({error})") from error
    raise WireError(f"an array of shape {tuple(shape)!r:.80} has {data.size} values")


def integers(value: int | memoryview) -> list[int]:
    """Values of an integer field, packed or single."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


# --- file formats ------------------------------------------------------------------------------------------


def _read_blob(message: memoryview) -> NDArray[np.float32]:
    legacy_shape = [1, 1, 1, 1]
    is_legacy = False
    shape: list[int] = []
    parts: list[NDArray[np.float32]] = []
    for number, value in message_fields(message):
        if number in (1, 2, 3, 4):
            legacy_shape[number - 1] = last_integer(value)
            is_legacy = True
        elif number == 5:
            parts.append(floats(value))
        elif number == 7:
            for inner, size in message_fields(nested(value)):
                if inner == 1:
                    shape += integers(size)
        elif number == 8:
            raise WireError("a blob holds 64-bit values; save it as 32-bit floats")
    data = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    wanted = shape or (legacy_shape if is_legacy else [data.size])
    return shaped(data, wanted)


def _read_layer(message: memoryview, name_number: int, blobs_number: int) -> Tensors:
    name = ""
    blobs: list[NDArray[np.float32]] = []
    for number, value in message_fields(message):
        if number == name_number:
            name = text(value)
        elif number == blobs_number:
            try:
                blobs.append(_read_blob(nested(value)))
            except WireError as error:
                raise WireError(f"layer {name!r}: {error}") from error
    kinds = ["weights", "biases", *(f"blob{index}" for index in range(2, len(blobs)))]
    return {f"{name}/{kind}": blob for kind, blob in zip(kinds, blobs, strict=False)}


def read_caffemodel(path: Path) -> Tensors:
    """Read every blob of a Caffe network file (``NetParameter``), old layer format or new.

    Parameters
    ----------
    path
        A ``.caffemodel`` file.

    Returns
    -------
    dict
        Arrays named ``<layer>/weights`` and ``<layer>/biases``, float32, in Caffe's axis order
        (out, in, y, x). Old files give every blob four axes.

    Raises
    ------
    EquiscopeError
        If the file is cut short, is not a Caffe network, or holds no weights.
    """
    tensors: Tensors = {}
    try:
        for number, value in message_fields(memoryview(path.read_bytes())):
            if number == 100:
                tensors.update(_read_layer(nested(value), name_number=1, blobs_number=7))
            elif number == 2:
                tensors.update(_read_layer(nested(value), name_number=4, blobs_number=6))
    except WireError as error:
        raise EquiscopeError(
            f"{path} is cut short or not a .caffemodel: {error}. Fetch the file again"
        ) from error
    if not tensors:
        raise EquiscopeError(f"{path} holds no layer with weights, expected a .caffemodel: fetch it again")
    return tensors


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
    """
    readers: dict[str, Callable[[Path], Tensors]] = {".npz": _read_npz, ".caffemodel": read_caffemodel}
    require_file(path)
    if path.suffix not in readers:
        endings = " or ".join(readers)
        raise EquiscopeError(f"cannot read weights from {path}: expected a file ending in {endings}")
    return readers[path.suffix](path)


def require_file(path: Path) -> None:
    """Refuse a path that is not a file, and say which weights were asked for."""
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
    module
        The network whose parameters are overwritten.
    names
        For each parameter of ``module`` the name of the tensor that belongs there.
    tensors
        Name to array, float32. Axes of size one in front of the expected shape are dropped: old Caffe
        files give each blob four axes.
    source
        Where the tensors come from, for messages.

    Raises
    ------
    EquiscopeError
        If a tensor is missing, left over, of the wrong shape or not finite; nothing has been copied then.
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
