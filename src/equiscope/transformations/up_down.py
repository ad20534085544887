"""Up-down mirror: what was at the top stands at the bottom. Exact, as left to right is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Switch
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import Involution
from equiscope.transformations.reflection import falls_onto_itself
from equiscope.transformations.spaces import Pair

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FLIPPED", "UpDown"]


def _flip(pictures: Tensor, is_on: float) -> Tensor:
    return pictures.flip(-2) if is_on else pictures


FLIPPED = Switch("is_flipped", "flipped", _flip)


class UpDown(Transformation):
    """Stimuli are flipped top to bottom.

    Examples
    --------
    >>> UpDown().pose_text({"is_flipped": True}), UpDown().title(2)
    ('flipped', 'up-down pair')
    """

    name = "up-down"
    space = Pair(FLIPPED)
    words = Words(
        steps="as it is and flipped",
        back="flipped back",
        poses="How strongly each member responds to the feature as it is and flipped, of its own maximum.",
        untuned="",
    )
    simplicity = 11
    is_standard = False
    is_quick = True

    def group(self, n_angles: int, patch_px: int | None = None) -> Involution:
        """As it is, and flipped."""
        return Involution(self.name)

    def stimuli_per_half(self, per_half: int) -> int:
        """All that are known."""
        return per_half

    def change_kernels(
        self, kernels: NDArray[Any], y_px: NDArray[np.float64], x_px: NDArray[np.float64]
    ) -> NDArray[Any] | None:
        """Flip kernels top to bottom."""
        return kernels[..., ::-1, :] if falls_onto_itself(y_px) else None
