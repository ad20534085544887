"""How the tables of the commands look."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from equiscope.foundations.received import printable

__all__ = ["new_table"]


class _PlainTable(Table):
    """A table whose cells are text: names in them may come from a run, and are neither markup nor commands."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(_plain(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def _plain(text: str) -> Text:
    return Text(printable(text))


def new_table(headings: Iterable[str], *, text: Container[str]) -> Table:
    """Begin a table without lines: columns of ``text`` to the left, numbers to the right, none broken over lines.

    Examples
    --------
    >>> table = new_table(["layer", "units"], text=["layer"])
    >>> [(str(column.header), column.justify) for column in table.columns]
    [('layer', 'left'), ('units', 'right')]
    """
    table = _PlainTable(box=None, pad_edge=False, header_style="")
    for heading in headings:
        table.add_column(_plain(heading), justify="left" if heading in text else "right", no_wrap=True)
    return table
