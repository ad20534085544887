"""`equiscope.tally`: count what readers said of a run's families by eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equiscope.evidence.readers.answers import read_answers
from equiscope.evidence.readers.tally import Tally, count_answers
from equiscope.foundations.errors import EquiscopeError
from equiscope.runs.run import Run, as_run

__all__ = ["tally"]


def tally(run: Run | str | Path, answers: str | Path | Sequence[str | Path]) -> Tally:
    """Count what readers said of a run's families by eye: how often yes, by verdict, and how far they agree.

    Parameters
    ----------
    run
        A finished run, or its folder: the one whose report was judged.
    answers
        The file that the report's page *Judge* saved, or one of each reader.

    Returns
    -------
    Tally
        Precision of each reader for each verdict, with its exact interval, and the agreement of every two readers.

    Raises
    ------
    EquiscopeError
        If a file holds no answers, or answers about another run.

    Examples
    --------
    >>> import json, equiscope
    >>> run = equiscope.load_run("equiscope-runs/mini")
    >>> said = {"answer": "yes", "draw": "all", "seed": 0}
    >>> ids = [(family.id, [f"{m.layer}:{m.channel}" for m in family.members]) for family in run.families[:3]]
    >>> document = {"format": "equiscope answers", "version": 1}
    >>> document["answers"] = [{"family": name, "members": members} | said for name, members in ids]
    >>> _ = Path("mine.json").write_text(json.dumps(document))
    >>> line = equiscope.tally(run, "mine.json").precisions[-1]
    >>> line.verdict, line.n_yes, round(line.low, 2), line.high
    ('all', 3, 0.29, 1.0)
    """
    opened = as_run(run)
    paths = [answers] if isinstance(answers, (str, Path)) else list(answers)
    if not paths:
        raise EquiscopeError("no answers were given: expected files that the report's page Judge saved")
    return count_answers(opened.families, [read_answers(path) for path in paths])
