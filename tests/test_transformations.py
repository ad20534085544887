"""What a transformation is: poses and their axes, what the base class does of itself, the list of all."""

from __future__ import annotations

import copy
import math
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from equiscope import transformations
from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations import (
    ALL,
    Pose,
    Step,
    Switch,
    Transformation,
    Turn,
    Words,
    alone,
    find,
    in_order,
    registered,
    standard_names,
    surveyed_names,
    with_needed,
)
from equiscope.transformations.contrast import INVERTED
from equiscope.transformations.groups import CyclicGroup, Group, Involution, Segment
from equiscope.transformations.hue import HUE
from equiscope.transformations.pixels import crop_size_px
from equiscope.transformations.rotation import ANGLE
from equiscope.transformations.spaces import Circle, Line, Pair

# Poses --------------------------------------------------------------------------------------------------------------


def test_a_pose_is_a_read_only_mapping_that_can_be_a_key() -> None:
    pose = Pose({"angle_deg": 45.0}, is_mirrored=True)
    assert dict(pose) == {"angle_deg": 45.0, "is_mirrored": True}
    assert (len(pose), list(pose)) == (2, ["angle_deg", "is_mirrored"])
    assert math.isnan(pose.get("hue_deg", math.nan))
    with pytest.raises(KeyError):
        pose["hue_deg"]
    with pytest.raises(TypeError, match="item assignment"):
        pose["angle_deg"] = 1.0  # type: ignore[index]
    # The order of the coordinates is nothing of the pose.
    same = Pose(is_mirrored=True, angle_deg=45.0)
    assert pose == same
    assert len({pose: 1, same: 2}) == 1
    assert pose != Pose(angle_deg=45.0, is_mirrored=False)


def test_what_a_pose_was_made_of_may_change_without_it() -> None:
    values = {"angle_deg": 45.0}
    pose = Pose(values)
    values["angle_deg"] = 90.0
    assert pose["angle_deg"] == 45.0


def test_poses_are_worded_copied_and_sent_to_other_processes() -> None:
    pose = Pose(angle_deg=45.0)
    assert repr(pose) == "Pose({'angle_deg': 45.0})"
    assert copy.deepcopy(pose) is pose
    assert pickle.loads(pickle.dumps(pose)) == pose  # noqa: S301 -- just written


def test_a_pose_is_read_from_a_document() -> None:
    found = Pose.from_document({"angle_deg": None, "octaves": 1, "is_mirrored": True})
    assert math.isnan(found["angle_deg"])
    assert (found["octaves"], found["is_mirrored"]) == (1, True)
    assert Pose.from_document({}) == Pose()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([45.0], "^an object of coordinates$"),
        (None, "^an object of coordinates$"),
        ({"angle_deg": "45"}, "numbers, or null, .*'angle_deg' among them"),
        ({"angle_deg": [45.0]}, "numbers, or null"),
        ({"angle_deg": math.inf}, "numbers, or null"),
        ({"angle_deg": 45.0, "x" * 100: "y"}, "'" + "x" * 60 + "' among them"),
    ],
)
def test_what_is_no_pose_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pose.from_document(value)


# Axes ---------------------------------------------------------------------------------------------------------------

TURN, COLOUR = Turn("angle_deg", "angle"), Turn("hue_deg", "hue", prefix="hue ")
SIZE, HAND = Step("octaves", "size"), Switch("is_mirrored", "mirrored")


@pytest.mark.parametrize(
    ("axis", "value", "expected"),
    [
        (TURN, 45.0, "45°"),
        (TURN, 359.6, "0°"),
        (TURN, -10.0, "350°"),
        (TURN, None, "–"),
        (TURN, math.nan, "–"),
        (COLOUR, 120.4, "hue 120°"),
        (COLOUR, None, "hue –"),
        (SIZE, 0.5, "+0.50 oct."),
        (SIZE, -0.25, "−0.25 oct."),
        (SIZE, 0.0, "0 oct."),
        (SIZE, -0.001, "0 oct."),
        (SIZE, math.inf, "– oct."),
        (HAND, True, "mirrored"),
        (HAND, False, ""),
        (HAND, None, ""),
    ],
)
def test_coordinates_are_worded(axis: Any, value: float | None, expected: str) -> None:
    assert axis.text(value) == expected


