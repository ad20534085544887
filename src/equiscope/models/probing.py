"""Which rows of an image reach which positions of a layer: by NaN, by differences, and with another side.

If row r is set to NaN and the positions p to q of a layer turn NaN, the receptive fields of exactly those hold r.
Several rows give the stride and the extent. What stops NaN, such as a maximum that skips it, is found by changing a row
of noise and looking for differences instead. What is NaN or infinite without a row of NaN, as a damaged unit is, tells
nothing of what reaches it: a layer is read from the rest.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model

__all__ = [
    "MOST_PERIOD_PX",
    "Axis",
    "find_period",
    "held_summaries",
    "moves_along",
    "probe_by_differences",
    "probe_by_nan",
    "reaches_further",
]

# Rows probed in one pass, each in a strip of its own.
_ROWS_PER_PASS = 8
# Draws of noise: a rectifier that is closed in one is open in another.
_DRAWS = 4
# Changes of a response that count as changes, in standard deviations of the layer's. In float32 what a row does not
# reach differs by rounding, 1e-5 at most; in float64, in which the field is read, by 1e-13.
_CHANGES = {torch.float32: 1e-3, torch.float64: 1e-9}
# Periods tried, px: strides of whole networks are powers of two up to 32, seldom 64.
MOST_PERIOD_PX = 64
# Sides by which strips are shortened: any padding that depends on the side shows at one of them, the one behind
# several strides at their product.
_SHORTER_PX = (1, 2, 3, 4, 8, 16, 32, 64)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Axis:
    """Stride, extent and centre of position 0, px, along one axis."""

    stride_px: int
    extent_px: int
    centre_px: float

    @property
    def first_px(self) -> int:
        """First row that position 0 sees."""
        return round(self.centre_px - (self.extent_px - 1) / 2)

    def predicts(self, rows: NDArray[np.int64], n_positions: int) -> Bools:
        """Whether each row reaches each position, shape (row, position)."""
        offset = rows[:, None] - self.stride_px * np.arange(n_positions) - self.first_px
        return np.asarray((offset >= 0) & (offset < self.extent_px))

    def inside(self, length_px: int, margin_px: int = 0) -> slice:
        """Positions all of whose field lies inside an image of this length, away from its ends by a margin."""
        low = max(0, -((self.first_px - margin_px) // self.stride_px))
        high = (length_px - margin_px - self.extent_px - self.first_px) // self.stride_px
        return slice(low, max(low, high + 1))


class held_summaries(TorchFunctionMode):  # noqa: N801 - used like a function
    """Stop NaN where an image is summed up to one number a channel, so that what gates see is not followed.

    A squeeze-excitation multiplies each channel by a function of its mean over the image. With that held still, NaN
    goes on through what is local.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = args[0] if args else None
        is_summary = (
            isinstance(given, Tensor)
            and isinstance(result, Tensor)
            and result.is_floating_point()
            and given.ndim > 2
            and result.shape[:1] == given.shape[:1]
            and math.prod(given.shape[2:]) > 1
            and math.prod(result.shape[2:]) == 1
        )
        return torch.nan_to_num(result) if is_summary else result


def probe_by_nan(
    model: Model,
    layers: Sequence[str],
    axis: int,
    shape: tuple[int, int],
    n_probes: int,
    n_channels: dict[str, int],
) -> dict[str, tuple[Axis | None, bool]]:
    """Set rows of an otherwise zero strip to NaN, one at a time, and see which positions turn NaN.

    Parameters
    ----------
    model, layers
        The network and its layers.
    axis
        0 for rows, 1 for columns.
    shape
        Of the strips, (along the axis, across it), px.
    n_probes
        Rows to probe, about the strip's middle.
    n_channels
        Number of channels of each layer, filled in.

    Returns
    -------
    dict
        For each layer the axis, or None where it could not be read, and whether anything arrived. Nothing arrives in a
        network that refuses NaN, or where all is NaN without it, as zeros divided by their deviation are.

    Examples
    --------
    >>> model = Model(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, stride=2)))
    >>> probe_by_nan(model, ["0"], 0, (64, 8), 24, {})["0"]
    (Axis(stride_px=2, extent_px=3, centre_px=1.0), True)
    """
    first_row = shape[0] // 2 - n_probes // 2

    without: dict[str, Tensor] = {}  # what is NaN already, where no row is

    def reach(layer: str, output: Tensor) -> Tensor:
        _note_channels(model, layer, output, n_channels)
        is_new = output.isnan() & ~without.setdefault(layer, output.isnan())
        return is_new.any(dim=1).any(dim=2 - axis)

    def show(strips: Tensor) -> dict[str, Tensor]:
        with torch.backends.cudnn.flags(enabled=False):
            return model.record(_along(strips, axis), layers, reach)

    try:
        show(torch.zeros(1, 3, *shape))
        parts = [show(strips) for strips in _strips_with_nan(shape, n_probes)]
    except EquiscopeError:
        raise
    except Exception:
        # Observers that draw histograms refuse NaN; what refuses the size refuses it again.
        show(torch.zeros(1, 3, *shape))
        return dict.fromkeys(layers, (None, False))
    found = {layer: torch.cat([part[layer] for part in parts]).cpu().numpy() for layer in layers}
    return {layer: (_read_axis(reached, first_row), bool(reached.any())) for layer, reached in found.items()}


