"""Which families of one network have a counterpart in another, from both networks' responses to the same stimuli.

A family is brought to its own frame: each member's orbit is turned back by the member's pose, and the mean over members
is the family's *template*, its answer to every stimulus under every element. Two families are the same feature if, at
one common offset of their poses, the members of either follow the template of the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import lcm, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import NullSummary, summarise_null
from equiscope.foundations.statistics import bootstrap_weights, family_q_values, percentile_interval
from equiscope.measurement.examples import split_halves
from equiscope.transformations.groups import CyclicGroup, Involution

__all__ = ["Counterpart", "Counterparts", "FamilyResponses", "find_counterparts"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Spectra = NDArray[np.complex64]

# Offsets tried on a circle; between them the best one is found by a parabola.
_N_OFFSETS = 128
_N_RESAMPLES = 500
# Share of an orbit's power below which its variation is rounding of float32.
_LEAST_VARIANCE = 1e-5


@dataclass(frozen=True)
class FamilyResponses:
    """Families of one network, and what the units of their layers answered to the shared stimuli.

    Attributes
    ----------
    responses
        After the ReLU, shape (stimulus, element, unit), activation units; units of several layers side by side.
    members
        For each family the columns of its members.
    poses
        For each family its members' poses, in elements of the group.
    stabiliser_orders
        For each family; 1 for a reflection or contrast pair.
    layer_of_unit
        Number of each unit's layer, shape (unit,).
    is_varying
        Units that the transformation changes, shape (unit,): only those can be taken for members.
    """

    responses: NDArray[np.float32]
    members: tuple[Ints, ...]
    poses: tuple[Floats, ...]
    stabiliser_orders: tuple[int, ...]
    layer_of_unit: Ints
    is_varying: NDArray[np.bool_]

    @property
    def layer_of_family(self) -> Ints:
        """Number of each family's layer, shape (family,)."""
        return np.array([self.layer_of_unit[own[0]] for own in self.members], np.int64)

    @property
    def singles(self) -> Ints:
        """Units that the transformation changes and that are in no family, shape (unit,)."""
        has_family = np.isin(np.arange(len(self.layer_of_unit)), np.concatenate(self.members))
        return np.flatnonzero(self.is_varying & ~has_family)

    def is_kin(self) -> NDArray[np.bool_]:
        """Whether two families are different ones of one layer, shape (family, family)."""
        layers = self.layer_of_family
        return np.asarray((layers[:, None] == layers) & ~np.eye(len(layers), dtype=bool))


@dataclass(frozen=True)
class Counterpart:
    """Two families that are each other's best match among those of their two layers, on either half of the photographs.

    Attributes
    ----------
    a, b
        Their numbers.
    offset
        What is added to poses of b to compare them with poses of a, in elements of the group.
    offset_difference
        By how much the offsets of the two halves differ, elements.
    score, score_low, score_high
        Mean correlation of each family's members with the other's template, in [-1, 1], on photographs that chose
        neither partner nor offset, with its 95 % bootstrap interval over photographs.
    q_value
        Estimated share of families of other identity among the pairs that score as high.
    pose_q_value
        Estimated share of pairs whose poses agree by chance among those that score as high.
    """

    a: int
    b: int
    offset: float
    offset_difference: float
    score: float
    score_low: float
    score_high: float
    q_value: float
    pose_q_value: float


@dataclass(frozen=True)
class Counterparts:
    """What a comparison under one transformation gave.

    Attributes
    ----------
    pairs
        Mutually best pairs, the highest score first.
    scores
        Held-out score of every two families at the offset that the other half chose, shape (a, b); NaN where a member's
        responses do not vary.
    null
        What the same search finds among families of other identity.
    pose_null
        What it finds when the poses of one network are scrambled.
    """

    pairs: tuple[Counterpart, ...]
    scores: Floats
    null: NullSummary
    pose_null: NullSummary


@dataclass(frozen=True)
class _Half:
    """One half of the photographs: centred spectra of templates and of units for both networks, of unit norm."""

    templates: tuple[Spectra, Spectra]
    units: tuple[Spectra, Spectra]


