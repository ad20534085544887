"""The transformations that leave the members of a family as they are, as numbers.

A family's *stabiliser* is the subgroup of turns of hue and of the plane that change none of its members: a line looks
the same after half a turn, so that its stabiliser is {0°, 180°}. A pose is known up to these elements only. Whatever
compares poses, or says which weights may differ, must hence try every one of them.
"""

from __future__ import annotations

import re

from equiscope.families.family import Family
from equiscope.foundations.errors import EquiscopeError

__all__ = ["stabiliser_elements"]

_NUMBER = r"-?\d+(?:\.\d+)?"
_ELEMENT = re.compile(rf"\(({_NUMBER})°, ({_NUMBER})°\)")
_ELEMENTS = re.compile(rf"\{{{_ELEMENT.pattern}(?:, {_ELEMENT.pattern})*\}}")


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

    Raises
    ------
    EquiscopeError
        If the stabiliser of a family of hue × rotation is written in a way that is not understood.
    """
    if family.transformation == "hue-rotation":
        if not family.stabiliser:  # not written down
            return ((0.0, 0.0),)
        if _ELEMENTS.fullmatch(family.stabiliser) is None:
            raise EquiscopeError(
                f"the stabiliser of {family.id} is {family.stabiliser!r}, expected elements (hue, angle) such as "
                "'{(0°, 0°), (180°, 180°)}': give the survey's command again, which writes families.json anew"
            )
        return tuple((float(hue), float(angle)) for hue, angle in _ELEMENT.findall(family.stabiliser))
    order = max(1, family.stabiliser_order)
    turns = [360.0 * k / order for k in range(order)]
    if family.transformation == "hue":
        return tuple((turn, 0.0) for turn in turns)
    return tuple((0.0, turn) for turn in turns)