def test_a_turn_is_worded_within_its_period() -> None:
    assert TURN.text(100.0, 90.0) == "10°"
    assert TURN.text(89.7, 90.0) == "0°"


@pytest.mark.parametrize(
    ("axis", "value", "expected"),
    [
        (TURN, 3.14159, "3.1°"),
        (TURN, -0.01, "0.0°"),
        (TURN, -3.0, "−3.0°"),
        (TURN, None, "–"),
        (SIZE, 0.126, "0.13 octaves"),
        (SIZE, -0.126, "−0.13 octaves"),
        (SIZE, math.nan, "–"),
        (Step("shift_px", "shift", unit="px"), 2.0, "2.00 px"),
        (HAND, 1.0, "–"),
    ],
)
def test_distances_are_worded(axis: Any, value: float | None, expected: str) -> None:
    assert axis.distance_text(value) == expected


def test_results_about_an_axis_are_called_by_its_key() -> None:
    assert [axis.key for axis in (TURN, Turn("angle_deg", "angle", check="rotation"), COLOUR)] == [
        "angle",
        "rotation",
        "hue",
    ]
    assert [Step("octaves", "size", check="scale").key, SIZE.key, HAND.key, INVERTED.key] == [
        "scale",
        "size",
        "pair",
        "pair",
    ]


# A transformation of one's own --------------------------------------------------------------------------------------

WORDS = Words(steps="lit", back="darkened", poses="Light.")
DARKER = Switch("is_darker", "darker", lambda pictures, is_on: pictures * (0.5 if is_on else 1.0))


class Darken(Transformation):
    name, space, words, simplicity = "darken", Pair(DARKER), WORDS, 5

    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        return Involution(self.name)


class Gamma(Transformation):
    name, words, simplicity = "gamma", WORDS, 6
    space = Line(Step("stops", "light", lambda pictures, value: pictures * 2.0**value))

    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        return Segment((-1.0, 0.0, 1.0), self.name)


class Tint(Transformation):
    name, words, simplicity = "tint", WORDS, 7
    space = Circle(Turn("tint_deg", "tint", lambda pictures, value: pictures + value))

    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        return CyclicGroup(4, self.name)


class Mute(Transformation):
    """Says nothing of how it acts on pictures."""

    name, space, words, simplicity = "mute", Circle(Turn("mute_deg", "mute")), WORDS, 8

    def group(self, n_angles: int, patch_px: int | None = None) -> Group:
        return CyclicGroup(4, self.name)


