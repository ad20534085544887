"""`equiscope.open`: serve a run's report to this machine, and open it in the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from equiscope.reports.site.serve import open_site
from equiscope.runs.run import Run, folder_of

__all__ = ["open"]


def open(
    run: Run | str | Path,
    *,
    port: int = 0,
    browser: bool = True,
    on_address: Callable[[str], object] = lambda _address: None,
) -> None:
    """Serve a run's report on 127.0.0.1, to this machine alone, and open it in the browser, until Ctrl-C.

    Parameters
    ----------
    run
        A run, or its folder.
    port
        Port on 127.0.0.1; 0 takes a free one.
    browser
        Open the report in the system's browser.
    on_address
        Called with the address once it is served.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a run, or the port cannot be used.

    Examples
    --------
    Ctrl-C ends it: here it is pressed as soon as the address is known.

    >>> import equiscope
    >>> def press(address):
    ...     print(address.rpartition(":")[0])
    ...     raise KeyboardInterrupt
    >>> equiscope.open("equiscope-runs/mini", browser=False, on_address=press)
    http://127.0.0.1
    """
    open_site(folder_of(run), port=port, in_browser=browser, on_address=on_address)
