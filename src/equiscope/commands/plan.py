"""`equiscope.plan`: say what a survey will do and take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.foundations.devices import keep_large_buffers
from equiscope.foundations.options import PlanOptions, take_options
from equiscope.models import Model, as_model
from equiscope.stimuli import ImageSet, as_images
from equiscope.surveys.asked import ask_survey
from equiscope.surveys.plan import Plan
from equiscope.surveys.planning import plan_asked

__all__ = ["plan"]


def plan(
    model: Model | nn.Module | str = "mini",
    images: ImageSet | str | Path | None = None,
    layers: Sequence[str] | None = None,
    *,
    transformations: Sequence[str] | None = None,
    angles: int | None = None,
    examples_per_unit: int | None = None,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Say what a survey will do, and what time, memory and disk it will take, without doing it.

    Parameters
    ----------
    model, images, layers, transformations, angles, examples_per_unit
        As for `equiscope.survey`.
    **options
        ``weights``, ``device``, ``precision``, ``seed``, ``quick`` and ``progress``, as for `equiscope.survey`.

    Returns
    -------
    Plan
        Stage by stage (`stages`), in whole (`seconds`, `memory_bytes`, `disk_bytes`), and what would make it shorter
        (`savings`). Nothing is written.

    Raises
    ------
    EquiscopeError
        If a survey would refuse what was given.

    Examples
    --------
    >>> found = plan("mini", layers=["conv2d0"], transformations=["rotation"])
    >>> [(own.layer, own.n_stimuli, own.n_elements) for own in found.stages]
    [('conv2d0', 384, 16)]
    """
    chosen = take_options(plan, PlanOptions, options)
    network, shown = as_model(model, options.get("weights")), as_images(images)
    keep_large_buffers()
    start = time.perf_counter()
    asked = ask_survey(network, shown, layers, transformations, angles, examples_per_unit, chosen)
    once = {"checks": time.perf_counter() - start}
    with chosen.progress("measuring what passes take", 1) as on_step:
        found = plan_asked(network, asked, once)
        on_step(1)
    return found
