"""Where and in what a network computes: the device, the floating-point type, the buffers that the process keeps."""

from __future__ import annotations

import ctypes
import os
import sys
import textwrap
import warnings
from typing import TYPE_CHECKING

from equiscope.foundations.errors import EquiscopeError, unknown_name

if TYPE_CHECKING:
    import torch

__all__ = ["choose_device", "choose_precision", "keep_large_buffers", "release_buffers", "wait_briefly"]

# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8


def keep_large_buffers() -> None:
    """Ask glibc not to hand the buffers of a forward pass back to the system after each use.

    By default every buffer above a few hundred kilobytes is mapped anew and zeroed page by page by the kernel;
    reusing them made float32 inference 1.3 to 2.3 times as fast. All threads take them from one place, for what each
    keeps for itself adds up. Does nothing where there is no glibc.

    Examples
    --------
    >>> keep_large_buffers()
    """
    libc = _glibc()
    if libc is None:
        return
    if not libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30):
        # glibc before 2.35 refuses more than 32 MiB.
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 25)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    libc.mallopt(_M_TOP_PAD, 1 << 26)
    libc.mallopt(_M_ARENA_MAX, 1)


def release_buffers() -> None:
    """Hand back what `keep_large_buffers` keeps and nobody uses; to be called between steps of different kinds.

    Examples
    --------
    >>> release_buffers()
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Give the C library, where it is one with these switches: another, such as musl, has none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def wait_briefly() -> None:
    """Let threads go to sleep soon where they wait for each other; to be called before torch is loaded.

    After each piece of a convolution its threads wait until all are done, and by default spin for a millisecond or more
    meanwhile. Where another program has a processor that is time taken from both. What the user has set stays.

    Notes
    -----
    Of small convolutions on two cores, seconds of wall and processor time, medians of two or one: quiet 2.5 and 4.9 by
    default, 2.6 and 4.9 so, 3.2 and 5.9 with ``OMP_WAIT_POLICY=PASSIVE``; beside a program that keeps one core busy 6.3
    and 8.1 by default, 5.7 and 5.8 so.

    Examples
    --------
    >>> from unittest import mock
    >>> with mock.patch.dict(os.environ, clear=True):
    ...     wait_briefly()
    ...     dict(os.environ)
    {'GOMP_SPINCOUNT': '10000'}
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


def choose_device(device: str) -> torch.device:
    """Choose where a network runs.

    Parameters
    ----------
    device
        What torch calls a device, or ``auto``: a GPU if there is one.

    Raises
    ------
    EquiscopeError
        If torch has no such device here, or none that computes.

    Examples
    --------
    >>> choose_device("cpu").type
    'cpu'
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of devices that torch has given up
            chosen = torch.device(device)
            # Some kinds of devices can be named and hold tensors, and yet not compute.
            torch.ones(1, device=chosen).sum().item()
    except (RuntimeError, AssertionError, ImportError, TypeError, ValueError) as error:
        reason = textwrap.shorten(str(error), 120, placeholder=" …")
        raise EquiscopeError(
            f"device {device!r} cannot be used here ({reason}): expected auto, cpu or cuda"
        ) from error
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Choose what the network computes in while it is shown transformed stimuli.

    Parameters
    ----------
    precision
        ``float32``, ``bfloat16``, or ``auto``: ``bfloat16`` where the device has instructions for it.
    device
        Where the network runs.

    Raises
    ------
    EquiscopeError
        If the precision is unknown.

    Examples
    --------
    >>> import torch
    >>> choose_precision("float32", torch.device("cpu")), choose_precision("bfloat16", torch.device("cpu"))
    (torch.float32, torch.bfloat16)
    """
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if isinstance(precision, str) and precision in known:
        return known[precision]
    if precision != "auto":
        raise unknown_name("precision", precision, ["auto", *known])
    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # mkldnn computes in bfloat16 on any processor, but slower than in float32 without instructions for it.
        supports = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        is_fast = device.type == "cpu" and supports is not None and bool(supports())
    return torch.bfloat16 if is_fast else torch.float32
