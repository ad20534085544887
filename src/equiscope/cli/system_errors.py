"""What to do about an error of the operating system: a full disk, a missing permission, a name that is too long."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["has_out", "system_cause", "word_system_error"]

_AGAIN = ", and give the same command again; what is finished is kept"
_ROOM = f"make room{{or_out}}{_AGAIN}"
_RIGHTS = f"change its permissions, or those of its folder{{or_out}}{_AGAIN}"
_DEVICE = "this kind of file cannot be used so: name an ordinary file or folder"
_OPEN = f"close files or programs, or raise the limit (ulimit -n 4096){_AGAIN}"
_IN_THE_WAY = "something of this name is in the way: move it away, or name another path"
# {or_out} is filled in where the command has --out.
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: f"raise the limit on the size of files (ulimit -f unlimited){{or_out}}{_AGAIN}",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: f"make it writable{{or_out}}{_AGAIN}",
    errno.ENAMETOOLONG: "most file systems take names of up to 255 bytes and paths of up to 4096: choose a shorter one",
    errno.ENOTDIR: "a part of this path is a file, and nothing lies below a file: name another path",
    errno.EISDIR: "it is a folder, expected a file: name a file",
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
    errno.ENOENT: "check the path; one that does not begin with / is looked for from {here}",
    errno.ELOOP: "links lead in a circle: name the file that they should lead to",
    errno.EMFILE: _OPEN,
    errno.ENFILE: _OPEN,
    errno.ENOMEM: f"end other programs, or use a machine with more memory{_AGAIN}",
    errno.EIO: f"the disk or its cable fails: copy what is on it to another one{{or_out}}{_AGAIN}",
    errno.ESTALE: f"the folder was moved or replaced on its server: see that it is there{_AGAIN}",
    errno.EBUSY: f"end the program that uses it{{or_out}}{_AGAIN}",
    errno.EINVAL: _DEVICE,
    errno.ENODEV: _DEVICE,
    errno.ENXIO: _DEVICE,
    errno.EOPNOTSUPP: _DEVICE,
}
# With these it is not the file that is at fault, whatever the one who wanted to read it made of that.
_NOT_OF_THE_FILE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    }
)
_OTHERWISE = "mend what it says{or_out}, and give the same command again; what is finished is kept"


def word_system_error(error: OSError, *, has_out: bool) -> str:
    """Word an error of the operating system as one sentence: what failed, on what, and what to do.

    Parameters
    ----------
    error
        The error.
    has_out
        Whether the command has ``--out``, so that another one can be chosen.

    Examples
    --------
    >>> import errno
    >>> error = PermissionError(errno.EACCES, "Permission denied", "run.json")
    >>> word_system_error(error, has_out=True).split(",")[0]
    'Permission denied (run.json): change its permissions'
    """
    said = error.strerror or " ".join(str(error).split()) or type(error).__name__
    named = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))
    ]
    where = f" ({' to '.join(named)})" if named else ""
    remedy = _REMEDIES.get(error.errno or 0, _OTHERWISE)
    or_out = ", or choose another --out" if has_out else ""
    return f"{said}{where}: {remedy.format(or_out=or_out, here=_here())}"


def system_cause(error: BaseException) -> OSError | None:
    """Give the error of the operating system that a message rests on, where it has another remedy than the message.

    "Fetch the file again" is no help to somebody who has too many files open.

    Examples
    --------
    >>> import errno
    >>> try:
    ...     raise ValueError("fetch the file again") from OSError(errno.EMFILE, "Too many open files")
    ... except ValueError as error:
    ...     system_cause(error).strerror
    'Too many open files'
    """
    cause = error.__cause__
    return cause if isinstance(cause, OSError) and cause.errno in _NOT_OF_THE_FILE else None


def has_out(arguments: list[str]) -> bool:
    """Whether the command that these arguments name has ``--out``; also where nothing more can be imported.

    Examples
    --------
    >>> has_out(["survey", "mini"]), has_out(["open", "runs/mini"])
    (True, False)
    """
    try:
        import typer

        from equiscope.cli.commands import app
    except OSError:  # too many open files
        return False
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    given = next((commands[name] for name in arguments if name in commands), None)
    return given is not None and any("--out" in option.opts for option in given.params)


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "a folder that is no longer there"
