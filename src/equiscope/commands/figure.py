"""`equiscope.figure`: draw one chart of a run for a paper."""

from __future__ import annotations

import re
from pathlib import Path

from equiscope.reports.figures.saving import save_figure
from equiscope.runs.run import Run

__all__ = ["figure"]


def figure(
    run: Run | str | Path,
    subject: str,
    name: str = "",
    *,
    kind: str | None = None,
    out: str | Path | None = None,
) -> Path:
    """Draw one chart of a run as a figure for a paper: an SVG that needs nothing else, or a PNG.

    Parameters
    ----------
    run
        A run, or its folder.
    subject
        ``family``, ``circuit``, ``layer``, ``overview``, ``budget`` or ``simplify``.
    name
        Id of the family or circuit, name of the layer; otherwise nothing.
    kind
        Which chart (`equiscope.reports.draw_figure` lists them); by default the first that there is.
    out
        File to write, ``.svg`` or ``.png`` (which needs the extra ``figures``); by default ``SUBJECT-NAME.svg`` in the
        current folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    EquiscopeError
        If there is no such subject, name or chart in the run, or the format is none.
    MissingExtraError
        If PNG is asked for without the extra ``figures``.

    Examples
    --------
    >>> import equiscope
    >>> path = equiscope.figure("equiscope-runs/mini", "family", "conv2d0-rotation-1")
    >>> path.name, path.read_text(encoding="utf-8")[:4]
    ('family-conv2d0-rotation-1.svg', '<svg')
    """
    if out is None:
        stem = "-".join(part for part in (subject, name.replace(">", "-to-"), kind) if part)
        out = re.sub(r"[^\w.-]+", "-", stem) + ".svg"
    return save_figure(run, subject, name, out, kind=kind)
