"""Axes of poses: angle, hue, size, mirrored, inverted, and whatever a new transformation brings.

A *pose* says how a unit's feature differs from the one that its family measures from. It has one coordinate an axis: a
rotation family's poses are angles, a dihedral family's an angle and a hand. An axis knows its coordinate's name in
files, its unit, how it is worded, and what it does to a picture.

========== ============================================= ==================================
`Turn`     closes after a full turn, degrees             angle, hue
`Step`     goes on in both directions and never closes   size in octaves
`Switch`   is off or on                                  mirrored, inverted
========== ============================================= ==================================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MISSING", "Axis", "Pose", "Step", "Switch", "Turn"]

# What stands where nothing was measured.
MISSING = "–"


class Pose(Mapping[str, float]):
    """Coordinates of a pose by the names of its axes, such as ``{"angle_deg": 45.0, "is_mirrored": True}``.

    Read-only and hashable; a coordinate that a pose does not have is asked for with ``pose.get("hue_deg", nan)``.

    Examples
    --------
    >>> pose = Pose(angle_deg=45.0, is_mirrored=True)
    >>> pose["angle_deg"], dict(pose)
    (45.0, {'angle_deg': 45.0, 'is_mirrored': True})
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, float] | None = None, /, **more: float) -> None:
        self._values = dict(values or {}, **more)

    @classmethod
    def from_document(cls, value: Any) -> Pose:
        """Read a pose as JSON holds it; null is a coordinate that was not measured.

        Raises
        ------
        ValueError
            If it is no object of numbers.
        """
        if not isinstance(value, dict):
            raise ValueError("an object of coordinates")
        for name, own in value.items():
            if not (
                own is None or isinstance(own, bool) or (isinstance(own, (int, float)) and math.isfinite(own))
            ):
                raise ValueError(f"numbers, or null, in an object of coordinates, {name[:60]!r} among them")
        return cls({name: math.nan if own is None else own for name, own in value.items()})

    def __getitem__(self, name: str) -> float:
        """Give the coordinate along an axis."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the axes."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the axes."""
        return len(self._values)

    def __hash__(self) -> int:
        """Poses with the same coordinates are one key."""
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        """Word the pose as it would be written."""
        return f"Pose({self._values})"

    def __deepcopy__(self, memo: Any) -> Pose:
        """Nothing in a pose can change, so that it is its own copy."""
        return self

    def __reduce__(self) -> tuple[type[Pose], tuple[dict[str, float]]]:
        """Let poses go from one process to another."""
        return Pose, (self._values,)


