"""``equiscope verify``: measure the families of a run on synthetic stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from equiscope.cli.console import show_progress, wide_console
from equiscope.cli.options import PrecisionOption, RunArgument, SurveyedModelArgument, WeightsOption
from equiscope.cli.surveyed import load_surveyed
from equiscope.cli.tables import new_table
from equiscope.foundations.received import quoted

if TYPE_CHECKING:
    from equiscope.evidence.verify.verification import FamilyVerification

__all__ = ["verify"]


def verify(
    run: RunArgument,
    model: SurveyedModelArgument = None,
    weights: WeightsOption = None,
    precision: PrecisionOption = "auto",
) -> None:
    """Measure every family's tuning on synthetic stimuli and compare it with the poses found on photographs.

    Writes verification.json into the run and draws its report again with what was found.
    """
    from equiscope.evidence.verify.verification import verify_run
    from equiscope.foundations.devices import choose_precision
    from equiscope.reports.site.files import show_evidence
    from equiscope.runs.store import load_run

    opened = load_run(run)
    borrowed = load_surveyed(opened, model, weights, f"equiscope verify {quoted(run)} NETWORK")
    found = verify_run(
        opened, borrowed, precision=choose_precision(precision, borrowed.device), progress=show_progress
    )
    console = wide_console()
    console.print(_verification_table(found))
    typer.echo(f"verification: {run / 'verification.json'}")
    if show_evidence(run, "verify"):
        typer.echo(f"report: {opened.report}")
    else:
        Console(stderr=True).print(
            "the report stays as it is: an earlier version made it, which kept nothing to draw it from"
        )


def _verification_table(found: Sequence[FamilyVerification]) -> Table:
    """Tabulate what drives each family and how its poses compare."""
    headings = ("family", "axis", "driven by", "drive", "runner-up", "lead", "error", "95 %", "outliers")
    table = new_table(headings, text=("family", "axis", "driven by", "runner-up"))
    for entry in found:
        unit = {"scale": " oct", "pair": ""}.get(entry.axis, "°")
        digits = 2 if entry.axis == "scale" else 1
        if entry.axis == "pair":
            error, interval, outliers = f"r {entry.score:.2f}", f"margin {entry.margin:.2f}", "–"
        elif entry.n_measured:
            error = f"{entry.median_error:.{digits}f}{unit}"
            interval = f"{entry.error_low:.{digits}f}-{entry.error_high:.{digits}f}"
            outliers = f"{entry.n_outliers} of {entry.n_measured}"
        else:
            error, interval, outliers = "–", "–", "–"
        table.add_row(
            entry.family,
            entry.axis,
            entry.kind,
            f"{entry.drive:.2f}",
            entry.runner_up,
            f"{entry.lead:.2f} ({entry.lead_low:.2f} to {entry.lead_high:.2f})",
            error,
            interval,
            outliers,
        )
    return table
