"""Hue × rotation: correlations against a slow loop, stabilisers found, poses on the torus, nulls."""

from __future__ import annotations

import numpy as np
import pytest

from equiscope.families.correlations import correlate_torus
from equiscope.families.find import find_families
from equiscope.families.torus import find_stabiliser
from equiscope.families.tuning import tune_family
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses, scramble_responses
from equiscope.transformations.groups import TorusGroup

GROUP = TorusGroup(8, 16)
POSES = [(0.0, 0.0), (30.0, 200.0), (75.0, 60.0), (140.0, 310.0), (200.0, 95.0), (290.0, 150.0)]


def examples_of(n_units: int, layer: str = "layer") -> Examples:
    found = empty_examples(layer, n_units, 2)
    return Examples(**{**vars(found), "maximum": np.ones(n_units)})


def tuned(
    poses: list[tuple[float, float]], *, is_contrast: bool, seed: int = 0, n_stimuli: int = 160
) -> np.ndarray:
    """Responses of ideal units, shape (stimulus, element, unit); of a contrast only hue and turn together matter."""
    rng = np.random.default_rng(seed)
    shown_hue, shown_turn = rng.uniform(0, 360, (2, n_stimuli, 1, 1, 1))
    strength = rng.uniform(0.5, 2, (n_stimuli, 1, 1, 1))
    index = np.arange(n_stimuli)
    hue = GROUP.hues.angles_deg[None, :, None, None] + (index // 4 % 4 * 360 / 8 / 4)[:, None, None, None]
    turn = GROUP.rotations.angles_deg[None, None, :, None] + (index % 4 * 360 / 16 / 4)[:, None, None, None]
    pose = np.array(poses)
    a = np.radians(shown_hue + hue - pose[:, 0])
    b = np.radians(shown_turn + turn - pose[:, 1])
    if is_contrast:
        value = np.cos(a) * np.cos(b)
    else:
        value = np.exp(1.5 * (np.cos(a) - 1) + 2 * (np.cos(b) - 1)) + 0.3 * np.sin(2 * b) * np.exp(
            np.cos(a) - 1
        )
    return (strength * value).reshape(n_stimuli, GROUP.order, len(poses))


def as_responses(values: np.ndarray) -> Responses[TorusGroup]:
    n = len(values)
    half = np.repeat([0, 1], [n // 2, n - n // 2])
    bank = Bank("layer", half, np.arange(n), np.zeros((n, 2), np.int64), np.arange(n))
    return Responses(bank, GROUP, values.astype(np.float32))


def test_correlations_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    responses = as_responses(rng.normal(size=(12, GROUP.order, 3)))
    found = correlate_torus(responses, 1, np.array([0, 2]))
    values = np.maximum(np.asarray(responses.array)[6:], 0)
    for g in (0, 5, 17, 100, 127):
        hue, turn = divmod(g, 16)
        sources = [GROUP.compose(GROUP.inverse(g), h) for h in range(GROUP.order)]
        x, y = values[:, sources, 0].ravel(), values[:, :, 2].ravel()
        expected = np.corrcoef(x, y)[0, 1]
        at = found.at(np.array(0), np.array(1), 45.0 * hue, 22.5 * turn)
        assert float(at) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("is_contrast", "stabiliser"),
    [(True, ((0.0, 0.0), (180.0, 180.0))), (False, ((0.0, 0.0),))],
)
def test_the_stabiliser_is_found(is_contrast: bool, stabiliser: tuple[tuple[float, float], ...]) -> None:
    responses = as_responses(tuned(POSES, is_contrast=is_contrast))
    correlations = correlate_torus(responses, 0, np.arange(len(POSES)))
    assert find_stabiliser(correlations, np.arange(len(POSES))) == stabiliser


@pytest.mark.parametrize("is_contrast", [True, False])
def test_poses_are_those_planted(is_contrast: bool) -> None:
    result = find_families(
        as_responses(tuned(POSES, is_contrast=is_contrast)), examples_of(6), channels=np.arange(6), n_null=20
    )
    (family,) = result.families
    assert family.channels.tolist() == list(range(6))
    copies = [0.0, 180.0] if is_contrast else [0.0]
    for member, (hue, turn) in zip(family.members, POSES, strict=True):
        assert any(
            abs(circular_difference_deg(member.hue_deg - hue + c, 0.0)) < 2
            and abs(circular_difference_deg(member.pose_deg - turn + c, 0.0)) < 1
            for c in copies
        )
    assert {line.kind for line in result.symmetries} == {"equivariant"}
    tuning = tune_family(as_responses(tuned(POSES, is_contrast=is_contrast)), examples_of(6), family).values
    # No stimulus is anybody's own here, so nothing was shown.
    assert tuning.shape == (6, 8, 16)
    assert np.isnan(tuning).all()


def test_scrambled_responses_hold_no_family() -> None:
    rng = np.random.default_rng(3)
    for is_contrast in (True, False):
        responses = as_responses(tuned(POSES, is_contrast=is_contrast, seed=4))
        scrambled = scramble_responses(responses, np.arange(6), rng)
        assert find_families(scrambled, examples_of(6), channels=np.arange(6), n_null=20).families == ()


def test_units_that_are_not_eligible_are_not_measurable() -> None:
    responses = as_responses(tuned([*POSES, (10.0, 10.0)], is_contrast=False))
    result = find_families(responses, examples_of(7), channels=np.arange(6), n_null=20)
    assert result.symmetries[6].kind == "not measurable"
    assert 6 not in result.families[0].channels


def test_scrambling_moves_whole_orbits_by_group_elements() -> None:
    responses = as_responses(tuned(POSES, is_contrast=False))
    scrambled = scramble_responses(responses, np.array([1]), np.random.default_rng(0))
    before, after = np.asarray(responses.array), np.asarray(scrambled.array)
    assert np.array_equal(np.delete(before, 1, axis=2), np.delete(after, 1, axis=2))
    own_before = before[:, :, 1].reshape(-1, 8, 16)
    own_after = after[:, :, 1].reshape(-1, 8, 16)
    for p in range(5):
        shifts = [
            (h, t)
            for h in range(8)
            for t in range(16)
            if np.array_equal(np.roll(own_before[p], (h, t), (0, 1)), own_after[p])
        ]
        assert len(shifts) == 1


def test_units_that_never_fire_for_the_stimuli_are_not_measurable() -> None:
    values = tuned(POSES, is_contrast=False)
    silent = np.concatenate([values, np.full((*values.shape[:2], 1), -1.0)], axis=2)
    once = silent.copy()
    once[0, :, -1] = np.linspace(
        0, 1, values.shape[1]
    )  # fires in the half that finds, not in the one that verifies
    for responses in (as_responses(silent), as_responses(once)):
        found = find_families(
            responses, examples_of(7), channels=np.arange(7), n_null=5, false_discovery_rate=0.5
        )
        assert [f.channels.tolist() for f in found.families] == [list(range(6))]
        assert found.symmetries[6].kind == "not measurable"
    nothing = find_families(
        as_responses(-np.ones_like(values)), examples_of(6), channels=np.arange(6), n_null=2
    )
    assert not nothing.families
    assert {line.kind for line in nothing.symmetries} == {"not measurable"}
