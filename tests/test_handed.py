"""Families in two hands: curves that are their own mirror images, spirals that are not, and how both are folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equiscope.families.circle import Verified
from equiscope.families.circle_poses import Candidate
from equiscope.families.family import Family
from equiscope.families.find import find_families
from equiscope.families.handed import HandedSearch, _fold, _mirror_deg, with_mirror_images
from equiscope.families.search import Accepted, SearchOptions
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses
from equiscope.transformations import Pose
from equiscope.transformations.groups import CyclicGroup, DihedralGroup

GROUP = DihedralGroup(16)
N = 160


def examples_of(n_units: int) -> Examples:
    found = empty_examples("layer", n_units, 2)
    return Examples(**{**vars(found), "maximum": np.ones(n_units)})


def bank_of(n: int = N) -> Bank:
    half = np.repeat([0, 1], [n // 2, n - n // 2])
    return Bank("layer", half, np.arange(n), np.zeros((n, 2), np.int64), np.arange(n))


def tuning(away_deg: np.ndarray, lean: float) -> np.ndarray:
    """How a unit answers to a stimulus that shows its feature turned by an angle; upright it is not handed."""
    away = np.radians(away_deg)
    return np.exp(2 * (np.cos(away) - 1) + lean * np.sin(2 * away))


def curves(poses_deg: list[float], slant_deg: float) -> Responses[Any]:
    """Responses of units to stimuli of a curve at random angles.

    A mirror makes of the curve at an angle the curve at ``slant_deg`` less that angle.
    """
    rng = np.random.default_rng(0)
    bank = bank_of()
    (starts,) = bank.starts_deg(GROUP)
    angle = rng.uniform(0, 360, N)[:, None] + starts[:, None] + GROUP.rotations.angles_deg
    seen_deg = np.concatenate([angle, slant_deg - angle], axis=1)
    values = rng.uniform(0.5, 2, (N, 1, 1)) * tuning(seen_deg[:, :, None] - np.array(poses_deg), 0.0)
    return Responses(bank, GROUP, values.astype(np.float32))


CURVES = [0.0, 37.0, 81.0, 140.0, 205.0, 311.0]


def test_mirror_images_stand_beside_the_units() -> None:
    values = np.random.default_rng(0).normal(size=(4, 32, 3)).astype(np.float32)
    doubled = with_mirror_images(Responses(bank_of(4), GROUP, values))
    assert (doubled.group, doubled.n_units) == (CyclicGroup(16), 6)
    for unit in range(3):
        assert np.array_equal(np.asarray(doubled.array)[:, :, unit], values[:, :16, unit])
        assert np.array_equal(np.asarray(doubled.array)[:, :, 3 + unit], values[:, 16:, unit])


@pytest.mark.parametrize("slant_deg", [0.0, 40.0])
def test_curves_have_a_mirror_axis_that_leaves_the_first_as_it_is(slant_deg: float) -> None:
    result = find_families(curves(CURVES, slant_deg), examples_of(6), n_null=40)
    (family,) = result.families
    assert family.channels.tolist() == list(range(6))
    assert not any(m.is_mirrored for m in family.members)
    away = circular_difference_deg(family.poses_deg, np.array(CURVES) - CURVES[0])
    assert np.abs(away).max() < 1.5
    identity, mirror = family.stabiliser
    assert identity == Pose(angle_deg=0.0, is_mirrored=False)
    assert mirror["is_mirrored"]
    # Mirrored, the feature of the first member stands at the slant less its angle: turned by twice that it is back.
    expected = 2 * CURVES[0] - slant_deg
    assert abs(circular_difference_deg(mirror["angle_deg"], expected)) < 2
    assert {line.kind for line in result.symmetries} == {"equivariant"}


def verified(rows: dict[int, tuple[float, float]], order: int = 1) -> Verified:
    """A finding of columns at (pose, score)."""
    channels = np.array(list(rows))
    poses, scores = np.array(list(rows.values())).T
    candidate = Candidate(channels, poses, order)
    return Verified(candidate, scores, scores - 0.1, scores + 0.1, 0.7, 0.9, 1.0, 0.95, 0.8, 0.01, 0.5)


def folded(rows: dict[int, tuple[float, float]], n_units: int = 10, order: int = 1) -> tuple[list[Any], bool]:
    members, has_axis = _fold(verified(rows, order), n_units, "layer")
    return [(m.channel, round(m.pose_deg, 6), m.is_mirrored, m.score) for m in members], has_axis


def test_mirror_images_of_a_spiral_are_members_of_the_other_hand() -> None:
    members, has_axis = folded({0: (20.0, 0.8), 3: (50.0, 0.8), 12: (90.0, 0.8)})
    assert not has_axis
    # Base' = g₀ base: of one hand angles are subtracted; unit 2 is the mirrored base at -90°, and so at -90° + 20°.
    assert members == [(0, 0.0, False, 0.8), (2, 290.0, True, 0.8), (3, 30.0, False, 0.8)]


def test_poses_count_from_the_first_member_also_if_it_is_mirrored() -> None:
    members, _ = folded({10: (20.0, 0.8), 3: (50.0, 0.8), 12: (90.0, 0.8)})
    # Unit 0 is the base at -20° mirrored; seen from it unit 3 is mirrored at 50° - 20°, and unit 2 at -90° + 20°.
    assert members == [(0, 0.0, False, 0.8), (2, 290.0, False, 0.8), (3, 30.0, True, 0.8)]


def test_poses_are_folded_by_the_period() -> None:
    members, _ = folded({0: (170.0, 0.8), 3: (20.0, 0.8), 12: (90.0, 0.8)}, order=2)
    assert members == [(0, 0.0, False, 0.8), (2, 80.0, True, 0.8), (3, 30.0, False, 0.8)]


@pytest.mark.parametrize(("images", "has_axis"), [((10, 11), True), ((10,), False)])
def test_half_of_the_units_beside_their_own_images_make_a_mirror_axis(
    images: tuple[int, ...], has_axis: bool
) -> None:
    rows = {unit: (10.0 * unit, 0.8) for unit in range(4)} | dict.fromkeys(images, (200.0, 0.7))
    members, found = folded(rows)
    assert found is has_axis
    assert [channel for channel, *_ in members] == [0, 1, 2, 3]
    assert not any(is_mirrored for _, _, is_mirrored, _ in members)


def test_of_a_unit_and_its_own_image_the_better_one_counts() -> None:
    rows = {unit: (10.0 * unit, 0.8) for unit in range(1, 5)}
    members, has_axis = folded(rows | {11: (100.0, 0.9)})
    assert not has_axis
    assert [(channel, is_mirrored, score) for channel, _, is_mirrored, score in members] == [
        (1, False, 0.9), (2, True, 0.8), (3, True, 0.8), (4, True, 0.8)
    ]  # fmt: skip
    members, _ = folded(rows | {11: (100.0, 0.7)})
    assert members[0][3] == 0.8
    assert not any(is_mirrored for _, _, is_mirrored, _ in members)


def test_the_mirror_of_the_first_member_is_the_mean_over_units_beside_their_images() -> None:
    # u = r(p) b and m u = r(q) b: the first member r(p₀) b is itself under r(2 p₀ - p - q) m.
    poses = {0: 5.0, 1: 50.0, 2: 120.0, 10: 25.0, 11: 338.0, 12: 272.0}
    found = _mirror_deg(Candidate(np.array(list(poses)), np.array(list(poses.values())), 1), 10)
    assert found == pytest.approx(np.mean([10 - 30, 10 - 388 + 360, 10 - 392 + 360]) % 360)


class Given(HandedSearch):
    """A search that has verified what it is given."""

    def __init__(self, found: list[Verified], n_units: int = 10) -> None:
        self.examples, self.options = [examples_of(n_units)], SearchOptions(n_null=7)
        self.responses = Responses(bank_of(4), GROUP, np.zeros((4, 32, n_units), np.float32))
        self.is_inactive = np.zeros(n_units, bool)
        self.found = found

    def verified(self, accepted: Any) -> list[Verified]:
        return self.found


def described(*found: dict[int, tuple[float, float]]) -> list[Family]:
    space = Given([verified(rows) for rows in found])
    return space.describe([Accepted(own.candidate, 0.8, 0.01) for own in space.found])


SPIRAL = {0: (0.0, 0.8), 3: (50.0, 0.8), 12: (90.0, 0.8)}
MIRRORED = {10: (0.0, 0.8), 13: (50.0, 0.8), 2: (90.0, 0.8)}


def test_a_spiral_that_is_found_twice_is_one_family() -> None:
    (family,) = described(SPIRAL, MIRRORED)
    assert family.id == "layer-dihedral-1"
    assert family.channels.tolist() == [0, 2, 3]
    assert family.stabiliser == (Pose(angle_deg=0.0, is_mirrored=False),)
    # Gaps between poses of two hands say nothing.
    assert np.isnan(family.gap_deviation_deg)
    assert (family.holes_deg, family.duplicates) == ((), ())


def test_numbers_go_on_where_one_is_let_go() -> None:
    other = {5: (0.0, 0.8), 6: (50.0, 0.8), 17: (90.0, 0.8)}
    assert [(f.id, f.channels.tolist()) for f in described(SPIRAL, MIRRORED, other)] == [
        ("layer-dihedral-1", [0, 2, 3]),
        ("layer-dihedral-2", [5, 6, 7]),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        {0: (0.0, 0.8), 3: (50.0, 0.8), 4: (90.0, 0.8)},
        {10: (0.0, 0.8), 13: (50.0, 0.8), 14: (90.0, 0.8)},
        {0: (0.0, 0.8), 13: (50.0, 0.8)},
        {0: (0.0, 0.8), 3: (50.0, 0.8), 10: (90.0, 0.8), 13: (130.0, 0.8)},
    ],
    ids=["one hand", "the other hand", "two units", "two curves"],
)
def test_what_is_no_family_in_two_hands(rows: dict[int, tuple[float, float]]) -> None:
    assert described(rows) == []


def test_a_family_with_a_mirror_axis_has_as_many_mirrors_as_turns() -> None:
    rows = {unit: (20.0 * unit, 0.8) for unit in range(3)} | {
        10 + unit: (70.0 - 20.0 * unit, 0.8) for unit in range(3)
    }
    space = Given([verified(rows, order=2)])
    (family,) = space.describe([Accepted(space.found[0].candidate, 0.8, 0.01)])
    assert [dict(e) for e in family.stabiliser] == [
        {"angle_deg": 0.0, "is_mirrored": False},
        {"angle_deg": 180.0, "is_mirrored": False},
        {"angle_deg": pytest.approx(110.0), "is_mirrored": True},
        {"angle_deg": pytest.approx(290.0), "is_mirrored": True},
    ]
    assert family.stabiliser_order == 2
    assert family.gap_deviation_deg > 0


def test_half_as_many_null_draws_show_the_same_rate() -> None:
    assert Given([]).count_draws() == 4


def test_the_null_counts_above_the_lowest_family() -> None:
    space = Given([verified(SPIRAL)])
    families = space.describe([Accepted(space.found[0].candidate, 0.8, 0.01)])
    # What was let go as found twice may have scored lower.
    lower = Accepted(space.found[0].candidate, 0.5, 0.01)
    assert space.threshold([lower], families) == families[0].score
    assert space.threshold([lower], []) == np.inf


def spirals(poses: list[tuple[float, bool]], seed: int = 0) -> Responses[Any]:
    """Units of both hands, each answering to its own feature alone."""
    rng = np.random.default_rng(seed)
    bank = bank_of()
    (starts,) = bank.starts_deg(GROUP)
    strength = rng.uniform(0.5, 2, N)
    own_deg, own_hand = rng.uniform(0, 360, N), rng.integers(0, 2, N).astype(bool)
    values = np.zeros((N, 32, len(poses)))
    for element in range(32):
        is_flipped, k = divmod(element, 16)
        for stimulus in range(N):
            # The stimulus shows the base at an angle, mirrored before or not; it is turned, then mirrored.
            angle, hand = own_deg[stimulus] + starts[stimulus] + 22.5 * k, bool(own_hand[stimulus])
            if is_flipped:
                angle, hand = -angle, not hand
            for unit, (pose_deg, is_mirrored) in enumerate(poses):
                # What the unit sees of its own feature: its pose is undone from the left, (θ, s)⁻¹.
                away = angle - pose_deg
                if is_mirrored:
                    away = -away
                is_same = hand == is_mirrored
                values[stimulus, element, unit] = strength[stimulus] * (
                    tuning(np.array(away), 0.4) if is_same else 0.15 * tuning(np.array(2 * away), 0.3)
                )
    return Responses(bank, GROUP, values.astype(np.float32))


SPIRALS = [(0.0, False), (48.0, True), (100.0, False), (163.0, True), (214.0, False), (290.0, True)]


def test_spirals_of_both_hands_are_one_family_at_their_poses() -> None:
    result = find_families(spirals(SPIRALS), examples_of(6), n_null=40)
    (family,) = result.families
    assert [m.is_mirrored for m in family.members] == [hand for _, hand in SPIRALS]
    away = circular_difference_deg(family.poses_deg, np.array([pose for pose, _ in SPIRALS]))
    assert np.abs(away).max() < 1.5
    assert family.stabiliser == (Pose(angle_deg=0.0, is_mirrored=False),)


def test_spirals_of_one_hand_are_a_rotation_family_alone() -> None:
    responses = spirals([(pose, False) for pose, _ in SPIRALS])
    result = find_families(responses, examples_of(6), n_null=40)
    assert result.families == ()
    assert {line.kind for line in result.symmetries} == {"neither"}
