"""How well the poses of a family agree with those on drawings: a share, its interval, and its null.

The *agreement* of a family is the share of its members whose pose on drawings is that on photographs, up to one offset
common to all; each member counts by its drive, since one that a drawing hardly moves tells little by it:

    agreement = sum of drives of members with |error| <= limit / sum of drives of all members that fired

The limit is 20 degrees, or two steps of a line. The offset is fitted to the members, so that some agree by chance: of
three members with poses of any kind one always does. The null says how much chance gives: the same share, offset fitted
anew, with the poses permuted among the members, and with poses drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.ties import permutations
from equiscope.foundations.statistics import percentile_interval

__all__ = ["NOTHING", "Agreement", "measure_agreement"]

Floats = NDArray[np.float64]

_N_DRAWS, _N_RESAMPLES = 400, 1000
# Two members cannot be told from two at random by one agreement; and where fewer fired there is nothing to compare.
_FEWEST_TO_PERMUTE, _FEWEST = 3, 2


@dataclass(frozen=True)
class Agreement:
    """Share of the members' drive that agrees.

    Attributes
    ----------
    share
        In [0, 1]; NaN where fewer than two members fired.
    low, high
        Its 95 % bootstrap interval over members.
    null_95
        What chance reaches in one of twenty draws: the larger of the 95th percentiles with poses permuted among the
        members (three or more) and with poses at random. NaN as ``share``.
    """

    share: float = nan
    low: float = nan
    high: float = nan
    null_95: float = nan


# Of families in which fewer than two members fired.
NOTHING = Agreement()


def measure_agreement(
    errors_at: Callable[[Floats], Floats],
    poses: Floats,
    drives: Floats,
    limit: float,
    span: tuple[float, float],
) -> Agreement:
    """Measure how much of a family agrees with its drawings.

    Parameters
    ----------
    errors_at
        Gives the error of each member on drawings at other poses on photographs, offset fitted anew; NaN where it did
        not fire.
    poses
        On photographs, shape (member,).
    drives
        Of each member on the drawing that poses were read on, in [0, 1], shape (member,).
    limit
        A larger error does not agree, in the unit of the poses.
    span
        Lowest and highest pose that there could be: from 0 to the period on a circle.

    Examples
    --------
    Drawings give the poses of five of six members, and nothing of the kind by chance.

    >>> poses = np.array([0.0, 40.0, 100.0, 170.0, 230.0, 290.0])
    >>> seen = poses + np.array([3.0, -3.0, 0.0, 0.0, 0.0, 90.0])
    >>> def errors_at(own):
    ...     away = (seen - own + 180) % 360 - 180
    ...     return (away - np.median(away) + 180) % 360 - 180
    >>> found = measure_agreement(errors_at, poses, np.ones(6), 20.0, (0.0, 360.0))
    >>> round(found.share, 2), found.null_95 < 0.6
    (0.83, True)
    """
    errors = errors_at(poses)
    fired = np.isfinite(errors)
    if fired.sum() < _FEWEST or not drives[fired].sum() > 0:
        return NOTHING

    def share(found: Floats) -> float:
        return float((drives * (np.abs(found) <= limit))[fired].sum() / drives[fired].sum())

    rng = np.random.default_rng(2)
    chosen = rng.integers(0, fired.sum(), (_N_RESAMPLES, int(fired.sum())))
    weights, agrees = drives[fired][chosen], np.abs(errors[fired])[chosen] <= limit
    totals = weights.sum(1)
    low, high = percentile_interval(
        ((weights * agrees).sum(1) / np.where(totals > 0, totals, nan))[totals > 0]
    )
    at_random = [share(errors_at(rng.uniform(*span, len(poses)))) for _ in range(_N_DRAWS)]
    nulls = [float(np.quantile(at_random, 0.95))]
    if fired.sum() >= _FEWEST_TO_PERMUTE:
        nulls.append(float(np.quantile(_permuted(errors_at, share, poses, fired, span), 0.95)))
    return Agreement(share(errors), float(low), float(high), max(nulls))


def _permuted(
    errors_at: Callable[[Floats], Floats],
    share: Callable[[Floats], float],
    poses: Floats,
    fired: NDArray[np.bool_],
    span: tuple[float, float],
) -> list[float]:
    """Measure shares with the poses of the members that fired permuted among these."""
    places = np.flatnonzero(fired)
    width = max(span[1] - span[0], 1e-12)
    orders = permutations(2 * np.pi * poses[places] / width, _N_DRAWS, np.random.default_rng(3))
    found: dict[tuple[int, ...], float] = {}
    shares = []
    for order in map(tuple, orders.tolist()):
        if order not in found:
            changed = poses.copy()
            changed[places] = poses[places][list(order)]
            found[order] = share(errors_at(changed))
        shares.append(found[order])
    return shares
