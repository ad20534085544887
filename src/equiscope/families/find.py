"""Find the families of a layer under the transformation that its responses were measured under."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.families.circle import CircleSearch
from equiscope.families.handed import HandedSearch
from equiscope.families.layer_families import LayerFamilies
from equiscope.families.line import LineSearch
from equiscope.families.pair import PairSearch
from equiscope.families.search import PoseSearch, SearchOptions, run_search
from equiscope.families.torus import TorusSearch
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Responses
from equiscope.transformations import find
from equiscope.transformations.spaces import Circle, HandedCircle, Line, Pair, Torus

__all__ = ["find_families", "open_search"]

# The search on each space of poses.
_SEARCHES: dict[type, type[PoseSearch[Any, Any, Any]]] = {
    Circle: CircleSearch,
    HandedCircle: HandedSearch,
    Torus: TorusSearch,
    Pair: PairSearch,
    Line: LineSearch,
}


def open_search(
    responses: Responses[Any],
    examples: Examples | Sequence[Examples],
    options: SearchOptions | None = None,
    *,
    channels: NDArray[np.int64] | None = None,
    is_measurable: NDArray[np.bool_] | None = None,
) -> PoseSearch[Any, Any, Any]:
    """Correlate a layer's units as the poses of its transformation ask for: what `run_search` searches.

    Parameters are those of `find_families`.

    Raises
    ------
    EquiscopeError
        If poses of that kind cannot be searched.

    Examples
    --------
    >>> from equiscope.measurement.bank import Bank
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> place = np.arange(8)
    >>> bank = Bank("conv1", place // 4, place, np.zeros((8, 2), int), place)
    >>> values = np.random.default_rng(0).random((8, 4, 3)).astype(np.float32)
    >>> search = open_search(Responses(bank, CyclicGroup(4), values), empty_examples("conv1", 3, 2))
    >>> type(search).__name__, search.layers
    ('CircleSearch', ('conv1',))
    """
    transformation = find(responses.group.name)
    search = _SEARCHES.get(type(transformation.space))
    if search is None:
        raise EquiscopeError(
            f"families under {transformation.name} cannot be searched: their poses live on a "
            f"{type(transformation.space).__name__}, expected one of {', '.join(k.__name__ for k in _SEARCHES)}"
        )
    several = [examples] if isinstance(examples, Examples) else list(examples)
    return search(responses, several, options or SearchOptions(), channels, is_measurable)


def find_families(
    responses: Responses[Any],
    examples: Examples | Sequence[Examples],
    *,
    channels: NDArray[np.int64] | None = None,
    is_measurable: NDArray[np.bool_] | None = None,
    on_step: Callable[[int], None] | None = None,
    **options: Any,
) -> LayerFamilies:
    """Find, verify and accept the families of one layer, or of several that were measured together.

    Parameters
    ----------
    responses
        Responses of all units to the bank under every element of a transformation, both halves.
    examples
        Moments of the units; units that never fired take no part. Of several layers in the order in which their units
        stand side by side.
    channels
        Units that may be in a family, for hue × rotation those that vary with both; None for all.
    is_measurable
        Units whose stimuli the transformation changes at all, shape (unit,); None for all.
    on_step
        Called with 1 after each step: one for the candidates, one a null draw, one for what is accepted.
    options
        Fields of `SearchOptions`: ``seed``, ``false_discovery_rate``, ``min_score``, ``n_null``.

    Returns
    -------
    LayerFamilies
        See `equiscope.families.search` for what is done, and the module of the space for what its candidates must pass.

    Raises
    ------
    EquiscopeError
        If the responses are of no transformation that is known, or of one that is not searched.

    Examples
    --------
    Three units answer alike, to stimuli that are turned by 0, 100 and 200 degrees.

    >>> from dataclasses import replace
    >>> from equiscope.measurement.bank import Bank
    >>> from equiscope.measurement.examples import empty_examples
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> place, group = np.arange(80), CyclicGroup(8)
    >>> bank = Bank("conv1", place // 40, place, np.zeros((80, 2), int), place)
    >>> angles_deg = np.random.default_rng(0).uniform(0, 360, 80) + bank.starts_deg(group)[0]
    >>> turned_deg = angles_deg[:, None, None] + group.angles_deg[:, None] - [0.0, 100.0, 200.0]
    >>> values = np.exp(2 * np.cos(np.radians(turned_deg))).astype(np.float32)
    >>> examples = replace(empty_examples("conv1", 3, 2), maximum=values.max((0, 1)))
    >>> find_families(Responses(bank, group, values), examples, n_null=20).families[0].poses_deg.round().tolist()
    [0.0, 100.0, 200.0]
    """
    space = open_search(
        responses, examples, SearchOptions(**options), channels=channels, is_measurable=is_measurable
    )
    return run_search(space, on_step)
