"""Geometry and colours of the report's charts, whatever is drawn with them."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiscope.reports.document.stabilisers import Plane, plane_of_stabiliser
from equiscope.reports.drawing.charts import curve_path, heat_paths, spread_labels, spread_on_plane
from equiscope.reports.drawing.dial import (
    CURVE_RADIUS,
    PICTURE_RADIUS,
    spread_pictures,
    tuning_path,
)
from equiscope.reports.drawing.palette import category_colours, hue_colours, pose_colours
from equiscope.transformations import find
from equiscope.transformations.spaces import Torus
from report_document import ANGLES_DEG


@pytest.mark.parametrize(
    ("elements", "plane"),
    [
        ([(0, 0)], Plane(360, 360, 0)),
        ([(0, 0), (180, 180)], Plane(360, 180, 180)),
        ([(0, 0), (0, 180)], Plane(180, 360, 0)),
        ([(0, 0), (180, 0)], Plane(360, 180, 0)),
        ([(0, 0), (180, 90), (0, 180), (180, 270)], Plane(180, 180, 90)),
        ([(0, 0), (0, 90), (0, 180), (0, 270)], Plane(90, 360, 0)),
        ([(0, 0), (180, 0), (0, 180), (180, 180)], Plane(180, 180, 0)),
        ([], Plane(360, 360, 0)),
    ],
)
def test_a_stabiliser_gives_its_plane(elements: list[tuple[float, float]], plane: Plane) -> None:
    space = find("hue-rotation").space
    assert isinstance(space, Torus)
    stabiliser = [{"hue_deg": hue, "angle_deg": angle} for hue, angle in elements]
    assert plane_of_stabiliser(stabiliser, space) == plane


def test_heat_paths_join_cells_of_a_level_and_hatch_what_is_missing() -> None:
    assert heat_paths([[0.0, 0.55, 0.51, None, 1.0, 0.05]]) == [
        ("h5", "M1,.5h2"),
        ("h9", "M4,.5h1"),
        ("hn", "M3,.5h1"),
    ]
    assert heat_paths([[0.0], [0.2]]) == [("h2", "M0,1.5h1")]
    assert heat_paths([[math.nan, -0.1, 1.7]]) == [("h9", "M2,.5h1"), ("hn", "M0,.5h1")]


def test_curve_path_breaks_at_gaps() -> None:
    path = curve_path([(0.0, 0.0), (1.0, 1.0), None, (3.0, 1.0), None, (5.0, 0.0), (6.0, 2.0), (7.0, 0.0)])
    assert (path.count("M"), path.count("C")) == (3, 3)
    assert "M3.0,1.0h0" in path
    assert path.endswith("7.0 0.0")
    assert curve_path([]) == ""


@given(
    st.lists(st.tuples(st.floats(0, 900), st.floats(0, 200)), max_size=24),
    st.floats(20, 46),
)
@settings(max_examples=40, deadline=None)
def test_pictures_on_a_plane_are_pushed_apart_and_stay_inside(
    places: list[tuple[float, float]], diameter: float
) -> None:
    centres = spread_on_plane(places, diameter, (0, 0), (900, 200))
    assert len(centres) == len(places)
    for x, y in centres:
        assert 0 <= x <= 900
        assert 0 <= y <= 200
    for a, b in itertools.combinations(centres, 2):
        assert math.dist(a, b) >= 0.8 * diameter


@given(st.lists(st.floats(0, 300), max_size=12))
@settings(max_examples=40, deadline=None)
def test_labels_keep_their_order_and_their_distance(places: list[float]) -> None:
    spread = spread_labels(places, 15, 0, 300)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    for a, b in itertools.pairwise(order):
        assert spread[b] - spread[a] >= 15 - 1e-9
    assert all(-1e-9 <= value <= 300 + 1e-9 for value in spread)


def numbers_in(path: str) -> list[float]:
    return [float(value) for value in re.findall(r"-?\d+\.?\d*", path)]


def test_tuning_path_goes_through_every_measurement_and_closes() -> None:
    values = [0.5 + 0.5 * math.cos(math.radians(angle - 40)) for angle in ANGLES_DEG]
    path = tuning_path(ANGLES_DEG, values)
    assert path.endswith("Z")
    assert path.count("M") == 1
    assert path.count("C") == 16
    numbers = numbers_in(path)
    anchors = [tuple(numbers[:2]), *(tuple(numbers[i : i + 2]) for i in range(6, len(numbers), 6))]
    for (x, y), angle, value in zip(anchors, [*ANGLES_DEG, 0.0], [*values, values[0]], strict=True):
        assert math.hypot(x, y) == pytest.approx(CURVE_RADIUS * value, abs=0.1)
        if value > 0.1:  # on screen y points down, so counter-clockwise is negative y
            assert math.degrees(math.atan2(-y, x)) % 360 == pytest.approx(angle, abs=0.5)


def test_tuning_path_opens_where_nothing_was_measured() -> None:
    values: list[float | None] = [0.8] * 16
    values[5] = None
    path = tuning_path(ANGLES_DEG, values)
    assert path.count("C") == 14
    assert path.count("M") == 2
    assert "Z" not in path
    gap = 80 * math.cos(math.radians(ANGLES_DEG[5])), -80 * math.sin(math.radians(ANGLES_DEG[5]))
    assert f"{gap[0]:.1f},{gap[1]:.1f}" not in path
    assert f"{gap[0]:.1f} {gap[1]:.1f}" not in path
    assert tuning_path(ANGLES_DEG, None) == ""


@given(st.lists(st.floats(0, 359.9), min_size=1, max_size=40).map(sorted))
@settings(max_examples=60, deadline=None)
def test_pictures_round_the_dial_never_overlap(poses_deg: list[float]) -> None:
    slots_deg, diameter = spread_pictures(poses_deg)
    places = [
        (PICTURE_RADIUS * math.cos(math.radians(a)), PICTURE_RADIUS * math.sin(math.radians(a)))
        for a in slots_deg
    ]
    descents = sum(b % 360 < a % 360 for a, b in itertools.pairwise(slots_deg))
    assert descents <= 1  # still in the order of their poses
    for a, b in itertools.combinations(places, 2):
        assert math.dist(a, b) >= 0.97 * diameter


def test_pictures_with_room_stay_at_their_poses() -> None:
    assert spread_pictures([0.0, 90.0, 200.0])[0] == [0.0, 90.0, 200.0]


def linear_rgb(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def luminance(colour: str) -> float:
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear_rgb(colour), strict=True))


def test_colours_stand_out_from_the_page() -> None:
    pairs = [*(pose_colours(i / 72) for i in range(72)), *(hue_colours(5 * i) for i in range(72))]
    for light, dark in [*pairs, *(category_colours(i) for i in range(8))]:
        assert (luminance("#fdfdfb") + 0.05) / (luminance(light) + 0.05) >= 3
        assert (luminance(dark) + 0.05) / (luminance("#15171a") + 0.05) >= 3
    assert pose_colours(0) == pose_colours(1)
    assert len({category_colours(i) for i in range(8)}) == 8


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
DICHROMATS = {
    "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_a_dichromat_can_tell_poses_45_degrees_apart(kind: str) -> None:
    def seen(colour: str) -> list[float]:
        rgb = linear_rgb(colour)
        linear = [sum(w * c for w, c in zip(row, rgb, strict=True)) for row in DICHROMATS[kind]]
        return [max(0.0, value) ** (1 / 2.4) for value in linear]

    for shade in (0, 1):
        seen_colours = [seen(pose_colours(i / 8)[shade]) for i in range(8)]
        assert min(math.dist(a, b) for a, b in itertools.combinations(seen_colours, 2)) > 0.06
