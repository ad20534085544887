"""Scale families, within a layer and across layers: the same feature small in early layers and large in late ones.

All layers are measured at once on one bank of magnified and reduced stimuli. Scales are a truncated piece of a group,
so nothing wraps: two units are compared over the scales that both can be seen at.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.families.family import (
    Family,
    LayerFamilies,
    Member,
    Symmetry,
    classify_units,
    summarise_null,
)
from equiscope.families.synchronisation import INVARIANCE_CUT, keep_company
from equiscope.foundations.statistics import (
    bootstrap_weights,
    family_q_values,
    percentile_interval,
    resample_correlation,
)
from equiscope.measurement.bank import centres_px
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.transformations.groups import Scales

__all__ = ["ScaleEdge", "ScaleFamilies", "find_scale_families", "joint_scale_tuning"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Smallest correlation of a pair at its best relative scale: that of an earlier count of GoogLeNet's pairs, with which
# the results can be compared. And by how much it must exceed the correlation without scaling: planted exact copies
# half an octave apart have 0.1.
MIN_SCALE_SCORE = 0.55
MIN_SCALE_MARGIN = 0.05
# A unit has several partners in a layer, copies at several scales, if they correlate as well up to this.
_TIE = 0.02
# Relative scales smaller than this are one size, octaves: a step and a half.
_SMALLEST_OCTAVES = 0.375
# Scales that two units must have in common to be compared.
_MIN_OVERLAP = 3
# Range of relative scales over which a unit must stay as it is to count as invariant, octaves.
_INVARIANCE_OCTAVES = 1.5
# Poses of a family may contradict one another by this much, octaves: two steps.
_MAX_DISAGREEMENT_OCTAVES = 0.5
# Where so many units take part that a null draw takes seconds, there are pairs enough for a few draws to show a small
# rate: one false pair in all of five draws is 0.2 a draw.
_MANY_UNITS = 500
_N_NULL_OF_MANY = 5
_N_RESAMPLES = 200
# Pairs whose responses are in memory at a time.
_PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class ScaleEdge:
    """Two units, counted through all layers, of which v is u magnified by ``octaves``; figures are held-out.

    ``margin``: by how much they correlate better at that relative scale than at none. ``held_out_octaves``: the
    relative scale that the held-out half alone gives.
    """

    u: int
    v: int
    octaves: float
    score: float
    margin: float
    q_value: float = nan
    held_out_octaves: float = nan

    @property
    def gain(self) -> float:
        """Share of what the pair lacks to being alike that scaling supplies: what pairs are ranked by."""
        return self.margin / max(1 - (self.score - self.margin), 1e-9)


@dataclass(frozen=True)
class ScaleFamilies:
    """What the survey says about scale: families over all layers, the pairs behind them, and each layer's units."""

    result: LayerFamilies
    edges: tuple[ScaleEdge, ...]
    symmetries: dict[str, tuple[Symmetry, ...]]


class _Lags:
    """Correlation of pairs at every relative scale, for one half: ``v`` is ``u`` magnified by the lag.

    With ``scramble`` v's sizes are shifted at random for every stimulus and u's are as they were measured. Were both
    shifted, null pairs would be blurred twice and correlate less than real units that share a feature and no scale.
    Nothing is kept but the responses: all pairs of a large network at all lags do not fit into memory.
    """

    def __init__(
        self, values: torch.Tensor, step_octaves: float, scramble: np.random.Generator | None = None
    ) -> None:
        self.values, self.step = values, step_octaves
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

    def at(self, curve: Floats, octaves: float) -> float:
        """Correlation of one pair at a relative scale, interpolated between the lags of its curve; NaN beyond them."""
        lag = octaves / self.step + self.n_lags
        if not 0 <= lag <= 2 * self.n_lags:
            return nan
        low = int(np.floor(lag))
        high = min(low + 1, 2 * self.n_lags)
        return float((1 - (lag - low)) * curve[low] + (lag - low) * curve[high])

    def of_pairs(self, pairs: Sequence[tuple[int, int, float]]) -> list[float]:
        """Correlation of pairs (u, v), each at its own relative scale, octaves; NaN beyond the lags."""
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
    """Pairs (u, v, octaves) of which each is the other's best match at another scale, for every pair of layers."""
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
            octaves = _refined(curves[:, i, j], int(top[i, j]), n_lags) * lags.step
            if abs(octaves) < _SMALLEST_OCTAVES or height[i, j] - curves[n_lags, i, j] < MIN_SCALE_MARGIN:
                continue
            found.append((int(units_a[i]), int(units_b[j]), octaves))
    return found


