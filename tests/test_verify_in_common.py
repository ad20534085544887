"""What a drawing leaves free is one choice for a family: a colour contrast's hue, a curve that all members share."""

from __future__ import annotations

import dataclasses
import json
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from equiscope.evidence.verify.agreement import Agreement, measure_agreement
from equiscope.evidence.verify.common_choice import choose_in_common
from equiscope.evidence.verify.common_curve import peak_deg, read_poses_deg
from equiscope.evidence.verify.drawn.catalogue import show_catalogue
from equiscope.evidence.verify.drawn.shown import Shown
from equiscope.evidence.verify.poses import verify_poses
from equiscope.evidence.verify.verification import (
    FamilyVerification,
    MemberVerification,
    load_verification,
    save_verification,
)
from equiscope.evidence.verify.witness import ask_drawings
from equiscope.families.family import Family
from equiscope.foundations.statistics import circular_difference_deg, circular_median_deg
from equiscope.models.geometry import find_geometry
from equiscope.reports.views.verification.words import synthetic_rows
from equiscope.stimuli.drawn import SyntheticStimulus
from equiscope.testing import planted_network
from hand_made import a_family, a_member
from report_document import make_verification

Floats = NDArray[np.float64]

PLANTED = planted_network(kind="colour")
TRUTH = {family.name: family for family in PLANTED.truth["planted"].families}
TURNS = np.arange(32) * 11.25


@pytest.fixture(scope="module")
def shown() -> list[Shown]:
    geometry = find_geometry(PLANTED.model, ["planted"])["planted"]
    return show_catalogue(PLANTED.model, geometry, torch.float32)


def family_of(channels: tuple[int, ...], poses_deg: tuple[float, ...], turns: int = 1) -> Family:
    members = [a_member("planted", c, angle_deg=p) for c, p in zip(channels, poses_deg, strict=True)]
    return a_family("rotation", members, turns=turns)


def bump(at_deg: float, sharpness: float = 2.0) -> Floats:
    return np.asarray(np.exp(sharpness * (np.cos(np.radians(TURNS - at_deg)) - 1)))


# --- one hue for all ---------------------------------------------------------------------------------------


def test_units_of_one_colour_contrast_are_confirmed(shown: list[Shown]) -> None:
    for name in ("edges", "curves"):
        truth = TRUTH[name]
        (entry,) = verify_poses(family_of(truth.channels, truth.poses_deg), shown)
        assert entry.n_measured == len(truth.channels)
        assert entry.n_outliers == 0, name
        assert entry.median_error < 2
        assert entry.agreement == 1.0 > entry.agreement_null_95
        assert ask_drawings([entry], entry.family).confirms


def test_a_hue_of_each_members_own_puts_them_half_a_turn_off(shown: list[Shown]) -> None:
    """The impostor rule: each member at the best of all hues, which turns a contrast by half a turn for nothing."""
    truth = TRUTH["edges"]
    contrast = next(own for own in shown if own.stimulus.kind == "colour_contrast")
    best = contrast.responses[:, :, list(truth.channels)].max(0)
    seen = np.array([peak_deg(best[:, k], 360.0) for k in range(best.shape[1])])
    away = circular_difference_deg(seen, np.array(truth.poses_deg))
    errors = circular_difference_deg(away, circular_median_deg(away))
    assert (np.abs(errors) > 150).any()


def test_what_members_would_choose_alone_is_told_beside(shown: list[Shown]) -> None:
    truth = TRUTH["edges"]
    (entry,) = verify_poses(family_of(truth.channels, truth.poses_deg), shown)
    assert {member.own_stimulus.split(",")[0] for member in entry.members} == {entry.stimulus.split(",")[0]}
    assert all(0.8 < member.drive <= 1 for member in entry.members)
    # It is told, and takes no part: errors are those of the common hue.
    assert entry.n_outliers == 0
    assert np.isfinite([member.own_error for member in entry.members]).all()


