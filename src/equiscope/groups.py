"""The finite groups whose elements transform stimuli; today the rotations of the plane by equal steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.errors import EquiscopeError

__all__ = ["CyclicGroup"]


@dataclass(frozen=True)
class CyclicGroup:
    """C_N: rotations by multiples of 360/N degrees, element k being the rotation by ``k * 360 / N``.

    Parameters
    ----------
    order
        Number of elements N, at least 1.
    """

    order: int

    def __post_init__(self) -> None:
        if self.order < 1:
            raise EquiscopeError(f"a cyclic group has at least one element, got order {self.order}")

    @property
    def elements(self) -> NDArray[np.int64]:
        """All elements, shape (element,)."""
        return np.arange(self.order)

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """Angle of each element, shape (element,), degrees in [0, 360)."""
        return np.asarray(self.elements * (360.0 / self.order), dtype=np.float64)

    def compose(self, g: int, h: int) -> int:
        """Return ``g · h``: first h, then g."""
        return (g + h) % self.order

    def inverse(self, g: int) -> int:
        """Return the element that undoes g."""
        return -g % self.order

    def subgroup(self, order: int) -> NDArray[np.int64]:
        """Elements of the one subgroup with ``order`` elements.

        Raises
        ------
        EquiscopeError
            If ``order`` does not divide the group's.
        """
        if order < 1 or self.order % order:
            raise EquiscopeError(
                f"C{self.order} has no subgroup of order {order}: it must divide {self.order}"
            )
        return np.arange(order) * (self.order // order)

    def coset(self, g: int, stabiliser_order: int) -> frozenset[int]:
        """Return the coset ``g · S`` of the subgroup of ``stabiliser_order`` elements."""
        return frozenset(self.compose(g, int(s)) for s in self.subgroup(stabiliser_order))
