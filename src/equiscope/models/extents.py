"""Which part of its input an operator needs for a part of its output, along y and x.

A convolution with kernel k, stride s, dilation d and padding p gives rows a to b (exclusive) from the input rows

    a s - p   to   (b - 1) s - p + d (k - 1) + 1.

A pool does likewise, and what works on each place alone (a rectifier, a sum, a normalisation by stored statistics, a
concatenation of channels) needs the rows a to b. Everything else is taken to need its whole input: attention, means
over an image, transposed convolutions, unknown operators, and what reads the padding of its input.

Operators are those of torch's dispatcher (``aten``), to which every forward pass comes down, however it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

__all__ = ["Extent", "Interval", "Reach", "everything", "hull", "reach_of", "resized", "same_place", "whole"]

# Rows, or columns, of a map: the first, and the one behind the last.
Interval = tuple[int, int]
Extent = tuple[Interval, Interval]
# What an operator needs of an input of some size for a part of its output; None where it needs all.
Reach = Callable[[Extent, Tensor], Extent | None]

aten = torch.ops.aten

# They work on each place alone, and torch does not say so of them.
_POINTWISE = frozenset(
    {
        aten._native_batch_norm_legit_no_training,
        aten._prelu_kernel,
        aten._to_copy,
        aten.alias,
        aten.detach,
        aten.fake_quantize_per_channel_affine_cachemask,
        aten.fake_quantize_per_tensor_affine_cachemask,
        aten.hardswish,
        aten.hardswish_,
        aten.lift_fresh,
    }
)
# They work on each place alone if what they do along some dimension is not along the last two: where it stands.
_ALONG = {
    aten.cat: 1,
    aten.flip: 1,
    aten.index_select: 1,
    aten.select: 1,
    aten.slice: 1,
    aten.split: 2,
    aten.split_with_sizes: 2,
    aten.squeeze: 1,
    aten.transpose: 1,
    aten.unbind: 1,
    aten.unsqueeze: 1,
}
_PADS = frozenset({aten.constant_pad_nd, aten.reflection_pad2d, aten.replication_pad2d})
_RESHAPES = frozenset({aten._unsafe_view, aten.reshape, aten.view})


def whole(tensor: Tensor) -> Extent:
    """Give all of a map, shape (..., y, x).

    Examples
    --------
    >>> whole(torch.zeros(2, 8, 5, 4))
    ((0, 5), (0, 4))
    """
    return (0, tensor.shape[-2]), (0, tensor.shape[-1])


def hull(a: Extent | None, b: Extent | None) -> Extent | None:
    """Give the smallest extent that holds two; None is nothing.

    Examples
    --------
    >>> hull(((0, 2), (3, 4)), ((1, 5), (3, 4))), hull(None, ((1, 2), (1, 2)))
    (((0, 5), (3, 4)), ((1, 2), (1, 2)))
    """
    if a is None or b is None:
        return a or b
    y, x = ((min(own[0], other[0]), max(own[1], other[1])) for own, other in zip(a, b, strict=True))
    return y, x


@dataclass(frozen=True)
class _Sliding:
    """A window that slides over a map: a convolution or a pool."""

    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int] = (1, 1)

    def __call__(self, wanted: Extent, given: Tensor) -> Extent | None:
        """Give what it needs of a map; None where that is more than there is, or padding."""
        needed = []
        for axis, (first, last) in enumerate(wanted):
            start = first * self.stride[axis] - self.padding[axis]
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            stop = (last - 1) * self.stride[axis] - self.padding[axis] + reach
            if start < 0 or stop > given.shape[axis - 2]:
                return None
            needed.append((start, stop))
        return needed[0], needed[1]


@dataclass(frozen=True)
class _Shifted:
    """A map with rows and columns put before it and behind it."""

    before: tuple[int, int]

    def __call__(self, wanted: Extent, given: Tensor) -> Extent | None:
        """Give what lies under a part that has none of the padding; None where it has."""
        y, x = (
            (first - before, last - before) for (first, last), before in zip(wanted, self.before, strict=True)
        )
        return (y, x) if _is_inside((y, x), given) else None


def same_place(wanted: Extent, given: Tensor) -> Extent | None:
    """Need the same place; of a map of one row or column, which stands for all places, that.

    Examples
    --------
    >>> same_place(((2, 3), (2, 3)), torch.zeros(1, 8, 5, 4)), same_place(((2, 3), (2, 3)), torch.zeros(1, 8, 1, 1))
    (((2, 3), (2, 3)), ((0, 1), (0, 1)))
    """
    y, x = ((0, 1) if given.shape[axis - 2] == 1 else interval for axis, interval in enumerate(wanted))
    return (y, x) if _is_inside((y, x), given) else None


def everything(_wanted: Extent, _given: Tensor) -> Extent | None:
    """Need all of a map.

    Examples
    --------
    >>> everything(((2, 3), (2, 3)), torch.zeros(1, 8, 5, 4))
    """
    return None


def _is_inside(extent: Extent, given: Tensor) -> bool:
    return all(own[0] >= 0 and own[1] <= size for own, size in zip(extent, given.shape[-2:], strict=True))


def reach_of(
    operator: OpOverload, args: Sequence[Any], maps: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[Reach, tuple[Any, ...]]:
    """Say what an operator needs for a part of its output, from a call of it on whole maps.

    Parameters
    ----------
    operator
        Of torch's dispatcher.
    args
        Its positional arguments.
    maps
        Those of them that come from the images; other tensors are weights, constants, or tables of positions.
    outputs
        The maps that it gave.

    Returns
    -------
    Reach
        What it needs of each of its maps.
    tuple
        The arguments for a call on exactly that part: with the padding taken off. Maps stand where they stood. Empty
        where the arguments are sizes (`resized`).

    Examples
    --------
    The rows 5 and 6 of a convolution of 3 x 3 with stride 2 and padding 1 need the rows 9 to 13.

    >>> image, weight = torch.zeros(1, 3, 40, 30), torch.zeros(8, 3, 3, 3)
    >>> args = (image, weight, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1)
    >>> operator = torch.ops.aten.convolution.default
    >>> reach, inside = reach_of(operator, args, [image], [operator(*args)])
    >>> reach(((5, 7), (2, 3)), image), inside[4]
    (((9, 14), (3, 6)), [0, 0])
    >>> reach(((0, 7), (2, 3)), image) is None  # it reads padding
    True
    """
    packet = operator.overloadpacket
    if packet is aten.convolution and args[0].ndim == 4 and not args[6] and len(maps) == 1:
        _, weight, _, stride, padding, dilation = args[:6]
        reach: Reach = _Sliding(weight.shape[2:], _two(stride), _two(padding), _two(dilation))
        return reach, (*args[:4], [0, 0], *args[5:])
    if packet in (aten.max_pool2d_with_indices, aten.avg_pool2d) and args[0].ndim == 4:
        return _pool(packet is aten.avg_pool2d, args)
    if packet in _PADS and any(args[1][:4]) and not any(args[1][4:]):
        left, _, top = (*args[1], 0, 0)[:3]
        return _Shifted((top, left)), (args[0], [0] * len(args[1]), *args[2:])
    keeps = _keeps_places(operator, args, maps, outputs)
    return (same_place if keeps else everything), () if packet in _RESHAPES else tuple(args)


def resized(args: Sequence[Any]) -> tuple[Any, ...]:
    """Give the arguments by which a part of a map is given another shape, its places left as they are.

    Examples
    --------
    >>> resized((torch.zeros(2, 8, 3, 3), [2, 2, 4, 50, 60]))[1]
    [2, 2, 4, 3, 3]
    """
    return args[0], [*args[1][:-2], *args[0].shape[-2:]]


def _pool(is_mean: bool, args: Sequence[Any]) -> tuple[Reach, tuple[Any, ...]]:
    """Say what a pool needs, and give its arguments without padding, of which a size rounded up is a kind."""
    defaults: tuple[Any, ...] = ([], 0, False, True, None) if is_mean else ([], 0, 1, False)
    given, kernel, stride, padding, *rest = [*args, *defaults[len(args) - 2 :]]
    stride, dilation = stride or kernel, 1 if is_mean else rest[0]
    reach = _Sliding(_two(kernel), _two(stride), _two(padding), _two(dilation))
    return reach, (given, kernel, stride, 0, *((False, *rest[1:]) if is_mean else (dilation, False)))


def _keeps_places(
    operator: OpOverload, args: Sequence[Any], maps: Sequence[Tensor], outputs: Sequence[Tensor]
) -> bool:
    """Whether what stands at a place of the output comes from that place of the maps alone."""
    packet, given = operator.overloadpacket, maps[0]
    if packet in _POINTWISE:
        return True
    if packet in (aten.native_batch_norm, aten.cudnn_batch_norm):
        return given.ndim == 4 and args[5] is False
    if torch.Tag.pointwise in operator.tags or packet is aten.copy_:
        # A table of positions holds another number at each place.
        others = [own for own in args if isinstance(own, Tensor) and not any(own is m for m in maps)]
        return all(size == 1 for own in others for size in own.shape[-2:])
    if outputs[0].shape[-2:] != given.shape[-2:]:
        return False
    if packet in _RESHAPES:
        return True
    if packet is aten.permute:
        return [own % given.ndim for own in args[1][-2:]] == [given.ndim - 2, given.ndim - 1]
    if packet is aten.constant_pad_nd:
        return not any(args[1][:4])
    # A mean over neighbouring channels, as local response normalisation takes it.
    if packet is aten.avg_pool3d:
        return _last_two(args[1]) == (1, 1)
    if packet is aten.index:
        return sum(own is not None for own in args[1]) == 1 and len(args[1]) <= given.ndim - 2
    return packet in _ALONG and _is_along_others(packet, args, maps, outputs)


def _is_along_others(
    packet: Any, args: Sequence[Any], maps: Sequence[Tensor], outputs: Sequence[Tensor]
) -> bool:
    """Whether what an operator does along some dimensions is not along the last two."""
    n = max(maps[0].ndim, outputs[0].ndim)
    if packet is aten.cat and len(args[0]) != len(maps):
        return False  # a table of positions among them
    along = args[_ALONG[packet]] if len(args) > _ALONG[packet] else 0
    along = args[1:] if packet is aten.transpose else [along] if isinstance(along, int) else along
    return all(own % n < n - 2 for own in along)


def _two(value: Any) -> tuple[int, int]:
    """Give a number for each axis, where torch takes one for both."""
    own = [value] if isinstance(value, int) else list(value) or [0]
    return own[0], own[-1]


def _last_two(value: Any) -> tuple[int, int]:
    own = [value] * 3 if isinstance(value, int) else list(value)
    return own[-2], own[-1]
