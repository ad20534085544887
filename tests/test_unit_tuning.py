"""Tuning of units against a slow double loop, on responses whose shape is known."""

from __future__ import annotations

import numpy as np
import pytest

from equiscope.measurement.bank import Bank, build_bank, join_banks
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.unit_tuning import UnitTunings, tune_units
from equiscope.reports.views.unit.charts import draw_unit_tuning
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Involution, Segment, TorusGroup

GEOMETRY = LayerGeometry("block", 3, (2, 3), (5, 7), (2.0, 3.0))


def make_examples(n_units: int = 3, n_examples: int = 4, seed: int = 0, layer: str = "block") -> Examples:
    generator = np.random.default_rng(seed)
    found = empty_examples(layer, n_units, n_examples)
    found.image[:] = generator.integers(0, 9, found.image.shape)
    found.position[:] = generator.integers(0, 5, found.position.shape)
    found.value[:] = -np.sort(-generator.uniform(0.1, 3, found.value.shape), axis=-1)
    found.value[1, 2, 2:] = np.nan
    found.image[1, 2, 2:] = -1
    return found


def bank_of(examples: Examples) -> Bank:
    return build_bank(examples, np.arange(9))


def curve_of(bank: Bank, row: int, turn_deg: float) -> float:
    """A response that only depends on how far the stimulus is turned from how it was found, and on the stimulus."""
    return float(2 + row / 50 + np.cos(np.radians(turn_deg)) + 0.5 * np.sin(np.radians(2 * turn_deg)))


def rows_of(bank: Bank, examples: Examples, channel: int) -> list[int]:
    own = {
        (half, int(i), *map(int, place))
        for half in (0, 1)
        for i, place in zip(examples.image[half, channel], examples.position[half, channel], strict=True)
        if i >= 0
    }
    keys = zip(bank.half.tolist(), bank.image.tolist(), *bank.position.T.tolist(), strict=True)
    return [row for row, key in enumerate(keys) if tuple(key) in own]


def test_rotation_is_read_at_whole_steps_from_the_stimulus_as_it_is() -> None:
    examples, group = make_examples(), CyclicGroup(16)
    bank = bank_of(examples)
    starts = bank.starts_deg(group)[0]
    assert len(set(starts.tolist())) == 4
    array = np.zeros((len(bank), 16, 3), np.float32)
    for row in range(len(bank)):
        array[row] = [[curve_of(bank, row, starts[row] + 22.5 * k)] * 3 for k in range(16)]
    tunings = tune_units(Responses(bank, group, array), examples, GEOMETRY)
    assert tunings.axes == {"angle_deg": [22.5 * k for k in range(16)]}
    assert set(tunings.units) == {0, 1, 2}
    for channel, entry in tunings.units.items():
        rows = rows_of(bank, examples, channel)
        curves = np.array([[curve_of(bank, row, 22.5 * k) for k in range(16)] for row in rows])
        mean = curves.mean(0)
        assert entry["n_stimuli"] == len(rows)
        np.testing.assert_allclose(entry["values"], mean / mean.max(), atol=2e-3)
        error = curves.std(0, ddof=1) / np.sqrt(len(rows)) / mean.max()
        np.testing.assert_allclose(entry["error"], error, atol=2e-3)
    assert tunings.units[2]["n_stimuli"] < tunings.units[0]["n_stimuli"]


def test_units_that_were_not_asked_about_have_none() -> None:
    examples = make_examples()
    bank = bank_of(examples)
    responses = Responses(bank, CyclicGroup(8), np.ones((len(bank), 8, 3), np.float32))
    assert set(tune_units(responses, examples, GEOMETRY, channels=np.array([1])).units) == {1}


def test_a_mirrored_sheet_is_told_by_the_pose_that_mirrors_first() -> None:
    examples, group = make_examples(), DihedralGroup(16)
    bank = bank_of(examples)
    starts = bank.starts_deg(group)[0]
    array = np.zeros((len(bank), 32, 3), np.float32)
    for row in range(len(bank)):
        for k in range(16):
            turn = starts[row] + 22.5 * k
            array[row, k] = curve_of(bank, row, turn)
            # Turned by t and then mirrored is mirrored and then turned by -t.
            array[row, 16 + k] = 0.5 * curve_of(bank, row, -turn - 40.0)
    entry = tune_units(Responses(bank, group, array), examples, GEOMETRY).units[0]
    rows = rows_of(bank, examples, 0)
    upright = np.mean([[curve_of(bank, r, 22.5 * k) for k in range(16)] for r in rows], axis=0)
    mirrored = np.mean([[0.5 * curve_of(bank, r, 22.5 * k - 40.0) for k in range(16)] for r in rows], axis=0)
    np.testing.assert_allclose(entry["values"], np.stack([upright, mirrored]) / upright.max(), atol=2e-3)