def _verify(lags: _Lags, pairs: Sequence[tuple[int, int, float]]) -> list[ScaleEdge]:
    """Pairs that correlate better at the relative scale found than at none on the given half, too."""
    curves = lags.pair_curves(*(np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1)))
    edges = []
    for (u, v, octaves), curve in zip(pairs, curves.T, strict=True):
        score = lags.at(curve, octaves)
        margin = score - lags.at(curve, 0.0)
        if margin >= MIN_SCALE_MARGIN:
            known = np.nan_to_num(curve, nan=-1.0)
            own = _refined(known, int(known.argmax()), lags.n_lags) * lags.step
            edges.append(ScaleEdge(u, v, octaves, score, margin, held_out_octaves=own))
    return edges


def _refined(curve: Floats, top: int, zero: int) -> float:
    """Place of the maximum of a curve in steps from ``zero``, by a parabola; at an end, or beside a gap, as it is."""
    if 0 < top < len(curve) - 1:
        before, at, after = curve[top - 1 : top + 2]
        bend = before - 2 * at + after
        if np.isfinite(bend) and bend < -1e-9:
            return float(top - zero + 0.5 * (before - after) / bend)
    return float(top - zero)


def find_scale_families(
    responses: Responses[Scales],
    examples: Sequence[Examples],
    *,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCALE_SCORE,
    n_null: int = 20,
    on_step: Callable[[int], None] | None = None,
) -> ScaleFamilies:
    """Find, verify and accept the scale families of several layers.

    Parameters
    ----------
    responses
        Responses of the units of all layers, side by side, to the joint bank at every scale, both halves.
    examples
        Moments of the units of each layer, in the same order.
    seed, false_discovery_rate, on_step
        As for ``circles.find_families``.
    min_score
        Smallest correlation of a pair at its best relative scale.
    n_null
        Number of null draws; at most 5 are made where more than 500 units take part.

    Notes
    -----
    Half 0 proposes pairs of units of every two layers that are each other's best match at another size. On half 1 each
    must again correlate better at the relative scale found than at none, by 0.05 or more, and its gain, the share of
    what it lacks to being alike that scaling supplies, must stand out from the gains of pairs found in the same way
    with one unit's sizes shifted at random for every stimulus. Accepted
    pairs that share units make a family, the strongest first, where the units that would come together correlate.
    """

    def step() -> None:
        if on_step is not None:
            on_step(1)

    bounds = np.cumsum([0] + [e.n_units for e in examples])
    all_layers = [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]
    is_inactive = np.concatenate([e.is_inactive for e in examples])
    step_octaves = responses.group.step_octaves
    n_near = 1 + round(_INVARIANCE_OCTAVES / step_octaves)
    values = [torch.from_numpy(responses.read(*responses.of_half(half))) for half in (0, 1)]
    finding_own, lowest = (_own_correlations(half)[:n_near].min(0) for half in values)
    with np.errstate(invalid="ignore"):
        units = np.flatnonzero((finding_own <= INVARIANCE_CUT) & ~is_inactive)
    # From here on units are counted among those that may take part, and nothing is kept of the others.
    layers = [slice(*np.searchsorted(units, [part.start, part.stop]).tolist()) for part in all_layers]
    halves = [values.pop(0)[:, :, units].contiguous() for _ in range(2)]
    finding, verifying = (_Lags(half, step_octaves) for half in halves)
    pairs = _propose(finding, layers, min_score)
    n_proposed = len(pairs)
    company = keep_company(finding.of_pairs(pairs))
    pairs = [pair for pair, kept in zip(pairs, company, strict=True) if kept]
    step()
    null_gains: list[list[float]] = []
    n_draws = min(n_null, _N_NULL_OF_MANY) if len(units) > _MANY_UNITS else n_null
    for draw in range(n_draws):
        proposed = _propose(
            _Lags(halves[0], step_octaves, np.random.default_rng([seed, 8, draw, 0])), layers, min_score
        )
        null = _Lags(halves[1], step_octaves, np.random.default_rng([seed, 8, draw, 1]))
        null_gains.append([edge.gain for edge in _verify(null, proposed)])
        step()
    consistent = _verify(verifying, pairs)
    q_values = family_q_values([edge.gain for edge in consistent], null_gains)
    edges = [
        replace(edge, q_value=float(q))
        for edge, q in zip(consistent, q_values, strict=True)
        if q <= false_discovery_rate
    ]
    edges.sort(key=lambda edge: -edge.score)
    groups = [{int(units[unit]): pose for unit, pose in group.items()} for group in _join(edges, finding)]
    edges = [replace(edge, u=int(units[edge.u]), v=int(units[edge.v])) for edge in edges]
    layers = all_layers
    names = [e.layer for e in examples]
    joint = "+".join(names)
    families: list[Family] = []
    for poses in groups:
        own_edges = [e for e in edges if e.u in poses and e.v in poses]
        families.append(_as_family(responses, poses, own_edges, layers, names, len(families) + 1, seed))
    step()
    symmetries = {
        name: classify_units("scale", is_inactive[part], lowest[part], INVARIANCE_CUT, families, layer=name)
        for name, part in zip(names, layers, strict=True)
    }
    return ScaleFamilies(
        LayerFamilies(
            layer=joint,
            transformation="scale",
            families=tuple(families),
            symmetries=tuple(line for name in names for line in symmetries[name]),
            null=summarise_null(null_gains, min((e.gain for e in edges), default=np.inf)),
            n_refused=n_proposed - len(edges),
        ),
        tuple(edges),
        symmetries,
    )


