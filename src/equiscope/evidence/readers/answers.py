"""The answers of a reader who judged families by eye, as the report's page *Judge* saves them.

Such a file may come from anybody: it is data, read up to a size, and every part of it is checked.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.records import read_record

__all__ = ["ANSWERS", "Answer", "Answers", "read_answers"]

ANSWERS = ("yes", "no", "unsure")
_FORMAT, _VERSION = "equiscope answers", 1
# A reader who judged ten thousand families leaves a few megabytes.
_MOST_BYTES = 20_000_000


@dataclass(frozen=True)
class Answer:
    """What a reader said of one family.

    Attributes
    ----------
    family
        Its id.
    members
        Its units, ``LAYER:CHANNEL``, in the family's order, as they were when it was judged.
    answer
        ``yes`` where all members show the same feature, ``no``, or ``unsure``.
    draw
        What the family was drawn from: ``all`` families, ``stratified`` by verdict, or those of the verdict named.
    seed
        Of the draw.
    """

    family: str
    members: tuple[str, ...]
    answer: str
    draw: str
    seed: int


@dataclass(frozen=True)
class Answers:
    """All answers of one reader.

    Attributes
    ----------
    reader
        By whom: the path of the file.
    answers
        One a family.
    """

    reader: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class _File:
    format: str
    version: int
    answers: tuple[Answer, ...]


def read_answers(path: str | Path) -> Answers:
    """Read the answers of one reader.

    Parameters
    ----------
    path
        A file that the report's page *Judge* saved.

    Raises
    ------
    EquiscopeError
        If it is not there, is larger than such a file can be, is none, is of a later version, holds an answer that is
        none, or two of one family.

    Examples
    --------
    >>> answer = {"family": "conv1-rotation-1", "members": ["conv1:0", "conv1:3"], "answer": "yes"}
    >>> document = {"format": "equiscope answers", "version": 1, "answers": [answer | {"draw": "all", "seed": 0}]}
    >>> _ = Path("answers.json").write_text(json.dumps(document))
    >>> read_answers("answers.json").answers[0].answer
    'yes'
    """
    path = Path(path)
    if not path.is_file():
        raise EquiscopeError(
            f"{path} is no file: expected a file that the report's page Judge saved, such as answers.json"
        )
    n_bytes = path.stat().st_size
    if n_bytes > _MOST_BYTES:
        raise EquiscopeError(
            f"{path} has {n_bytes:,} bytes, of at most {_MOST_BYTES:,} for answers: expected a file that the report's "
            "page Judge saved"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT!r}")
        if document.get("version") != _VERSION:
            raise ValueError(f"version {str(document.get('version'))[:20]}, this equiscope reads {_VERSION}")
        found: _File = read_record(_File, document)
        _check(found.answers)
    except (ValueError, RecursionError) as error:
        raise EquiscopeError(
            f"{path} holds no answers ({str(error)[:200]}): expected a file that the report's page Judge saved"
        ) from None
    return Answers(str(path), found.answers)


def _check(answers: tuple[Answer, ...]) -> None:
    """Check that each answer is one of the three, and that no family has two.

    Raises
    ------
    ValueError
        Otherwise.
    """
    for own in answers:
        if own.answer not in ANSWERS:
            raise ValueError(
                f"the answer on {own.family[:60]} is {own.answer[:20]!r}, expected yes, no or unsure"
            )
    twice = [family for family, n in Counter(own.family for own in answers).items() if n > 1]
    if twice:
        raise ValueError(f"two answers on {twice[0][:60]}, expected one")
