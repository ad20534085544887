"""`equiscope.verify`: measure the families of a run on synthetic stimuli."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.evidence.verify.verification import FamilyVerification
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.foundations.devices import choose_precision
from equiscope.foundations.options import VerifyOptions, take_options
from equiscope.foundations.received import quoted
from equiscope.models import Model
from equiscope.reports.site.files import show_evidence
from equiscope.runs.run import Run, as_run
from equiscope.runs.surveyed import surveyed_model

__all__ = ["verify"]

_LOG = logging.getLogger(__name__)


def verify(
    run: Run | str | Path, model: Model | nn.Module | str | None = None, **options: Unpack[VerifyOptions]
) -> tuple[FamilyVerification, ...]:
    """Measure every family's tuning on synthetic stimuli and compare it with the poses found on photographs.

    Parameters
    ----------
    run
        A finished run, or its folder.
    model
        The network that was surveyed; by default the run's own name for it, if that is of a built-in network.
    **options
        ``weights``, ``precision`` and ``progress``, as for `equiscope.survey`; ``on_plan`` is called before the work
        with what will be shown, and how long that takes.

    Returns
    -------
    tuple of FamilyVerification
        By family; also written to the run's ``verification.json`` and shown in its report.

    Raises
    ------
    EquiscopeError
        If the network is not the one that was surveyed.

    Examples
    --------
    >>> import equiscope
    >>> first = equiscope.verify("equiscope-runs/mini")[0]
    >>> first.family, first.axis, first.drive > 0.5
    ('conv2d0-rotation-1', 'rotation', True)
    """
    chosen = take_options(verify, VerifyOptions, options)
    opened = as_run(run)
    network = surveyed_model(
        opened, model, options.get("weights"), f"equiscope verify {quoted(opened.folder)} NETWORK"
    )
    precision = choose_precision(chosen.precision, network.device)
    found = verify_run(opened, network, precision=precision, progress=chosen.progress, on_plan=chosen.on_plan)
    if not show_evidence(opened.folder, "verify"):
        _LOG.warning(
            "the report stays as it is: an earlier version made it, which kept nothing to draw it from"
        )
    return found
