"""How many kernels are one: what each kernel counts for if families are tied.

A kernel that is one with k others counts 1 / (k + 1). The eight kernels from an invariant unit to a family of eight
curves are one, turned: each counts 1/8. Under scale, kernels are one if their ends are of the same two families and
differ by the same number of octaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.budget.blocks import Block, Units
from equiscope.construction.budget.kinds import Kinds
from equiscope.runs.run import Run
from equiscope.transformations.scale import Scale

__all__ = ["FamilySharing", "ScaleSharing", "Sharing"]

Floats = NDArray[np.float64]

# Relative sizes that differ by less are one: scale is surveyed in steps of a quarter octave.
_SAME_OCTAVES = 0.25


class Sharing(Protocol):
    """Tells which share of each kernel of a block is free."""

    def free(self, block: Block) -> Floats:
        """Give 1 over the number of kernels that are one, shape (source, target)."""


class FamilySharing:
    """Kernels that are copies of each other because families within layers are tied.

    Parameters
    ----------
    kinds
        Of each layer, and of `FIXED`.

    Notes
    -----
    A kernel to a member of a family is the same for all members but for their poses if its source is equivariant or
    invariant under what the family is equivariant to. A kernel from a member of a family to a unit that is
    invariant to that is the same for all members. Where both hold, under two transformations, they multiply.
    """

    def __init__(self, kinds: Mapping[str, Kinds]) -> None:
        self._kinds = kinds

    def free(self, block: Block) -> Floats:
        """Give 1 over the number of kernels that are one, shape (source, target)."""
        source, target = self._kinds[block.source.layer], self._kinds[block.target.layer]
        u, v = block.source.channels, block.target.channels
        for_target = (target.acts[v] >= 0)[None, :] & source.is_tied[u][:, target.acts[v]]
        for_source = (source.acts[u] >= 0)[:, None] & target.is_invariant[v][:, source.acts[u]].T
        by_target = np.where(for_target, 1 / target.copies[v][None, :], 1.0)
        return np.asarray(by_target * np.where(for_source, 1 / source.copies[u][:, None], 1.0))


class ScaleSharing:
    """Kernels that are copies of each other because families across layers are tied.

    Parameters
    ----------
    run
        The survey.
    pools
        Blocks that count together, in each pool.

    Notes
    -----
    Of two families, kernels are one if source and target differ by the same number of octaves; of a family and a
    scale-invariant unit all are. Only kernels with equally many weights are one. None is whose end was not surveyed or
    is the image, and no bias. Whether the grids of their layers differ by just these octaves is not asked.
    """

    def __init__(self, run: Run, pools: Sequence[Sequence[Block]]) -> None:
        self._octaves = {
            (member.layer, member.channel): (family.id, member.octaves)
            for family in run.families
            if family.transformation == Scale.name
            for member in family.members
        }
        self._is_invariant = {
            (unit.layer, unit.channel) for unit in run.units if unit.under(Scale.name).kind == "invariant"
        }
        self._found: dict[tuple[int, int, int], int] = {}
        self._number = {id(block): i for i, block in enumerate(own for pool in pools for own in pool)}
        together: dict[Hashable, list[tuple[float, tuple[int, int, int]]]] = defaultdict(list)
        for pool, blocks in enumerate(pools):
            for block in blocks:
                for key, octaves, place in self._keys(block):
                    kernel = self._number[id(block)], *place
                    together[pool, key, block.n_weights].append((octaves, kernel))
        for kernels in together.values():
            self._group(sorted(kernels))

    def free(self, block: Block) -> Floats:
        """Give 1 over the number of kernels that are one, shape (source, target)."""
        own = np.ones(block.shape)
        number = self._number[id(block)]
        for _, _, place in self._keys(block):
            own[place] = 1 / self._found[(number, *place)]
        return own

    def _group(self, kernels: Sequence[tuple[float, tuple[int, int, int]]]) -> None:
        """Put kernels of one kind together by their relative size."""
        start = 0
        for end in range(1, len(kernels) + 1):
            if end == len(kernels) or kernels[end][0] - kernels[start][0] >= _SAME_OCTAVES:
                self._found |= dict.fromkeys((place for _, place in kernels[start:end]), end - start)
                start = end

    def _keys(self, block: Block) -> list[tuple[Hashable, float, tuple[int, int]]]:
        """Give what the kernels of a block that may be copies share, their relative sizes, and their places."""
        if not block.is_surveyed:
            return []
        found: list[tuple[Hashable, float, tuple[int, int]]] = []
        targets = self._ends(block.target)
        for i, source, size, is_fixed in self._ends(block.source):
            for j, target, own_size, is_target_fixed in targets:
                if is_fixed and is_target_fixed:
                    continue
                octaves = 0.0 if is_fixed or is_target_fixed else own_size - size
                found.append(((source, target), octaves, (i, j)))
        return found

    def _ends(self, end: Units) -> list[tuple[int, Hashable, float, bool]]:
        """Give the units that are in a family or that scaling leaves as they are.

        Each with its place, its family or own name, its size, and whether scaling leaves it.
        """
        ends: list[tuple[int, Hashable, float, bool]] = []
        for place, channel in enumerate(end.channels.tolist()):
            unit = (end.layer, channel)
            if unit in self._octaves:
                ends.append((place, *self._octaves[unit], False))
            elif unit in self._is_invariant:
                ends.append((place, unit, 0.0, True))
        return ends