def _note_channels(model: Model, layer: str, output: Tensor, n_channels: dict[str, int]) -> None:
    """Note how many channels a layer has, and refuse one whose number depends on the size of the image."""
    before = n_channels.setdefault(layer, output.shape[1])
    if before != output.shape[1]:
        raise EquiscopeError(
            f"layer {layer!r} of {model.name} has {before} channels for one size of image and {output.shape[1]} "
            "for another, so its channels stand last: name one whose output is (image, channel, y, x)"
        )


def _strips_with_nan(shape: tuple[int, int], n_probes: int) -> Iterator[Tensor]:
    """Yield batches of zero strips, each with one row of NaN: consecutive rows about the middle."""
    first_row = shape[0] // 2 - n_probes // 2
    for start in range(0, n_probes, _ROWS_PER_PASS):
        n_rows = min(_ROWS_PER_PASS, n_probes - start)
        strips = torch.zeros(n_rows, 3, *shape)
        for row in range(n_rows):
            strips[row, :, first_row + start + row] = math.nan
        yield strips


def reaches_further(model: Model, known: Mapping[str, Axis], axis: int, shape: tuple[int, int]) -> list[str]:
    """Layers that change at positions which, by their known axis, a row does not reach.

    Something stopped NaN on its way to them: a rectifier made of ``torch.where``, a fake quantisation, ``nan_to_num``.

    Parameters
    ----------
    model
        The network.
    known
        Axis of each layer.
    axis, shape
        As for `probe_by_nan`.

    Examples
    --------
    >>> model = Model(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 5)))
    >>> reaches_further(model, {"0": Axis(stride_px=1, extent_px=3, centre_px=2.0)}, 0, (64, 8))
    ['0']
    """
    if not known:
        return []
    step = max(1, max(own.stride_px for own in known.values()) // _ROWS_PER_PASS)
    rows = shape[0] // 2 + step * np.arange(_ROWS_PER_PASS)
    rows = rows[rows < shape[0]]
    found = []
    for layer, reached in _changed(model, list(known), axis, shape, rows, n_draws=2).items():
        if (reached & ~known[layer].predicts(rows, reached.shape[1])).any():
            found.append(layer)
    return found


def probe_by_differences(
    model: Model, layers: Sequence[str], axis: int, shape: tuple[int, int], n_probes: int
) -> dict[str, Axis | None]:
    """Change rows of strips of noise, one at a time, and see which positions change, in float64 where that runs.

    Nothing can stop a difference, but a rectifier that is closed hides one: the union over several draws of noise and
    over all channels is taken.

    Parameters
    ----------
    model, layers, axis, shape, n_probes
        As for `probe_by_nan`.

    Returns
    -------
    dict
        For each layer the axis, or None where positions at the rim change, or none at all.

    Examples
    --------
    >>> model = Model(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, stride=2)))
    >>> probe_by_differences(model, ["0"], axis=0, shape=(64, 8), n_probes=24)["0"]
    Axis(stride_px=2, extent_px=3, centre_px=1.0)
    """
    rows = shape[0] // 2 - n_probes // 2 + np.arange(n_probes)
    try:
        fine = replace(
            model,
            module=copy.deepcopy(model.module).double(),
            preprocess=lambda images: model.preprocess(images.double()).double(),
        )
        changed = _changed(fine, layers, axis, shape, rows, _DRAWS, torch.float64)
    except EquiscopeError:
        raise
    except Exception:  # what computes in float32 alone, or cannot be copied
        changed = _changed(model, layers, axis, shape, rows, _DRAWS)
    return {layer: _fold_axis(reached, int(rows[0])) for layer, reached in changed.items()}


def find_period(
    model: Model, known: Mapping[str, Axis], axis: int, shape: tuple[int, int]
) -> dict[str, int | None]:
    """Find by how many px the side of an image may change so that a layer's positions stay where they are.

    The start of a strip of noise, shortened at its end, is answered as before by all positions that do not see the
    end: unless the network pads by an amount that depends on the side, resizes, or tells where it is.

    Parameters
    ----------
    model
        The network.
    known
        Axis of each layer in strips of this length.
    axis
        0 for rows, 1 for columns.
    shape
        Of the longest strip, (along the axis, across it), px; it should hold the fields and 256 px more.

    Returns
    -------
    dict
        1 for a layer whose grid does not depend on the side, else the smallest difference of sides, px, up to 64, that
        leaves it where it is; None where there is none.

    Examples
    --------
    >>> model = Model(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, stride=2)))
    >>> find_period(model, {"0": Axis(stride_px=2, extent_px=3, centre_px=1.0)}, 0, (280, 16))
    {'0': 1}
    """
    noise = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))

    def answers(layers: Sequence[str], shorter_px: int) -> dict[str, Tensor]:
        strip = _along(noise[:, :, : shape[0] - shorter_px], axis)
        with torch.backends.cudnn.flags(enabled=False):
            return model.record(strip, layers)

    def holds(layer: str, shorter_px: int, shorter: Tensor) -> bool:
        # Where the grid depends on the side, that of this strip may lie a period beside the known one.
        places = known[layer].inside(shape[0] - shorter_px, MOST_PERIOD_PX)
        return _agree(whole[layer], shorter, axis, places, places)

    def unsteady(layers: Sequence[str], shorter_px: int) -> list[str]:
        if not layers:
            return []
        return [n for n, output in answers(layers, shorter_px).items() if not holds(n, shorter_px, output)]

    whole = answers(list(known), 0) if known else {}
    moved = {layer for shorter_px in _SHORTER_PX for layer in unsteady(list(known), shorter_px)}
    away = {d: set(unsteady(sorted(moved), d)) for d in range(1, MOST_PERIOD_PX + 1) if moved}

    def period(layer: str) -> int | None:
        lengths = range(1, MOST_PERIOD_PX + 1)
        return next((p for p in lengths if all(layer not in away[d] for d in lengths[p - 1 :: p])), None)

    return {layer: period(layer) if layer in moved else 1 for layer in known}


