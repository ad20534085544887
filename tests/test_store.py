"""A run's folder: written whole or not at all, read back as it was, refused where it cannot be trusted."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiscope.families.family import Explanation, Family, Member, Symmetry, Unit
from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import write_atomically
from equiscope.measurement.examples import Examples, empty_examples
from equiscope.runs.examples import load_examples, save_examples
from equiscope.runs.findings import families_document, load_families, load_units, units_document
from equiscope.runs.layout import SCHEMA_VERSION, layer_path
from equiscope.runs.reading import read_json
from equiscope.runs.run import load_run
from equiscope.runs.writing import write_json
from equiscope.stimuli import ImageFailure
from equiscope.transformations import Pose

NUMBER = 0.1 + 0.2


def family(number: float = NUMBER) -> Family:
    return Family(
        id="mixed3a-rotation-1",
        layers=("mixed3a",),
        transformation="rotation",
        score=number,
        score_low=number,
        score_high=number,
        disagreement=Pose(angle_deg=number),
        phase_coherence=number,
        q_value=number,
        stabiliser=(Pose(angle_deg=0.0), Pose(angle_deg=180.0)),
        gap_deviation_deg=number,
        holes_deg=((10.5, 90.25), (170.0, 12.0)),
        duplicates=((3, 7),),
        half_turns=(number, 0.5),
        invariant_to=("hue",),
        alternatives=(Explanation("hue", number, 0.1, number, 0.2),),
        margin=number,
        members=(
            Member(
                "mixed3a", 3, Pose(angle_deg=number, hue_deg=number, is_mirrored=True), number, number, number
            ),
            Member("mixed3a", 7, Pose(angle_deg=1.5), 0.9, 0.8, 1.0),
        ),
    )


def unit(number: float = NUMBER, of: str | None = None) -> Unit:
    line = Symmetry("hue", "neither" if of is None else "equivariant", of, number, number, 1)
    return Unit("mixed3a", 3, number, number, (line, Symmetry("rotation", "invariant")))


def same(a: object, b: object) -> bool:
    """Equality in which NaN equals NaN; the type counts."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return type(a) is type(b) and (a == b or both_nan)


# --- whole or not at all -----------------------------------------------------------------------------------


def half_written(error: BaseException) -> Callable[[BinaryIO], None]:
    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        stream.flush()
        raise error

    return write


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, error: BaseException, is_there: bool
) -> None:
    path = tmp_path / "folder" / "file.json"
    if is_there:
        write_atomically(path, lambda stream: stream.write(b"before"))
    with pytest.raises(type(error)):
        write_atomically(path, half_written(error))
    assert [p.name for p in path.parent.iterdir()] == (["file.json"] if is_there else [])
    assert not is_there or path.read_bytes() == b"before"


def test_the_name_appears_only_when_the_bytes_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, lambda stream: stream.write(b"before"))
    seen: list[bytes] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(path.read_bytes())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, lambda stream: stream.write(b"after"))
    assert seen == [b"before"]
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


# --- JSON --------------------------------------------------------------------------------------------------


def test_json_holds_numpy_and_no_nan() -> None:
    text = to_json(
        {
            "nan": math.nan,
            "infinite": -math.inf,
            "float": np.float32(0.5),
            "int": np.int64(3),
            "bool": np.bool_(True),
            "array": np.array([[1.0, np.nan], [2.0, 3.0]]),
            "tuple": (1, None, "ü°"),
            "path": Path("a/b"),
        }
    )
    assert text.endswith("\n")
    assert "ü°" in text
    assert json.loads(text, parse_constant=pytest.fail) == {
        "nan": None,
        "infinite": None,
        "float": 0.5,
        "int": 3,
        "bool": True,
        "array": [[1.0, None], [2.0, 3.0]],
        "tuple": [1, None, "ü°"],
        "path": "a/b",
    }


