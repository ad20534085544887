"""Poses of members, as the document has them."""

from __future__ import annotations

from collections.abc import Sequence

from equiscope.reports.document.schema import MemberEntry
from equiscope.reports.document.wording import measured
from equiscope.transformations import Axis, Pose

__all__ = ["pose_of"]


def pose_of(member: MemberEntry, axes: Sequence[Axis]) -> Pose:
    """Give a member's pose along the axes of its transformation; 0 where it was not measured."""
    keys = {"angle_deg": "pose_deg"}
    return Pose({axis.name: measured(member[keys.get(axis.name, axis.name)]) or 0.0 for axis in axes})  # type: ignore[literal-required]