def moves_along(model: Model, known: Mapping[str, Axis], axis: int, shape: tuple[int, int]) -> set[str]:
    """Layers whose answers move along with what a strip shows, so that they do not tell where it is.

    Parameters
    ----------
    model, known, axis
        As for `find_period`.
    shape
        Of the strips, (along the axis, across it), px.

    Examples
    --------
    >>> model = Model(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, stride=2)))
    >>> moves_along(model, {"0": Axis(stride_px=2, extent_px=3, centre_px=1.0)}, 0, (280, 16))
    {'0'}
    """
    step_px = math.lcm(*(own.stride_px for own in known.values()))
    noise = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    with torch.backends.cudnn.flags(enabled=False):
        before, after = (
            model.record(_along(noise.roll(-moved_px, 2), axis), list(known)) for moved_px in (0, step_px)
        )
    found = set()
    margin_px = MOST_PERIOD_PX if shape[0] != shape[1] else 0
    for layer, own in known.items():
        inside = own.inside(shape[0] - step_px, margin_px)
        n_moved = step_px // own.stride_px
        moved = slice(inside.start + n_moved, inside.stop + n_moved)
        if _agree(before[layer], after[layer], axis, moved, inside):
            found.add(layer)
    return found


def _agree(a: Tensor, b: Tensor, axis: int, places: slice, others: slice) -> bool:
    """Whether some positions of one output along an axis are as others of another, up to rounding.

    Without such positions nothing is known, and images must tell.
    """
    if a.shape[2] == a.shape[3]:
        # A network that takes squares alone, so the other axis may have been shortened, too.
        a, b = (output.movedim(3 - axis, 0)[others].movedim(0, 3 - axis) for output in (a, b))
    x, y = (output.movedim(2 + axis, 0)[some] for output, some in ((a, places), (b, others)))
    length = min(len(x), len(y))
    # The root mean square, because where a network rounds to steps, rounding may turn single answers by one.
    away = (x[:length] - y[:length]).square().nanmean().sqrt()
    return not x[:length].numel() or bool(away <= _CHANGES[torch.float32] * _spread(a, axis))


