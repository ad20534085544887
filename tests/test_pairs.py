"""Reflection and contrast pairs: correlations against a slow loop, what is a pair and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from equiscope.families.find import find_families
from equiscope.families.pair import correlate_pairs
from equiscope.families.tuning import tune_family
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses, scramble_responses
from equiscope.transformations.groups import Involution

N = 200


def examples_of(n_units: int) -> Examples:
    found = empty_examples("layer", n_units, 2)
    return Examples(**{**vars(found), "maximum": np.ones(n_units)})


def as_responses(values: np.ndarray, name: str = "reflection") -> Responses[Involution]:
    n = len(values)
    half = np.repeat([0, 1], [n // 2, n - n // 2])
    bank = Bank("layer", half, np.arange(n), np.zeros((n, 2), np.int64), np.arange(n))
    return Responses(bank, Involution(name), values.astype(np.float32))


def handed(seed: int, noise: float = 0.2) -> np.ndarray:
    """Units 0 and 1 mirrored copies, 2 and 3 symmetric and alike, 4 handed and alone: (stimulus, element, unit)."""
    rng = np.random.default_rng(seed)
    feature, other, lone = rng.exponential(size=(3, N, 2))
    symmetric = rng.exponential(size=(N, 1)) * np.ones(2)
    values = np.stack([feature, feature[:, ::-1], symmetric, symmetric, lone], axis=2)
    return values + noise * rng.exponential(size=values.shape) * np.ones(1) + 0 * other[:, :, None]


def test_correlations_are_those_of_a_slow_loop() -> None:
    responses = as_responses(np.random.default_rng(0).normal(size=(30, 2, 4)))
    found = correlate_pairs(responses, 0)
    values = np.maximum(np.asarray(responses.array)[:15], 0).astype(float)
    for u in range(4):
        for v in range(4):
            same = np.corrcoef(values[:, :, u].ravel(), values[:, :, v].ravel())[0, 1]
            changed = np.corrcoef(values[:, ::-1, u].ravel(), values[:, :, v].ravel())[0, 1]
            assert found.same[u, v] == pytest.approx(same, abs=1e-5)
            assert found.changed[u, v] == pytest.approx(changed, abs=1e-5)
    assert np.allclose(found.gain[0, 1], (found.changed - found.same)[0, 1] / (1 - found.same[0, 1]))


@pytest.mark.parametrize("name", ["reflection", "contrast"])
def test_only_handed_copies_are_a_pair(name: str) -> None:
    result = find_families(as_responses(handed(1), name), examples_of(5), n_null=20)
    (family,) = result.families
    assert family.channels.tolist() == [0, 1]
    assert family.id == f"layer-{name}-1"
    marks = [(m.is_mirrored, m.is_inverted) for m in family.members]
    assert marks == (
        [(False, False), (True, False)] if name == "reflection" else [(False, False), (False, True)]
    )
    assert family.margin_low > 0
    assert family.score_low < family.score < family.score_high
    assert [line.kind for line in result.symmetries] == [
        "equivariant",
        "equivariant",
        "invariant",
        "invariant",
        "neither",
    ]


def test_two_units_alike_and_symmetric_are_no_pair_however_well_they_correlate() -> None:
    values = handed(2, noise=0.0)[:, :, 2:4]
    assert correlate_pairs(as_responses(values), 1).changed[0, 1] > 0.99
    assert find_families(as_responses(values), examples_of(2), n_null=20).families == ()


def test_scrambled_responses_hold_no_pair() -> None:
    rng = np.random.default_rng(5)
    n_found = 0
    for draw in range(10):
        scrambled = scramble_responses(as_responses(handed(draw)), np.arange(5), rng)
        n_found += len(find_families(scrambled, examples_of(5), n_null=20, seed=draw).families)
    assert n_found == 0


def test_a_unit_whose_stimuli_cannot_change_is_not_measurable() -> None:
    measurable = np.array([True, True, False, True, True])
    result = find_families(as_responses(handed(1)), examples_of(5), is_measurable=measurable, n_null=20)
    assert result.symmetries[2].kind == "not measurable"


def test_a_unit_that_does_not_vary_is_not_measurable() -> None:
    values = handed(1)
    values[:, :, 4] = 0
    result = find_families(as_responses(values), examples_of(5), n_null=20)
    assert result.symmetries[4].kind == "not measurable"
    assert np.isnan(result.symmetries[4].invariance)


def test_joint_tuning_is_of_the_members_own_held_out_stimuli() -> None:
    responses = as_responses(handed(1, noise=0.0))
    family = find_families(responses, examples_of(5), n_null=20).families[0]
    own = examples_of(5)
    image = own.image.copy()
    held_out = np.arange(N // 2, N)
    values = np.asarray(responses.array)
    image[1, 0, 0] = held_out[values[held_out, 0, 0].argmax()]
    image[1, 1, 0] = held_out[values[held_out, 0, 1].argmax()]
    examples = Examples(**{**vars(own), "image": image})
    tuning = tune_family(responses, examples, family).values
    # As it is the first member answers, transformed the second.
    assert tuning[0, 0] == pytest.approx(1)
    assert tuning[1, 1] == pytest.approx(1)
    assert tuning[0, 1] < 0.7
    assert np.allclose(tuning[0], tuning[1, ::-1])
