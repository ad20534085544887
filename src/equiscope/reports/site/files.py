"""The report's files in a run's folder: the document that everything shown was taken from, and the site."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.records import leave_out_damaged
from equiscope.reports.document.pictures.sheets import lost_sheets
from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.document.schema import ReportDocument
from equiscope.reports.document.stored import DOCUMENT, read_document, write_document
from equiscope.reports.document.unfinished import partial_document
from equiscope.reports.site.addresses import PAGE
from equiscope.reports.site.building import write_site
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.registry import all_evidence, evidence_of
from equiscope.runs.digests import say_changes
from equiscope.runs.manifest import read_manifest

__all__ = [
    "build_site",
    "load_document",
    "open_document",
    "save_report",
    "show_evidence",
    "with_evidence",
    "write_files",
]

_LOG = logging.getLogger(__name__)
# Pages of earlier versions, which the site replaces.
_OUTDATED = ("circuits.html",)


def with_evidence(folder: Path, document: ReportDocument) -> ReportDocument:
    """Give a document with what later commands, as far as the run's folder has it, found about its families.

    Examples
    --------
    >>> folder = Path("equiscope-runs/mini")
    >>> found = with_evidence(folder, partial_document(folder))
    >>> found["families"][0]["id"], found["families"][0]["verification"][0]["axis"]
    ('conv2d0-rotation-1', 'rotation')
    """
    for evidence in all_evidence():
        document = evidence.joined(folder, document)
    return document


def load_document(folder: Path) -> ReportDocument | None:
    """Read a run's document, with what later commands found; None where the run has none.

    A run has none if it was made before reports kept theirs, or is not finished. A document of an earlier version gets
    what this one shows and the run's folder has; its pictures are put onto sheets.

    Examples
    --------
    >>> load_document(Path("run")) is None
    True
    """
    document = read_document(folder)
    # A command writes its own file first: killed after that, it has not come to the document.
    return None if document is None else with_evidence(folder, document)


def save_report(folder: Path, document: ReportDocument) -> None:
    """Write the document into a run's folder, and the site that shows it.

    Examples
    --------
    >>> folder = Path("equiscope-runs/mini")
    >>> save_report(folder, load_document(folder) | {"title": "Families of my network"})
    >>> load_document(folder)["title"], "Families of my network" in (folder / "index.html").read_text("utf-8")
    ('Families of my network', True)
    """
    write_document(folder, document)
    _write(folder, document)


def show_evidence(folder: str | Path, command: str) -> bool:
    """Draw a run's report again with what a command has left in the run's folder.

    Parameters
    ----------
    folder
        Of the run.
    command
        ``verify``, ``circuits``, ``featurevis``, ``compare``, ``budget`` or ``simplify``.

    Returns
    -------
    bool
        False where there is nothing to show: the command was not run, or it says something about families only and the
        run has no document to draw them from, because an earlier version made it or it is damaged.

    Raises
    ------
    EquiscopeError
        If the report shows nothing of such a command.

    Examples
    --------
    >>> show_evidence("run", "verify")
    False
    """
    folder, evidence = Path(folder), evidence_of(command)
    if not evidence.is_there(folder):
        return False
    document = None if evidence.join is None else leave_out_damaged(partial(load_document, folder))
    if document is not None:
        save_report(folder, document)
    elif evidence.stands_alone:
        build_site(folder)
    return document is not None or evidence.stands_alone


def build_site(folder: str | Path) -> Path:
    """Build the site of a run again, from the run's folder alone.

    Parameters
    ----------
    folder
        Of a run. What an unfinished one, or one of an earlier version, has not got is said in the site; the rest is
        shown.

    Returns
    -------
    Path
        Of ``index.html``.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a run, or of a newer schema than this version knows.

    Examples
    --------
    >>> Path("equiscope-runs/mini/index.html").unlink()
    >>> build_site("equiscope-runs/mini").read_text("utf-8")[:15]
    '<!doctype html>'
    """
    write_files(folder)
    return Path(folder) / PAGE


def write_files(folder: str | Path, target: Path | None = None) -> dict[str, Path]:
    """Build the site of a run again, as `build_site` does, and tell what it consists of.

    Parameters
    ----------
    folder
        Of a run.
    target
        Where pages, scripts and style sheets go; None for the run's own folder. Pictures stay in the run.

    Returns
    -------
    dict
        Each file of the site by its address, relative to ``index.html``.

    Raises
    ------
    EquiscopeError
        As `build_site` does.

    Examples
    --------
    >>> files = write_files("equiscope-runs/mini", Path("elsewhere"))
    >>> files["index.html"].as_posix(), files["site/sprites/conv2d0-strongest-0.webp"].as_posix()
    ('elsewhere/index.html', 'equiscope-runs/mini/site/sprites/conv2d0-strongest-0.webp')
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EquiscopeError(
            f"{folder} is no folder: expected the folder of a run, as `equiscope survey --out` makes it"
        )
    if not (folder / "run.json").exists() and (folder / DOCUMENT).exists():
        raise EquiscopeError(
            f"{folder} is a published copy of a report, without the run that it is of: give the folder of the run"
        )
    return _write(folder, open_document(folder), target or folder)


def open_document(folder: Path) -> ReportDocument:
    """Give the document of a run, or where it has none what is there of one.

    Examples
    --------
    >>> document = open_document(Path("equiscope-runs/mini"))
    >>> [(layer["name"], layer["n_units"]) for layer in document["layers"]]
    [('conv2d0', 48), ('conv2d1', 96)]
    """
    read_manifest(folder)
    say_changes(folder)
    document = leave_out_damaged(partial(load_document, folder))
    return partial_document(folder) if document is None else document


def _write(folder: Path, document: ReportDocument, target: Path | None = None) -> dict[str, Path]:
    """Write the site of a run; give its files by their addresses, the page last."""
    target = target or folder
    missing = lost_sheets(folder, document)
    sheets = [s["address"] for s in document.get("sheets", []) if s["address"] not in missing]
    if missing:
        said = f"{len(missing)} of {len(document.get('sheets', []))} sheets of pictures are no longer there, or damaged"
        document = document | {"missing": [*document.get("missing", []), said]}
        _LOG.warning("%s: %s (left out here): the survey, given again, draws them again", folder, said)
    files = {address: folder / address for address in sheets}
    for evidence in all_evidence():
        files |= {address: target / address for address in evidence.bring(folder, target)}
    written = write_site(target, SiteContext(document, Pictures(document, missing), folder))
    for name in _OUTDATED:
        (target / name).unlink(missing_ok=True)
    return files | {address: target / address for address in written}
