"""``equiscope tally``: count what readers said of a run's families by eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from equiscope.cli.console import wide_console
from equiscope.cli.options import RunArgument
from equiscope.cli.tables import new_table

if TYPE_CHECKING:
    from equiscope.evidence.readers.tally import Tally

__all__ = ["tally"]


def tally(
    run: RunArgument,
    answers: Annotated[
        list[Path], typer.Argument(help="Files that the report's page Judge saved, one of each reader.")
    ],
) -> None:
    """Count what readers said of a run's families by eye: how often yes, by verdict, and how far they agree.

    Precision is the share of yes among yes and no. Nothing is written.
    """
    import equiscope

    found = equiscope.tally(run, answers)
    console = wide_console()
    console.print(_precision_table(found))
    if found.agreements:
        console.print()
        console.print(_agreement_table(found))


def _precision_table(found: Tally) -> Table:
    headings = ("reader", "verdict", "yes", "no", "unsure", "precision", "95 %")
    table = new_table(headings, text=("reader", "verdict"))
    names = _short_names([line.reader for line in found.precisions])
    for line in found.precisions:
        counts = (str(n) for n in (line.n_yes, line.n_no, line.n_unsure))
        table.add_row(names[line.reader], line.verdict, *counts, *_share(line.share, line.low, line.high))
    return table


def _agreement_table(found: Tally) -> Table:
    headings = ("readers", "and", "both judged", "alike", "agreement", "95 %", "by chance")
    table = new_table(headings, text=("readers", "and"))
    names = _short_names([reader for line in found.agreements for reader in (line.first, line.second)])
    for line in found.agreements:
        chance = "–" if line.expected != line.expected else f"{line.expected:.0%}"
        counts = (str(line.n_both), str(line.n_same))
        table.add_row(
            names[line.first], names[line.second], *counts, *_share(line.share, line.low, line.high), chance
        )
    return table


def _short_names(readers: Sequence[str]) -> dict[str, str]:
    """Give the names of the readers' files, with their folders where two have one name."""
    names = {reader: Path(reader).name for reader in readers}
    return names if len(set(names.values())) == len(names) else {reader: reader for reader in names}


def _share(share: float, low: float, high: float) -> tuple[str, str]:
    """Word a share and its interval."""
    return ("–", "–") if share != share else (f"{share:.0%}", f"{low:.0%}-{high:.0%}")