def test_units_that_are_no_copies_are_contradicted(shown: list[Shown]) -> None:
    """The impostor is a family of drawn copies, each called by the pose of another one."""
    truth = TRUTH["edges"]
    wrong = tuple(truth.poses_deg[index] for index in (3, 0, 5, 1, 4, 2))
    (entry,) = verify_poses(family_of(truth.channels, wrong), shown)
    assert entry.agreement <= entry.agreement_null_95
    witness = ask_drawings([entry], entry.family)
    assert (witness.confirms, witness.contradicts) == (False, True)


def test_the_choice_knows_no_pose(shown: list[Shown]) -> None:
    """Turning what one member answers, in all drawings alike, changes neither the choice nor a drive."""
    channels = list(TRUTH["curves"].channels)
    turned = []
    for own in (entry for entry in shown if entry.stimulus.period_deg == 360):
        responses = own.responses.copy()
        for number, channel in enumerate(channels):
            responses[:, :, channel] = np.roll(responses[:, :, channel], 3 * number, axis=1)
        turned.append(dataclasses.replace(own, responses=responses))
    plain = choose_in_common(
        [own for own in shown if own.stimulus.period_deg == 360], channels, along_hue=False
    )
    other = choose_in_common(turned, channels, along_hue=False)
    assert plain.words == other.words
    assert plain.drives.tolist() == other.drives.tolist()


def test_an_angle_is_common_where_hues_are_read() -> None:
    contrast = SyntheticStimulus(
        "colour_contrast", (("softness_px", 0.5), ("hue_deg", 0.0), ("chroma_strength", 0.4))
    )
    hues = [10.0, 100.0, 250.0]
    steps = np.arange(16) * 22.5
    upright = np.stack([np.exp(np.cos(np.radians(steps - hue))) for hue in hues], axis=1)
    upside_down = np.stack([np.exp(np.cos(np.radians(steps - hue - 180))) for hue in hues], axis=1)
    # The second answers to the turned drawing a little more than as it is.
    upside_down[:, 1] *= 1.02
    responses = np.stack([upright, upside_down], axis=1)
    family = a_family("hue", [a_member("layer", i, hue_deg=hue) for i, hue in enumerate(hues)])
    (entry,) = verify_poses(family, [Shown(contrast, np.array([0.0, 180.0]), steps, responses)])
    assert entry.stimulus.endswith("turned by 180°")
    assert entry.median_error < 0.5
    assert [abs(member.own_error) > 150 for member in entry.members] == [False, True, False]


# --- one curve for all -------------------------------------------------------------------------------------


def test_curves_with_two_tops_are_laid_over_each_other() -> None:
    poses = np.array([0.0, 40.0, 130.0, 200.0, 300.0])
    # A second top, 140° on, that is the higher one for every other member.
    curves = np.stack(
        [bump(p, 8) + (1.1 if i % 2 else 0.9) * bump(p + 140, 8) for i, p in enumerate(poses)], 1
    )
    tops = np.array([peak_deg(curves[:, k], 360.0) for k in range(5)])
    assert (np.abs(circular_difference_deg(tops, poses)) > 100).sum() == 2
    read = read_poses_deg(curves[None], np.ones(5), 360.0)
    away = circular_difference_deg(read, poses)
    assert np.abs(circular_difference_deg(away, away[0])).max() < 1.0


def test_a_member_that_is_hardly_driven_has_little_say() -> None:
    """Twelve that hardly answer have one top, and would have the second member laid by its higher top, 140° off."""
    poses = np.array([0.0, 90.0, 200.0])
    heights = ((1.0, 0.8), (0.8, 1.0), (1.0, 0.8))
    driven = [
        first * bump(pose, 8) + second * bump(pose + 140, 8)
        for pose, (first, second) in zip(poses, heights, strict=True)
    ]
    curves = np.stack([*driven, *(0.01 * bump(30.0 * k, 8) for k in range(12))], axis=1)
    drives = np.array([1.0] * 3 + [0.01] * 12)
    read = read_poses_deg(curves[None], drives, 360.0)
    assert np.abs(circular_difference_deg(read[:3] - read[0], poses)).max() < 3.0
    equal = read_poses_deg(curves[None], np.ones(15), 360.0)
    assert np.abs(circular_difference_deg(equal[:3] - equal[0], poses)).max() > 100


