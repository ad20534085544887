"""Runs whose files were damaged, lost or changed: named with what makes them again, made again, or left out."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import equiscope
from equiscope.cli import app
from equiscope.construction.budget import estimate_budget, load_budget, save_budget
from equiscope.evidence.circuits import load_circuits, recover_circuits
from equiscope.evidence.circuits.neighbours import load_neighbours
from equiscope.evidence.featurevis import load_visualisations, visualise_run
from equiscope.evidence.verify.verification import load_verification
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.foundations.errors import DamagedFileError, EquiscopeError
from equiscope.foundations.files import write_atomically
from equiscope.models import Model
from equiscope.reports.document.pictures.sheets import lost_sheets
from equiscope.reports.site.files import build_site, load_document, show_evidence
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.runs import writing
from equiscope.runs.digests import say_changes
from equiscope.runs.examples import load_examples
from equiscope.runs.run import load_run
from equiscope.runs.writing import create_json, write_json
from equiscope.surveys import pipeline
from equiscope.surveys.results import read_result
from equiscope.surveys.stages import Stage
from equiscope.testing import planted_circuits, sample_crops

survey_module = importlib.import_module("equiscope.surveys.survey")  # its name is also the function's


@pytest.fixture(scope="module")
def model() -> Model:
    return planted_circuits().model


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crops") / "crops.npz"
    np.savez(path, images=sample_crops())
    return path


def survey_again(folder: Path, model: Model, crops: Path, **options: Any) -> equiscope.Run:
    usual: dict[str, Any] = {
        "transformations": ["rotation"], "angles": 8, "n_null": 3, "false_discovery_rate": 0.3,
        "precision": "float32", "layers": ["early", "late"],
    }  # fmt: skip
    return equiscope.survey(model, crops, out=folder, **(usual | options))


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory, model: Model, crops: Path) -> Path:
    """A finished survey."""
    folder = tmp_path_factory.mktemp("surveyed") / "run"
    assert survey_again(folder, model, crops).families
    return folder


@pytest.fixture(scope="module")
def whole(surveyed: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with what other commands add."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(surveyed, folder)
    run = load_run(folder)
    verify_run(run, model)
    show_evidence(folder, "verify")
    recover_circuits(run, model, n_draws=5)
    visualise_run(run, model, steps=1, n_null=0)
    save_budget(folder, estimate_budget(run, model, n_resamples=5))
    build_site(folder)
    return folder


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage; its path has a space, which commands in messages quote."""
    folder = tmp_path / "a run"
    shutil.copytree(whole, folder)
    return folder


# --- every file, in every way ------------------------------------------------------------------------------


def flip(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0x04]) + raw[middle + 1 :]


def of_json(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def apply(raw: bytes) -> bytes:
        document = json.loads(raw)
        return json.dumps(change(document)).encode()

    return apply


def first_list(document: dict[str, Any]) -> str:
    return next(key for key, value in document.items() if isinstance(value, (list, dict)))


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "halved": lambda raw: raw[: len(raw) // 2],
    "zeroed": lambda raw: bytes(len(raw)),
    "one bit": flip,
    "a list": lambda _: b"[]",
    "nested": lambda _: b"[" * 100_000,
    "not UTF-8": lambda raw: raw[:1] + b"\xff" + raw[1:],
    "no keys": of_json(lambda document: {"schema_version": document["schema_version"]}),
    "null": of_json(lambda document: document | {first_list(document): None}),
    "text": of_json(lambda document: document | {first_list(document): "0.9"}),
    "of nulls": of_json(lambda document: document | {first_list(document): [None]}),
}
OF_JSON = ("no keys", "null", "text", "of nulls")


# Every file, what reads it, and the command that makes it again.
READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "run.json": (load_run, "run the survey again into another folder"),
    "units.json": (load_run, "command of the survey again"),
    "families.json": (load_run, "command of the survey again"),
    "report.json": (load_document, "command of the survey again"),
    "results/rotation/late.json": (
        lambda folder: read_result(folder / "results" / "rotation" / "late.json"),
        "command of the survey again",
    ),
    "examples.npz": (lambda f: load_examples(f / "examples.npz"), "command of the survey again"),
    "verification.json": (load_verification, "`equiscope verify "),
    "circuits.json": (load_circuits, "`equiscope circuits "),
    "circuits/early+late.units.npz": (lambda f: load_neighbours(f, "early", "late"), "`equiscope circuits "),
    "featurevis/late.npz": (load_visualisations, "`equiscope featurevis "),
    "featurevis/families.npz": (load_visualisations, "`equiscope featurevis "),
    "budget.json": (load_budget, "`equiscope budget "),
}  # fmt: skip


