"""Where a unit looks: stride, receptive field and centre of any layer, found by following NaN through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from equiscope.errors import EquiscopeError
from equiscope.models.model import Model

__all__ = ["MAX_OFFSET", "LayerGeometry", "find_geometry", "joint_patch_px"]

# Length of the strips, px, and probed rows of each attempt: short ones settle early layers in a fraction of a
# second, long ones the rest. Twice the stride must fit into the probes, so strides above 36 count as global.
_ATTEMPTS = ((256, 40), (896, 72))
_STRIP_PX = 32
# How far from a stimulus' middle positions of several layers may be read where no patch is centred on one of each, in
# strides: a quarter is enough behind up to nine pools of 2 x 2, as tried, whose grids lie half a stride apart.
MAX_OFFSET = 0.25


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
        Largest side that a patch may have, px, where images are smaller than the receptive field: the patch then
        leaves out the field's rim. None where there is no such limit.
    """

    layer: str
    n_channels: int
    stride_px: tuple[int, int]
    receptive_field_px: tuple[int, int]
    centre_px: tuple[float, float]
    is_global: bool = False
    largest_px: int | None = None

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


def joint_patch_px(geometries: Sequence[LayerGeometry], *, max_offset: float = 0.0) -> int | None:
    """Side of a square patch with a position of every layer in its middle, and all that these positions see.

    Parameters
    ----------
    geometries
        The layers.
    max_offset
        How far a position may be from the patch's middle, in strides of its layer. Pools with even windows put the
        grids of the layers behind them halfway between those of the layers before, so that no patch is centred on
        a position of each.

    Returns
    -------
    int or None
        The smallest such patch that is centred on a position of every layer; if none is, the one whose positions
        are, in strides, nearest to its middle. None if those are further away than ``max_offset``, or a layer is
        global.
    """
    if any(geometry.is_global for geometry in geometries):
        return None
    smallest = max(geometry.patch_px for geometry in geometries)
    period = 2 * math.lcm(*(stride for geometry in geometries for stride in geometry.stride_px))
    # A position half a stride or less beside the middle sees nothing beyond the rim, because the smallest patch is
    # centred on the layer's first position that fits, or on a later one.
    offsets = {
        size: max(geometry.offset_strides(size) for geometry in geometries)
        for size in range(smallest, smallest + period)
    }
    best = min(offsets, key=lambda size: (offsets[size], size))
    return best if offsets[best] <= max_offset else None


def find_geometry(model: Model, layers: Sequence[str]) -> dict[str, LayerGeometry]:
    """Find stride, receptive field and centre offset of layers of any architecture.

    Single rows (then columns) of an otherwise zero strip are set to NaN, and the positions that turn NaN are
    those that the row can reach. Unlike a gradient, NaN passes ReLU, pooling and zero weights alike, so this
    holds for inception and residual blocks, dilation, depthwise convolutions and ceil-mode pooling, and needs
    no knowledge of the modules.

    Parameters
    ----------
    model
        The network. It runs as it is, on its own device; cuDNN is off meanwhile, because its transform-domain
        convolutions would spread NaN to neighbours.
    layers
        Layers to examine.

    Returns
    -------
    dict
        A geometry for each layer, in the order asked. A receptive field that does not fit into the longest
        strip (896 px; or into the network's own input, where it takes no other) is called global.

    Raises
    ------
    EquiscopeError
        If the network takes neither strips nor squares of its ``input_size_px``.
    """
    n_channels: dict[str, int] = {}
    axes = [_probe(model, layers, axis, n_channels) for axis in (0, 1)]
    found = {}
    for layer in layers:
        y, x = (axis[layer] for axis in axes)
        if y is None or x is None:
            nan = (math.nan, math.nan)
            found[layer] = LayerGeometry(layer, n_channels[layer], (0, 0), (0, 0), nan, is_global=True)
        else:
            found[layer] = LayerGeometry(layer, n_channels[layer], (y[0], x[0]), (y[1], x[1]), (y[2], x[2]))
    return found


