"""The parameter argument: how many weights would be left if equivariant units were tied, predicted and counted.

Of the kernels from one layer to the next, those that join equivariant or invariant units to equivariant ones are
copies of each other: one in K is free, K being the copies in a family. So are those from equivariant to invariant
units. The article counts equivariant units alone, with one share r and one K: ``N_new / N_old = 1 - (K - 1) / K · r²``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.equivariant import Conv2d, Fields
from equiscope.errors import EquiscopeError
from equiscope.significance import percentile_interval
from equiscope.store import SCHEMA_VERSION, Run, write_json

__all__ = [
    "Budget",
    "CountedRatio",
    "LayerBudget",
    "PairBudget",
    "count_ratio",
    "estimate_budget",
    "predict_ratio",
]

# Copies of one feature at several scales stand in several layers, so no layer's weights are copies of each other.
_NOT_TIED = ("scale",)


def predict_ratio(
    copies: float,
    equivariant: float | tuple[float, float],
    invariant: float | tuple[float, float] = 0.0,
) -> float:
    """Predict the share of kernels that stay free between two layers.

    Parameters
    ----------
    copies
        K, copies in a family, at least 1.
    equivariant, invariant
        Shares of units in [0, 1]: one number for both layers, or (before, after).

    Returns
    -------
    float
        Free kernels over all kernels, in [1 / K, 1].

    Raises
    ------
    EquiscopeError
        If K is below 1, or shares are none.

    References
    ----------
    Olah et al., "Naturally Occurring Equivariance in Neural Networks", 2020, the section on the budget of parameters:
    the case without invariant units and with one share.
    """
    e_in, e_out = equivariant if isinstance(equivariant, tuple) else (equivariant, equivariant)
    i_in, i_out = invariant if isinstance(invariant, tuple) else (invariant, invariant)
    if copies < 1 or min(e_in, e_out, i_in, i_out) < 0 or max(e_in + i_in, e_out + i_out) > 1 + 1e-9:
        raise EquiscopeError(
            f"{copies} copies with shares {equivariant} equivariant and {invariant} invariant: expected 1 copy or "
            "more, and shares from 0 to 1 together"
        )
    return 1 - (1 - 1 / copies) * (e_in * e_out + i_in * e_out + e_in * i_out)


@dataclass(frozen=True)
class CountedRatio:
    """Free weights of a convolution that was built, over those of its plain twin.

    Parameters
    ----------
    predicted
        Share of kernels that are free, by `predict_ratio`.
    kernels
        Share of kernels that are free in the layer: parameters over the coefficients that each kernel has.
    weights
        Share of weights that are free: the layer's parameters over the plain twin's.
    """

    predicted: float
    kernels: float
    weights: float


def count_ratio(
    group: str, width: int, kernel_size: int, *, equivariant: float, invariant: float = 0.0
) -> CountedRatio:
    """Build a convolution between two layers of one width and count its free weights.

    Parameters
    ----------
    group
        As in `equiscope.equivariant.Fields`; K is its order.
    width
        Channels of both layers.
    kernel_size
        Side of the kernels, px.
    equivariant, invariant
        Shares of the channels; the others are plain and feed everything, as the article counts them.

    Notes
    -----
    A kernel is a number of weights, and turned kernels are band-limited: one of 5 px has 15 coefficients for C8 and
    C16, all 25 for C4. Kernels between invariant units do not change under rotation and have fewer still. So
    ``weights`` is below ``kernels``, which is what the formula counts.
    """
    fields = Fields.from_width(group, width, equivariant=equivariant, invariant=invariant)
    layer = Conv2d(fields, fields, kernel_size, bias=False, plain_to="all")
    sizes = {
        "invariant_to_invariant": layer.basis.n_fixed,
        "to_plain": kernel_size**2,
        "plain_to_tied": kernel_size**2,
    }
    kernels = sum(
        p.numel() / sizes.get(name, layer.basis.n_coefficients) for name, p in layer.named_parameters()
    )
    return CountedRatio(
        predict_ratio(
            fields.order, fields.n_field_channels / fields.n_channels, fields.invariant / fields.n_channels
        ),
        kernels / width**2,
        layer.n_free_parameters / layer.n_expanded_parameters,
    )


@dataclass(frozen=True)
class LayerBudget:
    """What one transformation of one layer would save, if the layer were joined to one like itself.

    Parameters
    ----------
    layer, transformation
        Names.
    n_units, n_equivariant, n_invariant, n_families
        Units of the layer, and families with members in it.
    equivariant_share
        r of the article, with its 95 % interval ``equivariant_low`` to ``equivariant_high``.
    copies
        K: mean size of the families within the layer; NaN without one.
    ratio
        ``1 - (K - 1) / K · r²``, with ``ratio_low`` to ``ratio_high``.
    """

    layer: str
    transformation: str
    n_units: int
    n_equivariant: int
    n_invariant: int
    n_families: int
    equivariant_share: float
    equivariant_low: float
    equivariant_high: float
    copies: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class PairBudget:
    """What tying would save between two layers, with invariant units and each family's own number of copies.

    Parameters
    ----------
    source, target
        Layers.
    transformation
        Name.
    n_kernels
        Pairs of units.
    ratio
        Share of kernels that stay free, with ``ratio_low`` to ``ratio_high``.
    """

    source: str
    target: str
    transformation: str
    n_kernels: int
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Budget:
    """What tying the families of a run would save.

    Parameters
    ----------
    layers
        Each layer under each transformation.
    pairs
        Each two layers that were surveyed one after the other, under each transformation.
    """

    layers: tuple[LayerBudget, ...]
    pairs: tuple[PairBudget, ...]


@dataclass(frozen=True)
class _Kinds:
    """Units of a layer under one transformation: shape (unit,) each, ``free`` is 1 / size of its family."""

    is_equivariant: NDArray[np.float64]
    is_invariant: NDArray[np.float64]
    free: NDArray[np.float64]
    n_families: int


def estimate_budget(run: Run, *, n_resamples: int = 1000, seed: int = 0) -> Budget:
    """Predict from a run how many kernels would stay free if its families were tied; writes ``budget.json``.

    Parameters
    ----------
    run
        A finished survey.
    n_resamples
        Bootstrap resamples of each layer's units.
    seed
        Of the bootstrap.

    Returns
    -------
    Budget
        Without scale, whose copies stand in other layers.

    Notes
    -----
    Between two layers, an equivariant output needs one kernel for all members of its family from each equivariant or
    invariant input, an invariant output one for all members of each input family, and all others one for each. This
    takes every kernel of a member to have its counterpart, which an input family with holes may lack. Intervals are
    percentiles of a bootstrap that draws units with replacement: what another network of this kind would have, with the
    kinds of units taken as told. No weights are read, so every kernel counts alike, and two layers surveyed one after
    the other count as joined.
    """
    rng = np.random.default_rng(seed)
    names = [t for t in run.manifest["settings"]["transformations"] if t not in _NOT_TIED]
    surveyed = run.manifest["settings"]["layers"]
    layers, pairs = [], []
    for name in names:
        kinds = {layer: _kinds(run, layer, name) for layer in surveyed}
        draws = {
            layer: rng.multinomial(
                len(own.free), np.full(len(own.free), 1 / len(own.free)), size=n_resamples
            ) / len(own.free)
            for layer, own in kinds.items()
        }  # fmt: skip
        for layer, own in kinds.items():
            layers.append(_layer_budget(layer, name, own, draws[layer]))
        for source, target in pairwise(surveyed):
            a, b = kinds[source], kinds[target]
            low, high = percentile_interval(_pair_ratio(a, b, draws[source], draws[target]))
            each = [np.full((1, len(own.free)), 1 / len(own.free)) for own in (a, b)]
            ratio = float(_pair_ratio(a, b, *each)[0])
            n_kernels = len(a.free) * len(b.free)
            pairs.append(PairBudget(source, target, name, n_kernels, ratio, float(low), float(high)))
    budget = Budget(tuple(layers), tuple(pairs))
    write_json(run.folder / "budget.json", _document(budget))
    return budget


def _kinds(run: Run, layer: str, transformation: str) -> _Kinds:
    """Sort a layer's units and tell how many copies each equivariant one has within the layer."""
    symmetries = [unit.under(transformation) for unit in run.units if unit.layer == layer]
    size = Counter(s.family for s in symmetries if s.kind == "equivariant")
    return _Kinds(
        np.array([s.kind == "equivariant" for s in symmetries], dtype=float),
        np.array([s.kind == "invariant" for s in symmetries], dtype=float),
        np.array([1 / size[s.family] if s.kind == "equivariant" else 1.0 for s in symmetries]),
        len(size),
    )


