"""Poses on drawings by themselves: made-up responses of known poses, no network."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from numpy.typing import NDArray

from equiscope.evidence.stabilisers import stabiliser_elements
from equiscope.evidence.verify.common_curve import peak_deg
from equiscope.evidence.verify.drawn.shown import Shown, measure_drives
from equiscope.evidence.verify.poses import _common_offset_deg, _torus_peak, verify_poses
from equiscope.evidence.verify.suggestion import suggest_kind
from equiscope.evidence.verify.verification import summarise_errors
from equiscope.families.circle import equal_turns
from equiscope.families.family import Family
from equiscope.families.torus import _SUBGROUPS
from equiscope.stimuli.drawn import catalogue
from equiscope.transformations import Pose, find
from hand_made import a_family, a_member, moved

CATALOGUE = catalogue(40.0, hues_deg=(0.0,))


def make_family(
    transformation: str,
    poses_deg: list[float],
    hues_deg: list[float] | None = None,
    elements: tuple[tuple[float, float], ...] = (),
    order: int = 1,
) -> Family:
    """Make a family; ``elements`` of its stabiliser, (hue, angle), or else ``order`` equal turns of its first axis."""
    of_axis = {"angle_deg": poses_deg} | ({} if hues_deg is None else {"hue_deg": hues_deg})
    members = [
        a_member("layer", i, score=0.9, low=0.8, **{name: values[i] for name, values in of_axis.items()})
        for i in range(len(poses_deg))
    ]
    found = tuple(Pose(angle_deg=turn, hue_deg=hue) for hue, turn in elements)
    turns = equal_turns(find(transformation).axes[0].name, order) if order else (Pose(is_mirrored=False),)
    return a_family(transformation, members, stabiliser=found or turns)


def bump(n: int, at_deg: float, period_deg: float = 360.0) -> NDArray[np.float64]:
    """A smooth curve of ``n`` samples with its maximum at an angle."""
    angles = np.arange(n) * period_deg / n
    return np.exp(2 * np.cos((angles - at_deg) * 2 * np.pi / period_deg))


def coloured(hues_deg: list[float], angles_deg: list[float], scale: float = 1.0) -> Shown:
    """Responses to one coloured drawing that repeats after a full turn, each unit's best at a hue and an angle."""
    stimulus = next(s for s in CATALOGUE if np.isfinite(s.hue_deg) and s.period_deg == 360)
    grids = [np.outer(bump(16, h), bump(16, a)) for h, a in zip(hues_deg, angles_deg, strict=True)]
    steps = np.arange(16) * 22.5
    return Shown(stimulus, steps, steps, scale * np.stack(grids, axis=-1))


def written(elements: tuple[tuple[float, float], ...]) -> str:
    return "{" + ", ".join(f"({h:g}°, {t:g}°)" for h, t in elements) + "}"


# --- stabilisers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("elements", _SUBGROUPS, ids=written)
def test_every_stabiliser_of_hue_and_rotation_is_read(elements: tuple[tuple[float, float], ...]) -> None:
    family = make_family("hue-rotation", [0.0, 90.0], [0.0, 0.0], elements)
    assert stabiliser_elements(family) == elements


@pytest.mark.parametrize(
    ("transformation", "order", "expected"),
    [
        ("rotation", 1, ((0.0, 0.0),)),
        ("rotation", 3, ((0.0, 0.0), (0.0, 120.0), (0.0, 240.0))),
        ("hue", 2, ((0.0, 0.0), (180.0, 0.0))),
        ("dihedral", 2, ((0.0, 0.0), (0.0, 180.0))),
        ("reflection", 0, ((0.0, 0.0),)),
    ],
)
def test_turns_of_one_circle_follow_from_the_order(
    transformation: str, order: int, expected: tuple[tuple[float, float], ...]
) -> None:
    assert stabiliser_elements(make_family(transformation, [0.0], order=order)) == expected


def test_mirror_images_are_no_turns() -> None:
    mirrored = (Pose(angle_deg=0.0, is_mirrored=False), Pose(angle_deg=70.0, is_mirrored=True))
    family = a_family(
        "dihedral", [a_member("layer", 0, angle_deg=0.0, is_mirrored=False)], stabiliser=mirrored
    )
    assert stabiliser_elements(family) == ((0.0, 0.0),)