def _join(edges: Sequence[ScaleEdge], finding: _Lags) -> list[dict[int, float]]:
    """Join pairs into families with a pose for each unit, octaves, the strongest pairs first.

    An edge between two groups joins them only if their units agree: each direct correlation across them, at the
    relative scale that joining would give and where it can be measured, must be positive in the mean.
    """
    group_of: dict[int, dict[int, float]] = {}
    for edge in edges:
        a = group_of.setdefault(edge.u, {edge.u: 0.0})
        b = group_of.setdefault(edge.v, {edge.v: 0.0})
        if a is b:
            continue
        shift = a[edge.u] + edge.octaves - b[edge.v]
        pairs = [(u, v, b[v] + shift - a[u]) for u in a for v in b if (u, v) != (edge.u, edge.v)]
        across = [value for value in finding.of_pairs(pairs) if np.isfinite(value)]
        if across and np.mean(across) < MIN_SCALE_SCORE / 2:
            continue
        for unit, pose in b.items():
            a[unit] = pose + shift
            group_of[unit] = a
    unique = {id(group): group for group in group_of.values() if len(group) > 1}
    return sorted(unique.values(), key=lambda group: (-len(group), min(group)))


def _as_family(
    responses: Responses[Scales],
    poses: dict[int, float],
    edges: Sequence[ScaleEdge],
    layers: Sequence[slice],
    names: Sequence[str],
    number: int,
    seed: int,
) -> Family:
    units = sorted(poses)
    origin = poses[units[0]]
    first, last = responses.of_half(1)
    weights = bootstrap_weights(
        responses.bank.photograph[first:last], _N_RESAMPLES, np.random.default_rng([seed, 9])
    )
    once = np.ones((1, last - first))
    values = responses.read(first, last)[:, :, units].astype(np.float64)
    column = {unit: index for index, unit in enumerate(units)}
    step = responses.group.step_octaves
    samples: dict[int, list[Floats]] = {unit: [] for unit in units}
    margins = []
    for edge in edges:
        x, y = values[:, :, column[edge.u]], values[:, :, column[edge.v]]
        lag = round(abs(edge.octaves) / step)
        early, late = (x, y) if edge.octaves >= 0 else (y, x)
        early, late = early[:, : early.shape[1] - lag], late[:, lag:]
        # At the nearest lag, as deviations from the same figure of the whole half: scores lie between lags.
        scaled = (
            edge.score + resample_correlation(early, late, weights) - resample_correlation(early, late, once)
        )
        margins.append(scaled - resample_correlation(x, y, weights))
        for unit in (edge.u, edge.v):
            samples[unit].append(scaled)
    scores = {u: float(np.mean([e.score for e in edges if u in (e.u, e.v)])) for u in units}
    members = []
    for unit in units:
        layer = next(index for index, part in enumerate(layers) if part.start <= unit < part.stop)
        low, high = percentile_interval(np.mean(samples[unit], axis=0))
        members.append(
            Member(
                names[layer],
                unit - layers[layer].start,
                nan,
                scores[unit],
                float(low),
                float(high),
                octaves=poses[unit] - origin,
            )
        )
    low, high = percentile_interval(np.mean([np.mean(samples[u], axis=0) for u in units], axis=0))
    margin_low, margin_high = percentile_interval(np.mean(margins, axis=0))
    own = [(e.held_out_octaves, poses[e.v] - poses[e.u]) for e in edges]
    spanned = [name for name in names if any(member.layer == name for member in members)]
    return Family(
        id=f"scale-{number}",
        layer="+".join(spanned),
        transformation="scale",
        score=float(np.mean(list(scores.values()))),
        score_low=float(low),
        score_high=float(high),
        disagreement_deg=nan,
        disagreement_octaves=float(np.median([abs(a - b) for a, b in own])),
        phase_coherence=nan,
        q_value=max(edge.q_value for edge in edges),
        stabiliser_order=1,
        stabiliser="{0 octaves}",
        gap_deviation_deg=nan,
        holes_deg=(),
        duplicates=(),
        margin=float(np.mean([edge.margin for edge in edges])),
        margin_low=float(margin_low),
        margin_high=float(margin_high),
        members=tuple(members),
    )


