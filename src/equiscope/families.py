"""Families of a layer: found on one half of the images, verified on the other, accepted against a null."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.examples import NO_IMAGE, Examples
from equiscope.responses import Responses, correlate_orbits
from equiscope.significance import bootstrap_weights, family_q_values, percentile_interval
from equiscope.synchronisation import (
    GRID_DEG,
    INVARIANCE_CUT,
    MIN_SCORE,
    Candidate,
    consensus,
    edge_disagreement_deg,
    find_candidates,
    find_stabiliser_order,
    is_consistent,
    phase_coherence,
)

__all__ = ["Family", "LayerFamilies", "Member", "NullSummary", "Unit", "find_families", "joint_tuning"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Members closer than this share a pose: a third of the step of 16 angles, and three times the error of a pose.
_DUPLICATE_DEG = 7.5
# A gap this many times the even spacing is a hole; InceptionV1's ten mixed3b curves leave two, of 62° and 68°.
_HOLE_RATIO = 1.5
_N_RESAMPLES = 200


@dataclass(frozen=True)
class Member:
    """One unit of a family.

    ``pose_deg``: counter-clockwise, degrees, up to one offset common to the family. ``score``: mean correlation
    with the other members at the family's relative poses, on held-out images, in [-1, 1], with its 95 %
    bootstrap interval over photographs.
    """

    layer: str
    channel: int
    pose_deg: float
    score: float
    score_low: float
    score_high: float


@dataclass(frozen=True)
class Family:
    """Units that are turned copies of each other.

    Attributes
    ----------
    id
        Such as ``mixed3a-rotation-2``, numbered by falling size.
    layer, transformation
        Where, and under what: ``rotation``.
    score, score_low, score_high
        Mean score of the members on held-out images, with its 95 % bootstrap interval.
    disagreement_deg
        Median difference between the relative poses of pairs, measured on held-out images alone, and the poses
        that were found, degrees.
    phase_coherence
        Agreement of the higher harmonics of the members' tuning at these poses on held-out images, in [-1, 1];
        accepted families have 0.75 or more, or NaN where there are no higher harmonics to measure.
    q_value
        Estimated share of false families among all of this layer that score as high.
    stabiliser_order
        1 for a feature that returns after a full turn, 2 for one that returns after half a turn, and so on.
    gap_deviation_deg
        Root mean square difference of the gaps between neighbouring poses from even spacing, degrees.
    holes_deg
        Gaps of more than 1.5 times the even spacing, as (from, to), counter-clockwise.
    duplicates
        Pairs of channels whose poses differ by less than 7.5 degrees.
    members
        By rising channel.
    """

    id: str
    layer: str
    transformation: str
    score: float
    score_low: float
    score_high: float
    disagreement_deg: float
    phase_coherence: float
    q_value: float
    stabiliser_order: int
    gap_deviation_deg: float
    holes_deg: tuple[tuple[float, float], ...]
    duplicates: tuple[tuple[int, int], ...]
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.members)

    @property
    def channels(self) -> Ints:
        """Channels of the members, shape (member,)."""
        return np.array([member.channel for member in self.members])

    @property
    def poses_deg(self) -> Floats:
        """Poses of the members, shape (member,), degrees."""
        return np.array([member.pose_deg for member in self.members])


@dataclass(frozen=True)
class Unit:
    """One line about a unit.

    ``mean`` and ``sd`` are of its response before the ReLU over all positions of all images. ``rotation`` is
    ``equivariant`` (member of an accepted family), ``invariant``, ``neither``, ``inactive`` (never fired) or
    ``not measurable`` (too few stimuli); ``stabiliser_order`` is 0 where it was not measured.
    """

    layer: str
    channel: int
    mean: float
    sd: float
    rotation: str
    stabiliser_order: int
    family: str | None


@dataclass(frozen=True)
class NullSummary:
    """What the search finds where there is nothing: with every unit's pose scrambled for every stimulus.

    ``families_per_draw``: mean number found in a draw; ``families_expected``: mean number that would have been
    accepted; ``score_95``: 95th percentile of their scores, NaN if there were none.
    """

    n_draws: int
    families_per_draw: float
    families_expected: float
    score_95: float


@dataclass(frozen=True)
class LayerFamilies:
    """Everything the survey says about a layer: accepted families, all units, the null, candidates refused."""

    layer: str
    families: tuple[Family, ...]
    units: tuple[Unit, ...]
    null: NullSummary
    n_refused: int
    notes: tuple[str, ...] = ()


def find_families(
    responses: Responses,
    examples: Examples,
    *,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCORE,
    n_null: int = 20,
    on_step: Callable[[int], None] | None = None,
) -> LayerFamilies:
    """Find, verify and accept the rotation families of one layer.

    Parameters
    ----------
    responses
        Responses of all units to the layer's bank, both halves.
    examples
        Moments of the units; units that never fired take no part.
    seed
        Seed of null draws and bootstrap.
    false_discovery_rate
        Largest accepted q-value.
    min_score
        Smallest mean correlation with the other members that makes a member.
    n_null
        Number of null draws; each repeats the whole search.
    on_step
        Called with 1 after each of ``n_null + 2`` steps.

    Notes
    -----
    The search sees only stimuli of half 0. Scores, intervals, disagreement, coherence and q-values come from half 1
    at the poses that half 0 gave. A family is accepted if its members are turned against each other at all, its
    phases are coherent, its cycles close and its score stands out from the null, whose draws
    are searched and verified in the same way.
    """

    def step() -> None:
        if on_step is not None:
            on_step(1)

    layer, order = responses.bank.layer, responses.group.order
    finding, verifying = correlate_orbits(responses, 0), correlate_orbits(responses, 1)
    lowest = finding.autocorrelation(GRID_DEG).min(0)
    eligible = np.flatnonzero((lowest <= INVARIANCE_CUT) & ~examples.is_inactive)
    candidates = find_candidates(finding, eligible, min_score=min_score)
    step()
    null_scores = []
    for draw in range(n_null):
        null = [
            correlate_orbits(responses, half, scramble=np.random.default_rng([seed, 2, draw, half]))
            for half in (0, 1)
        ]
        found = find_candidates(null[0], eligible, min_score=min_score)
        null_scores.append([float(consensus(null[1], c).mean()) for c in found if is_consistent(null[1], c)])
        step()
    member_scores = [consensus(verifying, candidate) for candidate in candidates]
    scores = [float(score.mean()) for score in member_scores]
    consistent = [i for i, candidate in enumerate(candidates) if is_consistent(verifying, candidate)]
    q_values = dict(
        zip(consistent, family_q_values([scores[i] for i in consistent], null_scores), strict=True)
    )
    accepted = [index for index in consistent if q_values[index] <= false_discovery_rate]
    resampled = _bootstrap(responses, [candidates[index] for index in accepted], seed)
    families = []
    for number, (index, samples) in enumerate(zip(accepted, resampled, strict=True), start=1):
        candidate = candidates[index]
        low, high = percentile_interval(samples)
        family_low, family_high = percentile_interval(samples.mean(1))
        deviation, holes, duplicates = _spacing(candidate)
        families.append(
            Family(
                id=f"{layer}-rotation-{number}",
                layer=layer,
                transformation="rotation",
                score=scores[index],
                score_low=float(family_low),
                score_high=float(family_high),
                disagreement_deg=edge_disagreement_deg(verifying, candidate),
                phase_coherence=phase_coherence(verifying, candidate),
                q_value=float(q_values[index]),
                stabiliser_order=candidate.stabiliser_order,
                gap_deviation_deg=deviation,
                holes_deg=holes,
                duplicates=duplicates,
                members=tuple(
                    Member(layer, int(channel), float(pose), float(score), float(lo), float(hi))
                    for channel, pose, score, lo, hi in zip(
                        candidate.channels, candidate.poses_deg, member_scores[index], low, high, strict=True
                    )
                ),
            )
        )
    step()
    every_null = np.array([score for draw in null_scores for score in draw])
    threshold = min((scores[index] for index in accepted), default=np.inf)
    return LayerFamilies(
        layer=layer,
        families=tuple(families),
        units=_unit_lines(examples, verifying.autocorrelation(GRID_DEG), families),
        null=NullSummary(
            n_draws=n_null,
            families_per_draw=len(every_null) / n_null,
            families_expected=float((every_null >= threshold).sum() / n_null),
            score_95=float(np.quantile(every_null, 0.95)) if len(every_null) else float("nan"),
        ),
        n_refused=len(candidates) - len(accepted),
        notes=()
        if order >= 8
        else (f"{order} angles resolve poses only coarsely: poses and stabilisers need at least 8",),
    )


def _bootstrap(responses: Responses, candidates: list[Candidate], seed: int) -> list[Floats]:
    """Resampled member scores on half 1, for each candidate shape (resample, member).

    With Z the Fourier series of a member's orbit turned to the common pose, a pair's product summed over the
    orbit is the scalar product of their Z, so a resample is a weighted sum of per-stimulus products.
    """
    if not candidates:
        return []
    order = responses.group.order
    n_frequencies = order // 2 + 1
    scale = np.full(n_frequencies, 2.0)
    scale[0] = 1
    if order % 2 == 0:
        scale[-1] = 1
    scale = np.sqrt(scale / order)
    first, last = responses.of_half(1)
    photographs = responses.bank.photograph[first:last]
    weights = bootstrap_weights(photographs, _N_RESAMPLES, np.random.default_rng([seed, 3]))
    channels = np.concatenate([candidate.channels for candidate in candidates])
    poses = np.radians(np.concatenate([candidate.poses_deg for candidate in candidates]))
    turn = np.exp(1j * np.outer(np.arange(n_frequencies), poses)) * scale[:, None]
    bounds = np.cumsum([0] + [len(candidate.channels) for candidate in candidates])
    products = [np.zeros((_N_RESAMPLES, n, n)) for n in np.diff(bounds)]
    sums = [np.zeros((_N_RESAMPLES, n)) for n in np.diff(bounds)]
    for start, chunk in responses.chunks(1):
        mine = np.ascontiguousarray(chunk[:, :, channels])
        turned = np.fft.rfft(mine, axis=1) * turn
        series = np.concatenate([turned.real, turned.imag], axis=1)
        total = mine.sum(1, dtype=np.float64)
        weight = weights[:, start - first : start - first + len(chunk)]
        for index, (a, b) in enumerate(itertools.pairwise(bounds)):
            pair = np.einsum("sfi,sfj->sij", series[:, :, a:b], series[:, :, a:b], optimize=True)
            products[index] += (weight @ pair.reshape(len(chunk), -1)).reshape(-1, b - a, b - a)
            sums[index] += weight @ total[:, a:b]
    count = weights.sum(1) * order
    results = []
    for product, total in zip(products, sums, strict=True):
        mean = total / count[:, None]
        covariance = product / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
        variance = np.einsum("bii->bi", covariance)
        with np.errstate(invalid="ignore", divide="ignore"):
            # A resample in which a member never fired cannot be scored: NaN.
            sd = np.sqrt(np.where(variance > 0, variance, np.nan))
            correlation = covariance / (sd[:, :, None] * sd[:, None, :])
        n = correlation.shape[1]
        results.append((correlation.sum(2) - 1) / (n - 1))
    return results


def _spacing(
    candidate: Candidate,
) -> tuple[float, tuple[tuple[float, float], ...], tuple[tuple[int, int], ...]]:
    """Deviation from even spacing, holes and duplicates of a family's poses."""
    period, n = candidate.period_deg, len(candidate.channels)
    order = np.argsort(candidate.poses_deg)
    poses = candidate.poses_deg[order]
    channels = candidate.channels[order]
    gaps = np.diff(np.append(poses, poses[0] + period))
    holes = tuple(
        (float(poses[i]), float((poses[i] + gaps[i]) % period))
        for i in np.flatnonzero(gaps > _HOLE_RATIO * period / n)
    )
    duplicates = tuple(
        (int(min(a, b)), int(max(a, b)))
        for a, b in ((channels[i], channels[(i + 1) % n]) for i in np.flatnonzero(gaps < _DUPLICATE_DEG))
    )
    return float(np.sqrt(np.mean((gaps - period / n) ** 2))), holes, duplicates


