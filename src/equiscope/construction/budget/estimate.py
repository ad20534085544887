"""The parameter argument for a run: how many of its network's parameters would stay free if its families were tied.

A survey tells which units of each layer are in a family, which are invariant and which are neither. From that every
kernel gets a weight of 1 over the number of kernels that it is one with, and the sum over all kernels is what stays
free. Intervals are those of a bootstrap over families and single units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.budget.blocks import FIXED, Block, Convolution, Units, full_block
from equiscope.construction.budget.forcing import Forced, count_forced, force
from equiscope.construction.budget.kinds import TOGETHER
from equiscope.construction.budget.parameters import find_convolutions
from equiscope.construction.budget.results import (
    Budget,
    ConvolutionBudget,
    ForcedBudget,
    LayerBudget,
    PairBudget,
    TotalBudget,
    save_budget,
)
from equiscope.construction.budget.views import View, view_across, view_within, with_interval
from equiscope.families.family import Unit
from equiscope.foundations.limits import RESAMPLES, SEED
from equiscope.models import Model
from equiscope.runs.run import Run, check_network
from equiscope.transformations import find
from equiscope.transformations.scale import Scale

__all__ = ["FORCED_SHARES", "estimate_budget"]

Floats = NDArray[np.float64]

FORCED_SHARES = (0.5, 1.0)


def estimate_budget(
    run: Run, model: Model | None = None, *, n_resamples: int = 1000, seed: int = 0
) -> Budget:
    """Predict from a run how much would stay free if its families were tied; writes ``budget.json``.

    Parameters
    ----------
    run
        A finished survey.
    model
        The network that was surveyed. Without it kernels are counted, all alike, and layers that were surveyed one
        after the other count as joined; with it, those that are, and parameters too.
    n_resamples
        Bootstrap resamples of each layer's families and single units.
    seed
        Of the bootstrap.

    Raises
    ------
    EquiscopeError
        If the network has other weights than the one that was surveyed.

    Notes
    -----
    `equiscope.construction.budget.sharing` says which kernels are one. This takes every kernel of a member to have its
    counterpart, which an input family with holes may lack. Intervals are percentiles of a bootstrap that draws families
    and single units with replacement: what another network of this kind would have, with the kinds of units taken as
    told.

    Examples
    --------
    >>> from equiscope import load_run
    >>> budget = estimate_budget(load_run("equiscope-runs/mini"), n_resamples=20)
    >>> own = next(layer for layer in budget.layers if layer.layer == "conv2d1")
    >>> own.transformation, own.n_units, own.n_equivariant > 48, 0.3 < own.ratio < 0.8
    ('rotation', 96, True, True)
    """
    n_resamples = RESAMPLES.check("n_resamples", n_resamples)
    seed = SEED.check("seed", seed)
    layers: list[str] = run.manifest["settings"]["layers"]
    units = {layer: [unit for unit in run.units if unit.layer == layer] for layer in layers}
    convolutions, pairs = _find_blocks(run, model, units)
    views = _views(run, units, pairs, convolutions, n_resamples, np.random.default_rng(seed))
    parameters = [] if model is None else [_parameter_budgets(view, convolutions, model) for view in views]
    budget = Budget(
        tuple(_layer_budget(run, view, layer, units[layer]) for view in views for layer in layers),
        tuple(_pair_budget(view, block) for view in views for block in pairs),
        tuple(
            entry
            for view in views
            if view.kinds and view.transformation != TOGETHER
            for entry in _forced_budgets(view, layers, convolutions)
        ),
        tuple(own for modules, _ in parameters for own in modules),
        tuple(total for _, total in parameters),
        run.verdict,
    )
    save_budget(run.folder, budget)
    return budget


def _find_blocks(
    run: Run, model: Model | None, units: Mapping[str, Sequence[Unit]]
) -> tuple[tuple[Convolution, ...], list[Block]]:
    """Give the network's convolutions, none without it, and the blocks between layers that are joined."""
    if model is None:
        return (), [full_block(*((layer, len(units[layer])) for layer in pair)) for pair in pairwise(units)]
    check_network(run, model)
    convolutions = find_convolutions(model, list(units))
    return convolutions, _joined_pairs(convolutions, list(units))


