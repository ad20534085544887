"""Members and families made by hand: a test says what matters to it, everything else is that of perfect copies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from equiscope.families.circle import equal_turns
from equiscope.families.family import Family, Member
from equiscope.testing import PlantedPose
from equiscope.transformations import Pose, find

# Scores and q-value of what nothing can be found against.
PERFECT = {"score": 1.0, "score_low": 1.0, "score_high": 1.0}
# What a page tells of every run: the images that it was shown, and how it was made.
IMAGES: dict[str, Any] = {"name": "none", "fingerprint": "", "n_images": 0}
SETTINGS: dict[str, Any] = {"angles": 16, "examples_per_unit": 8, "false_discovery_rate": 0.05, "seed": 0}


def a_member(
    layer: str, channel: int, *, score: float = 1.0, low: float = 1.0, high: float = 1.0, **pose: float
) -> Member:
    """Make a member at a pose, given by its coordinates: ``a_member("mixed3a", 9, angle_deg=45.0)``."""
    return Member(layer, channel, Pose(pose), score, low, high)


def a_family(
    transformation: str, members: Iterable[Member], *, name: str = "", turns: int = 0, **said: Any
) -> Family:
    """Make a family of members, called ``layer-transformation-1`` if no name is given.

    ``turns``: equal turns of the plane that leave its members as they are; ``said``: fields that are to be others.
    """
    own = tuple(members)
    layers = tuple(dict.fromkeys(member.layer for member in own))
    of_perfect: dict[str, Any] = PERFECT | {
        "q_value": 0.0,
        "stabiliser": equal_turns("angle_deg", turns) if turns else (),
    }
    return Family(
        id=name or f"{'+'.join(layers)}-{transformation}-1",
        layers=layers,
        transformation=transformation,
        members=own,
        **of_perfect | said,
    )


def planted_pose(transformation: str, planted: PlantedPose) -> Pose:
    """Give the pose of a planted unit along the axes of its transformation."""
    names = {"angle_deg": "pose_deg"}
    axes = [axis.name for axis in find(transformation).axes]
    return Pose({axis: getattr(planted, names.get(axis, axis)) for axis in axes})


def moved(member: Member, **pose: float) -> Member:
    """Give a member other coordinates."""
    return dataclasses.replace(member, pose=Pose(member.pose, **pose))
