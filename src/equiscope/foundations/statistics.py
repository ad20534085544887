"""Circular statistics, bootstrap intervals and false-discovery control.

Angles are averaged as unit vectors: the mean of 350° and 20° is 5°, and 0° and 180° have none. Intervals come from
resamples of whole photographs, because stimuli from one photograph are not independent. A q-value is the estimated
share of false findings among all that score at least as high.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from equiscope.foundations.errors import EquiscopeError

__all__ = [
    "adjust_p_values",
    "bootstrap_weights",
    "circular_difference_deg",
    "circular_mean_deg",
    "circular_median_deg",
    "family_q_values",
    "percentile_interval",
    "resample_correlation",
    "resample_mean_correlations",
    "share_interval",
]

Floats = NDArray[np.float64]


def circular_difference_deg(a: Floats | float, b: Floats | float, period_deg: float = 360.0) -> Floats:
    """Signed difference ``a - b`` on a circle.

    Parameters
    ----------
    a, b
        Angles, broadcastable, degrees.
    period_deg
        Length of the circle, degrees: 180 for lines, which repeat every half-turn.

    Returns
    -------
    ndarray
        Degrees in [-period/2, period/2).

    Examples
    --------
    >>> float(circular_difference_deg(10, 350)), float(circular_difference_deg(10, 170, period_deg=180))
    (20.0, 20.0)
    """
    half = period_deg / 2
    away = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return np.asarray(_wrapped(away + half, period_deg) - half)


def _wrapped(angle_deg: Floats | float, period_deg: float) -> Floats:
    """Angles in [0, period)."""
    # The first remainder of a tiny negative angle is the period itself, by rounding.
    return np.asarray(angle_deg % period_deg % period_deg)


def circular_mean_deg(angles: Floats, weights: Floats | None = None, period_deg: float = 360.0) -> float:
    """Weighted circular mean, degrees in [0, period); NaN where the angles cancel or there are none.

    Examples
    --------
    >>> round(circular_mean_deg(np.array([350.0, 20.0])), 6)
    5.0
    >>> circular_mean_deg(np.array([0.0, 180.0]))
    nan
    """
    angles = np.asarray(angles, dtype=float)
    weights = np.ones_like(angles) if weights is None else np.asarray(weights, dtype=float)
    total = float(np.abs(weights).sum())
    if total == 0:
        return float("nan")
    resultant = complex((weights * np.exp(2j * np.pi * angles / period_deg)).sum())
    if abs(resultant) < 1e-12 * total:
        return float("nan")
    return float(_wrapped(np.angle(resultant) * period_deg / (2 * np.pi), period_deg))


def circular_median_deg(angles: Floats, period_deg: float = 360.0) -> float:
    """Angle among the given ones with the least summed distance to all; NaN for none, degrees.

    Examples
    --------
    >>> circular_median_deg(np.array([350.0, 0.0, 5.0, 90.0]))
    0.0
    """
    angles = np.asarray(angles, dtype=float)
    if not len(angles):
        return float("nan")
    distance = np.abs(circular_difference_deg(angles[:, None], angles[None, :], period_deg)).sum(1)
    return float(angles[distance.argmin()])


def adjust_p_values(p_values: Sequence[float]) -> Floats:
    """q-value of each of several tests, shape (test,), by Benjamini and Hochberg's step-up rule.

    References
    ----------
    Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289.

    Examples
    --------
    >>> adjust_p_values([0.01, 0.04, 0.5]).round(3)
    array([0.03, 0.06, 0.5 ])
    """
    p = np.asarray(p_values, dtype=float)
    if not len(p):
        return p
    order = np.argsort(-p)
    rate = p[order] * len(p) / np.arange(len(p), 0, -1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(rate), 1.0)
    return q


def share_interval(n: int, total: int, level: float = 0.95, *, is_exact: bool = False) -> tuple[float, float]:
    """Wilson's interval for a share ``n / total``, or the exact one; NaN where the total is 0.

    The exact one covers at least ``level`` for every share and every total, and is wider; few answers call for it.

    References
    ----------
    Wilson, J. Am. Stat. Assoc. 22 (1927) 209. Clopper and Pearson, Biometrika 26 (1934) 404.

    Examples
    --------
    >>> low, high = share_interval(58, 64)
    >>> round(low, 3), round(high, 3)
    (0.81, 0.956)
    >>> low, high = share_interval(10, 10, is_exact=True)
    >>> round(low, 3), high
    (0.692, 1.0)
    """
    if total == 0:
        return float("nan"), float("nan")
    interval = binomtest(n, total).proportion_ci(level, method="exact" if is_exact else "wilson")
    return float(interval.low), float(interval.high)


def bootstrap_weights(
    groups: NDArray[np.int64], n_resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw how often each observation counts in each resample, whole groups at a time.

    Stimuli cut from one photograph are not independent, so photographs are drawn with replacement and each
    stimulus counts as often as its photograph was drawn (cluster bootstrap).

    Parameters
    ----------
    groups
        The group (photograph) of each observation, shape (observation,).
    n_resamples
        Number of resamples.
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Counts, shape (resample, observation).

    References
    ----------
    Davison and Hinkley, *Bootstrap Methods and their Application* (1997), section 3.8.

    Examples
    --------
    Three stimuli from two photographs: the first two count equally often in every resample.

    >>> counts = bootstrap_weights(np.array([7, 7, 9]), 4, np.random.default_rng(0))
    >>> counts.shape, bool((counts[:, 0] == counts[:, 1]).all())
    ((4, 3), True)
    >>> (counts[:, 0] + counts[:, 2]).tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max()) + 1 if len(member) else 0
    if n_groups == 0:
        return np.zeros((n_resamples, 0))
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples)
    return counts[:, member].astype(float)


def percentile_interval(samples: Floats, level: float = 0.95, axis: int = 0) -> tuple[Floats, Floats]:
    """Percentile interval of bootstrap samples, NaN where fewer than half of the samples could be computed.

    Parameters
    ----------
    samples
        Resampled statistics; NaN or infinite where a resample could not be evaluated.
    level
        Coverage.
    axis
        The axis of the resamples.

    Examples
    --------
    >>> low, high = percentile_interval(np.arange(101.0))
    >>> round(float(low), 6), round(float(high), 6)
    (2.5, 97.5)
    """
    samples = np.asarray(samples, dtype=float)
    finite = np.isfinite(samples)
    usable = finite.mean(axis=axis) >= 0.5
    # nanquantile warns on slices without a number; those are masked below.
    filled = np.where(finite.any(axis=axis, keepdims=True), np.where(finite, samples, np.nan), 0.0)
    low, high = np.nanquantile(filled, [(1 - level) / 2, (1 + level) / 2], axis=axis)
    return np.where(usable, low, np.nan), np.where(usable, high, np.nan)


def resample_correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Correlation of two series in every bootstrap resample.

    Parameters
    ----------
    x, y
        Shape (observation, repeat): the repeats of one observation are drawn together.
    weights
        How often each observation counts, shape (resample, observation), from ``bootstrap_weights``.

    Returns
    -------
    ndarray
        Shape (resample,); NaN where a series does not vary in a resample.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> resample_correlation(x, 3 - x, np.array([[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]]))
    array([-1., nan])
    """
    count = weights.sum(1) * x.shape[1]
    sums = [weights @ part.sum(1) for part in (x, y, x * x, y * y, x * y)]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y, xx, yy, xy = (part / count for part in sums)
        variance = (xx - mean_x**2) * (yy - mean_y**2)
        return np.asarray((xy - mean_x * mean_y) / np.sqrt(np.where(variance > 0, variance, np.nan)))


