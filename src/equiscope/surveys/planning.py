"""Measure and predict: what a survey that is asked for would take, without doing it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from math import nan

from equiscope.measurement.fidelity import settle_geometries
from equiscope.models import Model
from equiscope.surveys.asked import Asked, bare_stage
from equiscope.surveys.plan import Plan, predict
from equiscope.surveys.rates import measure_rates
from equiscope.surveys.stages import Stage

__all__ = ["plan_asked", "plan_stage"]


def plan_asked(model: Model, asked: Asked, once: Mapping[str, float]) -> Plan:
    """Plan a survey that is asked for.

    Parameters
    ----------
    model
        The network.
    asked
        What is asked for.
    once
        Seconds of what was done already, and will be done again by the survey, by its name.

    Examples
    --------
    >>> from equiscope.foundations.options import DEFAULTS
    >>> from equiscope.models import load_model
    >>> from equiscope.stimuli import open_images
    >>> from equiscope.surveys.asked import ask_survey
    >>> model = load_model("mini")
    >>> asked = ask_survey(model, open_images(), ["conv2d0"], ["hue"], None, None, DEFAULTS)
    >>> plan = plan_asked(model, asked, {})
    >>> plan.n_passes, plan.seconds > 1
    (3072, True)
    """
    home = model.device
    try:
        model.module.to(asked.device)
        with model.evaluating():
            start = time.perf_counter()
            settled = settle_geometries(model, asked.images, asked.settings["layers"])
            fields_s = time.perf_counter() - start
            stage = bare_stage(
                model,
                asked.images,
                settled.geometries,
                asked.settings,
                whole_px=settled.whole_px,
                precision=asked.precision,
            )
            plan = plan_stage(stage, {**once, "receptive fields": fields_s})
    finally:
        model.module.to(home)
    return replace(plan, look=asked.look)


def plan_stage(stage: Stage, once: Mapping[str, float] | None = None) -> Plan:
    """Plan a survey whose receptive fields are known: measure for a few seconds, then predict.

    Examples
    --------
    >>> from equiscope.models import load_model
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.stimuli import open_images
    >>> model = load_model("mini")
    >>> settings = {"transformations": ["hue"], "angles": 16, "examples_per_unit": 8, "n_null": 20, "seed": 0}
    >>> stage = bare_stage(model, open_images(), find_geometry(model, ["conv2d0"]), settings)
    >>> plan_stage(stage).sentence.split(": ")[1].split(" of ")[0]
    '39 images, then 3,072 patches'
    """
    rates = measure_rates(stage, stage.settings["transformations"])
    return predict(stage, rates, once or {}, _peak_bytes())


def _peak_bytes() -> float:
    """Most memory that the process held so far, which has shown what a survey shows; NaN on Windows."""
    if sys.platform == "win32":
        return nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
