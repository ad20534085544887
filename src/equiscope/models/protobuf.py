"""The protobuf wire format, as far as the weight files of Caffe and TensorFlow need it.

A message is a row of fields, each a number, a type, and a value: ``08 96 01`` is field 1 with the number 150. What the
numbers mean is known to whoever reads the message; nothing in the bytes says it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["WireError", "floats", "integers", "last_integer", "message_fields", "nested", "shaped", "text"]


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

    Examples
    --------
    >>> [(number, value) for number, value in message_fields(memoryview(bytes([0x08, 0x96, 0x01])))]
    [(1, 150)]
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
    """Bytes of a field that must be a string, a nested message or a packed list.

    Examples
    --------
    >>> bytes(nested(memoryview(b"abc")))
    b'abc'
    """
    if isinstance(value, int):
        raise WireError("a number stands where bytes should be")
    return value


def text(value: int | memoryview) -> str:
    """Text of a string field.

    Examples
    --------
    >>> text(memoryview(b"conv1"))
    'conv1'
    """
    return str(nested(value), "utf-8", "replace")


def floats(value: int | memoryview) -> NDArray[np.float32]:
    """Values of a float field, packed or single, shape (value,).

    Examples
    --------
    >>> floats(memoryview(bytes([0, 0, 128, 63]))).tolist()
    [1.0]
    """
    content = nested(value)
    if len(content) % 4:
        raise WireError(f"a list of 32-bit floats has {len(content)} bytes")
    return np.frombuffer(content, "<f4")


def last_integer(value: int | memoryview) -> int:
    """Value of an integer field; the last one counts where it is repeated.

    Examples
    --------
    >>> last_integer(memoryview(bytes([3, 4])))
    4
    """
    found = integers(value)
    if not found:
        raise WireError("a list of integers is empty where one should be")
    return found[-1]


def shaped(data: NDArray[np.float32], shape: list[int]) -> NDArray[np.float32]:
    """Give values their shape, of which nothing is known but what the file says.

    Examples
    --------
    >>> shaped(np.zeros(6, np.float32), [2, 3]).shape
    (2, 3)
    """
    try:
        if data.size == math.prod(shape):
            return data.reshape(shape)
    except (ValueError, OverflowError) as error:  # too many axes, or an empty one beside one that is too long
        raise WireError(f"an array has the shape {tuple(shape)!r:.80} ({error})") from error
    raise WireError(f"an array of shape {tuple(shape)!r:.80} has {data.size} values")


def integers(value: int | memoryview) -> list[int]:
    """Values of an integer field, packed or single.

    Examples
    --------
    >>> integers(7), integers(memoryview(bytes([3, 4])))
    ([7], [3, 4])
    """
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found
