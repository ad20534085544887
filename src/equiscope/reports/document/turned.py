"""What the members of a family answered to one stimulus, transformed step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import Examples
from equiscope.measurement.orbits import read_circle
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.poses import pose_of
from equiscope.reports.document.schema import FamilyEntry, MemberEntry, TurnedEntry
from equiscope.transformations import find
from equiscope.transformations.spaces import HandedCircle, Line, Pair, Torus

__all__ = ["turned_responses"]

Floats = NDArray[np.float64]


def turned_responses(
    responses: Responses[Any],
    examples: Mapping[str, Examples],
    geometries: Mapping[str, LayerGeometry],
    columns: Mapping[str, int],
    family: FamilyEntry,
    turned: TurnedEntry,
) -> list[list[float | None]] | None:
    """Read what the members of a family answered to the stimulus that is shown transformed.

    Parameters
    ----------
    responses
        Of the family's transformation: of its layer, or of several layers side by side.
    examples, geometries
        Strongest stimuli and geometry of each layer.
    columns
        Where each layer's units begin in the responses.
    family
        The family.
    turned
        The stimulus and the values of the axes at which it is shown.

    Returns
    -------
    list or None
        For each member in the family's order, for each tile: the response after the ReLU as a share of the unit's
        largest to any image. None where the stimulus is not among those that were shown.

    Notes
    -----
    Tiles stand at whole steps of the family's pose, orbits were measured at whole steps from another angle: responses
    are read between the measured ones by a Fourier series, between sizes linearly.

    Examples
    --------
    >>> from equiscope.measurement.bank import build_bank
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> examples, geometry = empty_examples("conv1", 2, 1), LayerGeometry("conv1", 2, (1, 1), (9, 9), (4.0, 4.0))
    >>> examples.value[1, 0, 0], examples.image[1, 0, 0], examples.maximum[:] = 4.0, 0, 4.0
    >>> answers = np.array([[4, 1], [2, 0], [0, 1], [2, 2]], np.float32)[None]  # turned by 0°, 90°, …
    >>> responses = Responses(build_bank(examples, np.arange(1)), CyclicGroup(4), answers)
    >>> own = {"layer": "conv1", "channel": 0, "pose": {"angle_deg": 90.0}}
    >>> family = {"transformation": "rotation", "members": [own, own | {"channel": 1}]}
    >>> turned = own | {"axes": {"angle_deg": [90.0, 180.0]}}
    >>> turned_responses(responses, {"conv1": examples}, {"conv1": geometry}, {"conv1": 0}, family, turned)
    [[1.0, 0.5], [0.25, 0.0]]
    """
    own = _member_shown(family, turned)
    row = _row_of(responses.bank, examples[own["layer"]], geometries[own["layer"]], own["channel"])
    if row is None:
        return None
    picked = [columns[m["layer"]] + m["channel"] for m in family["members"]]
    values = np.asarray(responses.read(row, row + 1)[0][:, picked], dtype=np.float64)
    if not np.isfinite(values).all():
        return None
    shown = np.clip(_read(values, responses, row, own, turned["axes"]), 0.0, None)
    largest = np.array([float(examples[m["layer"]].maximum[m["channel"]]) for m in family["members"]])
    return _as_shares(shown.reshape(-1, len(picked)), largest)


def _member_shown(family: FamilyEntry, turned: TurnedEntry) -> MemberEntry:
    """Give the member whose stimulus is shown transformed."""
    shown = turned["layer"], turned["channel"]
    return next(member for member in family["members"] if (member["layer"], member["channel"]) == shown)


def _as_shares(answers: Floats, largest: Floats) -> list[list[float | None]]:
    """Say answers, shape (tile, member), as shares of each member's largest: for each member, for each tile."""
    shares = answers / np.where(largest > 0, largest, np.nan)
    return [[round(float(v), 3) if np.isfinite(v) else None for v in member] for member in shares.T]


def _row_of(bank: Bank, examples: Examples, geometry: LayerGeometry, channel: int) -> int | None:
    """Find the unit's strongest held-out stimulus among those that were shown."""
    image, position = examples.image[1, channel, :1], examples.position[1, channel, :1]
    places: NDArray[Any] = bank.position
    place = position[0]
    if bank.centre_px is not None:
        # Banks of several layers tell stimuli by where in the image they are centred.
        zero = np.zeros(1, np.int64)
        places, place = (
            bank.centre_px,
            centres_px(Bank(geometry.layer, zero, image, position, zero), geometry)[0],
        )
    # Halves share no image, so that a held-out image is held out in the bank as well.
    is_it = (bank.image == image[0]) & (places == place).all(1)
    return int(is_it.argmax()) if is_it.any() else None


def _read(
    values: Floats, responses: Responses[Any], row: int, own: MemberEntry, axes: Mapping[str, Sequence[float]]
) -> Floats:
    """Read an orbit, shape (element, unit), at the poses of the tiles: shape (*axes, unit)."""
    group = responses.group
    starts = [float(start[row]) for start in responses.bank.starts_deg(group)]
    space = find(group.name).space
    own_pose = pose_of(own, space.axes)
    match space:
        case Line(axis):
            wanted = np.asarray(axes[axis.name]) - own_pose[axis.name]
            # Beyond the ends nothing was shown: the last answer is not the next one's.
            read = [np.interp(wanted, group.values, curve, left=nan, right=nan) for curve in values.T]
            return np.stack(read, axis=1)
        case Pair(axis):
            return np.asarray(values[::-1] if own_pose[axis.name] else values)
        case HandedCircle(axis, hand):
            # Element k turns by k, and element k + N mirrors what was turned.
            sheets = values.reshape(2, group.n_angles, -1)
            parts = []
            for is_on in axes[hand.name]:
                is_flipped = bool(is_on) != bool(own_pose[hand.name])
                sign = -1.0 if is_flipped else 1.0
                angles = [sign * angle - own_pose[axis.name] for angle in axes[axis.name]]
                parts.append(read_circle(sheets[int(is_flipped)], 0, starts[0], angles))
            return np.stack(parts)
        case Torus(axis, other):
            sheet = values.reshape(group.n_hues, group.n_angles, -1)
            slow = [value - own_pose[other.name] for value in axes[other.name]]
            fast = [value - own_pose[axis.name] for value in axes[axis.name]]
            return read_circle(read_circle(sheet, 0, starts[0], slow), 1, starts[1], fast)
        case _:
            (only,) = space.axes
            wanted_deg = [value - own_pose[only.name] for value in axes[only.name]]
            return read_circle(values, 0, starts[0], wanted_deg)
