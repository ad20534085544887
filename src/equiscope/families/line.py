"""Families along a line of poses, such as sizes: within a layer, and across layers that are measured together.

A feature is found small in early layers and large in late ones. A line is shown as a truncated piece, so nothing wraps:
two units are compared over the steps that both can be seen at.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from dataclasses import replace
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.families.family import INVARIANCE_CUT, Family, Member, Symmetry, classify_units
from equiscope.families.layer_families import UnitPair
from equiscope.families.search import N_RESAMPLES_OF_DEAR, Accepted, PoseSearch, SearchOptions
from equiscope.foundations.statistics import bootstrap_weights, percentile_interval, resample_correlation
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Responses
from equiscope.transformations import Pose, find
from equiscope.transformations.groups import Segment
from equiscope.transformations.spaces import Line

__all__ = ["LineSearch"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Smallest correlation of a pair at its best relative pose: that of an earlier count of GoogLeNet's pairs, with which
# the results can be compared. And by how much it must exceed the correlation without scaling: planted exact copies
# half an octave apart have 0.1.
MIN_SCORE = 0.55
_MIN_MARGIN = 0.05
# A unit has several partners in a layer, copies at several scales, if they correlate as well up to this.
_TIE = 0.02
# Relative poses smaller than this are one, steps: for scale 0.375 octaves.
_SMALLEST_STEPS = 1.5
# Steps that two units must have in common to be compared.
_MIN_OVERLAP = 3
# Range of relative poses over which an invariant unit stays as it is, steps: for scale 1.5 octaves.
_INVARIANCE_STEPS = 6
# Where so many units take part that a null draw takes seconds, there are pairs enough for a few draws to show a small
# rate: one false pair in all of five draws is 0.2 a draw.
_MANY_UNITS = 500
_N_NULL_OF_MANY = 5
_N_RESAMPLES = 200
# Pairs whose responses are in memory at a time.
_PAIRS_AT_ONCE = 256


class _Lags:
    """Correlation of pairs at every relative pose, for one half: ``v`` is ``u`` moved by the lag.

    With ``scramble`` v's responses are shifted at random for every stimulus and u's are as they were measured. Were
    both shifted, null pairs would be blurred twice and correlate less than real units that share a feature and no pose.
    Nothing is kept but the responses: all pairs of a large network at all lags do not fit into memory.
    """

    def __init__(
        self, values: torch.Tensor, step: float, scramble: np.random.Generator | None = None
    ) -> None:
        self.values, self.step = values, step
        self.n_scales = values.shape[1]
        self.n_lags = self.n_scales - _MIN_OVERLAP
        self.shift: torch.Tensor | None = None
        if scramble is not None:
            self.shift = torch.from_numpy(
                scramble.integers(0, self.n_scales, (len(values), 1, values.shape[2]))
            )

    def _shown(self, v: slice | Ints) -> torch.Tensor:
        """Responses of v, shape (stimulus, scale, v), each stimulus shifted by its own number of steps in the null."""
        values = self.values[:, :, v]
        if self.shift is None:
            return values
        # Wrapped here, and only here: the null keeps each unit's values and destroys only where they stand.
        place = (torch.arange(self.n_scales).view(1, -1, 1) - self.shift[:, :, v]) % self.n_scales
        return torch.gather(values, 1, place)

    def _overlaps(self, u: torch.Tensor, v: torch.Tensor, lag: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where both were measured if v is larger by so many steps, shape (sample, unit) each."""
        n = self.n_scales - abs(lag)
        starts = (0, lag) if lag >= 0 else (-lag, 0)
        first, second = (x[:, at : at + n].flatten(0, 1) for x, at in zip((u, v), starts, strict=True))
        return first, second

    def curves(self, u: slice, v: slice) -> Floats:
        """Correlations of all u with all v over lags from the most negative on, shape (lag, u, v)."""
        x, y = self.values[:, :, u], self._shown(v)
        lags = range(-self.n_lags, self.n_lags + 1)
        return np.stack([_correlation(*self._overlaps(x, y, lag)).numpy() for lag in lags]).astype(np.float64)

    def pair_curves(self, u: Ints, v: Ints) -> Floats:
        """Correlations of each u with its v over lags from the most negative on, shape (lag, pair)."""
        found = np.empty((2 * self.n_lags + 1, len(u)))
        for start in range(0, len(u), _PAIRS_AT_ONCE):
            some = slice(start, start + _PAIRS_AT_ONCE)
            x, y = self.values[:, :, u[some]], self._shown(v[some])
            for lag in range(-self.n_lags, self.n_lags + 1):
                found[lag + self.n_lags, some] = _paired_correlation(*self._overlaps(x, y, lag)).numpy()
        return found

    def at(self, curve: Floats, away: float) -> float:
        """Correlation of one pair at a relative pose, interpolated between the lags of its curve; NaN beyond them."""
        lag = away / self.step + self.n_lags
        if not 0 <= lag <= 2 * self.n_lags:
            return nan
        low = int(np.floor(lag))
        high = min(low + 1, 2 * self.n_lags)
        return float((1 - (lag - low)) * curve[low] + (lag - low) * curve[high])

    def of_pairs(self, pairs: Sequence[tuple[int, int, float]]) -> list[float]:
        """Correlation of pairs (u, v, away), each at its own relative pose; NaN beyond the lags."""
        u, v = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
        curves = self.pair_curves(u, v)
        return [self.at(curve, pair[2]) for curve, pair in zip(curves.T, pairs, strict=True)]


