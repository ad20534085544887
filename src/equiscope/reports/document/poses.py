"""Poses of members, as the document has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equiscope.families.family import turns_of
from equiscope.reports.document.schema import FamilyEntry, MemberEntry
from equiscope.reports.document.wording import measured
from equiscope.transformations import Axis, Pose, Switch, find

__all__ = ["along", "measured_pose", "pose_of", "stabiliser_of", "turns_of_family"]


def measured_pose(pose: Mapping[str, float | bool | None]) -> Pose:
    """Give a pose of the document, or distances along its axes, without the coordinates that were not measured.

    Examples
    --------
    >>> measured_pose({"angle_deg": 90.0, "is_mirrored": None})
    Pose({'angle_deg': 90.0})
    """
    known = {name: measured(value) for name, value in pose.items()}
    return Pose({name: value for name, value in known.items() if value is not None})


def pose_of(member: MemberEntry, axes: Sequence[Axis]) -> Pose:
    """Give a member's pose along the axes of its transformation; 0 where it was not measured.

    Examples
    --------
    >>> pose_of({"pose": {"angle_deg": 90.0, "is_mirrored": None}}, find("dihedral").axes)
    Pose({'angle_deg': 90.0, 'is_mirrored': False})
    """
    return Pose({axis.name: along(member, axis) for axis in axes})


def along(member: MemberEntry, axis: Axis) -> float:
    """Give a member's coordinate along an axis; 0, or False along a switch, where it was not measured.

    Examples
    --------
    >>> from equiscope.transformations import find
    >>> (angle,) = find("rotation").axes
    >>> along({"pose": {"angle_deg": 90.0}}, angle), along({"pose": {"angle_deg": None}}, angle)
    (90.0, 0.0)
    """
    value = measured(member["pose"].get(axis.name))
    return bool(value) if isinstance(axis, Switch) else value or 0.0


def stabiliser_of(family: FamilyEntry) -> list[Pose]:
    """Give the elements that leave a family's members as they are; the identity where none is told.

    Examples
    --------
    >>> stabiliser_of({"transformation": "rotation", "stabiliser": []})
    [Pose({'angle_deg': 0.0})]
    """
    axes = find(family["transformation"]).axes
    identity = Pose({axis.name: False if isinstance(axis, Switch) else 0.0 for axis in axes})
    return [Pose(identity, **measured_pose(element)) for element in family["stabiliser"]] or [identity]


def turns_of_family(family: FamilyEntry) -> int:
    """Count the turns that leave a family's members as they are: 1 where more than one circle turns.

    Examples
    --------
    >>> turns_of_family({"transformation": "rotation", "stabiliser": [{"angle_deg": 0.0}, {"angle_deg": 180.0}]})
    2
    """
    return turns_of(family["transformation"], stabiliser_of(family))
