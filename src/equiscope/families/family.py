"""What a survey says: families of units that are transformed copies of each other, and one line about every unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equiscope.families.verdict import Verdict
from equiscope.transformations import Pose, find
from equiscope.transformations.spaces import Circle, Cylinder, HandedCircle

if TYPE_CHECKING:
    from equiscope.measurement.examples import Examples

__all__ = [
    "INVARIANCE_CUT",
    "Explanation",
    "Family",
    "Member",
    "Symmetry",
    "Tuning",
    "Unit",
    "classify_units",
    "join_units",
    "turns_of",
    "with_invariances",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A unit whose correlation with itself never falls below this under any transformed copy counts as invariant.
INVARIANCE_CUT = 0.7


# No coordinates.
_NOWHERE = Pose()


@dataclass(frozen=True)
class Member:
    """One unit of a family and its pose, up to one transformation common to the family.

    Attributes
    ----------
    layer, channel
        The unit.
    pose
        Coordinates along the axes of the family's transformation: ``{"angle_deg": 45.0}``. Angles are
        counter-clockwise, hues run from red over green to blue, octaves are magnifications; a unit is mirrored before
        it is turned.
    score, score_low, score_high
        Mean correlation with the other members at the family's relative poses, on held-out images, in [-1, 1],
        with its 95 % bootstrap interval over photographs.
    pose_low, pose_high
        Ends of the 95 % interval of the pose over photographs of the finding half, against the mean of all members
        (`equiscope.families.pose_intervals`). Angles are not wrapped: an interval about 0° may begin at -2°. A
        coordinate that has no interval is missing in both.

    Examples
    --------
    >>> member = Member("mixed3a", 9, Pose(angle_deg=45.0), 0.8, 0.7, 0.9)
    >>> member.pose_deg, member.is_mirrored
    (45.0, False)
    """

    layer: str
    channel: int
    pose: Pose
    score: float
    score_low: float
    score_high: float
    pose_low: Pose = _NOWHERE
    pose_high: Pose = _NOWHERE

    @property
    def pose_deg(self) -> float:
        """Rotation, degrees; NaN where the family's transformation does not turn."""
        return self.pose.get("angle_deg", nan)

    @property
    def hue_deg(self) -> float:
        """Turn of hue, degrees; NaN where hue is not turned."""
        return self.pose.get("hue_deg", nan)

    @property
    def octaves(self) -> float:
        """Magnification; NaN where nothing is scaled."""
        return self.pose.get("octaves", nan)

    @property
    def is_mirrored(self) -> bool:
        """Whether it shows the feature mirrored left to right."""
        return bool(self.pose.get("is_mirrored", False))

    @property
    def is_inverted(self) -> bool:
        """Whether it shows the feature with contrast inverted."""
        return bool(self.pose.get("is_inverted", False))


@dataclass(frozen=True)
class Explanation:
    """How well one transformation explains a family.

    Attributes
    ----------
    transformation
        Its name.
    score
        Mean held-out correlation over pairs of members, on stimuli as they are.
    deficit, deficit_low, deficit_high
        By how much the best transformation's score is higher, with its 95 % bootstrap interval over photographs.
    """

    transformation: str
    score: float
    deficit: float
    deficit_low: float
    deficit_high: float


