"""Families on a circle of poses in two hands: which features are handed, and whose mirror images are units too.

Every unit u is joined by its mirror image, the unit that answers to a picture as u answers to the mirrored picture. A
dihedral family is then a rotation family among units and mirror images: of a handed feature, such as a spiral, it holds
left-handed units and the mirror images of right-handed ones; of a feature with a mirror axis, such as a curve, it holds
every unit beside its own mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.families.circle import CircleSearch, Verified, equal_turns, spacing
from equiscope.families.circle_poses import GRID_DEG, Candidate
from equiscope.families.family import INVARIANCE_CUT, Family, Member, Symmetry, classify_units
from equiscope.families.search import N_RESAMPLES_OF_DEAR, Accepted, SearchOptions
from equiscope.foundations.statistics import circular_mean_deg
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Responses
from equiscope.transformations import Pose
from equiscope.transformations.groups import CyclicGroup, DihedralGroup
from equiscope.transformations.reflection import MIRRORED
from equiscope.transformations.rotation import ANGLE

__all__ = ["HandedSearch", "with_mirror_images"]

# A family that holds at least this share of its units beside their own mirror images has a mirror axis. Of planted
# curves every one is, of planted spirals none.
_MIRROR_SHARE = 0.5
_MIN_SIZE = 3


def with_mirror_images(responses: Responses[DihedralGroup]) -> Responses[CyclicGroup]:
    """View responses under rotations and reflections as responses of twice as many units under rotations.

    Unit ``u + n_units`` is the mirror image of u: it answers to a picture as u answers to the mirrored one.

    Examples
    --------
    >>> from equiscope.measurement.bank import Bank
    >>> place = np.arange(5)
    >>> bank = Bank("conv1", place // 3, place, np.zeros((5, 2), int), place)
    >>> values = np.ones((5, 8, 3), np.float32)
    >>> with_mirror_images(Responses(bank, DihedralGroup(4), values)).array.shape
    (5, 4, 6)
    """
    n_angles, n_units = responses.group.n_angles, responses.n_units
    values = np.asarray(responses.array[:], dtype=np.float32).reshape(-1, 2, n_angles, n_units)
    doubled = np.ascontiguousarray(values.transpose(0, 2, 1, 3)).reshape(-1, n_angles, 2 * n_units)
    return Responses(responses.bank, CyclicGroup(n_angles), doubled)


class HandedSearch(CircleSearch):
    """Units and their mirror images at angles.

    Handed families with members of both hands are accepted, and families with a mirror axis. A handed family without a
    member of the other hand is a rotation family and stands there only. Every family is found twice, as it is and
    mirrored, so half as many null draws show the same rate, at half the cost.
    """

    def __init__(
        self,
        responses: Responses[DihedralGroup],
        examples: Sequence[Examples],
        options: SearchOptions,
        channels: NDArray[np.int64] | None = None,
        is_measurable: NDArray[np.bool_] | None = None,
    ) -> None:
        super(CircleSearch, self).__init__(responses, examples, options, channels, is_measurable)
        self._correlate(with_mirror_images(responses), np.tile(self.is_inactive | self.is_unmeasurable, 2))

    def count_draws(self) -> int:
        """Half of those asked for."""
        return -(-self.options.n_null // 2)

    def describe(self, accepted: Sequence[Accepted[Candidate]]) -> list[Family]:
        """Fold what was found as units and mirror images; the second finding of a family is let go."""
        (layer,) = self.layers
        families: list[Family] = []
        taken: set[int] = set()
        for verified in self.verified(accepted):
            members, has_axis = _fold(verified, len(self.is_inactive), layer)
            channels = {member.channel for member in members}
            if channels & taken or len(channels) < _MIN_SIZE:
                continue
            if not has_axis and len({member.is_mirrored for member in members}) < 2:
                continue
            taken |= channels
            number = len(families) + 1
            families.append(
                _as_family(
                    layer, self.transformation, number, verified, members, has_axis, len(self.is_inactive)
                )
            )
        return families

    def count_resamples(self) -> int:
        """Few: the search takes long."""
        return N_RESAMPLES_OF_DEAR

    def group_units(self, held: Sequence[Candidate]) -> list[Set[int]]:
        """Give the units that are members of each, or whose mirror images are."""
        return [set((own.channels % len(self.is_inactive)).tolist()) for own in held]

    def threshold(self, accepted: Sequence[Accepted[Candidate]], families: Sequence[Family]) -> float:
        """Lowest score of a family that was accepted and folded."""
        return min((family.score for family in families), default=np.inf)

    def classify(self, families: Sequence[Family]) -> tuple[Symmetry, ...]:
        """Tell units without a family by their correlation with themselves turned, and turned and mirrored."""
        units = np.arange(len(self.is_inactive))
        own = self.verifying.autocorrelation(GRID_DEG)[:, units].min(0)
        mirrored = self.verifying.curves(units, units + len(units), GRID_DEG).min(0)
        return classify_units(
            self.transformation, self.is_inactive, np.minimum(own, mirrored), INVARIANCE_CUT, families
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Few angles are noted under rotation."""
        return ()


def _fold(verified: Verified, n_units: int, layer: str) -> tuple[list[Member], bool]:
    """Turn units and mirror images into members with a pose and a hand; whether the feature has a mirror axis."""
    candidate = verified.candidate
    rows = list(
        zip(
            candidate.channels.tolist(),
            candidate.poses_deg.tolist(),
            verified.scores.tolist(),
            verified.low.tolist(),
            verified.high.tolist(),
            strict=True,
        )
    )
    plain = {channel for channel in candidate.channels.tolist() if channel < n_units}
    images = {channel - n_units for channel in candidate.channels.tolist() if channel >= n_units}
    has_axis = len(plain & images) >= _MIRROR_SHARE * len(plain | images)
    members: dict[int, Member] = {}
    for channel, angle_deg, score, low, high in rows:
        is_image = channel >= n_units
        unit = channel - n_units if is_image else channel
        # The mirror image of the unit is the base turned by the pose; the unit is that, mirrored: m r = r⁻¹ m.
        angle = -angle_deg if is_image else angle_deg
        if has_axis and is_image:
            # Of a feature with a mirror axis a unit and its image are the same up to a turn: the unit's pose is enough.
            continue
        if unit not in members or score > members[unit].score:
            pose = Pose({ANGLE.name: angle, MIRRORED.name: is_image})
            members[unit] = Member(layer, unit, pose, score, low, high)
    ordered = [members[unit] for unit in sorted(members)]
    return _put_first_at_zero(ordered, candidate.period_deg), has_axis


def _put_first_at_zero(members: list[Member], period_deg: float) -> list[Member]:
    """Measure poses from the first member: (θ, s) times the inverse of its pose from the right."""
    if not members:
        return members
    first = members[0]
    turned = []
    for member in members:
        # Base' = g_first · base, so g = g_member · g_first⁻¹ with (θ, s)(θ', s')⁻¹ = (θ ∓ θ', s + s').
        same_hand = member.is_mirrored == first.is_mirrored
        angle = member.pose_deg - first.pose_deg if same_hand else member.pose_deg + first.pose_deg
        pose = Pose({ANGLE.name: angle % period_deg % period_deg, MIRRORED.name: not same_hand})
        turned.append(replace(member, pose=pose))
    return turned


def _as_family(
    layer: str,
    transformation: str,
    number: int,
    verified: Verified,
    members: list[Member],
    has_axis: bool,
    n_units: int,
) -> Family:
    candidate = verified.candidate
    poses = np.array([member.pose_deg for member in members])
    channels = np.array([member.channel for member in members])
    deviation, holes, duplicates = (
        spacing(channels, poses, candidate.period_deg) if has_axis else (nan, (), ())
    )
    turns = [turn[ANGLE.name] for turn in equal_turns(ANGLE.name, candidate.stabiliser_order)]
    stabiliser = [Pose({ANGLE.name: turn, MIRRORED.name: False}) for turn in turns]
    if has_axis:
        axis_deg = _mirror_deg(candidate, n_units)
        stabiliser += [Pose({ANGLE.name: (axis_deg + turn) % 360.0, MIRRORED.name: True}) for turn in turns]
    return Family(
        id=f"{layer}-{transformation}-{number}",
        layers=(layer,),
        transformation=transformation,
        score=verified.score,
        score_low=verified.score_low,
        score_high=verified.score_high,
        q_value=verified.q_value,
        members=tuple(members),
        stabiliser=tuple(stabiliser),
        disagreement=Pose({ANGLE.name: verified.disagreement_deg}),
        phase_coherence=verified.phase_coherence,
        gap_deviation_deg=deviation,
        holes_deg=holes,
        duplicates=duplicates,
        strangers_95=verified.strangers_95,
    )


def _mirror_deg(candidate: Candidate, n_units: int) -> float:
    """Turn after which the mirrored first member is itself again, degrees, from units beside their own mirror images.

    With u = r(p) b and its mirror image m u = r(q) b, the base b is itself under r(-p - q) m, and the first member
    r(p0) b under r(2 p0 - p - q) m.
    """
    poses = dict(zip(candidate.channels.tolist(), candidate.poses_deg.tolist(), strict=True))
    first = poses[min(channel for channel in poses if channel < n_units)]
    turns = [
        2 * first - pose - poses[unit + n_units] for unit, pose in poses.items() if unit + n_units in poses
    ]
    return circular_mean_deg(np.array(turns), period_deg=candidate.period_deg)
