"""`equiscope.featurevis`: optimise images for a run's units and families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.evidence.featurevis import StoredVisualisations, visualise_run
from equiscope.evidence.featurevis.units import STEPS
from equiscope.foundations.options import SeedOptions, take_options
from equiscope.foundations.received import quoted
from equiscope.models import Model
from equiscope.reports.site.files import build_site
from equiscope.runs.run import Run, as_run
from equiscope.runs.surveyed import surveyed_model

__all__ = ["featurevis"]


def featurevis(
    run: Run | str | Path,
    model: Model | nn.Module | str | None = None,
    layers: Sequence[str] | None = None,
    *,
    with_families: bool = True,
    steps: int = STEPS,
    n_null: int = 1,
    **options: Unpack[SeedOptions],
) -> StoredVisualisations:
    """Optimise an image for every unit of a run's layers, and one template for every family.

    Parameters
    ----------
    run
        A finished run, or its folder.
    model
        The network that was surveyed; by default the run's own name for it, if that is of a built-in network.
    layers
        Some of the run's; by default all. Families count if all their layers are among them.
    with_families
        Whether families get a template, too.
    steps
        Of the optimiser.
    n_null
        Templates for wrong poses, a family.
    **options
        ``weights``, ``seed`` (of noise, shifts and wrong poses) and ``progress``, as for `equiscope.survey`.

    Returns
    -------
    StoredVisualisations
        Also in the run's ``featurevis`` and in its report. What is there already, of the same steps and seed, is not
        made again: an interrupted call goes on when it is given again.

    Raises
    ------
    EquiscopeError
        If the network is not the one that was surveyed, a layer is none of the run's, or a file of the folder cannot be
        read.

    Examples
    --------
    >>> import equiscope
    >>> found = equiscope.featurevis("equiscope-runs/mini", layers=["conv2d0"], steps=1)
    >>> tuple(found.layers["conv2d0"].images.shape[:2])  # an RGB image for each unit
    (48, 3)
    >>> "conv2d0-rotation-1" in found.families
    True
    """
    chosen = take_options(featurevis, SeedOptions, options)
    opened = as_run(run)
    network = surveyed_model(
        opened, model, options.get("weights"), f"equiscope featurevis {quoted(opened.folder)} NETWORK"
    )
    found = visualise_run(
        opened, network, layers, with_families=with_families, steps=steps, n_null=n_null, options=chosen
    )
    build_site(opened.folder)
    return found
