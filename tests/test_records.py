"""Reading a run's files: every value is checked, every checksum met, every message says what makes the file again."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pytest

from equiscope.foundations.errors import DamagedFileError, EquiscopeError
from equiscope.foundations.records import Archive, NumberTree, leave_out_damaged, read_record, reading


@dataclass(frozen=True)
class Point:
    x: float
    name: str | None = None


@dataclass(frozen=True)
class Shape:
    kind: str
    n: int
    points: tuple[Point, ...]
    pair: tuple[str, float] = ("", 0.0)
    is_closed: bool = False
    by_name: dict[str, Point] = field(default_factory=dict)
    grid: NumberTree = field(default_factory=list)


class Document(TypedDict):
    title: str
    share: float
    bound: float | None
    shapes: list[Shape]
    later: NotRequired[int]


WHOLE: dict[str, Any] = {
    "kind": "curve",
    "n": 2,
    "points": [{"x": 1.5}, {"x": None, "name": "end"}],
    "pair": ["a", 1],
    "is_closed": True,
    "by_name": {"a": {"x": 0}},
    "grid": [[1, None], [2.5, 3]],
    "unknown": "of a later version",
}


def test_a_record_comes_back_with_its_types() -> None:
    found = read_record(Shape, WHOLE)
    assert (found.kind, found.n, found.pair, found.is_closed) == ("curve", 2, ("a", 1.0), True)
    assert [point.name for point in found.points] == [None, "end"]
    assert found.points[0].x == 1.5
    assert math.isnan(found.points[1].x)
    assert type(found.by_name["a"].x) is float
    assert found.grid[0][0] == 1.0
    assert math.isnan(found.grid[0][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 3}, "kind is 3, expected text"),
        ({"n": 2.0}, "n is 2.0, expected an integer"),
        ({"n": True}, "n is True, expected an integer"),
        ({"n": "2"}, "n is '2', expected an integer"),
        ({"n": None}, "n is None, expected an integer"),
        ({"points": {}}, "points is dict, expected a list"),
        ({"points": [{"x": 1}, {"x": "1"}]}, r"points\[1\]\.x is '1', expected a number"),
        ({"points": [{"x": 1}, None]}, r"points\[1\] is None, expected an object"),
        ({"points": [{}]}, r"points\[0\] has no 'x'"),
        ({"points": [{"x": math.inf}]}, "expected a finite number, or null"),
        ({"points": [{"x": False}]}, "x is False, expected a number"),
        ({"points": [{"x": 1, "name": 4}]}, "name is 4, expected text"),
        ({"pair": ["a"]}, "pair is list, expected a list of 2"),
        ({"pair": ["a", []]}, r"pair\[1\] is list, expected a number"),
        ({"is_closed": 1}, "is_closed is 1, expected true or false"),
        ({"by_name": {"a": []}}, r"by_name\['a'\] is list, expected an object"),
        ({"grid": [[1, "2"]]}, "grid is '2', expected a number"),
    ],
)
def test_what_is_of_another_type_is_named_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_record(Shape, WHOLE | change)


@pytest.mark.parametrize("key", ["kind", "n", "points"])
def test_what_is_missing_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"has no '{key}'"):
        read_record(Shape, {name: value for name, value in WHOLE.items() if name != key})


def test_a_document_is_checked_and_null_stands_only_where_its_type_says() -> None:
    document = {"title": "t", "share": 0.5, "bound": None, "shapes": [WHOLE]}
    read_record(Document, document)
    read_record(Document, document | {"later": 3})
    for change in ({"share": None}, {"later": "3"}, {"shapes": [WHOLE | {"n": "2"}]}, {"title": None}):
        with pytest.raises(ValueError, match="expected"):
            read_record(Document, document | change)
    with pytest.raises(ValueError, match="has no 'bound'"):
        read_record(Document, {"title": "t", "share": 0.5, "shapes": []})


def test_a_number_too_large_for_a_float_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="is damaged"), reading(tmp_path / "units.json"):
        read_record(Point, {"x": 10**400})


# --- archives ----------------------------------------------------------------------------------------------


def saved(folder: Path) -> Path:
    path = folder / "arrays.npz"
    np.savez(path, a=np.arange(64.0), b=np.array(["x", "ü"]))
    return path


def test_an_archive_comes_back(tmp_path: Path) -> None:
    with Archive(saved(tmp_path)) as found:
        assert set(found) == {"a", "b"}
        assert found["a"].tolist() == list(range(64))
        assert found["b"].tolist() == ["x", "ü"]


@pytest.mark.parametrize(("before", "after"), [(b"(90000,)", b"(10000,)"), (b"<f8", b"<f2")])
def test_a_header_that_asks_for_less_is_noticed(tmp_path: Path, before: bytes, after: bytes) -> None:
    """numpy reads as much as the header asks for, and thus not to the end, where the checksum is compared."""
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.arange(90000.0))
    path.write_bytes(path.read_bytes().replace(before, after))
    with np.load(path) as stored:
        assert stored["a"].nbytes < 90000 * 8
    with pytest.raises(DamagedFileError, match=r"arrays\.npz is damaged \(BadZipFile: Bad CRC-32"):
        Archive(path)["a"]


def test_every_bit_of_an_archive_counts_or_does_not_matter(tmp_path: Path) -> None:
    path = saved(tmp_path)
    raw = path.read_bytes()
    for place in range(0, len(raw), 3):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << place % 8)]) + raw[place + 1 :])
        try:
            with Archive(path) as found:
                arrays = dict(found)
        except DamagedFileError:
            continue
        if arrays.keys() == {"a", "b"}:
            assert arrays["a"].tolist() == list(range(64))
            assert arrays["b"].tolist() == ["x", "ü"]


@pytest.mark.parametrize("content", [b"", b"PK", bytes(900)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "examples.npz"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"examples\.npz is damaged"):
        Archive(path)


def test_arrays_of_objects_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DamagedFileError, match="is damaged"):
        Archive(path)["a"]


def test_a_member_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"no item named 'c\.npy'"):
        Archive(saved(tmp_path))["c"]


# --- the sentence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("families.json", "command of the survey again, with --out"),
        ("results/rotation/a.json", "command of the survey again, with --out"),
        ("responses/rotation/a.zarr", "command of the survey again, with --out"),
        ("examples.npz", "command of the survey again, with --out"),
        ("report.json", "command of the survey again, with --out"),
        ("verification.json", "`equiscope verify "),
        ("circuits.json", "`equiscope circuits "),
        ("circuits/a+b.npz", "`equiscope circuits "),
        ("featurevis/a.npz", "`equiscope featurevis "),
        ("compare/other.json", "`equiscope compare "),
        ("compare/other/pictures.json", "`equiscope compare "),
        ("budget.json", "`equiscope budget "),
        ("design.json", "`equiscope design "),
        ("simplify.json", "`equiscope simplify "),
        ("run.json", "into another folder"),
    ],
)
def test_the_message_names_what_makes_this_file(tmp_path: Path, name: str, remedy: str) -> None:
    folder = tmp_path / "circuits"  # what the run's folder is called does not count
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    with pytest.raises(DamagedFileError) as caught, reading(folder / name):
        raise KeyError("units")
    assert str(folder / name) in str(caught.value)
    assert remedy in str(caught.value)
    if "`" in remedy:
        assert f"{remedy}{folder}`" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [EOFError("short"), zipfile.BadZipFile("no zip"), RecursionError("deep"), MemoryError(), IndexError("0"),
     AttributeError("a"), NotImplementedError("compression"), OverflowError("large"), OSError(5, "Input/output error")],
)  # fmt: skip
def test_whatever_reading_raises_becomes_one_sentence(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(DamagedFileError, match=r"units\.json is damaged \(.*\): .*\S$"),
        reading(tmp_path / "units.json"),
    ):
        raise error


def test_what_is_no_damage_is_not_called_so(tmp_path: Path) -> None:
    place = tmp_path / "units.json"
    with (
        pytest.raises(DamagedFileError, match="is a folder where a file belongs: move it away"),
        reading(place),
    ):
        raise IsADirectoryError
    with pytest.raises(EquiscopeError, match="may not be read") as forbidden, reading(place):
        raise PermissionError
    assert not isinstance(forbidden.value, DamagedFileError)
    with pytest.raises(KeyboardInterrupt), reading(place):
        raise KeyboardInterrupt


def test_a_part_that_can_be_left_out_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def read() -> int:
        with reading(tmp_path / "verification.json"):
            raise KeyError("verifications")

    assert leave_out_damaged(read) is None
    assert leave_out_damaged(lambda: 3) == 3
    (record,) = caplog.records
    assert "verification.json is damaged" in record.getMessage()
    assert "equiscope verify" in record.getMessage()


def test_json_of_200_000_levels_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="RecursionError"), reading(tmp_path / "units.json"):
        json.loads("[" * 200_000)
