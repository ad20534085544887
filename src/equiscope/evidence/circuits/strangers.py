"""Circuits whose null is strangers: of scale families, whose members stand in several layers, and of hue with units.

If ``W[a -> b] = W[T a -> T b]`` for a magnification T, a kernel onto a unit that is larger by an octave is the same
one, twice as wide. Units of different size mostly stand in different layers, each with weights of its own, so that
there are no poses to permute. Each kernel is told from those of the family's other members, stretched to its size, at
the same relative octave; the null is the same with strangers, members of other families of the same layers and of the
same transformation, in the others' places. Likewise a unit that hue leaves as it is should be wired alike to all hues
of a family: that no kernel moves is what is claimed, and only other families can say whether such likeness is special.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import (
    LEAST_STRENGTH,
    SMALL,
    Candidate,
    Circuit,
    circuit_id,
    judge,
    standardised,
)
from equiscope.evidence.circuits.kept_weights import KeptWeights
from equiscope.evidence.circuits.stranger_blocks import (
    SAME_OCTAVES,
    Block,
    blocks_between_families,
    blocks_with_units,
)
from equiscope.evidence.circuits.stretched import Stretches
from equiscope.evidence.circuits.tying_axes import stretches
from equiscope.families.family import Family, Unit
from equiscope.foundations.statistics import bootstrap_weights, percentile_interval

__all__ = ["find_stranger_circuits"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Strangers in a layer, below which a null cannot be had.
_FEWEST_STRANGERS = 4
_N_RESAMPLES = 300
# Length of a sum of unit vectors below which they cancel, but for rounding in single precision.
_CANCELLED = 1e-4


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
    """Test scale families with each other, and scale or hue families with units invariant to the transformation.

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

    Examples
    --------
    >>> from equiscope.evidence.circuits.kept_weights import keep_weights
    >>> from equiscope.evidence.circuits.layer_pair import LayerPair
    >>> from equiscope.evidence.circuits.paths import expanded_weights
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_scales
    >>> planted = planted_scales()
    >>> first, second = find_geometry(planted.model, ["first", "second"]).values()
    >>> pair = LayerPair(expanded_weights(planted.model, first, second), planted.families, planted.units)
    >>> known = planted.families, planted.units, "scale"
    >>> circuits = find_stranger_circuits([keep_weights(pair, "scale")], *known, n_draws=20)
    >>> circuits[0].id, circuits[0].scale_class
    ('scale-1>scale-2', 'equivariant→equivariant')
    """
    own = [family for family in families if family.transformation == transformation]
    bench = _Bench(_Strangers(own), Stretches(), n_draws, false_discovery_rate, np.random.default_rng(seed))
    # Two hue families have poses to permute, and are tested by them.
    circuits = bench.judge(blocks_between_families(kept, own)) if stretches(transformation) else []
    with_units = bench.judge(blocks_with_units(kept, own, units, transformation))
    return (*circuits, *(circuit for circuit in with_units if circuit.is_symmetric))


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
                octaves = np.array([m.octaves if stretches(family.transformation) else 0.0 for m in own])
                self._octaves.setdefault(layer, {}).update(
                    zip([m.channel for m in own], (octaves - octaves.mean()).tolist(), strict=True)
                )

    def alike(self, layer: str, channel: int, families: Sequence[str | None]) -> list[int]:
        """Channels of strangers to some families, of the size of a member, or of any size where those are few."""
        key = layer, channel, tuple(name for name in families if name is not None and name in self._members)
        if key not in self._known:
            octaves = self._octaves[layer]
            taken = {c for name in key[2] for at, c in self._members[name] if at == layer}
            free = sorted(set(octaves) - taken)
            own = [c for c in free if abs(octaves[c] - octaves[channel]) < SAME_OCTAVES / 2]
            self._known[key] = own if len(own) >= _FEWEST_STRANGERS else free
        return self._known[key]


@dataclass(frozen=True)
class _Bench:
    """What stands in for the members of a block, and how strictly it is judged."""

    strangers: _Strangers
    grids: Stretches
    n_draws: int
    false_discovery_rate: float
    rng: np.random.Generator

    def judge(self, blocks: Iterator[Block]) -> list[Circuit]:
        """Test blocks, and judge together those in which there is something to tell."""
        tested = (_test(block, self.strangers, self.grids, self.n_draws, self.rng) for block in blocks)
        return judge([candidate for candidate in tested if candidate is not None], self.false_discovery_rate)


def _unit_length(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.sqrt((vectors**2).sum(-1, keepdims=True)), 1e-30))


def _test(
    block: Block,
    strangers: _Strangers,
    grids: Stretches,
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
    vectors = _draw_vectors(block, strangers, grids, n_draws, rng)
    if vectors is None:
        return None
    shares, weight = _told(vectors, block.tells, told)
    r2 = (shares * weight).sum(0) / weight.sum(0)
    null = r2[1:]
    rows = np.array([block.places[i].row for i in told])
    low, high = _interval(shares[:, 0], weight[:, 0], rows)
    circuit = Circuit(
        id=circuit_id(*(end.name for end in block.ends)),
        ends=block.ends,
        transformation=block.transformation,
        kinds={block.transformation: block.kinds},
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


def _draw_vectors(
    block: Block, strangers: _Strangers, grids: Stretches, n_draws: int, rng: np.random.Generator
) -> Floats | None:
    """Stretch the kernels of a block, and in each draw those of strangers in the members' places.

    Returns
    -------
    array or None
        Shape (place, 1 + draw, point), the block's own kernels first; None where strangers are too few.
    """
    stretch_of = grids.of(block.places)
    families = [end.family for end in block.ends]
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
                others = strangers.alike(*key, families)
                if layer == weights.target and not stretches(block.transformation):
                    others = [c for c in others if weights.is_wide[np.searchsorted(channels, c)]]
                if len(others) < _FEWEST_STRANGERS:
                    return None
                instead[key] = rng.choice(others, n_draws)
            foreign = np.searchsorted(channels, instead[key])
            chosen.append(np.append(own, np.where(kept_row == place.row, own, foreign)))
        vectors[i] = weights.kernels[chosen[0], chosen[1]] @ stretch_of[place.size].T
    return vectors


def _told(vectors: Floats, tells: NDArray[np.bool_], told: Ints) -> tuple[Floats, Floats]:
    """Tell kernels from the others: signed squared cosines, and the kernels' energies, shapes (told place, draw)."""
    unit = _unit_length(vectors)
    said = np.einsum("ef,fdp->edp", tells[told].astype(float), unit, optimize=True)
    # Kernels that cancel leave rounding, which says nothing.
    said[np.sqrt((said**2).sum(2)) < _CANCELLED] = 0.0
    # Rounding may take a cosine beyond 1.
    cosine = np.clip((unit[told] * _unit_length(said)).sum(2), -1.0, 1.0)
    return np.sign(cosine) * cosine**2, np.maximum((vectors[told] ** 2).sum(2), 1e-30)


def _energy_share(block: Block, told: Ints, energy: Floats) -> float:
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
