"""Which class weights have where they are means over stimuli, that R² is at most 1, and what confirms a family."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import equiscope
from circuit_run import make_circuit
from equiscope.evidence.circuits import Circuits, Confirmation, load_circuits
from equiscope.evidence.circuits.classes import ClassFit, choose_class
from equiscope.evidence.circuits.confirm import confirm_families, give_verdicts
from equiscope.evidence.circuits.find import find_circuits
from equiscope.evidence.circuits.gradients import _deal, _mean_and_noise
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.paths import expanded_weights
from equiscope.evidence.circuits.results import save_circuits
from equiscope.evidence.circuits.strangers import _told
from equiscope.evidence.circuits.ties import Tie, permutations, tie_equivariant, tie_invariant
from equiscope.evidence.witnesses.judge import give_verdict
from equiscope.evidence.witnesses.weights import WeightWitness
from equiscope.families.family import Family, Member, Symmetry, Unit
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED, Verdict
from equiscope.models import Model
from equiscope.models.geometry import find_geometry
from equiscope.testing.battery.trained import TrainedKind, train_fields

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

BOTH, TARGET, SOURCE = (
    ("equivariant", "equivariant"),
    ("invariant", "equivariant"),
    ("equivariant", "invariant"),
)
WAVES = np.arange(-3, 4)


# --- R² is at most 1 ---------------------------------------------------------------------------------------


def block(
    rng: np.random.Generator, n_out: int, n_in: int, turning: float = 0.9
) -> tuple[Complex, Complex, Complex, Complex, Floats]:
    """Give exactly tied weights, of which a share depends on the source's poses, and what ties them."""
    poses, sources = rng.uniform(0, 2 * np.pi, n_out), rng.uniform(0, 2 * np.pi, n_in)
    phases = np.exp(1j * np.outer(poses, np.arange(4)))
    inputs, outputs = np.exp(1j * np.outer(sources, WAVES)), np.exp(1j * np.outer(poses, WAVES))
    template = rng.normal(size=(7, 4)) + 1j * rng.normal(size=(7, 4))
    template *= np.where(WAVES == 0, np.sqrt(1 - turning), np.sqrt(turning / 6))[:, None]
    weights = (
        np.einsum("vuc,ck->vuk", inputs[None] * outputs.conj()[:, None], template) * phases.conj()[:, None]
    )
    return weights, phases, inputs, outputs, poses


@given(
    seed=st.integers(0, 2**32 - 1),
    n_out=st.integers(2, 40),
    n_in=st.integers(1, 12),
    octaves=st.sampled_from([0.0, 3.0, 20.0]),
    unit=st.floats(-20, 20),
)
@settings(deadline=None, max_examples=60)
def test_no_share_is_more_than_all(seed: int, n_out: int, n_in: int, octaves: float, unit: float) -> None:
    """Members of very different strength, in any unit: single precision made R² 1.4 and its interval 10⁹."""
    rng = np.random.default_rng(seed)
    weights, phases, inputs, outputs, poses = block(rng, n_out, n_in)
    weights = weights * 2.0 ** rng.uniform(-octaves, octaves, n_out)[:, None, None] * 10.0**unit
    draws = permutations(poses, 9, rng)
    for tie in (
        tie_equivariant(weights, phases, inputs, outputs, draws),
        tie_invariant(weights, phases, draws),
    ):
        assert tie.r2.max() <= 1
        assert tie.null.max() <= 1
        assert tie.interval().max() <= 1
        assert (tie.residual >= 0).all()


def test_r2_does_not_depend_on_the_unit_of_the_weights() -> None:
    rng = np.random.default_rng(0)
    weights, phases, inputs, outputs, poses = block(rng, 6, 4)
    draws = permutations(poses, 5, rng)
    found = [
        tie_equivariant(weights * unit, phases, inputs, outputs, draws).r2 for unit in (1.0, 1e-25, 1e25)
    ]
    assert found[0] > 0.5
    np.testing.assert_allclose(found, np.broadcast_to(found[0], (3, 1)), rtol=1e-4)


