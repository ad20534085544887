"""`equiscope.compare`: find the counterparts among the families of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.evidence.compare.comparison import Comparison
from equiscope.evidence.compare.runs import compare_runs
from equiscope.families.verdict import COPIES
from equiscope.foundations.options import CompareOptions, take_options
from equiscope.foundations.received import quoted
from equiscope.models import Model
from equiscope.reports.site.files import show_evidence
from equiscope.reports.views.compare.pictures import keep_pictures
from equiscope.runs.asked import ask_run
from equiscope.runs.run import Run, as_run
from equiscope.runs.surveyed import surveyed_model
from equiscope.stimuli import ImageSet, as_images

__all__ = ["compare"]


def compare(
    run_a: Run | str | Path,
    run_b: Run | str | Path,
    model_a: Model | nn.Module | str | None = None,
    model_b: Model | nn.Module | str | None = None,
    images: ImageSet | str | Path | None = None,
    *,
    transformations: Sequence[str] | None = None,
    n_draws: int = 200,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Find which families of two runs are counterparts: alike in what they answer to the same stimuli.

    Parameters
    ----------
    run_a, run_b
        Two finished runs, or their folders; the first keeps the comparison and shows it.
    model_a, model_b
        The networks that were surveyed; by default the runs' own names for them, if those are of built-in networks.
    images
        What both are shown: the images of the surveys, or others; by default the embedded photographs.
    transformations
        Some of ``rotation``, ``hue``, ``reflection`` and ``contrast``; by default those that both runs surveyed.
    n_draws
        Null draws of each transformation.
    **options
        ``verdict`` (``copies`` and cores, ``alike`` in pose too, or ``any``), ``weights_a`` and ``weights_b`` (files of
        built-in networks), ``false_discovery_rate``, ``seed``, ``precision``, ``progress`` as for `equiscope.survey`.

    Returns
    -------
    Comparison
        Also in ``compare/NAME.json`` of the first run, NAME being the second run's folder, and in that run's report.

    Raises
    ------
    EquiscopeError
        If both are one run, a network is not the one that was surveyed, no transformation was surveyed in both runs,
        there is no such verdict, or fewer than two photographs are left to choose and to score.

    Examples
    --------
    >>> import equiscope
    >>> runs = [f"equiscope-runs/{name}" for name in ("mini", "seed-1")]
    >>> found = equiscope.compare(*runs, images="gratings", n_draws=20, verdict="any")
    >>> ("conv2d0-hue-1", "conv2d0-hue-1") in {(match.a, match.b) for match in found.matches}
    True
    """
    chosen = take_options(compare, CompareOptions, options)
    first, second = as_run(run_a), as_run(run_b)
    command = f"equiscope compare {quoted(first.folder)} {quoted(second.folder)}"
    network_a = surveyed_model(first, model_a, options.get("weights_a"), f"{command} --model-a NETWORK")
    network_b = surveyed_model(second, model_b, options.get("weights_b"), f"{command} --model-b NETWORK")
    a, b = (ask_run(own, options.get("verdict", COPIES)) for own in (first, second))
    given = a, network_a, b, network_b, as_images(images)
    found = compare_runs(*given, transformations=transformations, n_draws=n_draws, options=chosen)
    keep_pictures(first.folder, found, second.folder)
    show_evidence(first.folder, "compare")
    return found
