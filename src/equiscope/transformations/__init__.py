"""What can be done to a picture, one file a transformation, and the list of all of them.

Everything else asks the objects of this list; a new transformation is a file here and a line below (CONTRIBUTING.md).

Examples
--------
>>> [transformation.name for transformation in ALL][:3]
['rotation', 'hue', 'reflection']
>>> find("hue").pose_text({"hue_deg": 120.0})
'hue 120°'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.transformations.axes import Axis, Pose, Step, Switch, Turn
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.brightness import Brightness
from equiscope.transformations.contrast import Contrast
from equiscope.transformations.dihedral import Dihedral
from equiscope.transformations.hue import Hue
from equiscope.transformations.hue_rotation import HueRotation
from equiscope.transformations.reflection import Reflection
from equiscope.transformations.rotation import Rotation
from equiscope.transformations.rotation_scale import RotationScale
from equiscope.transformations.saturation import Saturation
from equiscope.transformations.scale import Scale
from equiscope.transformations.stretch import Stretch
from equiscope.transformations.up_down import UpDown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ALL",
    "Axis",
    "Pose",
    "Step",
    "Switch",
    "Transformation",
    "Turn",
    "Words",
    "act_on",
    "alone",
    "axis_named",
    "axis_of",
    "find",
    "in_order",
    "registered",
    "standard_names",
    "surveyed_names",
    "with_needed",
]

# In the order in which they are surveyed and shown: later ones use the results of earlier ones.
ALL: list[Transformation] = [
    Rotation(),
    Hue(),
    Reflection(),
    Contrast(),
    Dihedral(),
    HueRotation(),
    Scale(),
    UpDown(),
    Brightness(),
    Saturation(),
    Stretch(),
    RotationScale(),
]


def find(name: str) -> Transformation:
    """Give a transformation by its name.

    Raises
    ------
    EquiscopeError
        If there is none of that name; the message has the nearest.

    Examples
    --------
    >>> find("hue").axes[0].name
    'hue_deg'
    """
    for transformation in ALL:
        if transformation.name == name:
            return transformation
    raise unknown_name("transformation", name, [transformation.name for transformation in ALL])


def axis_named(name: str) -> Axis:
    """Give an axis by the name of its coordinate.

    Raises
    ------
    EquiscopeError
        If no transformation moves anything along it.

    Examples
    --------
    >>> axis_named("octaves").noun
    'size'
    """
    known = {axis.name: axis for transformation in ALL for axis in transformation.axes}
    if name not in known:
        raise unknown_name("axis of poses", name, list(known))
    return known[name]


def axis_of(transformation: str, key: str) -> Axis | None:
    """Give the axis that results are about, of a transformation or else of another; None where none is called so.

    Parameters
    ----------
    transformation
        Name of the families' transformation.
    key
        What results about the axis are called.

    Examples
    --------
    >>> axis_of("dihedral", "rotation").noun
    'angle'
    """
    others = (axis for other in ALL for axis in other.axes)
    return next((axis for axis in (*find(transformation).axes, *others) if axis.key == key), None)


def act_on(axis: Axis, pictures: Tensor, value: float) -> Tensor:
    """Move pictures along an axis.

    Raises
    ------
    EquiscopeError
        If the axis does not say what it does to pictures.

    Examples
    --------
    >>> import torch
    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    >>> act_on(axis_named("hue_deg"), red, 120.0).flatten().argmax()
    tensor(1)
    """
    if axis.act is None:
        raise EquiscopeError(f"{axis.noun} does not say how it acts on pictures: give its axis an `act`")
    return axis.act(pictures, value)


def alone(*axes: Axis) -> str:
    """Name of the transformation that moves features along these axes alone.

    Raises
    ------
    EquiscopeError
        If there is none.

    Examples
    --------
    >>> alone(axis_named("octaves"))
    'scale'
    """
    for transformation in ALL:
        if set(transformation.axes) == set(axes):
            return transformation.name
    said = " and ".join(axis.name for axis in axes)
    raise EquiscopeError(f"no transformation moves features along {said} alone")


def surveyed_names() -> list[str]:
    """Names of the transformations that a survey may be asked for, in the order of the survey.

    Examples
    --------
    >>> surveyed_names()[:2]
    ['rotation', 'hue']
    """
    return [transformation.name for transformation in ALL if transformation.is_surveyed]


def standard_names() -> list[str]:
    """Names of the transformations that a survey surveys if it is asked for none in particular.

    Examples
    --------
    >>> "rotation" in standard_names()
    True
    """
    return [transformation.name for transformation in ALL if transformation.is_standard]


def with_needed(names: Iterable[str]) -> list[str]:
    """Put transformations into the order of the survey, with those that they need.

    Raises
    ------
    EquiscopeError
        If a name is unknown, or that of a transformation that is not surveyed.

    Examples
    --------
    >>> with_needed(["dihedral"])
    ['rotation', 'dihedral']
    """
    wanted: set[str] = set()
    for name in names:
        if name not in surveyed_names():
            raise unknown_name("transformation", name, surveyed_names())
        wanted |= {name, *find(name).needs}
    return [name for name in surveyed_names() if name in wanted]


def in_order(names: Iterable[str]) -> list[Transformation]:
    """Give some transformations in the order of the list, each once.

    Examples
    --------
    >>> [transformation.name for transformation in in_order(["scale", "rotation", "scale"])]
    ['rotation', 'scale']
    """
    wanted = set(names)
    return [transformation for transformation in ALL if transformation.name in wanted]


@contextmanager
def registered(transformation: Transformation) -> Iterator[Transformation]:
    """Put a transformation of one's own into the list while a block runs, at the end of those that are surveyed.

    Raises
    ------
    EquiscopeError
        If one of that name is there already.

    Examples
    --------
    >>> class Twice(type(find("rotation"))):
    ...     name = "turned twice"
    >>> with registered(Twice()):
    ...     "turned twice" in surveyed_names()
    True
    >>> "turned twice" in surveyed_names()
    False
    """
    if any(own.name == transformation.name for own in ALL):
        raise EquiscopeError(
            f"there is a transformation {transformation.name!r} already: give yours another name"
        )
    ALL.append(transformation)
    try:
        yield transformation
    finally:
        ALL.remove(transformation)
