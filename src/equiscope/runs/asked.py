"""A run with the families that are asked for: what is built on families sees no others."""

from __future__ import annotations

import logging
from dataclasses import replace

from equiscope.families.asked import ANY, ask_families, ask_units
from equiscope.runs.run import Run

__all__ = ["ask_run"]

_LOG = logging.getLogger(__name__)


def ask_run(run: Run, verdict: str) -> Run:
    """Give a run with the families of a verdict, and units that are in these or in none; log what was left out.

    Parameters
    ----------
    run
        With all of its families.
    verdict
        ``copies``, ``alike`` or ``any``, as `equiscope.families.asked` has them.

    Returns
    -------
    Run
        Its ``verdict`` says which families it has: all where the run was made before there were verdicts.

    Raises
    ------
    EquiscopeError
        If there is no such verdict to ask for.

    Examples
    --------
    >>> from equiscope import load_run
    >>> run = load_run("equiscope-runs/mini")
    >>> copies, everything = ask_run(run, "copies"), ask_run(run, "any")
    >>> 0 < len(copies.families) < len(everything.families), everything.families == run.families
    (True, True)
    >>> {family.verdict.word for family in copies.families}
    {'copies'}
    """
    asked = ask_families(run.families, verdict)
    if asked.verdict != verdict:
        _LOG.warning(
            "%s was made before there were verdicts: all of its %d families are used, copies or not; giving its "
            "survey's command again judges them", run.folder, asked.n_families,
        )  # fmt: skip
    elif asked.sentence:
        _LOG.warning("%s: %s", run.folder, asked.sentence)
    if asked.verdict == ANY or not run.families:
        return replace(run, verdict=asked.verdict)
    units, families = ask_units(run.units, asked.families)
    return replace(run, units=units, families=families, verdict=asked.verdict)
