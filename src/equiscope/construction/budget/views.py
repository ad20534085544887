"""A run under one transformation: which kernels are one, and how often each unit counts in a bootstrap.

A resample draws families and single units with replacement, a family as a whole; a layer keeps its width. A share that
is counted in every resample gives an interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.budget.blocks import FIXED, Block
from equiscope.construction.budget.kinds import Kinds, draw_weights, fixed_kinds, kinds_together, kinds_under
from equiscope.construction.budget.sharing import FamilySharing, ScaleSharing, Sharing
from equiscope.families.family import Unit
from equiscope.foundations.statistics import percentile_interval
from equiscope.runs.run import Run
from equiscope.transformations.scale import Scale

__all__ = ["View", "view_across", "view_within", "with_interval"]

Floats = NDArray[np.float64]
Layers = Mapping[str, Sequence[Unit]]


@dataclass(frozen=True)
class View:
    """A run under one transformation, or under several together.

    Attributes
    ----------
    transformation
        Its name.
    weights
        How often each unit of a layer counts, shape (1 + resample, unit): the first row is the layer as it is.
    sharing
        Which kernels are one.
    kinds
        What the units of each layer are; empty for scale.
    """

    transformation: str
    weights: Mapping[str, Floats]
    sharing: Sharing
    kinds: Mapping[str, Kinds]

    def count(self, block: Block, free: Floats) -> Floats:
        """Count the weights of a block in every resample, shape (1 + resample,).

        Parameters
        ----------
        block
            The block.
        free
            What each of its kernels counts for, shape (source, target).
        """
        sources = self.weights[block.source.layer][:, block.source.channels]
        targets = self.weights[block.target.layer][:, block.target.channels]
        if (free == 1).all():
            return self.count_all([block])
        return np.asarray(block.n_weights * block.multiplicity * ((sources @ free) * targets).sum(1))

    def count_all(self, blocks: Iterable[Block]) -> Floats:
        """Count all weights of blocks in every resample, shape (1 + resample,)."""
        total = np.zeros(len(self.weights[FIXED]))
        for block in blocks:
            sources, targets = (
                self.weights[end.layer][:, end.channels].sum(1) for end in (block.source, block.target)
            )
            total += block.n_weights * block.multiplicity * sources * targets
        return total


def view_within(
    transformations: Sequence[str], name: str, units: Layers, n_resamples: int, rng: np.random.Generator
) -> View:
    """Prepare the count of a run's weights under one transformation, or several, whose families lie within layers.

    Examples
    --------
    >>> from equiscope.families.family import Symmetry
    >>> turned = (Symmetry("rotation", "equivariant", "conv1-rotation-1", score=0.9),)
    >>> units = {"conv1": [Unit("conv1", channel, 0.0, 1.0, turned) for channel in range(3)]}
    >>> view = view_within(["rotation"], "rotation", units, 100, np.random.default_rng(0))
    >>> view.kinds["conv1"].copies.tolist(), view.weights["conv1"].shape
    ([3.0, 3.0, 3.0], (101, 3))
    """
    kinds = {
        layer: kinds_under(own, name) if len(transformations) == 1 else kinds_together(own, transformations)
        for layer, own in units.items()
    }
    weights = {layer: _as_wide(draw_weights(own.cluster, n_resamples, rng)) for layer, own in kinds.items()}
    weights[FIXED] = np.ones((n_resamples + 1, 1))
    return View(name, weights, FamilySharing(kinds | {FIXED: fixed_kinds(len(transformations))}), kinds)


def view_across(
    run: Run, units: Layers, pools: Sequence[Sequence[Block]], n_resamples: int, rng: np.random.Generator
) -> View:
    """Prepare the count of a run's weights under scale: families span layers, and a bootstrap draws each as a whole.

    Parameters
    ----------
    pools
        All blocks that will be counted, those that count together in one pool.

    Examples
    --------
    The first units of both layers are one family, and drawn together; the second ones are drawn each on its own.

    >>> from pathlib import Path
    >>> from equiscope.families.family import Symmetry
    >>> grown = Symmetry("scale", "equivariant", "scale-1", score=0.9), Symmetry("scale", "neither")
    >>> layers = {layer: [Unit(layer, i, 0.0, 1.0, (grown[i],)) for i in (0, 1)] for layer in ("conv1", "conv2")}
    >>> view = view_across(Run(Path("my-run"), {}), layers, [], 100, np.random.default_rng(0))
    >>> is_drawn = view.weights["conv1"] > 0, view.weights["conv2"] > 0
    >>> [np.array_equal(is_drawn[0][:, i], is_drawn[1][:, i]) for i in (0, 1)]
    [True, False]
    """
    everyone = [unit for own in units.values() for unit in own]
    keys = [unit.under(Scale.name).family or (unit.layer, unit.channel) for unit in everyone]
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    drawn = draw_weights(np.array([number[key] for key in keys]), n_resamples, rng)
    ends = np.cumsum([len(own) for own in units.values()])[:-1]
    weights = dict(zip(units, map(_as_wide, np.split(drawn, ends, axis=1)), strict=True))
    weights[FIXED] = np.ones((n_resamples + 1, 1))
    return View(Scale.name, weights, ScaleSharing(run, pools), {})


def _as_wide(drawn: Floats) -> Floats:
    """Let a layer keep its width in every resample; NaN where none of it was drawn."""
    total = drawn.sum(1, keepdims=True)
    return np.asarray(np.where(total > 0, drawn * drawn.shape[1] / np.where(total > 0, total, 1), np.nan))


def with_interval(values: Floats, over: Floats | float = 1.0) -> tuple[float, float, float]:
    """Give a ratio with the ends of its interval: the estimate is the first value, the others are resamples.

    Examples
    --------
    The estimate, then resamples.

    >>> with_interval(np.array([0.5, 0.4, 0.5, 0.6]))
    (0.5, 0.405, 0.595)
    """
    # A resample may hold nothing of a branch: it says nothing about its share.
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = values / over
    low, high = percentile_interval(ratio[1:])
    return float(ratio[0]), float(low), float(high)
