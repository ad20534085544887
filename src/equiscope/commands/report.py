"""`equiscope.report`: build a run's report again, or publish it."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from torch import nn

from equiscope.foundations.options import NetworkOptions, take_options
from equiscope.models import Model
from equiscope.reports.site.files import build_site
from equiscope.reports.site.publishing import publish_site
from equiscope.runs.run import Run, folder_of

__all__ = ["report"]


def report(
    run: Run | str | Path,
    *,
    publish: str | Path | None = None,
    featurevis: bool = False,
    model: Model | nn.Module | str | None = None,
    **options: Unpack[NetworkOptions],
) -> Path:
    """Build a run's report again, from its folder alone: no images and no network are needed but for ``featurevis``.

    Parameters
    ----------
    run
        A run, or its folder. One that is not finished, or of an earlier version, is shown as far as it goes.
    publish
        New or empty folder, or an earlier copy, into which the site is copied, too, and nothing else of the run.
    featurevis
        First make what `equiscope.featurevis` makes, and is not there yet.
    model
        For ``featurevis``: the network; by default the run's own name for it, if that is of a built-in network.
    **options
        ``weights`` and ``progress``, for ``featurevis``.

    Returns
    -------
    Path
        The page to open.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a run, or ``publish`` holds anything but such a copy.

    Examples
    --------
    >>> import equiscope
    >>> equiscope.report("equiscope-runs/mini").as_posix()
    'equiscope-runs/mini/index.html'
    >>> page = equiscope.report("equiscope-runs/mini", publish="public")
    >>> sorted(path.name for path in page.parent.iterdir())
    ['index.html', 'report.json', 'site']
    """
    take_options(report, NetworkOptions, options)
    folder = folder_of(run)
    if featurevis:
        from equiscope.commands.featurevis import featurevis as visualise

        visualise(run, model, **options)
    return build_site(folder) if publish is None else publish_site(folder, publish)