def _measured(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Axis(ABC):
    """One coordinate of a pose.

    Attributes
    ----------
    name
        Of the coordinate, in poses and in files: ``angle_deg``.
    noun
        What is measured, in words: "angle".
    act
        What it does to pictures: takes pictures, shape (picture, 3, y, x), RGB, and a value, gives as many of the same
        shape. None where it needs more of the image than the picture holds (turning, zooming), which
        `Transformation.show` reads.
    """

    name: str
    noun: str
    act: Callable[[Tensor, float], Tensor] | None = None

    @property
    def key(self) -> str:
        """What results about this axis alone are called: `verify` compares families along ``rotation`` or ``hue``."""
        return self.noun

    @property
    def feature_noun(self) -> str:
        """What of a feature the coordinate is: "orientation", "hue", "size"."""
        return self.noun

    @property
    def label(self) -> str:
        """What stands along a chart whose stimuli move along it."""
        return self.noun

    @property
    def pose_label(self) -> str:
        """What stands along a chart of poses."""
        return self.label

    @abstractmethod
    def text(self, value: float | None, period: float = math.nan) -> str:
        """Word a coordinate; the empty text where there is nothing to say of it."""

    @abstractmethod
    def distance_text(self, value: float | None) -> str:
        """Word how far two coordinates are apart."""


@dataclass(frozen=True)
class Turn(Axis):
    """A coordinate on a circle, degrees.

    Attributes
    ----------
    prefix
        Stands before its value in words: "hue 120°".
    drawn
        What of a drawn stimulus moves along it: its ``angle`` or its ``hue``; empty if nothing does.
    check
        The ``key``, where it is not the noun.
    resolution
        How far from the truth a pose of an exact copy may be measured, degrees.
    feature, turned
        What a feature has along it, "orientation", and what turns, "the plane"; both the noun where nothing is said.
    """

    prefix: str = ""
    drawn: str = ""
    check: str = ""
    resolution: float = 5.0
    feature: str = ""
    turned: str = ""

    @property
    def key(self) -> str:
        """Name of results about this axis."""
        return self.check or self.noun

    @property
    def feature_noun(self) -> str:
        """What of a feature the coordinate is."""
        return self.feature or self.noun

    @property
    def what_turns(self) -> str:
        """What turns: "the plane", "hue"."""
        return self.turned or self.noun

    @property
    def label(self) -> str:
        """What stands along a chart whose stimuli turn.

        Examples
        --------
        >>> Turn("hue_deg", "hue").label
        'turn of the stimuli’s hue'
        """
        return "turn of the stimuli" + ("" if self.turned else f"’s {self.noun}")

    @property
    def pose_label(self) -> str:
        """What stands along a chart of poses."""
        return f"pose of {self.what_turns}"

    def text(self, value: float | None, period: float = 360.0) -> str:
        """Give a whole angle within its period.

        Examples
        --------
        >>> Turn("hue_deg", "hue", prefix="hue ").text(359.7)
        'hue 0°'
        """
        angle = _measured(value)
        return self.prefix + (MISSING if angle is None else f"{round(angle % period) % round(period)}°")

    def distance_text(self, value: float | None) -> str:
        """Give degrees, to a tenth."""
        away = _measured(value)
        return MISSING if away is None else f"{round(away, 1) + 0.0:.1f}°".replace("-", "−")


@dataclass(frozen=True)
class Step(Axis):
    """A coordinate on a line that never closes, such as octaves of size.

    Attributes
    ----------
    unit, short
        What it is counted in, and that behind a value: "oct.".
    drawn
        What of a drawn stimulus moves along it: its ``length``; empty if the drawing as a whole is acted on.
    resolution
        How far from the truth a pose of an exact copy may be measured, in its unit.
    check
        The ``key``, where it is not the noun.
    one_more
        What a feature is at +1 beside one at 0, in words: "twice as large".
    reach
        Further than this from its own pose a stimulus has nothing left to see, and is not shown.
    """

    unit: str = "octaves"
    short: str = "oct."
    drawn: str = ""
    check: str = ""
    resolution: float = 0.1
    one_more: str = ""
    reach: float = math.inf

    @property
    def key(self) -> str:
        """Name of results about this axis."""
        return self.check or self.noun

    @property
    def label(self) -> str:
        """What stands along a chart of it.

        Examples
        --------
        >>> Step("octaves", "size").label
        'size in octaves'
        """
        return f"{self.noun} in {self.unit}"

    def number(self, value: float | None) -> str:
        """Give a value with its sign."""
        found = _measured(value)
        if found is None:
            return MISSING
        return f"{found + 0.0:+.2f}".replace("-", "−").replace("+0.00", "0").replace("−0.00", "0")

    def text(self, value: float | None, period: float = math.nan) -> str:
        """Give a value with its sign and unit.

        Examples
        --------
        >>> Step("octaves", "size").text(0.5)
        '+0.50 oct.'
        """
        return f"{self.number(value)} {self.short}"

    def distance_text(self, value: float | None) -> str:
        """Give a distance in its unit, to a hundredth."""
        away = _measured(value)
        return MISSING if away is None else f"{round(away, 2) + 0.0:.2f} {self.unit}".replace("-", "−")


@dataclass(frozen=True)
class Switch(Axis):
    """A coordinate that is off or on; ``noun`` is what a feature is when it is on: "mirrored"."""

    @property
    def key(self) -> str:
        """Results about pairs are called so whatever is switched."""
        return "pair"

    def text(self, value: float | None, period: float = math.nan) -> str:
        """Give the word for on; nothing for off."""
        return self.noun if value else ""

    def distance_text(self, value: float | None) -> str:
        """There is no distance between off and on."""
        return MISSING
