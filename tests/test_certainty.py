"""How certain poses and members are: intervals that hold what was planted, and slow ways to the same numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from equiscope.families.certainty import RESOLUTION_DEG, RESOLUTION_STEPS, with_pose_intervals
from equiscope.families.circle_poses import synchronise
from equiscope.families.correlations import correlate_orbits
from equiscope.families.family import Family, Member
from equiscope.families.find import find_families
from equiscope.families.layer_families import UnitPair
from equiscope.families.line_intervals import step_half_widths
from equiscope.families.pose_intervals import half_widths, jackknife_half_widths, pull_poses
from equiscope.families.stability import share_found
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import empty_examples
from equiscope.measurement.resampled import draw_stimuli, resample_half
from equiscope.measurement.responses import Responses
from equiscope.transformations import Pose
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Involution, Segment, TorusGroup

ORDER = 16
POSES = np.array([0.0, 50.0, 130.0, 250.0])


def bank_of(n_photographs: int, n_each: int) -> Bank:
    """Photographs with as many stimuli each, half of them in either half; those of one stand side by side."""
    photograph = np.repeat(np.arange(2 * n_photographs), n_each)
    half = photograph // n_photographs
    return Bank("layer", half, photograph, np.zeros((len(photograph), 2), np.int64), photograph)


def orbit(away_deg: np.ndarray) -> np.ndarray:
    """An orbit with more than one harmonic, by the angle from its pose."""
    away = np.radians(away_deg)
    return np.exp(2 * (np.cos(away) - 1) + 0.4 * np.sin(2 * away))


def turned(
    rng: np.random.Generator,
    n_photographs: int,
    n_each: int = 4,
    jitter_deg: float = 8.0,
    poses: np.ndarray = POSES,
) -> Responses[CyclicGroup]:
    """Units at angles, each of which every photograph shows as turned by some degrees of its own."""
    bank, group = bank_of(n_photographs, n_each), CyclicGroup(ORDER)
    shown = rng.uniform(0, 360, len(bank)) + bank.starts_deg(group)[0]
    jitter = rng.normal(0, jitter_deg, (2 * n_photographs, len(poses)))[bank.photograph]
    away = shown[:, None, None] + group.angles_deg[:, None] - poses - jitter[:, None]
    return Responses(bank, group, orbit(away).astype(np.float32))


def family_at(poses: list[Pose], transformation: str = "rotation") -> Family:
    members = tuple(Member("layer", channel, pose, 0.9, 0.8, 1.0) for channel, pose in enumerate(poses))
    return Family("layer-1", ("layer",), transformation, 0.9, 0.8, 1.0, 0.01, members)


def widths_of(
    responses: Responses[Any], family: Family, axis: str, pairs: tuple[UnitPair, ...] = ()
) -> np.ndarray:
    """Half-widths of a family's intervals along an axis; NaN where a member has none."""
    (found,) = with_pose_intervals([family], responses, {"layer": 0}, pairs)
    for member in found.members:
        if axis in member.pose_low:
            middle = (member.pose_low[axis] + member.pose_high[axis]) / 2
            assert middle == pytest.approx(member.pose[axis])
    return np.array([m.pose_high.get(axis, np.nan) - m.pose[axis] for m in found.members])


def synchronised(responses: Responses[CyclicGroup]) -> np.ndarray:
    return synchronise(correlate_orbits(responses, 0), np.arange(responses.n_units), 1).poses_deg


@pytest.mark.parametrize(("n_photographs", "n_each"), [(4, 6), (12, 4), (40, 1)])
def test_intervals_hold_the_planted_pose_as_often_as_they_say(n_photographs: int, n_each: int) -> None:
    held, by_stimuli = [], []
    for seed in range(60):
        responses = turned(np.random.default_rng([n_photographs, seed]), n_photographs, n_each)
        poses = synchronised(responses)
        error = (poses - POSES + 180) % 360 - 180
        error -= error.mean()
        family = family_at([Pose(angle_deg=float(pose)) for pose in poses])
        held += (np.abs(error) <= widths_of(responses, family, "angle_deg")).tolist()
        # What would be said if each stimulus were a photograph of its own.
        alone = replace(responses, bank=replace(responses.bank, photograph=np.arange(len(responses.bank))))
        by_stimuli += (np.abs(error) <= widths_of(alone, family, "angle_deg")).tolist()
    assert 0.91 <= np.mean(held) <= 0.99
    if n_each > 1:
        assert np.mean(by_stimuli) < 0.88