@dataclass(frozen=True)
class Family:
    """Units that are transformed copies of each other.

    Attributes
    ----------
    id
        Such as ``mixed3a-rotation-2``, numbered by falling size.
    layers, transformation
        Where, and under what: the name of one of `equiscope.transformations.ALL`.
    score, score_low, score_high
        Mean score of the members on held-out images, with its 95 % bootstrap interval.
    q_value
        Estimated share of false families among all of this layer that score as high.
    members
        By layer, then by rising channel.
    stabiliser
        The elements that leave every member as it is, the identity first; they were found, not assumed. Of a family
        with a mirror axis one is mirrored.
    disagreement
        Along each axis that is no switch: median difference between the relative poses of pairs, measured on held-out
        images alone, and the poses that were found.
    phase_coherence
        Agreement of the higher harmonics of the members' tuning at these poses on held-out images, in [-1, 1];
        accepted families have 0.75 or more, or NaN where there are no higher harmonics to measure.
    margin, margin_low, margin_high
        By how much members correlate better transformed than as they are, on held-out images, with its 95 %
        bootstrap interval; measured for pairs and along lines (reflection, contrast, scale), otherwise NaN.
    half_turns
        Hue × rotation only: mean held-out correlation of the members with themselves after half a turn of hue and
        of the plane, of hue alone, and of the plane alone.
    gap_deviation_deg
        Root mean square difference of the gaps between neighbouring poses from even spacing, degrees.
    holes_deg
        Gaps of more than 1.5 times the even spacing, as (from, to), counter-clockwise.
    duplicates
        Pairs of channels whose poses differ by less than 7.5 degrees.
    invariant_to
        Other transformations to which more than half of the members are invariant: a colour centre-surround family is
        equivariant in hue and invariant to rotation, an edge family the other way round.
    explained_by
        The simplest transformation that explains the family not significantly worse than the best one, on held-out
        images; empty where it was not compared.
    alternatives
        What was compared, the simplest first.
    tree
        How its members come together: pairs of places in the family, or of earlier merges counted from ``size`` on,
        with the mean correlation on the finding half at which they merge (`linkage.link_members`). Empty where
        families are not linked.
    strangers_95
        95th percentile, over the layer's other units that vary, of how alike each is to the members at the pose that
        suits it best, on held-out images: what the family's score is to be seen beside. NaN where not measured.
    verdict
        Whether its members are copies; None where that was not asked.
    stability
        Share of its members that are found again in one family, in the mean over resamples of the photographs of the
        finding half (`equiscope.families.stability`); NaN where that was not measured.
    """

    id: str
    layers: tuple[str, ...]
    transformation: str
    score: float
    score_low: float
    score_high: float
    q_value: float
    members: tuple[Member, ...]
    stabiliser: tuple[Pose, ...] = ()
    disagreement: Pose = _NOWHERE
    phase_coherence: float = nan
    margin: float = nan
    margin_low: float = nan
    margin_high: float = nan
    half_turns: tuple[float, ...] = ()
    gap_deviation_deg: float = nan
    holes_deg: tuple[tuple[float, float], ...] = ()
    duplicates: tuple[tuple[int, int], ...] = ()
    invariant_to: tuple[str, ...] = ()
    explained_by: str = ""
    alternatives: tuple[Explanation, ...] = ()
    tree: tuple[tuple[int, int, float], ...] = ()
    strangers_95: float = nan
    verdict: Verdict | None = None
    stability: float = nan

    @property
    def layer(self) -> str:
        """Its layer, or its layers joined by ``+``: to be read, not to be taken apart."""
        return "+".join(self.layers)

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.members)

    @property
    def channels(self) -> Ints:
        """Channels of the members, shape (member,)."""
        return np.array([member.channel for member in self.members])

    def coordinates(self, axis: str) -> Floats:
        """Coordinates of the members along an axis, by its name, shape (member,); NaN where they have none."""
        return np.array([member.pose.get(axis, nan) for member in self.members], dtype=float)

    @property
    def poses_deg(self) -> Floats:
        """Rotations of the members, shape (member,), degrees."""
        return self.coordinates("angle_deg")

    @property
    def hues_deg(self) -> Floats:
        """Hues of the members, shape (member,), degrees."""
        return self.coordinates("hue_deg")

    @property
    def stabiliser_order(self) -> int:
        """Equal turns that leave a member as it is: 1 for a curve, 2 for a line; 1 where more than one circle turns."""
        return turns_of(self.transformation, self.stabiliser)


def turns_of(transformation: str, stabiliser: Sequence[Mapping[str, float]]) -> int:
    """Count the elements of a stabiliser that turn along the one circle of a transformation's poses.

    Examples
    --------
    >>> turns_of("rotation", [{"angle_deg": 0.0}, {"angle_deg": 180.0}])
    2
    """
    match find(transformation).space:
        case Circle() | Cylinder():
            return max(1, len(stabiliser))
        case HandedCircle(_, hand):
            return max(1, sum(not element.get(hand.name, False) for element in stabiliser))
        case _:
            return 1


@dataclass(frozen=True)
class Symmetry:
    """How one unit behaves under one transformation.

    Attributes
    ----------
    transformation
        Its name.
    kind
        ``equivariant`` (member of an accepted family), ``invariant``, ``neither``, ``inactive`` (never fired) or
        ``not measurable`` (too few stimuli, or stimuli that the transformation does not change).
    family
        ``id`` of the accepted family, None without one.
    score
        Held-out score of the member; NaN without a family.
    invariance
        Lowest held-out correlation of the unit with its own transformed copies; NaN where it was not measured.
    stabiliser_order
        For rotation and hue the number of turns by equal steps that leave it as it is; 0 where it was not measured.
    """

    transformation: str
    kind: str
    family: str | None = None
    score: float = nan
    invariance: float = nan
    stabiliser_order: int = 0