def test_curves_that_say_nothing_have_no_pose() -> None:
    # The third varies by no more than rounding does.
    rounded = 3.0 + 1e-13 * np.random.default_rng(0).random(32)
    curves = np.stack([bump(50.0), np.zeros(32), rounded, bump(90.0)], axis=1)
    read = read_poses_deg(curves[None], np.ones(4), 360.0)
    assert np.isnan(read).tolist() == [False, True, True, False]
    assert float(read[3] - read[0]) == pytest.approx(40.0, abs=0.2)
    assert np.isnan(read_poses_deg(np.zeros((1, 32, 2)), np.zeros(2), 360.0)).all()


def test_all_drawings_that_are_alike_are_read_together() -> None:
    """Each drawing alone has two tops of one height; together they have one."""
    poses = np.array([0.0, 70.0, 150.0, 260.0])
    first = np.stack([bump(p, 8) + bump(p + 180, 8) for p in poses], axis=1)
    second = np.stack([bump(p, 8) + bump(p + 100, 8) for p in poses], axis=1)
    read = read_poses_deg(np.stack([first, second]), np.ones(4), 360.0)
    assert np.abs(circular_difference_deg(read - read[0], poses)).max() < 1.0


# --- how much agrees ---------------------------------------------------------------------------------------

POSES = np.array([0.0, 35.0, 100.0, 150.0, 220.0, 300.0])


def agreement_of(seen: Floats, poses: Floats, drives: Floats | None = None) -> Agreement:
    def errors_at(own: Floats) -> Floats:
        away = circular_difference_deg(seen, own)
        return circular_difference_deg(away, circular_median_deg(away[np.isfinite(away)]))

    return measure_agreement(
        errors_at, poses, np.ones(len(poses)) if drives is None else drives, 20.0, (0.0, 360.0)
    )


def test_members_count_by_their_drive() -> None:
    seen = POSES + np.array([0, 0, 0, 0, 0, 90])
    assert agreement_of(seen, POSES).share == pytest.approx(5 / 6)
    assert agreement_of(seen, POSES, np.array([1, 1, 1, 1, 0.5, 0.2])).share == pytest.approx(4.5 / 4.7)


def test_the_null_holds_what_chance_gives() -> None:
    """Of random poses at most one family in ten is above the null; the share is discrete, so mostly fewer are."""
    rng = np.random.default_rng(5)
    for n in (3, 5, 8):
        above = 0
        for _ in range(60):
            found = agreement_of(rng.uniform(0, 360, n), rng.uniform(0, 360, n))
            above += found.share > found.null_95
        assert above <= 6, n
        true = agreement_of(rng.normal(0, 3, n) + (poses := rng.uniform(0, 360, n)), poses)
        assert true.share == 1.0 > true.null_95, n


def test_members_that_share_one_pose_prove_nothing_by_it() -> None:
    """The impostor of the random null: drawings that give all members one pose, as photographs do."""
    poses = np.array([0.0, 2.0, 4.0, 1.0])
    assert agreement_of(poses + 7, poses).null_95 == 1.0


def test_two_members_are_too_few_to_stand_out() -> None:
    found = agreement_of(np.array([10.0, 100.0]), np.array([0.0, 90.0]))
    assert (found.share, found.null_95) == (1.0, 1.0)


def test_members_that_did_not_fire_are_not_counted() -> None:
    seen = POSES.copy()
    seen[[0, 3]] = nan
    found = agreement_of(seen, POSES, np.array([0.0, 1, 1, 0, 1, 1]))
    assert found.share == 1.0
    for fired in ([], [2]):
        alone = np.full(6, nan)
        alone[fired] = 0.0
        assert np.isnan(dataclasses.astuple(agreement_of(alone, POSES))).all()