def _views(
    run: Run,
    units: Mapping[str, Sequence[Unit]],
    pairs: Sequence[Block],
    convolutions: Sequence[Convolution],
    n_resamples: int,
    rng: np.random.Generator,
) -> list[View]:
    """See the run under each transformation that was surveyed, and under those within layers together."""
    surveyed = run.manifest["settings"]["transformations"]
    within = [name for name in surveyed if not find(name).is_joint]
    views = [view_within([name], name, units, n_resamples, rng) for name in within]
    if len(within) > 1:
        views.append(view_within(within, TOGETHER, units, n_resamples, rng))
    if Scale.name in surveyed:
        blocks = [block for convolution in convolutions for block in convolution.blocks]
        views.append(view_across(run, units, [pairs, blocks], n_resamples, rng))
    return views


def _joined_pairs(convolutions: Sequence[Convolution], layers: Sequence[str]) -> list[Block]:
    """Give the units of each two surveyed layers that are joined, with no other surveyed one between them."""
    ends: dict[tuple[str, str], tuple[set[int], set[int]]] = {}
    for convolution in convolutions:
        for block in convolution.blocks:
            if block.source.layer != FIXED and block.source.is_surveyed:
                sources, targets = ends.setdefault((block.source.layer, block.target.layer), (set(), set()))
                sources |= set(block.source.channels.tolist())
                targets |= set(block.target.channels.tolist())
    order = sorted(ends, key=lambda pair: (layers.index(pair[0]), layers.index(pair[1])))
    return [
        Block(
            Units(pair[0], np.array(sorted(ends[pair][0]))), Units(pair[1], np.array(sorted(ends[pair][1])))
        )
        for pair in order
    ]


def _layer_budget(run: Run, view: View, layer: str, units: Sequence[Unit]) -> LayerBudget:
    """Apply the article's formula to one layer and to every resample of its units."""
    if not view.kinds:
        return _scale_budget(run, view, layer, units)
    weights, kinds = view.weights[layer], view.kinds[layer]
    total = weights.sum(1)
    share = weights @ kinds.is_equivariant.astype(float) / total
    free = weights @ (kinds.is_equivariant / kinds.copies) / total
    n_equivariant = int(kinds.is_equivariant.sum())
    return LayerBudget(
        layer,
        view.transformation,
        len(units),
        n_equivariant,
        int(kinds.is_invariant_to_all.sum()),
        kinds.n_families,
        *with_interval(share),
        n_equivariant / kinds.n_families if kinds.n_families else nan,
        # With K = share / free, (K - 1) / K · r² is (share - free) · share; 0 without an equivariant unit.
        *with_interval(1 - (share - free) * share),
    )


def _scale_budget(run: Run, view: View, layer: str, units: Sequence[Unit]) -> LayerBudget:
    symmetries = [unit.under(Scale.name) for unit in units]
    is_equivariant = np.array([own.kind == "equivariant" for own in symmetries])
    ids = {own.family for own in symmetries if own.kind == "equivariant"}
    sizes = [family.size for family in run.families if family.id in ids]
    weights = view.weights[layer]
    return LayerBudget(
        layer,
        view.transformation,
        len(units),
        int(is_equivariant.sum()),
        sum(own.kind == "invariant" for own in symmetries),
        len(ids),
        *with_interval(weights @ is_equivariant.astype(float), weights.sum(1)),
        float(np.mean(sizes)) if sizes else nan,
        *(nan, nan, nan),
    )


def _pair_budget(view: View, block: Block) -> PairBudget:
    n_kernels = block.shape[0] * block.shape[1]
    ratio = with_interval(view.count(block, view.sharing.free(block)), view.count_all([block]))
    return PairBudget(block.source.layer, block.target.layer, view.transformation, n_kernels, *ratio)


