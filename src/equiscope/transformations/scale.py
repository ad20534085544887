"""Scale: content is shown larger or smaller, in octaves; sizes never wrap, and a piece of them can be shown.

Magnified patches are read between pixels, reduced ones are smoothed first so that nothing aliases
(`equiscope.transformations.pixels.zoom`). All layers are measured on one bank at one place, because the larger copy of
a feature is often found in a later layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equiscope.transformations.axes import Step
from equiscope.transformations.base import Words
from equiscope.transformations.groups import Segment
from equiscope.transformations.spaces import Line
from equiscope.transformations.surrounded import SurroundedLine

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OCTAVES", "Scale"]

OCTAVES = Step("octaves", "size", drawn="length", check="scale", one_more="twice as large", reach=1.5)
_FROM, _TO, _STEP = -1.0, 1.5, 0.25


class Scale(SurroundedLine):
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

    def room_px(self, size_px: int, values: Sequence[float]) -> int:
        """Room for the smallest magnification, which sees most of the image."""
        from equiscope.transformations.pixels import zoom_crop_px

        return zoom_crop_px(size_px, min(values))

    def move(self, crops: Tensor, centres: Tensor, values: Sequence[float], size_px: int) -> Tensor:
        """Magnify each stimulus by each number of octaves."""
        from equiscope.transformations.pixels import zoom_patches

        return zoom_patches(crops, centres, values, size_px)