def test_the_interval_is_of_members_with_their_drives() -> None:
    found = agreement_of(POSES + np.array([0, 0, 0, 0, 90, 200]), POSES)
    assert found.share == pytest.approx(4 / 6)
    # Resamples of six: in 95 of 100 between two of them and all agree.
    assert (found.low, found.high) == pytest.approx((2 / 6, 1.0))
    exact = agreement_of(POSES, POSES)
    assert (exact.low, exact.high) == (1.0, 1.0)


# --- the witness -------------------------------------------------------------------------------------------


def an_entry(**figures: object) -> FamilyVerification:
    entry = FamilyVerification(
        "conv1-rotation-1", "rotation", "rotation", "edge", 0.9, 0.8, 1.0, "line", 0.2, 0.1, 0.3,
        "edge, softness 2 px", 4.0, 2.0, 6.0, 0, 5, nan, nan, (MemberVerification("conv1", 0, 0.0, 1.0, 1.0),),
        agreement=0.9, agreement_low=0.7, agreement_high=1.0, agreement_null_95=0.6, read_drive=0.85,
    )  # fmt: skip
    return dataclasses.replace(entry, **figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, (True, False)),
        ({"agreement": 0.4}, (False, True)),
        ({"agreement": 0.5, "agreement_null_95": 0.2}, (False, True)),
        # More than half agree, and chance does as well: neither.
        ({"agreement": 0.6}, (False, False)),
        ({"agreement": 0.4, "read_drive": 0.79}, (False, False)),
        ({"read_drive": 0.79}, (False, False)),
        ({"agreement": nan}, (False, False)),
    ],
)
def test_the_witness_speaks_where_it_can(figures: dict[str, float], said: tuple[bool, bool]) -> None:
    witness = ask_drawings([an_entry(**figures)], "conv1-rotation-1")
    assert (witness.confirms, witness.contradicts) == said
    assert bool(witness.reason) == ("read_drive" in figures or isnan(witness.agreement))


def test_a_family_with_two_axes_is_as_good_as_the_worse_of_them() -> None:
    both = [an_entry(), an_entry(axis="hue", agreement=0.3)]
    assert ask_drawings(both, "conv1-rotation-1").agreement == 0.3
    assert ask_drawings([both[0], an_entry(axis="hue", agreement=nan)], "conv1-rotation-1").reason


def test_records_of_earlier_versions_say_nothing_of_agreement(tmp_path: Path) -> None:
    save_verification(tmp_path, [an_entry()])
    assert load_verification(tmp_path) == (an_entry(),) or isnan(load_verification(tmp_path)[0].score)
    path = tmp_path / "verification.json"
    document = json.loads(path.read_text())
    entry = document["verifications"][0]
    for key in [key for key in entry if key.startswith("agreement") or key == "read_drive"]:
        del entry[key]
    for key in ("drive", "own_stimulus", "own_error"):
        del entry["members"][0][key]
    path.write_text(json.dumps(document))
    (old,) = load_verification(tmp_path)
    assert isnan(old.agreement)
    assert isnan(old.members[0].drive)
    assert ask_drawings([old], old.family).reason


# --- on the page -------------------------------------------------------------------------------------------


def test_the_page_says_how_much_agrees_and_what_each_would_choose() -> None:
    members = [{"own_stimulus": f"edge, softness {size} px", "own_error": error} for size, error in
               ((1, 3.0), (2, -170.0), (2, None))]  # fmt: skip
    figures = {"agreement": 0.75, "agreement_low": 0.5, "agreement_high": 1.0, "agreement_null_95": 0.6}
    entry = make_verification("rotation", members=members, **figures)
    family: Any = {"transformation": "rotation", "verification": [entry, make_verification("rotation")]}
    said, earlier = synthetic_rows(family)
    assert said["agrees"] == "75 % agree by drive (50 % to 100 %), by chance 60 %"
    assert "would choose 2 drawings of this kind, and 1 of 2 would be far off" in said["own"]
    # What an earlier version did not measure is not told.
    assert (earlier["agrees"], earlier["own"]) == (None, None)
