"""Circular statistics against brute force; intervals and q-values against simulations with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.statistics import (
    bootstrap_weights,
    circular_difference_deg,
    circular_mean_deg,
    family_q_values,
    percentile_interval,
)

ANGLES = st.floats(-1000, 1000, allow_nan=False)
PERIODS = st.sampled_from([360.0, 180.0, 90.0, 72.0])
SCORES = st.lists(st.one_of(st.sampled_from([0.3, 0.5, 0.5, 0.9]), st.floats(-1, 1)), max_size=12)


# --- angles ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(ANGLES, ANGLES, PERIODS)
def test_difference_is_the_nearest_of_all_turns(a: float, b: float, period: float) -> None:
    found = float(circular_difference_deg(a, b, period))
    turns = a - b + period * np.arange(-40, 41)
    assert -period / 2 <= found < period / 2
    assert abs(found) == pytest.approx(np.abs(turns).min(), abs=1e-9)
    assert np.abs(turns - found).min() < 1e-9


def test_difference_broadcasts_and_knows_lines() -> None:
    a, b = np.array([[350.0], [10.0]]), np.array([10.0, 350.0, 170.0])
    assert circular_difference_deg(a, b).tolist() == [[-20, 0, -180], [0, 20, -160]]
    assert circular_difference_deg(a, b, 180).tolist() == [[-20, 0, 0], [0, 20, 20]]
    # Just under half a turn backwards must not round to half a turn forwards.
    assert circular_difference_deg(-180 - 3e-14, 0.0) == -180


@settings(deadline=None)
@given(st.lists(ANGLES, min_size=1, max_size=6), PERIODS, st.integers(0, 2**32 - 1))
def test_mean_is_the_angle_with_least_chord_distance(angles: list[float], period: float, seed: int) -> None:
    weights = np.random.default_rng(seed).uniform(0.1, 2, len(angles))
    found = circular_mean_deg(np.array(angles), weights, period)
    grid = np.linspace(0, period, 3601)

    def cost(centre: np.ndarray) -> np.ndarray:
        away = 2 * np.pi / period * (np.array(angles)[:, None] - centre)
        return weights @ (1 - np.cos(away))

    if math.isnan(found):
        assert np.ptp(cost(grid)) < 1e-9
    else:
        assert 0 <= found < period
        assert cost(np.array([found]))[0] <= cost(grid).min() + 1e-9


def test_mean_of_known_angles() -> None:
    assert circular_mean_deg(np.array([350.0, 20.0])) == pytest.approx(5)
    assert circular_mean_deg(np.array([170.0, 20.0]), period_deg=180) == pytest.approx(5)
    assert circular_mean_deg(np.array([0.0, 90.0]), np.array([1.0, 0.0])) == pytest.approx(0)
    # Rounding to just under zero must not become a full turn.
    assert circular_mean_deg(np.array([350.0, 10.0])) < 1e-9
    assert circular_mean_deg(np.array([-1e-15])) == 0


@pytest.mark.parametrize("angles", [[], [0, 180], [10, 130, 250]])
def test_mean_of_what_cancels_is_nan(angles: list[float]) -> None:
    assert math.isnan(circular_mean_deg(np.array(angles, dtype=float)))
    assert math.isnan(circular_mean_deg(np.array([3.0]), np.zeros(1)))


# --- bootstrap ---------------------------------------------------------------------------------------------


def test_photographs_are_drawn_whole() -> None:
    photograph = np.array([7, 3, 7, 7, 9, 3, 100])
    counts = bootstrap_weights(photograph, 4000, np.random.default_rng(0))
    assert counts.shape == (4000, 7)
    first = [int(np.flatnonzero(photograph == p)[0]) for p in photograph]
    assert np.array_equal(counts, counts[:, first])
    per_photograph = counts[:, [0, 1, 4, 6]]
    assert (per_photograph.sum(1) == 4).all()
    assert np.allclose(per_photograph.mean(0), 1, atol=0.06)
    # Binomial(4, 1/4): a subsample without replacement would have no spread here.
    assert np.allclose(per_photograph.var(0), 0.75, atol=0.08)
    assert per_photograph.max() >= 3


def test_nothing_observed_makes_empty_resamples() -> None:
    assert bootstrap_weights(np.zeros(0, np.int64), 5, np.random.default_rng(0)).shape == (5, 0)


def coverage(cluster: bool) -> float:
    """How often the 95 % interval of a mean of clustered observations holds the true mean, zero."""
    rng = np.random.default_rng(3)
    n_photographs, n_each, n_trials = 40, 4, 300
    photograph = np.repeat(np.arange(n_photographs), n_each)
    groups = photograph if cluster else np.arange(len(photograph))
    held = 0
    for _ in range(n_trials):
        values = rng.normal(size=n_photographs)[photograph] + 0.3 * rng.normal(size=len(photograph))
        weights = bootstrap_weights(groups, 200, rng)
        low, high = percentile_interval(weights @ values / weights.sum(1))
        held += bool(low <= 0 <= high)
    return held / n_trials


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    assert 0.9 <= coverage(cluster=True) <= 0.99


def test_interval_that_ignores_photographs_is_too_narrow() -> None:
    assert coverage(cluster=False) < 0.8


def test_percentile_interval_of_known_samples() -> None:
    samples = np.linspace(0, 1, 101)
    low, high = percentile_interval(samples, level=0.9)
    assert (float(low), float(high)) == pytest.approx((0.05, 0.95))
    low, high = percentile_interval(np.stack([samples, samples + 2]), axis=1)
    assert low.tolist() == pytest.approx([0.025, 2.025])
    assert high.tolist() == pytest.approx([0.975, 2.975])


def test_percentile_interval_is_nan_where_most_resamples_failed() -> None:
    samples = np.tile(np.arange(10.0)[:, None], (1, 4))
    samples[:5, 1] = np.nan
    samples[:6, 2] = np.nan
    samples[:, 3] = np.nan
    low, high = percentile_interval(samples, level=0.5)
    assert np.isnan(low).tolist() == [False, False, True, True] == np.isnan(high).tolist()
    assert (low[1], high[1]) == (6, 8)


def test_percentile_interval_takes_infinity_as_failed() -> None:
    samples = np.array([0.0, 1.0, 2.0, np.inf])
    low, high = percentile_interval(samples, level=1.0)
    assert (float(low), float(high)) == (0, 2)


# --- q-values ----------------------------------------------------------------------------------------------


def slow_q_values(scores: list[float], null_scores: list[list[float]]) -> list[float]:
    """The definition, threshold by threshold."""
    q_values = []
    for score in scores:
        rates = [1.0]
        for threshold in scores:
            if threshold <= score:
                n_false = (sum(s >= threshold for draw in null_scores for s in draw) + 1) / len(null_scores)
                rates.append(n_false / sum(s >= threshold for s in scores))
        q_values.append(min(rates))
    return q_values


@settings(deadline=None)
@given(SCORES, st.lists(SCORES, min_size=1, max_size=4))
def test_q_values_follow_their_definition(scores: list[float], null_scores: list[list[float]]) -> None:
    assert family_q_values(scores, null_scores) == pytest.approx(slow_q_values(scores, null_scores))


@settings(deadline=None)
@given(SCORES, st.lists(SCORES, min_size=1, max_size=4))
def test_q_values_fall_with_the_score(scores: list[float], null_scores: list[list[float]]) -> None:
    q_values = family_q_values(scores, null_scores)
    assert ((q_values > 0) & (q_values <= 1)).all()
    for score, q_value in zip(scores, q_values, strict=True):
        assert all(other_q >= q_value for s, other_q in zip(scores, q_values, strict=True) if s <= score)


def test_scores_that_could_not_be_measured_are_never_accepted_and_never_count() -> None:
    null = [[0.2, np.nan], [0.1]]
    assert family_q_values([np.nan, 0.9, 0.8], null).tolist() == pytest.approx([1, 0.25, 0.25])
    assert family_q_values([np.nan], null).tolist() == [1]
    assert family_q_values([], null).tolist() == []


def test_no_family_in_any_null_draw_claims_no_more_than_the_draws_can_show() -> None:
    assert family_q_values([0.9], [[]] * 20).tolist() == pytest.approx([1 / 20])
    assert family_q_values([0.9, 0.8], [[]] * 20).tolist() == pytest.approx([1 / 40, 1 / 40])


def test_without_a_null_draw_there_is_no_q_value() -> None:
    with pytest.raises(EquiscopeError, match="at least one"):
        family_q_values([0.9], [])


@pytest.mark.parametrize("stated", [0.05, 0.2])
def test_measured_false_discovery_rate_stays_under_the_stated(stated: float) -> None:
    rng = np.random.default_rng(11)
    shares, powers, unchecked = [], [], []
    for _ in range(400):
        false = rng.normal(0.3, 0.1, rng.poisson(8)).tolist()
        true = rng.normal(0.6, 0.1, 15).tolist()
        null = [rng.normal(0.3, 0.1, rng.poisson(8)).tolist() for _ in range(20)]
        accepted = family_q_values(true + false, null) <= stated
        shares.append(accepted[15:].sum() / max(accepted.sum(), 1))
        powers.append(accepted[:15].mean())
        unchecked.append(len(false) / (15 + len(false)))
    assert np.mean(shares) <= stated
    # A procedure that accepts nothing, or all, would not do.
    assert np.mean(powers) > 0.6
    assert np.mean(unchecked) > 0.3
