"""The report's files in a run's folder: the document that everything shown was taken from, and the site."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import cast

from equiscope.evidence.circuits import load_circuits
from equiscope.evidence.compare.comparison import Comparison
from equiscope.evidence.verify.verification import FamilyVerification, load_verification
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import refuse_links
from equiscope.foundations.records import leave_out_damaged, read_record, reading
from equiscope.reports.compare_pictures import bring_sheets, keep_pictures
from equiscope.reports.context import SiteContext
from equiscope.reports.document import with_circuits, with_verification
from equiscope.reports.earlier import earlier_document, partial_document
from equiscope.reports.schema import ReportDocument
from equiscope.reports.sheets import lost_sheets
from equiscope.reports.site import DOCUMENT, PAGE, SITE, is_own, write_site
from equiscope.reports.sprites import Pictures
from equiscope.runs.store import SCHEMA_VERSION, read_json, read_manifest, say_changes, write_json

__all__ = [
    "build_site",
    "load_document",
    "publish_site",
    "save_report",
    "show_again",
    "show_circuits",
    "show_comparison",
    "show_verification",
    "write_files",
]

_LOG = logging.getLogger(__name__)
# Pages of earlier versions, which the site replaces.
_OUTDATED = ("circuits.html",)


def save_report(folder: Path, document: ReportDocument) -> None:
    """Write the document into a run's folder, and the site that shows it."""
    write_json(folder / DOCUMENT, {"schema_version": SCHEMA_VERSION, **document}, is_compact=True)
    _write(folder, document)


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
    read_manifest(folder)
    say_changes(folder)
    document = leave_out_damaged(partial(load_document, folder))
    return _write(folder, partial_document(folder) if document is None else document, target or folder)


def publish_site(folder: str | Path, target: str | Path) -> Path:
    """Copy a run's site, and nothing else of the run, into a folder that can be put on any web server.

    Parameters
    ----------
    folder
        Of the run; its site is built first.
    target
        Where the copy goes. An earlier copy is replaced.

    Returns
    -------
    Path
        Of the copy's ``index.html``.

    Raises
    ------
    EquiscopeError
        If the folder is not that of a run, or ``target`` holds anything but such a copy.
    """
    folder, target = Path(folder), Path(target)
    earlier = _earlier_copy(target)
    written = write_files(folder)
    if (folder / DOCUMENT).exists():
        written = {DOCUMENT: folder / DOCUMENT, **written}
    for path in earlier:
        path.unlink()
    # Made first and never removed: by it a copy is known that was killed half way.
    (target / SITE / "app").mkdir(parents=True, exist_ok=True)
    for address, source in written.items():
        path = target / address
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    return target / PAGE


def _earlier_copy(target: Path) -> list[Path]:
    """Give the files of an earlier copy of a report in a folder, its page first.

    Raises
    ------
    EquiscopeError
        If the folder holds anything else, only a part of such a copy, or a link.
    """
    if not os.path.lexists(target):
        return []
    held = sorted(path.name for path in target.iterdir()) if target.is_dir() else [target.name]
    others = [name for name in held if name not in (PAGE, SITE, DOCUMENT)]
    # A copy that was killed half way may have no file yet.
    is_copy = (target / SITE / "app").is_dir() or all(path.is_dir() for path in [target, *target.rglob("*")])
    if held and not others and not is_copy:
        others = held
    if not others:
        refuse_links(target)
    inner = [] if others else sorted(path for path in (target / SITE).rglob("*") if path.is_file())
    others += [address for path in inner if not is_own(address := path.relative_to(target).as_posix())]
    if others:
        raise EquiscopeError(
            f"{target} holds {others[0]!r}: expected a new or empty folder, or an earlier copy of a report, to publish "
            "to"
        )
    return [path for path in (target / PAGE, target / DOCUMENT, *inner) if path.exists()]


def _write(folder: Path, document: ReportDocument, target: Path | None = None) -> dict[str, Path]:
    """Write the site of a run; give its files by their addresses, the page last."""
    target = target or folder
    missing = lost_sheets(folder, document)
    sheets = [s["address"] for s in document.get("sheets", []) if s["address"] not in missing]
    if missing:
        said = f"{len(missing)} of {len(document.get('sheets', []))} sheets of pictures are no longer there, or damaged"
        document = document | {"missing": [*document.get("missing", []), said]}
        _LOG.warning("%s: %s (left out here): the survey, given again, draws them again", folder, said)
    circuits = leave_out_damaged(partial(load_circuits, folder))
    files = {address: folder / address for address in sheets}
    files |= {address: target / address for address in bring_sheets(folder, target)}
    written = write_site(target, SiteContext(document, Pictures(document, missing), folder, circuits))
    for name in _OUTDATED:
        (target / name).unlink(missing_ok=True)
    return files | {address: target / address for address in written}


def load_document(folder: Path) -> ReportDocument | None:
    """Read the document back; None where the run was made before reports kept theirs, or is not finished.

    A document of an earlier version gets what this one shows and the run's folder has; its pictures are put onto
    sheets.
    """
    if not (folder / DOCUMENT).exists():
        return None
    stored = read_json(folder / DOCUMENT)
    with reading(folder / DOCUMENT):
        read_record(ReportDocument, stored)
    del stored["schema_version"]
    document = earlier_document(folder, cast("ReportDocument", stored))
    # `verify` and `circuits` write their own files first: killed after that, they have not come to the document.
    if verifications := leave_out_damaged(partial(load_verification, folder)):
        document = with_verification(document, verifications)
    if (circuits := leave_out_damaged(partial(load_circuits, folder))) is not None:
        document = with_circuits(document, circuits.confirmations)
    return document


def show_verification(folder: Path, verifications: Iterable[FamilyVerification]) -> bool:
    """Draw a run's report again with what synthetic stimuli said about its families.

    Returns
    -------
    bool
        False where there is no document to draw it from: the run was made by an earlier version, or it is damaged.
    """
    document = leave_out_damaged(partial(load_document, folder))
    if document is None:
        return False
    save_report(folder, with_verification(document, verifications))
    return True


def show_circuits(folder: Path) -> bool:
    """Draw a run's report again with its circuits, and with what they say about its families.

    Returns
    -------
    bool
        False where the run's circuits were not recovered, so that there is nothing to show.
    """
    circuits = load_circuits(folder)
    if circuits is None:
        return False
    document = leave_out_damaged(partial(load_document, folder))
    if document is None:
        build_site(folder)
    else:
        save_report(folder, with_circuits(document, circuits.confirmations))
    return True


def show_again(folder: Path) -> bool:
    """Build a run's site again with what a command has written into the folder since.

    Returns
    -------
    bool
        False where the run has no site yet.
    """
    if not (folder / PAGE).exists():
        return False
    build_site(folder)
    return True


def show_comparison(folder: Path, comparison: Comparison, other: Path) -> Path:
    """Build a run's site again with a comparison, and with the pictures of the other run; give its ``index.html``."""
    document = leave_out_damaged(partial(load_document, other))
    if document is not None:
        keep_pictures(folder, comparison, other, Pictures(document, lost_sheets(other, document)))
    return build_site(folder)