def assert_is_one_bit(way: str) -> None:
    assert way == "one bit"


@pytest.mark.parametrize("name", READERS)
def test_each_file_in_each_way_is_one_sentence_with_its_command(damaged: Path, name: str) -> None:
    path = damaged / name
    read, remedy = READERS[name]
    raw = path.read_bytes()
    read(damaged)
    for way, change in WAYS.items():
        if path.suffix != ".json" and way in OF_JSON:
            continue
        path.write_bytes(change(raw))
        try:
            read(damaged)
        except DamagedFileError as error:
            said = str(error)
            assert str(path) in said, way
            assert remedy in said, way
            assert "`" not in remedy or f"'{damaged}'`" in said, way
        except EquiscopeError:
            # A bit can make a run unfinished; one of which nothing is said is taken for a run that has just begun.
            if (name, way) != ("run.json", "no keys"):
                assert_is_one_bit(way)
        else:
            assert_is_one_bit(way)  # a bit of a number, or of a name, leaves another one: see the digests


@pytest.mark.parametrize("name", [name for name in READERS if name != "report.json"])
def test_a_folder_in_the_place_of_a_file_is_told(damaged: Path, name: str) -> None:
    path = damaged / name
    path.unlink()
    path.mkdir()
    with pytest.raises(EquiscopeError, match="is a folder where a file belongs: move it away"):
        READERS[name][0](damaged)


def paths_of(document: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if before:
        yield before
    if isinstance(document, dict):
        parts: Iterable[tuple[Any, Any]] = document.items()
    else:
        parts = enumerate(document) if isinstance(document, list) else ()
    for key, value in parts:
        yield from paths_of(value, (*before, key))


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".json")])
def test_no_value_of_another_type_gets_further_than_the_reader(damaged: Path, name: str) -> None:
    """Values at random places are taken out or replaced; what is accepted can be shown."""
    path = damaged / name
    rng = np.random.default_rng(0)
    whole = json.loads(path.read_bytes())
    places = list(paths_of(whole))
    n_refused = 0
    for _ in range(150):
        document = json.loads(json.dumps(whole))
        place = places[int(rng.integers(len(places)))]
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        value = [None, "0.9", [], {}, True, 1e300, [None]][int(rng.integers(7))]
        if rng.random() < 0.2:
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        path.write_text(json.dumps(document))
        try:
            READERS[name][0](damaged)
        except EquiscopeError:
            n_refused += 1
    assert n_refused > 40


# --- parts that a run can do without -----------------------------------------------------------------------

OPTIONAL = {
    "verification.json": "verify",
    "circuits.json": "circuits",
    "circuits/early+late.npz": "circuits",
    "circuits/early+late.units.npz": "circuits",
    "featurevis/late.npz": "featurevis",
    "budget.json": "budget",
    "report.json": "survey",
}


def test_commands_go_on_without_parts_that_are_damaged(damaged: Path) -> None:
    for name in OPTIONAL:
        (damaged / name).write_bytes((damaged / name).read_bytes()[:100])
    result = CliRunner().invoke(app, ["report", str(damaged)])
    assert result.exit_code == 0, result.output
    for name, command in OPTIONAL.items():
        if name in ("verification.json", "circuits/early+late.npz"):
            continue  # not read: report.json has what the one says, and without circuits there are no weights of any
        (line,) = [
            line
            for line in result.stderr.splitlines()
            if f"{name} is damaged" in line or f"{name} cannot" in line
        ]
        assert command in line
        assert line.endswith("(left out here)")
    result = CliRunner().invoke(app, ["export", str(damaged), "families"])
    assert result.exit_code == 0
    assert result.stdout.count("\n") > 5
    assert result.stderr.count("circuits.json cannot be read as JSON") == 1
    result = CliRunner().invoke(app, ["export", str(damaged), "circuits"])
    assert isinstance(result.exception, DamagedFileError)


