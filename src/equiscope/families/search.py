"""The search for families: propose on one half of the images, verify on the other, accept against a null.

The loop is the same for every transformation:

1. candidates are proposed from the correlations of the finding half;
2. those that are much worse than the layer's others are let go (`linkage.farthest_company`);
3. the rest must hold on the verifying half, which gives each the figure by which it is ranked;
4. what was let go or does not hold is divided where its members came together last, and its parts are tried in turn;
5. the same is done with every unit's poses scrambled, which gives the figures that chance gives;
6. a candidate is accepted if few enough of the null's figures are as high as its own (`family_q_values`);
7. of what was accepted it is said how certain poses (`certainty`) and members (`stability`) are: the first four steps
   are done again on photographs that are drawn anew.

What correlating, proposing and verifying mean depends on the space of poses: `PoseSearch` says what a space must offer,
and each has a module: `circle`, `handed`, `torus`, `pair`, `line`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from equiscope.families.certainty import with_pose_intervals
from equiscope.families.family import Family, Symmetry
from equiscope.families.layer_families import LayerFamilies, UnitPair, summarise_null
from equiscope.families.linkage import MIN_SCORE, OUTLIER_FLOOR, farthest_company
from equiscope.families.stability import with_stability
from equiscope.foundations.parallel import in_parallel
from equiscope.foundations.statistics import family_q_values
from equiscope.measurement.examples import Examples
from equiscope.measurement.resampled import draw_stimuli
from equiscope.measurement.responses import Responses

__all__ = ["N_RESAMPLES_OF_DEAR", "Accepted", "PoseSearch", "SearchOptions", "run_search"]

Ints = NDArray[np.int64]
# Resamples of the photographs from which stability is measured, and those where a search takes longest. They add 5 % to
# the time of a survey of `mini` under all transformations; ten everywhere would add 16 %.
N_RESAMPLES, N_RESAMPLES_OF_DEAR = 5, 3
# The stream of random numbers that draws photographs: that of each space, moved out of the way of its null's.
_DRAWING = 1000
# What a search on a space of poses proposes, what that becomes once it is verified, and what units are correlated by.
C = TypeVar("C")
V = TypeVar("V")
R = TypeVar("R")


@dataclass(frozen=True)
class SearchOptions:
    """What a search is asked for.

    Attributes
    ----------
    seed
        Of null draws and bootstrap.
    false_discovery_rate
        Largest accepted q-value.
    min_score
        Smallest mean correlation with the other members that makes a member.
    n_null
        Null draws; each repeats the whole search.
    """

    seed: int = 0
    false_discovery_rate: float = 0.05
    min_score: float = MIN_SCORE
    n_null: int = 20


@dataclass(frozen=True)
class Accepted(Generic[V]):
    """A candidate that stands out from the null.

    ``rank``: the figure by which it does; ``origin``: the place of the proposed candidate that it is, or is a part of.
    """

    candidate: V
    rank: float
    q_value: float
    origin: int = 0


class PoseSearch(ABC, Generic[C, V, R]):
    """A layer's responses, seen as units at poses of one kind.

    Parameters
    ----------
    responses
        Of all units to the bank, both halves.
    examples
        Of the layer; of several that are measured together, in the order in which their units stand side by side.
    options
        What is asked for.
    channels
        Units that may be in a family; None for all.
    is_measurable
        Units whose stimuli the transformation changes at all, shape (unit,); None for all.

    Attributes
    ----------
    stream
        Number of this space's stream of random numbers: nulls of different spaces share none.
    company_floor
        How far from perfect a candidate may be in any case (`farthest_company`).
    finding, verifying
        Correlations of the two halves, as they were measured.
    """

    stream: ClassVar[int]
    company_floor: ClassVar[float] = OUTLIER_FLOOR
    finding: R
    verifying: R

    def __init__(
        self,
        responses: Responses[Any],
        examples: Sequence[Examples],
        options: SearchOptions,
        channels: Ints | None = None,
        is_measurable: NDArray[np.bool_] | None = None,
    ) -> None:
        self.responses, self.examples, self.options = responses, examples, options
        self.channels = channels
        inactive = np.concatenate([own.is_inactive for own in examples])
        self.is_inactive: NDArray[np.bool_] = inactive
        self.is_unmeasurable = np.zeros(len(inactive), bool) if is_measurable is None else ~is_measurable

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that were measured."""
        return tuple(own.layer for own in self.examples)

    @property
    def first_columns(self) -> dict[str, int]:
        """For each layer the number of its first unit, counted through all layers."""
        starts = np.cumsum([0] + [own.n_units for own in self.examples])
        return dict(zip(self.layers, starts.tolist(), strict=False))

    @property
    def transformation(self) -> str:
        """Name of the transformation."""
        return str(self.responses.group.name)

    @abstractmethod
    def correlate(self, half: int, scramble: np.random.Generator) -> R:
        """Correlate the units over one half of the images with every unit's poses scrambled: the null."""

    @abstractmethod
    def correlate_drawn(self, drawn: Ints) -> R:
        """Correlate the units over some stimuli of the finding half, each as often as it was drawn."""

    @abstractmethod
    def propose(self, correlations: R) -> list[C]:
        """Propose candidates."""

    @abstractmethod
    def closeness(self, correlations: R, candidates: Sequence[C]) -> list[float]:
        """How alike the members of each candidate are at its poses, 1 for exact copies."""

    @abstractmethod
    def verify(self, correlations: R, candidates: Sequence[C]) -> list[tuple[V, float] | None]:
        """Give each candidate that holds on another half with the figure by which it is ranked; None for the others."""

    def divide(self, correlations: R, candidate: C) -> list[C]:
        """Divide a candidate that was refused, by the half that found it; nothing where it has no parts."""
        return []

    @abstractmethod
    def group_units(self, held: Sequence[V]) -> Sequence[Set[int]]:
        """Give the families that verified candidates make: sets of units, counted through all layers."""

    def count_draws(self) -> int:
        """Count the null draws that are made."""
        return self.options.n_null

    def count_resamples(self) -> int:
        """Count the resamples of the photographs from which stability is measured."""
        return N_RESAMPLES

    def confirm(self, accepted: list[Accepted[V]]) -> list[Accepted[V]]:
        """Look at what was accepted once more, where a test is too dear for the null: it can only refuse."""
        return accepted

    @abstractmethod
    def describe(self, accepted: Sequence[Accepted[V]]) -> list[Family]:
        """Make families of what was accepted, with intervals."""

    @abstractmethod
    def classify(self, families: Sequence[Family]) -> tuple[Symmetry, ...]:
        """Say of every unit what it is under the transformation."""

    def threshold(self, accepted: Sequence[Accepted[V]], families: Sequence[Family]) -> float:
        """Lowest figure that was accepted: what the null's are counted above."""
        return min((own.rank for own in accepted), default=np.inf)

    def pairs(self, accepted: Sequence[Accepted[V]]) -> tuple[UnitPair, ...]:
        """Give the accepted pairs of which families were joined; none where families are found whole."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be said of this search."""
        return ()


