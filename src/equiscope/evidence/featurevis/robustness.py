"""Small random changes to which an image must be robust: shifts, turns, magnifications.

A picture that excites a unit at one exact place only, by a pattern as fine as the network's strides, says little about
the unit. Before each step every image is shifted, turned and magnified anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from equiscope.foundations.errors import EquiscopeError

__all__ = ["Robustness"]


@dataclass(frozen=True)
class Robustness:
    """Largest changes; each is drawn uniformly up to its largest, in both directions.

    Parameters
    ----------
    shift_px
        Along each axis, px.
    rotation_deg
        Degrees.
    octaves
        Magnification and reduction.

    Raises
    ------
    EquiscopeError
        If one is negative or not finite.
    """

    shift_px: float = 0.0
    rotation_deg: float = 0.0
    octaves: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift_px", "rotation_deg", "octaves"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise EquiscopeError(f"{name} of a robustness is {value}, expected 0 or more: 0 turns it off")

    def margin_px(self, size_px: int) -> int:
        """Pixels that an image needs on each side of the square of ``size_px`` that is shown."""
        half = (size_px - 1) / 2
        angle = math.radians(min(self.rotation_deg, 45.0))
        reach = half * (math.cos(angle) + math.sin(angle)) * 2**self.octaves
        return math.ceil(reach - half + self.shift_px)

    def draw(self, generator: torch.Generator, n_steps: int) -> Tensor:
        """Draw the changes of one image, shape (step, 4): y and x shift, px, turn, degrees, octaves."""
        largest = torch.tensor([self.shift_px, self.shift_px, self.rotation_deg, self.octaves])
        return (2 * torch.rand(n_steps, 4, generator=generator) - 1) * largest

    def show(self, images: Tensor, changes: Tensor, size_px: int) -> Tensor:
        """Cut the middle of changed images.

        Parameters
        ----------
        images
            Tensor, shape (image, channel, y, x).
        changes
            Tensor, shape (image, 4), from `draw`; turns are counter-clockwise on screen.
        size_px
            Side of the squares, px.

        Returns
        -------
        Tensor, shape (image, channel, size_px, size_px)
            Read bilinearly, which is enough here: what is measured is never changed.
        """
        shift, angle, octaves = changes[:, :2], torch.deg2rad(changes[:, 2]), changes[:, 3]
        steps = (torch.arange(size_px) - (size_px - 1) / 2) / torch.exp2(octaves)[:, None]
        y, x = steps[:, :, None], steps[:, None, :]
        cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        rows = cosine * y + sine * x + shift[:, 0, None, None]
        columns = cosine * x - sine * y + shift[:, 1, None, None]
        height, width = images.shape[-2:]
        places = torch.stack([columns * 2 / (width - 1), rows * 2 / (height - 1)], dim=-1)
        return F.grid_sample(
            images, places.to(images), mode="bilinear", padding_mode="reflection", align_corners=True
        )