def test_the_jackknife_is_that_of_searches_without_each_photograph() -> None:
    responses = turned(np.random.default_rng(1), n_photographs=15)
    poses = synchronised(responses)
    without = []
    for left_out in range(15):
        kept = np.flatnonzero((responses.bank.half == 0) & (responses.bank.photograph != left_out))
        moved = (synchronised(resample_half(responses, kept)) - poses + 180) % 360 - 180  # type: ignore[arg-type]
        without.append(moved - moved.mean())
    slow = np.hypot(jackknife_half_widths(np.array(without)), RESOLUTION_DEG)
    fast = widths_of(responses, family_at([Pose(angle_deg=float(p)) for p in poses]), "angle_deg")
    np.testing.assert_allclose(fast, slow, rtol=0.05)


def test_a_member_that_photographs_disagree_about_has_the_widest_interval() -> None:
    rng = np.random.default_rng(2)
    steady, shaky = (turned(np.random.default_rng(3), 12, jitter_deg=jitter) for jitter in (1.0, 15.0))
    values = np.array(steady.array)
    values[:, :, 2] = shaky.array[:, :, 2]
    responses = replace(steady, array=values)
    poses = [Pose(angle_deg=float(pose)) for pose in synchronised(responses)]
    widths = widths_of(responses, family_at(poses), "angle_deg")
    assert widths.argmax() == 2
    # The same unit as the mirror image of one: what is mirrored turns the other way, as uncertainly.
    sheets = np.concatenate([values, values], axis=1)
    noise = rng.random(sheets[:, ORDER:, :2].shape).astype(np.float32)
    sheets[:, ORDER:, :2], sheets[:, :ORDER, 2:] = noise, noise
    handed = Responses(responses.bank, DihedralGroup(ORDER), sheets)
    own = [
        Pose(angle_deg=-pose["angle_deg"] if i > 1 else pose["angle_deg"], is_mirrored=i > 1)
        for i, pose in enumerate(poses)
    ]
    np.testing.assert_allclose(widths_of(handed, family_at(own, "dihedral"), "angle_deg"), widths)


def test_two_turns_have_an_interval_each() -> None:
    rng = np.random.default_rng(4)
    bank, group = bank_of(10, 3), TorusGroup(8, ORDER)
    hues, angles = np.array([0.0, 120.0, 200.0]), np.array([0.0, 90.0, 225.0])
    shown = rng.uniform(0, 360, (2, len(bank), 1, 1, 1))
    jitter = rng.normal(0, 12.0, (20, 3))[bank.photograph][:, None, None]
    hue = orbit(shown[0] + group.hues.angles_deg[:, None, None] - hues - jitter)
    angle = orbit(shown[1] + group.rotations.angles_deg[:, None] - angles)
    responses = Responses(bank, group, (hue * angle).reshape(len(bank), -1, 3).astype(np.float32))
    poses = [
        Pose(angle_deg=float(own), hue_deg=float(other)) for own, other in zip(angles, hues, strict=True)
    ]
    family = family_at(poses, "hue-rotation")
    along_hue, along_angle = (widths_of(responses, family, axis) for axis in ("hue_deg", "angle_deg"))
    assert (along_hue > 3).all()
    np.testing.assert_allclose(along_angle, RESOLUTION_DEG, rtol=0.05)


def sizes(n_photographs: int, jitter: float) -> tuple[Responses[Segment], Family, tuple[UnitPair, ...]]:
    """Three units along a line, of which every photograph shows each moved by steps of its own."""
    rng = np.random.default_rng(5)
    bank, group = bank_of(n_photographs, 4), Segment(tuple(0.25 * np.arange(-6, 7)), "scale")
    poses = np.array([0.0, 0.5, 1.0])
    shown = rng.uniform(-1, 1, (len(bank), 1, 1))
    moved = rng.normal(0, jitter, (2 * n_photographs, 3))[bank.photograph][:, None]
    away = shown + np.array(group.values)[:, None] - poses - moved
    responses = Responses(bank, group, np.exp(-2 * away**2).astype(np.float32))
    pairs = (UnitPair(0, 1, 0.5, 0.9, 0.1), UnitPair(1, 2, 0.5, 0.9, 0.1), UnitPair(0, 2, 0.98, 0.8, 0.1))
    return responses, family_at([Pose(octaves=float(own)) for own in poses], "scale"), pairs


def test_steps_have_intervals_that_follow_the_pairs_that_joined_a_family() -> None:
    responses, family, pairs = sizes(12, 0.1)
    widths = widths_of(responses, family, "octaves", pairs)
    assert ((widths > 0.05) & (widths < 0.2)).all()
    # The pair at 0.98 joined nothing, and without what joined it a unit has no pose to be certain of.
    np.testing.assert_array_equal(widths_of(responses, family, "octaves", pairs[:2]), widths)
    assert np.isnan(widths_of(responses, family, "octaves", pairs[1:])).all()
    exact, family, pairs = sizes(12, 0.0)
    np.testing.assert_allclose(widths_of(exact, family, "octaves", pairs), 0.25 * RESOLUTION_STEPS, rtol=0.05)


