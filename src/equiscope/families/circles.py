"""Families of a layer on a circle of poses, rotation or hue: found on one half, verified on the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.families.correlations import OrbitCorrelations, correlate_orbits
from equiscope.families.family import Family, LayerFamilies, Member, classify_units, summarise_null
from equiscope.families.synchronisation import (
    CLOSE_COPIES,
    GRID_DEG,
    INVARIANCE_CUT,
    MIN_SCORE,
    Candidate,
    consensus,
    edge_disagreement_deg,
    find_candidates,
    find_stabiliser_order,
    is_consistent,
    keep_company,
    phase_coherence,
)
from equiscope.foundations.statistics import bootstrap_weights, family_q_values, percentile_interval
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import CyclicGroup

__all__ = [
    "CircleSearch",
    "Verified",
    "find_families",
    "find_invariance",
    "joint_tuning",
    "search_circle",
    "spacing",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Members closer than this share a pose: a third of the step of 16 angles, and three times the error of a pose.
_DUPLICATE_DEG = 7.5
# A gap this many times the even spacing is a hole; InceptionV1's ten mixed3b curves leave two, of 62° and 68°.
_HOLE_RATIO = 1.5
_N_RESAMPLES = 200


def find_invariance(responses: Responses[CyclicGroup], half: int) -> Floats:
    """Lowest correlation of each unit with itself at any turn, on one half of the images, shape (unit,)."""
    return np.asarray(correlate_orbits(responses, half).autocorrelation(GRID_DEG).min(0))


@dataclass(frozen=True)
class Verified:
    """A candidate with what the held-out half says about it; intervals are 95 % bootstrap over photographs."""

    candidate: Candidate
    member_scores: Floats
    member_low: Floats
    member_high: Floats
    score: float
    score_low: float
    score_high: float
    disagreement_deg: float
    phase_coherence: float
    q_value: float


@dataclass(frozen=True)
class CircleSearch:
    """What a search on a circle gave: accepted candidates, all null scores, and how many were refused."""

    accepted: tuple[Verified, ...]
    null_scores: list[list[float]]
    n_refused: int
    verifying: OrbitCorrelations


def search_circle(
    responses: Responses[CyclicGroup],
    is_inactive: NDArray[np.bool_],
    *,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCORE,
    n_null: int = 20,
    on_step: Callable[[int], None] | None = None,
) -> CircleSearch:
    """Search candidates on half 0, verify them on half 1 and accept against the null.

    Parameters are those of `find_families`; ``is_inactive``: units that take no part, shape (unit,).
    """

    def step() -> None:
        if on_step is not None:
            on_step(1)

    finding, verifying = correlate_orbits(responses, 0), correlate_orbits(responses, 1)
    lowest = finding.autocorrelation(GRID_DEG).min(0)
    eligible = np.flatnonzero((lowest <= INVARIANCE_CUT) & ~is_inactive)
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
    # Tuning to hue is so plain that its harmonics tell copies from look-alikes less well than those of rotation.
    company = keep_company([float(consensus(finding, c).mean()) for c in candidates], CLOSE_COPIES)
    consistent = [
        i for i, candidate in enumerate(candidates) if company[i] and is_consistent(verifying, candidate)
    ]
    q_values = dict(
        zip(consistent, family_q_values([scores[i] for i in consistent], null_scores), strict=True)
    )
    accepted = [index for index in consistent if q_values[index] <= false_discovery_rate]
    resampled = _bootstrap(responses, [candidates[index] for index in accepted], seed)
    verified = []
    for index, samples in zip(accepted, resampled, strict=True):
        low, high = percentile_interval(samples)
        family_low, family_high = percentile_interval(samples.mean(1))
        verified.append(
            Verified(
                candidates[index],
                member_scores[index],
                low,
                high,
                scores[index],
                float(family_low),
                float(family_high),
                edge_disagreement_deg(verifying, candidates[index]),
                phase_coherence(verifying, candidates[index]),
                float(q_values[index]),
            )
        )
    step()
    return CircleSearch(tuple(verified), null_scores, len(candidates) - len(accepted), verifying)


def find_families(
    responses: Responses[CyclicGroup],
    examples: Examples,
    *,
    is_measurable: NDArray[np.bool_] | None = None,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCORE,
    n_null: int = 20,
    on_step: Callable[[int], None] | None = None,
) -> LayerFamilies:
    """Find, verify and accept the families of one layer under rotation or hue.

    Parameters
    ----------
    responses
        Responses of all units to the layer's bank, both halves.
    examples
        Moments of the units; units that never fired take no part.
    is_measurable
        Units whose stimuli the transformation changes at all, shape (unit,); by default all.
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
    layer, group = responses.bank.layer, responses.group
    unmeasurable = np.zeros(examples.n_units, bool) if is_measurable is None else ~is_measurable
    found = search_circle(
        responses,
        examples.is_inactive | unmeasurable,
        seed=seed,
        false_discovery_rate=false_discovery_rate,
        min_score=min_score,
        n_null=n_null,
        on_step=on_step,
    )
    families = [
        _as_family(layer, group.name, number, verified)
        for number, verified in enumerate(found.accepted, start=1)
    ]
    autocorrelation = found.verifying.autocorrelation(GRID_DEG)
    invariance = np.where(unmeasurable, np.nan, autocorrelation.min(0))
    orders = np.array([find_stabiliser_order(curve) for curve in autocorrelation.T])
    return LayerFamilies(
        layer=layer,
        transformation=group.name,
        families=tuple(families),
        symmetries=classify_units(
            group.name, examples.is_inactive, invariance, INVARIANCE_CUT, families, orders
        ),
        null=summarise_null(found.null_scores, min((f.score for f in families), default=np.inf)),
        n_refused=found.n_refused,
        notes=()
        if group.order >= 8
        else (f"{group.order} angles resolve poses only coarsely: poses and stabilisers need at least 8",),
    )


