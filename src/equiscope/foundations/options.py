"""Options that travel: seed, rates, device, precision, progress, given to a command and handed on as one object.

A public function takes them as ``**options: Unpack[NullOptions]``: the typed dictionary says to editors and type
checkers which of them it takes, `take_options` refuses others in words, and `Options` holds defaults and limits.

Examples
--------
>>> def circuits(run, **options): ...
>>> take_options(circuits, NullOptions, {"seed": 3}).seed
3
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from equiscope.foundations import limits
from equiscope.foundations.errors import unknown_name
from equiscope.foundations.progress import Progress, silent

__all__ = [
    "DEFAULTS",
    "BudgetOptions",
    "CompareOptions",
    "NetworkOptions",
    "NullOptions",
    "Options",
    "PlanOptions",
    "ProgressOptions",
    "SeedOptions",
    "SimplifyOptions",
    "SurveyOptions",
    "TrainOptions",
    "VerifyOptions",
    "take_options",
    "untold",
]


def untold(_plan: str) -> None:
    """Tell nobody.

    Examples
    --------
    >>> untold("3 layers")
    """


@dataclass(frozen=True)
class Options:
    """What one call was given of the options that travel, checked.

    Parameters
    ----------
    seed
        Of everything random: halves, nulls, bootstrap, noise.
    false_discovery_rate
        Largest q-value that is accepted, above 0 and below 1.
    min_score
        Smallest mean correlation with the other members that makes a member; None takes the search's own.
    n_null
        Draws of a survey's null for each layer.
    device
        ``auto`` takes the GPU if there is one.
    precision
        ``float32``, ``bfloat16``, or ``auto``: ``bfloat16`` where the processor computes in it.
    n_workers
        Threads that prepare images ahead of a training.
    use_graphs
        Whether a training on one GPU records its passes as CUDA graphs.
    command
        What is recorded as the command that was given.
    quick
        Whether a survey is a look: less of everything, in a few minutes.
    on_plan
        Called before the work begins with a sentence that says how much will be done, and with one that says how long
        it will take as soon as that can be said.
    progress
        Called at the start of each stage with its name and the number of its steps; opens what counts them.

    Raises
    ------
    EquiscopeError
        If a number is outside its limit. ``device`` and ``precision`` are looked at where torch is there.
    """

    seed: int = 0
    false_discovery_rate: float = 0.05
    min_score: float | None = None
    n_null: int = 20
    device: str = "auto"
    precision: str = "auto"
    n_workers: int = 1
    use_graphs: bool = True
    command: str = ""
    quick: bool = False
    on_plan: Callable[[str], object] = untold
    progress: Progress = silent

    def __post_init__(self) -> None:
        for name, limit in _LIMITS.items():
            # Plain numbers, also where numpy's were given: they are written down.
            object.__setattr__(self, name, limit.check(name, getattr(self, name)))
        if self.min_score is not None:
            object.__setattr__(self, "min_score", limits.MIN_SCORE.check("min_score", self.min_score))


_LIMITS: Mapping[str, limits.Count | limits.Number] = {
    "seed": limits.SEED,
    "false_discovery_rate": limits.FALSE_DISCOVERY_RATE,
    "n_null": limits.NULL_DRAWS,
    "n_workers": limits.THREADS,
}

DEFAULTS = Options()


class ProgressOptions(TypedDict, total=False):
    """Of what takes a while."""

    progress: Progress


class NetworkOptions(ProgressOptions, total=False):
    """Of what a network is named for: ``weights`` is the file of weights of a built-in one."""

    weights: str | Path | None


class BudgetOptions(TypedDict, total=False):
    """Of budget, which takes no time to speak of."""

    weights: str | Path | None
    seed: int


class SeedOptions(NetworkOptions, total=False):
    """Of what draws at random."""

    seed: int


class NullOptions(SeedOptions, total=False):
    """Of what accepts against a null."""

    false_discovery_rate: float


class VerifyOptions(NetworkOptions, total=False):
    """Of verify."""

    precision: str
    on_plan: Callable[[str], object]


class CompareOptions(ProgressOptions, total=False):
    """Of compare, which has two networks."""

    seed: int
    false_discovery_rate: float
    precision: str
    verdict: str
    weights_a: str | Path | None
    weights_b: str | Path | None


class PlanOptions(SeedOptions, total=False):
    """Of plan: those options of survey that change what it takes."""

    device: str
    precision: str
    quick: bool


class SurveyOptions(NullOptions, total=False):
    """Of survey."""

    min_score: float
    n_null: int
    device: str
    precision: str
    command: str
    quick: bool
    on_plan: Callable[[str], object]


class TrainOptions(ProgressOptions, total=False):
    """Of train."""

    seed: int
    device: str
    precision: str
    n_workers: int
    use_graphs: bool
    command: str


class SimplifyOptions(SeedOptions, total=False):
    """Of simplify: which labels the images have, how the network sees them, and how finely the curve is drawn."""

    verdict: str
    labels: str | Path | None
    label_column: str
    classes: str | Path | None
    crop_px: int | None
    side_px: int | None
    n_images: int | None
    n_calibration: int
    n_points: int
    methods: str | list[str] | tuple[str, ...] | None
    precision: str


def take_options(function: Callable[..., Any], kind: type, given: Mapping[str, Any]) -> Options:
    """Check what a public function was given as options, and put what travels into one object.

    Parameters
    ----------
    function
        The function, whose own parameters are among the nearest names.
    kind
        The typed dictionary of the options that it takes.
    given
        The options.

    Raises
    ------
    EquiscopeError
        If it takes no option of such a name, or a number is outside its limit.

    Examples
    --------
    >>> def budget(run, **options): ...
    >>> take_options(budget, SeedOptions, {"sed": 1})
    Traceback (most recent call last):
    ...
    equiscope.foundations.errors.EquiscopeError: unknown option of budget 'sed': did you mean 'seed'?
    """
    own = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    for name in given:
        if name not in kind.__annotations__:
            raise unknown_name(f"option of {function.__name__}", name, [*own, *kind.__annotations__])
    travelling = {part.name for part in fields(Options)} & kind.__annotations__.keys()
    return Options(**{name: value for name, value in given.items() if name in travelling})
