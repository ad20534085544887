"""Joint tuning: how every member of a family responds as the feature is brought to every pose.

Each member's own strongest held-out stimuli show the feature at that member's pose. Turned back by it, all of them show
the feature at the family's pose 0, and what the members answer to every element is one curve a member. If the family is
one, each member's curve peaks at its own pose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import Family, Member, Tuning
from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.measurement.orbits import orbit_axes, turn_back
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.transformations import find
from equiscope.transformations.spaces import HandedCircle, Line, Pair, PoseSpace, Torus

__all__ = ["tune_family"]

Floats = NDArray[np.float64]


def tune_family(
    responses: Responses[Any],
    examples: Examples | Sequence[Examples],
    family: Family,
    geometries: Mapping[str, LayerGeometry] | None = None,
) -> Tuning:
    """Measure the joint tuning of a family.

    Parameters
    ----------
    responses
        Of the family's layer under its transformation; of several layers side by side.
    examples
        Of each layer, in the order of the columns of ``responses``.
    family
        The family.
    geometries
        Of each layer, where several were measured together: their stimuli are told apart by where in the image they
        are.

    Returns
    -------
    Tuning
        Values in [0, 1] of each member's own maximum; NaN where nothing was shown. Each member's stimuli count as much
        as each other's.

    Examples
    --------
    Of two units that are turned by 90 degrees against each other, each is tuned to its own pose.

    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.transformations import Pose
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> examples, poses_deg, group = empty_examples("conv1", 2, 1), np.array([0.0, 90.0]), CyclicGroup(4)
    >>> examples.image[1, :, 0] = [0, 1]
    >>> members = tuple(Member("conv1", k, Pose(angle_deg=poses_deg[k]), 1.0, 1.0, 1.0) for k in range(2))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 1.0, 1.0, 1.0, 0.0, members)
    >>> bank = Bank("conv1", np.ones(2, int), np.arange(2), np.zeros((2, 2), int), np.arange(2))
    >>> shown_deg = (poses_deg + bank.starts_deg(group)[0])[:, None] + group.angles_deg
    >>> values = np.cos(np.radians(shown_deg[..., None] - poses_deg)).astype(np.float32)
    >>> tuning = tune_family(Responses(bank, group, values), examples, family)
    >>> tuning.axes["angle_deg"], tuning.values.argmax(1).tolist()
    ([0.0, 90.0, 180.0, 270.0], [0, 1])
    """
    several = [examples] if isinstance(examples, Examples) else list(examples)
    space = find(family.transformation).space
    place = _place_on_line(responses, family) if isinstance(space, Line) else None
    axes = orbit_axes(responses.group) if place is None else {space.axes[0].name: place[0].tolist()}
    shape = tuple(len(values) for values in axes.values())
    columns = _columns_of(family, several)
    curves = []
    for member, rows in _rows_of_members(family, several, responses.bank, geometries).items():
        values = np.stack([responses.read(row, row + 1)[0] for row in rows])[:, :, columns]
        if place is None:
            curves.append(_to_pose_zero(values, responses, rows, member, space).mean(0))
        else:
            curves.append(_along_line(values, place[1][member], shape[0]).mean(0))
    if not curves:
        return Tuning(axes, np.full((family.size, *shape), nan))
    return Tuning(axes, _in_shares_of_peak(np.stack(curves)))


def _in_shares_of_peak(curves: Floats) -> Floats:
    """Average what stimuli gave, shape (stimuli's member, *axes, member), and divide by each member's maximum."""
    n_shown = np.isfinite(curves).sum(0)
    total = np.where(np.isfinite(curves), curves, 0.0).sum(0)
    mean = np.where(n_shown > 0, np.clip(total / np.maximum(n_shown, 1), 0, None), nan)
    mean = np.moveaxis(mean, -1, 0)
    along = tuple(range(1, mean.ndim))
    peak = np.nan_to_num(mean).max(along, keepdims=True)
    return np.asarray(np.where(peak > 0, mean / np.where(peak > 0, peak, 1), nan))


def _columns_of(family: Family, several: Sequence[Examples]) -> NDArray[np.int64]:
    """Column of each member in responses of several layers side by side."""
    starts = np.cumsum([0] + [own.n_units for own in several]).tolist()
    first_column = {own.layer: start for own, start in zip(several, starts, strict=False)}
    return np.array([first_column[m.layer] + m.channel for m in family.members])


def _rows_of_members(
    family: Family,
    several: Sequence[Examples],
    bank: Bank,
    geometries: Mapping[str, LayerGeometry] | None,
) -> dict[Member, list[int]]:
    """Rows of each member's own held-out stimuli; members of which none was shown are left out."""
    of_layer = {own.layer: own for own in several}
    rows_of = _rows_of_stimuli(bank)
    found = {}
    for member in family.members:
        geometry = None if geometries is None else geometries[member.layer]
        keys = _stimuli_of(of_layer[member.layer], member, geometry)
        found[member] = [rows_of[key] for key in keys if key in rows_of]
    return {member: rows for member, rows in found.items() if rows}


def _rows_of_stimuli(bank: Bank) -> dict[tuple[float, ...], int]:
    """Row of each held-out stimulus, by its image and where in it it is."""
    first, last = (int(np.searchsorted(bank.half, half)) for half in (1, 2))
    places = bank.position if bank.centre_px is None else np.round(bank.centre_px, 3)
    keys = zip(bank.image[first:last].tolist(), *places[first:last].T.tolist(), strict=True)
    return {key: first + offset for offset, key in enumerate(keys)}


def _stimuli_of(
    examples: Examples, member: Member, geometry: LayerGeometry | None
) -> list[tuple[float, ...]]:
    """Give a member's own held-out stimuli, as `_rows_of_stimuli` names them."""
    is_there = examples.image[1, member.channel] != NO_IMAGE
    image, position = (
        examples.image[1, member.channel][is_there],
        examples.position[1, member.channel][is_there],
    )
    places: NDArray[Any] = position
    if geometry is not None:
        zeros = np.zeros(len(image), np.int64)
        places = np.round(centres_px(Bank(geometry.layer, zeros, image, position, zeros), geometry), 3)
    return list(zip(image.tolist(), *places.T.tolist(), strict=True))


def _to_pose_zero(
    values: NDArray[Any], responses: Responses[Any], rows: Sequence[int], member: Member, space: PoseSpace
) -> Floats:
    """Read orbits of a member's stimuli with the feature brought to pose 0, shape (stimulus, *axes, unit)."""
    starts = [start[rows] for start in responses.bank.starts_deg(responses.group)]
    if isinstance(space, Pair):
        return np.asarray(values[:, ::-1] if member.pose[space.axis.name] else values, dtype=np.float64)
    turns = [space.other, space.axis] if isinstance(space, Torus) else [space.axes[0]]
    offsets = [member.pose[axis.name] + start for axis, start in zip(turns, starts, strict=True)]
    read = turn_back(values, responses.group, offsets)
    if isinstance(space, HandedCircle) and member.pose[space.hand.name]:
        # The stimulus shows the mirrored feature: mirrored again it shows the feature as it is.
        return read[:, ::-1]
    return read


def _place_on_line(
    responses: Responses[Any], family: Family
) -> tuple[Floats, dict[Member, NDArray[np.int64]]]:
    """Give the poses at which some stimulus shows the feature, and for each member the place of each element there."""
    group = responses.group
    axis = find(family.transformation).axes[0].name
    poses = [member.pose[axis] for member in family.members]
    n_below = round(-(min(poses) + group.values[0]) / group.step) + 1
    n_above = round((max(poses) + group.values[-1]) / group.step) + 1
    values = np.asarray(np.arange(-n_below, n_above + 1) * group.step, dtype=np.float64)
    # Element k shows this member's feature, which stands at its pose, moved further.
    places = {
        member: np.round((pose + np.array(group.values)) / group.step).astype(int) + n_below
        for member, pose in zip(family.members, poses, strict=True)
    }
    return values, places


def _along_line(values: NDArray[Any], places: NDArray[np.int64], n_places: int) -> Floats:
    """Put responses, shape (stimulus, element, unit), where they belong on the line; NaN elsewhere."""
    found = np.full((len(values), n_places, values.shape[2]), nan)
    found[:, places] = values
    return found
