"""What it would cost to make units equivariant that were not found to be.

The network must keep all of its features. A family is one feature already. Any other unit, invariant or neither,
becomes a feature in K units, copies of each other in K poses: a layer of 10 single units with K = 8 takes 80. Between
two such features K² kernels come of one, K of them free; between such a feature and a plain unit K come of one, all
free; between it and an invariant unit that stays so, K of which one is free; between it and a family K are free, as
before if the family has K members. So forcing costs parameters where families are found to save them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.budget.blocks import FIXED, Block, Units
from equiscope.construction.budget.kinds import Kinds

__all__ = ["Forced", "force"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forced:
    """One layer with a share of its units forced to be equivariant, shape (resample,) each.

    Attributes
    ----------
    kinds, weights
        Its units, and how often each counts, the latter of shape (resample, unit).
    copies
        K of the units that are forced.
    kept
        Share of the families that are tied: below 1 where fewer units are forced than nature has equivariant.
    forced
        Share of the other units that are forced.
    """

    kinds: Kinds
    weights: Floats
    copies: Floats
    kept: Floats
    forced: Floats

    def sums(self, end: Units) -> tuple[Floats, Floats, Floats, Floats]:
        """Count an end's channels; those that are equivariant or invariant; the saved and the invariant among them."""
        own = self.weights[:, end.channels]
        is_equivariant = self.kinds.is_equivariant[end.channels]
        is_invariant = self.kinds.is_invariant[end.channels, 0]
        equivariant, invariant = own @ is_equivariant.astype(float), own @ is_invariant.astype(float)
        plain = own @ (~is_equivariant & ~is_invariant).astype(float)
        free = own @ (is_equivariant / self.kinds.copies[end.channels])
        added = self.forced * (self.copies - 1)
        channels = equivariant + (invariant + plain) * (1 + added)
        tied = self.kept * equivariant + invariant * (1 + added) + plain * self.forced * self.copies
        saved = self.kept * (equivariant - free) + (invariant + plain) * added
        return channels, tied, saved, invariant * (1 - self.forced)


def force(kinds: Kinds, weights: Floats, share: float | None, fallback: Floats) -> Forced:
    """Force a share of a layer's units to be equivariant, its families first.

    Parameters
    ----------
    kinds
        Its units under one transformation.
    weights
        How often each counts, shape (resample, unit).
    share
        Share of units that are forced; None for just those that are equivariant by nature.
    fallback
        K where the layer has no family, shape (resample,).

    Notes
    -----
    K of the forced units is the layer's own: the mean size of its families. Families come first, because they cost
    nothing; the rest is drawn from all other units alike.

    Examples
    --------
    >>> from equiscope.construction.budget.kinds import kinds_under
    >>> from equiscope.families.family import Symmetry, Unit
    >>> turned = (Symmetry("rotation", "equivariant", "conv1-rotation-1", score=0.9),)
    >>> units = [Unit("conv1", channel, 0.0, 1.0, turned if channel < 4 else ()) for channel in range(8)]
    >>> forced = force(kinds_under(units, "rotation"), np.ones((1, 8)), 0.75, np.ones(1))
    >>> forced.copies.tolist(), forced.kept.tolist(), forced.forced.tolist()
    ([4.0], [1.0], [0.5])
    """
    is_equivariant = kinds.is_equivariant.astype(float)
    total = weights.sum(1)
    equivariant, families = weights @ is_equivariant, weights @ (is_equivariant / kinds.copies)
    r = equivariant / total
    copies = np.where(families > 0, equivariant / np.where(families > 0, families, 1), fallback)
    ones = np.ones(len(r))
    if share is None:
        return Forced(kinds, weights, copies, ones, 0 * ones)
    kept = np.where(r > share, share / np.where(r > 0, r, 1), 1.0)
    forced = np.where(r < share, (share - r) / np.where(r < 1, 1 - r, 1), 0.0)
    return Forced(kinds, weights, copies, kept, forced)


def count_forced(blocks: Sequence[Block], layers: Mapping[str, Forced]) -> Floats:
    """Count the free weights of blocks between forced layers in every resample, shape (resample,)."""
    n_resamples = len(next(iter(layers.values())).weights)
    one = np.ones(n_resamples)
    total = np.zeros(n_resamples)
    for block in blocks:
        # The image and constants are one invariant channel.
        channels, tied, saved, _ = (
            (one, one, 0 * one, one)
            if block.source.layer == FIXED
            else layers[block.source.layer].sums(block.source)
        )
        to, _, to_saved, to_invariant = layers[block.target.layer].sums(block.target)
        free = channels * to - tied * to_saved - saved * to_invariant
        total += block.n_weights * block.multiplicity * free
    return total
