"""The two ends of a circuit: units that turn together, with their poses, or that do not turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import CircuitEnd
from equiscope.evidence.stabilisers import stabiliser_elements
from equiscope.families.family import Family, Unit
from equiscope.transformations import alone, find
from equiscope.transformations.hue import HUE
from equiscope.transformations.rotation import ANGLE

__all__ = ["End", "character_values", "characters", "family_end", "invariant_units", "unit_end"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complex = NDArray[np.complex128]

# Highest harmonics over the difference of poses: natural units are tuned to a sixth of a turn of the plane, and more
# broadly in hue. Families of more members can tell more, down to their own spacing.
_ANGULAR, _MOST_ANGULAR, _HUE = 3, 6, 2


@dataclass(frozen=True)
class End:
    """One end of a circuit.

    Attributes
    ----------
    family
        ``id`` of the family; None for units that are in none.
    layer, channels
        The units.
    angles, hues
        Poses of the members, radians, shape (member,); None where they have none.
    stabiliser
        Turns (hue, angle), radians, that leave the members as they are.
    rotation, hue
        What the units are under each: ``equivariant``, ``invariant`` or empty where they are neither.
    """

    family: str | None
    layer: str
    channels: Ints
    angles: Floats | None
    hues: Floats | None
    stabiliser: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    rotation: str = ""
    hue: str = ""

    @property
    def named(self) -> CircuitEnd:
        """What a circuit calls it: a family, or the one unit."""
        channel = None if self.family is not None else int(self.channels[0])
        return CircuitEnd((self.layer,), self.family, channel)

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.channels)

    @property
    def own_poses(self) -> Floats:
        """Angles, or else hues, stretched to a full circle where they repeat earlier, radians, shape (member,)."""
        if self.angles is not None:
            return np.asarray(self.angles * self.n_turns)
        return np.zeros(self.size) if self.hues is None else self.hues

    @property
    def n_turns(self) -> int:
        """Turns of the plane alone that leave the members as they are."""
        return sum(abs(np.exp(1j * hue) - 1) < 1e-6 for hue, _ in self.stabiliser)


def family_end(family: Family) -> End | None:
    """Make an end of a family of one layer that turns in the plane or in hue; None for other families.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.transformations import Pose
    >>> members = tuple(Member("conv1", i, Pose(angle_deg=90.0 * i), 0.9, 0.8, 1.0) for i in range(3))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    >>> family_end(family).angles.round(2).tolist()
    [0.0, 1.57, 3.14]
    """
    axes = find(family.transformation).axes
    has_angle, has_hue = ANGLE in axes, HUE in axes
    if len(family.layers) > 1 or not set(axes) <= {ANGLE, HUE}:
        return None
    stabiliser = tuple(
        (float(np.deg2rad(hue)), float(np.deg2rad(angle))) for hue, angle in stabiliser_elements(family)
    )

    def kind(name: str, has_pose: bool) -> str:
        return "equivariant" if has_pose else "invariant" if name in family.invariant_to else ""

    return End(
        family.id,
        family.layers[0],
        family.channels,
        np.deg2rad(family.poses_deg) if has_angle else None,
        np.deg2rad(family.hues_deg) if has_hue else None,
        stabiliser,
        kind(alone(ANGLE), has_angle),
        kind(alone(HUE), has_hue),
    )


def unit_end(layer: str, channel: int) -> End:
    """Make an end of one unit that rotation leaves as it is.

    Examples
    --------
    >>> unit_end("conv1", 4).named.name
    'conv1:4'
    """
    return End(None, layer, np.array([channel]), None, None, rotation="invariant")


def invariant_units(units: Iterable[Unit], layer: str, transformation: str) -> Ints:
    """Channels of a layer that are invariant to a transformation.

    Examples
    --------
    >>> from equiscope.families.family import Symmetry
    >>> kinds = ["invariant", "neither", "invariant"]
    >>> units = [Unit("conv1", i, 0.0, 1.0, (Symmetry("rotation", kind),)) for i, kind in enumerate(kinds)]
    >>> invariant_units(units, "conv1", "rotation").tolist()
    [0, 2]
    """
    return np.array(
        [u.channel for u in units if u.layer == layer and u.under(transformation).kind == "invariant"],
        dtype=np.int64,
    )


def characters(source: End, target: End, orders: Ints) -> tuple[Floats, NDArray[np.bool_]]:
    """Choose the harmonics of the difference of poses in which the template between two ends is written.

    Parameters
    ----------
    source, target
        The ends. Kernels are turned by the target's pose where it has an angle, otherwise by the source's.
    orders
        Angular order of each function of the kernel, shape (function,).

    Returns
    -------
    tuple
        Harmonics (angle, hue), shape (character, 2), and which function may go with which, shape (function, character).

    Examples
    --------
    A unit that does not turn feeds a family: one harmonic of difference 0, with every function of the kernel.

    >>> family = End("late-rotation-1", "late", np.arange(4), np.radians([0.0, 90.0, 180.0, 270.0]), None)
    >>> chosen, is_allowed = characters(unit_end("early", 3), family, orders=np.array([0, 1, 2]))
    >>> chosen.tolist(), is_allowed.all(axis=1).tolist()
    ([[0.0, 0.0]], [True, True, True])
    """
    has_angles = source.angles is not None and target.angles is not None
    highest = max(_ANGULAR, source.n_turns, min(source.size * source.n_turns // 2, _MOST_ANGULAR))
    over_angle = range(-highest, highest + 1) if has_angles else (0,)
    over_hue = range(-_HUE, _HUE + 1) if source.hues is not None and target.hues is not None else (0,)
    chosen = np.array([(c, p) for c in over_angle for p in over_hue], dtype=float)
    is_allowed = np.ones((len(orders), len(chosen)), bool)
    turning, other = (target, source) if target.angles is not None else (source, target)
    # Seen from the turning end at another of its equal poses the kernel must be the same.
    sign = 1.0 if turning is target else -1.0
    for hue, angle in turning.stabiliser:
        phase = orders[:, None] * angle * (turning.angles is not None) + sign * (
            chosen[:, 0] * angle + chosen[:, 1] * hue
        )
        is_allowed &= np.abs(np.exp(1j * phase) - 1) < 1e-6
    for hue, angle in other.stabiliser:
        is_allowed &= np.abs(np.exp(1j * (chosen[:, 0] * angle + chosen[:, 1] * hue)) - 1)[None] < 1e-6
    is_used = is_allowed.any(0)
    return chosen[is_used], is_allowed[:, is_used]


def character_values(ends: Sequence[End], chosen: Floats, sign: float) -> list[Complex]:
    """Evaluate harmonics (c, p) at poses (angle g, hue h): exp(i sign (c g + p h)), each of shape (member, character).

    Examples
    --------
    At 0 and 180 degrees the first harmonic is 1 and -1.

    >>> end = End("conv1-rotation-1", "conv1", np.arange(2), np.array([0.0, np.pi]), None)
    >>> (values,) = character_values([end], np.array([[0.0, 0.0], [1.0, 0.0]]), 1.0)
    >>> values.real.round(6).tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    found = []
    for end in ends:
        angles = np.zeros(end.size) if end.angles is None else end.angles
        hues = np.zeros(end.size) if end.hues is None else end.hues
        found.append(np.exp(1j * sign * (np.outer(angles, chosen[:, 0]) + np.outer(hues, chosen[:, 1]))))
    return found
