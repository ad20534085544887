"""Poses on synthetic stimuli against planted ones, what is suggested and how surely, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import equiscope
from equiscope.evidence.verify.verification import FamilyVerification, load_verification
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.foundations.errors import EquiscopeError
from equiscope.testing import Planted, planted_network
from hand_made import moved


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_network(seed=2)


@pytest.fixture(scope="module")
def run(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> equiscope.Run:
    out = tmp_path_factory.mktemp("verify") / "run"
    return equiscope.survey(planted.model, transformations=["rotation"], precision="float32", out=out)


@pytest.fixture(scope="module")
def found(planted: Planted, run: equiscope.Run) -> tuple[FamilyVerification, ...]:
    return verify_run(run, planted.model)


@pytest.fixture(scope="module")
def verified(
    planted: Planted, run: equiscope.Run, found: tuple[FamilyVerification, ...]
) -> dict[str, FamilyVerification]:
    truth = {frozenset(f.channels): f.name for f in planted.truth["planted"].families}
    names = {f.id: truth[frozenset(f.channels.tolist())] for f in run.families}
    return {names[entry.family]: entry for entry in found}


def test_planted_poses_are_confirmed(verified: dict[str, FamilyVerification]) -> None:
    assert set(verified) == {"curves", "edges", "lines", "crosses"}
    for name, entry in verified.items():
        assert entry.axis == "rotation"
        assert entry.n_measured == len(entry.members)
        assert entry.n_outliers == 0
        # Drawings are turned exactly, so what is left is the sampling of kernels and of angles.
        assert entry.median_error < 2, name
        assert entry.error_low <= entry.median_error <= entry.error_high


def test_what_drives_a_family_is_suggested_with_its_lead(verified: dict[str, FamilyVerification]) -> None:
    # An arc as wide as its window is hardly told from a V.
    assert verified["curves"].kind in ("curve", "bent_line")
    assert verified["crosses"].kind == "cross"
    # Ridges of a certain width: lines and the waves that fit them are both right.
    assert verified["lines"].kind in ("line", "gabor", "grating")
    for entry in verified.values():
        assert 0 < entry.drive <= 1
        assert entry.drive_low <= entry.drive <= entry.drive_high
        assert entry.runner_up != entry.kind
        assert entry.lead_low <= entry.lead <= entry.lead_high


def test_wrong_poses_are_not_confirmed(planted: Planted, run: equiscope.Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wrong = []
    for family in run.families:
        poses = rng.permutation(family.poses_deg)
        members = tuple(moved(m, angle_deg=float(p)) for m, p in zip(family.members, poses, strict=True))
        wrong.append(dataclasses.replace(family, members=members))
    found = verify_run(dataclasses.replace(run, folder=tmp_path, families=tuple(wrong)), planted.model)
    assert max(entry.median_error for entry in found) > 10
    assert sum(entry.n_outliers for entry in found) > 4


def test_what_was_verified_is_read_back(run: equiscope.Run, found: tuple[FamilyVerification, ...]) -> None:
    assert repr(load_verification(run.folder)) == repr(found)
    assert [entry.family for entry in found] == [family.id for family in run.families]


def test_nothing_is_read_where_nothing_was_verified(tmp_path: Path) -> None:
    assert load_verification(tmp_path) == ()


def test_another_network_is_refused(run: equiscope.Run) -> None:
    with pytest.raises(EquiscopeError, match="has other weights than the network of"):
        verify_run(run, planted_network(seed=3).model)