def test_a_stabiliser_that_was_not_found_is_the_identity() -> None:
    family = a_family("hue-rotation", [a_member("layer", 0, angle_deg=0.0, hue_deg=0.0)])
    assert family.stabiliser == ()
    assert stabiliser_elements(family) == ((0.0, 0.0),)


@pytest.mark.parametrize("elements", _SUBGROUPS, ids=written)
def test_poses_agree_up_to_every_element_of_the_stabiliser(elements: tuple[tuple[float, float], ...]) -> None:
    hues, angles = [10.0, 80.0, 150.0, 200.0, 300.0, 350.0], [20.0, 70.0, 200.0, 130.0, 300.0, 250.0]
    family = make_family("hue-rotation", angles, hues, elements)
    turned = [elements[i % len(elements)] for i in range(len(hues))]
    # All drawings are seen from a zero of their own.
    shown = coloured(
        [h + e[0] + 33 for h, e in zip(hues, turned, strict=True)],
        [a + e[1] + 47 for a, e in zip(angles, turned, strict=True)],
    )
    found = {entry.axis: entry for entry in verify_poses(family, [shown])}
    assert set(found) == {"rotation", "hue"}
    for axis, entry in found.items():
        assert entry.n_measured == len(hues)
        assert entry.median_error < 0.5, axis
        assert entry.n_outliers == 0


def test_a_turn_that_is_no_element_of_the_stabiliser_is_an_error() -> None:
    hues, angles = [10.0, 80.0, 150.0, 200.0, 300.0], [20.0, 70.0, 200.0, 130.0, 300.0]
    family = make_family("hue-rotation", angles, hues, ((0.0, 0.0), (180.0, 180.0)))
    # Half a turn of the plane alone.
    shown = coloured(hues, [angles[0] + 180, *angles[1:]])
    found = {entry.axis: entry for entry in verify_poses(family, [shown])}
    assert found["rotation"].n_outliers + found["hue"].n_outliers == 1


# --- poses on one circle -----------------------------------------------------------------------------------

POSES = [10.0, 60.0, 130.0, 200.0, 300.0]


def plain(period_deg: float, angles_deg: list[float], scale: float = 1.0) -> Shown:
    """Responses to one grey drawing that repeats after a period, each unit's best at an angle; NaN is no response."""
    stimulus = next(s for s in CATALOGUE if not np.isfinite(s.hue_deg) and s.period_deg == period_deg)
    n = max(1, round(32 * period_deg / 360))
    curves = [
        np.zeros(n) if np.isnan(at) else bump(n, at, period_deg) / np.exp(2) for at in angles_deg
    ]  # fmt: skip
    angles = np.arange(n) * period_deg / max(n, 1)
    return Shown(stimulus, angles, np.zeros(1), scale * np.stack(curves, axis=-1)[None])


def test_the_common_offset_is_that_of_most_members() -> None:
    family = make_family("rotation", POSES)
    seen = [pose + 25 for pose in POSES]
    seen[2] += 90
    (entry,) = verify_poses(family, [plain(360, seen)])
    assert entry.n_outliers == 1
    # The outlier takes no part in the offset: the others are as exact as the angles are fine.
    assert sorted(abs(m.error) for m in entry.members)[3] < 0.2
    assert entry.members[2].error == pytest.approx(90, abs=0.2)


@pytest.mark.parametrize(("away_deg", "n_outliers"), [(19.0, 0), (21.0, 2)])
def test_an_outlier_is_beyond_twenty_degrees(away_deg: float, n_outliers: int) -> None:
    away = [0.0, 0.0, away_deg, 0.0, -away_deg]
    seen = [pose + other for pose, other in zip(POSES, away, strict=True)]
    (entry,) = verify_poses(make_family("rotation", POSES), [plain(360, seen)])
    assert entry.n_outliers == n_outliers


SUGGESTION = {
    "kind": "line", "drive": 1.0, "drive_low": 1.0, "drive_high": 1.0, "runner_up": "edge", "lead": 0.1,
    "lead_low": 0.0, "lead_high": 0.2,
}  # fmt: skip


def test_one_member_that_fired_is_no_measurement() -> None:
    family = make_family("rotation", POSES)
    entry = summarise_errors(
        family,
        "rotation",
        SUGGESTION,
        "",
        np.zeros(5),
        np.zeros(5),
        np.array([0.0, nan, nan, nan, nan]),
        20.0,
    )
    assert entry.n_measured == 0
    assert np.isnan([entry.median_error, entry.error_low, entry.error_high]).all()
    two = summarise_errors(
        family,
        "rotation",
        SUGGESTION,
        "",
        np.zeros(5),
        np.zeros(5),
        np.array([1.0, -3.0, nan, nan, nan]),
        20.0,
    )
    assert (two.n_measured, two.median_error) == (2, 2.0)