def _own_correlations(values: torch.Tensor) -> Floats:
    """Correlation of each unit with itself at every lag from 0 on, shape (lag, unit)."""
    n_scales = values.shape[1]
    found = []
    for lag in range(n_scales - _MIN_OVERLAP + 1):
        early = values[:, : n_scales - lag].flatten(0, 1)
        late = values[:, lag:].flatten(0, 1)
        early, late = early - early.mean(0), late - late.mean(0)
        norms = early.norm(dim=0) * late.norm(dim=0)
        found.append(torch.where(norms > 1e-12, (early * late).sum(0) / norms, torch.nan).numpy())
    return np.stack(found).astype(np.float64)


def _correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Correlation of every column of x with every column of y; NaN for columns that do not vary."""
    if not x.shape[1] or not y.shape[1]:
        return x.new_zeros(x.shape[1], y.shape[1])
    mean_x, mean_y = x.mean(0), y.mean(0)
    sd_x, sd_y = x.std(0, correction=0), y.std(0, correction=0)
    covariance = x.T @ y / len(x) - torch.outer(mean_x, mean_y)
    sd_x = torch.where(sd_x > 1e-3 * mean_x + 1e-12, sd_x, torch.nan)
    sd_y = torch.where(sd_y > 1e-3 * mean_y + 1e-12, sd_y, torch.nan)
    return covariance / torch.outer(sd_x, sd_y)


def _paired_correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Correlation of every column of x with the same column of y; NaN for columns that do not vary."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    sd_x, sd_y = x.std(0, correction=0), y.std(0, correction=0)
    covariance = (x * y).mean(0) - mean_x * mean_y
    is_varying = (sd_x > 1e-3 * mean_x + 1e-12) & (sd_y > 1e-3 * mean_y + 1e-12)
    return torch.where(is_varying, covariance / (sd_x * sd_y), torch.nan)


def _propose(lags: _Lags, layers: Sequence[slice], min_score: float) -> list[tuple[int, int, float]]:
    """Pairs (u, v, away) of which each is the other's best match at another pose, for every pair of layers."""
    found = []
    for a, b in itertools.combinations_with_replacement(range(len(layers)), 2):
        units_a, units_b = (np.arange(layers[i].start, layers[i].stop) for i in (a, b))
        if not len(units_a) or not len(units_b):
            continue
        curves = lags.curves(layers[a], layers[b])
        n_lags = lags.n_lags
        if a == b:
            curves[:, np.arange(len(units_a)), np.arange(len(units_a))] = -np.inf
        curves = np.nan_to_num(curves, nan=-np.inf, posinf=-np.inf)
        height, top = curves.max(0), curves.argmax(0)
        best = np.maximum(height.max(1)[:, None], height.max(0)[None, :])
        for i, j in np.argwhere(height >= np.maximum(best - _TIE, min_score)).tolist():
            if a == b and i > j:
                continue
            steps = _refined(curves[:, i, j], int(top[i, j]), n_lags)
            away = steps * lags.step
            if abs(steps) < _SMALLEST_STEPS or height[i, j] - curves[n_lags, i, j] < _MIN_MARGIN:
                continue
            found.append((int(units_a[i]), int(units_b[j]), away))
    return found


