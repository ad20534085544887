"""A survey on a disk that is full, in processes that are killed: one sentence, and in the end the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

import equiscope
import equiscope.cli.commands  # the forks have it, as if they had been running
from equiscope.cli import main
from equiscope.foundations.files import write_atomically
from equiscope.surveys.timings import Timings

NETWORK = """
import torch
from torch import nn
def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 12, 7), nn.ReLU(), nn.Conv2d(12, 8, 3))
"""
# These hold times, or what is drawn of them.
TIMED = {"run.json", "report.json", "index.html", "digests.json"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network and twelve non-square images."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "mine.py").write_text(NETWORK)
    photo = load_sample_images().images[0]
    crops = [photo[y : y + 60, x : x + 76] for y in (0, 120, 240) for x in (0, 150, 300, 450)]
    np.savez(folder / "images.npz", images=np.stack(crops))
    return folder


def run_command(place: Path, arguments: str, prepare: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """Run a command in a process of its own, which may die; give its exit status and what it said.

    The process is a copy of this one, which spares it the imports.
    """
    said = place / "said"
    process = os.fork()
    if not process:
        status = 99
        try:
            sys.argv = ["equiscope", *arguments.split()]
            with (
                said.open("w") as err,
                contextlib.redirect_stderr(err),
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.chdir(place),
            ):
                try:
                    prepare()
                    main()
                    status = 0
                except SystemExit as stop:
                    status = int(stop.code or 0)
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), _without_progress(said.read_text())


def _without_progress(text: str) -> str:
    """Leave out what stages say when they begin: all before the first message or traceback."""
    return re.sub(r"\A(?:(?!equiscope: |Traceback).*\n)*", "", text)


def survey(place: Path, out: str, prepare: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """Survey a layer under rotation."""
    arguments = "mine.py:network --images images.npz --layers 0 --transformations rotation --angles 8"
    return run_command(place, f"survey {arguments} --out {out}", prepare)


def contents(folder: Path) -> dict[str, str]:
    """Checksums of all files of a run that hold no times, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in TIMED and "site/data" not in str(path)
    }


@pytest.fixture(scope="module")
def whole(place: Path) -> dict[str, str]:
    """What a survey leaves that nothing disturbs."""
    assert survey(place, "whole") == (0, "")
    found = contents(place / "whole")
    assert {"families.json", "units.json", "site/sprites/0-strongest-0.webp"} <= set(found)
    return found


