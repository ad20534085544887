"""Which blocks are tied first, what that saves, and what other methods keep: figures by hand, no network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from equiscope.construction.simplify.baselines import low_rank, prune
from equiscope.construction.simplify.plans import _in_order, _removed, _take
from equiscope.construction.simplify.templates import Block
from equiscope.construction.simplify.tying import Ties, summarise
from equiscope.construction.simplify.wiring import Wire


def make_block(error: float, n_weights: int, n_free: int, n_rows: int = 0) -> Block:
    rows, columns = np.arange(n_rows), np.arange(2)
    return Block("a", "b", rows, columns, n_weights, n_free, n_rows > 0, error, 8.0)


def test_what_costs_least_for_each_parameter_is_tied_first() -> None:
    dear, cheap = make_block(0.5, 10, 9), make_block(1.0, 20, 10)
    assert _in_order([("x", dear), ("x", cheap)]) == [("x", cheap), ("x", dear)]


def test_rows_that_share_templates_keep_one_factor_each() -> None:
    first, second = make_block(0.0, 20, 5, 4), make_block(0.0, 12, 4, 4)
    # The same four rows.
    assert _removed([("x", first), ("x", second)]) == 15 + 8 - 4
    assert _removed([("x", first), ("y", second)]) == 15 + 8 - 8
    assert _removed([("x", make_block(0.0, 20, 5))]) == 15


def test_no_more_blocks_are_tied_than_are_needed() -> None:
    order = [("x", make_block(float(i), 15, 5)) for i in range(4)]
    assert [len(_take(order, n)) for n in (0, 1, 10, 11, 20, 40, 99)] == [0, 1, 1, 2, 2, 4, 4]


def test_what_templates_explain_is_the_share_that_is_not_lost() -> None:
    wire, weights = Wire("x", "a", "b", np.arange(2), np.arange(2)), {"x": np.ones((2, 2, 3, 3))}
    block = make_block(2.0, 36, 9)
    tied = Ties(weights, weights, {"x": np.ones((2, 2))}, [("x", block), ("y", make_block(8.0, 36, 9))])
    wrong = Ties(weights, weights, {}, [("x", dataclasses.replace(block, error=6.0))])
    found = summarise(wire, tied, wrong)
    assert (found.explained, found.explained_wrong) == (0.75, 0.25)


def test_pruning_weighs_squares_of_weights() -> None:
    weights = {"x": np.array([2.0, 4.0]).reshape(1, 2, 1, 1)}
    pruned, n = prune(weights, {"x": np.array([[3.0, 1.0]])}, 1)
    assert (pruned["x"].ravel().tolist(), n) == ([0.0, 4.0], 1)


def test_low_rank_gives_weights_back_whatever_their_importance() -> None:
    rng = np.random.default_rng(0)
    weights = {"x": np.outer(rng.normal(size=6), rng.normal(size=8)).reshape(6, 8, 1, 1)}
    importance = {"x": np.outer(rng.uniform(1, 9, 6), rng.uniform(1, 9, 8))}
    found, n = low_rank(weights, importance, 6 + 8)
    assert n == 14
    assert found["x"] == pytest.approx(weights["x"])
