"""Products in float32 where layers run in half precision.

The kernel of a tied layer is a small product of coefficients and a basis. Rounded to bfloat16, the kernels of a field
would be copies of each other to three digits only, whatever the layer promises.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["full_precision"]


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Turn automatic mixed precision off on a kind of device, where it has that.

    Examples
    --------
    >>> with torch.autocast("cpu", torch.bfloat16), full_precision(torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
