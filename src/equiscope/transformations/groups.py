"""The finite sets of transformations that stimuli are shown under, as groups where they are groups.

Each has an ``order``, the number of its elements, which are counted from 0, element 0 being the identity (for
`Scales`, which wraps nowhere and so is no group, the identity is where its octaves are 0). ``name`` is the word for
the transformation in results and commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.errors import EquiscopeError

__all__ = ["CyclicGroup", "DihedralGroup", "Group", "Involution", "Scales", "TorusGroup"]


@dataclass(frozen=True)
class CyclicGroup:
    """C_N: rotations by multiples of 360/N degrees, element k being the rotation by ``k * 360 / N``.

    Parameters
    ----------
    order
        Number of elements N, at least 1.
    name
        What is turned: ``"rotation"`` of the plane, or ``"hue"``.
    """

    order: int
    name: str = "rotation"

    def __post_init__(self) -> None:
        if self.order < 1:
            raise EquiscopeError(f"a cyclic group has at least one element, got order {self.order}")
        if self.name not in ("rotation", "hue"):
            raise EquiscopeError(f"a cyclic group turns 'rotation' or 'hue', got {self.name!r}")

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


@dataclass(frozen=True)
class Involution:
    """C_2: the identity and one transformation that undoes itself.

    Parameters
    ----------
    name
        ``"reflection"``, left to right, or ``"contrast"``, light to dark.
    """

    name: str
    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.name not in ("reflection", "contrast"):
            raise EquiscopeError(f"an involution is 'reflection' or 'contrast', got {self.name!r}")

    def compose(self, g: int, h: int) -> int:
        """Return ``g · h``."""
        return (g + h) % 2

    def inverse(self, g: int) -> int:
        """Return the element that undoes g: itself."""
        return g


@dataclass(frozen=True)
class DihedralGroup:
    """D_N: rotations and reflections; element ``k + N s`` turns by ``k * 360 / N``, then mirrors left-right s times.

    Parameters
    ----------
    n_angles
        Number of rotations N.
    """

    n_angles: int
    name: ClassVar[str] = "dihedral"

    def __post_init__(self) -> None:
        if self.n_angles < 1:
            raise EquiscopeError(f"a dihedral group has at least one rotation, got {self.n_angles}")

    @property
    def order(self) -> int:
        """Number of elements, 2 N."""
        return 2 * self.n_angles

    @property
    def rotations(self) -> CyclicGroup:
        """The subgroup of rotations."""
        return CyclicGroup(self.n_angles)

    def compose(self, g: int, h: int) -> int:
        """Return ``g · h``: first h, then g. Mirroring turns a rotation round: ``r m = m r⁻¹``."""
        (s, a), (t, b) = divmod(g, self.n_angles), divmod(h, self.n_angles)
        return ((-a if t else a) + b) % self.n_angles + self.n_angles * ((s + t) % 2)

    def inverse(self, g: int) -> int:
        """Return the element that undoes g: a reflection undoes itself."""
        s, a = divmod(g, self.n_angles)
        return g if s else -a % self.n_angles


@dataclass(frozen=True)
class TorusGroup:
    """The product of hue and rotation; element ``k + n_angles j`` turns by ``k * 360 / n_angles``, hue by j steps.

    Parameters
    ----------
    n_hues, n_angles
        Number of steps of each factor.
    """

    n_hues: int
    n_angles: int
    name: ClassVar[str] = "hue-rotation"

    @property
    def order(self) -> int:
        """Number of elements."""
        return self.n_hues * self.n_angles

    @property
    def hues(self) -> CyclicGroup:
        """The factor of hues."""
        return CyclicGroup(self.n_hues, "hue")

    @property
    def rotations(self) -> CyclicGroup:
        """The factor of rotations."""
        return CyclicGroup(self.n_angles)

    def compose(self, g: int, h: int) -> int:
        """Return ``g · h``; the two factors commute."""
        (s, a), (t, b) = divmod(g, self.n_angles), divmod(h, self.n_angles)
        return (a + b) % self.n_angles + self.n_angles * ((s + t) % self.n_hues)

    def inverse(self, g: int) -> int:
        """Return the element that undoes g."""
        s, a = divmod(g, self.n_angles)
        return -a % self.n_angles + self.n_angles * (-s % self.n_hues)


@dataclass(frozen=True)
class Scales:
    """Magnifications in equal steps of octaves: a truncated piece of the group of scalings, which never wraps.

    Parameters
    ----------
    octaves
        Magnification of each element, equally spaced and rising: 1 shows the content twice as large.
    """

    octaves: tuple[float, ...]
    name: ClassVar[str] = "scale"

    def __post_init__(self) -> None:
        steps = np.diff(self.octaves)
        if len(self.octaves) < 2 or not np.allclose(steps, steps[0]) or steps[0] <= 0:
            raise EquiscopeError(f"scales are at least two, equally spaced and rising, got {self.octaves}")

    @classmethod
    def between(cls, low: float, high: float, step: float) -> Scales:
        """Scales from ``low`` to ``high`` octaves."""
        return cls(tuple(float(o) for o in np.arange(round((high - low) / step) + 1) * step + low))

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.octaves)

    @property
    def step_octaves(self) -> float:
        """Distance of neighbouring elements, octaves."""
        return self.octaves[1] - self.octaves[0]


Group = CyclicGroup | Involution | DihedralGroup | TorusGroup | Scales
