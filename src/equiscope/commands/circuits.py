"""`equiscope.circuits`: recover the symmetric weights between a run's families."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.evidence.circuits import Circuits, recover_circuits
from equiscope.families.verdict import COPIES
from equiscope.foundations.options import NullOptions, take_options
from equiscope.foundations.received import quoted
from equiscope.models import Model
from equiscope.reports.site.files import show_evidence
from equiscope.runs.asked import ask_run
from equiscope.runs.run import Run, as_run
from equiscope.runs.surveyed import surveyed_images, surveyed_model
from equiscope.stimuli import ImageSet, as_images

__all__ = ["circuits"]


def circuits(
    run: Run | str | Path,
    model: Model | nn.Module | str | None = None,
    images: ImageSet | str | Path | None = None,
    *,
    n_draws: int = 200,
    verdict: str = COPIES,
    **options: Unpack[NullOptions],
) -> Circuits:
    """Recover the symmetric weights between a run's families, from the network's weights.

    Parameters
    ----------
    run
        A finished run, or its folder.
    model
        The network that was surveyed; by default the run's own name for it, if that is of a built-in network.
    images
        The images that were surveyed; by default the embedded photographs if the run was on those, else none, which
        leaves out paths through normalisations, layers with others between them and the causal check.
    n_draws
        Null draws for each block.
    verdict
        Between which families: ``copies`` and cores, ``alike`` in pose too, or ``any`` (`equiscope.families.asked`).
    **options
        ``weights``, ``false_discovery_rate``, ``seed`` and ``progress``, as for `equiscope.survey`.

    Returns
    -------
    Circuits
        Also in ``circuits.json``, weights to draw in ``circuits/``, and in the report; `write_graph` makes a graph.

    Raises
    ------
    EquiscopeError
        If the network or the images are not those of the run, the run has one layer only, or there is no such verdict.

    Examples
    --------
    >>> import equiscope
    >>> found = equiscope.circuits("equiscope-runs/mini", n_draws=20, verdict="any")
    >>> [(pair.source, pair.target, pair.n_symmetric > 5) for pair in found.pairs]
    [('conv2d0', 'conv2d1', True)]
    """
    chosen = take_options(circuits, NullOptions, options)
    opened = as_run(run)
    command = f"equiscope circuits {quoted(opened.folder)} NETWORK"
    network = surveyed_model(opened, model, options.get("weights"), command)
    is_embedded = opened.manifest["images"]["name"] == "embedded"
    found = recover_circuits(
        ask_run(opened, verdict),
        network,
        surveyed_images(opened, as_images(images)) if images is not None or is_embedded else None,
        n_draws=n_draws,
        false_discovery_rate=chosen.false_discovery_rate,
        seed=chosen.seed,
        progress=chosen.progress,
    )
    show_evidence(opened.folder, "circuits")
    return found
