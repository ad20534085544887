"""Rotation of the plane, counter-clockwise on the screen, about the middle of a stimulus.

Quarter turns are exact, other angles interpolated (`equiscope.transformations.pixels.turning`). Content comes from the
image about the patch, so that a turned patch has real corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Pose, Turn
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import CyclicGroup
from equiscope.transformations.spaces import Circle

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ANGLE", "Rotation", "turn_patches"]

ANGLE = Turn(
    "angle_deg",
    "angle",
    drawn="angle",
    check="rotation",
    resolution=2.0,
    feature="orientation",
    turned="the plane",
)


class Rotation(Transformation):
    """Stimuli turn in the plane.

    Examples
    --------
    >>> Rotation().group(16).angles_deg[:3].tolist()
    [0.0, 22.5, 45.0]
    """

    name = "rotation"
    space = Circle(ANGLE)
    words = Words(
        steps="turned",
        back="turned back by its pose",
        poses="Each member stands at the angle by which its feature is turned. Curves are responses as the family’s "
        "stimuli turn, the rim holds the marks of the poses.",
        subject="stimuli turn",
        copies="rotated copies",
        follow="turn with its poses",
    )
    simplicity = 30
    designs = ("C4", "C8", "C16")

    def group(self, n_angles: int, patch_px: int | None = None) -> CyclicGroup:
        """Angles in equal steps, as many as were asked for."""
        return CyclicGroup(n_angles, self.name)

    def stimuli_per_half(self, per_half: int) -> int:
        """All that are known."""
        return per_half

    def show(
        self, crops: Tensor, centres: Tensor, group: Any, starts: Sequence[NDArray[np.float64]], size_px: int
    ) -> Tensor:
        """Turn each stimulus by each angle, from its own start."""
        return turn_patches(crops, centres, group.angles_deg, starts[0], size_px)

    def show_at(
        self, crop: Tensor, centre: tuple[float, float], own: Pose, wanted: Sequence[Pose], size_px: int
    ) -> Tensor:
        """Turn one stimulus by what its feature lacks to each pose."""
        import torch

        from equiscope.transformations.pixels import rotate_patches

        away = [pose[ANGLE.name] - own.get(ANGLE.name, 0.0) for pose in wanted]
        return rotate_patches(crop[None], torch.tensor([centre], dtype=torch.float64), away, size_px)[0]


def turn_patches(
    crops: Tensor,
    centres: Tensor,
    angles_deg: NDArray[np.float64],
    start_deg: NDArray[np.float64],
    size_px: int,
) -> Tensor:
    """Patches at every angle, each stimulus from its own start, shape (stimulus, angle, 3, size_px, size_px).

    Examples
    --------
    >>> import torch
    >>> crops, middles = torch.rand(2, 3, 24, 24), torch.full((2, 2), 11.5, dtype=torch.float64)
    >>> turn_patches(crops, middles, np.array([0.0, 90.0]), np.array([0.0, 11.25]), 6).shape
    torch.Size([2, 2, 3, 6, 6])
    """
    import torch

    from equiscope.transformations.pixels import rotate_patches

    patches = torch.empty(len(crops), len(angles_deg), crops.shape[1], size_px, size_px)
    for start in np.unique(start_deg).tolist():
        mine = torch.from_numpy(start_deg == start)
        patches[mine] = rotate_patches(crops[mine], centres[mine], (angles_deg + start).tolist(), size_px)
    return patches