@pytest.mark.parametrize("way", ["removed", "empty", "halved", "zeroed", "folder"])
def test_pictures_that_are_damaged_are_left_out(damaged: Path, way: str) -> None:
    document = load_document(damaged)
    assert document is not None
    addresses = [sheet["address"] for sheet in document["sheets"]]
    assert lost_sheets(damaged, document) == []
    damage(damaged / addresses[1], way)
    assert lost_sheets(damaged, document) == [addresses[1]]
    page = build_site(damaged).read_text()
    assert f"1 of {len(addresses)} sheets of pictures are no longer there, or damaged" in page


def test_drawn_weights_are_checked_one_by_one(damaged: Path) -> None:
    path = damaged / "circuits" / "early+late.npz"
    circuits = load_circuits(damaged)
    assert circuits is not None
    first = StoredWeights(damaged, circuits).ids[0]
    raw = path.read_bytes()
    place = raw.index(b"0:raw.npy") + 300
    path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    stored = StoredWeights(damaged, circuits)
    assert stored.read(first) is None
    assert stored.read(stored.ids[1]) is not None


def test_visualisations_that_are_damaged_are_made_again(damaged: Path, model: Model) -> None:
    before = load_visualisations(damaged)
    (damaged / "featurevis" / "late.npz").write_bytes(b"")
    found = visualise_run(load_run(damaged), model, steps=1, n_null=0)
    assert np.array_equal(found.layers["late"].after, before.layers["late"].after)
    assert load_visualisations(damaged).layers.keys() == {"early", "late"}


# --- what the survey makes again ---------------------------------------------------------------------------


def chunk_of(folder: Path, layer: str) -> Path:
    return next(
        p for p in (folder / "responses" / "rotation" / f"{layer}.zarr" / "c").rglob("*") if p.is_file()
    )


def damage(path: Path, way: str) -> None:
    raw = path.read_bytes()
    path.unlink()
    if way == "folder":
        path.mkdir()
    elif way != "removed":
        path.write_bytes(WAYS[way](raw))


def with_another_number(path: Path) -> None:
    """Change the first measured number of a JSON file, and nothing else."""
    text, n = re.subn(r"\b0\.\d{4,}", "0.1234", path.read_text(), count=1)
    assert n == 1
    path.write_text(text)


def lose_chunk(folder: Path) -> None:
    damage(chunk_of(folder, "late"), "removed")


def flip_chunk(folder: Path) -> None:
    damage(chunk_of(folder, "early"), "one bit")


def folder_for_chunk(folder: Path) -> None:
    damage(chunk_of(folder, "early"), "folder")


def lose_description(folder: Path) -> None:
    damage(folder / "responses" / "rotation" / "late.zarr" / "zarr.json", "removed")


def nest_description(folder: Path) -> None:
    damage(folder / "responses" / "rotation" / "late.zarr" / "zarr.json", "nested")


def other_shape_in_description(folder: Path) -> None:
    path = folder / "responses" / "rotation" / "early.zarr" / "zarr.json"
    document = json.loads(path.read_text())
    document["shape"][2] += 1
    document["chunk_grid"]["configuration"]["chunk_shape"][2] += 1
    path.write_text(json.dumps(document))


def other_stimuli(folder: Path) -> None:
    path = folder / "responses" / "rotation" / "early.zarr" / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["stimuli_sha256"] = "0" * 64
    path.write_text(json.dumps(document))


def halve_results(folder: Path) -> None:
    damage(folder / "results" / "rotation" / "early.json", "halved")
    damage(folder / "results" / "explained" / "late.json", "of nulls")


def edit_results(folder: Path) -> None:
    with_another_number(folder / "results" / "rotation" / "late.json")


def lose_results(folder: Path) -> None:
    damage(folder / "results" / "rotation" / "late.json", "removed")


def flip_examples(folder: Path) -> None:
    damage(folder / "examples.npz", "one bit")


