"""The rules for what comes from somebody else, one at a time; whole attacks are in test_hostile_runs.py."""

from __future__ import annotations

import json
import math
import os
import shlex
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from equiscope.foundations import received
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.received import (
    built_in_name,
    check_archive,
    folder_name,
    inside,
    is_sheet,
    offered_network,
    printable,
    printable_json,
    printable_lines,
    quoted,
    refuse_links,
    shown_command,
    spreadsheet_cell,
    within_limits,
)

BUILT_IN = ("mini", "googlenet")


@pytest.mark.parametrize("address", ["a", "a/b.webp", "a b/..c", "ünïcode/x", "...", "a/..b"])
def test_an_address_inside_is_the_path_there(tmp_path: Path, address: str) -> None:
    assert inside(tmp_path, address) == tmp_path / address


@pytest.mark.parametrize(
    "address",
    [
        "", ".", "..", "../x", "a/../b", "a/..", "./a", "a/./b", "a//b", "a/", "/etc/passwd", "//host/share", "C:/x",
        "C:x",        "a:stream", "a\\b", "..\\x", "\\\\host\\share", "a\x00b", "a\nb", "\x7f",
    ],
)  # fmt: skip
def test_an_address_that_leads_elsewhere_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(EquiscopeError, match="expected an address inside of the folder, by no link"):
        inside(tmp_path, address)


def test_an_address_is_reached_by_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "run"
    (folder / "real").mkdir(parents=True)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "real" / "within").symlink_to(folder / "real")
    (folder / "real" / "gone").symlink_to("nowhere")
    assert inside(folder, "real/x") == folder / "real" / "x"
    for address in ("linked", "linked/x", "real/within/x", "real/gone"):
        with pytest.raises(EquiscopeError, match="by no link"):
            inside(folder, address)


def test_only_pictures_on_sheets_are_sheets(tmp_path: Path) -> None:
    place = tmp_path / "site" / "sprites"
    place.mkdir(parents=True)
    for name in ("a.webp", ".b.webp", "c d.webp", "e.png"):
        Image.new("RGB", (8, 8)).save(place / name, "WEBP")
    Image.new("RGB", (8, 8)).save(place / "png.webp", "PNG")
    (place / "text.webp").write_text("RIFF or so")
    (place / "folder.webp").mkdir()
    (place / "linked.webp").symlink_to(place / "a.webp")
    addresses = [f"site/sprites/{path.name}" for path in place.iterdir()]
    assert [address for address in addresses if is_sheet(tmp_path, address)] == ["site/sprites/a.webp"]
    for address in (
        "site/sprites/none.webp",
        "a.webp",
        "site/sprites/../sprites/a.webp",
        "/site/sprites/a.webp",
    ):
        assert not is_sheet(tmp_path, address)


def test_a_folder_of_files_and_folders_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    refuse_links(tmp_path)


@pytest.mark.parametrize("place", ["x", "a/x", "a/b/x"])
def test_links_pipes_and_sockets_are_refused_at_any_depth(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = tmp_path / place
    for target in (tmp_path / "a", tmp_path / "nowhere", Path("/")):
        path.symlink_to(target)
        with pytest.raises(EquiscopeError, match="is a link to"):
            refuse_links(tmp_path)
        path.unlink()
    os.mkfifo(path)
    with pytest.raises(EquiscopeError, match="is a named pipe"):
        refuse_links(tmp_path)
    path.unlink()
    monkeypatch.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(path.name)
        with pytest.raises(EquiscopeError, match="is a socket"):
            refuse_links(tmp_path)


@pytest.mark.parametrize(
    "name", ["mini", "googlenet", "mini-random", "mini-shuffled", "mini-random-shuffled"]
)
def test_names_without_code_are_taken(name: str) -> None:
    assert built_in_name(name, BUILT_IN, "…") == name


@pytest.mark.parametrize(
    "name",
    [
        "other", "mini.py:f", "a:b", "mini-random.onnx", "-random", "mini-", "mini-random\n", "xmini", "minix",
        "mini-random-random-random", "", None, 1, ["mini"],
    ],
)  # fmt: skip
def test_other_names_are_asked_for(name: Any) -> None:
    with pytest.raises(EquiscopeError, match=r"as to the survey: equiscope verify RUN NETWORK$"):
        built_in_name(name, BUILT_IN, "equiscope verify RUN NETWORK")


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("mini", "mini"), ("resnet50.a1_in1k", "resnet50.a1_in1k"), ("net.py", "NETWORK"), ("net.onnx", "NETWORK"),
        ("net.safetensors", "NETWORK"), ("a:b", "NETWORK"), ("a/b", "NETWORK"), ("--help", "NETWORK"),
        ("a; b", "NETWORK"), ("", "NETWORK"), (".hidden", "NETWORK"), ("a\n", "NETWORK"),
    ],
)  # fmt: skip
def test_a_network_is_offered_by_a_name_that_is_a_word_and_no_code(name: str, offered: str) -> None:
    assert offered_network(name) == offered