def _layer_budget(layer: str, transformation: str, kinds: _Kinds, draws: NDArray[np.float64]) -> LayerBudget:
    """Apply the article's formula to one layer and to every resample of its units."""

    def article(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        share = weights @ kinds.is_equivariant
        free = weights @ (kinds.is_equivariant * kinds.free)
        # With K = share / free, (K - 1) / K · r² is (share - free) · share; 0 without an equivariant unit.
        return share, 1 - (share - free) * share

    n_units = len(kinds.free)
    share, ratio = (float(part[0]) for part in article(np.full((1, n_units), 1 / n_units)))
    (share_low, share_high), (ratio_low, ratio_high) = (percentile_interval(part) for part in article(draws))
    n_equivariant = int(kinds.is_equivariant.sum())
    return LayerBudget(
        layer,
        transformation,
        n_units,
        n_equivariant,
        int(kinds.is_invariant.sum()),
        kinds.n_families,
        share,
        float(share_low),
        float(share_high),
        n_equivariant / kinds.n_families if kinds.n_families else float("nan"),
        ratio,
        float(ratio_low),
        float(ratio_high),
    )


def _pair_ratio(
    a: _Kinds, b: _Kinds, draws_a: NDArray[np.float64], draws_b: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of free kernels between two layers, shape (resample,), of weights of units, shape (resample, unit)."""
    tied_in = draws_a @ (a.is_equivariant + a.is_invariant)
    saved_in = draws_a @ (a.is_equivariant * (1 - a.free))
    saved_out = draws_b @ (b.is_equivariant * (1 - b.free))
    return np.asarray(1 - tied_in * saved_out - saved_in * (draws_b @ b.is_invariant))


def _document(budget: Budget) -> dict[str, Any]:
    """Return the budget as the run's contract words it."""
    parts: dict[str, Sequence[LayerBudget] | Sequence[PairBudget]] = {
        "layers": budget.layers,
        "pairs": budget.pairs,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        **{name: [dataclasses.asdict(entry) for entry in entries] for name, entries in parts.items()},
    }