@dataclass(frozen=True)
class _Counts:
    """Parameters in every resample: all, the free ones, and the free ones if nothing unsurveyed is tied."""

    n_parameters: int
    n_unsurveyed: int
    everything: Floats
    free: Floats
    free_surveyed: Floats

    def figures(self) -> tuple[int, int, float, float, float, float, float, float]:
        """Give the numbers of parameters, and both kinds of free ones with their intervals."""
        like, nothing = (
            [self.n_parameters * value for value in with_interval(free, self.everything)]
            for free in (self.free, self.free_surveyed)
        )
        return (
            self.n_parameters,
            self.n_unsurveyed,
            like[0],
            like[1],
            like[2],
            nothing[0],
            nothing[1],
            nothing[2],
        )


def _count(view: View, convolution: Convolution) -> _Counts:
    everything, free, free_surveyed = np.zeros((3, len(view.weights[FIXED])))
    for block in convolution.blocks:
        own, tied = view.count_all([block]), view.count(block, view.sharing.free(block))
        everything = everything + own
        free = free + tied
        free_surveyed = free_surveyed + (tied if block.is_surveyed else own)
    n_unsurveyed = round(sum(block.n_parameters for block in convolution.blocks if not block.is_surveyed))
    return _Counts(convolution.n_parameters, n_unsurveyed, everything, free, free_surveyed)


def _parameter_budgets(
    view: View, convolutions: Sequence[Convolution], model: Model
) -> tuple[list[ConvolutionBudget], TotalBudget]:
    counts = [_count(view, own) for own in convolutions]
    modules = [
        ConvolutionBudget(own.module, own.target, view.transformation, *counted.figures())
        for own, counted in zip(convolutions, counts, strict=True)
    ]
    total = _Counts(*(sum(getattr(own, part.name) for own in counts) for part in fields(_Counts)))
    n_others = sum(parameter.numel() for parameter in model.module.parameters()) - total.n_parameters
    return modules, TotalBudget(view.transformation, n_others, *total.figures())


_Designs = Mapping[float | None, Mapping[str, Forced]]


def _forced_budgets(
    view: View, layers: Sequence[str], convolutions: Sequence[Convolution]
) -> list[ForcedBudget]:
    """Force units of each layer, and of all where the network's parameters are known."""
    equivariant, families = np.zeros((2, len(view.weights[FIXED])))
    for layer, kinds in view.kinds.items():
        equivariant = equivariant + view.weights[layer] @ kinds.is_equivariant.astype(float)
        families = families + view.weights[layer] @ (kinds.is_equivariant / kinds.copies)
    if equivariant[0] == 0:
        # Without any family nothing says how many copies there would be.
        return []
    mean_copies = equivariant / np.where(families > 0, families, nan)
    designs: _Designs = {
        share: {layer: force(view.kinds[layer], view.weights[layer], share, mean_copies) for layer in layers}
        for share in (None, *FORCED_SHARES)
    }
    like_itself = {layer: [full_block(*[(layer, view.kinds[layer].n_units)] * 2)] for layer in layers}
    blocks = [block for convolution in convolutions for block in convolution.blocks]
    found = []
    for share in FORCED_SHARES:
        for layer, own in like_itself.items():
            kinds = view.kinds[layer]
            # Where there is a family, the quotient of whole numbers, as in `LayerBudget`.
            copies = (
                int(kinds.is_equivariant.sum()) / kinds.n_families
                if kinds.n_families
                else float(mean_copies[0])
            )
            found.append(_forced_budget(view, layer, share, copies, own, [own[0].source], designs))
        if blocks:
            ends = [own[0].source for own in like_itself.values()]
            found.append(_forced_budget(view, "", share, nan, blocks, ends, designs))
    return found


def _forced_budget(
    view: View,
    name: str,
    share: float,
    copies: float,
    blocks: Sequence[Block],
    ends: Sequence[Units],
    designs: _Designs,
) -> ForcedBudget:
    everything = view.count_all(blocks)
    return ForcedBudget(
        name,
        view.transformation,
        share,
        copies,
        sum(len(end.channels) for end in ends),
        *with_interval(np.sum([designs[share][end.layer].sums(end)[0] for end in ends], axis=0)),
        *with_interval(count_forced(blocks, designs[share]), everything),
        *with_interval(count_forced(blocks, designs[None]), everything),
    )