def test_the_error_is_a_median_with_the_interval_of_medians() -> None:
    errors = np.array([1.0, -1.0, 1.0, -1.0, 20.0])
    entry = summarise_errors(
        make_family("rotation", POSES), "rotation", SUGGESTION, "", np.zeros(5), np.zeros(5), errors, 20.0
    )
    # In one resample of seventeen the outlier is there three times or more.
    assert (entry.median_error, entry.error_low, entry.error_high) == (1.0, 1.0, 20.0)
    # Beyond, not at.
    assert entry.n_outliers == 0


def test_a_member_that_did_not_fire_is_not_measured() -> None:
    family = make_family("rotation", POSES)
    (entry,) = verify_poses(family, [plain(360, [*POSES[:4], nan])])
    assert entry.n_measured == 4
    assert np.isnan(entry.members[4].synthetic)
    assert entry.n_outliers == 0


def test_a_drawing_that_repeats_sooner_than_the_family_tells_no_pose() -> None:
    """The impostor repeats after half a turn and drives the family more: half of the poses would be off by 180°."""
    seen = [*POSES[:2], *(pose % 180 for pose in POSES[2:])]
    impostor = plain(180, [p % 180 for p in seen], scale=3.0)
    honest = plain(360, POSES)
    (entry,) = verify_poses(make_family("rotation", POSES), [impostor, honest])
    assert entry.stimulus == honest.stimulus.label
    assert entry.n_outliers == 0
    # Of a family that repeats after half a turn itself it does.
    folded = [pose % 180 for pose in POSES]
    (entry,) = verify_poses(make_family("rotation", folded, order=2), [impostor, honest])
    assert entry.stimulus == impostor.stimulus.label
    assert entry.n_outliers == 0


def test_drawings_that_drive_a_family_far_less_do_not_count() -> None:
    """Weak drawings of the best kind prefer wrong poses; those nearly as strong as the best prefer the right ones."""
    family = make_family("rotation", POSES)
    edges = [s for s in CATALOGUE if s.kind == "corner" and s.period_deg == 360]
    polarity = dict(edges[0].parameters).get("polarity")
    same = [s for s in edges if dict(s.parameters).get("polarity") == polarity][:3]
    assert len(same) == 3
    wrong = [POSES[i] + 100 * (-1) ** i for i in range(5)]
    strong = dataclasses.replace(plain(360, POSES), stimulus=same[0])
    weak = [dataclasses.replace(plain(360, wrong, scale=0.7), stimulus=s) for s in same[1:]]
    (entry,) = verify_poses(family, [strong, *weak])
    assert entry.n_outliers == 0
    # Just as strong, two wrong ones outweigh it.
    near = [dataclasses.replace(plain(360, wrong, scale=0.9), stimulus=s) for s in same[1:]]
    (entry,) = verify_poses(family, [strong, *near])
    assert entry.n_outliers == 2


def test_drawings_of_the_other_polarity_do_not_count() -> None:
    edges = [s for s in CATALOGUE if s.kind == "corner" and s.period_deg == 360]
    dark = next(
        s for s in edges if dict(s.parameters).get("polarity") != dict(edges[0].parameters)["polarity"]
    )
    wrong = [POSES[i] + 100 * (-1) ** i for i in range(5)]
    right = dataclasses.replace(plain(360, POSES), stimulus=edges[0])
    other = dataclasses.replace(plain(360, wrong, scale=0.99), stimulus=dark)
    (entry,) = verify_poses(make_family("rotation", POSES), [right, other, other])
    assert entry.n_outliers == 0


@pytest.mark.parametrize("is_first_mirrored", [False, True])
def test_only_members_of_one_hand_share_a_zero(is_first_mirrored: bool) -> None:
    family = make_family("dihedral", POSES)
    hands = [hand != is_first_mirrored for hand in (False, False, True, False, True)]
    members = tuple(moved(m, is_mirrored=hand) for m, hand in zip(family.members, hands, strict=True))
    family = dataclasses.replace(family, members=members)
    seen = [pose + (70 if hand else 0) for pose, hand in zip(POSES, hands, strict=True)]
    (entry,) = verify_poses(family, [plain(360, seen)])
    assert entry.n_measured == 3
    assert entry.n_outliers == 0
    assert [bool(np.isnan(m.synthetic)) for m in entry.members] == [False, False, True, False, True]


