"""Steps on all cores: in their order, the same on any number of threads, and no more of them begun than are taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Barrier, get_ident

import numpy as np
import pytest
import torch

from equiscope.families.find import find_families
from equiscope.foundations.parallel import in_parallel
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import empty_examples
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import CyclicGroup


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch use two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_steps_run_beside_each_other_and_come_in_order(two_threads: None) -> None:
    meet, threads = Barrier(2, timeout=30), set()

    def step(number: int) -> int:
        meet.wait()  # two at a time, or not at all
        threads.add(get_ident())
        assert torch.get_num_threads() == 1
        return number

    assert list(in_parallel(step, 6)) == list(range(6))
    assert len(threads) == 2
    assert torch.get_num_threads() == 2


def test_what_a_step_raises_is_raised_and_the_threads_are_given_back(two_threads: None) -> None:
    def fails(number: int) -> int:
        raise ZeroDivisionError(number)

    with pytest.raises(ZeroDivisionError):
        list(in_parallel(fails, 6))
    assert torch.get_num_threads() == 2


def test_results_that_nobody_takes_do_not_pile_up(two_threads: None) -> None:
    begun: list[int] = []
    results = in_parallel(begun.append, 100)
    next(results)
    time.sleep(0.2)
    assert len(begun) <= 10
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 10


def test_null_draws_do_not_depend_on_how_many_run_together() -> None:
    rng = np.random.default_rng(0)
    n = 80
    place = np.arange(n)
    bank = Bank("l", place // 40, place, np.zeros((n, 2), np.int64), place)
    first = np.abs(rng.normal(size=(n, 8, 3))).astype(np.float32)
    values = np.concatenate([np.roll(first, turn, axis=1) for turn in (0, 2, 5)], axis=2)
    responses = Responses(bank, CyclicGroup(8), values)
    examples = replace(empty_examples("l", 9, 2), maximum=np.ones(9))
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(find_families(responses, examples, seed=3))
    finally:
        torch.set_num_threads(before)
    assert len(found[0].families) == 3
    for one, other in zip(*(result.families for result in found), strict=True):
        assert (one.id, one.channels.tolist(), one.q_value) == (
            other.id,
            other.channels.tolist(),
            other.q_value,
        )
        assert one.stability == other.stability
        assert one.score == pytest.approx(other.score, abs=1e-6)
    assert found[0].null.families_per_draw == found[1].null.families_per_draw
