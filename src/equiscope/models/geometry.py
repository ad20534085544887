"""Stride, receptive field and centre of the layers of any network, found by following NaN and differences.

The position at index (i, j) of a layer has its centre at ``centre + stride * (i, j)`` px of the image, and only pixels
within the receptive field about that centre can change it. A 5 x 5 convolution of stride 2 without padding has stride
2, receptive field 5 and centre 2. From the three follow the patch that a unit needs, and where to cut it.

They are measured, not computed from the modules: one row of an image is set to NaN, and the positions that turn NaN can
see it. That holds for parallel branches, additions, dilation and ceil-mode pools alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model
from equiscope.models.probing import (
    MOST_PERIOD_PX,
    Axis,
    find_period,
    held_summaries,
    moves_along,
    probe_by_differences,
    probe_by_nan,
    reaches_further,
)
from equiscope.models.receptive_fields import LayerGeometry, Sides
from equiscope.models.refusals import no_size_taken
from equiscope.models.sides import find_sides, fitted

__all__ = ["MAX_OFFSET", "LayerGeometry", "find_geometry", "find_local_geometry", "joint_patch_px"]

# Length of the strips, px, and probed rows of each attempt: short ones settle early layers in a fraction of a
# second, long ones the rest. Twice the stride must fit into the probes, so strides above 36 count as global.
_ATTEMPTS = ((256, 40), (896, 72))
_STRIP_PX = 32
# Patches shown to a network to see whether it takes them: of different sides, small ones cost little.
_N_PATCHES = 3
# Side of the images of a network of which none is known, px.
_USUAL_PX = 224
# How far from a stimulus' middle positions of several layers may be read where no patch is centred on one of each, in
# strides: a quarter is enough behind up to nine pools of 2 x 2, as tried, whose grids lie half a stride apart.
MAX_OFFSET = 0.25


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
        are, in strides, nearest to its middle. None if those are further away than ``max_offset``, a layer is
        global, or the network takes no side that large.

    Examples
    --------
    >>> from torch import nn
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 3)))
    >>> joint_patch_px(list(find_geometry(model, ["0", "1"]).values()))
    7
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
    is_held = all(geometry.sides.holds(best) for geometry in geometries)
    return best if is_held and offsets[best] <= max_offset else None


def find_geometry(
    model: Model, layers: Sequence[str], *, side_px: int | None = None
) -> dict[str, LayerGeometry]:
    """Find stride, receptive field and centre offset of layers of any architecture, and sides for which they hold.

    Single rows (then columns) of an otherwise zero strip are set to NaN, and the positions that turn NaN are
    those that the row can reach. Unlike a gradient, NaN passes ReLU, pooling and zero weights alike, so this
    holds for inception and residual blocks, dilation, depthwise convolutions and ceil-mode pooling, and needs
    no knowledge of the modules. What stops NaN is found by changing some rows of strips of noise: where that reaches
    further, the field is read from such differences.

    Parameters
    ----------
    model
        The network. It runs as it is, on its own device; cuDNN is off meanwhile, because its transform-domain
        convolutions would spread NaN to neighbours.
    layers
        Layers to examine.
    side_px
        Side of the images that it will be shown, px; by default its ``input_size_px``, or 224. It matters only where
        the network does not take every side, or its grid depends on it: this side, or the next that is taken below, is
        then among the ``sides`` for which the geometry holds.

    Returns
    -------
    dict
        A geometry for each layer, in the order asked. A receptive field that does not fit into the longest
        strip (896 px; or into the network's own input, where it takes no other) is called global, and so is a layer
        whose answers depend on the image's side in a way that no choice of sides mends.

    Raises
    ------
    EquiscopeError
        If the network takes neither strips nor squares of any usual side.

    Examples
    --------
    >>> from torch import nn
    >>> own = find_geometry(Model(nn.Sequential(nn.Conv2d(3, 4, 5, stride=2))), ["0"])["0"]
    >>> own.stride_px, own.receptive_field_px, own.centre_px
    ((2, 2), (5, 5), (2.0, 2.0))
    """
    side_px = side_px or model.input_size_px or _USUAL_PX
    found = _try(model, layers, Sides(), side_px)
    if isinstance(found, dict):
        return found
    sides, problem = find_sides(model, layers, side_px, found), found
    # Long strips may be too long for it, where the side that it takes is not.
    for some in (sides, sides.alone(side_px)):
        found = _try(model, layers, some, side_px)
        if isinstance(found, dict):
            return found
    raise no_size_taken(model, problem, f"images with {sides.words}", found) from found


def find_local_geometry(
    model: Model, layers: Sequence[str], sides: Sides, side_px: int
) -> dict[str, LayerGeometry]:
    """Find the geometry of what is local in layers that see the whole image.

    A gate (squeeze-excitation) multiplies local responses by what the whole image holds. Here summaries of the image
    are held still, so that the receptive field is that of the local part. Whether it is enough, images must tell.

    Parameters
    ----------
    model, layers, side_px
        As for `find_geometry`.
    sides
        The sides that it found.

    Returns
    -------
    dict
        A geometry for each layer that has one; others are left out.

    Examples
    --------
    >>> class Gate(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x * x.mean((2, 3), keepdim=True)
    >>> model = Model(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Gate()))
    >>> find_local_geometry(model, ["1"], Sides(), 64)["1"].receptive_field_px
    (3, 3)
    """
    n_channels: dict[str, int] = {}

    def probe(some: Sides) -> list[dict[str, Axis | None]]:
        return [_held_axis(fitted(model, some), layers, axis, some, n_channels) for axis in (0, 1)]

    try:
        axes = probe(sides)
    except EquiscopeError:
        raise
    except Exception as problem:  # strips may be too narrow, where patches and images are not
        axes = probe(find_sides(model, layers, side_px, problem))
    found = {layer: _geometry(layer, n_channels[layer], axes, sides) for layer in layers}
    return {layer: geometry for layer, geometry in found.items() if not geometry.is_global}


def _try(
    model: Model, layers: Sequence[str], sides: Sides, side_px: int
) -> dict[str, LayerGeometry] | Exception:
    """Find geometries among some sides, or give what the network throws there."""
    try:
        return _find(model, layers, sides, side_px)
    except EquiscopeError:
        raise
    except Exception as problem:  # networks refuse a size with any type, timm's with AssertionError
        return problem


def _find(model: Model, layers: Sequence[str], sides: Sides, side_px: int) -> dict[str, LayerGeometry]:
    """Find geometries among the sides that a network takes; what it refuses it may still throw."""
    n_channels: dict[str, int] = {}

    def probe(some: Sides) -> list[dict[str, Axis | None]]:
        return [_axis(fitted(model, some), layers, axis, some, n_channels) for axis in (0, 1)]

    axes = probe(sides)
    periods = _periods(fitted(model, sides), axes, sides)
    if not periods and sides.step_px:
        # It may resize what it gets, so that its grid is regular for one side alone: most likely for its own.
        own_px = min(model.input_size_px or side_px, side_px)
        for alone in dict.fromkeys((sides.alone(own_px), sides.alone(side_px))):
            fixed = probe(alone)
            if periods := _periods(fitted(model, alone), fixed, alone):
                sides, axes = alone, fixed
                break
    elif (period := math.lcm(*periods.values())) > 1:
        sides = sides.every(period, side_px)
        axes = probe(sides)
        periods = {layer: 1 for layer in _periods(fitted(model, sides), axes, sides) if layer in periods}
    found = {
        layer: _geometry(layer, n_channels[layer], axes if layer in periods else [{}, {}], sides)
        for layer in layers
    }
    if sides.step_px == 1 and not sides.is_square and _takes_patches(model, found):
        # Only strips were too narrow for a network that does not pad.
        return {layer: replace(geometry, sides=Sides()) for layer, geometry in found.items()}
    # Strips may have had a side that the network takes by chance, as a multiple of 32.
    _show_patches(fitted(model, sides), found)
    return found


def _show_patches(model: Model, geometries: Mapping[str, LayerGeometry]) -> None:
    """Run empty patches as large as the stimuli of the layers that have the smallest: what takes them takes others."""
    usable = [g for g in geometries.values() if not g.is_global and g.sides.holds(g.patch_px)]
    by_side = {g.patch_px: g.layer for g in usable}
    for side in sorted(by_side)[:_N_PATCHES]:
        model.record(torch.zeros(1, 3, side, side), [by_side[side]])


def _takes_patches(model: Model, geometries: Mapping[str, LayerGeometry]) -> bool:
    """Whether a network takes the patches of all layers as they are; whole images may be too small for it."""
    if any(geometry.is_global for geometry in geometries.values()):
        return False
    try:
        _show_patches(model, geometries)
    except EquiscopeError:
        raise
    except Exception:  # networks refuse a size with any type
        return False
    return True


def _geometry(
    layer: str, n_channels: int, axes: Sequence[Mapping[str, Axis | None]], sides: Sides
) -> LayerGeometry:
    """Put both axes together; the layer is global where either is not known."""
    y, x = (axis.get(layer) for axis in axes)
    if y is None or x is None:
        nan = (math.nan, math.nan)
        return LayerGeometry(layer, n_channels, (0, 0), (0, 0), nan, is_global=True, sides=sides)
    return LayerGeometry(
        layer,
        n_channels,
        (y.stride_px, x.stride_px),
        (y.extent_px, x.extent_px),
        (y.centre_px, x.centre_px),
        sides=sides,
    )


def _attempts(sides: Sides) -> tuple[tuple[tuple[int, int], int], ...]:
    """Shapes of strips (along the axis, across it), px, and rows to probe in them."""
    if sides.step_px:
        return tuple(((length, _STRIP_PX), n_probes) for length, n_probes in _ATTEMPTS)
    own_px = sides.least_px
    # Few rows reach no rim where the field is nearly as large as the image.
    rows = (max(1, min(_ATTEMPTS[-1][1], own_px // 2)), min(16, own_px))
    return tuple(((own_px, own_px), n_probes) for n_probes in rows)


def _axis(
    model: Model, layers: Sequence[str], axis: int, sides: Sides, n_channels: dict[str, int]
) -> dict[str, Axis | None]:
    """Stride, extent and first centre along one axis for each layer, or None where it is global."""
    found: dict[str, Axis | None] = {}
    has_arrived: set[str] = set()
    for shape, n_probes in _attempts(sides):
        waiting = [layer for layer in layers if found.get(layer) is None]
        if not waiting:
            break
        for layer, (own, is_reached) in probe_by_nan(
            model, waiting, axis, shape, n_probes, n_channels
        ).items():
            found[layer] = own
            has_arrived |= {layer} if is_reached else set()
    return found | _second_opinion(model, found, has_arrived, axis, sides)


def _second_opinion(
    model: Model, found: Mapping[str, Axis | None], has_arrived: set[str], axis: int, sides: Sides
) -> dict[str, Axis | None]:
    """Axes, by differences, of the layers that NaN did not reach, or not as far as differences do."""
    shape, _ = _attempts(sides)[-1 if any(_is_long(own) for own in found.values()) else 0]
    known = {layer: own for layer, own in found.items() if own is not None}
    misled = [layer for layer in found if layer not in has_arrived]
    misled += [layer for layer in reaches_further(model, known, axis, shape) if layer in has_arrived]
    read: dict[str, Axis | None] = {}
    for shape, n_probes in _attempts(sides):
        waiting = [layer for layer in misled if read.get(layer) is None]
        if waiting:
            read |= probe_by_differences(model, waiting, axis, shape, n_probes)
    return read


def _is_long(axis: Axis | None) -> bool:
    """Whether a field was read in the longer strips."""
    return axis is not None and axis.extent_px > _ATTEMPTS[0][0] // 2


def _held_axis(
    model: Model, layers: Sequence[str], axis: int, sides: Sides, n_channels: dict[str, int]
) -> dict[str, Axis | None]:
    """Stride, extent and first centre along one axis of what is local in each layer; None where nothing is."""
    found: dict[str, Axis | None] = {}
    for shape, n_probes in _attempts(sides):
        waiting = [layer for layer in layers if found.get(layer) is None]
        if waiting:
            with held_summaries():
                read = probe_by_nan(model, waiting, axis, shape, n_probes, n_channels)
            found |= {layer: own for layer, (own, _) in read.items()}
    waiting = [layer for layer in layers if found[layer] is None]
    shape, n_probes = _attempts(sides)[0]
    return found | (probe_by_differences(model, waiting, axis, shape, n_probes) if waiting else {})


def _periods(model: Model, axes: Sequence[Mapping[str, Axis | None]], sides: Sides) -> dict[str, int]:
    """Tell by how much sides may differ for the grid of each layer to stay, px; without layers that none leaves."""
    periods: dict[str, int] = {}
    for axis, read in enumerate(axes):
        known = {layer: own for layer, own in read.items() if own is not None}
        if not known:
            return {}
        shape = _attempts(sides)[0][0]
        if sides.step_px:
            # Room for a field, for margins at both ends, for what is cut off, and for some positions more.
            shape = (max(own.extent_px for own in known.values()) + 4 * MOST_PERIOD_PX, _STRIP_PX)
        own_periods = find_period(model, known, axis, shape) if sides.step_px else dict.fromkeys(known, 1)
        stays = moves_along(model, known, axis, shape)
        usable = {n: period for n, period in own_periods.items() if period is not None and n in stays}
        periods = (
            usable if axis == 0 else {n: math.lcm(periods[n], p) for n, p in usable.items() if n in periods}
        )
    return periods
