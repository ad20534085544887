"""Parts of what is told of circuits, by hand: interventions, slots, strangers, blocks of gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from equiscope.evidence.circuits.causal import _compare
from equiscope.evidence.circuits.factors import _list_factors
from equiscope.evidence.circuits.gradients import _coarse, _coarse_places, _strongest
from equiscope.evidence.circuits.harmonics import KernelBasis
from equiscope.evidence.circuits.kept_weights import KeptWeights
from equiscope.evidence.circuits.strangers import _interval, _Strangers
from equiscope.evidence.circuits.tied import _by_slot
from equiscope.evidence.circuits.transposed import Template, find_transposed
from equiscope.measurement.examples import NO_IMAGE, Examples
from hand_made import a_family, a_member

RNG = np.random.default_rng(0)


# --- interventions -----------------------------------------------------------------------------------------


def test_an_intervention_is_judged_by_rectified_responses_over_stimuli_and_angles() -> None:
    before, after = RNG.normal(size=(2, 6, 8, 3))
    found = _compare("zeroed", before, after, np.ones((4, 6)))
    x, y = (np.maximum(part, 0).reshape(48, 3) for part in (before, after))
    expected = np.mean([np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(3)])
    assert found == pytest.approx({"zeroed": expected, "zeroed_low": expected, "zeroed_high": expected})


# --- drawings ----------------------------------------------------------------------------------------------


def test_a_source_a_little_behind_stands_in_the_last_slot() -> None:
    kernels = np.array([[[1.0], [2.0], [3.0]]])
    placed = _by_slot(kernels, np.array([[-2 * np.pi / 16, 0.0, 2 * np.pi]]))[0, :, 0]
    # A whole turn ahead is no turn.
    assert (placed[0], placed[15]) == (2.5, 1.0)
    assert np.isnan(placed[1:15]).all()


def test_a_transposed_pattern_is_told_with_its_turn_and_the_best_pair_first() -> None:
    x, y = np.meshgrid(np.arange(-3.0, 4), -np.arange(-3.0, 4))
    cells = np.stack([x.ravel(), y.ravel()], axis=1)

    def kernel(turn_deg: float, noise: float = 0.0) -> NDArray[np.float64]:
        along, across = np.exp(1j * np.radians(-turn_deg)) * (x + 1j * y), noise * RNG.normal(size=49)
        plain = (along.real + 0.6 * along.real**2 - 0.5 * along.imag) * np.exp(-(np.abs(along) ** 2) / 4)
        return np.asarray(plain.ravel() + across)

    forward = Template("a", True, kernel(0), cells)
    # Seen from the other end a kernel is mirrored through its centre.
    others = [
        Template("noisy", False, kernel(180, 0.2)[::-1], cells),
        Template("exact", False, kernel(90)[::-1], cells),
    ]
    found = find_transposed([forward, *others], false_discovery_rate=1.0)
    assert [t.backward for t in found] == ["exact", "noisy"]
    assert [t.turn_deg for t in found] == pytest.approx([270, 180], abs=6)


def test_a_factor_excites_where_its_first_half_is_and_the_strongest_comes_first() -> None:
    loadings = np.array([[1.0, 0.0], [0.0, 6.0], [0.0, 2.0]])
    patterns = np.array([[1.0, 0.0, 0.0, 2.0], [0.0, 3.0, 1.0, 0.0]])
    strong, weak = _list_factors(loadings, patterns, np.array([10, 11, 12]), (1, 2))
    assert (strong.channels, strong.loadings) == ((11, 12), (0.75, 0.25))
    assert strong.template == ((-8.0, 24.0),)
    assert weak.template == ((1.0, -2.0),)
    assert strong.share == pytest.approx(400 / 405)


# --- gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [7, 12, 23, 25, 31])
def test_blocks_of_cells_lie_about_the_cells_that_they_hold(n: int) -> None:
    places = 4.0 * np.arange(n) - 10
    middles = _coarse_places(places)
    for axis in (2, 3):
        cells = (
            torch.eye(n)[:, None, None].transpose(2, axis).reshape(n, 1, *((n, 1) if axis == 2 else (1, n)))
        )
        block = _coarse(cells).flatten(1).argmax(1).numpy()
        half_px = 4.0 * (-(-n // 11) - 1) / 2
        assert len(middles) == -(-n // -(-n // 11)) <= 11
        assert np.abs(middles[block] - places).max() <= half_px


def test_gradients_are_taken_where_a_unit_answered() -> None:
    image = np.array([[[4, 5]], [[6, NO_IMAGE]]])
    value = np.array([[[2.0, 0.0]], [[1.0, np.nan]]])
    half, unit, rank = _strongest(cast(Examples, SimpleNamespace(image=image, value=value)), 2)
    assert (half.tolist(), unit.tolist(), rank.tolist()) == ([0, 1], [0, 0], [0, 0])


# --- strangers -------------------------------------------------------------------------------------------


def test_kernels_of_one_cell_each_have_no_form_though_not_all_the_same_cell() -> None:
    kernels = np.zeros((2, 2, 9))
    kernels[0, 0, 2] = kernels[0, 1, 5] = 1.0
    kernels[1] = 1.0
    nothing, none = np.zeros((2, 2)), np.zeros(2, np.int64)
    basis, cells = cast(KernelBasis, None), np.zeros((9, 2))
    kept = KeptWeights("a", "b", none, none, kernels, nothing, none, basis, cells, 1.0)
    assert kept.is_wide.tolist() == [False, True]


def test_strangers_are_as_large_within_their_family_as_a_member_in_its_own() -> None:
    sizes = [[(2 * i + k, 3.0 * i + k) for k in (0, 1)] for i in range(6)]
    families = [
        a_family("scale", [a_member("l", channel, octaves=own) for channel, own in pair], name=str(i))
        for i, pair in enumerate(sizes)
    ]
    strangers = _Strangers(families)
    assert strangers.alike("l", 0, ["0", None]) == [2, 4, 6, 8, 10]
    # With fewer than four of one size all sizes count.
    assert strangers.alike("l", 0, ["0", "1", "2"]) == [6, 7, 8, 9, 10, 11]


def test_two_members_have_no_interval() -> None:
    shares, weight = np.array([0.5, 0.7, 0.9]), np.ones(3)
    assert np.isnan(_interval(shares, weight, np.array([0, 1, 1]))).all()
    low, high = _interval(shares, weight, np.array([0, 1, 2]))
    assert 0.5 <= low < 0.7 < high <= 0.9
