"""What part of an image each position of a layer sees, and which images a network takes: as data, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from equiscope.foundations.errors import EquiscopeError

__all__ = ["LARGE_PATCH_PX", "LayerGeometry", "Sides"]

# From this side of its patches on a layer is dear: a pass of one patch takes some ten milliseconds on a processor.
LARGE_PATCH_PX = 100


@dataclass(frozen=True)
class Sides:
    """Sides of the images that a network is shown, px: the least, and from there on in steps.

    ``Sides(32, 32)`` are the multiples of 32, ``Sides(75, 1)`` all from 75 px, ``Sides(224, 0)`` is 224 px alone, and
    ``Sides()`` is any side. Restricting them has two reasons: a network refuses others, or it puts its grid elsewhere
    for others, as TensorFlow's "same" padding does.

    Attributes
    ----------
    least_px
        The least side.
    step_px
        Distance of neighbouring sides; 0 where there is only one.
    is_square
        Whether images must be square.
    """

    least_px: int = 1
    step_px: int = 1
    is_square: bool = False

    @property
    def words(self) -> str:
        """The sides in words, such as ``"sides of 32, 64, 96, ... px"``."""
        if self.step_px == 1:
            listed = f"sides of at least {self.least_px} px"
        elif self.step_px:
            first = ", ".join(str(self.least_px + i * self.step_px) for i in range(3))
            listed = f"sides of {first}, ... px"
        else:
            listed = f"sides of {self.least_px} px"
        return f"squares with {listed}" if self.is_square else listed

    def at_least(self, *sides_px: int) -> tuple[int, ...]:
        """Give the smallest sides that hold these; unchanged where none is large enough."""
        wanted = (max(sides_px),) * len(sides_px) if self.is_square else sides_px
        return tuple(self._up(side) for side in wanted)

    def at_most(self, *sides_px: int) -> tuple[int, ...] | None:
        """Give the largest sides within these; None where one is less than the least."""
        if min(sides_px) < self.least_px:
            return None
        within = (min(sides_px),) * len(sides_px) if self.is_square else sides_px
        if not self.step_px:
            return (self.least_px,) * len(within)
        return tuple(side - (side - self.least_px) % self.step_px for side in within)

    def holds(self, side_px: int) -> bool:
        """Whether one of the sides is at least this large."""
        return bool(self.step_px) or side_px <= self.least_px

    def alone(self, near_px: int) -> Sides:
        """Give the largest of the sides within ``near_px`` alone, or else the least."""
        return replace(self, least_px=(self.at_most(near_px) or (self.least_px,))[0], step_px=0)

    def every(self, period_px: int, near_px: int) -> Sides:
        """Give those of the sides that are a multiple of a period apart, one of them the largest within ``near_px``."""
        within = self.at_most(near_px)
        anchor = self.least_px if within is None else within[0]
        step = math.lcm(self.step_px, period_px)
        return replace(self, least_px=anchor - (anchor - self.least_px) // step * step, step_px=step)

    def _up(self, side_px: int) -> int:
        if side_px <= self.least_px:
            return self.least_px
        return side_px + (self.least_px - side_px) % self.step_px if self.step_px else side_px


@dataclass(frozen=True)
class LayerGeometry:
    """What part of the image one position of a layer sees.

    Attributes
    ----------
    layer
        Name of the layer.
    n_channels
        Number of channels.
    stride_px
        Distance of neighbouring positions in the image, px, (y, x).
    receptive_field_px
        Extent of the pixels that can change one position, px, (y, x); where dilation leaves gaps, of their hull.
    centre_px
        Image coordinate of the receptive field's centre for position (0, 0), px, (y, x); position (i, j) is
        centred on ``centre_px + stride_px * (i, j)``.
    is_global
        True where every position sees the whole probed image, so that there is no receptive field to centre
        on; the other figures are then NaN or zero and whole images serve as stimuli.
    largest_px
        Largest side that a patch may have, px, where less than the receptive field is enough, or images are smaller:
        the patch then leaves out the field's rim. None where there is no such limit.
    smallest_px
        Least side that a patch should have, px, where its middle answers as the image does only in a larger patch than
        the receptive field needs, or other layers need a larger one. None where the receptive field is enough.
    sides
        Sides of the images that the network is shown: for these the other figures hold. Unless it is any side,
        images are cut at the right and below, and patches are filled up there (``fitted``).
    """

    layer: str
    n_channels: int
    stride_px: tuple[int, int]
    receptive_field_px: tuple[int, int]
    centre_px: tuple[float, float]
    is_global: bool = False
    largest_px: int | None = None
    smallest_px: int | None = None
    sides: Sides = field(default_factory=Sides)

    @property
    def patch_px(self) -> int:
        """Side of the smallest square patch that holds a position whose receptive field is centred on it, px.

        A position inside the patch must fall on the layer's own grid, which costs up to ``stride - 1`` pixels
        on either side of the receptive field. Where no square patch is centred on the grids of both axes, the
        side that would do for either of them alone.

        Raises
        ------
        EquiscopeError
            If the layer is global.
        """
        if self.is_global:
            raise EquiscopeError(
                f"layer {self.layer!r} sees the whole image, so no patch is large enough: show it whole images"
            )
        # The centre of position (0, 0) lies no further in than the patch's own.
        smallest = max(*self.receptive_field_px, *(math.ceil(2 * centre + 1) for centre in self.centre_px))
        smallest = max(smallest, self.smallest_px or 0)
        if self.largest_px is not None and smallest > self.largest_px:
            fitting = range(self.largest_px, 0, -1)
            return next((size for size in fitting if self.is_centred(size)), self.largest_px)
        sizes = range(smallest, smallest + 2 * math.lcm(*self.stride_px))
        fits = [[self._is_centred(size, axis) for axis in (0, 1)] for size in sizes]
        both = next((size for size, fit in zip(sizes, fits, strict=True) if all(fit)), None)
        return both or max(sizes[[fit[axis] for fit in fits].index(True)] for axis in (0, 1))

    def is_centred(self, size_px: int) -> bool:
        """Whether the middle of a square patch of this size is the centre of one of the layer's positions."""
        return all(self._is_centred(size_px, axis) for axis in (0, 1))

    def position_in_patch(self, size_px: int | None = None) -> tuple[int, int]:
        """Index (y, x) of the position that is centred in a patch of ``size_px``, by default ``patch_px``.

        Raises
        ------
        EquiscopeError
            If the two axes' grids leave no common patch (different strides or paddings along y and x), or the
            layer is global.
        """
        patch_px = self.patch_px if size_px is None else size_px
        if not self.is_centred(patch_px):
            raise EquiscopeError(
                f"layer {self.layer!r} has different grids along y and x (stride {self.stride_px}, receptive field "
                f"{self.receptive_field_px}, centre {self.centre_px}): no square patch is centred on one of its "
                "positions, show it whole images"
            )
        row, column = (
            round(((patch_px - 1) / 2 - centre) / stride)
            for centre, stride in zip(self.centre_px, self.stride_px, strict=True)
        )
        return row, column

    def nearest_position(self, size_px: int) -> tuple[int, int]:
        """Index (y, x) of the position that is nearest to the middle of a square patch of this size."""
        row, column = (
            max(0, round(((size_px - 1) / 2 - centre) / stride))
            for centre, stride in zip(self.centre_px, self.stride_px, strict=True)
        )
        return row, column

    def offset_strides(self, size_px: int) -> float:
        """How far the position nearest to the middle of a square patch of this size is from it.

        Returns
        -------
        float
            In strides, along the axis where it is further.
        """
        axes = zip(self.nearest_position(size_px), self.centre_px, self.stride_px, strict=True)
        middle = (size_px - 1) / 2
        return max(abs(centre + stride * index - middle) / stride for index, centre, stride in axes)

    def _is_centred(self, size_px: int, axis: int) -> bool:
        """Whether the middle of a patch of this size is the centre of a position along one axis."""
        offset = size_px - 1 - 2 * self.centre_px[axis]
        return offset >= 0 and offset % (2 * self.stride_px[axis]) == 0
