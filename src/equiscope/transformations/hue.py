"""Hue: the chroma of every pixel turns about the grey axis, from red over green to blue; luma stays.

The turn is a linear map of RGB (`equiscope.transformations.pixels.colour`), so that hues are a true cyclic group. A
turned colour may leave [0, 1]; it is left there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equiscope.transformations.axes import Turn
from equiscope.transformations.base import Transformation, Words
from equiscope.transformations.groups import CyclicGroup
from equiscope.transformations.spaces import Circle

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HUE", "Hue", "turn_hues"]


def _turn_hue(pictures: Tensor, hue_deg: float) -> Tensor:
    from equiscope.transformations.pixels import rotate_hue

    return rotate_hue(pictures, [hue_deg])[..., 0, :, :, :]


HUE = Turn("hue_deg", "hue", _turn_hue, prefix="hue ", drawn="hue")
_N_HUES = 16


class Hue(Transformation):
    """The hue of stimuli turns.

    Examples
    --------
    >>> Hue().group(4).order
    16
    """

    name = "hue"
    space = Circle(HUE)
    words = Words(
        steps="with its hue turned",
        back="recoloured back by its pose",
        poses="The angle is a turn of hue, from red over green to blue; the rim shows what it makes of red.",
        subject="hue of the stimuli turns",
        follow="turn with its poses",
    )
    simplicity = 20
    designs = ("H3", "H6", "H12")
    # Root mean square chroma: on GoogLeNet's photographs the units' stimuli have 0.02 to 0.3, grey pictures in colour
    # files under 0.005.
    least_change = 0.01
    unchanged = "the stimuli of every unit are grey, so turning hue changes nothing: give colour images"

    def group(self, n_angles: int, patch_px: int | None = None) -> CyclicGroup:
        """Sixteen hues in equal steps."""
        return CyclicGroup(_N_HUES, self.name)

    def stimuli_per_half(self, per_half: int) -> int:
        """Half of those that are known: tuning to hue is plainer than tuning to angle."""
        return per_half // 2

    def change(self, patches: Tensor) -> Tensor:
        """Root mean square chroma."""
        from equiscope.transformations.pixels import chroma_strength

        return chroma_strength(patches)


def turn_hues(patches: Tensor, hues_deg: NDArray[np.float64], start_deg: NDArray[np.float64]) -> Tensor:
    """Patches, shape (stimulus, ..., 3, y, x), at every hue from their starts: (stimulus, hue, ..., 3, y, x).

    Examples
    --------
    >>> import torch
    >>> turn_hues(torch.rand(2, 3, 5, 4), np.array([0.0, 120.0, 240.0]), np.array([0.0, 10.0])).shape
    torch.Size([2, 3, 3, 5, 4])
    """
    import torch

    from equiscope.transformations.pixels import rotate_hue

    turned = patches.new_empty(len(patches), len(hues_deg), *patches.shape[1:])
    for start in np.unique(start_deg).tolist():
        mine = torch.from_numpy(start_deg == start)
        turned[mine] = rotate_hue(patches[mine], (hues_deg + start).tolist()).movedim(-4, 1)
    return turned