def test_a_kernel_is_told_by_its_copies_to_no_more_than_all() -> None:
    for seed in range(50):
        own = np.random.default_rng(seed).normal(size=9)
        shares, _ = _told(np.tile(own, (4, 2, 1)), ~np.eye(4, dtype=bool), np.arange(4))
        assert shares.max() <= 1
        assert shares.min() > 1 - 1e-12


# --- the sampling error of gradients -----------------------------------------------------------------------


def test_stimuli_of_a_unit_are_dealt_in_turn() -> None:
    sides, counts = _deal(np.array([0, 0, 0, 2, 2, 5]), 7)
    assert sides.tolist() == [0, 1, 0, 0, 1, 0]
    assert counts.tolist() == [[2, 0, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("counts", [(2, 2), (3, 2), (1, 1), (8, 8)])
def test_the_draw_of_the_error_is_as_large_as_the_error(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    sums = np.stack([rng.normal(1.0, 2.0, (n, 4000)).sum(0) for n in counts]).reshape(2, 1, 4000, 1, 1)
    mean, noise = _mean_and_noise(sums, np.array(counts)[:, None])
    assert mean.mean() == pytest.approx(1.0, abs=0.1)
    assert (noise**2).mean() == pytest.approx(4.0 / sum(counts), rel=0.1)
    # Nothing that is common to all stimuli is in it.
    assert noise.mean() == pytest.approx(0.0, abs=0.1)


def test_of_one_stimulus_all_may_be_chance_and_of_none_there_is_nothing() -> None:
    sums = np.array([[3.0, 0.0], [0.0, 0.0]]).reshape(2, 2, 1, 1, 1)
    mean, noise = _mean_and_noise(sums, np.array([[1, 0], [0, 0]]))
    assert mean.ravel().tolist() == noise.ravel().tolist() == [3.0, 0.0]


# --- which class -------------------------------------------------------------------------------------------


def tie(left: list[float], noise: list[float] | float = 0.1, r2: float | None = None) -> Tie:
    """Hand-made: unit energy and 0.3 of sampling error a member, so much left, so much of it by that error."""
    residual = np.array(left)[:, None]
    own = np.broadcast_to(np.asarray(noise, dtype=float).reshape(-1, 1), residual.shape)
    return Tie(
        np.array([1 - residual.mean() if r2 is None else r2]), np.zeros((9, 1)),
        residual, np.ones_like(residual), own, np.where(own > 0, 0.3, 0.0),
    )  # fmt: skip


EXACT, MIXED = [0.2, 0.2, 0.2, 0.2, 0.2], [0.1, 0.4, 0.1, 0.4, 0.2]


@pytest.mark.parametrize(
    ("simpler", "kinds"),
    [
        # Something is gained in every member, nothing in every member, and now this, now that.
        (tie([0.5, 0.6, 0.5, 0.6, 0.5]), BOTH),
        (tie(EXACT), TARGET),
        (tie(MIXED), ("undetermined", "equivariant")),
        # As much is left, but of the richest half of it by the error, which costs it more.
        (tie(EXACT, noise=1e-9), BOTH),
        # It explains as much, and so does chance: neither shown nor refuted.
        (dataclasses.replace(tie(EXACT), null=np.full((9, 1), 0.9)), ("undetermined", "equivariant")),
    ],
)
def test_a_class_is_shown_or_left_open(simpler: Tie, kinds: tuple[str, str]) -> None:
    fits = [ClassFit(BOTH, tie(EXACT)), ClassFit(TARGET, simpler)]
    assert choose_class(fits).kinds == kinds


def test_either_end_may_be_open_and_one_that_is_shown_settles_it() -> None:
    both, target, source = (
        ClassFit(BOTH, tie(EXACT)),
        ClassFit(TARGET, tie(MIXED)),
        ClassFit(SOURCE, tie(MIXED)),
    )
    assert choose_class([both, target, source]).kinds == ("undetermined", "undetermined")
    assert choose_class([both, source]).kinds == ("equivariant", "undetermined")
    assert choose_class([both, target, ClassFit(SOURCE, tie(EXACT))]).kinds == SOURCE
    # What is told of an open one is the best that fits.
    assert choose_class([both, ClassFit(TARGET, tie(MIXED, r2=0.85))]).tie.r2[0] == 0.85


def test_weights_that_may_be_nothing_but_error_tell_no_class() -> None:
    drowned = dataclasses.replace(tie(EXACT), noise_energy=np.full((5, 1), 1.1))
    assert choose_class([ClassFit(BOTH, drowned), ClassFit(TARGET, tie(EXACT))]).kinds[0] == "undetermined"


def test_exact_weights_keep_the_simpler_class_up_to_chance() -> None:
    fits = [ClassFit(BOTH, tie(EXACT, noise=0.0)), ClassFit(TARGET, tie(MIXED, noise=0.0))]
    assert choose_class(fits).kinds == TARGET


def chosen(seed: int, turning: float, noise: float, *, is_told: bool) -> str:
    """Class of the source of a planted block of eight onto eight, with so much of its energy sampling error."""
    rng = np.random.default_rng([seed, 7])
    weights, phases, inputs, outputs, poses = block(rng, 8, 8, turning)
    size = np.sqrt((np.abs(weights) ** 2).mean() * noise / (1 - noise) / 2)
    error, draw = (
        size * (rng.normal(size=weights.shape) + 1j * rng.normal(size=weights.shape)) for _ in range(2)
    )
    draws = permutations(poses, 30, rng)
    told = draw if is_told else None
    one = np.ones((8, 1), complex), np.ones((8, 1), complex)
    fits = [
        ClassFit(BOTH, tie_equivariant(weights + error, phases, inputs, outputs, draws, None, told)),
        ClassFit(TARGET, tie_equivariant(weights + error, phases, *one, draws, None, told)),
    ]
    return choose_class(fits).kinds[0]


def test_sampling_error_makes_no_end_invariant() -> None:
    """A fifth of the weights depends on the source's poses, half of the energy is sampling error."""
    before = [chosen(seed, 0.2, 0.5, is_told=False) for seed in range(1, 41, 2)]
    after = [chosen(seed, 0.2, 0.5, is_told=True) for seed in range(1, 41, 2)]
    assert before.count("invariant") >= 5
    assert after.count("invariant") == 0
    assert after.count("equivariant") >= before.count("equivariant")


def test_an_end_that_stays_is_found_to_stay_or_left_open() -> None:
    found = [chosen(seed, 0.0, 0.1, is_told=True) for seed in range(1, 41, 2)]
    assert found.count("equivariant") <= 1
    assert found.count("invariant") >= 5


# --- what confirms a family --------------------------------------------------------------------------------


@cache
def fields() -> tuple[Model, tuple[Family, ...], tuple[Unit, ...]]:
    """Five fields a layer of an exactly C4-equivariant network of shuffled channels, hardly trained."""
    module, layers = train_fields(TrainedKind("C4", 5, 2), seed=0, n_steps=1)
    families, units = [], []
    for layer, truth in layers.items():
        names = np.array(truth.features)
        for number, name in enumerate(truth.stabilisers):
            members = [
                Member(layer, c, truth.poses[c] or {}, 1.0, 1.0, 1.0)
                for c in np.flatnonzero(names == name).tolist()
            ]
            families.append(a_field(layer, number, members))
        kinds = ["equivariant" if name else "invariant" for name in truth.features]
        units += [Unit(layer, c, 0.0, 1.0, (Symmetry("rotation", kind),)) for c, kind in enumerate(kinds)]
    return Model(module, "fields", default_layers=tuple(layers)), tuple(families), tuple(units)


def a_field(layer: str, number: int, members: list[Member]) -> Family:
    name = f"{layer}-rotation-{number}"
    return Family(name, (layer,), "rotation", 1.0, 1.0, 1.0, 0.0, tuple(members))


def test_a_family_is_confirmed_by_all_its_inputs_and_not_by_its_best_circuit(tmp_path: Path) -> None:
    model, families, units = fields()
    first, _, last = model.default_layers
    second = model.default_layers[1]
    own = [family for family in families if family.layer == second]
    # Impostors: one member of each of five fields; two fields; three members of one and one of another.
    one_each = a_field(second, 10, [family.members[i % 4] for i, family in enumerate(own)])
    two = a_field(second, 11, [*own[0].members, *own[1].members])
    stranger = a_field(second, 12, [*own[0].members[:3], own[1].members[3]])
    impostors = (one_each, two, stranger)
    sources = tuple(family for family in families if family.layer == first)
    geometries = find_geometry(model, model.default_layers)
    run = equiscope.Run(tmp_path, {}, units, (*sources, *own, *impostors))
    verdicts = give_verdicts(run, model, geometries, None)
    weights = expanded_weights(model, geometries[first], geometries[second], None, [last])
    circuits = find_circuits(LayerPair(weights, run.families, units))
    found = {entry.family: entry for entry in confirm_families(run, circuits, verdicts)}
    for family in own:
        assert found[family.id].is_confirmed
        assert verdicts[family.id].likeness > 0.99
        assert verdicts[family.id].tested > 0.9
    for family in impostors:
        assert found[family.id].is_tested
        assert not found[family.id].is_confirmed
    # Its best circuit would have confirmed it.
    assert found[two.id].n_symmetric > 0


def test_a_verdict_of_the_run_stands(tmp_path: Path) -> None:
    model, families, units = fields()
    known = Verdict(UNTESTED, "for a reason")
    own = dataclasses.replace(families[-1], verdict=known)
    run = equiscope.Run(tmp_path, {}, units, (own,))
    assert give_verdicts(run, model, find_geometry(model, model.default_layers), None) == {own.id: known}
    (found,) = confirm_families(run, [])
    assert (found.verdict, found.is_tested, found.is_confirmed) == (known, False, False)


def test_among_copies_without_a_tree_a_stranger_is_seen() -> None:
    family = a_field("a", 0, [Member("a", i, {"angle_deg": 40.0 * i}, 1.0, 1.0, 1.0) for i in range(9)])
    likeness = np.ones((9, 9))
    likeness[8, :8] = likeness[:8, 8] = 0.3
    witness = WeightWitness(
        float(likeness[~np.eye(9, dtype=bool)].mean()), permuted_95=0.2, tested=1.0, pairs=likeness
    )
    assert witness.likeness > 0.8
    assert give_verdict(family, witness).word == ALIKE_IN_POSE
    alike = dataclasses.replace(witness, pairs=np.full((9, 9), 0.85) + 0.15 * np.eye(9))
    assert give_verdict(family, alike).word == COPIES


def test_confirmations_are_read_back_and_those_of_before_too(tmp_path: Path) -> None:
    verdict = Verdict(COPIES, likeness=0.9, likeness_low=0.8, likeness_high=0.95, permuted_95=0.2, tested=0.7)
    confirmation = Confirmation("a-rotation-1", 3, 1, 0.5, 0.1, "b>a-rotation-1", verdict)
    open_end = {"rotation": ("undetermined", "equivariant")}
    circuit = dataclasses.replace(
        make_circuit("b-rotation-1", "a-rotation-1", kinds=open_end), noise_share=0.25
    )
    save_circuits(tmp_path, Circuits((), (), (circuit,), (), (), (), (confirmation,)))
    again = load_circuits(tmp_path)
    assert again is not None
    assert again.confirmations == (confirmation,)
    assert again.circuits[0].kinds == open_end
    assert again.circuits[0].noise_share == 0.25
    assert again.circuits[0].rotation_class == "undetermined→equivariant"
    document = json.loads((tmp_path / "circuits.json").read_text(encoding="utf-8"))
    del document["confirmations"][0]["verdict"]
    del document["circuits"][0]["noise_share"]
    (tmp_path / "circuits.json").write_text(json.dumps(document), encoding="utf-8")
    before = load_circuits(tmp_path)
    assert before is not None
    assert before.confirmations[0].verdict is None
    assert not before.confirmations[0].is_tested
    assert before.circuits[0].noise_share != before.circuits[0].noise_share


def test_an_open_end_does_not_turn() -> None:
    circuit = make_circuit(
        "a-rotation-1", "b-rotation-1", kinds={"rotation": ("undetermined", "equivariant")}
    )
    assert circuit.is_symmetric
    assert not circuit.turns_with("a-rotation-1")
    assert circuit.turns_with("b-rotation-1")
    assert nan != circuit.noise_share
