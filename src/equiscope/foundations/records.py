"""Read the files of a run back: what is wrong with one becomes a sentence with the command that makes it again.

Three kinds of files hold what a run found, and each has one reader, which takes nothing on trust:

============== ================================================================================
JSON documents `read_record`, which checks every value against the annotations of what it becomes
``.npz``       `Archive`, which checks the checksum of every array before it looks into it
arrays         `equiscope.measurement.responses`, whose chunks carry checksums of their own
============== ================================================================================

Whatever an error is that reading raises, `reading` turns it into an `EquiscopeError` that names the file.
"""

from __future__ import annotations

import errno
import io
import logging
import math
import shlex
import struct
import types
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.errors import DamagedFileError, EquiscopeError
from equiscope.foundations.received import check_archive

__all__ = [
    "Archive",
    "NumberTree",
    "leave_out_damaged",
    "read_record",
    "reading",
    "remedy",
    "run_folder",
]

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

# Lists of numbers, nested as deep as there are axes; null where nothing was measured.
NumberTree = Annotated[list[Any], "numbers"]

# What makes each file of a run again, by the first part of its path below the run's folder.
_MAKERS = {
    "verification.json": "verify",
    "circuits.json": "circuits",
    "circuits": "circuits",
    "featurevis": "featurevis",
    "compare": "compare",
    "budget.json": "budget",
    "design.json": "design",
    "simplify.json": "simplify",
}
# Files that nothing can make again: all others follow from them.
_ALONE = {
    "run.json": "nothing else says what the run was of, so run the survey again into another folder",
    "training.json": "train again into another folder",
    "digests.json": "remove it; until files are written again nothing says whether they were changed",
}
# What damaged bytes were seen to raise in json, zipfile, numpy and zarr. AssertionError and AttributeError are zarr's
# answers to descriptions of other types.
_SYMPTOMS = (
    EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError,
    RuntimeError, NotImplementedError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def run_folder(path: Path) -> Path:
    """Folder of the run that a file belongs to: the nearest above it with a ``run.json``, else where that should be.

    Examples
    --------
    >>> run_folder(Path("runs/mini/verification.json")).as_posix()
    'runs/mini'
    """
    likely = path.parent.parent if path.parent.name in _MAKERS else path.parent
    return next((folder for folder in path.parents if (folder / "run.json").exists()), likely)


def remedy(path: Path) -> str:
    """Word what makes a file of a run again.

    Examples
    --------
    >>> remedy(Path("run/circuits.json"))
    '`equiscope circuits run` makes it again'
    """
    if path.name in _ALONE:
        return _ALONE[path.name]
    folder = run_folder(path)
    place = shlex.quote(str(folder))
    maker = _MAKERS.get(path.relative_to(folder).parts[0])
    if maker is None:
        return f"give the command of the survey again, with --out {place}; it makes this file again"
    return f"`equiscope {maker} {place}` makes it again"


@contextmanager
def reading(path: Path, what: str = "is damaged") -> Iterator[None]:
    """Turn whatever reading a file of a run raises into a sentence about this file.

    Parameters
    ----------
    path
        The file, or the folder of an array.
    what
        What is said of it: ``cannot be read as JSON``.

    Raises
    ------
    DamagedFileError
        If the block raises what damaged files make it raise.

    Examples
    --------
    >>> with reading(Path("run/budget.json")):
    ...     {}["layers"]
    Traceback (most recent call last):
    ...
    equiscope.foundations.errors.DamagedFileError: run/budget.json is damaged (KeyError: 'layers'):
    `equiscope budget run` makes it again
    """
    try:
        yield
    except EquiscopeError:
        raise
    except FileNotFoundError:
        raise DamagedFileError(f"{path.parent} holds no {path.name}: {remedy(path)}") from None
    except IsADirectoryError:
        raise DamagedFileError(
            f"{path} is a folder where a file belongs: move it away; {remedy(path)}"
        ) from None
    except PermissionError as error:
        raise EquiscopeError(f"{path} may not be read: give this account the right to read it") from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise  # nothing is wrong with the file
        raise DamagedFileError(f"{path} {what} ({type(error).__name__}: {error}): {remedy(path)}") from error
    except _SYMPTOMS as error:
        said = str(error) if type(error) in (ValueError, RecordError) else f"{type(error).__name__}: {error}"
        raise DamagedFileError(f"{path} {what} ({said[:200]}): {remedy(path)}") from error


def leave_out_damaged(read: Callable[[], T]) -> T | None:
    """Read a part of a run that the others can do without; where it is damaged, say so and go on without it.

    Examples
    --------
    >>> leave_out_damaged(lambda: 3)
    3
    """
    try:
        return read()
    except DamagedFileError as error:
        _LOG.warning("%s (left out here)", error)
        return None


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an ``.npz``, each read when it is asked for and checked as a whole before it is looked into.

    numpy reads as many bytes as the array's own header asks for, and thus never meets the checksum of an array whose
    header was changed.

    Parameters
    ----------
    path
        The file. It stays open: finding its arrays can take longer than reading some.
    what
        As for `reading`.

    Raises
    ------
    DamagedFileError
        If it is damaged; for an array of it, when that is read.
    """

    def __init__(self, path: Path, what: str = "is damaged") -> None:
        self._path, self._what = path, what
        check_archive(path)
        with reading(path, what):
            self._zip = zipfile.ZipFile(path)
            self._names = [name.removesuffix(".npy") for name in self._zip.namelist()]

    def __getitem__(self, name: str) -> NDArray[Any]:
        with reading(self._path, self._what):
            stored = io.BytesIO(self._zip.read(f"{name}.npy"))
            try:
                return np.asarray(np.lib.format.read_array(stored, allow_pickle=False))
            except ValueError as error:
                # numpy would advise to allow pickles, which may run code.
                said = "it holds Python objects" if "pickle" in str(error) else str(error)
                raise ValueError(said) from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_error: object) -> None:
        self._zip.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class RecordError(ValueError):
    """A value of a document is not of the type that its place asks for."""

    def __init__(self, said: str, place: str = "") -> None:
        super().__init__(f"{place.removeprefix('.')} {said}".strip())
        self.said, self.place = said, place

    def within(self, place: str) -> RecordError:
        """Say the same from one level further out."""
        return RecordError(self.said, place + self.place)


_Reader = Callable[[Any], Any]


def read_record(kind: Any, value: Any) -> Any:
    """Turn what JSON holds back into what it was written from, checking every value on the way.

    Parameters
    ----------
    kind
        A dataclass, or a type made of such, of tuples, lists, unions and plain types. Where it says ``float``, null is
        read as NaN: that is how numbers that were not measured are written. A class with a ``from_document`` is read by
        that. A typed dictionary, whose values stay what
        JSON holds, is checked, and null stands only where its types say None.
    value
        As ``json`` gives it. Keys that the dataclass does not have are of a later version, and are passed over.

    Raises
    ------
    ValueError
        If something is missing or of another type; the message says what and where: ``members[3].score is '0.9',
        expected a number``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Measured:
    ...     layer: str
    ...     score: float
    >>> read_record(Measured, {"layer": "conv1", "score": None})
    Measured(layer='conv1', score=nan)
    >>> read_record(Measured, {"layer": "conv1", "score": "0.9"})
    Traceback (most recent call last):
    ...
    equiscope.foundations.records.RecordError: score is '0.9', expected a number
    """
    return _reader(kind)(value)


def _wrong(value: Any, expected: str) -> RecordError:
    shown = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return RecordError(f"is {shown[:60]}, expected {expected}")


def _read_float(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(value, "a number")
    number = float(value)
    if not math.isfinite(number):
        raise _wrong(value, "a finite number, or null")
    return number


def _read_number(value: Any) -> float:
    if value is None:
        raise _wrong(value, "a number")
    return _read_float(value)


def _read_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, "an integer")
    return value


def _read_tree(value: Any) -> Any:
    return [_read_tree(entry) for entry in value] if isinstance(value, list) else _read_float(value)


def _exactly(kind: type, expected: str) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _wrong(value, expected)
        return value

    return read


_PLAIN: dict[Any, _Reader] = {
    float: _read_float,
    int: _read_int,
    str: _exactly(str, "text"),
    bool: _exactly(bool, "true or false"),
    type(None): _exactly(type(None), "null"),
    Any: lambda value: value,
    NumberTree: _read_tree,
}


@cache
def _reader(kind: Any) -> _Reader:
    """Give the function that reads one type; it is put together once a type."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if hasattr(kind, "from_document"):
        return _own_reader(kind)
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if is_typeddict(kind):
        return _typed_dict_reader(kind)
    if origin is NotRequired:
        return _reader(arguments[0])
    if origin in (Union, types.UnionType):
        return _union_reader(arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _row_reader([_reader(argument) for argument in arguments])
    if origin in (tuple, list):
        return _list_reader(_reader(arguments[0]), origin)
    if origin is dict:
        return _dict_reader(_reader(arguments[1]))
    raise TypeError(f"{kind} has no reader")


def _own_reader(kind: Any) -> _Reader:
    """Read values that say themselves what they can be read from, and raise `ValueError` where they cannot."""

    def read(value: Any) -> Any:
        try:
            return kind.from_document(value)
        except ValueError as error:
            raise _wrong(value, str(error)) from None

    return read


def _dataclass_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind, include_extras=True)
    parts = [
        (part.name, _reader(hints[part.name]), part.default is MISSING and part.default_factory is MISSING)
        for part in fields(kind)
    ]

    def read(value: Any) -> Any:
        return kind(**_read_parts(parts, value))

    return read


def _typed_dict_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind, include_extras=True)
    # Documents have null where a number may be missing, and say so in their types.
    strict = {float: _read_number}
    parts = [
        (name, strict.get(hint) or _reader(hint), get_origin(hint) is not NotRequired)
        for name, hint in hints.items()
    ]
    return lambda value: _read_parts(parts, value)


