"""Parts of a comparison by hand: who is whose best match, what a null is made of, what became of each family."""

from __future__ import annotations

import dataclasses
from math import nan
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from equiscope import Model, Run
from equiscope.evidence.compare.comparison import ComparedFamily, LayerShare, Match, count_by_layers
from equiscope.evidence.compare.counterparts import (
    Counterpart,
    Counterparts,
    _open_responses,
    _score_interval,
    _summarise_stand_ins,
    find_counterparts,
)
from equiscope.evidence.compare.matching import match_by_layers, mutually_best
from equiscope.evidence.compare.nulls import _deal, other_identity_q_values, scrambled_scores, stand_in_scores
from equiscope.evidence.compare.outcomes import describe_families
from equiscope.evidence.compare.runs import _group, _match
from equiscope.evidence.compare.sides import Side, _stimuli_of_rank
from equiscope.evidence.compare.spectra import (
    FamilyResponses,
    Half,
    best_offsets,
    correlation_series,
    mean_of_measured,
    normalise_spectra,
    orbit_spectra,
    score_held_out,
    turn_spectra,
)
from equiscope.families.family import Family
from equiscope.families.layer_families import NullSummary
from equiscope.measurement.examples import Examples, split_halves
from equiscope.models.geometry import find_geometry
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


def side_of(
    orbits: NDArray[np.float64], n_families: int, layer_of_unit: list[int] | None = None
) -> FamilyResponses:
    """Families of one member each at pose 0, and single units after them; orbits: (stimulus, element, unit)."""
    n_units = orbits.shape[2]
    return FamilyResponses(
        orbits.astype(np.float32), tuple(np.array([i]) for i in range(n_families)), (np.zeros(1),) * n_families,
        (1,) * n_families, np.array(layer_of_unit or [0] * n_units), np.ones(n_units, bool),
    )  # fmt: skip


def half_of(*sides: FamilyResponses) -> Half:
    """All stimuli as one half: a family of one member is its own template."""
    a, b = (normalise_spectra(orbit_spectra(side.responses)) for side in sides)
    return Half((a[:, :, : len(sides[0].members)], b[:, :, : len(sides[1].members)]), (a, b))


def test_stand_ins_are_kin_and_single_units_of_the_own_layer_and_all_of_the_other_network() -> None:
    orbits = np.random.default_rng(1).random((6, 8, 4))
    # Two families and the single unit are of one layer, the third family is of another.
    side = side_of(orbits, 3, [0, 0, 1, 0])
    half = half_of(side, side)
    _, n_sets = stand_in_scores([half, half], (side, side), CyclicGroup(8), 1, seed=0)
    n_kin, n_near, n_far = 1, 2, 3
    assert n_sets == pytest.approx(2 * (n_kin + n_near + n_far) / (3 * 3))


def test_a_lone_copy_in_the_other_network_stands_in() -> None:
    rng = np.random.default_rng(2)
    family, alone = rng.random((20, 8, 1)), rng.random((20, 8, 1))
    a = side_of(np.concatenate([family, alone], axis=2), 1)
    b = side_of(np.concatenate([rng.random((20, 8, 1)), family], axis=2), 1)
    half = half_of(a, b)
    rounds, _ = stand_in_scores([half, half], (a, b), CyclicGroup(8), 3, seed=0)
    # In each round once: the pairs are too few for the other stand-in to be as good.
    assert [sum(score > 0.99 for score in found) for found in rounds] == [1, 1, 1]


def test_stand_ins_are_dealt_in_sets_as_large_as_the_other_networks_layers() -> None:
    rng = np.random.default_rng(3)
    a, b = side_of(rng.random((20, 8, 9)), 1), side_of(rng.random((20, 8, 4)), 4)
    half = half_of(a, b)
    rounds, _ = stand_in_scores([half, half], (a, b), CyclicGroup(8), 1, seed=0)
    # The family of a: 8 units in two sets of four. Those of b: 4 kin and 8 units one by one.
    assert len(rounds[0]) == 2 + 12


def test_scrambling_leaves_no_agreement_in_either_direction() -> None:
    side = side_of(np.random.default_rng(4).random((200, 8, 1)), 1)
    half = half_of(side, side)
    draws = scrambled_scores([half, half], (side, side), CyclicGroup(8), 5, seed=0)
    assert [len(draw) for draw in draws] == [1] * 5
    assert max(score for draw in draws for score in draw) < 0.3


def test_what_stand_ins_give_is_told_for_a_set_as_large_as_the_other_network() -> None:
    null = _summarise_stand_ins([[0.5], [0.5, 0.7]], 0.6, 2.0)
    assert (null.n_draws, null.families_per_draw, null.families_expected) == (2, 3 / 4, 1 / 4)


# --- scores of pairs ---------------------------------------------------------------------------------------


