"""Parts of a comparison by hand: who is whose best match, what a null is made of, what became of each family."""

from __future__ import annotations

from math import nan

import numpy as np
import pytest
from numpy.typing import NDArray

from equiscope.evidence.compare.comparison import ComparedFamily, LayerShare, Match, count_by_layers
from equiscope.evidence.compare.counterparts import Counterparts
from equiscope.evidence.compare.matching import match_by_layers, mutually_best
from equiscope.evidence.compare.nulls import _deal, other_identity_q_values
from equiscope.evidence.compare.outcomes import describe_families
from equiscope.evidence.compare.spectra import (
    FamilyResponses,
    best_offsets,
    correlation_series,
    mean_of_measured,
    normalise_spectra,
    orbit_spectra,
    score_held_out,
    turn_spectra,
)
from equiscope.families.family import Family, NullSummary
from equiscope.transformations.groups import CyclicGroup, Involution
from hand_made import a_family, a_member

RNG = np.random.default_rng(0)


# --- matching ----------------------------------------------------------------------------------------------


def test_each_must_be_the_others_best() -> None:
    # 0 prefers 0, which prefers 1.
    table = np.array([[0.9, 0.2], [0.95, 0.1]])
    assert mutually_best([table]) == [(1, 0)]


def test_each_must_be_the_others_best_on_either_half() -> None:
    first, second = np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([[0.3, 0.4], [0.1, 0.8]])
    assert mutually_best([first]) == [(0, 0), (1, 1)]
    # On the other half 0 prefers 1.
    assert mutually_best([first, second]) == mutually_best([second, first]) == [(1, 1)]
    # On the other half 0 has another best match, whose best match it is.
    assert mutually_best([first, np.array([[0.3, 0.9], [0.1, 0.8]])]) == []
    # On the other half 0 is preferred by 1, but prefers itself.
    assert mutually_best([first, np.array([[0.3, 0.1], [0.4, 0.8]])]) == [(1, 1)]


def test_what_was_not_measured_is_nobodys_best() -> None:
    assert mutually_best([np.array([[-np.inf]])]) == []
    assert mutually_best([np.array([[0.5]]), np.array([[-np.inf]])]) == []
    assert mutually_best([np.zeros((0, 3))]) == []


def test_families_are_matched_between_every_two_layers() -> None:
    table = np.array([[0.9, 0.8], [0.7, 0.95]])
    # Of one layer each: either has a best match in either layer of the other network.
    pairs = match_by_layers([table], np.array([0, 1]), np.array([0, 1]))
    assert pairs == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert match_by_layers([table], np.array([0, 0]), np.array([0, 0])) == [(0, 0), (1, 1)]


# --- series ------------------------------------------------------------------------------------------------


def series_of(curves: NDArray[np.float64], order: int) -> NDArray[np.complex64]:
    """Curves over offsets, shape (offset, a, b), as `correlation_series` gives them."""
    series = np.fft.rfft(curves, axis=0) / order
    series[1:] *= 2
    return np.asarray(series, np.complex64)


def test_the_best_offset_is_that_of_the_curve() -> None:
    order = 16
    at = np.array([[2.3, 9.75], [15.9, 0.0]])
    curves = np.exp(np.cos(2 * np.pi / order * (np.arange(order)[:, None, None] - at)))
    offsets, values = best_offsets(series_of(curves, order), CyclicGroup(order))
    assert (offsets + 0.5) % order == pytest.approx((at + 0.5) % order, abs=0.01)
    assert values == pytest.approx(np.e, rel=1e-3)


def test_an_exchange_has_no_offset_between() -> None:
    # Read between its two elements the curve is highest at 0.75.
    series = np.array([[[0.45]], [[0.05 * np.exp(-0.75j * np.pi)]]], np.complex64)
    offsets, values = best_offsets(series, Involution("contrast"))
    assert offsets.tolist() == [[1.0]]
    assert values[0, 0] == pytest.approx(0.45 + 0.05 * np.cos(0.25 * np.pi))


