"""The one search: every guard of its loop has a candidate that it alone refuses, and the null sees what it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from equiscope.families.family import Family, Symmetry
from equiscope.families.find import find_families, open_search
from equiscope.families.layer_families import UnitPair
from equiscope.families.search import Accepted, PoseSearch, SearchOptions, run_search
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.bank import Bank
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import CyclicGroup, Involution
from hand_made import a_family, a_member


def examples_of(n_units: int, layer: str = "layer") -> Examples:
    found = empty_examples(layer, n_units, 2)
    return Examples(**{**vars(found), "maximum": np.ones(n_units)})


def responses_of(group: Any, n_units: int = 3) -> Responses[Any]:
    bank = Bank("layer", np.array([0, 0, 1, 1]), np.arange(4), np.zeros((4, 2), np.int64), np.arange(4))
    return Responses(bank, group, np.zeros((4, group.order, n_units), np.float32))


@dataclass(frozen=True)
class Proposal:
    """What the fake search proposes: how close its members are, the figure on either half, whether it is confirmed.

    ``parts``: what it is divided into.
    """

    name: str
    closeness: float = 0.99
    rank: float = 0.9
    is_confirmed: bool = True
    parts: tuple[Proposal, ...] = ()


GOOD = [Proposal("one"), Proposal("two", rank=0.8)]


class FakeSearch(PoseSearch[Proposal, Proposal, tuple[str, int]]):
    """Proposes what it was given; in the null what stands in ``null``, a list of figures for each draw."""

    stream = 99
    finding, verifying = ("found", 0), ("found", 1)

    def __init__(
        self, proposals: Sequence[Proposal], null: Sequence[Sequence[float]] = (), **options: Any
    ) -> None:
        options = {"n_null": 40} | options
        super().__init__(responses_of(CyclicGroup(4)), [examples_of(3)], SearchOptions(**options))
        self.proposals, self.null = proposals, null
        self.asked: list[tuple[Any, ...]] = []
        self.drawn: list[float] = []
        self.photographs: list[list[int]] = []
        self.drawn_proposals: list[Proposal] | None = None

    def correlate(self, half: int, scramble: np.random.Generator) -> tuple[str, int]:
        self.drawn.append(scramble.random())
        return ("null", half)

    def correlate_drawn(self, drawn: np.ndarray) -> tuple[str, int]:
        self.photographs.append(drawn.tolist())
        return ("drawn", len(self.photographs))

    def group_units(self, held: Sequence[Proposal]) -> list[set[int]]:
        return [{0} for _ in held]

    def propose(self, correlations: tuple[str, int]) -> list[Proposal]:
        if correlations[0] == "drawn":
            return list(self.drawn_proposals if self.drawn_proposals is not None else self.proposals)
        self.asked.append(("propose", correlations))
        if correlations[0] == "found":
            return list(self.proposals)
        draw = sum(call == ("propose", ("null", 0)) for call in self.asked) - 1
        figures = self.null[draw] if draw < len(self.null) else ()
        # Half of them are parts of what does not hold.
        parts = [Proposal("part", rank=figure) for figure in figures[1::2]]
        whole = [Proposal("null", rank=figure) for figure in figures[::2]]
        return [*whole, Proposal("whole", rank=-0.1, parts=tuple(parts))] if parts else whole

    def closeness(self, correlations: tuple[str, int], candidates: Sequence[Proposal]) -> list[float]:
        if correlations[0] != "drawn":
            self.asked.append(("closeness", correlations))
        return [own.closeness for own in candidates]

    def verify(
        self, correlations: tuple[str, int], candidates: Sequence[Proposal]
    ) -> list[tuple[Proposal, float] | None]:
        if not self.photographs:
            self.asked.append(("verify", correlations))
        return [(own, own.rank) if own.rank > 0 else None for own in candidates]

    def divide(self, correlations: tuple[str, int], candidate: Proposal) -> list[Proposal]:
        assert correlations[1] == 0 or correlations[0] == "drawn"
        return list(candidate.parts)

    def confirm(self, accepted: list[Accepted[Proposal]]) -> list[Accepted[Proposal]]:
        return [own for own in accepted if own.candidate.is_confirmed]

    def describe(self, accepted: Sequence[Accepted[Proposal]]) -> list[Family]:
        return [
            a_family(
                "rotation",
                [a_member("layer", 0, angle_deg=0.0)],
                name=own.candidate.name,
                q_value=own.q_value,
            )
            for own in accepted
        ]

    def classify(self, families: Sequence[Family]) -> tuple[Symmetry, ...]:
        return tuple(Symmetry("rotation", "equivariant", family.id) for family in families)

    def pairs(self, accepted: Sequence[Accepted[Proposal]]) -> tuple[UnitPair, ...]:
        return tuple(UnitPair(0, 1, 0.5, own.rank, 0.1) for own in accepted)

    @property
    def notes(self) -> tuple[str, ...]:
        return ("a note",)


def names(proposals: Sequence[Proposal], null: Sequence[Sequence[float]] = (), **options: Any) -> list[str]:
    return [family.id for family in run_search(FakeSearch(proposals, null, **options)).families]


@pytest.mark.parametrize(
    "impostor",
    [
        Proposal("keeps bad company", closeness=0.5),
        Proposal("does not hold on the other half", rank=-0.1),
        Proposal("is no higher than the null", rank=0.3),
        Proposal("is not confirmed", is_confirmed=False),
    ],
    ids=lambda own: own.name,
)
def test_each_guard_refuses_what_only_it_can_tell(impostor: Proposal) -> None:
    null = [[0.35], [0.4]] * 20
    assert names(GOOD, null) == ["one", "two"]
    result = run_search(FakeSearch([*GOOD, impostor], null))
    assert [family.id for family in result.families] == ["one", "two"]
    assert result.n_refused == 1


@pytest.mark.parametrize("refused", [{"closeness": 0.5}, {"rank": -0.1}], ids=["far", "does not hold"])
def test_what_is_refused_is_divided_until_its_parts_hold(refused: dict[str, float]) -> None:
    null = [[0.35], [0.4]] * 20
    part = Proposal("part", rank=0.7)
    inner = Proposal("inner", **{"parts": (part, Proposal("bad", rank=-0.1)), **refused})  # type: ignore[arg-type]
    outer = Proposal("outer", **{"parts": (inner, Proposal("far", closeness=0.5)), **refused})  # type: ignore[arg-type]
    result = run_search(FakeSearch([*GOOD, outer], null))
    assert [family.id for family in result.families] == ["one", "two", "part"]
    assert result.n_refused == 0


def test_what_holds_is_not_divided() -> None:
    assert names([*GOOD, Proposal("whole", rank=0.7, parts=(Proposal("part", rank=0.75),))]) == [
        "one",
        "two",
        "whole",
    ]


def test_parts_count_in_the_null_too() -> None:
    assert names(GOOD, [[0.1, 0.95]] * 10) == []


def test_the_null_is_of_both_halves_with_numbers_of_its_own() -> None:
    space = FakeSearch(GOOD, [[0.1]] * 3, n_null=3, seed=5)
    run_search(space)
    expected = [np.random.default_rng([5, 99, draw, half]).random() for draw in range(3) for half in (0, 1)]
    assert space.drawn == expected
    assert space.asked == [
        ("propose", ("found", 0)),
        ("closeness", ("found", 0)),
        ("closeness", ("found", 0)),
        ("verify", ("found", 1)),
        *[("propose", ("null", 0)), ("verify", ("null", 1))] * 3,
    ]


def test_the_rate_decides_how_many_false_families_a_true_one_may_bring() -> None:
    # One of 40 draws has a figure as high as the two: a fortieth of a false family for two found.
    null = [[0.95]]
    assert names(GOOD, null, false_discovery_rate=0.05) == ["one", "two"]
    assert names(GOOD, null, false_discovery_rate=0.01) == []
    assert names(GOOD, [[0.95]] * 10) == []


def test_figures_of_the_null_are_counted_above_the_lowest_that_passed() -> None:
    # Not confirmed is refused, yet the rate let it pass: the null is told by what the rate decided on.
    lowest = Proposal("three", rank=0.7, is_confirmed=False)
    result = run_search(FakeSearch([*GOOD, lowest], [[0.75]], n_null=40))
    assert [family.id for family in result.families] == ["one", "two"]
    assert (result.null.n_draws, result.null.families_per_draw) == (40, 1 / 40)
    assert result.null.families_expected == 1 / 40
    assert result.null.score_95 == 0.75
    without = run_search(FakeSearch(GOOD, [[0.75]], n_null=40))
    assert without.null.families_expected == 0


def test_what_was_accepted_is_told_with_all_that_goes_with_it() -> None:
    result = run_search(FakeSearch(GOOD))
    assert (result.layers, result.layer, result.transformation) == (("layer",), "layer", "rotation")
    assert result.notes == ("a note",)
    assert [pair.score for pair in result.pairs] == [0.9, 0.8]
    assert [line.family for line in result.symmetries] == ["one", "two"]
    assert [family.q_value for family in result.families] == [1 / 80] * 2


def test_a_search_without_candidates_finds_nothing_and_one_without_draws_knows_nothing() -> None:
    empty = run_search(FakeSearch([]))
    assert (empty.families, empty.n_refused) == ((), 0)
    with pytest.raises(EquiscopeError, match="no null draw was made"):
        run_search(FakeSearch(GOOD, n_null=0))


@pytest.mark.parametrize(
    "impostor",
    [
        Proposal("keeps bad company", closeness=0.5),
        Proposal("does not hold on the other half", rank=-0.1),
        Proposal("is no higher than the null", rank=0.3),
    ],
    ids=lambda own: own.name,
)
def test_what_is_found_again_passes_every_guard_again(impostor: Proposal) -> None:
    space = FakeSearch(GOOD, [[0.35], [0.4]] * 20)
    space.group_units = lambda held: [{0} if own in (GOOD[0], impostor) else {7} for own in held]  # type: ignore[method-assign]
    space.drawn_proposals = [GOOD[1], Proposal("another", rank=0.8), impostor]
    assert [family.stability for family in run_search(space).families] == [0.0, 0.0]
    space.drawn_proposals = [*GOOD, impostor]
    assert [family.stability for family in run_search(space).families] == [1.0, 1.0]


def test_photographs_are_drawn_from_the_finding_half_alone_and_anew_each_time() -> None:
    space = FakeSearch(GOOD)
    run_search(space)
    assert len(space.photographs) == space.count_resamples() == 5
    assert {len(drawn) for drawn in space.photographs} == {2}
    assert {stimulus for drawn in space.photographs for stimulus in drawn} == {0, 1}
    assert len({tuple(drawn) for drawn in space.photographs}) > 1


def test_where_nothing_was_accepted_nothing_is_resampled() -> None:
    space = FakeSearch([])
    run_search(space)
    assert space.photographs == []


def test_every_step_is_told() -> None:
    told: list[int] = []
    space = FakeSearch(GOOD, n_null=7)
    run_search(space, told.append)
    assert told == [1] * (space.count_draws() + 2) == [1] * 9


def test_without_more_to_say_a_space_confirms_all_and_has_no_pairs() -> None:
    accepted: list[Any] = [Accepted("one", 0.9, 0.01), Accepted("two", 0.4, 0.02)]
    space = FakeSearch(GOOD)
    assert super(FakeSearch, space).confirm(accepted) == accepted
    assert super(FakeSearch, space).pairs(accepted) == ()
    assert super(FakeSearch, space).threshold(accepted, []) == 0.4
    assert super(FakeSearch, space).threshold([], []) == np.inf


def test_units_are_counted_through_all_layers() -> None:
    examples = [examples_of(2, "a"), examples_of(1, "b")]
    silent = Examples(**{**vars(examples[1]), "maximum": np.zeros(1)})
    space = open_search(responses_of(CyclicGroup(8)), examples_of(3))
    assert (space.layers, space.is_inactive.tolist(), space.is_unmeasurable.tolist()) == (
        ("layer",),
        [False] * 3,
        [False] * 3,
    )
    several, is_measurable = FakeSearch(GOOD), np.array([True, False, True])
    responses = responses_of(CyclicGroup(4))
    PoseSearch.__init__(several, responses, [examples[0], silent], SearchOptions(), None, is_measurable)
    assert several.layers == ("a", "b")
    assert several.is_inactive.tolist() == [False, False, True]
    assert several.is_unmeasurable.tolist() == [False, True, False]


@pytest.mark.parametrize("group", [CyclicGroup(8, "size"), Involution("inversion")])
def test_responses_under_a_transformation_that_is_not_known_are_refused(group: Any) -> None:
    with pytest.raises(EquiscopeError, match=f"unknown transformation '{group.name}'"):
        find_families(responses_of(group), examples_of(3))


def test_families_that_join_others_cannot_be_searched() -> None:
    with pytest.raises(
        EquiscopeError,
        match="families under rotation-scale cannot be searched: their poses live on a Cylinder",
    ):
        find_families(responses_of(CyclicGroup(8, "rotation-scale")), examples_of(3))


def test_options_that_are_not_there_are_refused() -> None:
    with pytest.raises(TypeError, match="n_draws"):
        find_families(responses_of(CyclicGroup(8)), examples_of(3), n_draws=3)