# --- a full disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Gives a file system of some size, or that one another size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def of_size(size: str) -> Path:
        options = f"size={size}" + (",remount" if folder.is_mount() else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root mounts a small disk")
        return folder

    yield of_size
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


# The whole run has some 500 kB; the tiles of its pictures, which are there for a while, as much again.
@pytest.mark.parametrize("size", ["12k", "48k", "152k", "300k", "500k", "760k", "900k"])
def test_a_survey_on_a_full_disk_is_one_sentence_and_goes_on_when_there_is_room(
    size: str, disk: Callable[[str], Path], place: Path, whole: dict[str, str]
) -> None:
    folder = disk(size)
    status, said = survey(place, str(folder / "run"))
    assert status == 2, said
    assert said.startswith(f"equiscope: No space left on device ({folder / 'run'}")
    assert said.endswith(
        ": make room, or choose another --out, and give the same command again; what is finished is kept\n"
    )
    assert said.count("\n") == 1
    assert not [path for path in folder.rglob("*") if path.name.endswith((".part", ".partial"))]
    disk("64m")
    assert survey(place, str(folder / "run")) == (0, "")
    assert contents(folder / "run") == whole


@pytest.mark.parametrize("n_bytes", [3_000, 60_000])
def test_a_limit_on_the_size_of_files_is_one_sentence(
    n_bytes: int, place: Path, whole: dict[str, str]
) -> None:
    out = f"limited-{n_bytes}"
    limits = (n_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    status, said = survey(place, out, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
    assert status == 2, said
    assert said.startswith(f"equiscope: File too large ({out}")
    assert "ulimit -f" in said
    assert survey(place, out) == (0, "")
    assert contents(place / out) == whole


def test_a_chunk_that_a_full_disk_cut_short_is_measured_again(
    disk: Callable[[str], Path], place: Path, whole: dict[str, str]
) -> None:
    """The disk is full in the middle of the responses: what is there of them is whole, each chunk or none of it."""
    folder = disk("48k")
    status, said = survey(place, str(folder / "run"))
    assert status == 2
    assert "0.zarr/c/" in said
    kept = contents(folder / "run")
    chunks = [name for name in kept if ".zarr/c/" in name]
    assert all(kept[name] == whole[name] for name in chunks)
    assert len(chunks) < len([name for name in whole if ".zarr/c/" in name])


# --- kills ---------------------------------------------------------------------------------------------------


def dying(module: str, name: str, *, is_half: bool = True) -> None:
    """Let this process die when it has half written a file of this name, or just after it has written it."""

    def write(path: Path, fill: Callable[[io.BufferedWriter], object], **options: bool) -> None:
        if path.name != name:
            return write_atomically(path, fill, **options)

        def half(stream: io.BufferedWriter) -> None:
            stream.write(b"half")
            stream.flush()
            os._exit(9)

        write_atomically(path, half if is_half else fill)  # type: ignore[arg-type]
        os._exit(9)

    importlib.import_module(module).write_atomically = write  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("equiscope.runs.writing", "run.json"),
        ("equiscope.runs.examples", "examples.npz"),
        ("equiscope.measurement.responses", "zarr.json"),
        ("equiscope.measurement.responses", "0"),
        ("equiscope.runs.writing", "0.json"),
        ("equiscope.runs.writing", "units.json"),
        ("equiscope.reports.document.pictures.sheets", "0-stimuli-0.webp"),
        ("equiscope.runs.writing", "report.json"),
        ("equiscope.foundations.files", "core.js"),
        ("equiscope.reports.site.building", "index.html"),
    ],
)
def test_a_survey_killed_in_any_write_goes_on_and_leaves_nothing(
    module: str, name: str, place: Path, whole: dict[str, str]
) -> None:
    out = f"killed-{module}-{name}"
    assert survey(place, out, lambda: dying(module, name))[0] == 9
    assert list((place / out).rglob("*.part"))
    assert survey(place, out) == (0, "")
    assert contents(place / out) == whole
    assert not [path for path in (place / out).rglob("*") if path.name.endswith((".part", ".partial"))]


def test_a_run_is_complete_when_all_that_follows_from_it_is_there(place: Path, whole: dict[str, str]) -> None:
    killed = survey(
        place, "shown", lambda: dying("equiscope.reports.site.building", "index.html", is_half=False)
    )
    assert killed[0] == 9
    with pytest.raises(equiscope.EquiscopeError, match="is not finished"):
        equiscope.load_run(place / "shown")
    assert survey(place, "shown") == (0, "")


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """A run of two layers, which the commands below go on with, and another one to compare it with."""
    arguments = "mine.py:network --images images.npz --transformations rotation,reflection --angles 8"
    for out, seed in (("finished", 0), ("other", 1)):
        assert run_command(place, f"survey {arguments} --seed {seed} --out {out}") == (0, "")
    return place / "finished"


# Each is run beside a copy of the run, which is called the same everywhere: reports tell the name.
COMMANDS = {
    "verify": "verify run ../mine.py:network",
    "circuits": "circuits run ../mine.py:network --images ../images.npz --draws 5 --verdict any",
    "featurevis": "featurevis run ../mine.py:network --steps 1",
    "budget": "budget run --verdict any",
    "compare": "compare run ../other --model-a ../mine.py:network --model-b ../mine.py:network "
    "--images ../images.npz --draws 2 --verdict any",
}


def everything(folder: Path) -> dict[str, str]:
    """All files of a run by name, as text, without the times that circuits took and the digests that follow them."""
    return {
        str(path.relative_to(folder)): re.sub(r'"seconds": ?[\d.]+', "", path.read_text(encoding="latin-1"))
        for path in folder.rglob("*")
        if path.is_file() and path.name != "digests.json"
    }


@pytest.fixture(scope="module")
def after(place: Path, finished: Path) -> Callable[[str], dict[str, str]]:
    """Gives what the folder holds after a command that nothing disturbs."""
    kept: dict[str, dict[str, str]] = {}

    def of(command: str) -> dict[str, str]:
        if command not in kept:
            beside = place / f"after-{command}"
            shutil.copytree(finished, beside / "run")
            status, said = run_command(beside, COMMANDS[command])
            assert status == 0, said
            kept[command] = everything(beside / "run")
        return kept[command]

    return of


@pytest.mark.parametrize(
    ("command", "module", "name"),
    [
        ("verify", "equiscope.runs.writing", "verification.json"),
        ("verify", "equiscope.runs.writing", "report.json"),
        ("circuits", "equiscope.runs.writing", "0+2.units.npz"),
        ("circuits", "equiscope.runs.writing", "across.npz"),
        ("circuits", "equiscope.runs.writing", "circuits.json"),
        ("circuits", "equiscope.runs.writing", "report.json"),
        ("featurevis", "equiscope.runs.writing", "0.npz"),
        ("featurevis", "equiscope.runs.writing", "families.npz"),
        ("budget", "equiscope.runs.writing", "budget.json"),
        ("budget", "equiscope.reports.views.budget.drawings", "budget.svg"),
        ("compare", "equiscope.runs.writing", "other.json"),
        ("compare", "equiscope.runs.writing", "pictures.json"),
    ],
)
@pytest.mark.parametrize("is_half", [True, False], ids=["in", "after"])
def test_a_command_killed_between_two_files_is_healed_when_it_is_given_again(
    command: str, module: str, name: str, is_half: bool,
    place: Path, finished: Path, after: Callable[[str], dict[str, str]],
) -> None:  # fmt: skip
    expected = after(command)
    beside = place / f"{command}-{name}-{is_half}"
    shutil.copytree(finished, beside / "run")
    killed = run_command(beside, COMMANDS[command], lambda: dying(module, name, is_half=is_half))
    assert killed[0] == 9, killed[1]
    status, said = run_command(beside, COMMANDS[command])
    assert status == 0, said
    found = everything(beside / "run")
    assert {name for name in found | expected if found.get(name) != expected.get(name)} == set()


@pytest.mark.parametrize(
    ("command", "file"), [("verify", "verification.json"), ("circuits", "circuits.json")]
)
def test_what_a_killed_command_had_found_is_in_the_next_report(
    command: str, file: str, place: Path, finished: Path, after: Callable[[str], dict[str, str]]
) -> None:
    expected = after(command)
    beside = place / f"report-after-{command}"
    shutil.copytree(finished, beside / "run")
    killed = run_command(
        beside, COMMANDS[command], lambda: dying("equiscope.runs.writing", file, is_half=False)
    )
    assert killed[0] == 9
    assert run_command(beside, "report run")[0] == 0
    found = everything(beside / "run")
    shown = [name for name in expected if name.startswith("site/data/family") or name == "index.html"]
    assert [name for name in shown if found[name] != expected[name]] == []


# --- names and limits ----------------------------------------------------------------------------------------


LONG_NAMES = """
from collections import OrderedDict
from torch import nn
from mine import network as short
def network():
    return nn.Sequential(OrderedDict(zip(("x/" * 150 + "a", "relu", "x/" * 150 + "b"), short())))
"""


def test_layers_with_names_longer_than_files_can_have_are_surveyed(place: Path) -> None:
    (place / "long.py").write_text(LONG_NAMES)
    arguments = "survey long.py:network --images images.npz --transformations rotation --angles 8 --out long"
    assert run_command(place, arguments) == (0, "")
    manifest = json.loads((place / "long" / "run.json").read_text())
    layers = manifest["settings"]["layers"]
    assert [len(layer) for layer in layers] == [301, 301]
    stored = [json.loads(path.read_text()) for path in (place / "long" / "results" / "rotation").iterdir()]
    assert sorted(layer for document in stored for layer in document["layers"]) == sorted(layers)
    # A report from the folder alone finds them, too.
    (place / "long" / "report.json").unlink()
    manifest["is_complete"] = False
    (place / "long" / "run.json").write_text(json.dumps(manifest))
    status, said = run_command(place, "report long")
    assert status == 0
    assert "long/run.json was changed since it was written" in said
    assert len(list((place / "long" / "site" / "data" / "layer").iterdir())) == 2


@pytest.mark.parametrize("n_files", [0, 2, 3, 5, 20])
def test_too_few_files_that_may_be_open_are_one_sentence(
    n_files: int, place: Path, whole: dict[str, str]
) -> None:
    out = f"few-{n_files}"

    def limit() -> None:
        highest = os.dup(0)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (highest + n_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )

    status, said = survey(place, out, limit)
    assert (status, said.count("\n")) == ((0, 0) if n_files == 20 else (2, 1)), said
    assert n_files == 20 or (said.startswith("equiscope: Too many open files") and "ulimit -n" in said)
    assert survey(place, out)[0] == 0
    assert contents(place / out) == whole


# --- what the user names -------------------------------------------------------------------------------------


def outputs(finished: Path, graphml: str) -> tuple[int, str, str]:
    """Exit status, standard output and messages of ``circuits --graphml``, in a process with output of its own."""
    beside = finished.parent / f"graph-{len(list(finished.parent.iterdir()))}"
    shutil.copytree(finished, beside / "run")
    (beside / "folder.graphml").mkdir()
    (beside / "link.graphml").symlink_to("target.graphml")

    def redirect() -> None:
        os.dup2(os.open(beside / "printed", os.O_CREAT | os.O_WRONLY), 1)
        sys.stdout = os.fdopen(1, "w", closefd=False)

    status, said = run_command(beside, f"{COMMANDS['circuits']} --graphml {graphml}", redirect)
    return status, (beside / "printed").read_text(), said


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_a_graph_can_be_printed(finished: Path) -> None:
    before = Path("/dev/stdout").lstat()
    status, printed, said = outputs(finished, "/dev/stdout")
    assert status == 0, said
    assert Path("/dev/stdout").lstat().st_ino == before.st_ino
    start, _, rest = printed.partition("<graphml")
    assert "circuits: run/circuits.json" in start
    assert "</graphml>" in rest
    assert "graph: /dev/stdout" in rest


@pytest.mark.parametrize(
    ("graphml", "expected"),
    [
        ("/dev/full", "No space left on device (/dev/full): make room, and give the same command again"),
        ("folder.graphml", "Is a directory (folder.graphml): it is a folder, expected a file"),
        ("run/run.json/graph", "Not a directory (run/run.json/graph): a part of this path is a file"),
    ],
)
def test_a_graph_that_cannot_be_written_is_one_sentence(graphml: str, expected: str, finished: Path) -> None:
    device = Path("/dev/full").stat().st_rdev if graphml == "/dev/full" else 0
    status, printed, said = outputs(finished, graphml)
    assert status == 2
    assert said.startswith(f"equiscope: {expected}")
    assert said.count("\n") == 1
    # What can be known beforehand is said before anything is computed.
    assert ("circuits: run/circuits.json" in printed) == (graphml == "/dev/full")
    assert not device or Path("/dev/full").stat().st_rdev == device


def test_figures_and_designs_go_through_links(place: Path, finished: Path) -> None:
    beside = place / "links"
    shutil.copytree(finished, beside / "run")
    (beside / "far").mkdir()
    (beside / "figure.svg").symlink_to("far/figure.svg")
    status, said = run_command(beside, "figure run overview --out figure.svg")
    assert status == 0, said
    assert (beside / "figure.svg").is_symlink()
    assert (beside / "far" / "figure.svg").read_bytes().startswith(b"<")
    status, said = run_command(beside, "figure run overview --out run/run.json/figure.svg")
    assert (status, said.count("\n")) == (2, 1)
    assert "or choose another --out" in said or "name another path" in said


# --- seconds -------------------------------------------------------------------------------------------------


def dying_after(seconds: float, stage: str) -> None:
    """Let every step of a stage take as long, and this process die in the second."""
    module = importlib.import_module("equiscope.cli.survey")
    n_steps = 0

    @contextlib.contextmanager
    def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
        def on_step(steps: int) -> None:
            nonlocal n_steps
            if title.startswith(stage):
                n_steps += 1
                time.sleep(seconds)
                if n_steps == 2:
                    os._exit(9)

        yield on_step

    module.show_progress = progress  # type: ignore[attr-defined]


def test_seconds_are_those_of_all_processes(place: Path, whole: dict[str, str]) -> None:
    assert survey(place, "timed", lambda: dying_after(1.1, "rotation: showing"))[0] == 9
    manifest = json.loads((place / "timed" / "run.json").read_text())
    assert manifest["seconds"] == {}
    noted = json.loads((place / "timed" / "seconds.json").read_text())["seconds"]
    assert noted["geometry"] > 0
    assert noted["rotation"] > 1.1
    assert survey(place, "timed") == (0, "")
    seconds = json.loads((place / "timed" / "run.json").read_text())["seconds"]
    assert all(round(seconds[stage] + 0.006, 2) >= round(before, 2) for stage, before in noted.items())
    assert not (place / "timed" / "seconds.json").exists()
    assert contents(place / "timed") == whole
    # One that is finished and given again counts both.
    assert survey(place, "timed") == (0, "")
    later = json.loads((place / "timed" / "run.json").read_text())["seconds"]
    assert later["rotation"] >= seconds["rotation"]
    assert later["report"] > seconds["report"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"seconds": 3}', '{"seconds": {"rotation": "long", "hue": 1}}']
)
def test_seconds_that_are_damaged_stop_nothing(content: str, tmp_path: Path) -> None:
    path = tmp_path / "seconds.json"
    path.write_text(content)
    timings = Timings(path, {"geometry": 2.0, "report": None})
    expected = {"hue": 1.0} if "hue" in content else {"geometry": 2.0}
    assert timings.seconds == expected
    with timings.measure("geometry"):
        pass
    assert set(json.loads(path.read_text())["seconds"]) == {*expected, "geometry"}
