"""One set of stimuli for several layers: patches of one size, chosen so that many units of each see what excites them.

Where patches are large, passes are dear, and a pass to the last of some layers gives the answers of the others on the
way. So these layers are shown the same stimuli: some of all units' strongest ones. Every unit is measured on all of
them, so that it does not need its own there; the more units a stimulus is for, the sooner it is chosen. What a unit is
tuned to is then read from the strongest of the stimuli that it was shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry

__all__ = ["share_bank", "strongest_shown"]

Ints = NDArray[np.int64]
# No row of the bank.
_NONE = -1


def share_bank(
    examples: Mapping[str, Examples],
    geometries: Mapping[str, LayerGeometry],
    photographs: Ints,
    *,
    n_per_half: int,
    n_stimuli_per_half: int,
) -> dict[str, Bank]:
    """Choose the stimuli that several layers are shown.

    Parameters
    ----------
    examples, geometries
        Strongest stimuli and geometry of each layer; all with patches of one size, or all global.
    photographs
        The photograph of each image, shape (image,).
    n_per_half
        Strongest stimuli of each unit and half that are candidates.
    n_stimuli_per_half
        How many are chosen of each half, at most.

    Returns
    -------
    dict
        By layer the same stimuli in the same order, each with its position in the layer's own grid: a fraction where
        the layer has no place there.

    Notes
    -----
    The stimulus that is among the strongest of the most units comes first; then that of the most units that have none
    yet, and so on; where all have one, a second is looked for in the same way.

    Examples
    --------
    Image 5 excites two units of three, each of the others one.

    >>> from equiscope.measurement.examples import empty_examples
    >>> examples = empty_examples("conv1", 3, 2)
    >>> examples.image[0] = [[5, 2], [5, 3], [4, -1]]
    >>> examples.value[0] = 1.0
    >>> geometry = LayerGeometry("conv1", 3, (4, 4), (9, 9), (4.0, 4.0))
    >>> photographs = np.arange(8)
    >>> banks = share_bank({"conv1": examples}, {"conv1": geometry}, photographs, n_per_half=2, n_stimuli_per_half=2)
    >>> banks["conv1"].image.tolist()
    [4, 5]
    """
    distinct, rows = _name_stimuli(examples, geometries, n_per_half)
    wanted = np.concatenate(list(rows.values()), axis=1)
    chosen = np.concatenate(
        [_cover(wanted[half], len(distinct), n_stimuli_per_half) for half in (0, 1)]
    ).astype(np.int64)
    half, image = distinct[chosen, 0].astype(np.int64), distinct[chosen, 1].astype(np.int64)
    banks = {}
    for layer, own in examples.items():
        position = _positions(distinct[chosen, 2:], geometries[layer])
        if geometries[layer].is_global:
            position = _own_positions(own, rows[layer], n_per_half, len(distinct))[chosen]
        banks[layer] = Bank(layer, half, image, position, photographs[image])
    return banks


def strongest_shown(responses: Responses[Any], examples: Examples) -> Examples:
    """Give the stimuli of a shared bank that excite each unit most as they are, in the place of its strongest of all.

    Parameters
    ----------
    responses
        Of the units' layer to the shared bank.
    examples
        The layer's strongest stimuli of all: as many are given in each half.

    Notes
    -----
    The moments stay. A stimulus that does not excite the unit is none.

    Examples
    --------
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> bank = Bank("conv1", np.array([0, 0, 1]), np.array([7, 8, 9]), np.zeros((3, 2)), np.arange(3))
    >>> values = np.array([[[1.0, 3.0]], [[2.0, 0.0]], [[4.0, 5.0]]], np.float32)
    >>> shown = strongest_shown(Responses(bank, CyclicGroup(1), values), empty_examples("conv1", 2, 2))
    >>> shown.image[0].tolist()
    [[8, 7], [7, -1]]
    """
    n_each = examples.value.shape[2]
    image, value = np.full_like(examples.image, NO_IMAGE), np.full_like(examples.value, np.nan)
    position: NDArray[Any] = np.zeros(examples.position.shape, responses.bank.position.dtype)
    for half in (0, 1):
        # The first element, within a step of the stimulus as it is.
        answers = np.concatenate([part[:, 0] for _, part in responses.chunks(half)] or [value[half, :, :0].T])
        best = np.argsort(-answers, axis=0, kind="stable")[:n_each].T
        rows = responses.of_half(half)[0] + best
        own = np.take_along_axis(answers.T, best, axis=1)
        n_shown = best.shape[1]
        image[half, :, :n_shown] = np.where(own > 0, responses.bank.image[rows], NO_IMAGE)
        value[half, :, :n_shown] = np.where(own > 0, own, np.nan)
        position[half, :, :n_shown] = responses.bank.position[rows]
    return replace(examples, image=image, value=value, position=position)


def _name_stimuli(
    examples: Mapping[str, Examples], geometries: Mapping[str, LayerGeometry], n_per_half: int
) -> tuple[NDArray[np.float64], dict[str, Ints]]:
    """Tell all strongest stimuli of some layers, each once, and which of them each unit has.

    Returns
    -------
    distinct
        Half, image and centre (y, x) of each, px, shape (stimulus, 4), in this order.
    rows
        By layer the number of each unit's, shape (half, unit, rank); `_NONE` where there is none.
    """
    listed = [_listed(own, geometries[layer], n_per_half) for layer, own in examples.items()]
    # NaN, of layers that see the whole image, is not equal to itself.
    keys = np.nan_to_num(np.concatenate([own.reshape(-1, 4) for own in listed]), nan=-1.0)
    distinct, row = np.unique(keys, axis=0, return_inverse=True)
    row = np.where(distinct[row.ravel(), 1] != NO_IMAGE, row.ravel(), _NONE)
    bounds = np.cumsum([own[..., 0].size for own in listed])[:-1]
    parts = np.split(row, bounds)
    return distinct, {
        layer: part.reshape(own.shape[:3]) for layer, own, part in zip(examples, listed, parts, strict=True)
    }


def _listed(examples: Examples, geometry: LayerGeometry, n_per_half: int) -> NDArray[np.float64]:
    """Half, image and centre (y, x) of each unit's strongest stimuli, shape (half, unit, rank, 4)."""
    image = examples.image[:, :, :n_per_half]
    position = examples.position[:, :, :n_per_half]
    fires = (image != NO_IMAGE) & (np.nan_to_num(examples.value[:, :, :n_per_half]) > 0)
    zeros = np.zeros(image.size, np.int64)
    bank = Bank(geometry.layer, zeros, image.ravel(), position.reshape(-1, 2), zeros)
    centre = centres_px(bank, geometry).reshape(*image.shape, 2)
    half = np.broadcast_to(np.arange(2)[:, None, None], image.shape)
    found = np.concatenate([half[..., None], np.where(fires, image, NO_IMAGE)[..., None], centre], axis=-1)
    return np.asarray(np.where(fires[..., None], found, [0.0, NO_IMAGE, 0.0, 0.0]))


