"""`equiscope.survey`: find the families of a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.foundations.options import SurveyOptions, take_options
from equiscope.foundations.received import folder_name
from equiscope.models import Model, as_model
from equiscope.runs.run import Run
from equiscope.stimuli import ImageSet, as_images
from equiscope.surveys.survey import survey_network

__all__ = ["survey"]


def survey(
    model: Model | nn.Module | str = "mini",
    images: ImageSet | str | Path | None = None,
    layers: Sequence[str] | None = None,
    *,
    transformations: Sequence[str] | None = None,
    out: str | Path | None = None,
    angles: int = 16,
    examples_per_unit: int = 8,
    **options: Unpack[SurveyOptions],
) -> Run:
    """Find the families of a network under all transformations, verify them on held-out images, write a report.

    Parameters
    ----------
    model
        An ``equiscope.Model``, any module that takes (image, 3, y, x) RGB in [0, 1], or a name for ``load_model``.
    images
        What it is shown: an ``ImageSet``, a folder, ``.tar`` or ``.npz``, by default the embedded photographs.
    layers
        Names of modules; by default the model's own choice, or all convolutions.
    transformations
        Some of ``rotation``, ``hue``, ``reflection``, ``contrast``, ``dihedral``, ``hue-rotation`` and ``scale``, by
        default all of these; also ``up-down`` and ``brightness``. Those that one needs are surveyed with it.
    out
        Folder of the run, by default ``equiscope-runs/MODEL``. The same call goes on where an interrupted one stopped.
    angles
        Order of the rotation group, at least 4; multiples of 4 include the exact quarter turns.
    examples_per_unit
        Strongest stimuli of each unit, half of them to find and half to verify; at least 2.
    **options
        ``weights`` (file of weights of a built-in network), ``false_discovery_rate`` (largest accepted q-value of a
        family, 0.05), ``min_score`` (smallest mean correlation with the other members that makes a member), ``n_null``
        (null draws for each layer, 20), ``seed`` (of the halves, the null and the bootstrap, 0), ``device`` (``auto``
        takes the GPU if there is one; the module is returned to where it was), ``precision`` (``float32`` or
        ``bfloat16`` for the passes that show transformed stimuli; ``auto`` takes ``bfloat16`` where the processor
        computes in it, docs/results.md has what it changes), ``command`` (what to record as the command that made the
        run), ``on_plan`` (called once, before the work begins, with a sentence that says how much will be done) and
        ``progress`` (called at the start of each part of a stage, whose name ends with the stage's number and that of
        all stages).

    Returns
    -------
    Run
        Families and units, also written to ``out`` (docs/run.md).

    Raises
    ------
    EquiscopeError
        If something given cannot be used, or ``out`` holds a run of something else.
    """
    chosen = take_options(survey, SurveyOptions, options)
    network = as_model(model, options.get("weights"))
    folder = Path("equiscope-runs") / folder_name(network.name) if out is None else out
    return survey_network(
        network, as_images(images), layers, transformations=transformations, out=folder, angles=angles,
        examples_per_unit=examples_per_unit, options=chosen,
    )  # fmt: skip