def _along(strips: Tensor, axis: int) -> Tensor:
    """Turn strips that are long in y to be long in x for axis 1."""
    return strips.transpose(2, 3) if axis == 1 else strips


def _spread(output: Tensor, axis: int) -> Tensor:
    """Give the standard deviation of a layer's units along an axis, in its middle half, where no padding is seen.

    The root mean square over units and places across the axis; of a layer without any, what rounding leaves of them.
    """
    length = output.shape[2 + axis]
    middle = output.narrow(2 + axis, length // 4, length - 2 * (length // 4))
    deviation = middle.var(2 + axis, correction=0).nanmean().sqrt().nan_to_num()
    largest = float(output.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return deviation.clamp(min=1e-6 * largest + 1e-30)


def _changed(
    model: Model,
    layers: Sequence[str],
    axis: int,
    shape: tuple[int, int],
    rows: NDArray[np.int64],
    n_draws: int,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Bools]:
    """Positions that change with each row of noise, in any draw and channel, shape (row, position)."""

    def compare(_layer: str, output: Tensor) -> Tensor:
        away = (output[1:] - output[:1]).abs().nan_to_num().amax(1).amax(2 - axis)
        return away > _CHANGES[dtype] * _spread(output[:1], axis)

    generator = torch.Generator().manual_seed(0)
    parts: dict[str, list[Bools]] = {layer: [] for layer in layers}
    for start in range(0, len(rows), _ROWS_PER_PASS):
        some = rows[start : start + _ROWS_PER_PASS]
        union: dict[str, Tensor] = {}
        for _ in range(n_draws):
            strips = torch.rand(1, 3, *shape, generator=generator).repeat(1 + len(some), 1, 1, 1)
            for index, row in enumerate(some.tolist(), 1):
                strips[index, :, row] = torch.rand(3, shape[1], generator=generator)
            with torch.backends.cudnn.flags(enabled=False):
                for layer, mask in model.record(_along(strips, axis), layers, compare).items():
                    union[layer] = union[layer] | mask if layer in union else mask
        for layer, mask in union.items():
            parts[layer].append(mask.cpu().numpy())
    return {layer: np.concatenate(masks) for layer, masks in parts.items()}


def _read_axis(reached: Bools, first_row: int) -> Axis | None:
    """Stride, extent and centre of position 0, px, from the reached positions of consecutive rows.

    Position o sees row r if and only if position o + 1 sees row r + stride, so the smallest shift that maps the
    pattern onto itself is the stride, and the rows seen by position 0 are ``r - stride * o`` over all hits.
    """
    if not reached.any() or reached[:, 0].any() or reached[:, -1].any():
        return None
    for stride in range(1, len(reached) // 2 + 1):
        if np.array_equal(reached[stride:, 1:], reached[:-stride, :-1]):
            return _hull(reached, first_row, stride)
    return None


def _fold_axis(reached: Bools, first_row: int) -> Axis | None:
    """Read as `_read_axis` does where some hits may be missing: with the stride that leaves the fewest to explain."""
    if reached.any(0).sum() < 2 or reached[:, 0].any() or reached[:, -1].any():
        return None
    rows = first_row + np.arange(len(reached))
    axes = [_hull(reached, first_row, stride) for stride in range(1, len(reached) // 2 + 1)]
    return min(axes, key=lambda own: int((own.predicts(rows, reached.shape[1]) & ~reached).sum()))


def _hull(reached: Bools, first_row: int, stride: int) -> Axis:
    rows, positions = np.nonzero(reached)
    offsets = rows + first_row - stride * positions
    low, high = int(offsets.min()), int(offsets.max())
    return Axis(stride, high - low + 1, (low + high) / 2)
