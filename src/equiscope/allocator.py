"""Keep large buffers inside the process: on CPUs the allocator is otherwise the bottleneck."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_large_buffers"]

# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_large_buffers() -> None:
    """Ask glibc not to hand the buffers of a forward pass back to the system after each use.

    By default every buffer above a few hundred kilobytes is mapped anew and zeroed page by page by the kernel;
    reusing them made float32 inference 1.3 to 2.3 times as fast. Does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        # Another C library, such as musl: it has no such switch.
        return
    if not mallopt(_M_MMAP_THRESHOLD, 1 << 30):
        # glibc before 2.35 refuses more than 32 MiB.
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    mallopt(_M_TOP_PAD, 1 << 26)
