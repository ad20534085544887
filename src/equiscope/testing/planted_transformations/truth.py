"""What is known of a planted network: its families, their poses, and the units in none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from equiscope.models.model import Model
from equiscope.transformations import Pose

__all__ = ["PlantedOrbit", "PlantedPose", "PlantedTransformations"]


@dataclass(frozen=True)
class PlantedPose:
    """A unit and the element of the group that carries its family's base unit to it.

    Parameters
    ----------
    layer, channel
        The unit.
    pose_deg
        Counter-clockwise turn, degrees in [0, 360).
    hue_deg
        Turn of the hue, degrees in [0, 360), positive from red over green to blue.
    octaves
        Enlargement in image pixels, log2.
    is_mirrored
        Whether the base is mirrored left to right, before it is turned.
    is_inverted
        Whether light and dark are exchanged.
    more
        Coordinates along other axes.

    Notes
    -----
    What does not apply to the transformation is NaN or False.
    """

    layer: str
    channel: int
    pose_deg: float = math.nan
    hue_deg: float = math.nan
    octaves: float = math.nan
    is_mirrored: bool = False
    is_inverted: bool = False
    more: Pose = Pose()  # noqa: RUF009 (a pose cannot change)

    @property
    def pose(self) -> Pose:
        """All coordinates that apply, by the names of their axes."""
        turns = {"angle_deg": self.pose_deg, "hue_deg": self.hue_deg, "octaves": self.octaves}
        measured = {name: value for name, value in turns.items() if not math.isnan(value)}
        switches = {"is_mirrored": self.is_mirrored, "is_inverted": self.is_inverted}
        return Pose(measured | switches | dict(self.more))


@dataclass(frozen=True)
class PlantedOrbit:
    """Units that are transformed copies of one feature.

    Parameters
    ----------
    name
        What the feature shows.
    transformation
        Name of the transformation.
    members
        The units with their poses. Only ``pose_v · pose_u⁻¹`` can be measured, up to the stabiliser.
    stabiliser
        The elements that leave the base unit as it is, in words.
    is_faint
        Whether it is so nearly invariant that it may not be found.
    """

    name: str
    transformation: str
    members: tuple[PlantedPose, ...]
    stabiliser: str
    is_faint: bool = False


@dataclass(frozen=True)
class PlantedTransformations:
    """A network and the truth about its units under one transformation.

    Parameters
    ----------
    model
        The network. Its layers are ``model.default_layers``: ``"planted"``, for scale ``"early"`` and ``"late"``.
    orbits
        The families. With `other` they are a partition of the channels.
    other
        For each layer the channels in no family of the transformation.
    invariant
        For each layer those of them that every element of the group leaves as they are.
    kinds
        For each layer and channel what the unit is, in words.
    """

    model: Model
    orbits: tuple[PlantedOrbit, ...]
    other: dict[str, tuple[int, ...]]
    invariant: dict[str, tuple[int, ...]]
    kinds: dict[str, tuple[str, ...]]
