"""How transformations act on weights: which turn kernels, which stretch them, which leave them as they are.

If v is u transformed by g, then v's kernels are u's, transformed by g, from inputs that are transformed by g. What g
does to a kernel follows from what it does to pictures: a turn of the plane turns it, a magnification stretches it, a
turn of hue moves no cell of it.
"""

from __future__ import annotations

from equiscope.transformations import ALL, Switch, alone, find
from equiscope.transformations.hue import HUE
from equiscope.transformations.rotation import ANGLE
from equiscope.transformations.scale import OCTAVES

__all__ = ["COLOURING", "GROWING", "TURNING", "TURNING_AND_COLOURING", "is_pair", "still_names", "stretches"]

# What turns kernels, what leaves them, both, and what stretches them.
TURNING, COLOURING, TURNING_AND_COLOURING, GROWING = (
    alone(ANGLE),
    alone(HUE),
    alone(ANGLE, HUE),
    alone(OCTAVES),
)


def stretches(name: str) -> bool:
    """Whether kernels are stretched under a transformation, so that families span layers.

    Examples
    --------
    >>> stretches("scale"), stretches("hue")
    (True, False)
    """
    return OCTAVES in find(name).axes


def is_pair(name: str) -> bool:
    """Whether families under a transformation are pairs.

    Examples
    --------
    >>> is_pair("reflection"), is_pair("rotation")
    (True, False)
    """
    return all(isinstance(axis, Switch) for axis in find(name).axes)


def still_names() -> list[str]:
    """Names of the transformations of one axis that move no cell of a kernel, and are not their own inverse.

    Examples
    --------
    >>> "hue" in still_names(), "rotation" in still_names()
    (True, False)
    """
    return [
        transformation.name
        for transformation in ALL
        if len(transformation.axes) == 1
        and not isinstance(transformation.axes[0], Switch)
        and transformation.axes[0].act is not None
    ]
