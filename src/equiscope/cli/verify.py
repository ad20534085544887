"""``equiscope verify``: measure the families of a run on synthetic stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from equiscope.cli.console import echo_report, show_progress, wide_console
from equiscope.cli.options import PrecisionOption, RunArgument, SurveyedModelArgument, WeightsOption
from equiscope.cli.tables import new_table

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
    import equiscope

    found = equiscope.verify(
        run,
        model,
        weights=weights,
        precision=precision,
        on_plan=lambda plan: typer.echo(plan, err=True),
        progress=show_progress,
    )
    console = wide_console()
    console.print(_verification_table(found))
    typer.echo(f"verification: {run / 'verification.json'}")
    if (run / "report.json").exists():
        echo_report(run)


def _verification_table(found: Sequence[FamilyVerification]) -> Table:
    """Tabulate what drives each family and how its poses compare."""
    from equiscope.transformations import Switch, axis_of

    headings = (
        "family",
        "axis",
        "driven by",
        "drive",
        "runner-up",
        "lead",
        "error",
        "95 %",
        "outliers",
        "agree",
    )
    table = new_table(headings, text=("family", "axis", "driven by", "runner-up"))
    for entry in found:
        axis, agree = axis_of(entry.transformation, entry.axis), "–"
        if isinstance(axis, Switch):
            error, interval, outliers = f"r {entry.score:.2f}", f"margin {entry.margin:.2f}", "–"
        elif axis is not None and entry.n_measured:
            error, *ends = map(axis.distance_text, (entry.median_error, entry.error_low, entry.error_high))
            interval = " to ".join(ends)
            outliers = f"{entry.n_outliers} of {entry.n_measured}"
            agree = f"{entry.agreement:.2f} (chance {entry.agreement_null_95:.2f})"
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
            agree,
        )
    return table
