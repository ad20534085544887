"""Which transformation explains a family best, where several fit: compared on held-out images.

A half-turn of an odd feature is also its contrast inverted, two reflections make a rotation, and so on. For each pair
of members u and v and each transformation T, the element g of T is chosen on half 0 that makes ``u(g⁻¹ x)`` correlate
best with ``v(x)`` over stimuli x, and that correlation is taken on half 1. All transformations are judged on the same
stimuli, so freedom that fits noise gains nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import Explanation
from equiscope.foundations.statistics import bootstrap_weights, percentile_interval, resample_correlation
from equiscope.measurement.responses import Responses
from equiscope.transformations import alone, find
from equiscope.transformations.groups import CyclicGroup, DihedralGroup, Segment, TorusGroup
from equiscope.transformations.spaces import Circle, Line, Pair

__all__ = ["Comparison", "simplest"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_N_RESAMPLES = 200
# Pairs of members that are compared; of larger families a sample.
_MOST_PAIRS = 60
# Angles at which a circle is read between its samples.
_N_FINE = 48
# Held-out stimuli below which nothing is compared.
_MIN_STIMULI = 12
# A simpler transformation may score this much less than the best one, if the difference is not significant: with few
# stimuli nothing is significant, and a poor explanation must not win for that.
_LARGEST_DEFICIT = 0.1


@dataclass(frozen=True)
class _Shown:
    """Responses to common stimuli as they are, (stimulus, member), and under the elements of each transformation.

    ``under``: shape (stimulus, element, member).
    """

    half: Ints
    photograph: Ints
    upright: Floats
    under: dict[str, Floats]


class Comparison:
    """Compares transformations for the families of one layer.

    Parameters
    ----------
    measured
        Responses of the layer under each transformation surveyed; each is read into memory once.
    seed
        Seed of the bootstrap.
    """

    def __init__(self, measured: Mapping[str, Responses[Any]], seed: int = 0) -> None:
        self.seed = seed
        self.measured = {
            name: Responses(r.bank, r.group, np.asarray(r.array[:], dtype=np.float32))
            for name, r in measured.items()
        }
        self.common = _common_rows({n: r for n, r in self.measured.items() if _is_simple(n)})

    def of(self, channels: Ints, own: str) -> tuple[Explanation, ...]:
        """Compare the transformations that can be compared for the members of one family.

        Parameters
        ----------
        channels
            Members, shape (member,).
        own
            The transformation under which the family was found. Hue × rotation and dihedral families are compared
            with the subgroups of their own group; all others with every simple transformation.

        Returns
        -------
        tuple of Explanation
            The simplest first; empty where fewer than twelve held-out stimuli, or fewer than two transformations,
            are common to all.
        """
        if _is_simple(own):
            shown = _simple(self.measured, self.common, channels)
        else:
            shown = _product(self.measured[own], channels)
        if shown is None or len(shown.under) < 2 or int((shown.half == 1).sum()) < _MIN_STIMULI:
            return ()
        return _compare(shown, len(channels), self.seed)


def _compare(shown: _Shown, n_members: int, seed: int) -> tuple[Explanation, ...]:
    finding, verifying = shown.half == 0, shown.half == 1
    weights = bootstrap_weights(shown.photograph[verifying], _N_RESAMPLES, np.random.default_rng([seed, 10]))
    scores: dict[str, float] = {}
    samples: dict[str, Floats] = {}
    once = np.ones((1, int(verifying.sum())))
    pairs = list(itertools.permutations(range(n_members), 2))
    if len(pairs) > _MOST_PAIRS:
        drawn = np.random.default_rng([seed, 12]).choice(len(pairs), _MOST_PAIRS, replace=False)
        pairs = [pairs[index] for index in np.sort(drawn)]
    for name in sorted(shown.under, key=lambda name: find(name).simplicity):
        found, resampled = [], []
        for u, v in pairs:
            own_curve = _correlations(shown.under[name][finding][:, :, u], shown.upright[finding][:, v])
            if not np.isfinite(own_curve).any():
                continue
            element = int(np.nanargmax(own_curve))
            x = shown.under[name][verifying][:, element, u][:, None]
            y = shown.upright[verifying][:, v][:, None]
            found.append(float(resample_correlation(x, y, once)[0]))
            resampled.append(resample_correlation(x, y, weights))
        scores[name] = float(_mean_measured(np.array(found)[:, None])[0]) if found else float("nan")
        samples[name] = _mean_measured(np.array(resampled)) if resampled else np.full(_N_RESAMPLES, np.nan)
    finite = [name for name in scores if np.isfinite(scores[name])]
    if len(finite) < 2:
        return ()
    best = max(finite, key=lambda name: scores[name])
    explanations = []
    for name in finite:
        low, high = percentile_interval(samples[best] - samples[name])
        explanations.append(
            Explanation(name, scores[name], scores[best] - scores[name], float(low), float(high))
        )
    return tuple(explanations)


def simplest(explanations: Sequence[Explanation]) -> str:
    """Name of the simplest transformation that is not significantly worse than the best; empty without any.

    Examples
    --------
    Rotation is a little worse than both together, and not significantly.

    >>> turned = Explanation("rotation", 0.80, deficit=0.01, deficit_low=-0.01, deficit_high=0.03)
    >>> simplest([turned, Explanation("hue-rotation", 0.81, 0.0, 0.0, 0.0)])
    'rotation'
    """
    for explanation in explanations:
        if explanation.deficit == 0 or (
            explanation.deficit_low <= 0 and explanation.deficit <= _LARGEST_DEFICIT
        ):
            return explanation.transformation
    return ""


def _mean_measured(samples: Floats) -> Floats:
    """Mean over pairs of what could be measured, shape (resample,); NaN where nothing could."""
    measured = np.isfinite(samples)
    total = np.where(measured, samples, 0.0).sum(0)
    return np.asarray(np.where(measured.any(0), total / np.maximum(measured.sum(0), 1), np.nan))


def _correlations(x: Floats, y: Floats) -> Floats:
    """Correlation of each column of x, shape (stimulus, element), with y; NaN where one does not vary."""
    x, y = x - x.mean(0), y - y.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y[:, None]).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum()))


def _read(responses: Responses[Any], rows: Ints, channels: Ints) -> Floats:
    """Responses after the ReLU of some stimuli and units, shape (stimulus, element, member)."""
    values = np.asarray(responses.array)[rows][:, :, channels]
    return np.asarray(np.maximum(values, 0), dtype=np.float64)


def _is_simple(name: str) -> bool:
    """Whether a transformation has one axis, so that it is compared with all others that have one."""
    return isinstance(find(name).space, (Circle, Pair, Line))


def _anchor(measured: Iterable[str]) -> str | None:
    """Name of the first transformation of pairs, whose stimuli stand at no angle of their own; None without one."""
    return next((name for name in measured if isinstance(find(name).space, Pair)), None)


def _common_rows(measured: Mapping[str, Responses[Any]]) -> dict[str, Ints]:
    """Rows of the stimuli that all were measured on, in the order of the first bank of pairs; empty without any."""
    anchor = _anchor(measured)
    if anchor is None:
        return {}
    row_of = {
        name: {
            key: row
            for row, key in enumerate(zip(r.bank.image.tolist(), *r.bank.position.T.tolist(), strict=True))
        }
        for name, r in measured.items()
    }
    common = sorted(set.intersection(*(set(rows) for rows in row_of.values())))
    rows = {name: np.array([row_of[name][key] for key in common], dtype=np.int64) for name in measured}
    order = np.argsort(rows[anchor])
    return {name: row[order] for name, row in rows.items()} if common else {}


def _simple(
    measured: Mapping[str, Responses[Any]], rows: Mapping[str, Ints], channels: Ints
) -> _Shown | None:
    """Responses of the members under every transformation of one axis, to the stimuli common to all."""
    name = _anchor(rows)
    if name is None:
        return None
    anchor, own_rows = measured[name], rows[name]
    upright = _read(anchor, own_rows, channels)[:, 0]
    under: dict[str, Floats] = {}
    for name, own in rows.items():
        responses = measured[name]
        values = _read(responses, own, channels)
        group = responses.group
        if isinstance(group, CyclicGroup):
            under[name] = _turned_back(values, responses.bank.starts_deg(group)[0][own])
        elif isinstance(group, Segment):
            under[name] = values[:, np.array(group.values) != 0.0]
        else:
            under[name] = values[:, 1:]
    return _Shown(anchor.bank.half[own_rows], anchor.bank.photograph[own_rows], upright, under)


def _turned_back(values: Floats, start_deg: Floats) -> Floats:
    """Responses to stimuli turned by minus each fine angle, shape (stimulus, fine angle, member)."""
    order = values.shape[1]
    frequency = np.arange(order // 2 + 1)
    spectrum = np.fft.rfft(values, axis=1) / order
    spectrum[:, 1:] *= 2
    if order % 2 == 0:
        spectrum[:, -1] /= 2
    angles = -360.0 / _N_FINE * np.arange(_N_FINE)
    # Element k stands at start + k steps: the curve is read at the angle less the start.
    phase = np.radians(angles[None, :, None] - start_deg[:, None, None]) * frequency
    return np.asarray(np.einsum("saf,sfm->sam", np.exp(1j * phase), spectrum).real)


def _product(responses: Responses[Any], channels: Ints) -> _Shown | None:
    """Responses under the elements of a product group and of its subgroups."""
    rows = np.arange(len(responses.bank))
    if not len(rows):
        return None
    values, bank, group = _read(responses, rows, channels), responses.bank, responses.group
    if isinstance(group, TorusGroup):
        hue_starts, angle_starts = bank.starts_deg(group)
        grid = values.reshape(len(rows), group.n_hues, group.n_angles, -1)
        turned = np.stack([_turned_back(grid[:, h], angle_starts) for h in range(group.n_hues)], axis=1)
        # (stimulus, hue, angle, member), then the same along hue.
        flat = turned.reshape(len(rows), group.n_hues, -1)
        coloured = _turned_back(flat, hue_starts).reshape(len(rows), _N_FINE, _N_FINE, -1)
        upright = coloured[:, 0, 0]
        fast, slow = (alone(axis) for axis in find(group.name).axes)
        return _Shown(
            bank.half,
            bank.photograph,
            upright,
            {
                slow: coloured[:, :, 0],
                fast: coloured[:, 0],
                group.name: coloured[:, ::3, ::2].reshape(len(rows), -1, len(channels)),
            },
        )
    if isinstance(group, DihedralGroup):
        sheets = values.reshape(len(rows), 2, group.n_angles, -1)
        (starts,) = bank.starts_deg(group)
        turn, hand = (alone(axis) for axis in find(group.name).axes)
        turned, mirrored = _turned_back(sheets[:, 0], starts), _turned_back(sheets[:, 1], starts)
        return _Shown(
            bank.half,
            bank.photograph,
            turned[:, 0],
            {
                hand: mirrored[:, :1],
                turn: turned,
                group.name: np.concatenate([turned, mirrored], axis=1),
            },
        )
    return None