def crops_of(size_px: int, n: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures with room about the middle, where that is, and the middles themselves."""
    side = crop_size_px(size_px)
    crops = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))
    first = (side - size_px) // 2
    centre = torch.full((n, 2), first + (size_px - 1) / 2, dtype=torch.float64)
    return crops, centre, crops[:, :, first : first + size_px, first : first + size_px]


def test_a_switch_shows_a_stimulus_off_and_on() -> None:
    crops, centres, middle = crops_of(7)
    shown = Darken().show(crops, centres, Darken().group(16), [], 7)
    assert shown.shape == (3, 2, 3, 7, 7)
    assert torch.allclose(shown[:, 0], middle, atol=1e-6)
    assert torch.allclose(shown[:, 1], 0.5 * middle, atol=1e-6)


def test_a_line_shows_a_stimulus_at_each_step() -> None:
    crops, centres, middle = crops_of(7)
    shown = Gamma().show(crops, centres, Gamma().group(16), [], 7)
    for step, factor in enumerate((0.5, 1.0, 2.0)):
        assert torch.allclose(shown[:, step], factor * middle, atol=1e-6)


def test_a_circle_shows_each_stimulus_from_its_own_start() -> None:
    crops, centres, middle = crops_of(7)
    starts = np.array([0.0, 22.5, 0.0])
    shown = Tint().show(crops, centres, Tint().group(16), [starts], 7)
    for stimulus, start in enumerate(starts.tolist()):
        for element in range(4):
            assert torch.allclose(
                shown[stimulus, element], middle[stimulus] + start + 90 * element, atol=1e-4
            )


def test_one_stimulus_is_brought_from_its_own_pose_to_others() -> None:
    crops, centres, middle = crops_of(7)
    centre = tuple(centres[0].tolist())
    tints = Tint().show_at(
        crops[0], centre, Pose(tint_deg=30.0), [Pose(tint_deg=30.0), Pose(tint_deg=75.0)], 7
    )
    assert torch.allclose(tints, torch.stack([middle[0], middle[0] + 45.0]), atol=1e-4)
    # Without a pose of its own it is at none.
    assert torch.allclose(
        Tint().show_at(crops[0], centre, Pose(), [Pose(tint_deg=9.0)], 7)[0], middle[0] + 9, atol=1e-5
    )
    wanted = [Pose(is_darker=False), Pose(is_darker=True)]
    for own, factors in ((False, (1.0, 0.5)), (True, (0.5, 1.0))):
        shown = Darken().show_at(crops[0], centre, Pose(is_darker=own), wanted, 7)
        assert torch.allclose(shown, torch.stack([factor * middle[0] for factor in factors]), atol=1e-6)


def test_a_transformation_that_does_not_say_how_it_acts_is_refused() -> None:
    crops, centres, _ = crops_of(7)
    with pytest.raises(
        EquiscopeError, match="mute does not say how it acts on pictures: give its axis an `act`"
    ):
        Mute().show(crops, centres, Mute().group(16), [np.zeros(3)], 7)
    with pytest.raises(EquiscopeError, match=r"mute does not say .*give the class a `show_at`"):
        Mute().show_at(crops[0], (10.0, 10.0), Pose(), [Pose(mute_deg=0.0)], 7)


def test_what_a_transformation_does_not_say_is_the_plainest() -> None:
    own = Darken()
    assert own.stimuli_per_half(8) == 1
    assert own.eligible(SimpleNamespace()) is None  # type: ignore[arg-type]
    assert own.none_eligible(0) == "0 units can be searched"
    assert own.change(torch.zeros(4, 3, 5, 5)).tolist() == [1.0] * 4
    assert own.crop_px(11, own.group(16)) == own.crop_px_at(Pose(), [], 11) == crop_size_px(11)
    assert own.change_kernels(np.ones((2, 3, 3)), np.arange(3.0), np.arange(3.0)) is None
    assert (own.needs, own.is_standard, own.is_surveyed, own.is_quick, own.least_units) == (
        (),
        True,
        True,
        False,
        1,
    )
    assert math.isnan(own.least_change)
    assert repr(own) == "<Darken: darken>"


@pytest.mark.parametrize("part", ["name", "space", "words", "simplicity"])
def test_an_object_that_lacks_a_part_is_no_transformation(part: str) -> None:
    parts = {"name": "x", "space": Pair(DARKER), "words": WORDS, "simplicity": 1}
    del parts[part]
    with pytest.raises(
        EquiscopeError, match=f"^Own is no whole transformation: it lacks {part}; see equiscope"
    ):
        type("Own", (Transformation,), parts)


def test_an_object_without_elements_cannot_be_made() -> None:
    parts = {"name": "x", "space": Pair(DARKER), "words": WORDS, "simplicity": 1}
    own = type("Own", (Transformation,), parts)
    with pytest.raises(TypeError, match="group"):
        own()


# How all are worded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pose", "expected"),
    [
        ("rotation", {"angle_deg": 45.0}, "45°"),
        ("rotation", {}, "–"),
        ("hue", {"hue_deg": 120.0}, "hue 120°"),
        ("hue-rotation", {"hue_deg": 120.0, "angle_deg": 45.0}, "45°, hue 120°"),
        ("dihedral", {"angle_deg": 45.0, "is_mirrored": True}, "45° mirrored"),
        ("dihedral", {"angle_deg": 45.0, "is_mirrored": False}, "45°"),
        ("reflection", {"is_mirrored": False}, "as it is"),
        ("contrast", {"is_inverted": True}, "inverted"),
        ("scale", {"octaves": -0.5}, "−0.50 oct."),
        ("rotation-scale", {"angle_deg": 45.0, "octaves": 0.5}, "45°, +0.50 oct."),
    ],
)
def test_poses_are_worded(name: str, pose: dict[str, float], expected: str) -> None:
    assert find(name).pose_text(pose) == expected


def test_only_the_first_turn_has_the_period_of_the_family() -> None:
    assert find("hue-rotation").pose_text({"hue_deg": 200.0, "angle_deg": 200.0}, 180.0) == "20°, hue 200°"


@pytest.mark.parametrize(
    ("name", "distances", "expected"),
    [
        ("rotation", {"angle_deg": 3.0}, "3.0°"),
        ("hue-rotation", {"hue_deg": 5.0, "angle_deg": 3.0}, "3.0° of angle, 5.0° of hue"),
        ("rotation-scale", {"angle_deg": 3.0}, "3.0° of angle, – of size"),
        ("dihedral", {"angle_deg": 3.0}, "3.0°"),
        ("scale", {"octaves": 0.1}, "0.10 octaves"),
        ("reflection", {}, "–"),
    ],
)
def test_disagreements_are_worded(name: str, distances: dict[str, float], expected: str) -> None:
    assert find(name).distance_text(distances) == expected


def test_families_are_called_by_their_size() -> None:
    assert find("rotation").title(8) == "rotation family of 8"
    assert find("reflection").title(2) == "reflection pair"
    assert find("reflection").title(3) == "reflection family of 3"
    assert find("rotation").title(2) == "rotation family of 2"


def turns(*degrees: float, axis: str = "angle_deg", **more: float) -> list[Pose]:
    return [Pose({axis: value}, **more) for value in degrees]


@pytest.mark.parametrize(
    ("name", "stabiliser", "hands", "expected"),
    [
        ("rotation", turns(0.0), (), "none short of a full turn"),
        ("rotation", turns(0.0, 180.0), (), "repeats every 180°"),
        ("rotation", [], (), "none short of a full turn"),
        ("hue", turns(0.0, 180.0, axis="hue_deg"), (), "repeats every 180° of hue"),
        ("rotation-scale", turns(0.0, 180.0, octaves=0.0), (), "repeats every 180°"),
        (
            "dihedral",
            turns(0.0, is_mirrored=False),
            (False, True),
            "none short of a full turn; comes in two hands",
        ),
        ("dihedral", turns(0.0, is_mirrored=False), (True,), "none short of a full turn; comes in two hands"),
        (
            "dihedral",
            turns(0.0, is_mirrored=False),
            (False, False),
            "none short of a full turn; no mirrored copy was found",
        ),
        (
            "dihedral",
            turns(0.0, 180.0, is_mirrored=False) + turns(30.0, 210.0, is_mirrored=True),
            (False,),
            "repeats every 180°; its own mirror image",
        ),
        ("hue-rotation", [Pose(angle_deg=0.0, hue_deg=0.0)], (), "none short of a full turn of both"),
        (
            "hue-rotation",
            [Pose(angle_deg=a, hue_deg=h) for h, a in ((0.0, 0.0), (180.0, 180.0))],
            (),
            "repeats after half a turn of hue and of the plane together",
        ),
        (
            "hue-rotation",
            [
                Pose(angle_deg=a, hue_deg=h)
                for h, a in ((0.0, 0.0), (180.0, 90.0), (0.0, 180.0), (180.0, 0.0))
            ],
            (),
            "repeats after 180° of hue with 90° of the plane; half a turn of the plane alone; half a turn of hue alone",
        ),
        (
            "hue-rotation",
            [Pose(angle_deg=a, hue_deg=h) for h, a in ((0.0, 0.0), (90.0, 0.0), (0.0, 90.0))],
            (),
            "repeats after 90° of hue; 90° of the plane",
        ),
        ("reflection", [Pose(is_mirrored=False)], (), "none"),
        ("scale", [Pose(octaves=0.0)], (), "none"),
    ],
)
def test_what_leaves_members_as_they_are_is_worded(
    name: str, stabiliser: list[Pose], hands: tuple[bool, ...], expected: str
) -> None:
    assert find(name).symmetry_text(stabiliser, hands) == expected


# The list of all ----------------------------------------------------------------------------------------------------


def test_the_list_has_each_once_and_needs_point_back() -> None:
    names = [own.name for own in ALL]
    assert len(set(names)) == len(names)
    for place, own in enumerate(ALL):
        assert set(own.needs) <= set(names[:place])
        assert find(own.name) is own
        assert len({axis.name for axis in own.axes}) == len(own.axes)
    assert len({own.simplicity for own in ALL}) == len(ALL)


def test_families_that_join_others_are_not_surveyed() -> None:
    assert surveyed_names() == [own.name for own in ALL if own.name != "rotation-scale"]
    with pytest.raises(
        EquiscopeError, match="rotation-scale is not surveyed itself: survey rotation and scale"
    ):
        find("rotation-scale").group(16)


def test_a_survey_that_is_asked_for_none_in_particular_has_the_standard_ones() -> None:
    names = standard_names()
    assert names == [name for name in surveyed_names() if find(name).is_standard]
    assert names[:2] == ["rotation", "hue"]
    assert "up-down" not in names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("rotations", "'rotation'"), ("HUE", "'hue'"), ("rotation_scale", "'rotation-scale'")],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(EquiscopeError, match=f"unknown transformation '{name}': did you mean {nearest}"):
        find(name)


def test_what_is_not_surveyed_cannot_be_asked_for() -> None:
    with pytest.raises(
        EquiscopeError, match="unknown transformation 'rotation-scale': did you mean 'rotation'"
    ):
        with_needed(["rotation-scale"])
    with pytest.raises(EquiscopeError, match="unknown transformation 'shear'"):
        with_needed(["rotation", "shear"])


def test_what_is_needed_comes_along_in_the_order_of_the_survey() -> None:
    assert with_needed(["hue-rotation"]) == ["rotation", "hue", "hue-rotation"]
    assert with_needed(["scale", "dihedral", "scale"]) == ["rotation", "dihedral", "scale"]
    assert with_needed([]) == []


def test_some_are_given_in_the_order_of_the_list() -> None:
    assert [own.name for own in in_order(["scale", "rotation", "scale", "nothing"])] == ["rotation", "scale"]


def test_one_axis_alone_has_one_transformation() -> None:
    assert (alone(ANGLE), alone(HUE)) == ("rotation", "hue")
    with pytest.raises(EquiscopeError, match="no transformation moves features along is_darker alone"):
        alone(DARKER)


def test_one_of_ones_own_is_there_while_the_block_runs() -> None:
    before = list(ALL)
    with registered(Darken()) as own:
        assert find("darken") is own
        assert surveyed_names()[-1] == standard_names()[-1] == "darken"
        with (
            pytest.raises(
                EquiscopeError, match="there is a transformation 'darken' already: give yours another"
            ),
            registered(Darken()),
        ):
            raise AssertionError("it was let in")
    assert before == ALL
    with pytest.raises(EquiscopeError, match="unknown transformation 'darken'"):
        find("darken")


def test_one_of_ones_own_goes_when_the_block_fails() -> None:
    before = list(transformations.ALL)
    with pytest.raises(RuntimeError), registered(Darken()):
        raise RuntimeError
    assert before == transformations.ALL