def waves(phases: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orbits of one unit over eight elements, one wave for each stimulus, shape (stimulus, 8, 1)."""
    return 1 + np.cos(2 * np.pi / 8 * (np.arange(8) - phases[:, None]))[:, :, None]


@pytest.fixture(scope="module")
def moved_between_halves() -> tuple[FamilyResponses, FamilyResponses, NDArray[np.int64]]:
    """Two families that agree at an offset of 2 on one half of the photographs, and at none on the other."""
    photographs = np.arange(60)
    phases = np.random.default_rng(5).uniform(0, 8, 60)
    is_first = split_halves(photographs.tolist(), 0) == 0
    return side_of(waves(phases), 1), side_of(waves(phases + 2 * is_first), 1), photographs


def test_an_interval_is_of_scores_at_the_offset_of_the_other_half(
    moved_between_halves: tuple[FamilyResponses, FamilyResponses, NDArray[np.int64]],
) -> None:
    a, b, photographs = moved_between_halves
    shown = _open_responses(a, b, CyclicGroup(8), photographs, 0)
    assert _score_interval(shown, (0, 0), [0.0, 2.0], 0) == pytest.approx((1.0, 1.0), abs=1e-3)
    low, high = _score_interval(shown, (0, 0), [2.0, 0.0], 0)
    # A quarter of a turn away waves do not correlate.
    assert -0.3 < low < high < 0.3


def test_the_offset_is_that_of_both_halves_together(
    moved_between_halves: tuple[FamilyResponses, FamilyResponses, NDArray[np.int64]],
) -> None:
    a, b, photographs = moved_between_halves
    (pair,) = find_counterparts(a, b, CyclicGroup(8), photographs, n_draws=1).pairs
    assert pair.offset == pytest.approx(1.0, abs=0.1)
    assert pair.offset_difference == pytest.approx(2.0, abs=0.1)


def test_offsets_of_the_halves_differ_by_the_shorter_way_round() -> None:
    photographs, phases = np.arange(60), np.random.default_rng(5).uniform(0, 8, 60)
    is_first = split_halves(photographs.tolist(), 0) == 0
    a, b = side_of(waves(phases), 1), side_of(waves(phases + 6 * is_first), 1)
    (pair,) = find_counterparts(a, b, CyclicGroup(8), photographs, n_draws=1).pairs
    assert pair.offset_difference == pytest.approx(2.0, abs=0.1)


def test_strong_units_count_as_much_as_weak_ones() -> None:
    responses = RNG.random((5, 8, 2)).astype(np.float32)
    strong = orbit_spectra(responses * np.array([1.0, 100.0], np.float32))
    assert strong == pytest.approx(orbit_spectra(responses), abs=1e-4)


def test_offsets_are_told_in_degrees_and_judged_each_by_its_own_q_value() -> None:
    pair = Counterpart(0, 0, 2.0, 0.5, 0.9, 0.8, 1.0, 0.01, 0.2)
    match = _match("rotation", make_family("a1"), make_family("b1"), pair, CyclicGroup(8), 0.05)
    assert (match.a, match.b, match.offset, match.offset_difference) == ("a1", "b1", 90.0, 22.5)
    assert (match.is_counterpart, match.is_alike) == (True, False)
    exchanged = dataclasses.replace(pair, offset=1.0, q_value=0.2, pose_q_value=0.05)
    match = _match("contrast", make_family("a1"), make_family("b1"), exchanged, Involution("contrast"), 0.05)
    assert (match.offset, match.offset_difference) == (1.0, 0.5)
    assert (match.is_counterpart, match.is_alike) == (False, True)


def test_both_networks_are_shown_the_angles_of_the_finer_survey() -> None:
    coarse, fine = (cast(Run, SimpleNamespace(manifest={"settings": {"angles": n}})) for n in (8, 16))
    assert _group(coarse, fine, "rotation").order == _group(fine, coarse, "rotation").order == 16


def test_stimuli_are_those_that_a_member_answered_to() -> None:
    """The second member did not answer to the second of its images."""
    geometry = find_geometry(Model(nn.Sequential(nn.Conv2d(3, 2, 3))), ["0"])["0"]
    image = np.array([[[0, 1], [2, 6]], [[3, 4], [5, 6]]])
    value = np.array([[[2.0, 1.0], [2.0, 1.0]], [[2.0, 1.0], [2.0, 0.0]]])
    nothing = np.zeros(2)
    examples = Examples(
        "0", 1, np.ones(2, np.int64), nothing, nothing, nothing, value.astype(np.float32), image,
        np.zeros((2, 2, 2, 2), np.int64),
    )  # fmt: skip
    family = a_family("rotation", [a_member("0", i, angle_deg=0.0) for i in (0, 1)])
    run = cast(Run, SimpleNamespace(families=(family,)))
    side = Side(run, cast(Model, None), {"0": geometry}, {"0": examples}, np.ones(7, bool), True)
    # Those of the verifying half.
    found = [[row[0] for row in _stimuli_of_rank(side, "rotation", rank)] for rank in range(3)]
    assert found == [[3, 5], [4], []]


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
