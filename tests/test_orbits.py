"""Orbits read at any pose: against slow loops over the elements of each group, and against curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from equiscope.measurement.orbits import orbit_axes, read_circle, turn_back
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Involution, Segment, TorusGroup

FREQUENCIES = np.arange(4)


class Curve:
    """A closed curve of a few waves, known everywhere."""

    def __init__(self, seed: int) -> None:
        self.share, self.phase = np.random.default_rng(seed).normal(size=(2, len(FREQUENCIES)))

    def __call__(self, angle_deg: float) -> float:
        return float((self.share * np.cos(FREQUENCIES * np.radians(angle_deg) + self.phase)).sum())


def slow_series(samples: np.ndarray, start_deg: float, angle_deg: float) -> float:
    """The trigonometric polynomial through samples at equal steps, coefficient by coefficient."""
    n = len(samples)
    found = 0.0
    for f in range(-(n // 2), (n - 1) // 2 + 1):
        coefficient = sum(samples[k] * np.exp(-2j * np.pi * f * k / n) for k in range(n)) / n
        wave = coefficient * np.exp(1j * f * np.radians(angle_deg - start_deg))
        # The highest frequency of an even number of samples has no sine that could be known.
        found += wave.real
    return found


@pytest.mark.parametrize("n", [5, 8, 1])
def test_circles_are_read_as_a_slow_loop_reads_them(n: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, n, 2))
    starts, angles = np.array([0.0, 11.0, -40.0]), [0.0, 33.0, 170.0, -200.0]
    read = read_circle(values, 1, starts, angles)
    assert read.shape == (3, 4, 2)
    for i in range(3):
        for j, angle in enumerate(angles):
            for u in range(2):
                # Of an even number the real part of the highest wave is what is read.
                assert read[i, j, u] == pytest.approx(
                    slow_series(values[i, :, u], starts[i], angle), abs=1e-9
                )


def test_one_start_serves_all_curves_along_any_axis() -> None:
    values = np.random.default_rng(1).normal(size=(2, 3, 8))
    angles = [10.0, 100.0]
    read = read_circle(values, 2, 25.0, angles)
    assert read.shape == (2, 3, 2)
    for i, j in np.ndindex(2, 3):
        assert read[i, j] == pytest.approx([slow_series(values[i, j], 25.0, a) for a in angles], abs=1e-9)


def test_orbits_on_a_circle_are_turned_back() -> None:
    group, curves = CyclicGroup(8), [Curve(seed) for seed in range(6)]
    offsets = np.array([0.0, 13.0, 200.0])
    values = np.array(
        [[[curves[2 * s + u](a) for u in range(2)] for a in group.angles_deg] for s in range(3)]
    )
    back = turn_back(values, group, [offsets])
    assert back.shape == values.shape
    for s, k, u in np.ndindex(3, 8, 2):
        # What stood at the offset stands at 0.
        assert back[s, k, u] == pytest.approx(curves[2 * s + u](group.angles_deg[k] - offsets[s]), abs=1e-9)


def test_orbits_in_two_hands_are_turned_back_and_worded_as_poses() -> None:
    group = DihedralGroup(8)
    plain, mirrored = Curve(0), Curve(1)
    start = 17.0
    # Element k turns by its angle and the start; element k + 8 then mirrors that.
    turns = start + group.rotations.angles_deg
    values = np.array([[plain(t) for t in turns] + [mirrored(t) for t in turns]])[:, :, None]
    own = 60.0
    back = turn_back(values, group, [np.array([start + own])])
    assert back.shape == (1, 2, 8, 1)
    for k, angle in enumerate(group.rotations.angles_deg):
        assert back[0, 0, k, 0] == pytest.approx(plain(start + angle - own - start), abs=1e-9)
        # Turned by t and then mirrored is mirrored and then turned by -t.
        assert back[0, 1, k, 0] == pytest.approx(mirrored(start - angle - own - start), abs=1e-9)


def test_orbits_on_a_torus_are_turned_back_in_both_turns() -> None:
    group = TorusGroup(8, 16)
    hue, turn = Curve(2), Curve(3)
    hue_deg, turn_deg = np.array([5.0, 120.0]), np.array([40.0, 311.0])
    values = np.array(
        [
            [hue(h) * turn(t) for h in group.hues.angles_deg for t in group.rotations.angles_deg]
            for _ in range(2)
        ]
    )[:, :, None]
    back = turn_back(values, group, [hue_deg, turn_deg])
    assert back.shape == (2, 8, 16, 1)
    for s, j, k in np.ndindex(2, 8, 16):
        expected = hue(45.0 * j - hue_deg[s]) * turn(22.5 * k - turn_deg[s])
        assert back[s, j, k, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("group", [Involution("reflection"), Segment((-1.0, 0.0, 1.0))])
def test_elements_that_are_no_turns_stay(group: Involution | Segment) -> None:
    values = np.random.default_rng(2).normal(size=(4, group.order, 3)).astype(np.float32)
    back = turn_back(values, group, [])
    assert back.dtype == np.float64
    assert np.array_equal(back, values)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (CyclicGroup(4), {"angle_deg": [0.0, 90.0, 180.0, 270.0]}),
        (CyclicGroup(2, "hue"), {"hue_deg": [0.0, 180.0]}),
        (DihedralGroup(2), {"is_mirrored": [0.0, 1.0], "angle_deg": [0.0, 180.0]}),
        (TorusGroup(2, 1), {"hue_deg": [0.0, 180.0], "angle_deg": [0.0]}),
        (Involution("reflection"), {"is_mirrored": [0.0, 1.0]}),
        (Involution("contrast"), {"is_inverted": [0.0, 1.0]}),
        (Segment((-1.0, 0.0, 1.0)), {"octaves": [-1.0, 0.0, 1.0]}),
    ],
)
def test_axes_are_called_as_the_coordinates_of_poses_the_slowest_first(
    group: CyclicGroup | DihedralGroup | TorusGroup | Involution | Segment, expected: dict[str, list[float]]
) -> None:
    found = orbit_axes(group)
    assert found == expected
    assert list(found) == list(expected)
    assert np.prod([len(values) for values in found.values()]) == group.order