def _places(image: Ints, centre_px: Floats) -> list[tuple[float, ...]]:
    """Give each stimulus as what tells it from others: its image and where in it it is centred."""
    return list(zip(image.tolist(), *np.round(centre_px, 3).T.tolist(), strict=True))


def joint_scale_tuning(
    responses: Responses[Scales],
    examples: Sequence[Examples],
    geometries: Mapping[str, LayerGeometry],
    family: Family,
) -> tuple[Floats, Floats]:
    """How every member responds to the members' own held-out stimuli, by the size at which the feature is shown.

    Parameters
    ----------
    responses
        Of all layers side by side.
    examples
        Of each layer, in the order of the columns of ``responses``.
    geometries
        Of each layer: positions of different layers are told apart by where in the image they are.
    family
        Over scale.

    Returns
    -------
    octaves : ndarray, shape (size,)
        Size against the first member's, ascending.
    tuning : ndarray, shape (member, size)
        In [0, 1] of the member's own maximum; NaN at sizes that no stimulus was shown at.
    """
    group, bank = responses.group, responses.bank
    offsets = np.cumsum([0] + [e.n_units for e in examples]).tolist()
    start_of = {e.layer: offset for e, offset in zip(examples, offsets, strict=False)}
    of_layer = {e.layer: e for e in examples}
    columns = np.array([start_of[m.layer] + m.channel for m in family.members])
    first, last = responses.of_half(1)
    keys = _places(bank.image[first:last], centres_px(bank, None)[first:last])
    step = group.step_octaves
    poses = [member.octaves for member in family.members]
    n_below = round(-(min(poses) + group.octaves[0]) / step) + 1
    n_above = round((max(poses) + group.octaves[-1]) / step) + 1
    octaves = np.asarray(np.arange(-n_below, n_above + 1) * step, dtype=np.float64)
    total = np.zeros((len(octaves), len(columns)))
    count = np.zeros(len(octaves))
    for member in family.members:
        own = of_layer[member.layer]
        is_there = own.image[1, member.channel] != NO_IMAGE
        image, position = own.image[1, member.channel][is_there], own.position[1, member.channel][is_there]
        geometry = geometries[member.layer]
        wanted = set(_places(image, geometry.centre_px + np.asarray(geometry.stride_px) * position))
        for row in (first + offset for offset, key in enumerate(keys) if key in wanted):
            # Element k shows this member's feature, of size ``octaves``, magnified further.
            place = np.round((member.octaves + np.array(group.octaves)) / step).astype(int) + n_below
            total[place] += responses.read(row, row + 1)[0][:, columns]
            count[place] += 1
    with np.errstate(invalid="ignore"):
        mean = np.where(count[:, None] > 0, total / count[:, None], nan).T
    peak = np.nanmax(np.where(np.isnan(mean), 0.0, mean), axis=1, keepdims=True)
    return octaves, np.asarray(np.where(peak > 0, mean / np.where(peak > 0, peak, 1), nan))
