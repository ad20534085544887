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
    angles: int | None = None,
    examples_per_unit: int | None = None,
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
        Names of modules; by default the model's own choice, or the outputs of blocks and the convolutions outside.
    transformations
        Some of rotation, hue, reflection, contrast, dihedral, hue-rotation and scale, by default all of these; also
        up-down, brightness, saturation and stretch. Those that one needs are surveyed with it.
    out
        Folder of the run, by default ``equiscope-runs/MODEL``. The same call goes on where an interrupted one stopped.
    angles, examples_per_unit
        Order of the rotation group, 16: multiples of 4 include the exact quarter turns. Strongest stimuli of each
        unit, 8: half of them find, half verify.
    **options
        ``weights`` (file of weights of a built-in network), ``false_discovery_rate`` (largest accepted q-value of a
        family, 0.05), ``min_score`` (smallest mean correlation with the other members that makes a member), ``n_null``
        (null draws for each layer, 20), ``seed`` (of the halves, the null and the bootstrap, 0), ``device`` (``auto``
        takes the GPU if there is one; the module goes back to where it was), ``precision`` (of the passes that show
        transformed stimuli; ``auto`` is ``bfloat16`` where the processor computes in it: docs/results.md), ``quick`` (a
        look in a few minutes: what is not given is less), ``command`` (to record as the run's), ``on_plan`` (called
        before the work: how much will be done, then how long it takes) and ``progress`` (called as a part begins).

    Returns
    -------
    Run
        Families and units, also written to ``out`` (docs/run.md).

    Raises
    ------
    EquiscopeError
        If something given cannot be used, or ``out`` holds a run of something else.

    Examples
    --------
    >>> import equiscope
    >>> run = equiscope.survey("mini", layers=["conv2d0"], transformations=["hue"], out="equiscope-runs/hues")
    >>> run.families[0].id, run.families[0].score > 0.4
    ('conv2d0-hue-1', True)
    """
    chosen, network = take_options(survey, SurveyOptions, options), as_model(model, options.get("weights"))
    return survey_network(
        network, as_images(images), layers, transformations=transformations, angles=angles, options=chosen,
        examples_per_unit=examples_per_unit, out=_usual_folder(network) if out is None else out,
    )  # fmt: skip


def _usual_folder(network: Model) -> Path:
    return Path("equiscope-runs") / folder_name(network.name)
