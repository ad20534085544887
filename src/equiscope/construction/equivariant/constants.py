"""Modules with constants that follow from their arguments, such as a turned basis.

They are derived in float64 when a module is made or cast, and stored in its own type. So they are not in a state
dictionary, and a module that is cast to float16 and back holds the constants of float32, not rounded ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

__all__ = ["DerivedConstants"]


class DerivedConstants(nn.Module):
    """A module whose constants are derived again whenever it moves to another type or device.

    As ordinary buffers they would keep float's precision after ``float()`` and ``double()``, and hold anything after
    ``to_empty()``.
    """

    def derive(self) -> dict[str, Tensor]:
        """Derive the constants by their names, floating ones in float64; called with the CPU as default device."""
        raise NotImplementedError

    def set_constants(self) -> None:
        """Register the constants in the type of the parameters, or what they were moved to, and where they are."""
        parameter = next(self.parameters(), None)
        with torch.device("cpu"):
            derived = self.derive()
        for name, value in derived.items():
            like = self._buffers.get(name) if parameter is None else parameter
            value = value.to(torch.get_default_device() if like is None else like.device)
            if value.is_floating_point():
                value = value.to(torch.get_default_dtype() if like is None else like.dtype)
            self.register_buffer(name, value, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.set_constants()
        return self
