"""Lines along which a picture needs more of the image than its patch shows: scale, stretch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Pose
from equiscope.transformations.base import Transformation

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SurroundedLine"]


class SurroundedLine(Transformation, is_partial=True):
    """Pictures that are moved along a line together with what lies around them.

    A subclass says how much of the image it needs (`room_px`) and how it moves (`move`).
    """

    @abstractmethod
    def room_px(self, size_px: int, values: Sequence[float]) -> int:
        """Side of the square that must be cut from an image to move a patch of ``size_px`` by each value, px."""

    @abstractmethod
    def move(self, crops: Tensor, centres: Tensor, values: Sequence[float], size_px: int) -> Tensor:
        """Move stimuli by each value.

        Parameters
        ----------
        crops
            Tensor, shape (stimulus, 3, y, x), RGB, with room for every value (`room_px`).
        centres
            Tensor, shape (stimulus, 2): the place (y, x) in its crop about which each is moved, px.
        values
            Along the axis, in its unit.
        size_px
            Side of the result, px.

        Returns
        -------
        Tensor, shape (stimulus, value, 3, size_px, size_px)
        """

    def crop_px(self, size_px: int, group: Any) -> int:
        """Room for every element."""
        return self.room_px(size_px, group.values)

    def show(
        self, crops: Tensor, centres: Tensor, group: Any, starts: Sequence[NDArray[np.float64]], size_px: int
    ) -> Tensor:
        """Move each stimulus by each element."""
        return self.move(crops, centres, group.values, size_px)

    def crop_px_at(self, own: Pose, wanted: Sequence[Pose], size_px: int) -> int:
        """Room for every pose."""
        return self.room_px(size_px, self._away(own, wanted))

    def show_at(
        self, crop: Tensor, centre: tuple[float, float], own: Pose, wanted: Sequence[Pose], size_px: int
    ) -> Tensor:
        """Move one stimulus by what its feature lacks to each pose."""
        import torch

        place = torch.tensor([centre], dtype=torch.float64)
        return self.move(crop[None], place, self._away(own, wanted), size_px)[0]

    def _away(self, own: Pose, wanted: Sequence[Pose]) -> list[float]:
        (axis,) = self.axes
        return [pose[axis.name] - own.get(axis.name, 0.0) for pose in wanted]
