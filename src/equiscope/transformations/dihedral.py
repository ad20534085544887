"""Rotation with reflection: which features are handed, and whose mirror images are units, too.

A pose is an angle and a hand: a feature is mirrored, or not, and then turned. Mirroring turns a rotation round, so
that the order matters: ``m r(a) = r(-a) m``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Pose
from equiscope.transformations.base import SurveyedLayer, Transformation, Words
from equiscope.transformations.groups import DihedralGroup
from equiscope.transformations.reflection import MIRRORED
from equiscope.transformations.rotation import ANGLE, turn_patches
from equiscope.transformations.spaces import HandedCircle

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dihedral"]


class Dihedral(Transformation):
    """Stimuli turn, as they are and mirrored.

    Examples
    --------
    >>> Dihedral().pose_text({"angle_deg": 90.0, "is_mirrored": True})
    '90° mirrored'
    """

    name = "dihedral"
    space = HandedCircle(ANGLE, MIRRORED)
    words = Words(
        steps="turned, as it is and mirrored; members stand below the hand that is theirs",
        back="turned and mirrored back",
        poses="Each member stands at the angle by which its feature is turned; dashed curves are of mirrored "
        "members, each shown in its own hand.",
        subject="stimuli turn",
        follow="turn with its poses",
    )
    simplicity = 40
    designs = ("D4", "D8")
    # As in the first layers of ResNet-18, and in GoogLeNet, where 36 to 88 % of a layer are in rotation families.
    usual_share = 0.7
    needs = ("rotation",)

    def group(self, n_angles: int, patch_px: int | None = None) -> DihedralGroup:
        """Angles in equal steps, in both hands."""
        return DihedralGroup(n_angles)

    def eligible(self, layer: SurveyedLayer) -> NDArray[np.int64]:
        """Units of rotation families: only they can be in a dihedral one."""
        return layer.members("rotation")

    def none_eligible(self, n_units: int) -> str:
        """Say that nothing turns."""
        return "no unit is in a rotation family"

    def show(
        self, crops: Tensor, centres: Tensor, group: Any, starts: Sequence[NDArray[np.float64]], size_px: int
    ) -> Tensor:
        """Turn each stimulus by each angle, then mirror all of that."""
        import torch

        turned = turn_patches(crops, centres, group.rotations.angles_deg, starts[0], size_px)
        return torch.cat([turned, turned.flip(-1)], dim=1)

    def show_at(
        self, crop: Tensor, centre: tuple[float, float], own: Pose, wanted: Sequence[Pose], size_px: int
    ) -> Tensor:
        """Bring a stimulus back to pose 0, mirror it, turn it; a mirror reverses what was turned before it."""
        import torch

        from equiscope.transformations.pixels import rotate_patches

        places = torch.tensor([centre], dtype=torch.float64)
        own_deg, own_hand = own.get(ANGLE.name, 0.0), bool(own.get(MIRRORED.name, False))
        tiles = []
        for pose in wanted:
            is_flipped = bool(pose[MIRRORED.name]) != own_hand
            angle = pose[ANGLE.name]
            turn = -(angle + own_deg) if is_flipped else angle - own_deg
            patch = rotate_patches(crop[None], places, [turn], size_px)[0, 0]
            tiles.append(patch.flip(-1) if is_flipped else patch)
        return torch.stack(tiles)
