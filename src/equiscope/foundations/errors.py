"""The errors that a user can cause, worded so that the next step is clear.

Imported before Ctrl-C is in good hands (`equiscope.cli`), and so without what takes long to import.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["DamagedFileError", "EquiscopeError", "MissingExtraError", "packages_of", "unknown_name"]


class EquiscopeError(ValueError):
    """Something the user gave cannot be used; the message says what, what was expected, and what to do.

    The command line prints the message alone and exits with code 2.
    """


class DamagedFileError(EquiscopeError):
    """A file of a run is not what was written, or is gone; the message names the command that makes it again."""


class MissingExtraError(EquiscopeError, ImportError):
    """An optional dependency is not installed; the message is the line that installs it."""


def packages_of(extra: str) -> str:
    """Name the packages of one of equiscope's extras, as ``pip install`` takes them.

    The extra's own name would not do: pip knows it only where equiscope is on a package index, or in the folder of a
    checkout. torch is left out, which is there.

    Examples
    --------
    >>> packages_of("figures")
    'resvg-py'
    """
    import re
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("equiscope") or []
    except PackageNotFoundError:  # Run from a folder, without having been installed.
        lines = []
    of_extra = re.compile(rf"""extra\s*==\s*["']{re.escape(extra)}["']""")
    names = [re.split(r"[^\w.-]", line.strip())[0] for line in lines if of_extra.search(line)]
    return " ".join(sorted(set(names) - {"torch"})) or extra


def unknown_name(kind: str, name: str, known: Iterable[str]) -> EquiscopeError:
    """Build the error for a name that does not exist, with the nearest real names.

    Parameters
    ----------
    kind
        What the name should have named, in words: ``"layer"``, ``"model"``.
    name
        What was received, a name or not.
    known
        All names that would have been right.

    Examples
    --------
    >>> str(unknown_name("layer", "mixed3c", ["conv2d0", "mixed3a"]))
    "unknown layer 'mixed3c': did you mean 'mixed3a'?"
    """
    import difflib

    known, name = list(known), str(name)
    lowered = {candidate.lower(): candidate for candidate in known}
    near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    if near:
        hint = f"did you mean {' or '.join(repr(candidate) for candidate in near)}?"
    elif len(known) <= 12:
        hint = f"it has {', '.join(known) or 'none at all'}."
    else:
        hint = f"it has {len(known)}, among them {', '.join(known[:8])}, …"
    return EquiscopeError(f"unknown {kind} {name!r}: {hint}")