def change_what_follows(folder: Path) -> None:
    with_another_number(folder / "families.json")
    damage(folder / "units.json", "removed")
    damage(folder / "report.json", "zeroed")
    damage(folder / "digests.json", "halved")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose_chunk, ["late.zarr: 1 chunk(s) were lost or damaged, and are measured again"]),
        (flip_chunk, ["early.zarr: 1 chunk(s) were lost or damaged"]),
        (folder_for_chunk, ["early.zarr: 1 chunk(s) were lost or damaged"]),
        (lose_description, ["late.zarr/zarr.json was lost, damaged, or of other stimuli"]),
        (nest_description, ["late.zarr/zarr.json was lost, damaged, or of other stimuli"]),
        (other_shape_in_description, ["early.zarr/zarr.json was lost, damaged, or of other stimuli"]),
        (other_stimuli, ["early.zarr/zarr.json was lost, damaged, or of other stimuli"]),
        (halve_results, ["rotation/early.json cannot be read as JSON", "explained/late.json is damaged"]),
        (edit_results, ["late.json was changed since it was written: it is made again"]),
        (lose_results, ["late.json was lost: it is made again"]),
        (flip_examples, ["examples.npz is damaged"]),
        (change_what_follows, ["families.json was not what", "units.json was not what", "digests.json cannot be read"]),
    ],
)  # fmt: skip
def test_what_the_survey_made_is_made_again(
    surveyed: Path,
    model: Model,
    crops: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
    said: list[str],
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(surveyed, folder)
    change(folder)
    survey_again(folder, model, crops)
    for sentence in said:
        messages = {record.getMessage() for record in caplog.records}
        assert sum(sentence in message for message in messages) == 1, sentence
    for name in ("families.json", "units.json", "results/rotation/late.json", "results/explained/early.json"):
        assert (folder / name).read_bytes() == (surveyed / name).read_bytes(), name
    documents = [json.loads((place / "report.json").read_text()) for place in (folder, surveyed)]
    assert documents[0] | {"seconds": {}} == documents[1] | {"seconds": {}}
    caplog.clear()
    survey_again(folder, model, crops)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize(
    "name", ["results/rotation/early.json", "examples.npz", "responses/rotation/late.zarr/zarr.json"]
)
def test_a_folder_in_the_place_of_what_would_be_made_again_stays(
    surveyed: Path, model: Model, crops: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(surveyed, folder)
    damage(folder / name, "folder")
    (folder / name / "own.txt").write_text("somebody's")
    with pytest.raises(EquiscopeError, match="is a folder where a file belongs: move it away"):
        survey_again(folder, model, crops)
    assert (folder / name / "own.txt").read_text() == "somebody's"


@pytest.mark.parametrize("change", [lambda a: a[:, :-1], lambda a: a.astype(float), lambda a: a[0]])
def test_examples_of_another_shape_are_refused(damaged: Path, change: Callable[[Any], Any]) -> None:
    path = damaged / "examples.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **(arrays | {"0:image": change(arrays["0:image"])}))
    with pytest.raises(DamagedFileError, match=r"examples\.npz is damaged \(image of early has shape"):
        load_examples(path)


def test_responses_that_are_not_there_are_never_used(
    surveyed: Path, model: Model, crops: Path, tmp_path: Path
) -> None:
    """The last resort, whoever reads them."""
    folder = tmp_path / "run"
    shutil.copytree(surveyed, folder)
    examples, _, _ = load_examples(folder / "examples.npz")
    opened: list[Any] = []
    original = Stage.measure

    def measure(*arguments: Any, **options: Any) -> Any:
        opened.append(original(*arguments, **options))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "measure", measure)
        survey_again(folder, model, crops)
    responses = opened[0]
    assert responses.n_units == examples["early"].n_units
    responses.read(0, len(responses.bank))
    chunk_of(folder, "early").unlink()
    with pytest.raises(DamagedFileError, match=r"early\.zarr is damaged \(the responses .* not all there"):
        responses.read(0, len(responses.bank))
    with pytest.raises(DamagedFileError):
        list(responses.chunks(0)), list(responses.chunks(1))


def test_chunks_are_on_the_disk_before_the_result_that_rests_on_them(
    model: Model, crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    missing: list[str] = []
    fsync, write = os.fsync, write_json

    def note(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def check(path: Path, document: dict[str, Any]) -> None:
        if path.parent.name == "rotation":
            array = tmp_path / "run" / "responses" / "rotation" / f"{path.stem}.zarr"
            missing.extend(
                str(p) for p in (array, *array.rglob("c*"), *(array / "c").rglob("*")) if str(p) not in synced
            )
        write(path, document)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(pipeline, "write_json", check)
    survey_again(tmp_path / "run", model, crops, n_null=1)
    assert missing == []
    assert any("/c/" in name for name in synced)


# --- two surveys at once -----------------------------------------------------------------------------------

SETTINGS = {"settings": {"layers": ["early"], "transformations": ["rotation"], "angles": 8, "examples_per_unit": 8,
                         "false_discovery_rate": 0.05, "min_score": 0.5, "n_null": 3, "seed": 0},
            "model": {"name": "m", "weights_sha256": "0"},
            "images": {"name": "i", "n_images": 4, "fingerprint": "0"}}  # fmt: skip
OTHERS = SETTINGS | {"settings": SETTINGS["settings"] | {"angles": 12}}


@pytest.mark.parametrize("later", [SETTINGS, OTHERS])
def test_a_survey_that_begins_between_look_and_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: dict[str, Any]
) -> None:
    folder = tmp_path / "run"
    first: list[dict[str, Any]] = []

    def create(path: Path, document: dict[str, Any]) -> bool:
        monkeypatch.undo()
        first.append(survey_module._open_manifest(folder, SETTINGS, "the first"))
        return create_json(path, document)

    monkeypatch.setattr(survey_module, "create_json", create)
    if later is SETTINGS:
        assert survey_module._open_manifest(folder, later, "the second") == first[0]
    else:
        with pytest.raises(
            EquiscopeError, match="holds another run: its settings angles is 8, asked for is 12"
        ):
            survey_module._open_manifest(folder, later, "the second")
    assert json.loads((folder / "run.json").read_text())["command"] == "the first"
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def _begin(place: tuple[str, int, Any]) -> str:
    folder, angles, barrier = place
    identity = SETTINGS | {"settings": SETTINGS["settings"] | {"angles": angles}}
    barrier.wait()
    try:
        return str(survey_module._open_manifest(Path(folder), identity, None)["settings"]["angles"])
    except EquiscopeError as error:
        return str(error)


def test_of_processes_that_begin_at_once_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, context.Pool(6) as pool:
        for trial in range(10):
            barrier = manager.Barrier(6)
            folder = tmp_path / f"run-{trial}"
            found = pool.map(
                _begin, [(str(folder), angles, barrier) for angles in (8, 12, 16, 8, 20, 24)], chunksize=1
            )
            kept = json.loads((folder / "run.json").read_text())["settings"]["angles"]
            assert sum(answer == str(kept) for answer in found) == (2 if kept == 8 else 1), found
            assert sum("holds another run" in answer for answer in found) == (4 if kept == 8 else 5), found
            assert [path.name for path in folder.iterdir()] == ["run.json"]


def _survey_at_once(place: tuple[str, Path, Any]) -> bytes:
    folder, crops, barrier = place
    model = planted_circuits().model
    barrier.wait()
    survey_again(Path(folder), model, crops)
    return (Path(folder) / "families.json").read_bytes()


def test_two_equal_surveys_of_one_folder_end_as_one(surveyed: Path, crops: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, context.Pool(2) as pool:
        barrier = manager.Barrier(2)
        found = pool.map(_survey_at_once, [(str(tmp_path / "run"), crops, barrier)] * 2, chunksize=1)
    assert found == [(surveyed / "families.json").read_bytes()] * 2
    assert (tmp_path / "run" / "units.json").read_bytes() == (surveyed / "units.json").read_bytes()


def test_without_hard_links_there_is_still_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert create_json(tmp_path / "run" / "run.json", {"schema_version": 2})
    assert not create_json(tmp_path / "run" / "run.json", {"schema_version": 1})
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {"schema_version": 2}
    assert len(list((tmp_path / "run").iterdir())) == 1


# --- digests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["families.json", "units.json", "verification.json", "circuits.json", "budget.json",
                                  "report.json", "results/rotation/early.json"])  # fmt: skip
@pytest.mark.parametrize("command", [["report"], ["export", "families"]])
def test_a_number_that_was_edited_is_told(damaged: Path, name: str, command: list[str]) -> None:
    arguments = [command[0], str(damaged), *command[1:]]
    before = CliRunner().invoke(app, arguments)
    assert before.exit_code == 0
    assert before.stderr == ""
    with_another_number(damaged / name)
    after = CliRunner().invoke(app, arguments)
    assert after.exit_code == 0, after.output
    (line,) = after.stderr.splitlines()
    assert line.startswith(f"equiscope: {damaged / name} was changed since it was written (sha256 ")


def test_verify_tells_it_too(damaged: Path, model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with_another_number(damaged / "families.json")
    verify_run(load_run(damaged), model)
    (record,) = caplog.records
    assert "families.json was changed since" in record.getMessage()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("circuits.json", "circuits"),
        ("circuits/early+late.npz", "circuits"),
        ("circuits/early+late.units.npz", "circuits"),
        ("featurevis/early.npz", "featurevis"),
        ("verification.json", "verify"),
        ("budget.json", "budget"),
    ],
)
def test_what_was_written_and_is_not_there_is_told(
    damaged: Path, name: str, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    (damaged / name).unlink()
    build_site(damaged)
    said = caplog.records[0].getMessage()
    assert said.startswith(f"{damaged / name} was lost, or never finished, and is left out here: ")
    assert f"`equiscope {command} '{damaged}'` makes it again" in said


def test_a_kill_between_digest_and_file_accuses_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create_json(tmp_path / "run.json", {"schema_version": 2})
    path = tmp_path / "verification.json"
    for number in (1, 2):
        write_json(path, {"schema_version": 2, "number": number})
    write = write_atomically

    def killed(place: Path, *arguments: Any) -> None:
        if place == path:
            raise KeyboardInterrupt
        write(place, *arguments)

    monkeypatch.setattr(writing, "write_atomically", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            write_json(path, {"schema_version": 2, "number": 3})
        assert json.loads(path.read_text())["number"] == 2
        say_changes(tmp_path)
    monkeypatch.undo()
    write_json(path, {"schema_version": 2, "number": 3})
    say_changes(tmp_path)
    assert caplog.records == []
    path.write_text(path.read_text().replace("3", "4"))
    say_changes(tmp_path)
    assert len(caplog.records) == 1


def _write_some(place: tuple[str, int, Any]) -> None:
    folder, number, barrier = place
    barrier.wait()
    for index in range(20):
        write_json(Path(folder) / f"{number}.json", {"schema_version": 2, "index": index})


def test_processes_that_write_at_once_keep_all_digests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_json(tmp_path / "run.json", {"schema_version": 2})
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, context.Pool(4) as pool:
        barrier = manager.Barrier(4)
        pool.map(_write_some, [(str(tmp_path), number, barrier) for number in (0, 1, 2, 2)], chunksize=1)
    say_changes(tmp_path)
    assert caplog.records == []
    files = json.loads((tmp_path / "digests.json").read_text())["files"]
    assert files.keys() == {"0.json", "1.json", "2.json"}


def test_digests_of_files_elsewhere_are_not_looked_at(
    damaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = damaged.parent / "secret.json"
    secret.write_text("{}")
    names = ("../secret.json", str(secret), "a\x00b", "a" * 5000, "site/../../secret.json", "", ".")
    files = {name: ["0" * 64] for name in names}
    (damaged / "digests.json").write_text(json.dumps({"schema_version": 2, "files": files}))
    load_run(damaged)
    assert caplog.records == []


def test_members_that_no_layer_has_are_refused(damaged: Path) -> None:
    path = damaged / "families.json"
    text = path.read_text()
    layer = '"layer": "early",\n     "channel"'
    for before, after in (('"channel": ', '"channel": 99'), (layer, layer.replace("early", "x"))):
        assert before in text
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(DamagedFileError, match=r"families\.json is damaged \(the run has no unit"):
            load_run(damaged)


def test_runs_without_digests_are_not_judged(damaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    (damaged / "digests.json").unlink()
    with_another_number(damaged / "families.json")
    load_run(damaged)
    assert caplog.records == []


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 2, "files": {"families.json": [3]}}'])
def test_digests_that_are_damaged_are_said_to_be(
    damaged: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (damaged / "digests.json").write_text(content)
    assert load_run(damaged).families
    assert any("digests.json" in record.getMessage() for record in caplog.records)