@given(st.lists(st.text(), min_size=1))
def test_every_command_of_ours_is_shown_as_it_was(words: list[str]) -> None:
    command = shlex.join(["equiscope", "survey", *words])
    is_plain = printable(command) == command
    assert shown_command(command) == (command if is_plain else "the command that made it")


@given(st.text())
def test_a_shell_takes_no_second_command_out_of_one_that_is_shown(more: str) -> None:
    command = f"equiscope survey {more}"
    if shown_command(command) == command:
        assert shlex.join(shlex.split(command)) == command


@given(st.text())
def test_what_is_printable_stays_and_the_rest_is_escaped(text: str) -> None:
    said = printable(text)
    assert said.encode().decode() == said
    assert printable(said) == said
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in said)
    assert printable(text.replace("\n", "")).count("\n") == 0


@pytest.mark.parametrize("text", ["conv1", "größe 3 µm", "a\u2009b\u00a0c", "→ ✓ 猫 🐈", "e\u0301"])
def test_letters_signs_and_spaces_of_any_script_stay(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x1b[31m", "\\x1b[31m"), ("\x9b", "\\x9b"), ("a\rb", "a\\rb"), ("\x07", "\\x07"), ("\u202e", "\\u202e"),
        ("\u2066", "\\u2066"), ("\u200b", "\\u200b"), ("\u2028", "\\u2028"), ("\ufeff", "\\ufeff"),
        ("\udce9", "\\udce9"), ("\U000e0041", "\\U000e0041"),
    ],
)  # fmt: skip
def test_what_steers_is_written_as_its_code(text: str, said: str) -> None:
    assert printable(text) == said
    assert printable_lines(f"{text}\nb") == f"{said}\nb"


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_json_that_is_printable_says_the_same(document: dict[str, Any]) -> None:
    text = printable_json(json.dumps(document, ensure_ascii=False, indent=1))
    assert json.loads(text) == document
    assert all(printable(line) == line for line in text.split("\n"))


def test_a_path_is_one_word_of_a_command() -> None:
    for path in ("plain", "a b", "$(id)", "a'; rm -rf ~; '", "`id`"):
        assert shlex.split(f"equiscope verify {quoted(Path(path))}") == ["equiscope", "verify", path]
    assert "\x1b" not in quoted("a\x1bb")


@pytest.mark.parametrize(
    "value", [-1, 0, 2.5, math.nan, True, None, "conv1", "mixed3a-rotation-2", "a=b", "a-1"]
)
def test_cells_that_are_no_formulas_stay(value: Any) -> None:
    assert spreadsheet_cell(value) is value or spreadsheet_cell(value) == value


@pytest.mark.parametrize(
    "value", ["=1", "+1", "-1", "@x", "\t=1", "\rx", "\nx", " =1", "'=1", '"=1', "＝1", "－1"]
)
def test_cells_that_are_formulas_become_text(value: str) -> None:
    assert spreadsheet_cell(value) == f"'{printable(value)}"


@given(st.text())
def test_a_folder_name_is_one_part_of_a_path(name: str) -> None:
    made = folder_name(name)
    assert Path("folder", made).parent == Path("folder")
    assert made not in ("", ".", "..")
    assert made[0] != "."


@pytest.mark.parametrize("name", ["mini", "my net", "größe", "resnet50.a1_in1k", "a-b_c.d"])
def test_a_folder_name_that_leads_nowhere_stays(name: str) -> None:
    assert folder_name(name) == name


def test_an_archive_unpacks_into_no_more_than_a_hundred_times_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, zeros=np.zeros(4_000_000, np.uint8))
    check_archive(path)
    monkeypatch.setattr(received, "_SMALL_BYTES", 1_000_000)
    with pytest.raises(
        EquiscopeError, match=r"bytes and unpacks into 4,000,\d\d\d: expected at most 100 times"
    ):
        check_archive(path)
    np.savez_compressed(path, noise=np.random.default_rng(0).integers(0, 256, 4_000_000, np.uint8))
    check_archive(path)
    path.write_text("no archive")
    check_archive(path)
    check_archive(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    "entry",
    [
        {"n_units": 1_000_000}, {"octaves": None}, {"octaves": math.nan}, {"octaves": [-1.0, None, 2.0]},
        {"angles": 16}, {"channel": "many"}, {"n_columns": 1}, {"seed": 10**18}, {"octaves": [[10**9]]},
    ],
)  # fmt: skip
def test_numbers_of_networks_are_taken(entry: dict[str, Any]) -> None:
    assert within_limits(entry) is entry


@pytest.mark.parametrize(
    "entry",
    [
        {"n_units": 1_000_001}, {"n_units": -1}, {"octaves": 101}, {"octaves": [0.0, math.inf]}, {"angles": 10**20},
        {"angles": 10**400},
        {"n_columns": 0}, {"stride_px": [1, 10**6]}, {"stabiliser_order": 10**6},
    ],
)  # fmt: skip
def test_numbers_of_no_network_are_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" is .*, expected "):
        json.loads(json.dumps(entry), object_hook=within_limits)
