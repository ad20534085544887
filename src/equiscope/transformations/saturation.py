"""Saturation: how far colours are from the grey of the same luma, in octaves; one octave is twice as colourful.

    picture  →  luma + 2^s · (picture - luma)

It is a line that is shown as a truncated piece, as scale is. Greys stay as they are, so that units that read no colour
are invariant to it. Values may leave [0, 1]; they are left there, because clamping would undo the factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiscope.transformations.axes import Step
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import Segment
from equiscope.transformations.spaces import Line

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SATURATION", "Saturation"]


def _saturate(pictures: Tensor, octaves: float) -> Tensor:
    from equiscope.transformations.pixels import luma_of

    grey = luma_of(pictures)
    factor: float = 2.0**octaves
    return grey + factor * (pictures - grey)


_FROM, _TO, _STEP = -1.5, 1.5, 0.25
SATURATION = Step("saturation_octaves", "saturation", _saturate, short="oct. of saturation", reach=_TO)


class Saturation(Transformation):
    """Stimuli grow more and less colourful.

    Examples
    --------
    >>> Saturation().pose_text({"saturation_octaves": 0.5}), Saturation().group(16).order
    ('+0.50 oct. of saturation', 13)
    """

    name = "saturation"
    space = Line(SATURATION)
    words = Words(
        steps="at growing saturation, in octaves",
        back="brought back to one saturation",
        poses="Each member stands at the saturation of its feature, above the responses by saturation.",
        subject="stimuli grow colourful",
    )
    simplicity = 26
    is_standard = False
    least_change = 0.01
    unchanged = "the stimuli of every unit are grey, so saturation changes nothing: give colour images"

    def group(self, n_angles: int, patch_px: int | None = None) -> Segment:
        """Factors from a third as colourful to nearly three times, in quarters of an octave."""
        return Segment.between(_FROM, _TO, _STEP, self.name)

    def change(self, patches: Tensor) -> Tensor:
        """Root mean square chroma."""
        from equiscope.transformations.pixels import chroma_strength

        return chroma_strength(patches)
