"""Brightness: every pixel is multiplied by a factor, counted in stops as photographers do; one stop is twice the light.

It is a line that is shown as a truncated piece, as scale is. A linear unit behind a rectifier answers in proportion at
every brightness, and so is invariant to it; equivariant are units that are tuned to an amount of light or contrast.
Values may leave [0, 1]; they are left there, because clamping would undo the factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiscope.transformations.axes import Step
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import Segment
from equiscope.transformations.spaces import Line

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["STOPS", "Brightness"]


def _brighten(pictures: Tensor, stops: float) -> Tensor:
    factor: float = 2.0**stops
    return pictures * factor


_FROM, _TO, _STEP = -1.5, 1.5, 0.25
STOPS = Step("stops", "brightness", _brighten, unit="stops", short="stops", reach=_TO)


class Brightness(Transformation):
    """Stimuli grow brighter and darker.

    Examples
    --------
    >>> Brightness().pose_text({"stops": -0.75}), Brightness().group(16).order
    ('−0.75 stops', 13)
    """

    name = "brightness"
    space = Line(STOPS)
    words = Words(
        steps="at growing brightness, in stops",
        back="brought back to one brightness",
        poses="Each member stands at the brightness of its feature, above the responses by brightness.",
        subject="stimuli brighten",
    )
    simplicity = 25
    is_standard = False

    def group(self, n_angles: int, patch_px: int | None = None) -> Segment:
        """Factors from a stop and a half darker to as much brighter, in quarters of a stop."""
        return Segment.between(_FROM, _TO, _STEP, self.name)
