"""The errors that a user can cause, worded so that the next step is clear."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DamagedFileError", "EquiscopeError", "MissingExtraError", "unknown_name"]


class EquiscopeError(ValueError):
    """Something the user gave cannot be used; the message says what, what was expected, and what to do.

    The command line prints the message alone and exits with code 2.
    """


class DamagedFileError(EquiscopeError):
    """A file of a run is not what was written, or is gone; the message names the command that makes it again."""


class MissingExtraError(EquiscopeError, ImportError):
    """An optional dependency is not installed; the message is the line that installs it."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> EquiscopeError:
    """Build the error for a name that does not exist, with the nearest real names.

    Parameters
    ----------
    kind
        What the name should have named, in words: ``"layer"``, ``"model"``.
    name
        The name received.
    known
        All names that would have been right.
    """
    known = list(known)
    lowered = {candidate.lower(): candidate for candidate in known}
    near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    if near:
        hint = f"did you mean {' or '.join(repr(candidate) for candidate in near)}?"
    elif len(known) <= 12:
        hint = f"it has {', '.join(known) or 'none at all'}."
    else:
        hint = f"it has {len(known)}, among them {', '.join(known[:8])}, …"
    return EquiscopeError(f"unknown {kind} {name!r}: {hint}")
