"""What a command that follows the survey leaves in a run's folder, and how the report takes it up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from equiscope.foundations.records import leave_out_damaged
from equiscope.reports.document.schema import ReportDocument

__all__ = ["Evidence"]

T = TypeVar("T")


def _bring_nothing(_folder: Path, _target: Path) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Evidence(Generic[T]):
    """The result of one command, as the report reads it from the run's folder.

    Attributes
    ----------
    command
        The command that makes it, by which it is known: ``verify``, ``circuits``, …
    file
        Its file, or folder, in the run's folder. Where that is not there the command was not run.
    load
        Reads it from the run's folder.
    join
        Gives the document with what it says about families; None where only views of their own show it.
    bring
        Copies what the site needs of it besides data from the run's folder into that of the site; gives the addresses.
    stands_alone
        Whether a view shows it even where the run has no document that it could join.
    """

    command: str
    file: str
    load: Callable[[Path], T | None]
    join: Callable[[ReportDocument, T], ReportDocument] | None = None
    bring: Callable[[Path, Path], Sequence[str]] = _bring_nothing
    stands_alone: bool = True

    def is_there(self, folder: Path) -> bool:
        """Whether the command left anything in a run's folder."""
        return (folder / self.file).exists()

    def read(self, folder: Path) -> T | None:
        """Read it; None where the command was not run, or where its file is damaged, which is said."""
        return leave_out_damaged(partial(self.load, folder)) if self.is_there(folder) else None

    def joined(self, folder: Path, document: ReportDocument) -> ReportDocument:
        """Give the document with what this says about families, which replaces what it said before."""
        if self.join is None or (found := self.read(folder)) is None:
            return document
        return self.join(document, found)