@dataclass(frozen=True)
class Unit:
    """One line about a unit.

    ``mean`` and ``sd`` are of its response before the ReLU over all positions of all images; ``symmetries`` say how
    it behaves under each transformation that was surveyed.
    """

    layer: str
    channel: int
    mean: float
    sd: float
    symmetries: tuple[Symmetry, ...] = ()

    def under(self, transformation: str) -> Symmetry:
        """Its line for one transformation; ``not measurable`` where that was not surveyed."""
        for symmetry in self.symmetries:
            if symmetry.transformation == transformation:
                return symmetry
        return Symmetry(transformation, "not measurable")


@dataclass(frozen=True)
class Tuning:
    """How the members of a family respond to the feature under each element; NaN where nothing was shown.

    ``axes``: name and values of each axis after the first; ``values``: shape (member, *axes), in [0, 1] of the member's
    own maximum.
    """

    axes: dict[str, list[float]]
    values: NDArray[np.float64]


def classify_units(
    transformation: str,
    is_inactive: NDArray[np.bool_],
    invariance: Floats,
    invariance_cut: float,
    families: Iterable[Family],
    stabiliser_orders: Ints | None = None,
    layer: str | None = None,
    *,
    has_turns: bool = True,
) -> tuple[Symmetry, ...]:
    """One line a unit: equivariant where it has a family, otherwise told from its held-out ``invariance``.

    ``layer``: count only the members in this layer, for families that span several. ``has_turns``: whether the order of
    a family's stabiliser says how its members turn.

    Examples
    --------
    >>> found = classify_units("rotation", np.array([False, False, True]), np.array([0.9, 0.1, nan]), 0.8, [])
    >>> [line.kind for line in found]
    ['invariant', 'neither', 'inactive']
    """
    own = {
        member.channel: (family, member)
        for family in families
        for member in family.members
        if layer is None or member.layer == layer
    }
    lines = []
    for channel, lowest in enumerate(invariance.tolist()):
        family, member = own.get(channel, (None, None))
        order = 0 if stabiliser_orders is None else int(stabiliser_orders[channel])
        if is_inactive[channel]:
            lines.append(Symmetry(transformation, "inactive"))
        elif family is not None and member is not None:
            lines.append(
                Symmetry(
                    transformation,
                    "equivariant",
                    family.id,
                    member.score,
                    lowest,
                    family.stabiliser_order if has_turns else 0,
                )
            )
        elif isnan(lowest):
            lines.append(Symmetry(transformation, "not measurable"))
        elif lowest > invariance_cut:
            lines.append(Symmetry(transformation, "invariant", invariance=lowest))
        else:
            lines.append(Symmetry(transformation, "neither", invariance=lowest, stabiliser_order=order))
    return tuple(lines)


def with_invariances(families: Iterable[Family], units: Iterable[Unit]) -> tuple[Family, ...]:
    """Say of each family to which other transformations its members are invariant.

    Examples
    --------
    >>> member = Member("conv1", 0, Pose(hue_deg=0.0), 0.9, 0.8, 1.0)
    >>> family = Family("conv1-hue-1", ("conv1",), "hue", 0.9, 0.8, 1.0, 0.01, (member,))
    >>> unit = Unit("conv1", 0, 0.1, 1.0, (Symmetry("hue", "equivariant"), Symmetry("rotation", "invariant")))
    >>> with_invariances([family], [unit])[0].invariant_to
    ('rotation',)
    """
    own = {(unit.layer, unit.channel): unit for unit in units}
    told = []
    for family in families:
        lines = [own[m.layer, m.channel].symmetries for m in family.members if (m.layer, m.channel) in own]
        kinds = [(line.transformation, line.kind) for unit in lines for line in unit]
        names = dict.fromkeys(name for name, _ in kinds if name != family.transformation)
        invariant = tuple(name for name in names if kinds.count((name, "invariant")) > len(lines) / 2)
        told.append(replace(family, invariant_to=invariant))
    return tuple(told)


def join_units(examples: Examples, results: Iterable[tuple[Symmetry, ...]]) -> tuple[Unit, ...]:
    """Put what was found about a layer's units under each transformation into one line a unit.

    Examples
    --------
    >>> from equiscope.measurement.examples import empty_examples
    >>> found = join_units(empty_examples("conv1", 1, 2), [(Symmetry("hue", "neither"),)])
    >>> found[0].under("hue").kind
    'neither'
    """
    columns = list(results)
    return tuple(
        Unit(
            examples.layer,
            channel,
            float(examples.mean[channel]),
            float(examples.sd[channel]),
            tuple(column[channel] for column in columns),
        )
        for channel in range(examples.n_units)
    )
