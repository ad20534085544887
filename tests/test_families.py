"""Planted truth, nulls and symmetries of the search for families."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from equiscope.families.circle_poses import (
    GRID_DEG,
    MAX_DISAGREEMENT_DEG,
    MIN_COHERENCE,
    Candidate,
    consensus,
    edge_disagreement_deg,
    find_candidates,
    find_stabiliser_order,
    is_consistent,
    phase_coherence,
    pose_spread_deg,
    resolve_stabiliser,
    synchronise,
)
from equiscope.families.correlations import OrbitCorrelations, correlate_orbits
from equiscope.families.find import find_families
from equiscope.families.layer_families import LayerFamilies
from equiscope.families.tuning import tune_family
from equiscope.foundations.statistics import circular_difference_deg, circular_mean_deg
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses, scramble_responses
from equiscope.transformations.groups import CyclicGroup

ORDER = 16


def tuned(
    poses_deg: list[float],
    *,
    period: int = 1,
    width: float = 2.0,
    n_stimuli: int = 160,
    seed: int = 0,
    shown_deg: np.ndarray | None = None,
) -> np.ndarray:
    """Responses of ideal units to stimuli at random angles: shape (stimulus, element, unit)."""
    rng = np.random.default_rng(seed)
    shown = rng.uniform(0, 360, (n_stimuli, 1, 1))
    if shown_deg is not None:
        shown = shown_deg[:, None, None]
    strength = rng.uniform(0.5, 2, (n_stimuli, 1, 1))
    starts = (np.arange(n_stimuli) % 4 * (360 / ORDER / 4))[:, None, None]
    angle = shown + starts + CyclicGroup(ORDER).angles_deg[None, :, None]
    difference = np.radians(period * (angle - np.array(poses_deg)))
    # Asymmetric, so that the direction of a pose matters.
    return strength * np.exp(width * (np.cos(difference) - 1) + 0.4 * np.sin(2 * difference))


def as_responses(values: np.ndarray) -> Responses:
    n = len(values)
    half = np.repeat([0, 1], [n // 2, n - n // 2])
    bank = Bank("layer", half, np.arange(n), np.zeros((n, 2), np.int64), np.arange(n))
    return Responses(bank, CyclicGroup(ORDER), values.astype(np.float32))


def as_examples(values: np.ndarray, k: int = 4) -> Examples:
    """Examples that say that every unit fires, with its strongest stimuli in each half."""
    n, _, n_units = values.shape
    base = empty_examples("layer", n_units, k)
    image = np.stack([np.argsort(-values[h::2].max(1), axis=0)[:k].T * 2 + h for h in (0, 1)])
    return dataclasses.replace(
        base, n_positions=n, maximum=values.max((0, 1)), value=np.ones_like(base.value), image=image
    )


def search(values: np.ndarray, **options: object) -> LayerFamilies:
    return find_families(as_responses(values), as_examples(values), n_null=20, **options)  # type: ignore[arg-type]


def pose_errors(found: np.ndarray, true: np.ndarray, period: float = 360.0) -> np.ndarray:
    """Differences after the one common offset is taken out, degrees."""
    difference = circular_difference_deg(found, true, period)
    return np.abs(
        circular_difference_deg(difference, circular_mean_deg(difference, period_deg=period), period)
    )


IRREGULAR = [0.0, 37.0, 81.0, 90.0, 171.0, 205.0, 311.0]


def noisy(values: np.ndarray, share: float, seed: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(values + share * values.std() * rng.standard_normal(values.shape), 0)


def random_smooth_units(n_units: int, n_stimuli: int, seed: int) -> np.ndarray:
    """Units that share strength and direction of nothing: each stimulus gives each unit its own angle."""
    rng = np.random.default_rng(seed)
    angle = (
        rng.uniform(0, 2 * np.pi, (n_stimuli, 1, n_units))
        + np.radians(CyclicGroup(ORDER).angles_deg)[None, :, None]
    )
    return rng.uniform(0.5, 2, (n_stimuli, 1, n_units)) * np.exp(2 * (np.cos(angle) - 1))


def sharing_a_direction(phases: np.ndarray, poses_deg: np.ndarray) -> np.ndarray:
    """Units with one strong fundamental at their poses and higher harmonics at phases of their own."""
    rng = np.random.default_rng(0)
    shown = rng.uniform(0, 360, (160, 1, 1))
    starts = (np.arange(160) % 4 * (360 / ORDER / 4))[:, None, None]
    angle = np.radians(shown + starts + CyclicGroup(ORDER).angles_deg[None, :, None] - poses_deg)
    higher = sum(0.45 * np.cos((k + 2) * angle - phases[:, k]) for k in range(3))
    return 2.5 + np.cos(angle) + higher


def nearly_repeating(poses_deg: list[float], shares: dict[int, float], noise: float = 0.0) -> np.ndarray:
    """Copies of a unit with one amplitude for each angular frequency, each with its own noise."""
    rng = np.random.default_rng(0)
    starts = (np.arange(160) % 4 * (360 / ORDER / 4))[:, None, None]
    angle = np.radians(
        rng.uniform(0, 360, (160, 1, 1)) + starts + CyclicGroup(ORDER).angles_deg[None, :, None] - poses_deg
    )
    values = 3 + sum(share * np.cos(frequency * angle - frequency) for frequency, share in shares.items())
    return noisy(values, noise)


class TestSynchronise:
    def test_recovers_irregular_poses_from_noisy_pairs(self) -> None:
        correlations = correlate_orbits(as_responses(noisy(tuned(IRREGULAR), 0.3)), 0)
        candidate = synchronise(correlations, np.arange(7))
        assert candidate.stabiliser_order == 1
        assert pose_errors(candidate.poses_deg, np.array(IRREGULAR)).max() < 1.5
        assert edge_disagreement_deg(correlations, candidate) < 3

    def test_pose_is_counter_clockwise_from_first_to_second(self) -> None:
        # Unit 1 answers when the stimulus is turned 40 degrees further: it is unit 0 turned by +40.
        candidate = synchronise(correlate_orbits(as_responses(tuned([10.0, 50.0])), 0), np.arange(2))
        assert candidate.poses_deg == pytest.approx([0, 40], abs=0.5)

    @pytest.mark.parametrize("period", [2, 4])
    def test_folds_poses_by_the_stabiliser(self, period: int) -> None:
        poses = np.array([0.0, 20.0, 55.0, 70.0])
        correlations = correlate_orbits(as_responses(tuned(list(poses), period=period)), 0)
        candidate = synchronise(correlations, np.arange(4))
        assert candidate.stabiliser_order == period
        assert (candidate.poses_deg < 360 / period).all()
        assert pose_errors(candidate.poses_deg, poses, 360 / period).max() < 2

    @pytest.mark.parametrize(
        ("shares", "looks", "order"), [({3: 1.0, 1: 0.45}, 3, 1), ({4: 1.0, 2: 0.5}, 4, 2), ({3: 1.0}, 3, 3)]
    )
    def test_exact_copies_tell_a_near_repeat_from_a_repeat(
        self, shares: dict[int, float], looks: int, order: int
    ) -> None:
        correlations = correlate_orbits(as_responses(nearly_repeating(IRREGULAR, shares)), 0)
        assert find_stabiliser_order(correlations.autocorrelation(GRID_DEG).mean(1)) == looks
        candidate = resolve_stabiliser(correlations, synchronise(correlations, np.arange(7)))
        assert candidate.stabiliser_order == order
        assert pose_errors(candidate.poses_deg, np.array(IRREGULAR), 360 / order).max() < 0.5

    def test_loose_copies_do_not_tell_a_near_repeat_from_a_repeat(self) -> None:
        values = nearly_repeating(IRREGULAR, {3: 1.0, 1: 0.3}, noise=0.4)
        correlations = correlate_orbits(as_responses(values), 0)
        candidate = resolve_stabiliser(correlations, synchronise(correlations, np.arange(7)))
        assert candidate.stabiliser_order == 3
        assert pose_errors(candidate.poses_deg, np.array(IRREGULAR), 120).max() < 3

    def test_narrow_tuning_is_not_drawn_to_the_sampled_angles(self) -> None:
        poses = np.array([0.0, 28.0, 50.0, 117.0, 230.0])
        values = tuned(list(poses), width=25.0, n_stimuli=600)
        candidate = synchronise(correlate_orbits(as_responses(values), 0), np.arange(5))
        assert pose_errors(candidate.poses_deg, poses).max() < 1


class TestStabiliser:
    def test_orders(self) -> None:
        for order in (2, 3, 4, 6):
            assert find_stabiliser_order(np.cos(np.radians(order * GRID_DEG))) == order
        assert find_stabiliser_order(np.cos(np.radians(GRID_DEG))) == 1

    def test_an_invariant_or_unmeasured_curve_has_none(self) -> None:
        assert find_stabiliser_order(0.998 + 0.002 * np.cos(np.radians(2 * GRID_DEG))) == 1
        assert find_stabiliser_order(np.full(len(GRID_DEG), np.nan)) == 1


class TestPhaseCoherence:
    def test_copies_have_it_and_chance_resemblance_has_not(self) -> None:
        rng = np.random.default_rng(3)
        phases = np.zeros((9, 6))
        phases[1] = np.radians(np.arange(6) * 60)
        poses = phases[1].copy()
        frequency = np.arange(9)[:, None]
        strength = np.array([0.0, 1, 0.5, 0.3, 0.1, 0, 0, 0, 0])[:, None]

        def pairs(series: np.ndarray) -> OrbitCorrelations:
            return OrbitCorrelations(
                (series[:, :, None].conj() * series[:, None, :]).astype(np.complex64), 100
            )

        copies = pairs(strength * np.exp(-1j * frequency * poses))
        arbitrary = strength * np.exp(1j * rng.uniform(0, 2 * np.pi, (9, 6)))
        arbitrary[1] = strength[1] * np.exp(-1j * poses)
        candidate = Candidate(np.arange(6), np.degrees(poses), 1)
        assert phase_coherence(copies, candidate) == pytest.approx(1)
        assert phase_coherence(pairs(arbitrary), candidate) < MIN_COHERENCE
        only_fundamental = strength * (np.arange(9) == 1)[:, None] * np.exp(-1j * frequency * poses)
        assert np.isnan(phase_coherence(pairs(only_fundamental), candidate))


class TestFindCandidates:
    def test_look_alikes_stay_out_and_form_their_own_family(self) -> None:
        copies, alike = tuned(IRREGULAR, width=2.0), tuned([15.0, 140.0, 260.0], width=9.0)
        correlations = correlate_orbits(as_responses(np.concatenate([copies, alike], axis=2)), 0)
        found = find_candidates(correlations, np.arange(10))
        assert [list(c.channels) for c in found] == [[0, 1, 2, 3, 4, 5, 6], [7, 8, 9]]

    # Curves of another width fit best ten degrees earlier.
    @pytest.mark.parametrize(("offset", "n_families"), [(55.0, 1), (45.0, 2)])
    def test_parts_of_a_designed_field_are_joined(self, offset: float, n_families: int) -> None:
        """Quarter turns are exact and other turns are not: at even steps they are one field, else look-alikes."""
        exact, inexact = (
            tuned([0.0, 90.0, 180.0, 270.0], width=2.0),
            tuned([offset + quarter for quarter in (0.0, 90.0, 180.0, 270.0)], width=6.0),
        )
        correlations = correlate_orbits(as_responses(np.concatenate([exact, inexact], axis=2)), 0)
        apart = 1 - correlations.peaks(np.arange(8))[0][:4, 4:].mean()
        assert 0.03 < apart < 0.15
        found = find_candidates(correlations, np.arange(8))
        assert len(found) == n_families
        assert sorted(np.concatenate([c.channels for c in found]).tolist()) == list(range(8))

    def test_one_look_alike_is_let_go(self) -> None:
        # A single unit cannot found a family of its own; it fits well enough to be taken in, and must not stay.
        values = np.concatenate([tuned(IRREGULAR, width=2.0), tuned([140.0], width=9.0)], axis=2)
        correlations = correlate_orbits(as_responses(values), 0)
        (found,) = find_candidates(correlations, np.arange(8))
        assert list(found.channels) == [0, 1, 2, 3, 4, 5, 6]
        everyone = synchronise(correlations, np.arange(8))
        assert 0.75 < consensus(correlations, everyone)[7] < 0.95

    def test_copies_hidden_among_units_that_share_a_direction(self) -> None:
        poses = np.array([0.0, 37.0, 81.0, 140.0, 205.0, 311.0])
        copies = sharing_a_direction(np.tile([0.5, 0.3, 1.1], (6, 1)), poses)
        others = sharing_a_direction(np.random.default_rng(1).uniform(0, 2 * np.pi, (6, 3)), poses + 20)
        correlations = correlate_orbits(as_responses(np.concatenate([copies, others], axis=2)), 0)
        everyone = synchronise(correlations, np.arange(12))
        assert consensus(correlations, everyone).min() > 0.5
        assert phase_coherence(correlations, everyone) < MIN_COHERENCE
        coherent = [c for c in find_candidates(correlations, np.arange(12)) if is_consistent(correlations, c)]
        assert [0, 1, 2, 3, 4, 5] in [c.channels.tolist() for c in coherent]

    def test_pairs_that_do_not_close_are_inconsistent(self) -> None:
        correlations = correlate_orbits(as_responses(tuned(IRREGULAR)), 0)
        candidate = synchronise(correlations, np.arange(7))
        assert is_consistent(correlations, candidate)
        moved = dataclasses.replace(
            candidate, poses_deg=candidate.poses_deg + np.array([0, 25, 0, -25, 0, 25, -25])
        )
        assert edge_disagreement_deg(correlations, moved) > MAX_DISAGREEMENT_DEG
        assert not is_consistent(correlations, moved)

    def test_units_that_are_merely_alike_are_no_family(self) -> None:
        alike = noisy(tuned([0.0, 2.0, 4.0, 357.0]), 0.3)
        correlations = correlate_orbits(as_responses(alike), 0)
        candidate = synchronise(correlations, np.arange(4))
        assert pose_spread_deg(candidate) == pytest.approx(7, abs=2)
        assert phase_coherence(correlations, candidate) > MIN_COHERENCE
        assert search(alike).families == ()
        assert len(search(noisy(tuned([0.0, 2.0, 4.0, 330.0]), 0.3)).families) == 1

    def test_a_loose_family_is_kept_whole(self) -> None:
        values = noisy(tuned(IRREGULAR), 1.0)
        found = find_candidates(correlate_orbits(as_responses(values), 0), np.arange(7))
        assert [len(c.channels) for c in found] == [7]
        assert 0.4 < consensus(correlate_orbits(as_responses(values), 1), found[0]).mean() < 0.9

    def test_two_units_are_no_family_and_no_units_are_no_error(self) -> None:
        correlations = correlate_orbits(as_responses(tuned([0.0, 90.0])), 0)
        assert find_candidates(correlations, np.arange(2)) == []
        assert find_candidates(correlations, np.zeros(0, np.int64)) == []


class TestFindFamilies:
    def test_finds_exactly_the_planted_ones(self) -> None:
        rng = np.random.default_rng(1)
        parts = [
            noisy(tuned(IRREGULAR, seed=1), 0.2),
            noisy(tuned([0.0, 33.0, 95.0, 140.0], period=2, seed=2), 0.2, seed=5),
            random_smooth_units(9, 160, seed=4),
            np.repeat(rng.uniform(0.5, 2, (160, 1, 2)), ORDER, axis=1),
        ]
        values = np.concatenate(parts, axis=2)
        order = rng.permutation(values.shape[2])
        place = np.argsort(order)
        result = search(values[:, :, order])
        assert [sorted(f.channels) for f in result.families] == [sorted(place[:7]), sorted(place[7:11])]
        assert [f.stabiliser_order for f in result.families] == [1, 2]
        by_channel = dict(zip(result.families[0].channels, result.families[0].poses_deg, strict=True))
        assert pose_errors(np.array([by_channel[c] for c in place[:7]]), np.array(IRREGULAR)).max() < 2
        kinds = [result.symmetries[c].kind for c in place]
        assert kinds == ["equivariant"] * 11 + ["neither"] * 9 + ["invariant"] * 2

    def test_reports_holes_and_duplicates(self) -> None:
        family = search(tuned([0.0, 3.0, 40.0, 80.0, 120.0, 160.0, 200.0])).families[0]
        assert family.duplicates == ((0, 1),)
        ((start, end),) = family.holes_deg
        assert start == pytest.approx(200, abs=1)
        assert end == pytest.approx(0, abs=1)
        assert family.gap_deviation_deg == pytest.approx(np.std([3, 37, 40, 40, 40, 40, 160]), abs=1)

    def test_intervals_hold_the_score_and_widen_with_fewer_photographs(self) -> None:
        many = search(noisy(tuned(IRREGULAR, n_stimuli=400), 0.5)).families[0]
        few = search(noisy(tuned(IRREGULAR, n_stimuli=40), 0.5)).families[0]
        for family in (many, few):
            assert family.score_low < family.score < family.score_high
            assert all(m.score_low <= m.score <= m.score_high for m in family.members)
        assert few.score_high - few.score_low > 2 * (many.score_high - many.score_low)

    def test_score_is_of_the_held_out_half(self) -> None:
        # Half 0 holds a family, half 1 noise: found, but nothing of it is left when it is verified.
        values = np.concatenate([tuned(IRREGULAR, n_stimuli=80), random_smooth_units(7, 80, seed=2)])
        result = search(values)
        assert result.families == ()
        assert result.n_refused == 1

    def test_scores_are_those_of_the_verifying_half(self) -> None:
        # The verifying half is noisier: its scores must be the ones that are shown.
        values = np.concatenate([tuned(IRREGULAR, n_stimuli=80), noisy(tuned(IRREGULAR, n_stimuli=80), 1.0)])
        family = search(values).families[0]
        candidate = Candidate(family.channels, family.poses_deg, 1)
        responses = as_responses(values)
        assert [m.score for m in family.members] == pytest.approx(
            consensus(correlate_orbits(responses, 1), candidate), abs=1e-5
        )
        assert family.score < 0.9 < consensus(correlate_orbits(responses, 0), candidate).mean()
        assert family.disagreement["angle_deg"] == pytest.approx(
            edge_disagreement_deg(correlate_orbits(responses, 1), candidate), abs=1e-4
        )

    def test_nothing_is_accepted_beyond_what_the_null_can_show(self) -> None:
        # Twenty draws and one family cannot show a false-discovery rate below 1 / 20.
        values = noisy(tuned(IRREGULAR), 0.3)
        assert search(values, false_discovery_rate=0.05).families[0].q_value == pytest.approx(0.05)
        refused = search(values, false_discovery_rate=0.04)
        assert refused.families == ()
        assert refused.n_refused == 1

    def test_permuting_channels_permutes_families(self) -> None:
        values = np.concatenate([noisy(tuned(IRREGULAR), 0.3), random_smooth_units(6, 160, seed=6)], axis=2)
        order = np.random.default_rng(8).permutation(13)
        plain, permuted = search(values).families[0], search(values[:, :, order]).families[0]
        assert sorted(order[permuted.channels]) == sorted(plain.channels)
        poses = dict(zip(order[permuted.channels], permuted.poses_deg, strict=True))
        assert pose_errors(np.array([poses[c] for c in plain.channels]), plain.poses_deg).max() < 0.1
        assert permuted.score == pytest.approx(plain.score, abs=1e-4)

    def test_turning_all_stimuli_changes_nothing(self) -> None:
        values = noisy(tuned(IRREGULAR), 0.3)
        plain, turned = search(values).families[0], search(np.roll(values, 5, axis=1)).families[0]
        assert turned.poses_deg == pytest.approx(plain.poses_deg, abs=0.01)
        assert turned.score == pytest.approx(plain.score, abs=1e-5)

    def test_inactive_units_take_no_part(self) -> None:
        values = tuned(IRREGULAR)
        values[:, :, 3] = 0
        result = search(values)
        assert result.symmetries[3].kind == "inactive"
        assert 3 not in result.families[0].channels

    def test_a_unit_that_never_varies_is_not_measurable(self) -> None:
        values = tuned(IRREGULAR)
        values[:, :, 3] = 1
        assert search(values).symmetries[3].kind == "not measurable"

    def test_same_seed_same_families(self) -> None:
        values = noisy(tuned(IRREGULAR), 0.5)
        assert search(values, seed=3).families == search(values, seed=3).families

    def test_false_discoveries_stay_under_the_stated_rate(self) -> None:
        values = np.concatenate([noisy(tuned(IRREGULAR), 0.5), random_smooth_units(20, 160, seed=1)], axis=2)
        accepted_false = 0
        for draw in range(20):
            null = scramble_responses(as_responses(values), np.arange(27), np.random.default_rng(draw))
            found = find_families(null, as_examples(values), n_null=20, seed=draw).families
            accepted_false += bool(found)
        assert accepted_false <= 1

    def test_scrambling_one_member_takes_it_out(self) -> None:
        values = noisy(tuned(IRREGULAR), 0.2)
        scrambled = scramble_responses(as_responses(values), np.array([2]), np.random.default_rng(0))
        found = find_families(scrambled, as_examples(values), n_null=20).families
        assert [list(f.channels) for f in found] == [[0, 1, 3, 4, 5, 6]]


class TestJointTuning:
    def test_members_peak_at_their_poses(self) -> None:
        # Stimuli as a survey picks them: upright, each shows the feature at the pose of the unit that it drives.
        driven = np.arange(160) % 7
        values = tuned(IRREGULAR, shown_deg=np.array(IRREGULAR)[driven])
        image = np.full((2, 7, 4), -1)
        for unit in range(7):
            image[1, unit] = np.flatnonzero((driven == unit) & (np.arange(160) >= 80))[:4]
        responses = as_responses(values)
        examples = dataclasses.replace(as_examples(values), image=image)
        family = find_families(responses, examples, n_null=20).families[0]
        tuning = tune_family(responses, examples, family).values
        assert tuning.shape == (7, ORDER)
        assert tuning.max(1) == pytest.approx(np.ones(7))
        angles = CyclicGroup(ORDER).angles_deg
        middles = np.array([circular_mean_deg(angles, row) for row in tuning])
        # The tuning is not symmetric, so its middle is off its peak, for every member alike.
        own = tuned([0.0], shown_deg=np.zeros(1), n_stimuli=1)[0, :, 0]
        expected = circular_difference_deg(middles - circular_mean_deg(angles, own), family.poses_deg)
        assert np.abs(expected).max() < 2

    def test_without_held_out_stimuli_it_is_not_measured(self) -> None:
        values = tuned(IRREGULAR)
        responses, examples = as_responses(values), as_examples(values)
        family = find_families(responses, examples, n_null=20).families[0]
        nothing = dataclasses.replace(examples, image=np.full_like(examples.image, -1))
        assert np.isnan(tune_family(responses, nothing, family).values).all()
