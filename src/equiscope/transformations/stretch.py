"""Stretch: content grows wider and as many times less high, in octaves of its width over its height; its area stays.

One octave is twice as wide for its height. It never wraps, and a piece of it can be shown, as with scale. A picture
that is stretched along another axis is one that was turned before and is turned back after.
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


class Stretch(SurroundedLine):
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

    def room_px(self, size_px: int, values: Sequence[float]) -> int:
        """Room for the largest stretch, which sees more of the image along one axis."""
        from equiscope.transformations.pixels import stretch_crop_px

        return stretch_crop_px(size_px, max(map(abs, values)))

    def move(self, crops: Tensor, centres: Tensor, values: Sequence[float], size_px: int) -> Tensor:
        """Stretch each stimulus by each number of octaves."""
        from equiscope.transformations.pixels import stretch_patches

        return stretch_patches(crops, centres, values, size_px)
