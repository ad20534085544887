"""The 95 % interval of every pose of some families, whatever the poses are: angles, hues, both, or steps.

Poses come from the finding half of the images, and so do their intervals. What makes an interval wide is that
photographs disagree: `pose_intervals` measures that for turns, `line_intervals` for steps. A coordinate that is off or
on has no interval, nor has one that was derived from others, as in families that are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import Family, Member
from equiscope.families.layer_families import UnitPair
from equiscope.families.line_intervals import step_half_widths
from equiscope.families.pose_intervals import half_widths, pull_poses
from equiscope.measurement.responses import Responses
from equiscope.transformations import Axis, Pose, Switch, find
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Group, Segment, TorusGroup

__all__ = ["RESOLUTION_DEG", "RESOLUTION_STEPS", "with_pose_intervals"]

Floats = NDArray[np.float64]

# How far from the truth poses of exact copies are although photographs agree, because kernels and pictures are sampled
# on a pixel grid: on the even seeds of the battery 0.25° where it is most, half-width of an interval.
RESOLUTION_DEG = 0.25
# The same along a line, as a share of the step between elements, between which a parabola is laid: on the even seeds
# poses were off by up to 0.14 of a step.
RESOLUTION_STEPS = 0.15
# The half of the images that poses come from.
_FINDING = 0


def with_pose_intervals(
    families: Sequence[Family],
    responses: Responses[Any],
    first_columns: dict[str, int],
    pairs: Sequence[UnitPair] = (),
) -> tuple[Family, ...]:
    """Give each member the interval of its pose.

    Parameters
    ----------
    families
        Of one transformation, found in these responses.
    responses
        Of all units to the bank.
    first_columns
        For each layer the place of its first unit among those of the responses.
    pairs
        Along a line: the pairs that the families were joined from.

    Returns
    -------
    tuple of Family
        ``pose_low`` and ``pose_high`` of a member have a coordinate for each axis along which something was measured.

    Examples
    --------
    Three units answer alike to stimuli that are turned by 0, 100 and 200 degrees, but for noise.

    >>> from equiscope.measurement.bank import Bank
    >>> place, group = np.arange(80), CyclicGroup(8)
    >>> bank = Bank("conv1", place // 40, place, np.zeros((80, 2), int), place)
    >>> rng = np.random.default_rng(0)
    >>> angles_deg = rng.uniform(0, 360, 80) + bank.starts_deg(group)[0]
    >>> turned_deg = angles_deg[:, None, None] + group.angles_deg[:, None] - [0.0, 100.0, 200.0]
    >>> values = np.exp(2 * np.cos(np.radians(turned_deg))) + rng.normal(0, 0.5, turned_deg.shape)
    >>> responses = Responses(bank, group, values.astype(np.float32))
    >>> members = tuple(Member("conv1", i, Pose(angle_deg=100.0 * i), 0.9, 0.8, 1.0) for i in range(3))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    >>> (found,) = with_pose_intervals([family], responses, {"conv1": 0})
    >>> [round(own.pose_high["angle_deg"] - own.pose["angle_deg"], 1) for own in found.members]
    [0.8, 0.9, 0.8]
    """
    if not families:
        return ()
    columns = [np.array([first_columns[m.layer] + m.channel for m in f.members]) for f in families]
    first, last = responses.of_half(_FINDING)
    photograph = responses.bank.photograph[first:last]
    found = []
    for family, units, values in zip(families, columns, _read_members(responses, columns), strict=True):
        widths = _half_widths(family, values, responses.group, photograph, units, pairs)
        axes = find(family.transformation).axes
        members = (
            _with_interval(member, axes, own)
            for member, own in zip(family.members, widths.T.tolist(), strict=True)
        )
        found.append(replace(family, members=tuple(members)))
    return tuple(found)


def _read_members(
    responses: Responses[Any], columns: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.float32]]:
    """Responses of the members of each family on the finding half, shape (stimulus, element, member) each."""
    members = np.concatenate(columns)
    chunks = [chunk[:, :, members] for _, chunk in responses.chunks(_FINDING)]
    shown = np.concatenate(chunks) if chunks else np.zeros((0, 1, len(members)), np.float32)
    return np.split(shown, np.cumsum([len(own) for own in columns])[:-1], axis=2)


def _half_widths(
    family: Family,
    values: NDArray[np.float32],
    group: Group,
    photograph: NDArray[np.int64],
    units: NDArray[np.int64],
    pairs: Sequence[UnitPair],
) -> Floats:
    """Half the width of each interval, shape (axis, member); NaN where there is none."""
    axes = find(family.transformation).axes
    widths = np.full((len(axes), family.size), np.nan)
    if not len(values):
        return widths
    if isinstance(group, Segment):
        place = {unit: index for index, unit in enumerate(units.tolist())}
        own = [(place[p.u], place[p.v], p.away) for p in pairs if p.u in place and p.v in place]
        poses = family.coordinates(axes[0].name)
        widths[0] = step_half_widths(values.astype(np.float64), own, poses, group.step, photograph)
        return np.asarray(np.hypot(widths, RESOLUTION_STEPS * group.step))
    turned = _turned_back(family, values, group)
    if turned is not None:
        orbits, frequencies = turned
        widths[: len(frequencies)] = half_widths(pull_poses(orbits, frequencies, photograph))
    return np.asarray(np.hypot(widths, RESOLUTION_DEG))


def _turned_back(
    family: Family, values: NDArray[np.float32], group: Group
) -> tuple[NDArray[np.complex128], Floats] | None:
    """Fourier coefficients of orbits at pose 0, (stimulus, frequency, member), and their frequencies along each axis.

    None where the group does not turn.
    """
    axes = find(family.transformation).axes
    if isinstance(group, CyclicGroup):
        return _on_circle(values, np.radians(family.coordinates(axes[0].name)))
    if isinstance(group, DihedralGroup):
        # What is mirrored answers to mirrored stimuli, which turn the other way.
        mirrored = family.coordinates(axes[1].name).astype(bool)
        sheets = values.reshape(len(values), 2, group.n_angles, -1)
        own = np.where(mirrored, sheets[:, 1], sheets[:, 0])
        angles = np.radians(family.coordinates(axes[0].name))
        return _on_circle(own, np.where(mirrored, -angles, angles))
    if isinstance(group, TorusGroup):
        return _on_torus(values, group, [np.radians(family.coordinates(axis.name)) for axis in axes])
    return None


def _on_circle(values: NDArray[np.float32], pose: Floats) -> tuple[NDArray[np.complex128], Floats]:
    order = values.shape[1]
    frequency = np.arange(1, order // 2 + 1)
    # The real signal holds each frequency twice but for the highest of an even number of samples.
    share = np.where(2 * frequency == order, 1.0, 2.0) / order**2
    spectrum = np.fft.rfft(values, axis=1)[:, 1:] * np.sqrt(share)[:, None]
    return spectrum * np.exp(1j * np.outer(frequency, pose)), frequency[None].astype(float)


def _on_torus(
    values: NDArray[np.float32], group: TorusGroup, poses: Sequence[Floats]
) -> tuple[NDArray[np.complex128], Floats]:
    n_slow, n_fast = group.n_hues, group.n_angles
    spectrum = np.fft.rfft(values.reshape(len(values), n_slow, n_fast, -1), axis=2)
    spectrum = np.fft.fft(spectrum, axis=1).reshape(len(values), -1, values.shape[2])
    slow, fast = (
        part.ravel()
        for part in np.meshgrid(np.fft.fftfreq(n_slow, 1 / n_slow), np.arange(n_fast // 2 + 1), indexing="ij")
    )
    share = np.where((fast == 0) | (2 * fast == n_fast), 1.0, 2.0) / (n_slow * n_fast) ** 2
    # Turning by less than a step is not defined for the highest slow frequency, whose sign is not known.
    share[(2 * np.abs(slow) == n_slow) | ((slow == 0) & (fast == 0))] = 0.0
    phase = np.exp(1j * (np.outer(fast, poses[0]) + np.outer(slow, poses[1])))
    return spectrum * np.sqrt(share)[:, None] * phase, np.stack([fast, slow]).astype(float)


def _with_interval(member: Member, axes: Sequence[Axis], widths: Sequence[float]) -> Member:
    """Put the interval of each coordinate that has one about it; angles are not wrapped, so that low is below high."""
    low, high = {}, {}
    for axis, width in zip(axes, widths, strict=True):
        if not isinstance(axis, Switch) and np.isfinite(width):
            low[axis.name] = member.pose[axis.name] - width
            high[axis.name] = member.pose[axis.name] + width
    return replace(member, pose_low=Pose(low), pose_high=Pose(high))
