"""How a circuit is told from chance, which are drawn, and what confirms a family: figures by hand, no network."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import equiscope
from circuit_run import make_circuit
from equiscope.evidence.circuits import Circuit, CircuitEnd
from equiscope.evidence.circuits.circuit import Candidate, judge, p_values, standardised
from equiscope.evidence.circuits.confirm import confirm_families
from equiscope.evidence.circuits.drawn import choose_drawn
from equiscope.evidence.circuits.recover import _is_checked
from hand_made import a_family, a_member

EQUIVARIANT = ("equivariant", "equivariant")


# --- the null ----------------------------------------------------------------------------------------------


def test_deviations_are_over_the_data_and_all_distinct_draws() -> None:
    null = np.array([[0.1], [0.3], [0.1], [0.1]])
    # 0.8, and 0.1 and 0.3 once each: mean 0.4.
    values = np.array([0.8, 0.1, 0.3])
    expected = (np.array([0.8, 0.1, 0.3, 0.1, 0.1]) - values.mean()) / values.std()
    assert standardised(np.array([0.8]), null)[:, 0] == pytest.approx(expected)


def test_draws_that_hardly_differ_make_no_block_stand_out() -> None:
    """The impostor explains next to nothing, but a millionth more than each of its draws."""
    null = np.full((50, 1), 1e-6) + np.arange(50)[:, None] * 1e-8
    assert abs(standardised(np.array([2e-6]), null)[0, 0]) < 0.01


def test_a_p_value_counts_each_distinct_draw_once_and_one_more() -> None:
    deviations = np.array([[1.0], [2.0], [2.0], [0.5], [1.0], [-1.0]])
    # Distinct: 2, 1, 0.5, -1, of which 2 and 1 are as large.
    assert p_values(deviations)[0] == pytest.approx((1 + 2) / (1 + 4))
    assert p_values(np.array([[3.0], [0.0], [1.0]]))[0] == pytest.approx(1 / 3)


def candidate(r2: float, null: np.ndarray, **figures: object) -> Candidate:
    circuit = dataclasses.replace(make_circuit("a-rotation-1", "b-rotation-1"), r2=r2, **figures)
    return Candidate(circuit, null, standardised(np.array([r2]), null[:, None])[:, 0])


def test_a_circuit_needs_a_small_q_value_and_something_explained() -> None:
    rng = np.random.default_rng(0)
    null = rng.normal(0, 0.02, 200)
    strong, weak = candidate(0.6, null), candidate(0.01, null)
    # It stands out from a null that explains even less, and explains less than nothing itself.
    negative = candidate(-0.05, rng.normal(-0.6, 0.02, 200))
    for own, is_symmetric in ((strong, True), (weak, False), (negative, False)):
        (judged,) = judge([own], 0.05)
        assert judged.is_symmetric == is_symmetric
        assert (judged.circuit_class == "not symmetric") == (not is_symmetric)
        assert judged.r2_null_95 == pytest.approx(np.quantile(own.null, 0.95))
        assert judged.r2_null_99 == pytest.approx(np.quantile(own.null, 0.99))
    assert judge([negative], 0.05)[0].q_value <= 0.05
    assert judge([], 0.05) == []
    # At a rate that the q-value exceeds nothing is a circuit.
    assert not judge([strong], 0.5 * judge([strong], 0.05)[0].q_value)[0].is_symmetric


def test_what_is_not_symmetric_keeps_what_was_tested() -> None:
    null = np.linspace(-0.1, 0.1, 50)
    own = candidate(0.0, null, kinds={"rotation": EQUIVARIANT, "hue": ("invariant", "equivariant")})
    (judged,) = judge([own], 0.05)
    assert judged.kinds == {"rotation": None, "hue": None}
    assert (judged.rotation_class, judged.hue_class, judged.scale_class) == ("not symmetric",) * 2 + ("",)


# --- what a class says -------------------------------------------------------------------------------------


def test_texts_of_classes() -> None:
    both = make_circuit("a", "b", kinds={"rotation": EQUIVARIANT, "hue": ("invariant", "equivariant")})
    assert both.circuit_class == "equivariant→equivariant / invariant→equivariant"
    same = make_circuit("a", "b", kinds={"rotation": EQUIVARIANT, "hue": EQUIVARIANT})
    assert same.circuit_class == "equivariant→equivariant"
    pair = make_circuit("a", "b", kinds={"contrast": EQUIVARIANT}, transformation="contrast")
    assert (pair.pair_class, pair.rotation_class) == ("equivariant→equivariant", "")
    assert pair.circuit_class == pair.pair_class


@pytest.mark.parametrize(
    ("kinds", "first", "second"),
    [
        ({"rotation": EQUIVARIANT}, True, True),
        ({"rotation": ("invariant", "equivariant")}, False, True),
        ({"rotation": ("equivariant", "invariant")}, True, False),
        ({"rotation": ("invariant", "equivariant"), "hue": ("equivariant", "invariant")}, True, True),
        ({"rotation": None}, False, False),
    ],
)
def test_weights_turn_with_the_end_that_is_equivariant(
    kinds: dict[str, tuple[str, str] | None], first: bool, second: bool
) -> None:
    circuit = make_circuit("a-rotation-1", "b-rotation-1", kinds=kinds)
    assert circuit.turns_with("a-rotation-1") == first
    assert circuit.turns_with("b-rotation-1") == second


def test_only_circuits_into_families_that_turn_are_intervened_on() -> None:
    assert _is_checked(make_circuit("a", "b"))
    assert _is_checked(make_circuit("a", "b", kinds={"rotation": ("invariant", "equivariant")}))
    assert not _is_checked(make_circuit("a", "b", kinds={"rotation": ("equivariant", "invariant")}))
    assert not _is_checked(make_circuit("a", "b", kinds={"hue": EQUIVARIANT}))
    assert not _is_checked(make_circuit("a", "mixed3b:7"))


# --- what is drawn -----------------------------------------------------------------------------------------


def test_the_strongest_into_and_out_of_each_end_are_drawn() -> None:
    into = [make_circuit(f"s{i}", "t", r2=0.9 - 0.1 * i, energy_share=1.0) for i in range(6)]
    # The weakest into t; the strongest, and only, out of s5.
    assert [c.source for c in choose_drawn(into)] == [f"s{i}" for i in range(6)]
    # Two more out of each of the sources leave the last two into t without a place.
    out = [make_circuit(f"s{i}", f"x{i}{k}", r2=1.0, energy_share=1.0) for i in range(6) for k in range(2)]
    drawn = {(c.source, c.target) for c in choose_drawn([*into, *out])}
    assert {c for c in drawn if c[1] == "t"} == {(f"s{i}", "t") for i in range(4)}
    assert len(drawn) == 4 + 12


def test_what_is_ranked_is_what_the_symmetry_explains_of_the_targets_weights() -> None:
    out = [make_circuit("s", f"x{k}", r2=1.0, energy_share=1.0) for k in range(2)]
    full = [make_circuit(f"s{i}", "t", r2=0.5, energy_share=0.5) for i in range(4)]
    # It explains more of its own weights, which are few.
    small = make_circuit("s", "t", r2=0.9, energy_share=0.1)
    assert small not in choose_drawn([small, *full, *out])
    assert make_circuit("s", "t", r2=0.9, energy_share=0.4) in choose_drawn(
        [make_circuit("s", "t", r2=0.9, energy_share=0.4), *full, *out]
    )


@pytest.mark.parametrize(
    "impostor",
    [
        make_circuit("a", "b", kinds={"rotation": None}),
        make_circuit("a", "b", kinds={"reflection": EQUIVARIANT}, transformation="reflection"),
        make_circuit("mixed3a:1", "mixed3b:2", n_source=1, n_target=1),
    ],
    ids=["not symmetric", "pair", "one kernel"],
)
def test_what_has_no_picture_is_not_drawn(impostor: Circuit) -> None:
    assert choose_drawn([impostor]) == []


# --- what confirms a family --------------------------------------------------------------------------------


def make_run(folder: Path, *families: tuple[str, str]) -> equiscope.Run:
    own = tuple(
        a_family(transformation, [a_member(name[0], i, angle_deg=90.0 * i) for i in range(4)], name=name)
        for name, transformation in families
    )  # fmt: skip
    return equiscope.Run(folder, {}, (), own)


def test_a_family_is_confirmed_by_circuits_that_turn_with_its_poses(tmp_path: Path) -> None:
    named = (("a-rotation-1", "rotation"), ("b-rotation-1", "rotation"), ("b-reflection-1", "reflection"))
    run = make_run(tmp_path, *named)
    circuits = [
        # Its poses make no difference here.
        make_circuit(
            "a-rotation-1", "b-rotation-1", kinds={"rotation": ("invariant", "equivariant")}, r2=0.9
        ),
        make_circuit("a-rotation-1", "b-rotation-2", r2=0.5, r2_null_95=0.1),
        # It explains more, but no more than chance does.
        make_circuit("a-rotation-1", "b-rotation-3", r2=0.7, r2_null_95=0.6),
        make_circuit("a-rotation-1", "b-rotation-4", kinds={"rotation": None}),
        # A unit is no other family.
        make_circuit("a-rotation-1", "mixed3b:3", kinds={"rotation": ("equivariant", "invariant")}),
    ]
    a, b = confirm_families(run, circuits)
    assert (a.family, a.n_tested, a.n_symmetric) == ("a-rotation-1", 4, 2)
    assert (a.best_circuit, a.best_r2, a.best_null_95) == ("a-rotation-1>b-rotation-2", 0.5, 0.1)
    assert (b.family, b.n_tested, b.n_symmetric) == ("b-rotation-1", 1, 1)


def test_a_family_without_circuits_is_not_confirmed(tmp_path: Path) -> None:
    (none,) = confirm_families(make_run(tmp_path, ("a-rotation-1", "rotation")), [])
    assert (none.n_tested, none.n_symmetric, none.best_circuit) == (0, 0, "")
    assert math.isnan(none.best_r2)
    assert math.isnan(none.best_null_95)


def test_an_end_is_a_family_or_a_unit() -> None:
    unit, family = CircuitEnd(("x:3",), channel=5), CircuitEnd(("a", "b"), family="scale-1")
    assert (unit.name, unit.layer, unit.is_unit) == ("x:3:5", "x:3", True)
    assert (family.name, family.layer, family.is_unit) == ("scale-1", "a+b", False)
    for wrong in (
        {"layers": ("a",)},
        {"layers": ("a",), "family": "f", "channel": 1},
        {"layers": (), "channel": 1},
    ):
        with pytest.raises(ValueError, match="neither a family nor a unit"):
            CircuitEnd(**wrong)