def _as_family(layer: str, transformation: str, number: int, verified: Verified) -> Family:
    candidate = verified.candidate
    deviation, holes, duplicates = spacing(candidate.channels, candidate.poses_deg, candidate.period_deg)
    order, is_hue = candidate.stabiliser_order, transformation == "hue"
    return Family(
        id=f"{layer}-{transformation}-{number}",
        layer=layer,
        transformation=transformation,
        score=verified.score,
        score_low=verified.score_low,
        score_high=verified.score_high,
        disagreement_deg=nan if is_hue else verified.disagreement_deg,
        disagreement_hue_deg=verified.disagreement_deg if is_hue else nan,
        phase_coherence=verified.phase_coherence,
        q_value=verified.q_value,
        stabiliser_order=order,
        stabiliser="{" + ", ".join(f"{360 / order * k:g}°" for k in range(order)) + "}",
        gap_deviation_deg=deviation,
        holes_deg=holes,
        duplicates=duplicates,
        members=tuple(
            Member(
                layer,
                int(channel),
                nan if is_hue else float(pose),
                float(score),
                float(low),
                float(high),
                hue_deg=float(pose) if is_hue else nan,
            )
            for channel, pose, score, low, high in zip(
                candidate.channels,
                candidate.poses_deg,
                verified.member_scores,
                verified.member_low,
                verified.member_high,
                strict=True,
            )
        ),
    )


def _bootstrap(responses: Responses[CyclicGroup], candidates: list[Candidate], seed: int) -> list[Floats]:
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


def spacing(
    channels: Ints, poses_deg: Floats, period_deg: float
) -> tuple[float, tuple[tuple[float, float], ...], tuple[tuple[int, int], ...]]:
    """Deviation from even spacing, holes and duplicates of a family's poses on a circle of ``period_deg``."""
    n = len(channels)
    order = np.argsort(poses_deg)
    poses, channels = poses_deg[order], channels[order]
    gaps = np.diff(np.append(poses, poses[0] + period_deg))
    holes = tuple(
        (float(poses[i]), float((poses[i] + gaps[i]) % period_deg))
        for i in np.flatnonzero(gaps > _HOLE_RATIO * period_deg / n)
    )
    duplicates = tuple(
        (int(min(a, b)), int(max(a, b)))
        for a, b in ((channels[i], channels[(i + 1) % n]) for i in np.flatnonzero(gaps < _DUPLICATE_DEG))
    )
    return float(np.sqrt(np.mean((gaps - period_deg / n) ** 2))), holes, duplicates


def joint_tuning(responses: Responses[CyclicGroup], examples: Examples, family: Family) -> Floats:
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
    poses_deg = family.hues_deg if family.transformation == "hue" else family.poses_deg
    for channel, pose in zip(family.channels, poses_deg, strict=True):
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
