"""What a folder or an archive holds: the images that are read, what is left out and why, and how much else there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from equiscope.foundations.errors import EquiscopeError
from equiscope.stimuli.decoding import IMAGE_ENDINGS, USUAL_ENDINGS, UndecodableError, refuse_ending

__all__ = [
    "ENDINGS",
    "HEAD_BYTES",
    "Found",
    "Listing",
    "Source",
    "ending_of",
    "no_image",
    "note_assumptions",
    "note_left_out",
    "note_other",
    "note_others",
    "read_encoded",
    "shown_name",
]

ENDINGS = frozenset(IMAGE_ENDINGS)
HEAD_BYTES = 16
# More than the largest picture that is decoded takes without any compression: 179 million pixels of 6 bytes.
_MAX_IMAGE_BYTES = 1 << 30


class Source(Protocol):
    """Named runs of bytes, readable from several threads."""

    names: list[str]
    pixel_shape: tuple[int, ...] | None
    """None: `read` gives an encoded image. Otherwise raw uint8 pixels of this shape."""

    def n_bytes(self, index: int) -> int:
        """Size of one image as it is stored."""
        ...

    def read(self, index: int, start: int, stop: int) -> bytes:
        """Bytes of one image from `start` up to `stop`, or up to its end."""
        ...


@dataclass
class Listing:
    """What a folder or an archive holds.

    Attributes
    ----------
    source
        The images.
    left_out
        The reason for each thing that was left out although it is, or may hold, a picture.
    others
        How many other things there are, by their ending.
    """

    source: Source
    left_out: dict[str, str]
    others: Counter[str]


@dataclass
class Found:
    """What was seen so far of a folder or an archive."""

    left_out: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def read_encoded(source: Source, index: int) -> bytes:
    """Read one image as it is stored.

    Raises
    ------
    UndecodableError
        If it is larger than any picture.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.stimuli.sources.folders import find_files
    >>> _ = Path("a.png").write_bytes(b"as stored")
    >>> read_encoded(find_files(Path(".")).source, 0)
    b'as stored'
    """
    n_bytes = source.n_bytes(index)
    if n_bytes > _MAX_IMAGE_BYTES:
        raise UndecodableError(
            f"the file has {n_bytes} bytes, more than the {_MAX_IMAGE_BYTES} of a picture that can be decoded"
        )
    return source.read(index, 0, n_bytes)


def shown_name(path: str) -> str:
    r"""Give a name that every text file can hold, also of a file whose name is no UTF-8.

    Examples
    --------
    >>> shown_name("caf\udce9.png")
    'caf\\xe9.png'
    """
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def ending_of(path: str) -> str:
    """Give the ending in lower case, with its dot; empty where there is none.

    Examples
    --------
    >>> ending_of("folder.d/Photo.JPG"), ending_of("folder.d/README")
    ('.jpg', '')
    """
    # By hand: a path object for each of a million names takes half a minute.
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot else ""


def note_other(path: str, found: Found) -> None:
    """Name a picture that cannot be read; count what is no picture.

    Examples
    --------
    >>> found = Found()
    >>> note_other("notes.txt", found)
    >>> note_other("drawing.svg", found)
    >>> dict(found.others), list(found.left_out)
    ({'.txt': 1}, ['drawing.svg'])
    """
    reason = refuse_ending(ending_of(path))
    if reason is not None:
        found.left_out[shown_name(path)] = reason
    else:
        found.others[ending_of(path) or "without an ending"] += 1


def _list(others: Counter[str]) -> str:
    """List endings, the most frequent first."""
    ordered = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{n} {ending}" for ending, n in ordered[:6]] + (["…"] if len(ordered) > 6 else [])
    return ", ".join(listed) or "none"


def note_others(place: str, others: Counter[str]) -> list[str]:
    """Say in a sentence how many things are no pictures; nothing where there are none.

    Examples
    --------
    >>> note_others("photos", Counter({".txt": 2, ".md": 1}))
    ['3 things in photos are no images: 2 .txt, 1 .md']
    """
    n = others.total()
    if not n:
        return []
    return [
        f"{n} {'thing' if n == 1 else 'things'} in {place} {'is' if n == 1 else 'are'} no images: {_list(others)}"
    ]


def note_left_out(left_out: Mapping[str, str]) -> list[str]:
    """Say in a sentence how many pictures are not read, and why the first is not.

    Examples
    --------
    >>> note_left_out({"b.gif": "it is empty", "a.png": "it is a named pipe, not a file"})
    ['2 things were left out, such as a.png: it is a named pipe, not a file']
    """
    if not left_out:
        return []
    name, reason = min(left_out.items())
    n = len(left_out)
    return [f"{n} {'thing was' if n == 1 else 'things were'} left out, such as {name}: {reason}"]


def note_assumptions(assumptions: Mapping[str, str]) -> list[str]:
    """Say in a sentence of how many images the range of values was assumed, and how that of the first.

    Examples
    --------
    >>> note_assumptions({"a.tif": "0 to 4095"})
    ['the range of values of 1 image had to be assumed, of a.tif: 0 to 4095']
    """
    if not assumptions:
        return []
    name, reason = min(assumptions.items())
    n = len(assumptions)
    return [
        f"the range of values of {n} {'image' if n == 1 else 'images'} had to be assumed, of {name}: {reason}"
    ]


def no_image(place: str, found: Found) -> EquiscopeError:
    """Word that a place holds no image, with what it holds instead.

    Examples
    --------
    >>> str(no_image("the folder 'photos'", Found(others=Counter({".txt": 2}))))[:56]
    "no image in the folder 'photos'; other files there: 2 .t"
    """
    skipped = "".join(f" Left out: {name} ({reason})." for name, reason in list(found.left_out.items())[:3])
    return EquiscopeError(
        f"no image in {place}; other files there: {_list(found.others)}.{skipped} Expected files that end in "
        f"{' '.join(USUAL_ENDINGS)} and are not hidden; give the folder or archive that holds them."
    )
