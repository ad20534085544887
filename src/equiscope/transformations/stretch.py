"""Stretch: content grows wider and as many times less high, in octaves of its width over its height; its area stays.

One octave is twice as wide for its height. It never wraps, and a piece of it can be shown, as with scale. A picture
that is stretched along another axis is one that was turned before and is turned back after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Pose, Step
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import Group, Segment
from equiscope.transformations.spaces import Line

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ASPECT", "Stretch"]


def _stretch(pictures: Tensor, octaves: float) -> Tensor:
    """Stretch square pictures of which nothing more is known: beyond them they go on as they end."""
    import torch
    import torch.nn.functional as F

    from equiscope.transformations.pixels import stretch_crop_px, stretch_patches

    size_px = pictures.shape[-1]
    margin = -(-(stretch_crop_px(size_px, octaves) - size_px) // 2)
    room = F.pad(pictures, (margin,) * 4, mode="replicate")
    middle = torch.full((len(pictures), 2), (room.shape[-1] - 1) / 2, dtype=torch.float64)
    return stretch_patches(room, middle, [octaves], size_px)[:, 0]


_FROM, _TO, _STEP = -1.5, 1.5, 0.25
ASPECT = Step(
    "aspect_octaves",
    "aspect",
    _stretch,
    short="oct. of aspect",
    one_more="twice as wide for its height",
    reach=_TO,
)


class Stretch(Transformation):
    """Stimuli grow wide and flat, or narrow and high.

    Examples
    --------
    >>> Stretch().pose_text({"aspect_octaves": -0.5}), Stretch().group(16).values[:3]
    ('−0.50 oct. of aspect', (-1.5, -1.25, -1.0))
    """

    name = "stretch"
    space = Line(ASPECT)
    words = Words(
        steps="at growing width over height, in octaves",
        back="brought back to one aspect",
        poses="Each member stands at the aspect of its feature, above the responses by aspect.",
        subject="stimuli stretch",
        follow="stretch with its aspects",
    )
    simplicity = 55
    is_standard = False

    def group(self, n_angles: int, patch_px: int | None = None) -> Segment:
        """Aspects from a third as wide for their height to nearly three times, in quarters of an octave."""
        return Segment.between(_FROM, _TO, _STEP, self.name)

    def crop_px(self, size_px: int, group: Group) -> int:
        """Room for the largest stretch, which sees more of the image along one axis."""
        from equiscope.transformations.pixels import stretch_crop_px

        return stretch_crop_px(size_px, max(map(abs, group.values)) if isinstance(group, Segment) else _TO)

    def show(
        self, crops: Tensor, centres: Tensor, group: Any, starts: Sequence[NDArray[np.float64]], size_px: int
    ) -> Tensor:
        """Stretch each stimulus by each number of octaves."""
        from equiscope.transformations.pixels import stretch_patches

        return stretch_patches(crops, centres, group.values, size_px)

    def crop_px_at(self, own: Pose, wanted: Sequence[Pose], size_px: int) -> int:
        """Room for the largest of the stretches."""
        from equiscope.transformations.pixels import stretch_crop_px

        return stretch_crop_px(size_px, max(map(abs, _away(own, wanted))))

    def show_at(
        self, crop: Tensor, centre: tuple[float, float], own: Pose, wanted: Sequence[Pose], size_px: int
    ) -> Tensor:
        """Stretch one stimulus by what its feature lacks to each aspect."""
        import torch

        from equiscope.transformations.pixels import stretch_patches

        place = torch.tensor([centre], dtype=torch.float64)
        return stretch_patches(crop[None], place, _away(own, wanted), size_px)[0]


def _away(own: Pose, wanted: Sequence[Pose]) -> list[float]:
    return [pose[ASPECT.name] - own.get(ASPECT.name, 0.0) for pose in wanted]
