"""Factors: the many units that feed a family, as a few patterns that turn with it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from equiscope.evidence.circuits.ends import End, characters
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.ties import Tie, permutations, tie_invariant

__all__ = ["Factor", "Factors", "find_factors"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complex = NDArray[np.complex128]

_MOST_FACTORS = 5
# Units that feed a family most: beyond them weights are noise, and the factorisation takes longer for nothing.
_MOST_UNITS = 128
_N_SHOWN = 8
# A further factor must lower the held-out error by this share of the energy.
_WORTH_HAVING = 0.01


@dataclass(frozen=True)
class Factor:
    """A group of source units that are wired to a family alike.

    Attributes
    ----------
    channels, loadings
        Source units with the highest loadings, falling; loadings sum to 1 over all units.
    template
        Their common kernel onto a member at pose 0, shape (y, x), positive and negative.
    share
        Of the energy of all factors.
    """

    channels: tuple[int, ...]
    loadings: tuple[float, ...]
    template: tuple[tuple[float, ...], ...]
    share: float


@dataclass(frozen=True)
class Factors:
    """The factors of one family's inputs from one layer.

    Attributes
    ----------
    source_layer, target
        The layer, and the family's id.
    r2, r2_null_95, p_value
        Share of the weight energy of left-out members that one turning template for each source unit explains, the
        95th percentile of the same with permuted poses, and the share of those that explain as much (one added).
    held_out_errors
        Error of one, two, … factors fitted to one half of the members on the templates of the other half, as a share
        of their energy.
    factors
        As many as that error asks for.
    """

    source_layer: str
    target: str
    r2: float
    r2_null_95: float
    p_value: float
    held_out_errors: tuple[float, ...]
    factors: tuple[Factor, ...]


def find_factors(pair: LayerPair, target: End, *, n_draws: int = 200, seed: int = 0) -> Factors | None:
    """Factorise the inputs of a family that turns.

    Each source unit has one kernel onto the family, the mean over members of the kernels turned back to pose 0. These
    kernels, split into what excites and what inhibits, are factorised into non-negative loadings and patterns; how
    many, is decided by the error on members that took no part.

    Parameters
    ----------
    pair
        The layers.
    target
        A family with angles and at least four members, otherwise there is no result.
    n_draws, seed
        Null draws, and their seed.

    References
    ----------
    Lee and Seung, "Learning the parts of objects by non-negative matrix factorization", Nature 401 (1999) 788;
    Cammarata et al., "Curve Circuits" (2021), for factors of weights.

    Examples
    --------
    >>> from equiscope.evidence.circuits.paths import expanded_weights
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_circuits
    >>> planted = planted_circuits()
    >>> early, late = find_geometry(planted.model, ["early", "late"]).values()
    >>> pair = LayerPair(expanded_weights(planted.model, early, late), planted.families, planted.units)
    >>> found = find_factors(pair, pair.targets[0], n_draws=20)
    >>> found.target, len(found.factors) > 1, found.r2 > found.r2_null_95
    ('late-rotation-0', True, True)
    """
    if target.angles is None or target.size < 4:
        return None
    draws = permutations(target.own_poses, n_draws, np.random.default_rng(seed))
    aligned, tie = _align(pair, target, target.angles, draws)
    # Halves that both go round: every second member by pose.
    rank = np.argsort(np.argsort(target.angles))
    whole, *halves = (
        pair.basis.kernels(aligned[members].mean(0)) for members in (rank >= 0, rank % 2 == 0, rank % 2 == 1)
    )
    strongest = np.sort(np.argsort(-(whole**2).sum(1))[:_MOST_UNITS])
    split, *parts = (_split(kernels[strongest]) for kernels in (whole, *halves))
    errors = _held_out_errors(parts[0], parts[1], seed)
    best = 0
    while best + 1 < len(errors) and errors[best + 1] < errors[best] - _WORTH_HAVING:
        best += 1
    loadings, patterns = _factorise(split, best + 1, seed)
    shape = (len(pair.weights.y_px), len(pair.weights.x_px))
    r2, null = float(tie.r2[0]), tie.null[:, 0]
    return Factors(
        pair.weights.source,
        target.named.name,
        r2,
        float(np.quantile(null, 0.95)),
        float((1 + (null >= r2).sum()) / (1 + len(null))),
        tuple(errors),
        tuple(_list_factors(loadings, patterns, strongest, shape)),
    )


def _align(pair: LayerPair, target: End, angles: Floats, draws: Ints) -> tuple[Complex, Tie]:
    """Turn the kernels of all inputs back to pose 0, shape (member, input, function), and tie them together."""
    n_units = pair.kernels.shape[1]
    weights = pair.coefficients(target.channels, np.arange(n_units))
    phases = np.exp(1j * np.outer(angles, pair.basis.orders))
    anything = End(None, pair.weights.source, np.arange(1), None, None)
    is_allowed = np.asarray(characters(anything, target, pair.basis.orders)[1].any(1))
    every = weights.reshape(len(weights), 1, -1)
    tie = tie_invariant(every, np.tile(phases, (1, n_units)), draws, np.tile(is_allowed, n_units))
    return np.where(is_allowed, weights * phases[:, None], 0), tie


def _list_factors(
    loadings: Floats, patterns: Floats, units: Ints, shape: tuple[int, int]
) -> Iterator[Factor]:
    """List factors by falling energy, each with the units of the highest loadings; ``shape``: cells (y, x)."""
    energy = (loadings**2).sum(0) * (patterns**2).sum(1)
    total = np.maximum(loadings.sum(0), 1e-30)
    n_cells = patterns.shape[1] // 2
    for index in np.argsort(-energy).tolist():
        order = np.argsort(-loadings[:, index])[:_N_SHOWN]
        own = loadings[order, index] / total[index]
        template = ((patterns[index, :n_cells] - patterns[index, n_cells:]) * total[index]).reshape(shape)
        yield Factor(
            tuple(units[order][own > 0].tolist()),
            tuple(own[own > 0].tolist()),
            tuple(map(tuple, template.tolist())),
            float(energy[index] / max(energy.sum(), 1e-30)),
        )


def _split(kernels: Floats) -> Floats:
    """Split into what excites and what inhibits, side by side, both non-negative."""
    return np.concatenate([np.maximum(kernels, 0), np.maximum(-kernels, 0)], axis=1)


def _factorise(kernels: Floats, n_factors: int, seed: int) -> tuple[Floats, Floats]:
    model = NMF(n_factors, init="nndsvda", max_iter=200, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        # The error on held-out members judges the fit, not its last digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        loadings = model.fit_transform(kernels)
    return loadings, model.components_


def _held_out_errors(first: Floats, second: Floats, seed: int) -> list[float]:
    """Errors of one, two, … factors of either half of the members on the other, as a share of its energy."""
    errors = []
    for k in range(1, min(_MOST_FACTORS, *first.shape) + 1):
        both = [_held_out_error(a, b, k, seed) for a, b in ((first, second), (second, first))]
        errors.append(float(np.mean(both)))
    return errors


def _held_out_error(seen: Floats, unseen: Floats, n_factors: int, seed: int) -> float:
    loadings, patterns = _factorise(seen, n_factors, seed)
    return float(((unseen - loadings @ patterns) ** 2).sum() / max(float((unseen**2).sum()), 1e-30))
