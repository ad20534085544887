"""How far a compressed archive may grow."""

from __future__ import annotations

__all__ = [
    "check_ratio",
]

# Photographs hardly shrink further, and drawings or blank pictures seldom this far: what shrinks more, and unpacks to
# more than this, was made to fill memory or disk.
_MAX_RATIO, _ALWAYS_UNPACKED_BYTES = 100, 1 << 30


def check_ratio(n_bytes: int, n_packed: int) -> None:
    """Refuse an archive that unpacks to over a gigabyte and over a hundred times its own size.

    Raises
    ------
    ValueError
        If it does; whoever reads the archive says which.

    Examples
    --------
    >>> check_ratio(50 << 20, 1 << 10)
    >>> check_ratio(2 << 30, 1 << 20)
    Traceback (most recent call last):
    ValueError: its 1048576 bytes unpack to 2147483648 or more, over 100 times as many, as no images do
    """
    if n_bytes > max(_ALWAYS_UNPACKED_BYTES, _MAX_RATIO * n_packed):
        raise ValueError(
            f"its {n_packed} bytes unpack to {n_bytes} or more, over {_MAX_RATIO} times as many, as no images do"
        )