def test_what_was_not_measured_has_no_best_offset() -> None:
    series = np.full((9, 1, 1), nan, np.complex64)
    assert best_offsets(series, CyclicGroup(16))[1].tolist() == [[-np.inf]]


def test_a_score_is_read_at_the_offset_that_the_other_half_chose() -> None:
    order = 8
    turns = np.arange(order)[:, None, None]
    first, second = (series_of(np.cos(2 * np.pi / order * (turns - at)), order) for at in (0.0, 2.0))
    offsets = [np.array([[0.0]]), np.array([[2.0]])]
    # Either half alone would score 1 at its own offset; a quarter of a turn away cosines are 0.
    assert score_held_out([first, second], offsets, order) == pytest.approx(0.0, abs=1e-6)
    assert score_held_out([first, second], offsets[::-1], order) == pytest.approx(1.0)


def test_correlations_of_series_are_those_of_orbits() -> None:
    order = 8
    responses = RNG.random((20, order, 2)).astype(np.float32)
    turned = np.roll(responses[:, :, 1], 3, axis=1)
    plain = normalise_spectra(orbit_spectra(np.stack([responses[:, :, 0], turned], axis=2)))
    series = correlation_series(plain[:, :, :1], plain[:, :, 1:])
    at_3 = (series * np.exp(2j * np.pi / order * np.arange(5) * 3)[:, None, None]).real.sum(0)
    expected = np.corrcoef(responses[:, :, 0].ravel(), responses[:, :, 1].ravel())[0, 1]
    assert at_3[0, 0] == pytest.approx(expected, abs=1e-5)
    back = turn_spectra(plain[:, :, 1:], np.array([3.0]), order)
    assert correlation_series(plain[:, :, :1], back).sum(0).real[0, 0] == pytest.approx(expected, abs=1e-5)


def test_a_response_that_does_not_vary_is_not_measured() -> None:
    responses = np.ones((20, 8, 2), np.float32)
    responses[:, :, 1] += RNG.random((20, 8))
    # One in a thousand of the response is rounding; a tenth is not.
    responses[:, :, 0] += 1e-3 * RNG.random((20, 8))
    found = normalise_spectra(orbit_spectra(responses))
    assert np.isnan(found[:, :, 0]).all()
    assert (np.abs(found[:, :, 1]) ** 2).sum() == pytest.approx(1.0, rel=1e-5)


def test_a_mean_leaves_out_what_is_no_number() -> None:
    values = np.array([[1.0, nan, 3.0], [nan, nan, nan]])
    found = mean_of_measured(values, 1)
    assert found[0] == 2.0
    assert np.isnan(found[1])


def test_single_units_are_those_that_change_and_are_in_no_family() -> None:
    side = FamilyResponses(
        np.zeros((1, 4, 6), np.float32), (np.array([0, 1]), np.array([4])), (np.zeros(2), np.zeros(1)), (1, 1),
        np.array([0, 0, 0, 0, 1, 1]), np.array([True, True, True, False, True, True]),
    )  # fmt: skip
    assert side.singles.tolist() == [2, 5]
    assert side.layer_of_family.tolist() == [0, 1]
    # Families of other layers are no kin, nor is a family its own.
    assert not side.is_kin().any()


# --- nulls -------------------------------------------------------------------------------------------------


def test_every_stand_in_is_dealt_once_a_round() -> None:
    hands = list(_deal(np.arange(10), np.array([4, 2])))
    assert [hand.tolist() for hand in hands] == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert [h.tolist() for h in _deal(np.arange(3), np.array([5]))] == [[0, 1, 2]]