def test_names_that_are_not_utf_8_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "a.json", {"schema_version": 1, "name": name})
    assert read_json(tmp_path / "a.json")["name"] == r"caf\udce9.jpg"


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_bit_for_bit(number: float) -> None:
    assert json.loads(to_json({"number": number}))["number"] == number


@pytest.mark.parametrize("number", [NUMBER, math.nan])
def test_families_come_back_as_they_were(tmp_path: Path, number: float) -> None:
    written = (family(number), family())
    write_json(tmp_path / "families.json", families_document(written))
    found = load_families(tmp_path)
    assert all(same(asdict(a), asdict(b)) for a, b in zip(found, written, strict=True))


@pytest.mark.parametrize("number", [NUMBER, math.nan])
def test_units_come_back_as_they_were(tmp_path: Path, number: float) -> None:
    written = (unit(number), unit(of="mixed3a-rotation-1"))
    write_json(tmp_path / "units.json", units_document(written))
    found = load_units(tmp_path)
    assert all(same(asdict(a), asdict(b)) for a, b in zip(found, written, strict=True))
    assert found[0].under("hue").family is None
    assert found[1].under("hue").family == "mixed3a-rotation-1"
    assert found[1].under("scale").kind == "not measurable"


def test_runs_of_schema_version_1_still_open(tmp_path: Path) -> None:
    """Version 1 knew rotation only: one kind and one family a unit."""
    old_unit = {"layer": "l", "channel": 4, "mean": 0.5, "sd": None, "rotation": "equivariant"}
    old_unit |= {"stabiliser_order": 2, "family": "l-rotation-1"}
    member = {
        "layer": "l",
        "channel": 4,
        "pose_deg": 10.0,
        "score": 0.9,
        "score_low": None,
        "score_high": 0.95,
    }
    old_family = {"id": "l-rotation-1", "layer": "l", "transformation": "rotation", "size": 1, "score": 0.9}
    old_family |= {"score_low": 0.8, "score_high": None, "disagreement_deg": 1.0, "phase_coherence": None}
    old_family |= {
        "q_value": 0.01,
        "stabiliser_order": 2,
        "gap_deviation_deg": 3.0,
        "holes_deg": [[1.0, 2.0]],
    }
    old_family |= {"duplicates": [[4, 5]], "members": [member]}
    write_json(tmp_path / "run.json", {"schema_version": 1, "is_complete": True})
    write_json(tmp_path / "units.json", {"schema_version": 1, "units": [old_unit]})
    write_json(tmp_path / "families.json", {"schema_version": 1, "families": [old_family]})
    run = load_run(tmp_path)
    line = run.units[0].under("rotation")
    assert (line.kind, line.family, line.stabiliser_order) == ("equivariant", "l-rotation-1", 2)
    assert run.units[0].under("hue").kind == "not measurable"
    (found,) = run.families
    assert found.poses_deg.tolist() == [10.0]
    assert math.isnan(found.margin)
    assert math.isnan(found.members[0].hue_deg)


def test_families_are_worded_as_the_contract_says() -> None:
    document = families_document([family()])
    assert document["schema_version"] == SCHEMA_VERSION
    (entry,) = document["families"]
    assert list(entry)[:4] == ["id", "layers", "transformation", "size"]
    assert {"score", "disagreement", "q_value", "members"} <= set(entry)
    assert entry["size"] == 2
    assert set(entry["members"][0]) == {part.name for part in fields(Member)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            json.dumps({"schema_version": SCHEMA_VERSION + 1}),
            f"version {SCHEMA_VERSION + 1},.*update equiscope",
        ),
        (json.dumps({"families": []}), "version None, expected 1 to .*no file of a run"),
        (json.dumps({"schema_version": 0}), "version 0, expected 1 to .*no file of a run"),
        ("[1, 2]", "version None"),
        ('{"schema_version": 1, "fam', "cannot be read as JSON.*run the survey again"),
        ("", "cannot be read as JSON"),
    ],
)
def test_what_cannot_be_trusted_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(EquiscopeError, match=rf"run\.json.*{message}"):
        read_json(tmp_path / "run.json")


