"""How the tables of the commands look."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from rich.table import Table

__all__ = ["blank_unmeasured", "new_table"]


def new_table(headings: Iterable[str], *, text: Container[str]) -> Table:
    """Begin a table without lines: columns of ``text`` to the left, numbers to the right, none broken over lines."""
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in text else "right", no_wrap=True)
    return table


def blank_unmeasured(value: Any) -> Any:
    """Turn what was not measured into an empty cell."""
    return None if isinstance(value, float) and value != value else value
