"""Circuits of scale families across layers and of hue with single units, whose null is strangers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray

from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.kept_weights import KeptWeights, keep_weights
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.paths import ExpandedWeights, expanded_weights
from equiscope.evidence.circuits.strangers import _told, find_stranger_circuits
from equiscope.evidence.circuits.stretched import tie_stretched
from equiscope.families.family import Family, Symmetry, Unit
from equiscope.foundations.errors import EquiscopeError
from equiscope.models.geometry import find_geometry
from equiscope.testing import PlantedCircuits, planted_scales
from hand_made import a_family, a_member, moved

Floats = NDArray[np.float64]


@cache
def planted(seed: int, noise: float = 0.0, is_tied: bool = True) -> PlantedCircuits:
    return planted_scales(seed, noise=noise, is_tied=is_tied)


@cache
def kept_of(seed: int, noise: float = 0.0, is_tied: bool = True) -> tuple[KeptWeights, ...]:
    network = planted(seed, noise, is_tied)
    layers = network.model.default_layers
    geometry = find_geometry(network.model, layers)
    kept = []
    for source, target in itertools.pairwise(layers):
        weights = expanded_weights(network.model, geometry[source], geometry[target])
        kept.append(keep_weights(LayerPair(weights, network.families, network.units), "scale"))
    return tuple(part for part in kept if part is not None)


@cache
def found_in(seed: int, noise: float = 0.0, is_tied: bool = True) -> Mapping[tuple[str, str], Circuit]:
    network = planted(seed, noise, is_tied)
    found = find_stranger_circuits(kept_of(seed, noise, is_tied), network.families, network.units, "scale")
    assert len({c.id for c in found}) == len(found)
    return MappingProxyType({(c.source, c.target): c for c in found})


def between(found: Mapping[tuple[str, str], Circuit]) -> list[Circuit]:
    return [c for c in found.values() if c.is_between_families]


# Stretching ---------------------------------------------------------------------------------------------------------


def lobes(x: Floats, y: Floats) -> Floats:
    """A smooth pattern without any symmetry, about 6 px wide."""
    return np.asarray(
        np.exp(-((x - 2) ** 2 + (y - 1) ** 2) / 8) - 0.7 * np.exp(-((x + 1) ** 2 + (y + 2) ** 2) / 6)
    )


def kept_kernel(octaves: float, stride_px: float, n_y: int = 13, n_x: int = 15) -> KeptWeights:
    """One kernel that is larger by some octaves, on cells of some size."""
    y_px, x_px = ((np.arange(n) - (n - 1) / 2) * stride_px for n in (n_y, n_x))
    y, x = np.meshgrid(-y_px, x_px, indexing="ij")
    kernel = lobes(x / 2**octaves, y / 2**octaves)[None, None].astype(np.float32)
    members = [a_member(layer, 0, octaves=0.0) for layer in "ab"]
    family = a_family("scale", members, name="scale-1")
    kept = keep_weights(
        LayerPair(ExpandedWeights("a", "b", kernel, y_px, x_px, stride_px, ()), [family], []), "scale"
    )
    assert kept is not None
    return kept


@pytest.mark.parametrize(
    ("octaves", "stride_px"), [(0.0, 1.0), (1.0, 2.0), (1.0, 1.5), (-0.5, 0.8), (0.4, 1.0)]
)
def test_a_kernel_stretched_to_octave_0_is_the_pattern(octaves: float, stride_px: float) -> None:
    kept = kept_kernel(octaves, stride_px)
    axis = np.linspace(-3, 3, 9)
    y, x = np.meshgrid(-axis, axis, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    got = kept.stretched(octaves, points) @ kept.kernels[0, 0]
    truth = lobes(x.ravel(), y.ravel())
    truth *= (got @ truth) / (truth @ truth)
    assert np.sqrt(((got - truth) ** 2).sum() / (truth**2).sum()) < 0.05
    # Another size, and another direction, are far from it.
    for other in (kept.stretched(octaves + 1, points), kept.stretched(octaves, -points)):
        wrong = other @ kept.kernels[0, 0]
        cosine = wrong @ truth / np.sqrt((wrong @ wrong) * (truth @ truth))
        assert cosine < 0.85


def test_beyond_its_cells_a_kernel_is_zero() -> None:
    kept = kept_kernel(0.0, 1.0, 5, 7)
    points = np.array([[0.0, 0.0], [3.4, 0.0], [3.6, 0.0], [0.0, 2.4], [0.0, 2.6]])
    is_zero = (kept.stretched(0.0, points) == 0).all(1)
    assert is_zero.tolist() == [False, False, True, False, True]
    # Made smaller by an octave the kernel ends at half the distance.
    assert (kept.stretched(1.0, points / 2) == 0).all(1).tolist() == is_zero.tolist()


# Planted networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3])
def test_all_planted_circuits_are_found(seed: int) -> None:
    found = found_in(seed)
    classes = planted(seed).classes
    assert {ends: c.circuit_class for ends, c in found.items() if c.is_symmetric} == classes
    assert len(classes) == 8 * 7 + 2 * 8 * 6
    for circuit in found.values():
        assert circuit.transformation == "scale"
        assert (circuit.rotation_class, circuit.hue_class, circuit.pair_class) == ("", "", "")
        assert circuit.q_value <= 0.05
        assert circuit.r2 > circuit.r2_null_95
        # Between two kernels 0.6 octaves apart stretching shows; three layers tell each other more exactly.
        assert circuit.r2 > (0.999 if circuit.is_between_families else 0.99)
    for circuit in between(found):
        assert (circuit.n_source, circuit.n_target) == (8, 8)
        assert circuit.r2_low <= circuit.r2 <= circuit.r2_high
        assert 0 < circuit.energy_share < 1


def test_noise_is_what_copies_do_not_explain() -> None:
    means = []
    for noise in (0.0, 0.1, 0.3):
        found = found_in(0, noise)
        assert {ends: c.circuit_class for ends, c in found.items() if c.is_symmetric} == planted(
            0, noise
        ).classes
        means.append(float(np.mean([c.r2 for c in between(found)])))
    # Turning functions, fewer than cells, hold only part of the noise, which is in what tells and in what is told.
    assert means == pytest.approx([1.0, 0.9, 0.7], abs=0.1)
    assert means[0] > means[1] + 0.04 > means[2] + 0.08


def test_nothing_is_found_in_noise() -> None:
    assert not planted(0, 1.0).classes
    found = found_in(0, 1.0)
    assert len(found) == 56
    assert not any(c.is_symmetric for c in found.values())
    assert max(abs(c.r2) for c in found.values()) < 0.1


def test_few_circuits_survive_without_ties() -> None:
    survivors, p_values = [], []
    for seed in range(4):
        assert not planted(seed, is_tied=False).classes
        found = found_in(seed, 0.0, False)
        survivors += [c for c in found.values() if c.is_symmetric]
        p_values += [c.p_value for c in between(found)]
    # Twelve groups of hypotheses, each of which may err in one of twenty: more than two in 2 % of all such tests.
    assert len(survivors) <= 2
    assert np.mean(np.array(p_values) <= 0.05) < 0.1
    assert np.mean(np.array(p_values) <= 0.5) == pytest.approx(0.5, abs=0.12)


def test_channels_in_another_order_change_nothing() -> None:
    network, kept = planted(0), kept_of(0)
    rng = np.random.default_rng(0)
    shuffle = {layer: rng.permutation(26) for layer in network.model.default_layers}

    def moved(part: KeptWeights) -> KeptWeights:
        sources, targets = shuffle[part.source][part.sources], shuffle[part.target][part.targets]
        u, v = np.argsort(sources), np.argsort(targets)
        return dataclasses.replace(
            part, sources=sources[u], targets=targets[v], kernels=part.kernels[np.ix_(v, u)],
            energy=part.energy[np.ix_(v, u)],
            energy_in=part.energy_in[v],
        )  # fmt: skip

    families = [
        dataclasses.replace(f, members=tuple(
            dataclasses.replace(m, channel=int(shuffle[m.layer][m.channel])) for m in f.members
        ))
        for f in network.families
    ]  # fmt: skip
    units = [dataclasses.replace(u, channel=int(shuffle[u.layer][u.channel])) for u in network.units]
    again = find_stranger_circuits([moved(part) for part in kept], families, units, "scale", n_draws=60)
    by_ends = {(c.source, c.target): c for c in again}
    for (source, target), circuit in found_in(0).items():
        if circuit.is_between_families:
            assert by_ends[source, target].r2 == pytest.approx(circuit.r2, abs=1e-9)
            assert by_ends[source, target].strength == pytest.approx(circuit.strength)


def test_with_few_strangers_there_is_no_null_and_no_circuit() -> None:
    network = planted(0)
    # Each layer has two members of each family: two families of their own leave two strangers.
    assert find_stranger_circuits(kept_of(0), network.families[:3], [], "scale") == ()
    assert find_stranger_circuits(kept_of(0), network.families[:4], [], "scale", n_draws=20)


def test_copies_of_one_size_say_nothing_of_scale() -> None:
    network = planted(0)
    flat = []
    for own in network.families:
        members = (moved(m, octaves=0.1 * i) for i, m in enumerate(own.members[:3]))
        flat.append(dataclasses.replace(own, members=tuple(members)))
    assert find_stranger_circuits(kept_of(0), flat, [], "scale", n_draws=20) == ()


# What is drawn ------------------------------------------------------------------------------------------------------


def test_stretched_kernels_stand_in_one_column_for_each_relative_octave() -> None:
    network, kept = planted(0), kept_of(0)
    circuit = found_in(0)["scale-2", "scale-5"]
    tied = tie_stretched(circuit, kept, network.families, network.units)
    assert tied.raw.shape[:2] == (8, 8)
    assert tied.slots.tolist() == [-1.5, -1.0, -0.5]
    assert tied.reordered.shape[:2] == (8, 3)
    assert tied.template.shape[0] == 3
    by_id = {f.id: f for f in network.families}
    sources, targets = by_id["scale-2"].members, by_id["scale-5"].members
    layers = network.model.default_layers
    for v, b in enumerate(targets):
        for u, a in enumerate(sources):
            is_next = layers.index(a.layer) + 1 == layers.index(b.layer)
            assert np.isfinite(tied.raw[v, u]).all() == is_next
    octaves = [targets[row].octaves for row in tied.rows]
    assert octaves == sorted(octaves)
    # The first layer's members get nothing from families.
    assert np.isnan(tied.reordered[:2]).all()
    for slot in range(3):
        there = [row for row in tied.reordered[:, slot] if np.isfinite(row).all()]
        for row in there:
            cosine = (row * tied.template[slot]).sum() / np.sqrt(
                (row**2).sum() * (tied.template[slot] ** 2).sum()
            )
            assert cosine > 0.999


@pytest.mark.parametrize("kind", ["invariant→equivariant", "equivariant→invariant"])
def test_of_a_unit_there_is_one_column(kind: str) -> None:
    network, kept = planted(0), kept_of(0)
    circuit = next(c for c in found_in(0).values() if c.circuit_class == kind)
    tied = tie_stretched(circuit, kept, network.families, network.units)
    assert tied.raw.shape[:2] == (circuit.n_target, circuit.n_source)
    assert not tied.slots.size
    assert tied.columns.tolist() == [0]
    assert tied.reordered.shape[:2] == (8, 1)
    assert np.isfinite(tied.reordered).all((1, 2, 3)).sum() == 2


# Hue ----------------------------------------------------------------------------------------------------------------


def hue_layers(seed: int, *, is_alike: bool) -> tuple[LayerPair, list[Family], list[Unit]]:
    """Six families of five hues, and four units of each layer that hue leaves as they are, wired alike to all hues."""
    rng = np.random.default_rng(seed)
    n = 34
    kernels = rng.normal(size=(n, n, 3, 3))
    families, units = [], []
    for layer in ("a", "b"):
        lines = [Symmetry("hue", "invariant", invariance=1.0)] * 4
        for index in range(6):
            name = f"{layer}-hue-{index + 1}"
            members = [a_member(layer, 4 + 5 * index + i, hue_deg=72.0 * i) for i in range(5)]
            families.append(a_family("hue", members, name=name))
            lines += [Symmetry("hue", "equivariant", name, 1.0, 0.0, 1)] * 5
        units += [Unit(layer, c, 0.0, 1.0, (line,)) for c, line in enumerate(lines)]
    if is_alike:
        for index in range(6):
            own = slice(4 + 5 * index, 9 + 5 * index)
            # Of one energy, for only strong blocks are kept.
            into, out = rng.normal(size=(2, 4, 3, 3))
            into, out = (own_kernels / own_kernels.std((1, 2), keepdims=True) for own_kernels in (into, out))
            kernels[own, :4] = into[None] * rng.uniform(1.8, 3, (5, 1, 1, 1))
            kernels[:4, own] = out[:, None] * rng.uniform(1.8, 3, (1, 5, 1, 1))
    else:
        kernels[:, :4] *= 2
        kernels[:4] *= 2
    px = np.array([-4.0, 0.0, 4.0])
    weights = ExpandedWeights("a", "b", kernels.astype(np.float32), px, px, 4.0, ())
    return LayerPair(weights, families, units), families, units


def test_units_that_hue_leaves_as_they_are_are_wired_alike_to_all_hues() -> None:
    pair, families, units = hue_layers(0, is_alike=True)
    kept = keep_weights(pair, "hue")
    assert kept is not None
    found = find_stranger_circuits([kept], families, units, "hue")
    assert {(c.source, c.target): c.circuit_class for c in found} == {
        (f"a:{u}", f"b-hue-{i}"): "invariant→equivariant" for u in range(4) for i in range(1, 7)
    } | {(f"a-hue-{i}", f"b:{v}"): "equivariant→invariant" for v in range(4) for i in range(1, 7)}
    for circuit in found:
        assert circuit.transformation == "hue"
        assert circuit.hue_class == circuit.circuit_class
        assert circuit.r2 == pytest.approx(1.0)
        assert not circuit.is_small
        tied = tie_stretched(circuit, [kept], families, units)
        assert tied.reordered.shape[:2] == (5, 1)


def test_hues_that_are_wired_each_on_its_own_are_no_circuit() -> None:
    survivors = 0
    for seed in range(6):
        pair, families, units = hue_layers(seed, is_alike=False)
        kept = keep_weights(pair, "hue")
        assert kept is not None
        survivors += len(find_stranger_circuits([kept], families, units, "hue"))
    assert survivors <= 2 * 0.05 * 6 + 1


def test_noise_beyond_its_bounds_is_refused() -> None:
    with pytest.raises(EquiscopeError, match=r"noise 1\.5: it is a share"):
        planted_scales(0, noise=1.5)


def test_kernels_that_cancel_tell_nothing() -> None:
    one = np.array([0.3, -0.7, 0.2])
    # The second is the first turned round, but for rounding: together they say nothing of the third.
    vectors = np.stack([one, -one * (1 + 1e-9) + 1e-12, one])[:, None]
    tells = ~np.eye(3, dtype=bool)
    shares, _ = _told(vectors, tells, np.array([2]))
    assert shares[0, 0] == 0.0
    vectors[1] = one
    shares, _ = _told(vectors, tells, np.array([2]))
    assert shares[0, 0] == pytest.approx(1.0)