def _unit_lines(examples: Examples, autocorrelation: Floats, families: list[Family]) -> tuple[Unit, ...]:
    """One line for each unit; ``autocorrelation``: on held-out images, shape (grid, unit)."""
    family_of = {member.channel: family for family in families for member in family.members}
    lines = []
    for channel in range(examples.n_units):
        curve = autocorrelation[:, channel]
        family = family_of.get(channel)
        if examples.is_inactive[channel]:
            kind, stabiliser = "inactive", 0
        elif family is not None:
            kind, stabiliser = "equivariant", family.stabiliser_order
        elif not np.isfinite(curve).all():
            kind, stabiliser = "not measurable", 0
        elif curve.min() > INVARIANCE_CUT:
            kind, stabiliser = "invariant", 0
        else:
            kind, stabiliser = "neither", find_stabiliser_order(curve)
        lines.append(
            Unit(
                layer=examples.layer,
                channel=channel,
                mean=float(examples.mean[channel]),
                sd=float(examples.sd[channel]),
                rotation=kind,
                stabiliser_order=stabiliser,
                family=None if family is None else family.id,
            )
        )
    return tuple(lines)


def joint_tuning(responses: Responses, examples: Examples, family: Family) -> Floats:
    """How every member responds as the members' own held-out stimuli are turned.

    Parameters
    ----------
    responses, examples
        Of the family's layer.
    family
        The family.

    Returns
    -------
    ndarray
        Shape (member, element), in [0, 1]: mean response to the feature at each angle of the group, divided by
        the member's own maximum; NaN where no held-out stimulus was there. Each stimulus is first turned back
        by the pose of the member that it drives, so a member peaks at its own pose if the family is one.
    """
    order = responses.group.order
    wave = 2j * np.pi / order * np.fft.rfftfreq(order, 1 / order)
    first, last = responses.of_half(1)
    bank = responses.bank
    starts = bank.start_deg(responses.group)
    place = {
        key: first + offset
        for offset, key in enumerate(
            zip(bank.image[first:last].tolist(), *bank.position[first:last].T.tolist(), strict=True)
        )
    }
    curves = []
    for channel, pose in zip(family.channels, family.poses_deg, strict=True):
        image, position = examples.image[1, channel], examples.position[1, channel]
        keys = [(int(i), int(y), int(x)) for i, (y, x) in zip(image, position, strict=True) if i != NO_IMAGE]
        rows = [place[key] for key in keys if key in place]
        if not rows:
            continue
        mine = np.stack([responses.read(row, row + 1)[0] for row in rows])[:, :, family.channels]
        # Element h shows the feature at pose + start + h: read the curve at h = angle - pose - start.
        back = np.exp(-wave[:, None] * (pose + starts[rows]) * order / 360.0)
        turned = (np.fft.rfft(mine, axis=1) * back.T[:, :, None]).mean(0)
        curves.append(np.fft.irfft(turned, n=order, axis=0))
    if not curves:
        return np.full((family.size, order), np.nan)
    mean = np.clip(np.mean(curves, axis=0), 0, None).T
    peak = mean.max(1, keepdims=True)
    return np.asarray(np.where(peak > 0, mean / np.where(peak > 0, peak, 1), np.nan))
