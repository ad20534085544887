"""Errors of the operating system: one sentence with what failed, on what, and what this command can do."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest

from equiscope.cli.system_errors import has_out, word_system_error
from in_process import run_command

NUMBERS = sorted(errno.errorcode)


@pytest.mark.parametrize("number", NUMBERS, ids=[errno.errorcode[number] for number in NUMBERS])
@pytest.mark.parametrize("is_there", [False, True])
def test_every_error_has_a_remedy_that_the_command_has(number: int, is_there: bool) -> None:
    said = word_system_error(OSError(number, os.strerror(number), "runs/{a}/file"), has_out=is_there)
    assert said.startswith(f"{os.strerror(number)} (runs/{{a}}/file): ")
    assert len(said) > len(os.strerror(number)) + 30
    assert "{or_out}" not in said
    assert is_there or "--out" not in said


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: make room, and give"),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "Invalid cross-device link (a to b): mend",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", b"\xff.npz"),
            "directory (\udcff.npz): check the",
        ),
        (OSError("two\nlines"), "two lines: mend what it says"),
        (TimeoutError(), "TimeoutError: mend what it says"),
        (OSError(errno.EBADF, "Bad file descriptor", 7), "Bad file descriptor: mend"),
    ],
)
def test_errors_of_any_make_are_one_line(error: OSError, expected: str) -> None:
    said = word_system_error(error, has_out=False)
    assert expected in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("command", "is_there"),
    [("survey", True), ("train", True), ("design", True), ("figure", True), ("verify", False), ("circuits", False),
     ("report", False), ("compare", False), ("featurevis", False), ("layers", False), ("nonsense", False)],
)  # fmt: skip
def test_the_command_knows_whether_it_has_out(command: str, is_there: bool) -> None:
    # A run may be called like another command.
    assert has_out([command, "survey" if not is_there and command != "nonsense" else "verify"]) is is_there
    assert not has_out([])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with images, a file, and a folder that is not empty."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("file/run", "Not a directory .*file/run.*: a part of this path is a file"),
        ("file/a/b/run", "Not a directory .*: a part of this path is a file"),
        ("n" * 256, "File name too long .*n{256}.*: most file systems take names of up to 255 bytes"),
        ("ü" * 128, "File name too long .*ü{128}.*choose a shorter one"),
        ("circle/run", "Too many levels of symbolic links .*: links lead in a circle"),
        ("/dev/null/run", "Not a directory .*/dev/null"),
        ("/proc/run", r"No such file or directory \(/proc/run\): check the path"),
    ],
)
def test_places_where_no_run_can_be(place: Path, out: str, said: str) -> None:
    (place / "circle").symlink_to("circle")
    before = sorted(place.rglob("*"))
    done = run_command("survey", "mini", "--images", "images.npz", "--out", out, cwd=place)
    status, words = done.returncode, done.stderr
    assert status == 2
    assert re.fullmatch(f"equiscope: {said}.*\n", words), words
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["layers", "mini", "--weights", "folder"], "folder"),
        (["survey", "mini", "--images", "n" * 300], "File name too long"),
        (["train", "plain", "--data", "n" * 300], "File name too long"),
        (["train", "plain", "--data", "file/below"], "file/below"),
        (["export", "n" * 300, "units"], "File name too long"),
        (["report", "file/below"], "file/below is no folder"),
    ],
)
def test_things_that_cannot_be_read(place: Path, arguments: list[str], said: str) -> None:
    done = run_command(*arguments, cwd=place)
    status, words = done.returncode, done.stderr
    assert status == 2
    assert words.startswith("equiscope: ")
    assert said in words
    assert words.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "is_told"),
    [(errno.EMFILE, True), (errno.EIO, True), (errno.EACCES, True), (errno.ESTALE, True), (errno.ENOSPC, True),
     (errno.ENOENT, False), (errno.EISDIR, False), (None, False)],
)  # fmt: skip
def test_a_message_that_blames_a_file_wrongly_is_not_said(
    number: int | None, is_told: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: object) -> bool:
        raise OSError("damaged") if number is None else OSError(number, os.strerror(number), "images.npz")

    monkeypatch.setattr("zipfile.is_zipfile", fail)
    done = run_command("survey", "mini", "--images", "images.npz", cwd=place)
    status, said = done.returncode, done.stderr
    assert (status, said.count("\n")) == (2, 1)
    assert ("fetch" not in said) == is_told
    assert said.startswith(f"equiscope: {os.strerror(number)} (images.npz): ") == is_told if number else True
