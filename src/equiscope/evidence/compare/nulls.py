"""What the same search finds where there is no counterpart: among stand-ins, and with scrambled poses.

Two nulls, by the same search and scoring.

*Other identity*: how well is a family matched by what is not its counterpart? In place of the other network's families
stand the other families of its own layer and, as families of one, units without a family that the transformation
changes, of its own layer and of the other network. The survey had every chance to put those of its layer into the
family and did not; so what a pair must exceed is the likeness of features of one kind, such as curves of two sizes. (A
unit of the other network may be a lone copy of the feature, which makes the null stricter.) Stand-ins are dealt out at
random in sets as large as the other network's layers, each once a round. There are only so many: the one false pair
that the estimate adds counts once a round, not once a set, so that no q-value claims more than they can show.

*Scrambled poses*: each stimulus reaches each family of b transformed by a random element of its own, which leaves what
the family answers to and destroys only the agreement of poses.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.compare.matching import match_by_layers, mutually_best
from equiscope.evidence.compare.spectra import (
    FamilyResponses,
    Half,
    best_offsets,
    correlation_series,
    pair_series,
    score_held_out,
)
from equiscope.foundations.statistics import family_q_values
from equiscope.transformations.groups import CyclicGroup, Involution

__all__ = ["other_identity_q_values", "scrambled_scores", "stand_in_scores"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def stand_in_scores(
    halves: Sequence[Half],
    sides: tuple[FamilyResponses, FamilyResponses],
    group: CyclicGroup | Involution,
    n_rounds: int,
    seed: int,
) -> tuple[list[list[float]], float]:
    """Score the mutually best pairs with stand-ins in each round; give also how many comparisons a round is worth.

    Examples
    --------
    One round: each of two families is matched with the other one of its own layer.

    >>> from equiscope.evidence.compare.spectra import normalise_spectra, orbit_spectra
    >>> orbits, one = np.random.default_rng(0).random((6, 8, 2)).astype(np.float32), np.zeros(1)
    >>> members, layers = (np.array([0]), np.array([1])), np.zeros(2, int)
    >>> side = FamilyResponses(orbits, members, (one, one), (1, 1), layers, layers == 0)
    >>> spectra = normalise_spectra(orbit_spectra(orbits))
    >>> half = Half((spectra, spectra), (spectra, spectra))
    >>> rounds, n_comparisons = stand_in_scores([half, half], (side, side), CyclicGroup(8), 1, seed=0)
    >>> len(rounds), n_comparisons
    (1, 0.5)
    """
    rng = np.random.default_rng([seed, 11])
    kin = [side.is_kin() for side in sides]
    singles = [side.singles for side in sides]
    tables, n_pairs = [], 0
    for i, side in enumerate(sides):
        series = []
        for half in halves:
            own = Half((half.templates[i],) * 2, (half.units[i],) * 2)
            parts = [pair_series(own, (side, side), group.order)]
            parts += [
                correlation_series(half.templates[i], half.units[j][:, :, singles[j]]) for j in (i, 1 - i)
            ]
            series.append(np.concatenate(parts, axis=2))
        layers = side.layer_of_family
        is_near = layers[:, None] == side.layer_of_unit[singles[i]]
        is_far = np.ones((len(layers), len(singles[1 - i])), bool)
        # Two families stand in for each other's counterpart by one and the same pair.
        n_pairs += kin[i].sum() // 2 + is_near.sum() + is_far.sum()
        may_stand_in = np.concatenate([kin[i], is_near, is_far], axis=1)
        best = [best_offsets(one, group) for one in series]
        held_out = score_held_out(series, [offsets for offsets, _ in best], group.order)
        tables.append(([np.where(may_stand_in, value, -np.inf) for _, value in best], held_out, may_stand_in))
    rounds = []
    for _ in range(n_rounds):
        found = []
        for i, (chosen_on, held_out, may_stand_in) in enumerate(tables):
            layers = sides[i].layer_of_family
            sizes = np.unique(sides[1 - i].layer_of_family, return_counts=True)[1]
            for layer in np.unique(layers):
                rows = np.flatnonzero(layers == layer)
                pool = rng.permutation(np.flatnonzero(may_stand_in[rows].any(0)))
                for some in _deal(pool, rng.permutation(sizes)):
                    block = np.ix_(rows, some)
                    pairs = mutually_best([table[block] for table in chosen_on])
                    found += [float(held_out[rows[u], some[v]]) for u, v in pairs]
        rounds.append(found)
    return rounds, float(n_pairs) / (len(sides[0].members) * len(sides[1].members))


def _deal(pool: Ints, sizes: Ints) -> Iterator[Ints]:
    """Deal a pool out in sets of these sizes, over and over until it is empty."""
    start = 0
    for size in itertools.cycle(sizes.tolist()):
        if start >= len(pool):
            return
        yield pool[start : start + size]
        start += size


def other_identity_q_values(
    scores: Sequence[float], rounds: Sequence[Sequence[float]], n_sets: float
) -> Floats:
    """q-values against stand-ins, of which a round holds ``n_sets`` times what the comparison tried.

    One more false pair than was seen is counted in every round, for rounds deal out the same stand-ins again.

    Examples
    --------
    Twenty pairs score higher than any stand-in did, and one does not.

    >>> other_identity_q_values([0.9] * 20 + [0.1], [[0.2]] * 20, 1.0)[[0, 20]].round(2).tolist()
    [0.05, 0.1]
    """
    one_more = 2.0  # above every correlation
    seen = [score for found in rounds for score in (*found, one_more)]
    n_comparisons = round(len(rounds) * n_sets)
    if not n_comparisons:
        return np.ones(len(scores))
    # Only the number of draws and all of their scores together matter to the estimate.
    return family_q_values(scores, [seen, *[[]] * (n_comparisons - 1)])


def scrambled_scores(
    halves: Sequence[Half],
    sides: tuple[FamilyResponses, FamilyResponses],
    group: CyclicGroup | Involution,
    n_draws: int,
    seed: int,
) -> list[list[float]]:
    """Score the mutually best pairs in draws that transform each (stimulus, family of b) by its own random element.

    Examples
    --------
    >>> from equiscope.evidence.compare.spectra import normalise_spectra, orbit_spectra
    >>> orbits = np.random.default_rng(0).random((6, 8, 1)).astype(np.float32)
    >>> side = FamilyResponses(orbits, (np.arange(1),), (np.zeros(1),), (1,), np.zeros(1, int), np.ones(1, bool))
    >>> spectra = normalise_spectra(orbit_spectra(orbits))
    >>> half = Half((spectra, spectra), (spectra, spectra))
    >>> draws = scrambled_scores([half, half], (side, side), CyclicGroup(8), n_draws=3, seed=0)
    >>> len(draws), max(score for draw in draws for score in draw) < 0.9  # 1 without scrambling
    (3, True)
    """
    rng = np.random.default_rng([seed, 13])
    a, b = sides
    frequency = np.arange(halves[0].templates[0].shape[1])
    # Members alone, side by side: the others' responses are not needed.
    packed = []
    for side in sides:
        bounds = np.cumsum([0, *(len(own) for own in side.members)])
        packed.append(
            replace(side, members=tuple(np.arange(i, j) for i, j in itertools.pairwise(bounds.tolist())))
        )
    family_of = np.repeat(np.arange(len(b.members)), [len(own) for own in b.members])
    units = [tuple(half.units[i][:, :, np.concatenate(sides[i].members)] for i in (0, 1)) for half in halves]
    scores = []
    for _ in range(n_draws):
        series = []
        for half, (units_a, units_b) in zip(halves, units, strict=True):
            element = rng.integers(0, group.order, (len(units_b), 1, len(b.members)))
            phase = np.exp(2j * np.pi / group.order * frequency[:, None] * element).astype(np.complex64)
            scrambled = Half(
                (half.templates[0], half.templates[1] * phase), (units_a, units_b * phase[:, :, family_of])
            )
            series.append(pair_series(scrambled, (packed[0], packed[1]), group.order))
        chosen = [best_offsets(one, group) for one in series]
        held_out = score_held_out(series, [offsets for offsets, _ in chosen], group.order)
        pairs = match_by_layers([best for _, best in chosen], a.layer_of_family, b.layer_of_family)
        scores.append([float(held_out[pair]) for pair in pairs])
    return scores
