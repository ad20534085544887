"""The report's files in a run's folder: the document that everything shown was taken from, and the site."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import cast

from equiscope.circuits import load_circuits
from equiscope.comparison import Comparison
from equiscope.errors import EquiscopeError
from equiscope.records import leave_out_damaged, read_record, reading
from equiscope.report.compare_pictures import keep_pictures
from equiscope.report.context import SiteContext
from equiscope.report.document import with_circuits, with_verification
from equiscope.report.earlier import earlier_document, partial_document
from equiscope.report.schema import ReportDocument
from equiscope.report.site import DOCUMENT, PAGE, SITE, write_site
from equiscope.report.sprites import Pictures, missing_sheets
from equiscope.store import SCHEMA_VERSION, read_json, say_changes, write_json
from equiscope.verification import FamilyVerification, load_verification

__all__ = [
    "build_site",
    "load_document",
    "publish_site",
    "save_report",
    "show_again",
    "show_circuits",
    "show_comparison",
    "show_verification",
]

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
    folder = Path(folder)
    if not folder.is_dir():
        raise EquiscopeError(
            f"{folder} is no folder: expected the folder of a run, as `equiscope survey --out` makes it"
        )
    if not (folder / "run.json").exists() and (folder / DOCUMENT).exists():
        raise EquiscopeError(
            f"{folder} is a published copy of a report, without the run that it is of: give the folder of the run"
        )
    read_json(folder / "run.json")
    say_changes(folder)
    document = leave_out_damaged(partial(load_document, folder))
    _write(folder, partial_document(folder) if document is None else document)
    return folder / PAGE


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
    parts = (PAGE, SITE, DOCUMENT)
    if target.exists():
        held = [path.name for path in target.iterdir()] if target.is_dir() else [target.name]
        others = sorted(name for name in held if name not in parts)
        if others or (held and not _is_copy(target)):
            raise EquiscopeError(
                f"{target} holds {(others or held)[0]!r}: expected a new or empty folder, or an earlier copy of a "
                "report, to publish to"
            )
    build_site(folder)
    # Made first and never removed: by it a copy is known that was killed half way.
    (target / SITE / "app").mkdir(parents=True, exist_ok=True)
    for name in (PAGE, DOCUMENT):
        (target / name).unlink(missing_ok=True)
    for path in list((target / SITE).rglob("*")):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
    shutil.copytree(folder / SITE, target / SITE, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    for name in (DOCUMENT, PAGE):
        if (folder / name).exists():
            shutil.copyfile(folder / name, target / name)
    return target / PAGE


def _is_copy(target: Path) -> bool:
    """Whether a folder is a copy of a report, or the beginning of one, which has no file yet."""
    return (target / SITE / "app").is_dir() or all(path.is_dir() for path in target.rglob("*"))


def _write(folder: Path, document: ReportDocument) -> None:
    missing = missing_sheets(folder, document)
    if missing:
        said = f"{len(missing)} of {len(document.get('sheets', []))} sheets of pictures are no longer there, or damaged"
        document = document | {"missing": [*document.get("missing", []), said]}
    circuits = leave_out_damaged(partial(load_circuits, folder))
    write_site(folder, SiteContext(document, Pictures(document, missing), folder, circuits))
    for name in _OUTDATED:
        (folder / name).unlink(missing_ok=True)


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
        keep_pictures(folder, comparison, other, Pictures(document))
    return build_site(folder)
