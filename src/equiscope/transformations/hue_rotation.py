"""Hue × rotation: hue and plane turn independently, and may repeat a feature only together.

A colour contrast, red on the left and green on the right, is itself again when hue and plane are turned by 180° both,
though by neither alone. Poses then live on the torus of both turns with these two points identified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Pose
from equiscope.transformations.base import SurveyedLayer, Transformation, Words
from equiscope.transformations.groups import TorusGroup
from equiscope.transformations.hue import HUE, turn_hues
from equiscope.transformations.rotation import ANGLE, turn_patches
from equiscope.transformations.spaces import Torus

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HueRotation"]

_N_HUES = 8
# Up to this patch size all angles are shown, beyond it half of them: 128 elements cost too much there.
_SMALL_PATCH_PX = 48


class HueRotation(Transformation):
    """The hue of stimuli turns, and they turn in the plane.

    Examples
    --------
    >>> HueRotation().group(16).order, HueRotation().group(16, patch_px=91).order
    (128, 64)
    """

    name = "hue-rotation"
    space = Torus(ANGLE, HUE)
    words = Words(
        steps="turned, at its own hue",
        back="turned and recoloured back",
        poses="Each member stands at the orientation and the hue of its feature, a dot where its picture had to "
        "move aside.",
        subject="stimuli turn",
        follow="turn with its poses",
    )
    simplicity = 50
    # As in the first layers of ResNet-18.
    usual_share = 0.35
    needs = ("rotation", "hue")
    least_units = 3

    def group(self, n_angles: int, patch_px: int | None = None) -> TorusGroup:
        """Eight hues, each at every angle; at half of the angles where patches are large."""
        is_small = patch_px is None or patch_px <= _SMALL_PATCH_PX
        return TorusGroup(_N_HUES, n_angles if is_small else max(8, n_angles // 2))

    def eligible(self, layer: SurveyedLayer) -> NDArray[np.int64]:
        """Units that vary with hue and with rotation."""
        return layer.varying(self.needs)

    def none_eligible(self, n_units: int) -> str:
        """Say how few vary with both."""
        return f"{n_units} units vary with both hue and rotation"

    def show(
        self, crops: Tensor, centres: Tensor, group: Any, starts: Sequence[NDArray[np.float64]], size_px: int
    ) -> Tensor:
        """Turn each stimulus by each angle, and the hue of all of that."""
        turned = turn_patches(crops, centres, group.rotations.angles_deg, starts[1], size_px)
        return turn_hues(turned, group.hues.angles_deg, starts[0]).flatten(1, 2)

    def show_at(
        self, crop: Tensor, centre: tuple[float, float], own: Pose, wanted: Sequence[Pose], size_px: int
    ) -> Tensor:
        """Turn and recolour one stimulus by what its feature lacks to each pose."""
        import torch

        from equiscope.transformations.pixels import rotate_hue, rotate_patches

        places = torch.tensor([centre], dtype=torch.float64)
        turns = [pose[ANGLE.name] - own.get(ANGLE.name, 0.0) for pose in wanted]
        distinct = list(dict.fromkeys(turns))
        turned = dict(zip(distinct, rotate_patches(crop[None], places, distinct, size_px)[0], strict=True))
        hues = [pose[HUE.name] - own.get(HUE.name, 0.0) for pose in wanted]
        return torch.stack(
            [rotate_hue(turned[turn], [hue])[0] for turn, hue in zip(turns, hues, strict=True)]
        )