def _positions(centre_px: NDArray[np.float64], geometry: LayerGeometry) -> NDArray[np.float64]:
    """Give positions (y, x) in a layer's grid of places in the image."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((centre_px - geometry.centre_px) / np.asarray(geometry.stride_px, dtype=float))


def _own_positions(examples: Examples, rows: Ints, n_per_half: int, n_rows: int) -> NDArray[np.float64]:
    """Give the positions by which a global layer names stimuli, one an image; NaN where none of its units names it."""
    position = np.full((n_rows, 2), np.nan)
    is_named = rows != _NONE
    position[rows[is_named]] = examples.position[:, :, :n_per_half][is_named]
    return position


def _cover(wanted: Ints, n_rows: int, n_most: int) -> Ints:
    """Choose rows of which many units want one, shape (row,), rising; ``wanted``: shape (unit, rank)."""
    # Which of equally wanted rows comes first must not depend on their order, which is that of the images.
    order = np.random.default_rng(0).permutation(n_rows)
    place = np.empty_like(order)
    place[order] = np.arange(n_rows)
    wanted = np.where(wanted == _NONE, _NONE, place[wanted])
    wants = _units_of_rows(wanted, n_rows)
    is_left = np.array([bool(len(own)) for own in wants])
    gain, waits = np.zeros(n_rows), np.zeros(len(wanted), bool)
    chosen: list[int] = []
    while len(chosen) < n_most and is_left.any():
        best = int(np.where(is_left, gain, -1).argmax())
        if gain[best] <= 0:
            waits[:] = True
            gain = np.bincount(wanted[wanted != _NONE], minlength=n_rows).astype(float)
            continue
        chosen.append(best)
        is_left[best] = False
        served = wants[best][waits[wants[best]]]
        waits[served] = False
        np.subtract.at(gain, wanted[served][wanted[served] != _NONE], 1)
    return np.sort(order[chosen]) if chosen else np.zeros(0, np.int64)


def _units_of_rows(wanted: Ints, n_rows: int) -> Sequence[Ints]:
    """Give the units that want each row."""
    unit, rank = np.nonzero(wanted != _NONE)
    own = wanted[unit, rank]
    by_row = np.argsort(own, kind="stable")
    return np.split(unit[by_row], np.cumsum(np.bincount(own, minlength=n_rows))[:-1])