def _verify(lags: _Lags, pairs: Sequence[tuple[int, int, float]]) -> list[UnitPair | None]:
    """Pairs that correlate better at the relative pose found than at none on the given half, too; None for others."""
    curves = lags.pair_curves(*(np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1)))
    edges: list[UnitPair | None] = []
    for (u, v, away), curve in zip(pairs, curves.T, strict=True):
        score = lags.at(curve, away)
        margin = score - lags.at(curve, 0.0)
        if not margin >= _MIN_MARGIN:
            edges.append(None)
            continue
        known = np.nan_to_num(curve, nan=-1.0)
        own = _refined(known, int(known.argmax()), lags.n_lags) * lags.step
        edges.append(UnitPair(u, v, away, score, margin, held_out_away=own))
    return edges


def _refined(curve: Floats, top: int, zero: int) -> float:
    """Place of the maximum of a curve in steps from ``zero``, by a parabola; at an end, or beside a gap, as it is."""
    if 0 < top < len(curve) - 1:
        before, at, after = curve[top - 1 : top + 2]
        bend = before - 2 * at + after
        if np.isfinite(bend) and bend < -1e-9:
            return float(top - zero + 0.5 * (before - after) / bend)
    return float(top - zero)


class LineSearch(PoseSearch[tuple[int, int, float], UnitPair, _Lags]):
    """Units of one or more layers at steps along a line.

    Half 0 proposes pairs of units of every two layers that are each other's best match at another pose. On half 1 each
    must again correlate better at the relative pose found than at none, by 0.05 or more, and its gain, the share of
    what it lacks to being alike that moving supplies, must stand out from the gains of pairs found in the same way with
    one unit's steps shifted at random for every stimulus. Accepted pairs that share units make a family, the strongest
    first, where the units that would come together correlate.
    """

    stream = 8

    def __init__(
        self,
        responses: Responses[Segment],
        examples: Sequence[Examples],
        options: SearchOptions,
        channels: Ints | None = None,
        is_measurable: NDArray[np.bool_] | None = None,
    ) -> None:
        super().__init__(responses, examples, options, channels, is_measurable)
        bounds = np.cumsum([0] + [own.n_units for own in examples])
        self.parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]
        self.step = responses.group.step
        space = find(self.transformation).space
        self._is_joint = isinstance(space, Line) and space.is_joint
        n_near = 1 + _INVARIANCE_STEPS
        values = [torch.from_numpy(responses.read(*responses.of_half(half))) for half in (0, 1)]
        finding_own, self.lowest = (_own_correlations(half)[:n_near].min(0) for half in values)
        with np.errstate(invalid="ignore"):
            varies = (finding_own <= INVARIANCE_CUT) & ~self.is_inactive & ~self.is_unmeasurable
        # From here on units are counted among those that may take part, and nothing is kept of the others.
        self.units = np.flatnonzero(varies)
        self.eligible_parts = [
            slice(*np.searchsorted(self.units, [part.start, part.stop]).tolist()) for part in self.parts
        ]
        self.halves = [values.pop(0)[:, :, self.units].contiguous() for _ in range(2)]
        self.finding, self.verifying = (_Lags(half, self.step) for half in self.halves)

    def count_draws(self) -> int:
        """Few where many units take part."""
        n_null = self.options.n_null
        return min(n_null, _N_NULL_OF_MANY) if len(self.units) > _MANY_UNITS else n_null

    def count_resamples(self) -> int:
        """Few: the search takes long; none where so many units take part that each would take as long as a layer."""
        return 0 if len(self.units) > _MANY_UNITS else N_RESAMPLES_OF_DEAR

    def correlate(self, half: int, scramble: np.random.Generator) -> _Lags:
        """Correlate with the steps of one unit of each pair shifted at random for every stimulus."""
        return _Lags(self.halves[half], self.step, scramble)

    def correlate_drawn(self, drawn: Ints) -> _Lags:
        """Correlate over the stimuli that were drawn."""
        first, _ = self.responses.of_half(0)
        return _Lags(self.halves[0][torch.from_numpy(drawn - first)], self.step)

    def group_units(self, held: Sequence[UnitPair]) -> list[Set[int]]:
        """Join pairs that share units."""
        edges = sorted(held, key=lambda pair: -pair.score)
        return [set(self.units[list(group)].tolist()) for group in _join(edges, self.finding)]

    def propose(self, correlations: _Lags) -> list[tuple[int, int, float]]:
        """Pair units that are each other's best match at another pose."""
        return _propose(correlations, self.eligible_parts, MIN_SCORE)

    def closeness(self, correlations: _Lags, candidates: Sequence[tuple[int, int, float]]) -> list[float]:
        """Correlation of each pair at its relative pose."""
        return correlations.of_pairs(candidates)

    def verify(
        self, correlations: _Lags, candidates: Sequence[tuple[int, int, float]]
    ) -> list[tuple[UnitPair, float] | None]:
        """Keep pairs that gain by moving one of them; ranked by that gain."""
        return [None if pair is None else (pair, pair.gain) for pair in _verify(correlations, candidates)]

    def pairs(self, accepted: Sequence[Accepted[UnitPair]]) -> tuple[UnitPair, ...]:
        """Give the accepted pairs, units counted through all layers, the most alike first."""
        return tuple(
            replace(pair, u=int(self.units[pair.u]), v=int(self.units[pair.v]))
            for pair in _strongest(accepted)
        )

    def describe(self, accepted: Sequence[Accepted[UnitPair]]) -> list[Family]:
        """Join pairs that share units into families."""
        groups = [
            {int(self.units[unit]): pose for unit, pose in group.items()}
            for group in _join(_strongest(accepted), self.finding)
        ]
        pairs = self.pairs(accepted)
        return [
            self._as_family(poses, [pair for pair in pairs if pair.u in poses and pair.v in poses], number)
            for number, poses in enumerate(groups, start=1)
        ]

    def classify(self, families: Sequence[Family]) -> tuple[Symmetry, ...]:
        """Tell units without a family by their correlation with themselves moved by up to six steps."""
        return tuple(
            line
            for name, part in zip(self.layers, self.parts, strict=True)
            for line in classify_units(
                self.transformation,
                self.is_inactive[part],
                np.where(self.is_unmeasurable[part], nan, self.lowest[part]),
                INVARIANCE_CUT,
                families,
                layer=name,
            )
        )

    def _as_family(self, poses: dict[int, float], edges: Sequence[UnitPair], number: int) -> Family:
        responses, layers, names = self.responses, self.parts, self.layers
        (axis,) = find(self.transformation).axes
        units = sorted(poses)
        origin = poses[units[0]]
        first, last = responses.of_half(1)
        weights = bootstrap_weights(
            responses.bank.photograph[first:last], _N_RESAMPLES, np.random.default_rng([self.options.seed, 9])
        )
        once = np.ones((1, last - first))
        values = responses.read(first, last)[:, :, units].astype(np.float64)
        column = {unit: index for index, unit in enumerate(units)}
        step = responses.group.step
        samples: dict[int, list[Floats]] = {unit: [] for unit in units}
        margins = []
        for edge in edges:
            x, y = values[:, :, column[edge.u]], values[:, :, column[edge.v]]
            lag = round(abs(edge.away) / step)
            early, late = (x, y) if edge.away >= 0 else (y, x)
            early, late = early[:, : early.shape[1] - lag], late[:, lag:]
            # At the nearest lag, as deviations from the same figure of the whole half: scores lie between lags.
            scaled = (
                edge.score
                + resample_correlation(early, late, weights)
                - resample_correlation(early, late, once)
            )
            margins.append(scaled - resample_correlation(x, y, weights))
            for unit in (edge.u, edge.v):
                samples[unit].append(scaled)
        scores = {u: float(np.mean([e.score for e in edges if u in (e.u, e.v)])) for u in units}
        members = []
        for unit in units:
            layer = next(index for index, part in enumerate(layers) if part.start <= unit < part.stop)
            low, high = percentile_interval(np.mean(samples[unit], axis=0))
            pose = Pose({axis.name: poses[unit] - origin})
            channel = unit - layers[layer].start
            members.append(Member(names[layer], channel, pose, scores[unit], float(low), float(high)))
        low, high = percentile_interval(np.mean([np.mean(samples[u], axis=0) for u in units], axis=0))
        margin_low, margin_high = percentile_interval(np.mean(margins, axis=0))
        own = [(e.held_out_away, poses[e.v] - poses[e.u]) for e in edges]
        spanned = tuple(name for name in names if any(member.layer == name for member in members))
        prefix = "" if self._is_joint else f"{names[0]}-"
        return Family(
            id=f"{prefix}{self.transformation}-{number}",
            layers=spanned,
            transformation=self.transformation,
            score=float(np.mean(list(scores.values()))),
            score_low=float(low),
            score_high=float(high),
            q_value=max(edge.q_value for edge in edges),
            members=tuple(members),
            stabiliser=(Pose({axis.name: 0.0}),),
            disagreement=Pose({axis.name: float(np.median([abs(a - b) for a, b in own]))}),
            margin=float(np.mean([edge.margin for edge in edges])),
            margin_low=float(margin_low),
            margin_high=float(margin_high),
        )


