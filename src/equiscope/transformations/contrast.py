"""Contrast: luma is mirrored at mid-grey and the hue stays, light on dark becomes dark on light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Switch
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import Involution
from equiscope.transformations.spaces import Pair

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["INVERTED", "Contrast"]


def _invert(pictures: Tensor, is_on: float) -> Tensor:
    from equiscope.transformations.pixels import invert_contrast

    return invert_contrast(pictures) if is_on else pictures


INVERTED = Switch("is_inverted", "inverted", _invert)


class Contrast(Transformation):
    """Stimuli are inverted.

    Examples
    --------
    >>> Contrast().title(2)
    'contrast pair'
    """

    name = "contrast"
    space = Pair(INVERTED)
    words = Words(
        steps="as it is and inverted",
        back="inverted back",
        poses="How strongly each member responds to the feature as it is and inverted, of its own maximum.",
        untuned="",
    )
    simplicity = 0

    def group(self, n_angles: int, patch_px: int | None = None) -> Involution:
        """As it is, and inverted."""
        return Involution(self.name)

    def stimuli_per_half(self, per_half: int) -> int:
        """All that are known."""
        return per_half

    def change_kernels(
        self, kernels: NDArray[Any], y_px: NDArray[np.float64], x_px: NDArray[np.float64]
    ) -> NDArray[Any] | None:
        """Kernels stay: what changes is which inputs are partners."""
        return kernels
