"""Scale families across layers: pairs, poses, spans; what wraps in the null only; what is one size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from equiscope.families.family import Tuning
from equiscope.families.find import find_families
from equiscope.families.line import _Lags, _refined
from equiscope.families.tuning import tune_family
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses, scramble_responses
from equiscope.models.geometry import LayerGeometry
from equiscope.transformations.groups import Segment

SCALES = Segment.between(-1.0, 1.5, 0.25)
N = 240
# Preferred sizes of three early and three late units, octaves; unit 2 and unit 5 answer to another feature each.
EARLY, LATE = (0.0, 0.6, 0.0), (1.2, 1.9, 0.4)


def examples_of(layer: str) -> Examples:
    found = empty_examples(layer, 3, 2)
    return Examples(**{**vars(found), "maximum": np.ones(3)})


LAYERS = [examples_of("early"), examples_of("late")]


GEOMETRIES = {
    name: LayerGeometry(name, 3, (stride, stride), (11, 11), (0.0, 0.0))
    for name, stride in (("early", 4), ("late", 8))
}


def tuned(seed: int = 0, width: float = 0.4) -> np.ndarray:
    """Responses, shape (stimulus, scale, unit), of units tuned to the size of one of three features."""
    rng = np.random.default_rng(seed)
    feature = rng.integers(0, 3, N)
    size = rng.uniform(-0.5, 1.5, N)
    strength = rng.uniform(0.5, 2, N)
    shown = size[:, None] + np.array(SCALES.values)
    units = [(0, EARLY[0]), (0, EARLY[1]), (1, EARLY[2]), (0, LATE[0]), (0, LATE[1]), (2, LATE[2])]
    columns = [
        np.where(
            feature[:, None] == own, strength[:, None] * np.exp(-(((shown - best) / width) ** 2) / 2), 0.0
        )
        for own, best in units
    ]
    return np.stack(columns, axis=2) + 0.02 * rng.exponential(size=(N, SCALES.order, 6))


def as_responses(values: np.ndarray) -> Responses[Segment]:
    half = np.repeat([0, 1], [N // 2, N - N // 2])
    zeros = np.zeros((N, 2))
    bank = Bank("early+late", half, np.arange(N), zeros.astype(np.int64), np.arange(N), zeros)
    return Responses(bank, SCALES, values.astype(np.float32))


def sizes_and_values(tuning: Tuning) -> tuple[np.ndarray, np.ndarray]:
    return np.array(tuning.axes["octaves"]), tuning.values


def test_a_family_spans_layers_with_poses_in_octaves() -> None:
    found = find_families(as_responses(tuned()), LAYERS)
    (family,) = found.families
    assert family.layer == "early+late"
    assert [(m.layer, m.channel) for m in family.members] == [
        ("early", 0),
        ("early", 1),
        ("late", 0),
        ("late", 1),
    ]
    octaves = np.array([m.octaves for m in family.members])
    assert np.abs(octaves - [0.0, 0.6, 1.2, 1.9]).max() < 0.1
    assert family.margin_low > 0
    # Of the held-out half, so never exactly zero, also where pairs close no cycle.
    assert 0 < family.disagreement["octaves"] < 0.1
    assert found.symmetries[2].kind == "neither"
    assert found.symmetries[3].family == family.id
    assert all(np.isnan(m.pose_deg) for m in family.members)


def test_pairs_say_which_is_larger() -> None:
    found = find_families(as_responses(tuned()), LAYERS)
    assert found.pairs
    sizes = dict(enumerate((*EARLY, *LATE)))
    for edge in found.pairs:
        assert edge.away == pytest.approx(sizes[edge.v] - sizes[edge.u], abs=0.15)


@pytest.mark.parametrize("scramble", [None, 3])
def test_pairs_one_by_one_correlate_as_all_pairs_together(scramble: int | None) -> None:
    values = torch.from_numpy(tuned())
    rng = None if scramble is None else np.random.default_rng(scramble)
    lags = _Lags(values.float(), 0.25, rng)
    n = values.shape[2]
    u, v = (index.ravel() for index in np.mgrid[:n, :n])
    together = lags.curves(slice(0, n), slice(0, n))
    assert lags.pair_curves(u, v) == pytest.approx(together.reshape(len(together), -1), abs=1e-5, nan_ok=True)
    # v is u magnified by two steps: u as it was on the smaller scales, v on the larger ones.
    if scramble is None:
        small, large = (values[:, part].flatten(0, 1).numpy() for part in (slice(0, -2), slice(2, None)))
        wanted = np.corrcoef(small[:, 0], large[:, 1])[0, 1]
        assert lags.of_pairs([(0, 1, 0.5)]) == [pytest.approx(wanted, abs=1e-5)]
        assert lags.of_pairs([(1, 0, -0.5)]) == [pytest.approx(wanted, abs=1e-5)]
        assert np.isnan(lags.of_pairs([(0, 1, 2.5)]))


def test_units_of_one_size_are_no_scale_family() -> None:
    values = tuned()
    values[:, :, 3:5] = values[:, :, [0, 0]]
    values[:, :, 1] = values[:, :, 0]
    assert find_families(as_responses(values), LAYERS).families == ()


def test_a_unit_that_answers_at_any_size_is_invariant() -> None:
    values = tuned()
    values[:, :, 2] = values[:, :, 2].mean(1, keepdims=True)
    found = find_families(as_responses(values), LAYERS)
    assert found.symmetries[2].kind == "invariant"


def test_nothing_wraps_round() -> None:
    # A feature that leaves at the large end must not come in at the small one.
    values = tuned(width=0.3)
    found = find_families(as_responses(values), LAYERS)
    wrapped = as_responses(np.roll(values, 5, axis=1))
    assert max(abs(e.away) for e in found.pairs) <= 2.0
    again = find_families(wrapped, LAYERS)
    assert [e.away for e in again.pairs] != [e.away for e in found.pairs]


def test_scrambled_responses_hold_no_family() -> None:
    rng = np.random.default_rng(0)
    for draw in range(5):
        scrambled = scramble_responses(as_responses(tuned(draw)), np.arange(6), rng)
        assert find_families(scrambled, LAYERS, seed=draw).families == ()


def test_joint_tuning_peaks_at_each_members_own_size() -> None:
    responses = as_responses(tuned(width=0.3))
    family = find_families(responses, LAYERS).families[0]
    values = np.asarray(responses.array)
    zero = SCALES.values.index(0.0)
    layers = []
    for start, own in ((0, LAYERS[0]), (3, LAYERS[1])):
        image = own.image.copy()
        for channel in range(3):
            image[1, channel] = N // 2 + np.argsort(-values[N // 2 :, zero, start + channel])[:2]
        layers.append(Examples(**{**vars(own), "image": image}))
    octaves, tuning = sizes_and_values(tune_family(responses, layers, family, GEOMETRIES))
    assert tuning.shape == (4, len(octaves))
    for member, curve in zip(family.members, tuning, strict=True):
        assert octaves[np.nanargmax(curve)] == pytest.approx(member.octaves, abs=0.45)


def test_positions_of_different_layers_are_told_apart() -> None:
    responses = as_responses(tuned(width=0.3))
    family = find_families(responses, LAYERS).families[0]
    # The held-out stimuli lie at position (1, 1) of the early layer, 4 px from the corner.
    there = np.full((N, 2), 4.0)
    bank = dataclasses.replace(responses.bank, position=np.ones((N, 2), np.int64), centre_px=there)
    responses = dataclasses.replace(responses, bank=bank)
    layers = []
    for own in LAYERS:
        image, position = own.image.copy(), own.position.copy()
        image[1], position[1] = N // 2, 1
        layers.append(Examples(**{**vars(own), "image": image, "position": position}))
    octaves, tuning = sizes_and_values(tune_family(responses, layers, family, GEOMETRIES))
    # The late layer's (1, 1) is at 8 px: another stimulus, which was not shown. Sizes are those of the early members.
    shown = octaves[np.isfinite(tuning).any(0)]
    sizes = [m.octaves for m in family.members if m.layer == "early"]
    assert shown.max() == pytest.approx(max(sizes) + SCALES.values[-1], abs=0.13)
    assert shown.max() < max(m.octaves for m in family.members) + SCALES.values[-1] - 0.5


def test_silent_units_and_gaps_stop_nothing() -> None:
    silent = find_families(as_responses(np.zeros((N, SCALES.order, 6))), LAYERS)
    assert {line.kind for line in silent.symmetries} == {"not measurable"}
    # A correlation is undefined at lags at which nothing of a unit is left: a peak beside that is taken as it is.
    assert _refined(np.array([0.2, 0.9, -np.inf]), 1, 0) == 1.0
    assert _refined(np.array([0.2, 0.9, 0.5]), 1, 0) == pytest.approx(1.136, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_units_that_share_a_feature_and_no_size_are_no_family(seed: int) -> None:
    # The late units answer to the early ones' features, each at a size of its own for every stimulus.
    rng = np.random.default_rng(seed)
    n_features = 6
    feature, size = rng.integers(0, n_features, N), rng.uniform(-0.5, 1.0, N)
    strength = rng.uniform(0.5, 2, N)
    shown = size[:, None] + np.array(SCALES.values)
    columns = []
    for own in range(n_features):
        for is_late in (False, True):
            best = rng.uniform(-0.3, 2.0, N)[:, None] if is_late else rng.uniform(-0.3, 0.3)
            tuned_to = np.exp(-(((shown - best) / 0.6) ** 2) / 2)
            columns.append(np.where(feature[:, None] == own, strength[:, None] * tuned_to, 0.0))
    values = np.stack(columns[::2] + columns[1::2], axis=2)
    values += 0.02 * rng.exponential(size=values.shape)
    layers = [
        Examples(**{**vars(empty_examples(name, n_features, 2)), "maximum": np.ones(n_features)})
        for name in ("early", "late")
    ]
    found = find_families(as_responses(values), layers, seed=seed, n_null=10)
    assert not [f for f in found.families if "late" in f.layer]