def resample_mean_correlations(aligned: Floats, weights: Floats) -> Floats:
    """Mean correlation of each of several series with the others, in every bootstrap resample.

    Parameters
    ----------
    aligned
        Shape (observation, repeat, series).
    weights
        Shape (resample, observation).

    Returns
    -------
    ndarray
        Shape (resample, series).

    Examples
    --------
    >>> ramp = np.arange(4.0)
    >>> aligned = np.stack([ramp, 2 * ramp, -ramp], axis=1)[:, None]
    >>> resample_mean_correlations(aligned, np.ones((1, 4))).round(6)
    array([[ 0.,  0., -1.]])
    """
    n = aligned.shape[2]
    total = np.zeros((len(weights), n))
    for i in range(n):
        for j in range(i):
            found = resample_correlation(aligned[:, :, i], aligned[:, :, j], weights)
            total[:, i] += found
            total[:, j] += found
    return np.asarray(total / (n - 1))


def family_q_values(scores: Sequence[float], null_scores: Sequence[Sequence[float]]) -> Floats:
    """q-value of each family: the estimated share of false ones among all that score at least as high.

    The whole search was run again on each null draw, so a null draw gives the families that the search finds
    where there is nothing to find. At a threshold t the expected number of false families is the mean number of
    null families with a score of t or more; divided by the number of real ones it estimates the false-discovery
    rate, and the q-value is its smallest value over all thresholds that keep the family.

    Parameters
    ----------
    scores
        Score of each family found, shape (family,). NaN scores get q = 1.
    null_scores
        For each null draw the scores of the families found in it.

    Returns
    -------
    ndarray
        Shape (family,), in (0, 1]: one false family in all draws together is added, so that no q-value claims
        more than the number of draws can show.

    Raises
    ------
    EquiscopeError
        If there is no null draw.

    References
    ----------
    Storey and Tibshirani, PNAS 100 (2003) 9440, with pi_0 = 1 (conservative); the added one as in Phipson and
    Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.

    Examples
    --------
    In two null draws one family scored 0.5, and one is added to their number. So (0 + 1) / 2 false families are
    expected at 0.9 or more, where one was found, and (1 + 1) / 2 at 0.4 or more, where two were.

    >>> family_q_values([0.9, 0.4], [[0.5], []])
    array([0.5, 0.5])
    """
    if len(null_scores) == 0:
        raise EquiscopeError("no null draw was made, so there is no q-value: ask for at least one")
    observed = np.asarray(scores, dtype=float)
    q = np.ones(len(observed))
    finite = np.isfinite(observed)
    if not finite.any():
        return q
    null = np.concatenate([np.asarray(draw, dtype=float) for draw in null_scores])
    null = np.sort(null[np.isfinite(null)])
    kept = observed[finite]
    order = np.argsort(-kept, kind="stable")
    ranked = kept[order]
    n_false = (len(null) - np.searchsorted(null, ranked, side="left") + 1) / len(null_scores)
    # Ties share the number of discoveries of the last among them.
    n_found = len(ranked) - np.searchsorted(np.sort(ranked), ranked, side="left")
    rate = np.minimum(1.0, n_false / n_found)
    smallest_from_here = np.minimum.accumulate(rate[::-1])[::-1]
    ranked_q = np.empty_like(rate)
    ranked_q[order] = smallest_from_here
    q[finite] = ranked_q
    return q