def find_counterparts(
    a: FamilyResponses,
    b: FamilyResponses,
    group: CyclicGroup | Involution,
    photographs: Ints,
    *,
    n_draws: int = 200,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
) -> Counterparts:
    """Match the families of every two layers of two networks one to one.

    Parameters
    ----------
    a, b
        Responses of both networks to the same stimuli under the same elements.
    group
        The elements.
    photographs
        The photograph of each stimulus, shape (stimulus,), at least two different ones.
    n_draws
        Draws with scrambled poses, and rounds of stand-ins.
    seed
        Of the halves, the null and the bootstrap.
    false_discovery_rate
        Largest q-value for the null's summary.

    Notes
    -----
    One half of the photographs chooses each family's best offset to each other and who is whose best match; the other
    half scores that; then they change places. A pair must be mutually best on both halves, and its score is the mean of
    the two held-out ones. Matching is one to one for every two layers, because a feature that a layer passes on to the
    next is there twice, and would make the other's choice between the two arbitrary.

    Two nulls, by the same search and scoring. *Other identity*: how well is a family matched by what is not its
    counterpart? In place of the other network's families stand the other families of its own layer and, as families of
    one, units without a family that the transformation changes, of its own layer and of the other network. The survey
    had every chance to put those of its layer into the family and did not; so what a pair must exceed is the likeness
    of features of one kind, such as curves of two sizes. (A unit of the other network may be a lone copy of the
    feature, which makes the null stricter.) Stand-ins are dealt out at random in sets as large as the other network's
    layers, each once a round. There are only so many: the one false pair that the estimate adds counts once a round,
    not once a set, so that no q-value claims more than they can show. *Scrambled poses*: each stimulus reaches each
    family of b transformed by a random element of its own, which leaves what the family answers to and destroys only
    the agreement of poses.

    A unit's responses are divided by their root mean square over all stimuli, so that strong members do not speak for
    weak ones; as a positive factor it cannot make two families alike.
    """
    sides = (a, b)
    half_of = split_halves(photographs.tolist(), seed)
    spectra = [_spectra(side.responses) for side in sides]
    templates = [_templates(own, side, group.order) for own, side in zip(spectra, sides, strict=True)]
    halves = []
    for half in (0, 1):
        mine = half_of == half
        halves.append(
            _Half(
                (_normalised(templates[0][mine]), _normalised(templates[1][mine])),
                (_normalised(spectra[0][mine]), _normalised(spectra[1][mine])),
            )
        )
    series = [_pair_series(half, sides, group.order) for half in halves]
    chosen = [_best_offsets(one, group) for one in series]
    scores = _held_out(series, [offsets for offsets, _ in chosen], group.order)
    pairs = _by_layers([best for _, best in chosen], a.layer_of_family, b.layer_of_family)
    null_scores, n_sets = _stand_in_scores(halves, sides, group, n_draws, seed)
    pose_null_scores = _scrambled_scores(halves, sides, group, n_draws, seed)
    own = [scores[pair] for pair in pairs]
    q_values = _other_identity_q_values(own, null_scores, n_sets)
    pose_q_values = family_q_values(own, pose_null_scores)
    offsets_of = _best_offsets((series[0] + series[1]) / 2, group)[0]
    found = []
    for (i, j), q_value, pose_q_value in zip(pairs, q_values.tolist(), pose_q_values.tolist(), strict=True):
        # What either family's stabiliser leaves as it is makes no other offset.
        period = group.order / lcm(a.stabiliser_orders[i], b.stabiliser_orders[j])
        away = abs(chosen[0][0][i, j] - chosen[1][0][i, j]) % period
        low, high = _interval(
            templates,
            spectra,
            sides,
            (i, j),
            [c[0][i, j] for c in chosen],
            half_of,
            photographs,
            group.order,
            seed,
        )
        found.append(
            Counterpart(
                i, j, float(offsets_of[i, j] % period), float(min(away, period - away)),
                float(scores[i, j]), low, high, q_value, pose_q_value,
            )
        )  # fmt: skip
    found.sort(key=lambda pair: -pair.score)
    accepted = min((p.score for p in found if p.q_value <= false_discovery_rate), default=np.inf)
    alike = min((p.score for p in found if p.pose_q_value <= false_discovery_rate), default=np.inf)
    flat = [score for one in null_scores for score in one]
    # Summarised for each set of stand-ins as large as the other network.
    null = summarise_null([flat], accepted)
    per_set = max(n_sets * len(null_scores), 1e-9)
    null = replace(
        null, n_draws=len(null_scores), families_per_draw=len(flat) / per_set,
        families_expected=null.families_expected / per_set,
    )  # fmt: skip
    return Counterparts(tuple(found), scores, null, summarise_null(pose_null_scores, alike))


