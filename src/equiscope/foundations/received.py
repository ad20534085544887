"""What comes from a run, a network or a page of somebody else is data: it names no code and leads out of no folder.

A run that is received may have been made to do harm: its JSON may name files elsewhere, its folder may hold links, its
names may hold commands for a terminal or formulas for a spreadsheet. What stops each of them is here, and what each
reader and writer of the package asks:

======================= ====================================================================================
`refuse_links`          a folder holds files and folders only: no link leads out, no pipe waits for ever
`inside`                an address out of a run, as a path that lies inside its folder
`built_in_name`         the network that a run names, where that names no code
`is_sheet`              the address of a picture, where there is one
`shown_command`         the command that made a run, where it is one of this program's
`offered_network`       the network that a run names, in a command that may be copied
`quoted`                a path or a name as one word of a command that may be copied
`printable`             a text without what steers a terminal; `printable_message`, `printable_lines` and
                        `printable_json` for messages, drawings and JSON
`spreadsheet_cell`      a value of a table that no spreadsheet takes for a formula
`folder_name`           a name that may come from a file, as the name of one folder
`within_limits`         numbers of a run that a machine can count through
`check_archive`         an ``.npz`` that does not unpack into more than a machine holds
======================= ====================================================================================

docs/security.md says what is promised and what is not.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from equiscope.foundations.errors import EquiscopeError

__all__ = [
    "built_in_name",
    "check_archive",
    "folder_name",
    "inside",
    "is_sheet",
    "is_webp",
    "offered_network",
    "printable",
    "printable_json",
    "printable_lines",
    "printable_message",
    "quoted",
    "refuse_links",
    "shown_command",
    "spreadsheet_cell",
    "within_limits",
]

# What a name may not hold if it is to be one part of a path everywhere: it separates parts or drives, or is unseen.
_NO_PART = re.compile(r"[\x00-\x1f\x7f\\:]")
_NO_FOLDER_NAME = re.compile(r'[/\\:*?"<>|]')
# A file system takes 255 bytes for a name; the rest is for what is put before and behind it.
_MOST_NAME_BYTES = 160
# A spreadsheet takes a cell that begins so for a formula, also behind spaces and quotes.
_FORMULA = re.compile(r"[\s'\"]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
# Commands that make what can be made again by giving the same command.
_MAKERS = ("survey", "train")
# Controls, marks of writing direction, breaks of lines and pages, halves of characters: what is no letter, no sign and
# no space steers the terminal, turns the text round, or may not stand in XML.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_FROM_PYTHON = "equiscope.survey(...)"
# Smallest and largest value of what becomes a loop, a picture or an array, by field: far more than any network has, and
# little enough for a machine.
_LIMITS = {
    "angle_deg": (-3_600, 3_600),
    "angles": (0, 3_600),
    "centre_px": (-10_000, 10_000),
    "channel": (0, 1_000_000),
    "hue_deg": (-3_600, 3_600),
    "largest_px": (0, 10_000),
    "n_channels": (0, 1_000_000),
    "n_columns": (1, 10_000),
    "n_rows": (1, 10_000),
    "n_stimuli": (0, 1_000_000),
    "n_units": (0, 1_000_000),
    "octaves": (-100, 100),
    "receptive_field_px": (0, 10_000),
    "stabiliser_order": (0, 3_600),
    "stride_px": (0, 1_000),
}
# Deflate makes at most 1,032 bytes of one. Weights and pictures of honest runs give less than 10; what is small anyway
# may hold zeros only.
_MOST_EXPANSION = 100
_SMALL_BYTES = 1 << 30


def refuse_links(folder: Path) -> None:
    """Check that a folder holds nothing but files and folders, at any depth; the folder itself may be a link.

    Raises
    ------
    EquiscopeError
        If there is a link, through which reading, writing or deleting would reach what lies elsewhere, or a pipe, a
        socket or a device, which need not come to an end.

    Notes
    -----
    One entry of a folder costs some microseconds, and no file is opened.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     refuse_links(Path(folder))
    ...     (Path(folder) / "away").symlink_to("/")
    ...     try:
    ...         refuse_links(Path(folder))
    ...     except EquiscopeError:
    ...         "refused"
    'refused'
    """
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                    raise EquiscopeError(
                        f"{entry.path} is {_kind(entry)}: expected files and folders only, so that nothing is read or "
                        "written outside of the folder; remove it, or put what it leads to in its place"
                    )


def _kind(entry: os.DirEntry[str]) -> str:
    """Word what an entry of a folder is that is neither a file nor a folder."""
    if entry.is_symlink():
        return f"a link to {str(Path(entry.path).readlink())!r}"
    mode = entry.stat(follow_symlinks=False).st_mode
    return "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def inside(folder: Path, address: str) -> Path:
    """Give the path of an address that a run names, which has to lie inside its folder and to be reached by no link.

    Parameters
    ----------
    folder
        Where the address begins.
    address
        Names with ``/`` between them, such as ``site/sprites/conv1-0.webp``.

    Raises
    ------
    EquiscopeError
        If the address is absolute, leads up, names a drive, holds a backslash or a control character, or if anything
        on its way is a link. Whether there is such a file is not asked.

    Examples
    --------
    >>> inside(Path("run"), "site/core.js").as_posix()
    'run/site/core.js'
    """
    parts = address.split("/")
    is_plain = not _NO_PART.search(address) and all(part not in ("", ".", "..") for part in parts)
    path = folder
    for part in parts if is_plain else ():
        path = path / part
        is_plain = is_plain and not path.is_symlink()
    if not is_plain:
        raise EquiscopeError(
            f"{folder} names {address!r} as one of its files: expected an address inside of the folder, by no link; "
            "the run was changed by hand or made to do harm, so make it again"
        )
    return path


def is_sheet(folder: Path, address: str) -> bool:
    """Say whether an address that a run names is that of a sheet of pictures: a WebP file inside of ``site/sprites``.

    The address stands in style sheets, where only letters, digits and ``._-`` mean nothing.

    Examples
    --------
    >>> is_sheet(Path("run"), "site/sprites/../core.js")
    False
    """
    if not re.fullmatch(r"site/sprites/[A-Za-z0-9_-][A-Za-z0-9._-]*\.webp", address):
        return False
    try:
        path = inside(folder, address)
    except EquiscopeError:
        return False
    return is_webp(path)


def is_webp(path: Path) -> bool:
    """Say whether a path is a regular file that begins as a WebP picture does and is as long as it says there.

    Examples
    --------
    >>> is_webp(Path("absent.webp"))
    False
    """
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(12)
    n_bytes = int.from_bytes(head[4:8], "little") + 8
    return (head[:4], head[8:]) == (b"RIFF", b"WEBP") and n_bytes == path.stat().st_size


def built_in_name(name: object, built_in: Collection[str], command: str) -> str:
    """Give the name of a run's network where it is one that comes with the package, or a control of one.

    Parameters
    ----------
    name
        What the run says that it surveyed.
    built_in
        Names of networks whose code and weights are the package's own.
    command
        How the network is given, for the message: ``equiscope verify RUN NETWORK``.

    Raises
    ------
    EquiscopeError
        For any other name: it could be that of a file of code.

    Examples
    --------
    >>> built_in_name("mini-random", ("mini",), "equiscope verify RUN NETWORK")
    'mini-random'
    """
    known = "|".join(re.escape(own) for own in built_in)
    if isinstance(name, str) and re.fullmatch(f"({known})(-random|-shuffled){{0,2}}", name):
        return name
    raise EquiscopeError(
        f"the run says that it surveyed {name!r}, which is not among the built-in {', '.join(sorted(built_in))}: code "
        f"and weights are taken from you, never from a run; give the network yourself, as to the survey: {command}"
    )


def shown_command(command: object, otherwise: str = "the command that made it") -> str:
    """Give the command that a run says made it where it may be offered for copying, and other words where not.

    It may where it is one command of this program that makes something: whatever else it says has to be as
    `shlex.join` writes it, so that a shell takes nothing in it for a second command.

    Examples
    --------
    >>> shown_command("equiscope survey mini --out runs/mini"), shown_command("rm -rf /")
    ('equiscope survey mini --out runs/mini', 'the command that made it')
    """
    if command == _FROM_PYTHON:
        return _FROM_PYTHON
    if not isinstance(command, str) or _UNSEEN.search(command):
        return otherwise
    try:
        words = shlex.split(command)
    except ValueError:
        return otherwise
    is_ours = len(words) > 1 and words[0] == "equiscope" and words[1] in _MAKERS
    return command if is_ours and shlex.join(words) == command else otherwise


def offered_network(name: object) -> str:
    """Give the name of a run's network for a command that may be copied: ``NETWORK`` where it could be that of code.

    Examples
    --------
    >>> offered_network("mini"), offered_network("nets.py:build")
    ('mini', 'NETWORK')
    """
    text = str(name)
    is_word = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text) is not None
    return text if is_word and not text.endswith((".py", ".onnx", ".safetensors")) else "NETWORK"


def quoted(word: object) -> str:
    """Write a path or a name as one word of a command that may be copied into a shell.

    Examples
    --------
    >>> quoted("runs/my run")
    "'runs/my run'"
    """
    return shlex.quote(printable(str(word)))


def printable(text: str) -> str:
    r"""Write what steers a terminal, or the order of letters, as its code: ``\x1b`` for the escape character.

    Examples
    --------
    >>> printable("conv1\x1b[2J")
    'conv1\\x1b[2J'
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_lines(text: str) -> str:
    r"""Write a text of several lines as `printable` does, its lines kept.

    Examples
    --------
    >>> printable_lines("one\ntwo\x07")
    'one\ntwo\\x07'
    """
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_message(text: str) -> str:
    r"""Word a message of any number of lines for a terminal: all but the first are indented, so that none is forged.

    Examples
    --------
    >>> printable_message("one\ntwo")
    'one\n  two'
    """
    return "\n  ".join(printable(line) for line in text.splitlines())


