"""Reflection, left to right: exact, and on strided grids about the middle of the stimulus."""

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

__all__ = ["MIRRORED", "Reflection", "falls_onto_itself"]

_TOLERANCE_PX = 1e-6


def _mirror(pictures: Tensor, is_on: float) -> Tensor:
    return pictures.flip(-1) if is_on else pictures


MIRRORED = Switch("is_mirrored", "mirrored", _mirror)


class Reflection(Transformation):
    """Stimuli are mirrored left to right.

    Examples
    --------
    >>> Reflection().pose_text({"is_mirrored": True}), Reflection().pose_text({"is_mirrored": False})
    ('mirrored', 'as it is')
    """

    name = "reflection"
    space = Pair(MIRRORED)
    words = Words(
        steps="as it is and mirrored",
        back="mirrored back",
        poses="How strongly each member responds to the feature as it is and mirrored, of its own maximum.",
        untuned="",
    )
    simplicity = 10
    is_quick = True

    def group(self, n_angles: int, patch_px: int | None = None) -> Involution:
        """As it is, and mirrored."""
        return Involution(self.name)

    def stimuli_per_half(self, per_half: int) -> int:
        """All that are known."""
        return per_half

    def change_kernels(
        self, kernels: NDArray[Any], y_px: NDArray[np.float64], x_px: NDArray[np.float64]
    ) -> NDArray[Any] | None:
        """Mirror kernels left to right."""
        return kernels[..., ::-1] if falls_onto_itself(x_px) else None


def falls_onto_itself(places_px: NDArray[np.float64]) -> bool:
    """Whether cells at these places along an axis, px from the centre, fall onto each other when mirrored.

    Examples
    --------
    >>> falls_onto_itself(np.array([-1.0, 0.0, 1.0])), falls_onto_itself(np.array([-1.0, 0.0, 2.0]))
    (True, False)
    """
    return bool(np.abs(places_px + places_px[::-1]).max() <= _TOLERANCE_PX)
