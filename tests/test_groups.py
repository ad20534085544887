"""The finite groups satisfy their axioms, and their cosets are what the poses of families live in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations.groups import (
    CyclicGroup,
    DihedralGroup,
    Group,
    Involution,
    Segment,
    TorusGroup,
)

ORDERS = st.integers(1, 40)


@st.composite
def groups_with_three_elements(draw: st.DrawFn) -> tuple[CyclicGroup, int, int, int]:
    group = CyclicGroup(draw(ORDERS))
    element = st.integers(0, group.order - 1)
    return group, draw(element), draw(element), draw(element)


@st.composite
def groups_with_subgroups(draw: st.DrawFn) -> tuple[CyclicGroup, int]:
    stabiliser_order, index = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    return CyclicGroup(stabiliser_order * index), stabiliser_order


@settings(deadline=None)
@given(groups_with_three_elements())
def test_axioms(drawn: tuple[CyclicGroup, int, int, int]) -> None:
    group, f, g, h = drawn
    assert group.compose(g, h) in set(group.elements.tolist())
    assert group.compose(f, group.compose(g, h)) == group.compose(group.compose(f, g), h)
    assert group.compose(0, g) == g == group.compose(g, 0)
    assert group.compose(g, group.inverse(g)) == 0 == group.compose(group.inverse(g), g)
    assert 0 <= group.inverse(g) < group.order


@settings(deadline=None)
@given(groups_with_three_elements())
def test_composing_adds_angles(drawn: tuple[CyclicGroup, int, int, int]) -> None:
    group, _, g, h = drawn
    turn = np.exp(1j * np.radians(group.angles_deg))
    assert abs(turn[group.compose(g, h)] - turn[g] * turn[h]) < 1e-12


def test_angles_are_even_steps_from_zero() -> None:
    assert CyclicGroup(8).angles_deg.tolist() == [0, 45, 90, 135, 180, 225, 270, 315]
    assert CyclicGroup(1).angles_deg.tolist() == [0]
    assert CyclicGroup(7).angles_deg[-1] == pytest.approx(360 * 6 / 7)


@settings(deadline=None)
@given(groups_with_subgroups())
def test_subgroup_is_closed_and_has_its_order(drawn: tuple[CyclicGroup, int]) -> None:
    group, order = drawn
    subgroup = set(group.subgroup(order).tolist())
    assert len(subgroup) == order
    assert 0 in subgroup
    assert {group.compose(g, group.inverse(h)) for g in subgroup for h in subgroup} == subgroup


@settings(deadline=None)
@given(groups_with_subgroups())
def test_cosets_partition_the_group(drawn: tuple[CyclicGroup, int]) -> None:
    group, order = drawn
    cosets = {group.coset(int(g), order) for g in group.elements}
    assert len(cosets) == group.order // order
    assert {len(coset) for coset in cosets} == {order}
    assert set().union(*cosets) == set(group.elements.tolist())
    assert all(int(g) in group.coset(int(g), order) for g in group.elements)


@pytest.mark.parametrize("order", [0, -2, 3, 5, 32])
def test_a_subgroup_whose_order_does_not_divide_is_refused(order: int) -> None:
    with pytest.raises(EquiscopeError, match=rf"C16 has no subgroup of order {order}.*divide 16"):
        CyclicGroup(16).subgroup(order)
    with pytest.raises(EquiscopeError, match="no subgroup"):
        CyclicGroup(16).coset(1, order)


@pytest.mark.parametrize("order", [0, -1])
def test_a_group_without_elements_is_refused(order: int) -> None:
    with pytest.raises(EquiscopeError, match=f"at least one element, got order {order}"):
        CyclicGroup(order)


@st.composite
def other_groups_with_three_elements(draw: st.DrawFn) -> tuple[Group, int, int, int]:
    n = draw(st.integers(1, 12))
    group: Group = draw(
        st.sampled_from([Involution("reflection"), DihedralGroup(n), TorusGroup(draw(st.integers(1, 6)), n)])
    )
    element = st.integers(0, group.order - 1)
    return group, draw(element), draw(element), draw(element)


@settings(deadline=None)
@given(other_groups_with_three_elements())
def test_axioms_of_the_other_groups(drawn: tuple[Group, int, int, int]) -> None:
    group, f, g, h = drawn
    assert group.compose(g, h) in range(group.order)
    assert group.compose(f, group.compose(g, h)) == group.compose(group.compose(f, g), h)
    assert group.compose(0, g) == g == group.compose(g, 0)
    assert group.compose(g, group.inverse(g)) == 0 == group.compose(group.inverse(g), g)


def test_dihedral_groups_act_as_matrices_do() -> None:
    group = DihedralGroup(6)
    mirror = np.diag([-1.0, 1.0])

    def matrix(g: int) -> np.ndarray:
        s, k = divmod(g, 6)
        angle = np.radians(60 * k)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.linalg.matrix_power(mirror, s) @ turn

    for g in range(12):
        for h in range(12):
            assert np.allclose(matrix(group.compose(g, h)), matrix(g) @ matrix(h))
    assert group.compose(1, 6) != group.compose(6, 1)


def test_scales_are_even_steps_that_do_not_wrap() -> None:
    scales = Segment.between(-1.0, 1.5, 0.25)
    assert scales.order == 11
    assert scales.values[0] == -1.0
    assert scales.values[-1] == 1.5
    assert scales.step == 0.25
    assert not hasattr(scales, "compose")


@pytest.mark.parametrize("values", [(0.0,), (0.0, 0.5, 0.6), (1.0, 0.5)])
def test_uneven_scales_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(EquiscopeError, match="equally spaced and rising"):
        Segment(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CyclicGroup(0), "a cyclic group has at least one element, got order 0"),
        (lambda: DihedralGroup(0), "a dihedral group has at least one rotation, got 0"),
    ],
)
def test_groups_that_do_not_exist_are_refused(make: Callable[[], Group], message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        make()