def _probe(
    model: Model, layers: Sequence[str], axis: int, n_channels: dict[str, int]
) -> dict[str, tuple[int, int, float] | None]:
    """Stride, extent and first centre along one axis for each layer, or None where it is global."""
    own_px = model.input_size_px or 224
    found: dict[str, tuple[int, int, float] | None] = {}
    problem: Exception | None = None
    for length, n_probes in _ATTEMPTS:
        open_layers = [layer for layer in layers if found.get(layer) is None]
        if not open_layers:
            return found
        try:
            found |= _probe_once(model, open_layers, axis, (length, _STRIP_PX), n_probes, n_channels)
        except EquiscopeError:
            raise
        except Exception as error:  # networks refuse a size with any type, timm's with AssertionError
            problem = error
            break
    if problem is None:
        return found
    try:
        return found | _probe_once(model, layers, axis, (own_px, own_px), min(72, own_px // 2), n_channels)
    except EquiscopeError:
        raise
    except Exception as error:
        raise _refusal(model, own_px, problem, error) from error


def _refusal(model: Model, own_px: int, problem: Exception, error: Exception) -> EquiscopeError:
    """Word the error of a network that runs on no image, with what most probably would mend it."""
    kinds = {value.dtype for value in model.module.parameters() if value.is_floating_point()} - {
        torch.float32
    }
    first = next(((n, m) for n, m in model.module.named_modules() if isinstance(m, nn.Conv2d)), None)
    if kinds:
        kind = str(kinds.pop()).removeprefix("torch.")
        return EquiscopeError(
            f"{model.name} has parameters in {kind} and does not take images in float32 ({_first_line(error)}): "
            "give it in float32, as module.float() makes it"
        )
    if first is not None and first[1].in_channels != 3 and "channels" in str(error):
        return EquiscopeError(
            f"{model.name} does not take images of 3 channels ({_first_line(error)}): wrap it in an equiscope.Model "
            f"whose preprocess makes the {first[1].in_channels} of {first[0] or 'its convolution'} from RGB, for grey "
            "lambda images: images.mean(1, keepdim=True)"
        )
    return EquiscopeError(
        f"{model.name} takes neither {_ATTEMPTS[0][0]} x {_STRIP_PX} px strips ({_first_line(problem)}) nor "
        f"{own_px} px squares ({_first_line(error)}): wrap it in an equiscope.Model with input_size_px set "
        "to the size it takes, or a preprocess that makes what it takes from RGB in [0, 1]"
    )


def _first_line(error: Exception) -> str:
    """Give the first line of an error's message: PyTorch appends whole tables of operators to some."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _probe_once(
    model: Model,
    layers: Sequence[str],
    axis: int,
    shape: tuple[int, int],
    n_probes: int,
    n_channels: dict[str, int],
) -> dict[str, tuple[int, int, float] | None]:
    """Probe rows about the middle of strips of one shape (along the axis, across it)."""
    first_row = shape[0] // 2 - n_probes // 2
    parts: dict[str, list[NDArray[np.bool_]]] = {layer: [] for layer in layers}

    def reach(layer: str, output: torch.Tensor) -> torch.Tensor:
        before = n_channels.setdefault(layer, output.shape[1])
        if before != output.shape[1]:
            raise EquiscopeError(
                f"layer {layer!r} of {model.name} has {before} channels for one size of image and {output.shape[1]} "
                "for another, so its channels stand last: name one whose output is (image, channel, y, x)"
            )
        return torch.isnan(output).any(dim=1).any(dim=2 - axis)

    for start in range(0, n_probes, 8):
        strips = torch.zeros(8, 3, *shape)
        for row in range(8):
            strips[row, :, first_row + start + row] = math.nan
        if axis == 1:
            strips = strips.transpose(2, 3)
        with torch.backends.cudnn.flags(enabled=False):
            for layer, mask in model.record(strips, layers, reach).items():
                parts[layer].append(mask.cpu().numpy())
    return {layer: _read_axis(np.concatenate(masks), first_row) for layer, masks in parts.items()}


def _read_axis(reached: NDArray[np.bool_], first_row: int) -> tuple[int, int, float] | None:
    """Stride, extent and centre of position 0, px, from the reached positions of consecutive rows.

    Position o sees row r if and only if position o + 1 sees row r + stride, so the smallest shift that maps the
    pattern onto itself is the stride, and the rows seen by position 0 are ``r - stride * o`` over all hits.
    """
    if not reached.any() or reached[:, 0].any() or reached[:, -1].any():
        return None
    for stride in range(1, len(reached) // 2 + 1):
        if np.array_equal(reached[stride:, 1:], reached[:-stride, :-1]):
            rows, positions = np.nonzero(reached)
            offsets = rows + first_row - stride * positions
            low, high = int(offsets.min()), int(offsets.max())
            return stride, high - low + 1, (low + high) / 2
    return None