def test_drawings_that_drive_a_family_nearly_as_well_count_alike() -> None:
    corners = [s for s in CATALOGUE if s.kind == "corner" and s.period_deg == 360]
    polarity = dict(corners[0].parameters).get("polarity")
    first, second = [s for s in corners if dict(s.parameters).get("polarity") == polarity][:2]
    away = [15.0, -15.0, 0.0, 15.0, -15.0]
    ahead = plain(360, [pose + own for pose, own in zip(POSES, away, strict=True)])
    behind = plain(360, [pose - own for pose, own in zip(POSES, away, strict=True)], scale=0.85)
    shown = [dataclasses.replace(ahead, stimulus=first), dataclasses.replace(behind, stimulus=second)]
    (entry,) = verify_poses(make_family("rotation", POSES), shown)
    assert max(abs(m.error) for m in entry.members) < 0.3


def test_drawings_of_one_kind_that_repeat_otherwise_do_not_count() -> None:
    whole = next(s for s in CATALOGUE if s.kind == "gabor" and s.period_deg == 360)
    half = next(s for s in CATALOGUE if s.kind == "gabor" and s.period_deg == 180)
    folded = [pose % 180 for pose in POSES]
    right = dataclasses.replace(plain(180, folded), stimulus=half)
    other = dataclasses.replace(plain(360, folded, scale=0.9), stimulus=whole)
    (entry,) = verify_poses(make_family("rotation", folded, order=2), [right, other])
    assert (entry.n_measured, entry.n_outliers) == (5, 0)


def test_grey_drawings_do_not_count_where_hues_are_read() -> None:
    hues = [0.0, 70.0, 140.0, 210.0, 280.0]
    family = make_family("hue-rotation", POSES, hues)
    seen = coloured(hues, POSES)
    found = {e.axis: e for e in verify_poses(family, [plain(360, POSES, scale=1e3), seen])}
    assert {e.stimulus for e in found.values()} == {seen.stimulus.label}
    assert [(e.n_measured, e.n_outliers) for e in found.values()] == [(5, 0), (5, 0)]


def test_a_stabiliser_that_turns_hue_as_well_leaves_angles_a_full_turn() -> None:
    hues, angles = [10.0, 80.0, 150.0, 200.0, 300.0], [20.0, 70.0, 200.0, 130.0, 300.0]
    family = make_family("hue-rotation", angles, hues, ((0.0, 0.0), (180.0, 180.0)))
    shown = coloured(hues, [angles[0] + 100, *angles[1:]])
    found = {entry.axis: entry for entry in verify_poses(family, [shown])}
    assert found["rotation"].members[0].error == pytest.approx(100, abs=0.5)


