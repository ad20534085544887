"""What visualisations say of themselves, and which need not be made again: figures by hand, no network."""

from __future__ import annotations

import dataclasses
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch

import equiscope
from equiscope.evidence.featurevis.families import FamilyVisualisation, _assign, _same_poses
from equiscope.evidence.featurevis.poses import poses_of
from equiscope.evidence.featurevis.storage import load_visualisations, save_visualisations
from equiscope.evidence.featurevis.units import Visualisation, over_natural
from equiscope.evidence.featurevis.whole_run import _is_same, _is_whole, _saving
from equiscope.families.family import Family
from hand_made import a_family, a_member


def make_family(n: int = 3, name: str = "l-rotation-1") -> Family:
    return a_family("rotation", [a_member("l", i, angle_deg=90.0 * i) for i in range(n)], name=name)


def make_visualisation(responses: list[list[float]], **figures: object) -> FamilyVisualisation:
    n = len(responses)
    own = FamilyVisualisation(
        "l-rotation-1", "rotation", ("l",) * n, np.arange(n), torch.zeros(3, 4, 4), (torch.zeros(3, 4, 4),) * n,
        np.array(responses), np.full(n, 2.0), np.full(n, 2.0), np.zeros((1, n)), np.eye(n, dtype=bool), 8, 0,
    )  # fmt: skip
    return dataclasses.replace(own, **figures)


# --- figures -----------------------------------------------------------------------------------------------


def test_a_response_is_compared_with_a_natural_one_that_is_above_zero() -> None:
    found = over_natural(np.array([3.0, 3.0, 3.0, -1.0]), np.array([2.0, 0.0, nan, 4.0]))
    assert found == pytest.approx([1.5, nan, nan, -0.25], nan_ok=True)
    # Nor is one below 0 a measure of anything.
    assert np.isnan(over_natural(np.array([-3.0]), np.array([-2.0]))).all()


def test_elsewhere_is_the_mean_over_other_poses_after_the_rectifier() -> None:
    shown = make_visualisation([[4.0, 2.0, -6.0], [1.0, 2.0, 3.0], [1.0, 1.0, -1.0]])
    assert shown.own.tolist() == [4.0, 2.0, -1.0]
    assert shown.is_active.tolist() == [True, True, False]
    # A member that is not active has no own response to be a share of.
    assert shown.elsewhere == pytest.approx([1 / 4, 2 / 2, nan], nan_ok=True)
    # The second answers more to the third's copy.
    assert shown.is_best_at_own.tolist() == [True, False, False]
    # To be inhibited least by one's own copy is not to answer to it.
    assert make_visualisation([[-1.0, -2.0], [0.5, 1.0]]).is_best_at_own.tolist() == [False, True]


def test_a_copy_at_the_same_pose_is_no_other() -> None:
    same = np.eye(3, dtype=bool)
    same[0, 1] = same[1, 0] = True
    shown = make_visualisation([[4.0, 5.0, 1.0], [2.0, 2.0, 1.0], [0.5, 0.5, 1.0]], same_pose=same)
    assert shown.is_best_at_own.tolist() == [True, True, True]
    assert shown.elsewhere == pytest.approx([1 / 4, 1 / 2, 0.5])
    alone = make_visualisation([[4.0, 5.0], [2.0, 2.0]], same_pose=np.ones((2, 2), dtype=bool))
    assert np.isnan(alone.elsewhere).all()


def test_strength_divides_by_each_members_scale() -> None:
    shown = make_visualisation(
        [[4.0, 0.0], [0.0, 1.0]], scale=np.array([2.0, 0.5]), null=np.array([[1.0, 0.5]])
    )
    assert shown.strength == pytest.approx(2.0)
    assert shown.null_strength == pytest.approx([0.75])


