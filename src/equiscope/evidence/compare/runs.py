"""Two runs side by side: which families of one network have a counterpart in the other.

Both networks are shown the same stimuli, centred on the same points of the same images, under the same elements; their
layers, strides, receptive fields and preprocessing may differ. What is matched is responses, never weights or names.

Cost: one forward pass of each network a stimulus and element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch

from equiscope.evidence.compare.comparison import (
    ComparedFamily,
    ComparedRun,
    ComparedTransformation,
    Comparison,
    Match,
    comparison_name,
    count_by_layers,
    save_comparison,
)
from equiscope.evidence.compare.counterparts import Counterpart, find_counterparts
from equiscope.evidence.compare.outcomes import describe_families
from equiscope.evidence.compare.sides import Side, choose_shared_stimuli, measure_side, open_side
from equiscope.families.family import Family
from equiscope.families.layer_families import NullSummary
from equiscope.foundations.devices import choose_precision
from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.limits import DRAWS, list_names
from equiscope.foundations.options import DEFAULTS, Options
from equiscope.models import Model
from equiscope.runs.run import Run, check_network
from equiscope.stimuli import ImageSet
from equiscope.transformations import ALL, find
from equiscope.transformations.groups import CyclicGroup, Involution

__all__ = ["COMPARED", "compare_runs"]

# Transformations under which poses of two families can be brought onto each other by one offset.
COMPARED = tuple(own.name for own in ALL if own.is_surveyed and own.space.has_one_offset)


@dataclass(frozen=True)
class _Settings:
    """What both networks are shown, and how strictly pairs are judged."""

    images: ImageSet
    n_draws: int
    precision: torch.dtype
    options: Options


def compare_runs(
    run_a: Run,
    model_a: Model,
    run_b: Run,
    model_b: Model,
    images: ImageSet,
    *,
    transformations: Sequence[str] | None = None,
    n_draws: int = 200,
    options: Options = DEFAULTS,
) -> Comparison:
    """Find which families of two runs are counterparts, and write that into the first run's folder.

    Parameters
    ----------
    run_a, model_a, run_b, model_b
        Two finished runs, and the networks that were surveyed.
    images
        What both are shown: the images of the surveys, or others.
    transformations
        Some of `COMPARED`; by default those that both runs surveyed.
    n_draws
        Draws of either null.
    options
        ``seed`` of the draws, of the halves of the photographs and of the bootstrap; ``false_discovery_rate``, the
        largest q-value of a counterpart, and of a pair that is alike; ``precision`` and ``progress``.

    Returns
    -------
    Comparison
        Also written to ``compare/NAME.json`` of the first run.

    Raises
    ------
    EquiscopeError
        If both are one run, a network is not the one that was surveyed, or too little is left in common to compare.

    Examples
    --------
    >>> from equiscope import load_run, open_images
    >>> from equiscope.models import load_model
    >>> model, runs = load_model("mini"), [load_run(f"equiscope-runs/{name}") for name in ("mini", "seed-1")]
    >>> own = runs[0], model, runs[1], model, open_images("gratings")
    >>> found = compare_runs(*own, transformations=["rotation"], n_draws=20)
    >>> [match.is_alike for match in found.matches if match.a == match.b == "conv2d0-rotation-1"]
    [True]
    """
    n_draws = DRAWS.check("n_draws", n_draws)
    _check_two(run_a, model_a, run_b, model_b)
    settings = _Settings(images, n_draws, choose_precision(options.precision, model_a.device), options)
    names = _common_transformations(run_a, run_b, list_names(transformations))
    notes: list[str] = []
    side_a = open_side(run_a, model_a, images, names, notes, options.progress)
    side_b = open_side(run_b, model_b, images, names, notes, options.progress)
    results = [_compare_one(side_a, side_b, name, settings) for name in names]
    comparison = _sum_up(side_a, side_b, results, notes, settings)
    save_comparison(run_a.folder, comparison)
    return comparison


_Result = tuple[ComparedTransformation, list[Match], list[ComparedFamily]]


def _sum_up(
    a: Side, b: Side, results: Sequence[_Result], notes: Sequence[str], settings: _Settings
) -> Comparison:
    """Put together what was found under each transformation."""
    matches = tuple(match for _, own, _ in results for match in own)
    families = tuple(family for *_, own in results for family in own)
    options = settings.options
    return Comparison(
        comparison_name(b.run.folder), _label(a), _label(b), settings.images.name, options.false_discovery_rate,
        settings.n_draws, options.seed, tuple(entry for entry, *_ in results), matches, families,
        count_by_layers(matches, families), tuple(notes),
    )  # fmt: skip


def _check_two(run_a: Run, model_a: Model, run_b: Run, model_b: Model) -> None:
    if run_a.folder.resolve() == run_b.folder.resolve():
        raise EquiscopeError(
            f"{run_a.folder} was given twice: every family would find itself; give the folders of two runs"
        )
    check_network(run_a, model_a)
    check_network(run_b, model_b)


def _label(side: Side) -> ComparedRun:
    run, model = side.run, side.run.manifest["model"]
    name = comparison_name(run.folder)
    return ComparedRun(name, model["name"], model["weights_sha256"], side.has_these_images, run.verdict)


def _common_transformations(run_a: Run, run_b: Run, asked: Sequence[str] | None) -> list[str]:
    """Choose the transformations that are asked for and that both runs surveyed."""
    surveyed = [run.manifest["settings"]["transformations"] for run in (run_a, run_b)]
    for name in asked or ():
        if name not in COMPARED:
            raise unknown_name("transformation to compare", name, COMPARED)
    names = [
        name for name in COMPARED if name in (asked or COMPARED) and all(name in own for own in surveyed)
    ]
    if not names:
        wanted = f"of {', '.join(asked or COMPARED)} "
        raise EquiscopeError(
            f"none {wanted}was surveyed in both runs: {run_a.folder} has {', '.join(surveyed[0])}, {run_b.folder} has "
            f"{', '.join(surveyed[1])}; survey one of them again with the other's transformations"
        )
    return names


def _compare_one(a: Side, b: Side, name: str, settings: _Settings) -> _Result:
    """Compare the families of both runs under one transformation."""
    images, options = settings.images, settings.options
    group = _group(a.run, b.run, name)
    families = (a.families(name), b.families(name))
    nothing = NullSummary(0, 0.0, 0.0, nan)
    if not families[0] or not families[1]:
        lacking = " and ".join(side.model.name for side, own in zip((a, b), families, strict=True) if not own)
        note = f"{lacking} has no {name} family to compare"
        entry = ComparedTransformation(name, group.order, 0, 0, nothing, nothing, note)
        return entry, [], describe_families(families, None, {}, name, note)
    bank = choose_shared_stimuli((a, b), images, name)
    n_photographs = len(np.unique(bank.photograph))
    if n_photographs < 2:
        raise EquiscopeError(
            f"{n_photographs} photograph(s) of {images.name} with stimuli for {name} took no part in finding families "
            "in either run: one half must choose and the other score; give more images, or survey both with one seed"
        )
    first, second = (
        measure_side(side, own, images, bank, group, name, settings.precision, options.progress)
        for side, own in zip((a, b), families, strict=True)
    )
    rate = options.false_discovery_rate
    with options.progress(f"{name}: matching families", 1) as on_step:
        found = find_counterparts(
            first, second, group, bank.photograph,
            n_draws=settings.n_draws, seed=options.seed, false_discovery_rate=rate,
        )  # fmt: skip
        on_step(1)
    matches = [
        _match(name, families[0][pair.a], families[1][pair.b], pair, group, rate) for pair in found.pairs
    ]
    # The highest score of each family stands: a feature that several layers pass on has a counterpart in each.
    partners = {(run, getattr(m, run)): m for run in "ab" for m in reversed(matches)}
    entry = ComparedTransformation(name, group.order, len(bank), n_photographs, found.null, found.pose_null)
    return entry, matches, describe_families(families, found, partners, name, "")


def _match(
    name: str, a: Family, b: Family, pair: Counterpart, group: CyclicGroup | Involution, rate: float
) -> Match:
    """Give a pair its names, and its offset in degrees."""
    unit = 360.0 / group.order if isinstance(group, CyclicGroup) else 1.0
    return Match(
        name, a.id, b.id, pair.q_value <= rate, pair.pose_q_value <= rate,
        pair.score, pair.score_low, pair.score_high, pair.q_value, pair.pose_q_value,
        pair.offset * unit, pair.offset_difference * unit,
    )  # fmt: skip


def _group(run_a: Run, run_b: Run, name: str) -> CyclicGroup | Involution:
    """Elements that both networks are shown: as many angles as the finer of the two surveys had."""
    group = find(name).group(max(run.manifest["settings"]["angles"] for run in (run_a, run_b)))
    if not isinstance(group, CyclicGroup | Involution):
        raise EquiscopeError(
            f"families under {name} cannot be compared: no one offset brings their poses together"
        )
    return group