def run_search(
    space: PoseSearch[Any, Any, Any], on_step: Callable[[int], None] | None = None
) -> LayerFamilies:
    """Search, verify and accept the families of some units.

    Parameters
    ----------
    space
        The units at poses of their kind.
    on_step
        Called with 1 after each of ``space.count_draws() + 2`` steps.

    Returns
    -------
    LayerFamilies
        The search sees only stimuli of half 0. Scores, intervals, disagreement, coherence and q-values come from half 1
        at the poses that half 0 gave.

    Examples
    --------
    Of two units the second answers to the mirrored stimulus as the first does to the one as it is.

    >>> from dataclasses import replace
    >>> from equiscope.families.find import open_search
    >>> from equiscope.measurement.bank import Bank
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.transformations.groups import Involution
    >>> place = np.arange(80)
    >>> bank = Bank("conv1", place // 40, place, np.zeros((80, 2), int), place)
    >>> first = np.abs(np.random.default_rng(0).normal(size=(80, 2))).astype(np.float32)
    >>> responses = Responses(bank, Involution("reflection"), np.stack([first, first[:, ::-1]], axis=2))
    >>> space = open_search(responses, replace(empty_examples("conv1", 2, 2), maximum=np.ones(2)))
    >>> [(member.channel, member.is_mirrored) for member in run_search(space).families[0].members]
    [(0, False), (1, True)]
    """
    step = on_step or (lambda _: None)
    held, n_candidates = _find(space, space.finding)
    step(1)
    null = []
    for ranks in in_parallel(partial(_rank_by_chance, space), space.count_draws()):
        null.append(ranks)
        step(1)
    passing = _pass_null(space, held, null)
    accepted = space.confirm(passing)
    families = _tell_certainty(space, space.describe(accepted), space.pairs(accepted), null)
    step(1)
    return LayerFamilies(
        layers=space.layers,
        transformation=space.transformation,
        families=families,
        symmetries=space.classify(families),
        null=summarise_null(null, space.threshold(passing, families)),
        n_refused=n_candidates - len({own.origin for own in accepted}),
        notes=space.notes,
        pairs=space.pairs(accepted),
    )