def test_one_more_false_pair_than_was_seen_is_counted_each_round() -> None:
    # Ten rounds, each of which holds twice the pairs that were tried; none scores as high.
    rounds = [[0.1, 0.2]] * 10
    assert other_identity_q_values([0.9], rounds, 2.0)[0] == pytest.approx((10 + 1) / 20)
    assert other_identity_q_values([0.9], rounds, 20.0)[0] == pytest.approx((10 + 1) / 200)
    # Where stand-ins score as high it is no counterpart.
    assert other_identity_q_values([0.9], [[0.95, 0.92]] * 10, 2.0)[0] == 1.0


def test_without_stand_ins_nothing_is_a_counterpart() -> None:
    assert other_identity_q_values([0.9, 0.8], [[]] * 5, 0.0).tolist() == [1.0, 1.0]


# --- what became of each family ----------------------------------------------------------------------------


def make_family(name: str, poses_deg: tuple[float, ...] = (90.0, 0.0)) -> Family:
    return a_family(
        "rotation", [a_member("l", i, angle_deg=pose) for i, pose in enumerate(poses_deg)], name=name
    )


def make_match(a: str, b: str, *, is_counterpart: bool, is_alike: bool) -> Match:
    return Match("rotation", a, b, is_counterpart, is_alike, 0.9, 0.8, 1.0, 0.01, 0.01, 0.0, 0.0)


@pytest.mark.parametrize(
    ("is_counterpart", "is_alike", "reason"),
    [
        (True, True, ""),
        (True, False, ""),
        (False, True, "alike in pose, but no closer than other families"),
        (False, False, "no better than by chance"),
    ],
)
def test_a_family_without_a_counterpart_is_told_why(
    is_counterpart: bool, is_alike: bool, reason: str
) -> None:
    families = [[make_family("a1")], [make_family("b1"), make_family("b2")]]
    nothing = NullSummary(0, 0.0, 0.0, nan)
    found = Counterparts((), np.array([[0.4, 0.9]]), nothing, nothing)
    match = make_match("a1", "b2", is_counterpart=is_counterpart, is_alike=is_alike)
    partners = {("a", "a1"): match, ("b", "b2"): match}
    a1, b1, b2 = describe_families(families, found, partners, "rotation", "")
    assert reason in a1.reason
    assert bool(a1.reason) == bool(reason)
    assert (a1.counterpart, b2.counterpart) == (("b2", "a1") if is_counterpart else (None, None))
    assert (a1.nearest, a1.nearest_score, b1.nearest, b1.nearest_score) == ("b2", 0.9, "a1", 0.4)
    assert "on both halves" in b1.reason
    assert [m.pose for m in a1.members] == [0.0, 90.0]


def test_a_family_that_never_answered_is_told_so() -> None:
    nothing = NullSummary(0, 0.0, 0.0, nan)
    found = Counterparts((), np.array([[nan]]), nothing, nothing)
    a1, b1 = describe_families([[make_family("a1")], [make_family("b1")]], found, {}, "rotation", "")
    for entry in (a1, b1):
        assert entry.reason == "its members do not respond to the shared stimuli"
        assert entry.nearest is None
        assert np.isnan(entry.nearest_score)
    (alone,) = describe_families([[make_family("a1")], []], None, {}, "rotation", "b has no family")
    assert alone.reason == "b has no family"


def test_counterparts_are_counted_by_pairs_of_layers() -> None:
    def compared(run: str, name: str, layer: str) -> ComparedFamily:
        return ComparedFamily(run, name, layer, "rotation", 1, None, None, nan, "", ())

    families = [
        compared("a", "a1", "x"),
        compared("a", "a2", "x"),
        compared("b", "b1", "y"),
        compared("b", "b2", "z"),
    ]
    matches = [
        make_match("a1", "b1", is_counterpart=True, is_alike=True),
        make_match("a2", "b2", is_counterpart=False, is_alike=True),
        make_match("a1", "b2", is_counterpart=False, is_alike=False),
    ]
    assert count_by_layers(matches, families) == (
        LayerShare("rotation", "x", "y", 2, 1, 1, 0),
        LayerShare("rotation", "x", "z", 2, 1, 0, 1),
    )
