"""The transformations that leave the members of a family as they are, as numbers.

A family's *stabiliser* is the subgroup of turns of hue and of the plane that change none of its members: a line looks
the same after half a turn, so that its stabiliser is {0°, 180°}. A pose is known up to these elements only. Whatever
compares poses, or says which weights may differ, must hence try every one of them.
"""

from __future__ import annotations

from equiscope.families.family import Family
from equiscope.transformations import Switch, find
from equiscope.transformations.hue import HUE
from equiscope.transformations.rotation import ANGLE

__all__ = ["stabiliser_elements"]


def stabiliser_elements(family: Family) -> tuple[tuple[float, float], ...]:
    """Give the elements of a family's stabiliser that turn hue or the plane.

    Parameters
    ----------
    family
        Of any transformation. Mirror images are no turns, and are not among the elements.

    Returns
    -------
    tuple of (float, float)
        Turn of hue and turn of the plane of each element, degrees, the identity first.

    Examples
    --------
    A line is itself after half a turn.

    >>> from equiscope.transformations import Pose
    >>> turns = Pose(angle_deg=0.0), Pose(angle_deg=180.0)
    >>> stabiliser_elements(Family("lines", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, (), turns))
    ((0.0, 0.0), (0.0, 180.0))
    """
    switches = [axis.name for axis in find(family.transformation).axes if isinstance(axis, Switch)]
    turns = [element for element in family.stabiliser if not any(element.get(name) for name in switches)]
    return tuple((e.get(HUE.name, 0.0), e.get(ANGLE.name, 0.0)) for e in turns) or ((0.0, 0.0),)
