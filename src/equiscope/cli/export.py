"""``equiscope export``: write the tables of a run to standard output."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from equiscope.cli.options import RunArgument
from equiscope.foundations.received import printable_json, spreadsheet_cell

__all__ = ["Format", "Part", "export"]


class Part(StrEnum):
    """What ``export`` can write."""

    units = "units"
    families = "families"
    circuits = "circuits"
    comparison = "comparison"


class Format(StrEnum):
    """How ``export`` can write it."""

    csv = "csv"
    json = "json"


def export(
    run: RunArgument,
    part: Annotated[Part, typer.Argument(help="What to write.")],
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.csv,
) -> None:
    """Write a run's units, families, circuits or comparisons to standard output.

    In CSV one line is a unit under one transformation, a member of a family, a circuit, or two families of two runs.
    Where circuits were recovered, families carry how many of their circuits turn with them, of how many were tested.
    """
    import equiscope

    found = equiscope.export(run, part.value)
    if format is Format.json:
        _echo_json(found.document)
    else:
        _echo_csv(found.rows, found.columns)


def _echo_json(document: dict[str, Any]) -> None:
    from equiscope.foundations.documents import to_json

    typer.echo(printable_json(to_json(document)), nl=False)


def _echo_csv(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)
    typer.echo(stream.getvalue(), nl=False)