def test_where_the_drawing_repeats_a_half_turn_is_no_error() -> None:
    hues, angles = [10.0, 80.0, 150.0, 200.0, 300.0], [20.0, 70.0, 200.0, 130.0, 300.0]
    family = make_family("hue-rotation", angles, hues, ((0.0, 0.0),))
    turned = [hues[0] + 180, *hues[1:]], [angles[0] + 180, *angles[1:]]
    once = coloured(*turned)
    # Of a drawing that is another after half a turn it is, of one that is the same it cannot be seen.
    found = {entry.axis: entry for entry in verify_poses(family, [once])}
    assert abs(found["rotation"].members[0].error) == pytest.approx(180, abs=0.5)
    n_hues, n_angles, _ = once.responses.shape
    again = once.responses + np.roll(once.responses, (n_hues // 2, n_angles // 2), axis=(0, 1))
    twice = replace(once, responses=again)
    found = {entry.axis: entry for entry in verify_poses(family, [twice])}
    assert [(e.n_measured, e.n_outliers) for e in found.values()] == [(5, 0), (5, 0)]
    # By chance, too, more agree with what is known up to half a turn.
    of_the_family = make_family("hue-rotation", angles, hues, ((0.0, 0.0), (180.0, 180.0)))
    both = {entry.axis: entry for entry in verify_poses(of_the_family, [twice])}
    assert both["hue"].agreement_null_95 == found["hue"].agreement_null_95


# --- maxima of curves --------------------------------------------------------------------------------------


def test_a_maximum_is_read_across_the_end_of_the_circle() -> None:
    # Of 256 places between the samples the last one is 358.6 degrees.
    assert peak_deg(bump(16, 358.9), 360.0) == pytest.approx(358.9, abs=0.05)


def test_the_finest_wave_that_samples_hold_counts_once() -> None:
    fine = np.radians(np.arange(0, 360, 0.01))
    curve = np.cos(fine - 0.5) + 0.2 * np.cos(2 * fine)
    expected = np.degrees(fine[curve.argmax()])
    assert peak_deg(curve[::9000], 360.0) == pytest.approx(expected, abs=0.2)


def test_two_samples_have_no_maximum_between() -> None:
    assert np.isnan(peak_deg(np.array([1.0, 2.0]), 180.0))


def test_hue_goes_round_once_where_the_drawing_repeats_after_half_a_turn() -> None:
    grid = np.outer(bump(16, 250), bump(8, 100, 180.0))[:, :, None]
    stimulus = next(s for s in CATALOGUE if s.period_deg == 180)
    seen = Shown(stimulus, np.arange(8) * 22.5, np.arange(16) * 22.5, grid)
    assert _torus_peak(seen, 0) == pytest.approx((250, 100), abs=0.5)


def test_the_common_offset_is_taken_around_the_end_of_the_period() -> None:
    assert _common_offset_deg(np.array([88.0, -88.0, 89.0]), 180.0) % 180 == pytest.approx(89.67, abs=0.05)


# --- what drives a family ----------------------------------------------------------------------------------


def test_drives_are_shares_of_each_members_largest_response() -> None:
    first, second = plain(360, POSES, scale=4.0), plain(180, [p % 180 for p in POSES], scale=1.0)
    first.responses[..., 4] = second.responses[..., 4] = 0
    drives = measure_drives([first, second], [0, 1, 4])
    assert drives[0] == pytest.approx([1, 1, 0], abs=0.01)
    assert drives[1] == pytest.approx([0.25, 0.25, 0], abs=0.01)


def test_the_kind_whose_best_drawing_drives_most_is_suggested() -> None:
    first = plain(360, POSES)
    other = next(s for s in CATALOGUE if s.kind != first.stimulus.kind)
    second = dataclasses.replace(first, stimulus=other)
    # Two of the first kind: its better one counts, not their mean.
    drives = np.array([[0.1] * 5, [0.9, 0.8, 0.9, 0.8, 0.9], [0.7] * 5])
    found = suggest_kind([first, first, second], drives)
    assert (found.kind, found.best) == (first.stimulus.kind, 1)
    assert found.words["runner_up"] == second.stimulus.kind
    assert found.words["lead"] == pytest.approx(0.16)
    assert 0.8 <= found.words["drive_low"] <= found.words["drive"] <= found.words["drive_high"] <= 0.9


def test_the_lead_is_over_the_next_best_kind_and_its_interval_over_members() -> None:
    first = plain(360, POSES)
    kinds = list(dict.fromkeys(s.kind for s in CATALOGUE))[:3]
    shown = [
        dataclasses.replace(first, stimulus=next(s for s in CATALOGUE if s.kind == kind)) for kind in kinds
    ]
    drives = np.array([[0.0] * 4, [0.3, 0.3, 1.0, 1.0], [0.2, 0.2, 0.9, 0.9]])
    words = suggest_kind(shown, drives).words
    assert (words["kind"], words["runner_up"]) == (kinds[1], kinds[2])
    # One resample of sixteen holds the lower two alone.
    assert (words["drive_low"], words["drive_high"]) == pytest.approx((0.3, 1.0))
    assert (words["lead"], words["lead_low"], words["lead_high"]) == pytest.approx((0.1, 0.1, 0.1))


def test_the_drive_of_a_drawing_is_that_at_its_best_angle() -> None:
    stimulus = plain(360, POSES).stimulus
    narrow, broad = np.array([[[4.0, 1.0], [0.0, 0.0]]]), np.array([[[3.0, 2.0], [3.0, 2.0]]])
    shown = [Shown(stimulus, np.zeros(2), np.zeros(1), own) for own in (narrow, broad)]
    assert measure_drives(shown, [0, 1]).tolist() == [[1.0, 0.5], [0.75, 1.0]]