def _read_parts(parts: list[tuple[str, _Reader, bool]], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, "an object")
    own = {}
    for name, read, is_needed in parts:
        if name in value:
            try:
                own[name] = read(value[name])
            except RecordError as error:
                raise error.within(f".{name}") from None
        elif is_needed:
            raise RecordError(f"has no {name!r}")
    return own


def _union_reader(kinds: tuple[Any, ...]) -> _Reader:
    others = [kind for kind in kinds if kind is not type(None)]
    # A plain float takes null for NaN; where null has a meaning of its own it stays.
    readers = [_reader(kind) for kind in others]
    is_optional = len(others) < len(kinds)

    def read(value: Any) -> Any:
        if value is None and is_optional:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value)
            except RecordError:
                continue
        return readers[-1](value)

    return read


def _entry(read: _Reader, value: Any, index: Any) -> Any:
    try:
        return read(value)
    except RecordError as error:
        raise error.within(f"[{index}]") from None


def _list_reader(read_entry: _Reader, kind: Callable[[Any], Any]) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _wrong(value, "a list")
        try:
            return kind(map(read_entry, value))
        except RecordError:
            return kind(_entry(read_entry, entry, index) for index, entry in enumerate(value))

    return read


def _row_reader(readers: list[_Reader]) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(readers):
            raise _wrong(value, f"a list of {len(readers)}")
        return tuple(_entry(own, entry, i) for i, (own, entry) in enumerate(zip(readers, value, strict=True)))

    return read


def _dict_reader(read_entry: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, "an object")
        return {key: _entry(read_entry, entry, repr(key)[:60]) for key, entry in value.items()}

    return read