@dataclass(frozen=True)
class _Held(Generic[V]):
    """What holds on the verifying half; ``origin``: the place of the proposed candidate that it is, or is a part of."""

    candidate: V
    rank: float
    origin: int


def _hold(
    space: PoseSearch[C, V, R], finding: R, verifying: R, proposed: Sequence[C], farthest: float
) -> list[_Held[V]]:
    """Keep the candidates that are close enough and hold, and such parts of those that are not or do not."""
    held: list[_Held[V]] = []
    tried = list(enumerate(proposed))
    while tried:
        candidates = [candidate for _, candidate in tried]
        closeness = space.closeness(finding, candidates) if farthest < np.inf else [1.0] * len(candidates)
        is_close = [1 - own <= farthest for own in closeness]
        verified = iter(
            space.verify(
                verifying, [own for own, is_kept in zip(candidates, is_close, strict=True) if is_kept]
            )
        )
        parts = []
        for (origin, candidate), is_kept in zip(tried, is_close, strict=True):
            found = next(verified) if is_kept else None
            if found is not None:
                held.append(_Held(*found, origin))
            else:
                parts += [(origin, part) for part in space.divide(finding, candidate)]
        tried = parts
    return held


def _find(space: PoseSearch[C, V, R], finding: R) -> tuple[list[_Held[V]], int]:
    """Find what holds on the verifying half; also how many candidates were proposed."""
    candidates = space.propose(finding)
    farthest = farthest_company(space.closeness(finding, candidates), space.company_floor)
    return _hold(space, finding, space.verifying, candidates, farthest), len(candidates)


def _tell_certainty(
    space: PoseSearch[Any, Any, Any],
    families: Sequence[Family],
    pairs: Sequence[UnitPair],
    null: Sequence[Sequence[float]],
) -> tuple[Family, ...]:
    """Say of families how certain their poses and their members are."""
    if not families:
        return ()
    told = with_pose_intervals(families, space.responses, space.first_columns, pairs)
    resamples = list(in_parallel(partial(_find_again, space, null), space.count_resamples()))
    return with_stability(told, space.first_columns, resamples)


def _find_again(
    space: PoseSearch[Any, Any, Any], null: Sequence[Sequence[float]], number: int
) -> Sequence[Set[int]]:
    """Search once more on photographs drawn anew, for what passes the same null."""
    rng = np.random.default_rng([space.options.seed, space.stream + _DRAWING, number])
    held, _ = _find(space, space.correlate_drawn(draw_stimuli(space.responses, 0, rng)))
    passing = _pass_null(space, held, null)
    return space.group_units([own.candidate for own in passing])


def _rank_by_chance(space: PoseSearch[Any, Any, Any], draw: int) -> list[float]:
    """Search once more with every unit's poses scrambled: the figures that one null draw gives."""
    finding, verifying = (
        space.correlate(half, np.random.default_rng([space.options.seed, space.stream, draw, half]))
        for half in (0, 1)
    )
    return [own.rank for own in _hold(space, finding, verifying, space.propose(finding), np.inf)]


def _pass_null(
    space: PoseSearch[Any, V, Any], held: Sequence[_Held[V]], null: Sequence[Sequence[float]]
) -> list[Accepted[V]]:
    """Keep the candidates whose q-value is low enough."""
    q_values = family_q_values([own.rank for own in held], null)
    return [
        Accepted(own.candidate, own.rank, float(q_value), own.origin)
        for own, q_value in zip(held, q_values, strict=True)
        if q_value <= space.options.false_discovery_rate
    ]