def test_wrong_poses_are_those_of_the_family_dealt_out_anew() -> None:
    for n in range(3, 7):
        own, *wrong = _assign(make_family(n), 20, 0)
        assert own.tolist() == list(range(n))
        for dealt in wrong:
            assert sorted(dealt.tolist()) == list(range(n))
            # Nobody's own pose all over is no wrong one.
            assert dealt.tolist() != list(range(n))
    # A pair has one other order, which is a symmetry of it: both get one pose.
    assert [dealt.tolist() for dealt in _assign(make_family(2), 2, 0)] == [[0, 1], [0, 0], [0, 0]]


# --- what is there already -------------------------------------------------------------------------------------------


def make_layer(channels: list[int], steps: int = 8, seed: int = 0) -> Visualisation:
    n = len(channels)
    return Visualisation(
        "l",
        np.array(channels),
        torch.zeros(n, 3, 4, 4),
        np.zeros(n),
        np.ones(n),
        np.full(n, nan),
        steps,
        seed,
    )


@pytest.mark.parametrize(
    ("found", "is_whole"),
    [
        (make_layer([0, 1, 2]), True),
        (make_layer([0, 1]), False),
        (make_layer([0, 2, 1]), False),
        (make_layer([0, 1, 2], steps=9), False),
        (make_layer([0, 1, 2], seed=1), False),
    ],
    ids=["whole", "some units", "another order", "other steps", "another seed"],
)
def test_a_layer_is_made_again_unless_it_is_the_same(found: Visualisation, is_whole: bool) -> None:
    assert _is_whole(found, 3, steps=8, seed=0) == is_whole


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({}, True),
        ({"steps": 9}, False),
        ({"seed": 1}, False),
        ({"null": np.zeros((2, 3))}, False),
        ({"channels": np.array([0, 1, 3])}, False),
        ({"layers": ("l", "l", "m")}, False),
    ],
    ids=["same", "steps", "seed", "null draws", "channels", "layers"],
)
def test_a_family_is_made_again_unless_it_is_the_same(changes: dict[str, object], is_same: bool) -> None:
    found = make_visualisation(np.eye(3).tolist(), **changes)
    assert _is_same(found, make_family(), steps=8, n_null=1, seed=0) == is_same
    assert not _is_same(None, make_family(), steps=8, n_null=1, seed=0)


def test_families_are_written_however_the_block_ends_in_the_runs_order(tmp_path: Path) -> None:
    families = (make_family(name="l-rotation-1"), make_family(name="l-rotation-2"))
    run = equiscope.Run(tmp_path, {}, (), families)
    kept = {
        name: dataclasses.replace(make_visualisation(np.eye(3).tolist()), family=name)
        for name in ("l-rotation-2", "of an earlier run", "l-rotation-1")
    }

    def fail_after_one() -> None:
        with _saving(run, kept) as on_family:
            on_family()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_after_one()
    assert list(load_visualisations(tmp_path).families) == ["l-rotation-1", "l-rotation-2"]


def test_nothing_is_written_where_nothing_was_made(tmp_path: Path) -> None:
    with _saving(equiscope.Run(tmp_path, {}, (), ()), {}):
        pass
    assert not list(tmp_path.iterdir())


def test_a_layer_that_is_called_like_the_file_of_families_has_one_of_its_own(tmp_path: Path) -> None:
    layer = dataclasses.replace(make_layer([0]), layer="families")
    save_visualisations(tmp_path, [layer], [make_visualisation(np.eye(3).tolist())])
    found = load_visualisations(tmp_path)
    assert list(found.layers) == ["families"]
    assert list(found.families) == ["l-rotation-1"]


# --- poses -------------------------------------------------------------------------------------------------


def test_duplicates_share_a_pose_either_way() -> None:
    family = dataclasses.replace(make_family(3), duplicates=((0, 2),))
    assert _same_poses(family).tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_the_largest_member_is_shown_as_it_is_and_an_unknown_pose_is_none() -> None:
    members = [a_member("l", i, octaves=own) for i, own in enumerate((0.5, 1.5, nan))]
    assert [pose["octaves"] for pose in poses_of(a_family("scale", members))] == [-1.0, 0.0, -1.5]
