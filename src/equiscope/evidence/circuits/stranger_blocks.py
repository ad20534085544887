"""Blocks of kernels that stretch or keep: all kernels of a family with another, or with a single unit.

A *place* is one kernel of a block: between which units, at which octave, at which relative one. Which places tell which
is part of a block: at another octave and the same relative one for scale, of another member for hue.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import LEAST_STRENGTH, CircuitEnd, Kinds
from equiscope.evidence.circuits.ends import invariant_units
from equiscope.evidence.circuits.kept_weights import KeptWeights
from equiscope.evidence.circuits.tying_axes import GROWING, stretches
from equiscope.families.family import Family, Unit

__all__ = ["SAME_OCTAVES", "Block", "Place", "blocks_between_families", "blocks_with_units"]

Ints = NDArray[np.int64]

# Relative octaves count as the same within a step and a half of the survey's grid, and members as of different size
# beyond it: likeness of units of one size says nothing of scale.
SAME_OCTAVES = 0.375


@dataclass(frozen=True)
class Place:
    """One kernel of a block: between which units, in which row, at which octave, at which relative one."""

    row: int
    weights: KeptWeights
    target: int
    source: int
    octaves: float
    relative: float

    @property
    def size(self) -> tuple[int, float]:
        """What says how wide its kernel is: kernels of one size are stretched by the same."""
        return id(self.weights), self.octaves

    @property
    def energy(self) -> float:
        """Of the kernel, of the mean between the layers."""
        return float(self.weights.energy[self.target, self.source])


@dataclass(frozen=True)
class Block:
    """All kernels of a family with another, or with a unit, and which of them tell which."""

    transformation: str
    kinds: Kinds
    ends: tuple[CircuitEnd, CircuitEnd]
    n_source: int
    n_target: int
    places: tuple[Place, ...]
    tells: NDArray[np.bool_]


def _index(channels: Ints, channel: int) -> int | None:
    place = int(np.searchsorted(channels, channel))
    return place if place < len(channels) and channels[place] == channel else None


def blocks_between_families(kept: Sequence[KeptWeights], families: Sequence[Family]) -> Iterator[Block]:
    """List blocks of every ordered pair of scale families, the first of which feeds the second.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.transformations import Pose
    >>> member = Member("conv1", 0, Pose(octaves=0.0), 0.9, 0.8, 1.0)
    >>> families = [Family(name, ("conv1",), "scale", 0.9, 0.8, 1.0, 0.01, (member,)) for name in ("one", "other")]
    >>> [(block.ends[0].name, block.ends[1].name) for block in blocks_between_families([], families)]
    [('one', 'other'), ('other', 'one')]
    """
    for source, target in itertools.product(families, repeat=2):
        if source.id == target.id:
            continue
        places = []
        for weights in kept:
            for row, b in enumerate(target.members):
                if b.layer != weights.target:
                    continue
                for a in source.members:
                    if a.layer == weights.source:
                        v, u = _index(weights.targets, b.channel), _index(weights.sources, a.channel)
                        if v is not None and u is not None:
                            places.append(Place(row, weights, v, u, b.octaves, a.octaves - b.octaves))
        ends = _family_end(source), _family_end(target)
        sizes = source.size, target.size
        yield _make_block(GROWING, ("equivariant", "equivariant"), ends, sizes, places)


def blocks_with_units(
    kept: Sequence[KeptWeights], families: Sequence[Family], units: Sequence[Unit], transformation: str
) -> Iterator[Block]:
    """List blocks of families with units invariant to the transformation, either way, where the weights are strong.

    Examples
    --------
    >>> from equiscope.evidence.circuits.kept_weights import keep_weights
    >>> from equiscope.evidence.circuits.layer_pair import LayerPair
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> kept = keep_weights(LayerPair(weights, planted.families, planted.units), "rotation")
    >>> blocks = list(blocks_with_units([kept], planted.families, planted.units, "rotation"))
    >>> len(blocks), sorted({block.kinds for block in blocks})
    (12, [('equivariant', 'invariant'), ('invariant', 'equivariant')])
    """
    layers = {weights.source for weights in kept} | {weights.target for weights in kept}
    still = {layer: invariant_units(units, layer, transformation) for layer in layers}
    for family in families:
        for is_into in (True, False):
            for (layer, channel), every in _places_with_units(kept, family, still, is_into).items():
                # Of a kernel of one cell, as behind a 1x1 convolution, the others could tell the sign alone.
                places = [place for place in every if place.weights.is_wide[place.target]]
                if not places:
                    continue
                # Weaker ones are not tested.
                if np.mean([place.energy for place in places]) < LEAST_STRENGTH**2:
                    continue
                unit, own = CircuitEnd((layer,), channel=channel), _family_end(family)
                if is_into:
                    kinds, ends, sizes = ("invariant", "equivariant"), (unit, own), (1, family.size)
                else:
                    kinds, ends, sizes = ("equivariant", "invariant"), (own, unit), (family.size, 1)
                yield _make_block(transformation, kinds, ends, sizes, places)


def _family_end(family: Family) -> CircuitEnd:
    return CircuitEnd(tuple(dict.fromkeys(member.layer for member in family.members)), family.id)


def _places_with_units(
    kept: Sequence[KeptWeights], family: Family, still: Mapping[str, Ints], is_into: bool
) -> dict[tuple[str, int], list[Place]]:
    """Kernels between the members of a family and each unit of ``still``: into the members, or out of them."""
    places: dict[tuple[str, int], list[Place]] = {}
    for weights in kept:
        near, far = (weights.target, weights.source) if is_into else (weights.source, weights.target)
        own, other = (weights.targets, weights.sources) if is_into else (weights.sources, weights.targets)
        units = [(c, i) for c in still[far].tolist() if (i := _index(other, c)) is not None]
        for row, member in enumerate(family.members):
            place = _index(own, member.channel) if member.layer == near else None
            if place is None:
                continue
            octaves = member.octaves if stretches(family.transformation) else 0.0
            for channel, i in units:
                v, u = (place, i) if is_into else (i, place)
                places.setdefault((far, channel), []).append(Place(row, weights, v, u, octaves, 0.0))
    return places


def _make_block(
    transformation: str,
    kinds: Kinds,
    ends: tuple[CircuitEnd, CircuitEnd],
    sizes: tuple[int, int],
    places: Sequence[Place],
) -> Block:
    row = np.array([p.row for p in places], dtype=np.int64)
    octaves = np.array([p.octaves for p in places], dtype=float)
    relative = np.array([p.relative for p in places], dtype=float)
    tells = row[:, None] != row
    if stretches(transformation):
        tells = (np.abs(octaves[:, None] - octaves) >= SAME_OCTAVES) & (
            np.abs(relative[:, None] - relative) < SAME_OCTAVES
        )
    return Block(transformation, kinds, ends, *sizes, tuple(places), tells)
