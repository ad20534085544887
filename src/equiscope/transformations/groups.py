"""The finite sets of transformations that stimuli are shown under, as groups where they are groups.

Each has an ``order``, the number of its elements, which are counted from 0, element 0 being the identity (for
`Segment`, which wraps nowhere and so is no group, the identity is where its value is 0). ``name`` is the word for
the transformation in results and commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.errors import EquiscopeError

__all__ = ["CyclicGroup", "DihedralGroup", "Group", "Involution", "Segment", "TorusGroup", "stagger"]


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
        What is done: ``"reflection"``, ``"contrast"``.
    """

    name: str
    order: ClassVar[int] = 2

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
class Segment:
    """Equal steps along a line, a truncated piece of the group of all of them, which never wraps.

    Parameters
    ----------
    values
        Where each element lies, equally spaced and rising; for scale octaves of magnification: 1 shows the content
        twice as large.
    name
        What is done: ``"scale"``.
    """

    values: tuple[float, ...]
    name: str = "scale"

    def __post_init__(self) -> None:
        steps = np.diff(self.values)
        if len(self.values) < 2 or not np.allclose(steps, steps[0]) or steps[0] <= 0:
            raise EquiscopeError(f"steps are at least two, equally spaced and rising, got {self.values}")

    @classmethod
    def between(cls, low: float, high: float, step: float, name: str = "scale") -> Segment:
        """Make equal steps from ``low`` to ``high``."""
        return cls(tuple(float(o) for o in np.arange(round((high - low) / step) + 1) * step + low), name)

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.values)

    @property
    def step(self) -> float:
        """Distance of neighbouring elements."""
        return self.values[1] - self.values[0]


Group = CyclicGroup | Involution | DihedralGroup | TorusGroup | Segment

# Every stimulus starts its orbit at one of this many fractions of the step of a turn. Units tuned more narrowly than
# two steps are sampled below their Nyquist rate; were every orbit sampled at the same angles, poses would be drawn
# towards multiples of the step (by up to 2 degrees in GoogLeNet's mixed3a at 16 angles). Staggered, the aliases of
# different stimuli cancel.
_N_STAGGERS = 4


def stagger(group: Group, n_stimuli: int) -> tuple[NDArray[np.float64], ...]:
    """Where the orbit of each stimulus starts, degrees within one step, shape (stimulus,), for each turn of a group.

    Of a torus the slow turn, of hue, comes first. Elements that are no turns start where they stand.

    Examples
    --------
    Four angles are 90° apart; orbits start at eight places in between.

    >>> stagger(CyclicGroup(4), 3)[0].tolist()
    [0.0, 22.5, 45.0]
    """
    place = np.arange(n_stimuli)
    if isinstance(group, TorusGroup):
        return (
            _fractions(place // _N_STAGGERS, 360.0 / group.n_hues),
            _fractions(place, 360.0 / group.n_angles),
        )
    if isinstance(group, CyclicGroup | DihedralGroup):
        n_turns = group.order if isinstance(group, CyclicGroup) else group.n_angles
        return (_fractions(place, 360.0 / n_turns),)
    return ()


def _fractions(place: NDArray[np.int64], step_deg: float) -> NDArray[np.float64]:
    return np.asarray(place % _N_STAGGERS * (step_deg / _N_STAGGERS), dtype=np.float64)