def _spectra(responses: NDArray[np.float32]) -> Spectra:
    """Fourier series over elements, (stimulus, frequency, unit), whose scalar products are those of the orbits."""
    order = responses.shape[1]
    rms = np.sqrt(np.mean(responses.astype(np.float64) ** 2, axis=(0, 1)))
    scaled = responses / np.where(rms > 0, rms, 1.0).astype(np.float32)
    n_frequencies = order // 2 + 1
    weight = np.full(n_frequencies, 2.0)
    weight[0] = 1
    if order % 2 == 0:
        weight[-1] = 1
    return np.asarray(np.fft.rfft(scaled, axis=1) * np.sqrt(weight / order)[:, None], np.complex64)


def _turned(spectra: Spectra, by: Floats, order: int) -> Spectra:
    """Bring to element h what was at h + by, for each column; shape (stimulus, frequency, unit)."""
    frequency = np.arange(spectra.shape[1])
    return np.asarray(spectra * np.exp(2j * np.pi / order * np.outer(frequency, by)), np.complex64)


def _templates(spectra: Spectra, side: FamilyResponses, order: int) -> Spectra:
    """Each family's mean over members at pose 0, shape (stimulus, frequency, family)."""
    means = [
        _turned(spectra[:, :, own], poses, order).mean(2)
        for own, poses in zip(side.members, side.poses, strict=True)
    ]
    return np.stack(means, axis=2) if means else np.zeros((*spectra.shape[:2], 0), np.complex64)


def _normalised(spectra: Spectra) -> Spectra:
    """Zero mean and unit norm over stimuli and elements; NaN for a column that does not vary."""
    centred = spectra.copy()
    centred[:, 0] -= centred[:, 0].mean(0)
    power = (np.abs(centred) ** 2).sum((0, 1), dtype=np.float64)
    total = (np.abs(spectra) ** 2).sum((0, 1), dtype=np.float64)
    norm = np.sqrt(np.where(power > _LEAST_VARIANCE * total, power, nan))
    with np.errstate(invalid="ignore"):
        return np.asarray(centred / norm, np.complex64)


def _correlation_series(x: Spectra, y: Spectra) -> Spectra:
    """Correlation of any two columns as a Fourier series of the offset of y, shape (frequency, x, y)."""
    return np.asarray(np.matmul(x.transpose(1, 2, 0).conj(), y.transpose(1, 0, 2)))


def _pair_series(half: _Half, sides: tuple[FamilyResponses, FamilyResponses], order: int) -> Spectra:
    """Score of any two families as a Fourier series of the offset, shape (frequency, a, b)."""
    a, b = sides
    to_units = _correlation_series(half.templates[0], half.units[1])
    from_units = _correlation_series(half.units[0], half.templates[1])
    frequency = np.arange(len(to_units))[:, None]
    wave = 2j * np.pi / order
    # A member that never fired is left out, as it was of the template's variation.
    forward = [
        _mean_of_measured(to_units[:, :, own] * np.exp(wave * frequency * poses)[:, None], 2)
        for own, poses in zip(b.members, b.poses, strict=True)
    ]
    backward = [
        _mean_of_measured(from_units[:, own] * np.exp(-wave * frequency * poses)[:, :, None], 1)
        for own, poses in zip(a.members, a.poses, strict=True)
    ]
    return np.asarray((np.stack(forward, axis=2) + np.stack(backward, axis=1)) / 2, np.complex64)


