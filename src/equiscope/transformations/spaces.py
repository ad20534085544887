"""Spaces of poses: where the copies of one feature lie under a transformation.

What a search, a chart or a check does depends on the shape of the space alone, not on what is transformed: rotation and
hue both live on a circle, and are searched, drawn and resampled by the same code.

================ ======================================== =============================================
`Circle`         one turn                                 rotation, hue
`HandedCircle`   a turn, and which of two hands           rotation with reflection
`Torus`          two turns that do not mind each other    hue × rotation
`Pair`           off or on                                reflection, contrast
`Line`           steps without an end, a piece of which   scale
                 can be shown
`Cylinder`       a turn and a step; joined from families  rotation × scale
                 of both, and not searched itself
================ ======================================== =============================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equiscope.transformations.axes import Axis, Step, Switch, Turn

__all__ = ["Circle", "Cylinder", "HandedCircle", "Line", "Pair", "PoseSpace", "Torus"]


@dataclass(frozen=True)
class Circle:
    """Poses on one circle.

    ``axis``: the turn. A stabiliser is a number of equal turns that leave a feature as it is: two for a line.
    """

    axis: Turn
    # What candidates of these poses are ranked by: their scores, or what transforming gains over not doing so.
    is_ranked_by_gain: ClassVar[bool] = False
    # Whether one offset brings the poses of two families onto each other, whatever the families are.
    has_one_offset: ClassVar[bool] = True
    # Whether gaps between neighbouring poses say something.
    has_spacing: ClassVar[bool] = True

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates of a pose."""
        return (self.axis,)


@dataclass(frozen=True)
class HandedCircle:
    """Poses on one circle in either of two hands: a feature is mirrored, or not, and then turned."""

    axis: Turn
    hand: Switch
    is_ranked_by_gain: ClassVar[bool] = False
    has_one_offset: ClassVar[bool] = False
    has_spacing: ClassVar[bool] = True

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates of a pose."""
        return (self.axis, self.hand)


@dataclass(frozen=True)
class Torus:
    """Poses on two circles at once.

    Attributes
    ----------
    axis
        The turn that runs fastest among the elements, and is worded first: of the plane.
    other
        The other turn: of hue.
    """

    axis: Turn
    other: Turn
    is_ranked_by_gain: ClassVar[bool] = False
    has_one_offset: ClassVar[bool] = False
    has_spacing: ClassVar[bool] = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates of a pose."""
        return (self.axis, self.other)


@dataclass(frozen=True)
class Pair:
    """Two poses: as it is, and changed by a transformation that undoes itself."""

    axis: Switch
    is_ranked_by_gain: ClassVar[bool] = True
    has_one_offset: ClassVar[bool] = True
    has_spacing: ClassVar[bool] = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates of a pose."""
        return (self.axis,)


@dataclass(frozen=True)
class Line:
    """Poses on a line, of which a piece can be shown; nothing wraps.

    Attributes
    ----------
    axis
        The steps.
    is_joint
        Whether all layers are measured on one bank, so that a family can span several.
    """

    axis: Step
    is_joint: bool = False
    is_ranked_by_gain: ClassVar[bool] = True
    has_one_offset: ClassVar[bool] = False
    has_spacing: ClassVar[bool] = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates of a pose."""
        return (self.axis,)


@dataclass(frozen=True)
class Cylinder:
    """Poses on a circle and a line; families of the one are joined by those of the other."""

    axis: Turn
    step: Step
    is_ranked_by_gain: ClassVar[bool] = False
    has_one_offset: ClassVar[bool] = False
    has_spacing: ClassVar[bool] = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates of a pose."""
        return (self.axis, self.step)


PoseSpace = Circle | HandedCircle | Torus | Pair | Line | Cylinder