def test_steps_without_each_photograph_are_those_of_what_is_left() -> None:
    responses, _, _ = sizes(8, 0.1)
    values = np.array(responses.array[responses.bank.half == 0][:, :, :2], dtype=np.float64)
    photograph = responses.bank.photograph[responses.bank.half == 0]
    step, found = 0.25, []
    for left_out in range(8):
        x, y = (values[photograph != left_out][:, :, unit] for unit in (0, 1))
        n = x.shape[1]
        curve = [np.corrcoef(x[:, : n - lag].ravel(), y[:, lag:].ravel())[0, 1] for lag in range(5)]
        top = int(np.argmax(curve))
        before, at, after = curve[top - 1 : top + 2]
        found.append(step * (top + 0.5 * (before - after) / (before - 2 * at + after)))
    slow = jackknife_half_widths(np.array(found)) / 2
    fast = step_half_widths(values, [(0, 1, 0.5)], np.array([0.0, 0.5]), step, photograph)
    np.testing.assert_allclose(fast, [slow, slow])


def test_what_has_no_interval_has_none() -> None:
    one = turned(np.random.default_rng(0), n_photographs=1)
    family = family_at([Pose(angle_deg=float(pose)) for pose in POSES])
    assert np.isnan(widths_of(one, family, "angle_deg")).all()
    place = bank_of(3, 2)
    pair = Responses(place, Involution("reflection"), np.ones((12, 2, 2), np.float32))
    (found,) = with_pose_intervals(
        [family_at([Pose(is_mirrored=False), Pose(is_mirrored=True)], "reflection")], pair, {"layer": 0}
    )
    assert [(own.pose_low, own.pose_high) for own in found.members] == [(Pose(), Pose())] * 2
    silent = replace(one, array=np.zeros_like(one.array))
    assert np.isnan(widths_of(silent, family, "angle_deg")).all()
    assert with_pose_intervals([], one, {"layer": 0}) == ()


def test_poses_that_nothing_holds_have_no_interval() -> None:
    # At the lowest correlation instead of the highest, and where members share nothing.
    for other in (-1.0, 0.0):
        orbits = np.tile([[1.0, other]], (3, 1, 1)).astype(complex)
        assert np.isnan(half_widths(pull_poses(orbits, np.ones((1, 1)), np.arange(3)))).all()


def test_a_resample_reads_what_was_drawn_and_images_of_a_photograph_come_together() -> None:
    responses = turned(np.random.default_rng(0), n_photographs=6, n_each=3)
    drawn = draw_stimuli(responses, 0, np.random.default_rng(0))
    assert drawn.max() < 18
    assert sorted(set(np.bincount(drawn, minlength=18).reshape(6, 3).std(1))) == [0.0]
    assert len(set(drawn.tolist())) < 18
    own = resample_half(responses, drawn)
    assert own.of_half(0) == (0, len(drawn))
    assert own.of_half(1) == (len(drawn), len(drawn))
    read = np.concatenate([chunk for _, chunk in own.chunks(0, n_stimuli=5)])
    np.testing.assert_array_equal(read, np.asarray(responses.array)[drawn])


def test_members_that_hang_on_few_photographs_are_not_always_found_again() -> None:
    rng = np.random.default_rng(0)
    steady = turned(rng, n_photographs=12, n_each=6, jitter_deg=1.0, poses=np.arange(5) * 70.0)
    examples = replace(empty_examples("layer", 5, 2), maximum=np.ones(5))
    (family,) = find_families(steady, examples).families
    assert family.size == 5
    assert family.stability == 1.0
    # Now they answer as copies to one photograph of the finding half alone, and to the rest as they like.
    values = np.array(steady.array)
    values[steady.bank.photograph == 0] *= 6
    is_odd = (steady.bank.half == 0) & (steady.bank.photograph > 0)
    values[is_odd] = 0.3 * rng.random((int(is_odd.sum()), ORDER, 5))
    (family,) = find_families(replace(steady, array=values), examples, seed=1).families
    assert family.size == 5
    assert 0.2 <= family.stability < 1.0


def test_the_family_most_alike_counts_and_not_the_largest() -> None:
    everything = set(range(50))
    assert share_found({0, 1, 2, 3}, [everything, {0, 1, 2}]) == 0.75
    assert share_found({0, 1, 2, 3}, [{7, 8, 9}]) == 0.0
