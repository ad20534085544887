"""Circuits whose null is strangers: of scale families, whose members stand in several layers, and of hue with units.

If ``W[a -> b] = W[T a -> T b]`` for a magnification T, a kernel onto a unit that is larger by an octave is the same
one, twice as wide. Units of different size mostly stand in different layers, each with weights of its own, so that
there are no poses to permute. Each kernel is told from those of the family's other members, stretched to its size, at
the same relative octave; the null is the same with strangers, members of other families of the same layers and of the
same transformation, in the others' places. Likewise a unit that hue leaves as it is should be wired alike to all hues
of a family: that no kernel moves is what is claimed, and only other families can say whether such likeness is special.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import (
    LEAST_STRENGTH,
    SMALL,
    Candidate,
    Circuit,
    judge,
    standardised,
)
from equiscope.evidence.circuits.ends import invariant_units
from equiscope.evidence.circuits.harmonics import KernelBasis
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.tied import Tied
from equiscope.families.family import Family, Unit
from equiscope.foundations.statistics import bootstrap_weights, percentile_interval

__all__ = ["KeptWeights", "find_stranger_circuits", "keep_weights", "tie_stretched"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Reals = NDArray[np.floating[Any]]

# Relative octaves count as the same within a step and a half of the survey's grid, and members as of different size
# beyond it: likeness of units of one size says nothing of scale.
_SAME_OCTAVES = 0.375
# Strangers in a layer, below which a null cannot be had.
_FEWEST_STRANGERS = 4
_N_RESAMPLES = 300
# Length of a sum of unit vectors below which they cancel, but for rounding in single precision.
_CANCELLED = 1e-4
# Share of a unit's kernels' energy in one cell above which they have no form to speak of.
_ONE_CELL = 0.95
# Columns of a drawn circuit, octaves.
_SLOT_OCTAVES = 0.5
# Points along one side of the common grid, at most.
_MOST_POINTS = 21


@dataclass(frozen=True)
class KeptWeights:
    """What is kept of the weights between two layers: kernels of the units that may take part, of mean energy 1.

    Attributes
    ----------
    source, target
        The layers.
    sources, targets
        Channels that were kept, rising, shapes (source,) and (target,).
    kernels
        Shape (target, source, cell).
    energy
        Of each kernel, shape (target, source).
    energy_in
        Energy into each target from the whole source layer, shape (target,).
    basis
        In which kernels are stretched.
    cells_px
        Places (x, y) of the cells, y upwards, px, shape (cell, 2).
    stride_px
        Distance of neighbouring cells.
    """

    source: str
    target: str
    sources: Ints
    targets: Ints
    kernels: Reals
    energy: Floats
    energy_in: Floats
    basis: KernelBasis
    cells_px: Floats
    stride_px: float

    @cached_property
    def is_wide(self) -> NDArray[np.bool_]:
        """Whether the kernels onto a unit have more than one cell, shape (target,)."""
        squares = self.kernels.astype(float) ** 2
        return np.asarray(squares.max(2).sum(1) < _ONE_CELL * squares.sum((1, 2)))

    def stretched(self, octaves: float, points_px: Floats) -> Floats:
        """Give what takes kernels, made smaller by ``octaves``, to ``points_px``, shape (point, cell)."""
        places = points_px * 2.0**octaves
        rim = np.abs(self.cells_px).max(0) + self.stride_px / 2
        inside = (np.abs(places) <= rim + 1e-9).all(1)
        functions = self.basis.at(places / self.stride_px)
        real = (functions @ self.basis.analyse).real
        return np.where(inside[:, None], real, 0.0)


def keep_weights(pair: LayerPair, transformation: str) -> KeptWeights | None:
    """Keep kernels between members of families under a transformation, and units that it leaves as they are."""
    weights = pair.weights
    ends = []
    for layer in (weights.source, weights.target):
        channels = [
            m.channel
            for family in pair.families
            if family.transformation == transformation
            for m in family.members
            if m.layer == layer
        ]
        still = invariant_units(pair.units, layer, transformation)
        ends.append(np.unique(np.concatenate([np.array(channels, dtype=np.int64), still])))
    sources, targets = ends
    if not len(sources) or not len(targets):
        return None
    size = max(pair.mean_energy, 1e-30)
    kernels = pair.kernels[np.ix_(targets, sources)] / np.float32(np.sqrt(size))
    return KeptWeights(
        weights.source, weights.target, sources, targets, kernels,
        pair.energy[np.ix_(targets, sources)] / size, pair.energy_in[targets] / size,
        pair.basis, weights.cells() * weights.stride_px, weights.stride_px,
    )  # fmt: skip


@dataclass(frozen=True)
class _Place:
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
class _Block:
    """All kernels of a family with another, or with a unit, and which of them tell which."""

    transformation: str
    kind: str
    source: str
    target: str
    source_layer: str
    target_layer: str
    n_source: int
    n_target: int
    places: tuple[_Place, ...]
    tells: NDArray[np.bool_]


def find_stranger_circuits(
    kept: Sequence[KeptWeights],
    families: Sequence[Family],
    units: Sequence[Unit],
    transformation: str,
    *,
    n_draws: int = 200,
    false_discovery_rate: float = 0.05,
    seed: int = 0,
) -> tuple[Circuit, ...]:
    """Test scale families with each other, and scale or hue families with units that these leave as they are.

    Parameters
    ----------
    kept
        Weights between pairs of layers: for scale all of them, for hue as one likes.
    families, units
        The families and units of the run.
    transformation
        ``scale`` or ``hue``, as the weights were kept for.
    n_draws
        Null draws a block.
    false_discovery_rate
        Largest q-value of a circuit.
    seed
        Of the draws.

    Returns
    -------
    tuple of Circuit
        All blocks between two scale families that are as strong as the layers' weights are on average and in which
        some kernel has another to be told from, also those that are ``not symmetric``; and the symmetric ones between
        a family and a unit.

    Notes
    -----
    A kernel is told up to a positive factor, which a network with rectifiers may put into any unit: its share of R² is
    the squared cosine with the mean of the others, negative where they point away, weighted with its energy.
    """
    rng = np.random.default_rng(seed)
    own = [family for family in families if family.transformation == transformation]
    strangers, stretches = _Strangers(own), _Stretches()

    def judged(blocks: Iterator[_Block]) -> list[Circuit]:
        tested = (_test(block, strangers, stretches, n_draws, rng) for block in blocks)
        return judge([candidate for candidate in tested if candidate is not None], false_discovery_rate)

    # Two hue families have poses to permute, and are tested by them.
    circuits = judged(_between_families(kept, own)) if transformation == "scale" else []
    circuits += [c for c in judged(_with_units(kept, own, units, transformation)) if c.is_symmetric]
    return tuple(circuits)


class _Strangers:
    """Members of all families of a transformation, as they stand in for each other.

    Kernels onto larger units are wider whatever they hold, so that strangers must be larger or smaller alike: against
    the other members of their own family in the layer.
    """

    def __init__(self, families: Sequence[Family]) -> None:
        self._members = {family.id: [(m.layer, m.channel) for m in family.members] for family in families}
        self._octaves: dict[str, dict[int, float]] = {}
        self._known: dict[tuple[str, int, tuple[str, ...]], list[int]] = {}
        for family in families:
            for layer in {member.layer for member in family.members}:
                own = [m for m in family.members if m.layer == layer]
                octaves = np.array([m.octaves if family.transformation == "scale" else 0.0 for m in own])
                self._octaves.setdefault(layer, {}).update(
                    zip([m.channel for m in own], (octaves - octaves.mean()).tolist(), strict=True)
                )

    def alike(self, layer: str, channel: int, families: tuple[str, str]) -> list[int]:
        """Channels of strangers to some families, of the size of a member, or of any size where those are few."""
        key = layer, channel, tuple(name for name in families if name in self._members)
        if key not in self._known:
            octaves = self._octaves[layer]
            taken = {c for name in key[2] for at, c in self._members[name] if at == layer}
            free = sorted(set(octaves) - taken)
            own = [c for c in free if abs(octaves[c] - octaves[channel]) < _SAME_OCTAVES / 2]
            self._known[key] = own if len(own) >= _FEWEST_STRANGERS else free
        return self._known[key]


def _index(channels: Ints, channel: int) -> int | None:
    place = int(np.searchsorted(channels, channel))
    return place if place < len(channels) and channels[place] == channel else None


def _between_families(kept: Sequence[KeptWeights], families: Sequence[Family]) -> Iterator[_Block]:
    """All pairs of scale families, one of which feeds the other."""
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
                            places.append(_Place(row, weights, v, u, b.octaves, a.octaves - b.octaves))
        yield _block("scale", "equivariant→equivariant", source.id, target.id, source.layer, target.layer,
                     source.size, target.size, places)  # fmt: skip


def _with_units(
    kept: Sequence[KeptWeights], families: Sequence[Family], units: Sequence[Unit], transformation: str
) -> Iterator[_Block]:
    """Every family with every unit that its transformation leaves as it is, in both directions, where it is strong."""
    layers = {weights.source for weights in kept} | {weights.target for weights in kept}
    still = {layer: invariant_units(units, layer, transformation) for layer in layers}
    for family in families:
        for kind in ("invariant→equivariant", "equivariant→invariant"):
            is_into = kind == "invariant→equivariant"
            for (layer, channel), every in _places_with_units(kept, family, still, is_into).items():
                # Of a kernel of one cell, as behind a 1x1 convolution, the others could tell the sign alone.
                places = [place for place in every if place.weights.is_wide[place.target]]
                if not places:
                    continue
                # Weaker ones are not tested.
                if np.mean([place.energy for place in places]) < LEAST_STRENGTH**2:
                    continue
                ends = [(f"{layer}:{channel}", layer, 1), (family.id, family.layer, family.size)]
                (source, source_layer, n_source), (target, target_layer, n_target) = (
                    ends if is_into else ends[::-1]
                )
                yield _block(
                    transformation,
                    kind,
                    source,
                    target,
                    source_layer,
                    target_layer,
                    n_source,
                    n_target,
                    places,
                )


def _places_with_units(
    kept: Sequence[KeptWeights], family: Family, still: Mapping[str, Ints], is_into: bool
) -> dict[tuple[str, int], list[_Place]]:
    """Kernels between the members of a family and each unit of ``still``: into the members, or out of them."""
    places: dict[tuple[str, int], list[_Place]] = {}
    for weights in kept:
        near, far = (weights.target, weights.source) if is_into else (weights.source, weights.target)
        own, other = (weights.targets, weights.sources) if is_into else (weights.sources, weights.targets)
        units = [(c, i) for c in still[far].tolist() if (i := _index(other, c)) is not None]
        for row, member in enumerate(family.members):
            place = _index(own, member.channel) if member.layer == near else None
            if place is None:
                continue
            octaves = member.octaves if family.transformation == "scale" else 0.0
            for channel, i in units:
                v, u = (place, i) if is_into else (i, place)
                places.setdefault((far, channel), []).append(_Place(row, weights, v, u, octaves, 0.0))
    return places


def _block(
    transformation: str,
    kind: str,
    source: str,
    target: str,
    source_layer: str,
    target_layer: str,
    n_source: int,
    n_target: int,
    places: Sequence[_Place],
) -> _Block:
    row = np.array([p.row for p in places], dtype=np.int64)
    octaves = np.array([p.octaves for p in places], dtype=float)
    relative = np.array([p.relative for p in places], dtype=float)
    tells = row[:, None] != row
    if transformation == "scale":
        tells = (np.abs(octaves[:, None] - octaves) >= _SAME_OCTAVES) & (
            np.abs(relative[:, None] - relative) < _SAME_OCTAVES
        )
    return _Block(transformation, kind, source, target, source_layer, target_layer, n_source, n_target,
                  tuple(places), tells)  # fmt: skip


def _grid(places: Sequence[_Place]) -> Floats:
    """Points (x, y), px at octave 0, shape (point, 2), that hold the widest kernel as finely as the finest."""
    reach = max(
        float(np.abs(p.weights.cells_px).max() + p.weights.stride_px / 2) * 2.0**-p.octaves for p in places
    )
    step = min(p.weights.stride_px * 2.0**-p.octaves for p in places)
    n = int(np.clip(np.ceil(2 * reach / step), 3, _MOST_POINTS))
    line = (np.arange(n) - (n - 1) / 2) * 2 * reach / n
    y, x = np.meshgrid(-line, line, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


class _Stretches:
    """What takes kernels of different sizes to a common grid, found once for all blocks of the same sizes."""

    def __init__(self) -> None:
        self._known: dict[frozenset[tuple[int, float]], dict[tuple[int, float], Floats]] = {}

    def of(self, places: Sequence[_Place]) -> dict[tuple[int, float], Floats]:
        """Give for each size what takes kernels to the grid of these places, shape (point, cell)."""
        by_size = {place.size: place for place in places}
        key = frozenset(by_size)
        if key not in self._known:
            points = _grid(places)
            self._known[key] = {
                size: place.weights.stretched(place.octaves, points) for size, place in by_size.items()
            }
        return self._known[key]


def _unit_length(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.sqrt((vectors**2).sum(-1, keepdims=True)), 1e-30))


def _test(
    block: _Block,
    strangers: _Strangers,
    stretches: _Stretches,
    n_draws: int,
    rng: np.random.Generator,
) -> Candidate | None:
    """Tell every kernel of a block from the others, and from strangers; None where there is nothing to tell."""
    told = np.flatnonzero(block.tells.any(1))
    if len(told) < 2:
        return None
    energy = np.array([place.energy for place in block.places])
    strength = float(np.sqrt(energy[told].mean()))
    # Kernels below the layers' average say little, and there are thousands of such blocks to be drowned in.
    if strength < LEAST_STRENGTH:
        return None
    stretch_of = stretches.of(block.places)
    # One member, drawn anew each time, stays what it is: what stands for chance is that the others are not its copies.
    kept_row = rng.choice([p.row for p in block.places], n_draws)
    instead: dict[tuple[str, int], Ints] = {}
    vectors = np.empty((len(block.places), n_draws + 1, len(stretch_of[block.places[0].size])))
    for i, place in enumerate(block.places):
        weights = place.weights
        chosen = []
        for layer, channels, own, n_members in (
            (weights.target, weights.targets, place.target, block.n_target),
            (weights.source, weights.sources, place.source, block.n_source),
        ):
            key = layer, int(channels[own])
            if n_members == 1:
                # A unit at the other end stays.
                instead[key] = np.full(n_draws, key[1])
            elif key not in instead:
                others = strangers.alike(*key, (block.source, block.target))
                if layer == weights.target and block.transformation == "hue":
                    others = [c for c in others if weights.is_wide[np.searchsorted(channels, c)]]
                if len(others) < _FEWEST_STRANGERS:
                    return None
                instead[key] = rng.choice(others, n_draws)
            foreign = np.searchsorted(channels, instead[key])
            chosen.append(np.append(own, np.where(kept_row == place.row, own, foreign)))
        vectors[i] = weights.kernels[chosen[0], chosen[1]] @ stretch_of[place.size].T
    shares, weight = _told(vectors, block.tells, told)
    r2 = (shares * weight).sum(0) / weight.sum(0)
    null = r2[1:]
    rows = np.array([block.places[i].row for i in told])
    low, high = _interval(shares[:, 0], weight[:, 0], rows)
    is_scale = block.transformation == "scale"
    circuit = Circuit(
        id=f"{block.source}>{block.target}",
        source=block.source,
        target=block.target,
        source_layer=block.source_layer,
        target_layer=block.target_layer,
        transformation=block.transformation,
        rotation_class="",
        hue_class="" if is_scale else block.kind,
        scale_class=block.kind if is_scale else "",
        pair_class="",
        n_source=block.n_source,
        n_target=block.n_target,
        is_small=len(np.unique(rows)) < SMALL,
        r2=float(r2[0]),
        r2_low=low,
        r2_high=high,
        r2_null_95=nan,
        r2_null_99=nan,
        p_value=nan,
        q_value=nan,
        energy_share=_energy_share(block, told, energy),
        strength=strength,
    )
    return Candidate(circuit, null, standardised(r2[:1], null[:, None])[:, 0])


def _told(vectors: Floats, tells: NDArray[np.bool_], told: Ints) -> tuple[Floats, Floats]:
    """Tell kernels from the others: signed squared cosines, and the kernels' energies, shapes (told place, draw)."""
    unit = _unit_length(vectors)
    said = np.einsum("ef,fdp->edp", tells[told].astype(float), unit, optimize=True)
    # Kernels that cancel leave rounding, which says nothing.
    said[np.sqrt((said**2).sum(2)) < _CANCELLED] = 0.0
    cosine = (unit[told] * _unit_length(said)).sum(2)
    return np.sign(cosine) * cosine**2, np.maximum((vectors[told] ** 2).sum(2), 1e-30)