def _strongest(accepted: Sequence[Accepted[UnitPair]]) -> list[UnitPair]:
    """Give the accepted pairs with their q-values, the most alike first."""
    return sorted(
        (replace(own.candidate, q_value=own.q_value) for own in accepted), key=lambda pair: -pair.score
    )


def _join(edges: Sequence[UnitPair], finding: _Lags) -> list[dict[int, float]]:
    """Join pairs into families with a pose for each unit, the strongest pairs first.

    An edge between two groups joins them only if their units agree: each direct correlation across them, at the
    relative pose that joining would give and where it can be measured, must be positive in the mean.
    """
    group_of: dict[int, dict[int, float]] = {}
    for edge in edges:
        a = group_of.setdefault(edge.u, {edge.u: 0.0})
        b = group_of.setdefault(edge.v, {edge.v: 0.0})
        if a is b:
            continue
        shift = a[edge.u] + edge.away - b[edge.v]
        pairs = [(u, v, b[v] + shift - a[u]) for u in a for v in b if (u, v) != (edge.u, edge.v)]
        across = [value for value in finding.of_pairs(pairs) if np.isfinite(value)]
        if across and np.mean(across) < MIN_SCORE / 2:
            continue
        for unit, pose in b.items():
            a[unit] = pose + shift
            group_of[unit] = a
    unique = {id(group): group for group in group_of.values() if len(group) > 1}
    return sorted(unique.values(), key=lambda group: (-len(group), min(group)))
