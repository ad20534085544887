"""JSON documents: results worded as JSON in UTF-8, which holds neither NaN nor infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["to_json"]


def to_json(document: dict[str, Any], *, is_compact: bool = False) -> str:
    r"""Word a document as JSON, a value a line or all on one; NaN and infinity, which JSON cannot hold, become null.

    Examples
    --------
    >>> to_json({"score": float("nan"), "channels": np.arange(2)}, is_compact=True)
    '{"score":null,"channels":[0,1]}\n'
    """
    layout: dict[str, Any] = {"separators": (",", ":")} if is_compact else {"indent": 1}
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, **layout) + "\n"


def _plain(value: Any) -> Any:
    """Turn values into what JSON in UTF-8 can hold; NaN and infinity, which it cannot, into null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    # A file name that is not valid UTF-8 reaches Python as lone surrogates, which UTF-8 cannot hold.
    return None if value is None else str(value).encode(errors="backslashreplace").decode()
