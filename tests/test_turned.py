"""What members answered to the stimulus that is shown transformed: read from their responses, and drawn below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit_run import open_run
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples
from equiscope.measurement.orbits import read_circle
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.reports import FamilyEntry
from equiscope.reports.document.schema import TurnedEntry
from equiscope.reports.document.turned import turned_responses
from equiscope.reports.views.family.view import render_families
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Involution, Segment, TorusGroup
from html_page import Page
from report_document import assemble_family, complete_document, make_member

GEOMETRY = LayerGeometry("own", 3, (2.0, 2.0), (9.0, 9.0), (4.0, 4.0), 9)


def test_a_wave_is_read_exactly_between_its_samples() -> None:
    angles = np.arange(16) * 22.5 + 5.0
    wave = lambda a: 1.0 + np.cos(np.radians(a - 30)) + 0.5 * np.sin(np.radians(3 * a))  # noqa: E731
    values = np.stack([wave(angles), 2 * wave(angles)], axis=1)
    wanted = [0.0, 11.3, 200.0, -45.0]
    read = read_circle(values, 0, 5.0, wanted)
    assert read.shape == (4, 2)
    assert np.allclose(read[:, 0], wave(np.array(wanted)))
    assert np.allclose(read[:, 1], 2 * read[:, 0])
    # At the samples it is exact, whatever lies between, also at the highest frequency.
    rough = np.where(np.arange(16) % 2, 1.0, 0.0)[:, None]
    assert np.allclose(read_circle(rough, 0, 5.0, angles.tolist()), rough)


def test_the_axis_may_stand_anywhere() -> None:
    values = np.random.default_rng(0).normal(size=(2, 8, 3))
    read = read_circle(values, 1, 0.0, [45.0 * k for k in range(8)])
    assert np.allclose(read, values)


def make_examples(maximum: float = 2.0) -> Examples:
    """Three units; the strongest held-out stimulus of unit 1 is image 7 at position (3, 4)."""
    image = np.array([[[0], [1], [2]], [[5], [7], [6]]])
    position = np.array([[[[0, 0]], [[0, 1]], [[1, 0]]], [[[2, 2]], [[3, 4]], [[1, 1]]]])
    ones = np.ones(3)
    return Examples(
        layer="own", n_positions=1, n_images=np.array([4, 4]), mean=0 * ones, m2=ones, maximum=maximum * ones,
        value=np.ones((2, 3, 1), np.float32), image=image, position=position,
    )  # fmt: skip


def make_bank() -> Bank:
    return Bank(
        "own",
        half=np.array([0, 0, 1, 1, 1]),
        image=np.array([0, 1, 5, 6, 7]),
        position=np.array([[0, 0], [0, 1], [2, 2], [1, 1], [3, 4]]),
        photograph=np.arange(5),
    )


def make_family(transformation: str, members: list[Any], axes: dict[str, list[float]]) -> FamilyEntry:
    return assemble_family("own-1", "own", transformation, 0.9, members, axes, [None] * len(members))


def answers(
    group: Any, values: np.ndarray, transformation: str, members: list[Any], axes: dict[str, list[float]]
) -> Any:
    family = make_family(transformation, members, axes)
    turned: TurnedEntry = {"layer": "own", "channel": 1, "axes": axes, "sheet": 0, "first": 0}
    responses = Responses(make_bank(), group, values.astype(np.float32))
    return turned_responses(
        responses, {"own": make_examples()}, {"own": GEOMETRY}, {"own": 0}, family, turned
    )


def test_rotation_is_read_at_the_pose_that_each_tile_shows() -> None:
    group = CyclicGroup(16)
    poses = {0: 0.0, 1: 50.0, 2: 130.0}
    start = make_bank().starts_deg(group)[0][4]
    # Unit c answers to the feature at its own pose; stimulus 4 as it is shows it at 50°.
    shown = 50.0 + start + group.angles_deg
    values = np.full((5, 16, 3), -1.0)
    for channel, pose in poses.items():
        values[4, :, channel] = 1.0 + np.cos(np.radians(shown - pose))
    axis = [22.5 * k for k in range(16)]
    found = answers(
        group,
        values,
        "rotation",
        [make_member("own", c, 0.9, angle_deg=p) for c, p in poses.items()],
        {"angle_deg": axis},
    )
    for channel, pose in poses.items():
        expected = (1.0 + np.cos(np.radians(np.array(axis) - pose))) / 2.0
        assert np.allclose(found[channel], expected, atol=0.002)


def test_hue_rotation_and_dihedral_find_the_members_pose_too() -> None:
    torus = TorusGroup(8, 16)
    bank = make_bank()
    hue_starts, starts = bank.starts_deg(torus)
    hue = 80.0 + hue_starts[4] + torus.hues.angles_deg
    angle = 50.0 + starts[4] + torus.rotations.angles_deg
    values = np.full((5, 128, 3), 0.0)
    values[4, :, 2] = (
        (1 + np.cos(np.radians(hue - 200)))[:, None] * (1 + np.cos(np.radians(angle - 130)))
    ).ravel()
    members = [
        make_member("own", 1, 0.9, angle_deg=50.0, hue_deg=80.0),
        make_member("own", 2, 0.9, angle_deg=130.0, hue_deg=200.0),
    ]
    axes = {"hue_deg": [0.0, 200.0], "angle_deg": [0.0, 130.0]}
    found = answers(torus, values, "hue-rotation", members, axes)
    peak = 4.0 / 2.0
    assert found[1][3] == pytest.approx(peak, abs=0.002)
    assert found[1] == sorted(found[1])
    assert found[0] == [0.0] * 4

    dihedral = DihedralGroup(16)
    start = bank.starts_deg(dihedral)[0][4]
    values = np.zeros((5, 32, 3))
    # A mirror reverses turns: the mirrored unit answers where the stimulus, at 50°, was turned by -(50 + 130) first.
    turn = start + dihedral.rotations.angles_deg
    values[4, 16:, 2] = 1 + np.cos(np.radians(turn + 180.0))
    members = [
        make_member("own", 1, 0.9, angle_deg=50.0),
        make_member("own", 2, 0.9, angle_deg=130.0, is_mirrored=True),
    ]
    axes = {"is_mirrored": [0.0, 1.0], "angle_deg": [0.0, 130.0]}
    found = answers(dihedral, values, "dihedral", members, axes)
    assert found[1][3] == pytest.approx(1.0, abs=0.002)
    assert found[1][:2] == [0.0, 0.0]


def test_pairs_and_sizes_are_read_as_they_were_shown() -> None:
    values = np.zeros((5, 2, 3))
    values[4, :, 0], values[4, :, 1] = (0.2, 1.6), (1.8, 0.4)
    members = [make_member("own", 0, 0.9, is_mirrored=False), make_member("own", 1, 0.9, is_mirrored=True)]
    found = answers(Involution("reflection"), values, "reflection", members, {"is_mirrored": [0.0, 1.0]})
    # The stimulus is that of the mirrored member: what it shows as it is stands second.
    assert found == [[0.8, 0.1], [0.2, 0.9]]

    scales = Segment.between(-1.0, 1.0, 0.25)
    octaves = np.array(scales.values)
    values = np.zeros((5, scales.order, 3))
    values[4, :, 0] = 1.0 + octaves
    members = [make_member("own", 0, 0.9, octaves=0.0), make_member("own", 1, 0.9, octaves=0.5)]
    found = answers(scales, values, "scale", members, {"octaves": [0.0, 0.5, 1.3]})
    assert np.allclose(found[0], [0.25, 0.5, 0.9], atol=0.001)
    # Half an octave is the stimulus as it is; -1 and 2 are further from it than any that was shown.
    ends = answers(scales, values, "scale", members, {"octaves": [-1.0, -0.5, 1.5, 2.0]})
    assert [value is None for value in ends[0]] == [True, False, False, True]


def test_what_was_not_shown_has_no_answer() -> None:
    family = make_family("rotation", [make_member("own", 1, 0.9, angle_deg=0.0)], {"angle_deg": [0.0]})
    turned: TurnedEntry = {"layer": "own", "channel": 1, "axes": {"angle_deg": [0.0]}, "sheet": 0, "first": 0}
    bank = make_bank()
    bank.image[4] = 9
    responses = Responses(bank, CyclicGroup(16), np.zeros((5, 16, 3), np.float32))
    examples, geometries = {"own": make_examples()}, {"own": GEOMETRY}
    assert turned_responses(responses, examples, geometries, {"own": 0}, family, turned) is None
    unmeasured = Responses(make_bank(), CyclicGroup(16), np.full((5, 16, 3), np.nan, np.float32))
    assert turned_responses(unmeasured, examples, geometries, {"own": 0}, family, turned) is None


# Drawn --------------------------------------------------------------------------------------------------------------


def with_turned(
    document: Any, key: str, axes: dict[str, list[float]], responses: list[list[Any]] | None
) -> None:
    family = next(f for f in document["families"] if f["id"] == key)
    member = family["members"][0]
    family["turned"] = {
        "layer": member["layer"], "channel": member["channel"], "axes": axes, "sheet": 0, "first": 0,
    }  # fmt: skip
    if responses is not None:
        family["turned"]["responses"] = responses


def test_the_strip_shows_the_stimulus_over_every_members_answer(tmp_path: Path) -> None:
    document = complete_document()
    family = document["families"][0]
    n = family["size"]
    axis = [90.0 * k for k in range(4)]
    responses: list[list[Any]] = [[0.5, 0.25, 0.0, None] for _ in range(n)]
    with_turned(document, family["id"], {"angle_deg": axis}, responses)
    context = open_run(tmp_path, document)
    page = Page(dict(render_families(context))[family["id"]].html)
    tiles = [
        a["aria-label"]
        for a, _ in page.all("svg", class_="tile")
        if (a.get("aria-label") or "").startswith("the stim")
    ]
    assert tiles == [f"the stimulus at {angle:g}°" for angle in axis]
    bars = [float(a["height"] or 0) for a, _ in page.all("rect", class_="bar")]
    assert len(bars) == 2 * n  # of 0 there is no bar, and of what was not measured neither
    assert bars[0] == pytest.approx(2 * bars[1])
    assert len(page.all("rect", class_="nothing")) == n
    assert "what each member answered to exactly these images" in page.text


def test_two_hands_have_two_strips_and_two_axes_one(tmp_path: Path) -> None:
    document = complete_document()
    hands = {"is_mirrored": [0.0, 1.0], "angle_deg": [0.0, 180.0]}
    with_turned(document, "mixed3b-dihedral-1", hands, [[0.1, 0.2, 0.3, 0.4]] * 6)
    both = {"hue_deg": [0.0, 180.0], "angle_deg": [0.0, 90.0, 180.0]}
    with_turned(document, "mixed3b-hue-rotation-1", both, [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]] * 5)
    views = dict(render_families(open_run(tmp_path, document)))
    dihedral = Page(views["mixed3b-dihedral-1"].html)
    assert len(dihedral.all("svg", class_="strip-chart")) == 2
    assert len(dihedral.all("rect", class_="bar")) == 2 * 6
    torus = Page(views["mixed3b-hue-rotation-1"].html)
    assert len(torus.all("svg", class_="strip-chart")) == 1
    assert len(torus.all("rect", class_="bar")) == 3 * 5


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    document = complete_document()
    first, second = document["families"][:2]
    with_turned(document, first["id"], {"angle_deg": [0.0, 180.0]}, None)
    views = dict(render_families(open_run(tmp_path, document)))
    page = Page(views[first["id"]].html)
    assert "What the members answered to it was not kept." in page.text
    assert len(page.all("svg", class_="strip-chart")) == 1
    other = Page(views[second["id"]].html)
    assert "This run kept no stimulus of the family under each element" in other.text
    assert not other.all("svg", class_="strip-chart")