def _energy_share(block: _Block, told: Ints, energy: Floats) -> float:
    """Share of what the kernels that were told are of all that enters their targets from the same layers."""
    entering = {
        (id(block.places[i].weights), block.places[i].target): float(
            block.places[i].weights.energy_in[block.places[i].target]
        )
        for i in told
    }
    return float(energy[told].sum() / max(sum(entering.values()), 1e-30))


def _interval(shares: Floats, weight: Floats, rows: Ints) -> tuple[float, float]:
    """Bootstrap interval over members; NaN where there are fewer than three."""
    if len(np.unique(rows)) < 3:
        return nan, nan
    draws = bootstrap_weights(rows, _N_RESAMPLES, np.random.default_rng(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = percentile_interval((draws @ (weight * shares)) / (draws @ weight))
    return float(low), float(high)


def tie_stretched(
    circuit: Circuit, kept: Sequence[KeptWeights], families: Sequence[Family], units: Sequence[Unit]
) -> Tied:
    """Give what is drawn of such a circuit, all kernels on one grid of pixels.

    Parameters
    ----------
    circuit
        One that `find_stranger_circuits` gave for the same weights, families and units.

    Returns
    -------
    Tied
        ``raw``: kernels as wide as they are; ``reordered``: stretched to the size of octave 0, columns by relative
        octaves where both ends are families; ``template`` the mean of their shapes, as strong as they are. NaN where
        no path leads from the one unit to the other, or none was looked for.
    """
    own = [family for family in families if family.id in (circuit.source, circuit.target)]
    found: Iterator[_Block] = (
        _between_families(kept, own)
        if circuit.scale_class and len(own) == 2
        else _with_units(kept, own, units, circuit.transformation)
    )
    block = next(b for b in found if (b.source, b.target) == (circuit.source, circuit.target))
    by_id = {family.id: family for family in own}

    def ends(name: str, layer: str) -> list[tuple[str, int]]:
        if name not in by_id:
            return [(layer, int(name.rpartition(":")[2]))]
        return [(m.layer, m.channel) for m in by_id[name].members]

    targets = ends(circuit.target, circuit.target_layer)
    sources = ends(circuit.source, circuit.source_layer)
    points = _grid(block.places)
    n = round(np.sqrt(len(points)))
    raw = np.full((len(targets), len(sources), len(points)), nan)
    upright = raw.copy()
    relative = np.full(raw.shape[:2], nan)
    # As they are, the widest kernels must fit, which need not be those that are widest once they are stretched.
    plain = _grid([replace(place, octaves=0.0) for place in block.places])
    plain = points * (np.abs(plain).max() / np.abs(points).max())
    for place in block.places:
        weights = place.weights
        v = targets.index((weights.target, int(weights.targets[place.target])))
        u = sources.index((weights.source, int(weights.sources[place.source])))
        kernel = weights.kernels[place.target, place.source]
        raw[v, u] = weights.stretched(0.0, plain) @ kernel
        upright[v, u] = weights.stretched(place.octaves, points) @ kernel
        relative[v, u] = place.relative
    if circuit.n_target == 1:
        upright, relative = upright.swapaxes(0, 1), relative.swapaxes(0, 1)
    turning = by_id[circuit.source if circuit.n_target == 1 else circuit.target]
    poses = [m.hue_deg if circuit.transformation == "hue" else m.octaves for m in turning.members]
    rows = np.argsort(poses, kind="stable")
    slots, columns = np.zeros(0), np.arange(upright.shape[1])
    if circuit.n_source > 1 and circuit.n_target > 1:
        nearest = np.round(relative / _SLOT_OCTAVES)
        slots = np.unique(nearest[np.isfinite(nearest)])
        columns = np.zeros(0, np.int64)
        placed = np.full((len(upright), len(slots), len(points)), nan)
        for row in range(len(upright)):
            for index, slot in enumerate(slots):
                if (nearest[row] == slot).any():
                    placed[row, index] = upright[row, nearest[row] == slot].mean(0)
        upright, slots = placed, slots * _SLOT_OCTAVES
    lengths = np.sqrt(np.nansum(upright**2, axis=2, keepdims=True))
    filled = np.nan_to_num(upright / np.maximum(lengths, 1e-30))
    n_filled = np.isfinite(upright).all(2).sum(0)[:, None]
    # As strong as the kernels that it stands for.
    strength = np.where(lengths > 0, lengths, 0).sum(0) / np.maximum(n_filled, 1)
    template = filled.sum(0) / np.maximum(n_filled, 1) * strength
    return Tied(
        raw.reshape(*raw.shape[:2], n, n),
        raw.reshape(*raw.shape[:2], n, n),
        upright[rows].reshape(len(rows), -1, n, n),
        template.reshape(-1, n, n),
        slots,
        rows,
        columns,
    )
