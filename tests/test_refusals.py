"""What each space of poses refuses: for every guard an impostor that passes all others.

Every impostor comes with what is asserted to be well about it, so that what refuses it is the one guard that is meant.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from equiscope.families import circle_poses as circle
from equiscope.families import line, torus
from equiscope.families.correlations import (
    OrbitCorrelations,
    TorusCorrelations,
    correlate_orbits,
    correlate_torus,
)
from equiscope.families.family import INVARIANCE_CUT
from equiscope.families.find import find_families, open_search
from equiscope.families.layer_families import UnitPair
from equiscope.families.linkage import farthest_company
from equiscope.families.pair import PairCorrelations, correlate_pairs
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import CyclicGroup, Involution, Segment, TorusGroup

Floats = np.ndarray


def examples_of(n_units: int, layer: str = "layer") -> Examples:
    found = empty_examples(layer, n_units, 2)
    return Examples(**{**vars(found), "maximum": np.ones(n_units)})


def as_responses(values: Floats, group: Any, photograph: Floats | None = None) -> Responses[Any]:
    """Responses, shape (stimulus, element, unit), the first half of the stimuli of the half that finds."""
    n = len(values)
    half = np.repeat([0, 1], [n // 2, n - n // 2])
    own = np.arange(n) if photograph is None else photograph
    bank = Bank("layer", half, np.arange(n), np.zeros((n, 2), np.int64), own)
    return Responses(bank, group, values.astype(np.float32))


# Pairs --------------------------------------------------------------------------------------------------------------

N_PAIRS = 400


def pair_of(likeness: float, oddness: float, *, seed: int = 0) -> Floats:
    """Two units, shape (stimulus, element, unit): what they share of what mirroring keeps, and what it turns round.

    Each is ``even + odd`` as it is and ``even - odd`` mirrored, the odd parts of the two being opposite; both have
    variance one, ``oddness`` of it odd. So each correlates ``1 - 2 oddness`` with itself mirrored, and with the other
    ``(1 - oddness) likeness + oddness`` mirrored, twice the oddness more than as they are.
    """
    rng = np.random.default_rng(seed)
    # Of exactly the variances and correlations that are said, on either half.
    halves = []
    for _ in range(2):
        draws = rng.normal(size=(N_PAIRS // 2, 3))
        draws -= draws.mean(0)
        draws = np.linalg.qr(draws)[0] * np.sqrt(N_PAIRS // 2)
        even = np.sqrt(1 - oddness) * draws[:, :2] @ np.array([[1, likeness], [0, np.sqrt(1 - likeness**2)]])
        odd = np.sqrt(oddness) * draws[:, 2:] * [1, -1]
        halves.append(np.stack([even + odd, even - odd], axis=1))
    return 10 + np.concatenate(halves)


def find_pairs(values: Floats, photograph: Floats | None = None, **options: Any) -> list[list[int]]:
    responses = as_responses(values, Involution("reflection"), photograph)
    found = find_families(responses, examples_of(values.shape[2]), **{"n_null": 40} | options)
    return [family.channels.tolist() for family in found.families]


def test_a_pair_is_more_alike_than_either_is_to_itself() -> None:
    assert find_pairs(pair_of(likeness=0.9, oddness=0.3)) == [[0, 1]]
    values = pair_of(likeness=0.54, oddness=0.17)
    of = correlate_pairs(as_responses(values, Involution("reflection")), 1)
    # It varies, it gains more than any pair of the null, and yet each is more like itself mirrored.
    assert of.changed[0, 0] < INVARIANCE_CUT
    assert of.gain[0, 1] > 0.4
    assert of.changed[0, 1] < of.changed[0, 0]
    assert find_pairs(values) == []


def test_units_that_are_nearly_symmetric_are_paired_only_if_much_nearer_to_the_other() -> None:
    assert find_pairs(pair_of(likeness=0.975, oddness=0.12)) == [[0, 1]]
    values = pair_of(likeness=0.78, oddness=0.12)
    of = correlate_pairs(as_responses(values, Involution("reflection")), 1)
    assert of.changed[0, 0] > INVARIANCE_CUT
    assert of.changed[0, 1] > of.changed[0, 0]
    assert of.gain[0, 1] > 0.4
    assert find_pairs(values) == []


def pair_search(n_units: int = 2) -> Any:
    values = np.random.default_rng(0).normal(size=(40, 2, n_units)) + 10
    return open_search(as_responses(values, Involution("reflection")), examples_of(n_units))


@pytest.mark.parametrize(("same", "is_kept"), [(0.5, True), (0.6, False), (0.7, False)])
def test_a_pair_that_gains_nothing_by_mirroring_is_not_held(same: float, is_kept: bool) -> None:
    correlations = PairCorrelations(np.array([[1.0, same], [same, 1.0]]), np.array([[0.1, 0.6], [0.6, 0.1]]))
    (held,) = pair_search().verify(correlations, [(0, 1)])
    assert (held is not None) == is_kept
    if held is not None:
        assert held[0] == (0, 1)
        assert held[1] == pytest.approx(0.1 / 0.5)


def test_a_margin_that_rests_on_one_photograph_is_not_above_zero_in_its_interval() -> None:
    # What little turns round in the other photographs turns round alike, which speaks against a pair.
    values = pair_of(likeness=0.9, oddness=0.0) + 0.05 * np.random.default_rng(3).normal(
        size=(N_PAIRS, 1, 1)
    ) * np.array([1.0, -1.0]).reshape(1, 2, 1)
    odd = 3.0 * np.sign(np.random.default_rng(1).normal(size=N_PAIRS // 8))
    for half in (0, N_PAIRS // 2):
        own = slice(half, half + N_PAIRS // 8)
        for element, sign in ((0, 1), (1, -1)):
            values[own, element, 0] += sign * odd
            values[own, element, 1] -= sign * odd
    # All that speaks for one is in one of the four photographs of each half.
    one = np.repeat(np.arange(8), N_PAIRS // 8)
    responses = as_responses(values, Involution("reflection"))
    of = correlate_pairs(responses, 1)
    assert of.margin[0, 1] > 0.2
    assert of.changed[0, 1] > of.changed[0, 0]
    assert find_pairs(values) == [[0, 1]]
    assert find_pairs(values, one) == []


def test_units_are_paired_if_each_is_the_others_best() -> None:
    # The first is a copy of the last, but noisy: its best is the middle one, whose best is the last.
    pair = pair_of(0.9, 0.3)
    values = np.concatenate([pair[:, :, 1:], pair], axis=2)
    values[:, :, 0] += 0.6 * np.random.default_rng(2).normal(size=values.shape[:2])
    of = correlate_pairs(as_responses(values, Involution("reflection")), 1)
    assert of.changed[0, 1] > 0.6
    assert of.changed[0, 1] > of.changed[0, 0]
    assert find_pairs(values) == [[1, 2]]


def test_a_pair_must_correlate_as_much_as_was_asked_for() -> None:
    values = pair_of(likeness=0.2, oddness=0.45)
    assert find_pairs(values) == [[0, 1]]
    assert find_pairs(values, min_score=0.7) == []


# Circles ------------------------------------------------------------------------------------------------------------

ORDER = 16
IRREGULAR = [0.0, 37.0, 81.0, 90.0, 171.0, 205.0, 311.0]


def shown_deg(n_stimuli: int = 160, seed: int = 0) -> tuple[Floats, Floats]:
    """Strength of each stimulus and the angle at which each element shows it, shape (stimulus, element, 1)."""
    rng = np.random.default_rng(seed)
    starts = np.arange(n_stimuli) % 4 * (360 / ORDER / 4)
    angle = rng.uniform(0, 360, n_stimuli) + starts
    strength = rng.uniform(0.5, 2, (n_stimuli, 1, 1))
    return strength, angle[:, None, None] + CyclicGroup(ORDER).angles_deg[None, :, None]


def bumps(poses_deg: list[float], width: float = 2.0, seed: int = 0) -> Floats:
    strength, angle = shown_deg(seed=seed)
    away = np.radians(angle - np.array(poses_deg))
    return strength * np.exp(width * (np.cos(away) - 1) + 0.4 * np.sin(2 * away))


def waves(poses_deg: list[float]) -> Floats:
    """Units of one wave, so that there is nothing higher to be coherent."""
    strength, angle = shown_deg()
    return strength * (1 + np.cos(np.radians(angle - np.array(poses_deg))))


def noisy(values: Floats, share: float, seed: int = 9) -> Floats:
    noise = np.random.default_rng(seed).standard_normal(values.shape)
    return np.maximum(values + share * values.std() * noise, 0)


def correlated(values: Floats) -> OrbitCorrelations:
    return correlate_orbits(as_responses(values, CyclicGroup(ORDER)), 0)


def judged(correlations: OrbitCorrelations, candidate: circle.Candidate) -> tuple[bool, bool, bool]:
    """Whether members are turned at all, are coherent, and close their cycles."""
    return (
        circle.pose_spread_deg(candidate) >= circle.MIN_SPREAD_DEG,
        not circle.phase_coherence(correlations, candidate) < circle.MIN_COHERENCE,
        circle.edge_disagreement_deg(correlations, candidate) <= circle.MAX_DISAGREEMENT_DEG,
    )


def test_copies_pass_every_guard_of_a_circle() -> None:
    for values in (bumps(IRREGULAR), waves(IRREGULAR)):
        correlations = correlated(values)
        candidate = circle.synchronise(correlations, np.arange(7))
        assert judged(correlations, candidate) == (True, True, True)
        assert circle.is_consistent(correlations, candidate)


def test_units_that_are_not_turned_are_no_family_of_a_circle() -> None:
    correlations = correlated(bumps([0.0, 4.0, 9.0, 14.0]))
    candidate = circle.synchronise(correlations, np.arange(4))
    assert judged(correlations, candidate) == (False, True, True)
    assert not circle.is_consistent(correlations, candidate)


def test_units_whose_finer_tuning_disagrees_are_no_family_of_a_circle() -> None:
    strength, angle = shown_deg()
    away = np.radians(angle - np.array(IRREGULAR))
    phase = np.random.default_rng(3).uniform(0, 2 * np.pi, (2, 7))
    values = strength * (
        3 + 1.5 * np.cos(away) + 0.3 * sum(np.cos((k + 2) * away - phase[k]) for k in (0, 1))
    )
    correlations = correlated(values)
    candidate = circle.synchronise(correlations, np.arange(7))
    assert judged(correlations, candidate) == (True, False, True)
    assert not circle.is_consistent(correlations, candidate)


def test_units_whose_pairs_do_not_close_are_no_family_of_a_circle() -> None:
    correlations = correlated(waves(IRREGULAR))
    candidate = circle.synchronise(correlations, np.arange(7))
    moved = dataclasses.replace(
        candidate, poses_deg=candidate.poses_deg + np.array([0, 20, 0, -20, 0, 20, -20])
    )
    assert judged(correlations, moved) == (True, True, False)
    assert not circle.is_consistent(correlations, moved)


@pytest.mark.parametrize(("noise", "kind"), [(0.0, "equivariant"), (0.25, "invariant")])
def test_units_that_hardly_vary_are_in_a_family_only_if_their_copies_are_much_nearer(
    noise: float, kind: str
) -> None:
    strength, angle = shown_deg()
    away = np.radians(angle - np.array(IRREGULAR))
    values = strength * (2 + 0.4 * np.exp(2 * (np.cos(away) - 1) + 0.4 * np.sin(2 * away)))
    responses = as_responses(noisy(values, noise), CyclicGroup(ORDER))
    correlations = correlate_orbits(responses, 0)
    assert correlations.autocorrelation(circle.GRID_DEG).min(0).min() > INVARIANCE_CUT
    assert circle.is_consistent(correlations, circle.synchronise(correlations, np.arange(7)))
    found = find_families(responses, examples_of(7))
    assert len(found.families) == (kind == "equivariant")
    assert {line.kind for line in found.symmetries} == {kind}


@pytest.mark.parametrize(("noise", "n_families"), [(0.3, 3), (0.9, 2)])
def test_among_exact_copies_close_ones_keep_company_and_loose_ones_do_not(
    noise: float, n_families: int
) -> None:
    exact = [bumps(IRREGULAR[:5]), bumps([p + 9 for p in IRREGULAR[:5]], width=7.0, seed=1)]
    loose = noisy(bumps(IRREGULAR[:5], width=3.0, seed=2), noise)
    responses = as_responses(np.concatenate([*exact, loose], axis=2), CyclicGroup(ORDER))
    space = open_search(responses, examples_of(15))
    closeness = sorted(space.closeness(space.finding, space.propose(space.finding)))
    assert closeness[1] > 0.99
    # Such distances are beyond what is company elsewhere.
    assert 1 - closeness[0] > farthest_company(closeness)
    assert len(find_families(responses, examples_of(15)).families) == n_families


def parts_of(one: Floats, other: Floats, n: int = 4) -> tuple[OrbitCorrelations, list[circle.Candidate]]:
    correlations = correlated(np.concatenate([one, other], axis=2))
    members = (np.arange(n), np.arange(n, 2 * n))
    return correlations, [circle.synchronise(correlations, own) for own in members]


QUARTERS = np.array([0.0, 90.0, 180.0, 270.0])


@pytest.mark.parametrize(
    ("one", "other", "is_joined"),
    [
        (bumps(list(QUARTERS)), bumps(list(QUARTERS + 55), width=6.0), True),
        # Not at even steps together: curves of another width fit best ten degrees earlier.
        (bumps(list(QUARTERS)), bumps(list(QUARTERS + 40), width=6.0), False),
        # Look-alikes at even steps, not copies.
        (bumps(list(QUARTERS)), bumps(list(QUARTERS + 61), width=30.0), False),
        # Look-alikes that differ across the parts only: with exact partners counted in, they are 0.12 apart.
        (bumps(list(QUARTERS)), bumps(list(QUARTERS + 59), width=20.0), False),
        # Copies, none of them exact.
        (noisy(bumps(list(QUARTERS)), 0.25), noisy(bumps(list(QUARTERS + 45)), 0.25, seed=1), False),
        # Exact copies, at even steps only together.
        (bumps([0.0, 45.0, 180.0, 225.0]), bumps([90.0, 135.0, 270.0, 315.0]), False),
    ],
    ids=["parts", "uneven together", "look-alikes", "look-alikes across", "not exact", "uneven apart"],
)
def test_only_parts_of_one_designed_field_are_joined(one: Floats, other: Floats, is_joined: bool) -> None:
    correlations, found = parts_of(one, other)
    joined = circle._join_parts(correlations, found)
    assert sorted(len(candidate.channels) for candidate in joined) == ([8] if is_joined else [4, 4])


def fourfold(poses_deg: list[float], *, odd: float = 0.0, high: float = 0.0) -> Floats:
    """Units that repeat every quarter of a turn but for a small wave, and have as fine a one as can be sampled."""
    strength, angle = shown_deg()
    away = np.radians(angle - np.array(poses_deg))
    return strength * (2 + np.cos(4 * away) + odd * np.cos(away) + high * np.cos(8 * away))


def test_the_finest_wave_has_no_phase_to_be_coherent() -> None:
    poses = [56.0, 81.0, 70.0, 20.0, 27.0]
    correlations = correlated(fourfold(poses, high=0.2))
    candidate = circle.synchronise(correlations, np.arange(5))
    assert candidate.stabiliser_order == 4
    # As if it were measured like the others.
    assert circle.phase_coherence(dataclasses.replace(correlations, has_nyquist=False), candidate) < 0.75
    assert np.isnan(circle.phase_coherence(correlations, candidate))
    assert (
        len(
            find_families(
                as_responses(fourfold(poses, high=0.2), CyclicGroup(ORDER)), examples_of(5)
            ).families
        )
        == 1
    )


@pytest.mark.parametrize(("odd", "order"), [(0.0, 4), (0.2, 1)])
def test_exact_copies_tell_what_nearly_repeats_from_what_does(odd: float, order: int) -> None:
    correlations = correlated(fourfold([0.0, 100.0, 200.0, 290.0], odd=odd))
    plain = circle.synchronise(correlations, np.arange(4))
    assert plain.stabiliser_order == 4
    assert 1 - circle.consensus(correlations, plain).mean() < 0.05
    assert circle.resolve_stabiliser(correlations, plain).stabiliser_order == order


# The torus ----------------------------------------------------------------------------------------------------------

GROUP = TorusGroup(8, 16)
TORAL = [(0.0, 0.0), (30.0, 200.0), (75.0, 60.0), (140.0, 310.0), (200.0, 95.0), (290.0, 150.0)]


def on_torus(poses: list[tuple[float, float]]) -> tuple[Floats, Floats, Floats]:
    """Strength of each stimulus, and how far each element shows it from each unit's hue and angle, radians."""
    rng = np.random.default_rng(0)
    n = 160
    index = np.arange(n)
    hue = rng.uniform(0, 360, n)[:, None] + (index // 4 % 4 * 360 / 8 / 4)[:, None] + GROUP.hues.angles_deg
    turn = rng.uniform(0, 360, n)[:, None] + (index % 4 * 360 / 16 / 4)[:, None] + GROUP.rotations.angles_deg
    pose = np.array(poses)
    a = np.radians(hue[:, :, None, None] - pose[:, 0]) + np.zeros((1, 1, 16, 1))
    b = np.radians(turn[:, None, :, None] - pose[:, 1]) + np.zeros((1, 8, 1, 1))
    return rng.uniform(0.5, 2, (n, 1, 1, 1)), a, b


def toral(strength: Floats, values: Floats) -> TorusCorrelations:
    values = (strength * values).reshape(len(values), GROUP.order, -1)
    return correlate_torus(as_responses(values, GROUP), 0, np.arange(values.shape[2]))


def contrast_of_hues(a: Floats, b: Floats) -> Floats:
    return np.cos(a) * np.cos(b)


def colour_curve(a: Floats, b: Floats) -> Floats:
    return np.exp(1.5 * (np.cos(a) - 1) + 2 * (np.cos(b) - 1)) + 0.3 * np.sin(2 * b) * np.exp(np.cos(a) - 1)


def toral_candidate(correlations: TorusCorrelations) -> torus.ToralCandidate:
    n = correlations.grid(np.array([0]), np.array([0])).shape[0] and len(TORAL)
    return torus._ToralFit(correlations).synchronise(np.arange(n))


def toral_judged(correlations: TorusCorrelations, candidate: torus.ToralCandidate) -> dict[str, bool]:
    hue, turn = torus._disagreements(correlations, candidate)
    folded = 2 if len(candidate.stabiliser) > 1 else 1
    return {
        "hues": torus._spread(folded * candidate.poses[:, 0]) >= circle.MIN_SPREAD_DEG,
        "angles": torus._spread(candidate.poses[:, 1]) >= circle.MIN_SPREAD_DEG,
        "coherence": not torus._coherence(correlations, candidate) < circle.MIN_COHERENCE,
        "hue": hue <= torus._MAX_HUE_DISAGREEMENT_DEG,
        "turn": turn <= 2 * circle.MAX_DISAGREEMENT_DEG,
    }


def refused_for(correlations: TorusCorrelations, candidate: torus.ToralCandidate) -> list[str]:
    """What a candidate fails; that it is refused if and only if there is something is checked here."""
    failed = [name for name, is_well in toral_judged(correlations, candidate).items() if not is_well]
    assert torus._is_consistent(correlations, candidate) == (not failed)
    return failed


@pytest.mark.parametrize("respond", [colour_curve, contrast_of_hues])
def test_copies_pass_every_guard_of_the_torus(respond: Any) -> None:
    strength, a, b = on_torus(TORAL)
    correlations = toral(strength, respond(a, b))
    assert refused_for(correlations, toral_candidate(correlations)) == []


@pytest.mark.parametrize(("odd", "n_elements"), [(0.0, 2), (0.35, 1)])
def test_half_turns_that_copies_tell_apart_are_no_stabiliser(odd: float, n_elements: int) -> None:
    strength, a, b = on_torus(TORAL)
    values = 2 + np.cos(a) * np.cos(b) + odd * np.cos(b)
    correlations = toral(strength, values)
    assert len(torus.find_stabiliser(correlations, np.arange(len(TORAL)))) == 2
    candidate = toral_candidate(correlations)
    assert len(candidate.stabiliser) == n_elements
    assert torus._consensus(correlations, candidate).min() > 0.99


@pytest.mark.parametrize(("place", "failed"), [(0, "hues"), (1, "angles")])
def test_members_that_differ_in_one_turn_alone_are_no_toral_family(place: int, failed: str) -> None:
    poses = [tuple(0.02 * p if i == place else p for i, p in enumerate(pose)) for pose in TORAL]
    strength, a, b = on_torus(poses)  # type: ignore[arg-type]
    correlations = toral(strength, colour_curve(a, b))
    assert refused_for(correlations, toral_candidate(correlations)) == [failed]


def test_hues_half_a_turn_apart_are_one_hue_where_half_a_turn_changes_nothing() -> None:
    poses = [(1.2 * i + 180.0 * (i % 2), pose[1]) for i, pose in enumerate(TORAL)]
    strength, a, b = on_torus(poses)
    correlations = toral(strength, contrast_of_hues(a, b))
    candidate = toral_candidate(correlations)
    assert candidate.stabiliser == ((0.0, 0.0), (180.0, 180.0))
    half = dataclasses.replace(
        candidate, poses=(candidate.poses + 180.0 * (np.arange(len(TORAL)) % 2)[:, None]) % 360
    )
    # Seen without the stabiliser the hues lie half a circle apart.
    assert torus._spread(half.poses[:, 0]) > 100
    assert refused_for(correlations, half) == ["hues"]


def test_units_whose_finer_tuning_disagrees_are_no_toral_family() -> None:
    strength, a, b = on_torus(TORAL)
    phase = np.random.default_rng(1).uniform(0, 2 * np.pi, (3, len(TORAL)))
    higher = np.cos(2 * b - phase[0]) + np.cos(a + 2 * b - phase[1]) + np.cos(2 * a - b - phase[2])
    correlations = toral(strength, 4 + 2 * np.cos(a) + 2 * np.cos(b) + 0.5 * higher)
    assert refused_for(correlations, toral_candidate(correlations)) == ["coherence"]


@pytest.mark.parametrize(("place", "failed"), [(0, "hue"), (1, "turn")])
def test_units_whose_pairs_do_not_close_are_no_toral_family(place: int, failed: str) -> None:
    strength, a, b = on_torus(TORAL)
    # Of the turn that will not close there is one wave alone, so that coherence hardly tells.
    plain, rich = (a, b) if place == 0 else (b, a)
    correlations = toral(strength, (1 + np.cos(plain)) * np.exp(2 * (np.cos(rich) - 1)))
    candidate = toral_candidate(correlations)
    moved = candidate.poses.copy()
    moved[::2, place] += 28.0
    assert refused_for(correlations, candidate) == []
    assert refused_for(correlations, dataclasses.replace(candidate, poses=moved)) == [failed]


# Lines --------------------------------------------------------------------------------------------------------------

STEPS = Segment.between(-1.0, 1.5, 0.25)
N_SIZES = 240


def sized(units: list[tuple[tuple[int, ...], float]], width: float = 0.4, n_features: int = 2) -> Floats:
    """Responses, shape (stimulus, step, unit), of units that answer to some features at a size of their own.

    The features are shown alike, one after the other, at the same sizes and strengths.
    """
    rng = np.random.default_rng(0)
    feature = np.arange(N_SIZES) % n_features
    size = np.repeat(rng.uniform(-0.5, 1.5, N_SIZES // n_features), n_features)
    strength = np.repeat(rng.uniform(0.5, 2, N_SIZES // n_features), n_features)
    shown = size[:, None] + np.array(STEPS.values)
    tuned = [
        np.isin(feature, own)[:, None] * strength[:, None] * np.exp(-(((shown - best) / width) ** 2) / 2)
        for own, best in units
    ]
    return np.stack(tuned, axis=2) + 1e-3 * rng.exponential(size=(N_SIZES, STEPS.order, len(units)))


def find_sizes(values: Floats, **options: Any) -> Any:
    return find_families(
        as_responses(values, STEPS), examples_of(values.shape[2]), **{"n_null": 20} | options
    )


def test_pairs_that_share_a_unit_are_joined_only_if_all_agree() -> None:
    # The middle one answers to what either of the others answers to, which have nothing in common.
    impostor = find_sizes(sized([((0,), 0.0), ((0, 1), 0.6), ((1,), 1.2)]))
    assert sorted((pair.u, pair.v) for pair in impostor.pairs) == [(0, 1), (1, 2)]
    assert [family.size for family in impostor.families] == [2]
    honest = find_sizes(sized([((0,), 0.0), ((0,), 0.6), ((0,), 1.2)]))
    assert [family.size for family in honest.families] == [3]


class Known:
    """Correlations of pairs that are known by heart: what `_join` asks."""

    def __init__(self, across: float) -> None:
        self.across, self.asked = across, []

    def of_pairs(self, pairs: list[tuple[int, int, float]]) -> list[float]:
        self.asked += pairs
        return [self.across] * len(pairs)


@pytest.mark.parametrize(
    ("across", "sizes"), [(0.9, [4]), (0.28, [4]), (0.27, [2, 2]), (-0.5, [2, 2]), (np.nan, [4])]
)
def test_the_joining_rule_asks_for_half_of_what_a_pair_needs(across: float, sizes: list[int]) -> None:
    pairs = [UnitPair(u, v, away, 0.9, 0.2) for u, v, away in ((0, 1, 0.5), (3, 2, -0.5), (1, 2, 0.75))]
    known = Known(across)
    groups = line._join(pairs, known)  # type: ignore[arg-type]
    assert [len(group) for group in groups] == sizes
    # At the poses that joining would give.
    assert sorted(known.asked) == [(0, 2, 1.25), (0, 3, 1.75), (1, 3, 1.25)]
    if len(sizes) == 1:
        assert groups[0] == {0: 0.0, 1: 0.5, 2: 1.25, 3: 1.75}


def test_a_pair_within_one_group_joins_nothing() -> None:
    pairs = [UnitPair(0, 1, 0.5, 0.9, 0.2), UnitPair(1, 2, 0.5, 0.8, 0.2), UnitPair(0, 2, 3.0, 0.7, 0.2)]
    (group,) = line._join(pairs, Known(0.9))  # type: ignore[arg-type]
    assert group == {0: 0.0, 1: 0.5, 2: 1.0}


def test_broad_units_are_in_no_family_of_sizes() -> None:
    values = sized([((0,), 0.0), ((0,), 1.0), ((1,), 0.5)], width=1.6)
    lags = line._Lags(np_to_torch(values), 0.25)
    # They are each other's copies, an octave apart.
    (curve,) = lags.pair_curves(np.array([0]), np.array([1])).T
    assert lags.at(curve, 1.0) - lags.at(curve, 0.0) > 0.05
    found = find_sizes(values)
    assert found.families == ()
    assert [entry.kind for entry in found.symmetries] == ["invariant"] * 3


def np_to_torch(values: Floats) -> Any:
    import torch

    return torch.from_numpy(values.astype(np.float32))


def curve_with(peak: float, at_zero: float, top: float, n_lags: int = 8) -> Floats:
    """A correlation over lags that is highest at some step, and has a value at none."""
    lags = np.arange(-n_lags, n_lags + 1)
    found = np.minimum(peak - 0.01 * (lags - top) ** 2, peak)
    found[n_lags] = at_zero
    return found


@pytest.mark.parametrize(
    ("curve", "is_proposed"),
    [
        (curve_with(0.8, 0.5, 3.0), True),
        # Too small a step, too small a margin, too small a correlation.
        (curve_with(0.8, 0.5, 1.0), False),
        (curve_with(0.8, 0.76, 3.0), False),
        (curve_with(0.54, 0.2, 3.0), False),
    ],
    ids=["pair", "small step", "small margin", "unlike"],
)
def test_only_what_is_alike_at_another_size_is_proposed(curve: Floats, is_proposed: bool) -> None:
    class Lags:
        step, n_lags = 0.25, 8

        def curves(self, u: slice, v: slice) -> Floats:
            found = np.zeros((17, 2, 2))
            found[:, 0, 1], found[:, 1, 0] = curve, curve[::-1]
            return found

    proposed = line._propose(Lags(), [slice(0, 2)], line.MIN_SCORE)  # type: ignore[arg-type]
    assert [pair[:2] for pair in proposed] == [(0, 1)] * is_proposed
    if is_proposed:
        assert proposed[0][2] == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(("second", "n_proposed"), [(0.79, 2), (0.77, 1)])
def test_several_partners_count_if_they_are_as_good_as_the_best(second: float, n_proposed: int) -> None:
    class Lags:
        step, n_lags = 0.25, 8

        def curves(self, u: slice, v: slice) -> Floats:
            found = np.zeros((17, 3, 3))
            for other, peak, top in ((1, 0.8, 3.0), (2, second, 6.0)):
                found[:, 0, other] = curve_with(peak, 0.2, top)
                found[:, other, 0] = found[::-1, 0, other]
            return found

    proposed = line._propose(Lags(), [slice(0, 3)], line.MIN_SCORE)  # type: ignore[arg-type]
    assert len(proposed) == n_proposed


@pytest.mark.parametrize(("at_zero", "is_kept"), [(0.7, True), (0.76, False), (0.9, False)])
def test_a_pair_must_gain_on_the_other_half_too(at_zero: float, is_kept: bool) -> None:
    class Lags(line._Lags):
        def __init__(self) -> None:
            self.step, self.n_lags = 0.25, 8

        def pair_curves(self, u: Any, v: Any) -> Floats:
            return curve_with(0.8, at_zero, 3.0)[:, None]

    (kept,) = line._verify(Lags(), [(0, 1, 0.75)])
    assert (kept is not None) == is_kept
    if kept is not None:
        assert [kept.score, kept.margin] == pytest.approx([0.8, 0.1])
        assert kept.held_out_away == pytest.approx(0.75, abs=0.01)


def test_few_null_draws_are_made_where_many_units_take_part() -> None:
    space = open_search(as_responses(sized([((0,), 0.0), ((0,), 1.0)]), STEPS), examples_of(2))
    assert space.count_draws() == 20
    assert isinstance(space, line.LineSearch)
    space.units = np.arange(501)
    assert space.count_draws() == 5