def printable_json(text: str) -> str:
    r"""Write what steers a terminal in a JSON text as ``\u…``, of which JSON asks for the first 32 codes only.

    Examples
    --------
    >>> printable_json('{"name": "\x7f"}')
    '{"name": "\\u007f"}'
    """
    return "\n".join(_UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in text.split("\n"))


def spreadsheet_cell(value: Any) -> Any:
    """Give a value of a table, a text so that no spreadsheet takes it for a formula; numbers stay numbers.

    Examples
    --------
    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("conv1"), spreadsheet_cell(-0.5)
    ("'=1+1", 'conv1', -0.5)
    """
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if _FORMULA.match(value) else printable(value)


def folder_name(name: str) -> str:
    """Give the name of one folder for a name that may come from a file: what would lead elsewhere is encoded.

    Examples
    --------
    >>> folder_name("plain"), folder_name("../up"), folder_name("..")
    ('plain', '%2E.%2Fup', '%2E.')
    """
    safe = _NO_FOLDER_NAME.sub(lambda found: quote(found[0], safe=""), printable(name))
    safe = safe.encode()[:_MOST_NAME_BYTES].decode(errors="ignore")
    return f"%2E{safe[1:]}" if safe.startswith(".") else safe or "unnamed"


def within_limits(entry: dict[str, Any]) -> dict[str, Any]:
    """Give an object of a JSON file back, after checking its sizes: for `json.loads`, as ``object_hook``.

    Raises
    ------
    ValueError
        If a number that becomes a loop, a picture or an array is larger than any network's.

    Examples
    --------
    >>> within_limits({"n_channels": 64})
    {'n_channels': 64}
    """
    for name in _LIMITS.keys() & entry.keys():
        value = entry[name]
        low, high = _LIMITS[name]
        for number in value if isinstance(value, list) else (value,):
            if isinstance(number, (int, float)) and not low <= number <= high and number == number:
                raise ValueError(f"{name} is {str(number)[:20]}, expected {low:,} to {high:,}")
    return entry


def check_archive(path: Path) -> None:
    """Check, before an ``.npz`` out of a run is read, that it does not unpack into far more than its own size.

    Raises
    ------
    EquiscopeError
        If it would. What is no archive at all is left to whoever reads it.

    Examples
    --------
    >>> import numpy as np
    >>> np.savez("small.npz", values=np.zeros(3))
    >>> check_archive(Path("small.npz"))
    """
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return
    if n_bytes > max(_SMALL_BYTES, _MOST_EXPANSION * path.stat().st_size):
        raise EquiscopeError(
            f"{path} has {path.stat().st_size:,} bytes and unpacks into {n_bytes:,}: expected at most "
            f"{_MOST_EXPANSION} times its size; it was made to fill the memory, so remove it and make it again"
        )