# --- opening a run -----------------------------------------------------------------------------------------


def make_run(folder: Path, **manifest: object) -> None:
    write_json(folder / "families.json", families_document([family(math.nan)]))
    write_json(folder / "units.json", units_document([unit(), unit(math.nan)]))
    write_json(folder / "run.json", {"schema_version": 1, "is_complete": True} | manifest)


def test_a_finished_run_opens(tmp_path: Path) -> None:
    make_run(tmp_path, seed=7)
    run = load_run(str(tmp_path))
    assert run.folder == tmp_path
    assert run.report == tmp_path / "index.html"
    assert run.manifest["seed"] == 7
    assert len(run.units) == 2
    assert same(asdict(run.families[0]), asdict(family(math.nan)))


def test_an_unfinished_run_says_which_command_goes_on(tmp_path: Path) -> None:
    make_run(tmp_path, is_complete=False, command="equiscope survey mini --out here")
    with pytest.raises(EquiscopeError, match=r"not finished.*equiscope survey mini --out here"):
        load_run(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EquiscopeError, match=r"nowhere is no folder.*equiscope survey --out"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(EquiscopeError, match=r"holds no run\.json.*finished run.*same command"):
        load_run(tmp_path)
    make_run(tmp_path)
    (tmp_path / "units.json").unlink()
    with pytest.raises(EquiscopeError, match=r"holds no units\.json"):
        load_run(tmp_path)


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path)
    write_json(tmp_path / "families.json", {"schema_version": SCHEMA_VERSION + 1, "families": []})
    with pytest.raises(EquiscopeError, match=r"families\.json has schema version .*update equiscope"):
        load_run(tmp_path)


# --- files of layers and examples --------------------------------------------------------------------------


def test_any_layer_name_makes_a_file_of_its_own(tmp_path: Path) -> None:
    names = ["a/b", "a%2Fb", "a.b", "..", "../up", "a b", "c:d", "mixed3a.5x5", "ü", "a\\b", "A*?"]
    paths = [layer_path(tmp_path, "layers", name, ".json") for name in names]
    assert len(set(paths)) == len(names)
    for path in paths:
        assert path.resolve().parent == (tmp_path / "layers").resolve()
        write_json(path, {"schema_version": 1})
        assert not set(path.name) & set('/\\:*?"<>| ')
    assert layer_path(tmp_path, "layers", "mixed3a.5x5", ".json").name == "mixed3a.5x5.json"


def filled(layer: str, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    empty = empty_examples(layer, 4, 3)
    values = {
        part.name: rng.normal(size=getattr(empty, part.name).shape).astype(getattr(empty, part.name).dtype)
        for part in fields(Examples)
        if isinstance(getattr(empty, part.name), np.ndarray)
    }
    values["value"][0, 1, 2] = np.nan
    return Examples(**({"layer": layer, "n_positions": 17 + seed} | values))


@pytest.mark.parametrize(
    "failures",
    [[], [ImageFailure("b/ü.png", "truncated: 3 of 9 bytes\nread"), ImageFailure("a", "")]],
)
def test_examples_come_back_as_they_were(tmp_path: Path, failures: list[ImageFailure]) -> None:
    written = {name: filled(name, seed) for seed, name in enumerate(["conv/1", "mixed3a", "0"])}
    path = tmp_path / "examples.npz"
    save_examples(path, written, 42, failures)
    found, n_done, found_failures = load_examples(path)
    assert list(found) == list(written)
    assert (n_done, found_failures) == (42, failures)
    for layer, examples in written.items():
        for part in fields(Examples):
            before, after = getattr(examples, part.name), getattr(found[layer], part.name)
            assert type(before) is type(after)
            if isinstance(before, np.ndarray):
                assert before.dtype == after.dtype
                assert np.array_equal(before, after, equal_nan=True)
            else:
                assert before == after
    assert list(tmp_path.iterdir()) == [path]
