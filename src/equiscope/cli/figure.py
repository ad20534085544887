"""``equiscope figure``: draw one chart of a run for a paper."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from equiscope.cli.options import RunArgument

__all__ = ["Subject", "figure"]


class Subject(StrEnum):
    """What ``figure`` can draw."""

    family = "family"
    circuit = "circuit"
    layer = "layer"
    overview = "overview"
    budget = "budget"
    simplify = "simplify"


def figure(
    run: RunArgument,
    subject: Annotated[Subject, typer.Argument(help="What the figure is of.")],
    name: Annotated[
        str, typer.Argument(help="Id of the family or circuit, name of the layer; otherwise nothing.")
    ] = "",
    kind: Annotated[
        str | None,
        typer.Option(
            help="family: dial, chart or pair, strip, tuning, joint, synthetic; circuit: matrices, raw, reordered, "
            "template; layer and overview: shares; budget: savings, or one transformation; simplify: curves, plain, "
            "recalibrated. Default: the first that there is."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write, .svg or .png; default: SUBJECT-NAME.svg here.")
    ] = None,
) -> None:
    """Draw one chart of a run as a figure for a paper: an SVG that needs nothing else, or a PNG."""
    from equiscope.reports.figures.saving import save_figure

    stem = "-".join(part for part in (subject, name.replace(">", "-to-"), kind) if part)
    path = out if out is not None else Path(re.sub(r"[^\w.-]+", "-", stem) + ".svg")
    typer.echo(f"figure: {save_figure(run, subject, name, path, kind=kind)}")
