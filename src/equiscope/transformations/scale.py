"""Scale: content is shown larger or smaller, in octaves; sizes never wrap, and a piece of them can be shown.

Magnified patches are read between pixels, reduced ones are smoothed first so that nothing aliases
(`equiscope.transformations.pixels.zoom`). All layers are measured on one bank at one place, because the larger copy of
a feature is often found in a later layer.
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

__all__ = ["OCTAVES", "Scale"]

OCTAVES = Step("octaves", "size", drawn="length", check="scale", one_more="twice as large", reach=1.5)
_FROM, _TO, _STEP = -1.0, 1.5, 0.25


class Scale(Transformation):
    """Stimuli grow and shrink.

    Examples
    --------
    >>> Scale().group(16).values[:3]
    (-1.0, -0.75, -0.5)
    """

    name = "scale"
    space = Line(OCTAVES, is_joint=True)
    words = Words(
        steps="at growing size, in octaves",
        back="brought back to one size",
        poses="Each member stands at the size of its feature, above the responses by size.",
        subject="stimuli grow",
        follow="grow with its sizes",
    )
    simplicity = 60

    def group(self, n_angles: int, patch_px: int | None = None) -> Segment:
        """Magnifications from one octave smaller to one and a half larger, in quarters."""
        return Segment.between(_FROM, _TO, _STEP, self.name)

    def crop_px(self, size_px: int, group: Group) -> int:
        """Room for the smallest magnification, which sees most of the image."""
        from equiscope.transformations.pixels import zoom_crop_px

        return zoom_crop_px(size_px, group.values[0] if isinstance(group, Segment) else _FROM)

    def show(
        self, crops: Tensor, centres: Tensor, group: Any, starts: Sequence[NDArray[np.float64]], size_px: int
    ) -> Tensor:
        """Magnify each stimulus by each number of octaves."""
        from equiscope.transformations.pixels import zoom_patches

        return zoom_patches(crops, centres, group.values, size_px)

    def crop_px_at(self, own: Pose, wanted: Sequence[Pose], size_px: int) -> int:
        """Room for the smallest of the magnifications."""
        from equiscope.transformations.pixels import zoom_crop_px

        return zoom_crop_px(size_px, min(_away(own, wanted)))

    def show_at(
        self, crop: Tensor, centre: tuple[float, float], own: Pose, wanted: Sequence[Pose], size_px: int
    ) -> Tensor:
        """Magnify one stimulus by what its feature lacks to each size."""
        import torch

        from equiscope.transformations.pixels import zoom_patches

        place = torch.tensor([centre], dtype=torch.float64)
        return zoom_patches(crop[None], place, _away(own, wanted), size_px)[0]


def _away(own: Pose, wanted: Sequence[Pose]) -> list[float]:
    return [pose[OCTAVES.name] - own.get(OCTAVES.name, 0.0) for pose in wanted]