def _mean_of_measured(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Mean over what is a number; NaN where nothing is."""
    is_number = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(is_number, values, 0).sum(axis) / is_number.sum(axis))


def _at(series: Spectra, offsets: Floats, order: int) -> Floats:
    """Value of each Fourier series at an offset of its own; shapes (frequency, ...) and (...)."""
    frequency = np.arange(len(series)).reshape(-1, *[1] * offsets.ndim)
    return np.asarray((series * np.exp(2j * np.pi / order * frequency * offsets)).real.sum(0), np.float64)


def _held_out(series: Sequence[Spectra], offsets: Sequence[Floats], order: int) -> Floats:
    """Mean over both halves of the value at the offset that the other half chose."""
    return (_at(series[1], offsets[0], order) + _at(series[0], offsets[1], order)) / 2


def _best_offsets(series: Spectra, group: CyclicGroup | Involution) -> tuple[Floats, Floats]:
    """Offset, in elements, at which each series is highest, and its value there; -inf where it was not measured."""
    is_circle = isinstance(group, CyclicGroup)
    n_offsets = max(_N_OFFSETS, group.order) if is_circle else group.order
    step = group.order / n_offsets
    frequency = np.arange(len(series))
    best = np.zeros(series.shape[1:])
    # By rows of x, so that the table of all offsets stays small.
    wave = np.exp(2j * np.pi / group.order * np.outer(np.arange(n_offsets) * step, frequency))
    for row in range(series.shape[1]):
        curves = (wave @ series[:, row]).real
        top = np.nan_to_num(curves, nan=-np.inf).argmax(0)
        best[row] = top * step
        if is_circle:
            before, at, after = (
                np.take_along_axis(curves, ((top + k) % n_offsets)[None], 0)[0] for k in (-1, 0, 1)
            )
            bend = before - 2 * at + after
            with np.errstate(invalid="ignore", divide="ignore"):
                shift = np.where(bend < 0, 0.5 * (before - after) / bend, 0.0)
            best[row] += np.clip(np.nan_to_num(shift), -0.5, 0.5) * step
    value = _at(series, best, group.order)
    return best, np.where(np.isfinite(value), value, -np.inf)


def _mutually_best(tables: Sequence[Floats]) -> list[tuple[int, int]]:
    """Pairs (row, column) of which each is the other's best in every table."""
    if not tables[0].size:
        return []
    best_of_row = [table.argmax(1) for table in tables]
    best_of_column = [table.argmax(0) for table in tables]
    return [
        (i, int(best_of_row[0][i]))
        for i in range(tables[0].shape[0])
        if all(
            rows[i] == best_of_row[0][i] and columns[rows[i]] == i and np.isfinite(table[i, rows[i]])
            for table, rows, columns in zip(tables, best_of_row, best_of_column, strict=True)
        )
    ]


def _stand_in_scores(
    halves: Sequence[_Half],
    sides: tuple[FamilyResponses, FamilyResponses],
    group: CyclicGroup | Involution,
    n_rounds: int,
    seed: int,
) -> tuple[list[list[float]], float]:
    """Scores of the mutually best pairs with stand-ins in each round, and how many comparisons a round is worth."""
    rng = np.random.default_rng([seed, 11])
    kin = [side.is_kin() for side in sides]
    singles = [side.singles for side in sides]
    tables, n_pairs = [], 0
    for i, side in enumerate(sides):
        series = []
        for half in halves:
            own = _Half((half.templates[i],) * 2, (half.units[i],) * 2)
            parts = [_pair_series(own, (side, side), group.order)]
            parts += [
                _correlation_series(half.templates[i], half.units[j][:, :, singles[j]]) for j in (i, 1 - i)
            ]
            series.append(np.concatenate(parts, axis=2))
        layers = side.layer_of_family
        is_near = layers[:, None] == side.layer_of_unit[singles[i]]
        is_far = np.ones((len(layers), len(singles[1 - i])), bool)
        # Two families stand in for each other's counterpart by one and the same pair.
        n_pairs += kin[i].sum() // 2 + is_near.sum() + is_far.sum()
        may_stand_in = np.concatenate([kin[i], is_near, is_far], axis=1)
        best = [_best_offsets(one, group) for one in series]
        held_out = _held_out(series, [offsets for offsets, _ in best], group.order)
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
                    pairs = _mutually_best([table[block] for table in chosen_on])
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


def _other_identity_q_values(
    scores: Sequence[float], rounds: Sequence[Sequence[float]], n_sets: float
) -> Floats:
    """q-values against stand-ins, of which a round holds ``n_sets`` times what the comparison tried.

    One more false pair than was seen is counted in every round, for rounds deal out the same stand-ins again.
    """
    one_more = 2.0  # above every correlation
    seen = [score for found in rounds for score in (*found, one_more)]
    n_comparisons = round(len(rounds) * n_sets)
    if not n_comparisons:
        return np.ones(len(scores))
    # Only the number of draws and all of their scores together matter to the estimate.
    return family_q_values(scores, [seen, *[[]] * (n_comparisons - 1)])


def _scrambled_scores(
    halves: Sequence[_Half],
    sides: tuple[FamilyResponses, FamilyResponses],
    group: CyclicGroup | Involution,
    n_draws: int,
    seed: int,
) -> list[list[float]]:
    """Scores of the mutually best pairs in each draw, in which each (stimulus, family of b) has its own element."""
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
            scrambled = _Half(
                (half.templates[0], half.templates[1] * phase), (units_a, units_b * phase[:, :, family_of])
            )
            series.append(_pair_series(scrambled, (packed[0], packed[1]), group.order))
        chosen = [_best_offsets(one, group) for one in series]
        held_out = _held_out(series, [offsets for offsets, _ in chosen], group.order)
        pairs = _by_layers([best for _, best in chosen], a.layer_of_family, b.layer_of_family)
        scores.append([float(held_out[pair]) for pair in pairs])
    return scores


def _by_layers(tables: Sequence[Floats], first: Ints, second: Ints) -> list[tuple[int, int]]:
    """Mutually best pairs of the families of every two layers, whose numbers are given by row and by column."""
    pairs = []
    for layer in np.unique(first):
        for other in np.unique(second):
            rows, columns = np.flatnonzero(first == layer), np.flatnonzero(second == other)
            block = np.ix_(rows, columns)
            found = _mutually_best([table[block] for table in tables])
            pairs += [(int(rows[i]), int(columns[j])) for i, j in found]
    return pairs


def _interval(
    templates: Sequence[Spectra],
    spectra: Sequence[Spectra],
    sides: tuple[FamilyResponses, FamilyResponses],
    pair: tuple[int, int],
    offsets: Sequence[float],
    half_of: Ints,
    photographs: Ints,
    order: int,
    seed: int,
) -> tuple[float, float]:
    """95 % bootstrap interval over photographs of a pair's score, at the offsets that each half chose for the other."""
    rng = np.random.default_rng([seed, 12, *pair])
    samples = np.zeros(_N_RESAMPLES)
    (i, j), (a, b) = pair, sides
    for half in (0, 1):
        mine, offset = half_of == half, offsets[1 - half]
        weights = bootstrap_weights(photographs[mine], _N_RESAMPLES, rng)
        forward = _turned(spectra[1][mine][:, :, b.members[j]], b.poses[j] + offset, order)
        backward = _turned(spectra[0][mine][:, :, a.members[i]], a.poses[i] - offset, order)
        for template, members in (
            (templates[0][mine][:, :, i], forward),
            (templates[1][mine][:, :, j], backward),
        ):
            samples += _mean_of_measured(_resampled(template, members, weights), 1).real / 4
    low, high = percentile_interval(samples)
    return float(low), float(high)


def _resampled(x: Spectra, ys: Spectra, weights: Floats) -> Floats:
    """Correlation of one column with several in every resample, shape (resample, y)."""
    count = weights.sum(1, keepdims=True)
    product = weights @ (x.conj()[:, :, None] * ys).real.sum(1, dtype=np.float64)
    xx = (weights @ (np.abs(x) ** 2).sum(1, dtype=np.float64))[:, None]
    yy = weights @ (np.abs(ys) ** 2).sum(1, dtype=np.float64)
    # The first frequency holds an orbit's mean.
    x_sum, y_sum = (
        (weights @ x[:, 0].real.astype(np.float64))[:, None],
        weights @ ys[:, 0].real.astype(np.float64),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        x_variance, y_variance = xx - x_sum**2 / count, yy - y_sum**2 / count
        varies = (x_variance > _LEAST_VARIANCE * xx) & (y_variance > _LEAST_VARIANCE * yy)
        covariance = product - x_sum * y_sum / count
        return np.asarray(np.where(varies, covariance / np.sqrt(x_variance * y_variance), nan))
