"""`equiscope.budget`: predict what tying the families of a run would save."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.construction.budget import Budget, estimate_budget
from equiscope.families.verdict import COPIES
from equiscope.foundations.options import BudgetOptions, take_options
from equiscope.foundations.received import offered_network, quoted
from equiscope.models import Model
from equiscope.reports.site.files import show_evidence
from equiscope.reports.views.budget.drawings import save_savings
from equiscope.runs.asked import ask_run
from equiscope.runs.run import Run, as_run
from equiscope.runs.surveyed import surveyed_model

__all__ = ["budget"]

# Comes with the package, so that nothing need be asked for to count its parameters.
_EMBEDDED = "mini"


def budget(
    run: Run | str | Path,
    model: Model | nn.Module | str | None = None,
    *,
    n_resamples: int = 1000,
    verdict: str = COPIES,
    **options: Unpack[BudgetOptions],
) -> Budget:
    """Predict how much would stay free if the families of a run were tied, and what forcing more units would cost.

    Parameters
    ----------
    run
        A finished run, or its folder.
    model
        The network that was surveyed, whose own parameters are then counted. By default the run's own name for it where
        that is ``mini`` or ``weights`` are given; otherwise kernels are counted, all alike.
    n_resamples
        Bootstrap resamples of each layer's families and single units.
    verdict
        Which families count: ``copies`` by their weights, cores of others among them; ``alike``: also those only alike
        in pose; ``any``: all, the untested too.
    **options
        ``weights`` and ``seed`` (of the bootstrap), as for `equiscope.survey`.

    Returns
    -------
    Budget
        Also in the run's ``budget.json``, drawn in ``budget.svg`` and shown in its report.

    Raises
    ------
    EquiscopeError
        If the network has other weights than the one that was surveyed, or there is no such verdict.

    Examples
    --------
    >>> import equiscope
    >>> found = equiscope.budget("equiscope-runs/mini", n_resamples=20, verdict="any")
    >>> first = next(entry for entry in found.layers if entry.transformation == "rotation")
    >>> first.layer, first.n_units, 0.6 < first.ratio < 1.0
    ('conv2d0', 48, True)
    """
    chosen = take_options(budget, BudgetOptions, options)
    opened = as_run(run)
    own_name = opened.manifest["model"]["name"]
    weights = options.get("weights")
    is_given = model is not None or weights is not None or own_name == _EMBEDDED
    command = f"equiscope budget {quoted(opened.folder)} {offered_network(own_name)}"
    network = surveyed_model(opened, model, weights, command) if is_given else None
    found = estimate_budget(ask_run(opened, verdict), network, n_resamples=n_resamples, seed=chosen.seed)
    save_savings(opened.folder, found)
    show_evidence(opened.folder, "budget")
    return found