def test_hue_and_rotation_start_each_at_their_own_angle() -> None:
    examples, group = make_examples(), TorusGroup(8, 16)
    bank = bank_of(examples)
    hues, starts = bank.starts_deg(group)
    array = np.zeros((len(bank), 128, 3), np.float32)

    def value(hue_deg: float, turn_deg: float) -> float:
        return float(3 + np.cos(np.radians(hue_deg)) + np.sin(np.radians(turn_deg - 50)))

    for row in range(len(bank)):
        for k in range(128):
            j, i = divmod(k, 16)
            array[row, k] = value(hues[row] + 45 * j, starts[row] + 22.5 * i)
    entry = tune_units(Responses(bank, group, array), examples, GEOMETRY).units[1]
    expected = np.array([[value(45 * j, 22.5 * i) for i in range(16)] for j in range(8)])
    np.testing.assert_allclose(entry["values"], expected / expected.max(), atol=2e-3)


def test_layers_side_by_side_are_told_apart_by_where_their_stimuli_are_centred() -> None:
    """A position of one layer is another place in the image than the same position of the other layer."""
    other = LayerGeometry("later", 3, (4, 4), (9, 9), (4.0, 4.0))
    first, second = make_examples(), make_examples(seed=1, layer="later")
    bank = join_banks([bank_of(first), bank_of(second)], [GEOMETRY, other])
    group = Segment.between(-1.0, 1.0, 0.5)
    array = np.repeat(np.arange(len(bank), dtype=np.float32)[:, None, None] + 1, 5, axis=1).repeat(6, axis=2)
    entry = tune_units(Responses(bank, group, array), second, other, first_column=3).units[0]
    assert entry["n_stimuli"] == len(rows_of(bank_of(second), second, 0))
    assert entry["values"] == [1.0] * 5


def test_a_silent_unit_was_measured_and_has_no_curve() -> None:
    examples = make_examples()
    bank = bank_of(examples)
    responses = Responses(bank, Involution("reflection"), -np.ones((len(bank), 2, 3), np.float32))
    tunings: UnitTunings = tune_units(responses, examples, GEOMETRY)
    assert tunings.units[0]["values"] == [None, None]
    assert draw_unit_tuning("reflection", tunings.axes, tunings.units[0]) is None


@pytest.mark.parametrize(
    ("name", "axes", "shape", "n_lines"),
    [
        ("rotation", {"angle_deg": [90.0 * k for k in range(4)]}, (4,), 1),
        ("dihedral", {"is_mirrored": [0.0, 1.0], "angle_deg": [90.0 * k for k in range(4)]}, (2, 4), 2),
        ("scale", {"octaves": [-1.0, 0.0, 1.0]}, (3,), 1),
    ],
)
def test_charts_have_a_line_and_a_band_each(
    name: str, axes: dict[str, list[float]], shape: tuple[int, ...], n_lines: int
) -> None:
    values = np.linspace(0.2, 1, int(np.prod(shape))).reshape(shape).tolist()
    error = np.full(shape, 0.1).tolist()
    chart = draw_unit_tuning(name, axes, {"n_stimuli": 3, "values": values, "error": error})
    assert chart is not None
    assert len(chart.lines) == len(chart.bands) == n_lines
    n_points = len(axes[next(reversed(axes))]) + (0 if "octaves" in axes else 1)
    assert chart.lines[0].count(",") == n_points
    assert chart.label == f"Response under {name}, mean of 3 stimuli"
    alone = draw_unit_tuning(name, axes, {"n_stimuli": 1, "values": values, "error": None})
    assert alone is not None
    assert not alone.bands


def test_zero_stands_in_the_middle_of_a_turn() -> None:
    values = [1.0, 0.5, 0.0, 0.5]
    chart = draw_unit_tuning(
        "rotation",
        {"angle_deg": [0.0, 90.0, 180.0, 270.0]},
        {"n_stimuli": 1, "values": values, "error": None},
    )
    assert chart is not None
    points = [tuple(map(float, point.split(","))) for point in chart.lines[0][1:].split("L")]
    assert points[2] == (float(chart.zero or "nan"), min(y for _, y in points))
