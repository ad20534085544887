"""The command line as a user meets it: output, exit codes, killed processes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images
from typer.testing import CliRunner

import equiscope as package
from equiscope.cli import app
from equiscope.transformations import standard_names
from in_process import run_command

FACTORY = """
import torch
from torch import nn
def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 12, 7), nn.ReLU(), nn.Conv2d(12, 8, 3))
def broken():
    raise RuntimeError("no weights today")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of the user's own and twelve non-square images."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "mine.py").write_text(FACTORY)
    photo = load_sample_images().images[0]
    crops = [photo[y : y + 60, x : x + 76] for y in (0, 120, 240) for x in (0, 150, 300, 450)]
    np.savez(folder / "images.npz", images=np.stack(crops))
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> subprocess.CompletedProcess[str]:
    return run_command(
        "survey",
        "mine.py:network",
        "--images",
        "images.npz",
        "--layers",
        "0",
        "--angles",
        "8",
        "--out",
        "run",
        cwd=place,
    )


def test_survey_prints_a_table_and_the_report(run: subprocess.CompletedProcess[str], place: Path) -> None:
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert (
        lines[0].split()
        == (
            "layer transformation units equivariant invariant neither inactive not measurable copies 95 % equi + inv "
            "95 % families largest score"
        ).split()
    )
    assert [line.split()[:3] for line in lines[1:8]] == [["0", name, "12"] for name in standard_names()]
    assert lines[-1] == f"report: {Path('run') / 'index.html'}"
    assert (place / "run" / "index.html").exists()
    # No terminal, so no bar: the plan, a line a part of each stage, and what could not be measured.
    assert "━" not in run.stderr
    plan, *rest = run.stderr.splitlines()
    assert plan == "1 layer × 7 transformations: 12 stages to do"
    assert rest[0] == "finding receptive fields [1/12]"
    assert rest.pop(1).startswith("about ")
    assert "drawing the report [12/12]" in rest
    assert all(line.startswith("0, ") or line.endswith("/12]") for line in rest)
    command = json.loads((place / "run" / "run.json").read_text())["command"]
    assert command.startswith("equiscope survey mine.py:network --images images.npz")


def test_survey_says_how_many_families_are_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["survey", "mini", "--layers", "conv2d0", "--transformations", "reflection", "--out", "run"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    families = json.loads((tmp_path / "run" / "families.json").read_text())["families"]
    words = [family["verdict"]["word"] for family in families]
    assert words.count("copies") > 0
    said = ", ".join(f"{words.count(word)} {word}" for word in ("copies", "alike in pose", "untested"))
    assert f"by their weights: {said}\n" in result.output


def test_verify_prints_a_table_and_draws_the_report_again(
    run: subprocess.CompletedProcess[str], place: Path
) -> None:
    assert run.returncode == 0, run.stderr
    shutil.copytree(place / "run", place / "verified")
    done = run_command("verify", "verified", "mine.py:network", cwd=place)
    assert done.returncode == 0, done.stderr
    assert re.match(r"about \d+ s: [\d,]+ drawn patches in 1 layer\(s\), ", done.stderr)
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["family", "axis", "driven", "by"]
    assert lines[-2:] == [
        f"verification: {Path('verified') / 'verification.json'}",
        f"report: {Path('verified') / 'index.html'}",
    ]
    (place / "verified" / "report.json").unlink()
    older = run_command("verify", "verified", "mine.py:network", cwd=place)
    assert older.returncode == 0
    assert "an earlier version made it" in older.stderr


def test_finished_survey_given_again_measures_nothing(
    run: subprocess.CompletedProcess[str], place: Path
) -> None:
    before = (place / "run" / "responses" / "rotation" / "0.zarr" / "c" / "0" / "0" / "0").stat().st_mtime_ns
    again = run_command(
        "survey",
        "mine.py:network",
        "--images",
        "images.npz",
        "--layers",
        "0",
        "--angles",
        "8",
        "--out",
        "run",
        cwd=place,
    )
    assert again.returncode == 0
    assert again.stdout.splitlines()[:2] == run.stdout.splitlines()[:2]
    assert (
        place / "run" / "responses" / "rotation" / "0.zarr" / "c" / "0" / "0" / "0"
    ).stat().st_mtime_ns == before


@pytest.mark.usefixtures("run")
class TestExport:
    def test_units_as_csv(self, place: Path) -> None:
        result = run_command("export", "run", "units", cwd=place)
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        assert len(rows) == 12 * len(standard_names())
        assert [row["transformation"] for row in rows[:7]] == standard_names()
        assert {"layer", "channel", "mean", "sd", "kind", "family", "angle_deg"} <= set(rows[0])
        members = [row for row in rows if row["transformation"] == "rotation" and row["family"]]
        assert members
        assert all(row["angle_deg"] and row["score"] and not row["hue_deg"] for row in members)

    def test_units_and_families_as_json(self, place: Path) -> None:
        for part in ("units", "families"):
            result = run_command("export", "run", part, "--format", "json", cwd=place)
            assert (
                json.loads(result.stdout)[part]
                == json.loads((place / "run" / f"{part}.json").read_text())[part]
            )

    def test_families_as_csv_have_one_line_a_member(self, place: Path) -> None:
        families = json.loads((place / "run" / "families.json").read_text())["families"]
        rows = list(csv.DictReader(io.StringIO(run_command("export", "run", "families", cwd=place).stdout)))
        assert len(rows) == sum(family["size"] for family in families)


def test_layers(place: Path) -> None:
    result = run_command("layers", "mine.py:network", cwd=place)
    assert result.returncode == 0, result.stderr
    rows = [line.split()[:3] for line in result.stdout.splitlines()[1:]]
    assert rows == [["0", "yes", "12"], ["1", "–", "12"], ["2", "yes", "8"]]
    assert "9 px" in result.stdout.splitlines()[3]
    named = run_command("layers", "mine.py:network", "--layers", "1", cwd=place)
    assert [line.split()[:3] for line in named.stdout.splitlines()[1:]] == [["1", "–", "12"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("survey", "gogglenet"), "did you mean 'googlenet'"),
        (("survey", "mine.py:netwrk"), "network"),
        (("survey", "mine.py:broken"), "no weights today"),
        (("survey", "mine.py:network", "--images", "nowhere"), "nowhere"),
        (("survey", "mine.py:network", "--layers", "1,9"), "unknown layer"),
        (("survey", "mine.py:network", "--angels", "8"), "--angles"),
        (
            ("survey", "mine.py:network", "--images", "images.npz", "--angles", "2", "--out", "x"),
            "angles is 2, expected a whole number from 4 to 360",
        ),
        (("survy",), "survey"),
        (("export", "nowhere", "units"), "no folder"),
        (("export", "run", "unitz"), "unitz"),
        (("layers", "timm:resnet18"), "pip install timm"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    arguments: tuple[str, ...], message: str, place: Path, run: subprocess.CompletedProcess[str]
) -> None:
    result = run_command(*arguments, cwd=place)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", ["--help", "-h", "--version", "survey -h", "train --help", "survy"])
def test_help_does_not_wait_for_torch(arguments: str) -> None:
    # Processor time depends on the machine; what takes it does not.
    program = (
        "import sys\nfrom equiscope.cli import main\nsys.argv = ['equiscope', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(f'{sorted(sys.modules)}')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments.split()], capture_output=True, text=True
    )
    assert result.returncode == (2 if arguments == "survy" else 0)
    loaded = result.stderr[result.stderr.index("[") :]
    assert "'typer'" in loaded
    assert [name for name in ("torch", "numpy", "scipy", "jinja2", "zarr") if f"'{name}'" in loaded] == []


@pytest.mark.parametrize(
    ("given", "policy"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_are_told_how_to_wait_before_torch_is_loaded(
    given: dict[str, str], policy: str, place: Path
) -> None:
    program = (
        "import os, sys\nfrom importlib.abc import MetaPathFinder\nfrom equiscope.cli import main\n"
        "class Seen(MetaPathFinder):\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n            sys.stderr.write(f'policy {os.environ.get(\"GOMP_SPINCOUNT\")}')\n"
        "            os._exit(0)\n"
        "sys.meta_path.insert(0, Seen())\nsys.argv = ['equiscope', 'layers', 'mini']\nmain()\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))} | given
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=place, env=environment
    )
    assert f"policy {policy}" in result.stderr


def test_version(place: Path) -> None:
    assert run_command("--version", cwd=place).stdout == f"equiscope {package.__version__}\n"


@pytest.mark.parametrize("command", ["", *(c.name or c.callback.__name__ for c in app.registered_commands)])
def test_every_command_has_a_short_option_for_help(command: str, place: Path) -> None:
    short, long = (run_command(*command.split(), option, cwd=place) for option in ("-h", "--help"))
    assert short.returncode == 0
    assert short.stdout == long.stdout != ""


def test_a_command_is_in_the_module_of_its_name() -> None:
    for command in app.registered_commands:
        assert command.callback.__module__ == f"equiscope.cli.{command.callback.__name__}"


def test_killed_survey_goes_on(place: Path) -> None:
    arguments = ["survey", "mine.py:network", "--images", "images.npz", "--angles", "8", "--out", "killed"]
    process = subprocess.Popen(
        [sys.executable, "-m", "equiscope.cli", *arguments],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    deadline = time.monotonic() + 60
    while not (place / "killed" / "responses").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    unfinished = run_command("export", "killed", "families", cwd=place)
    resumed = run_command(*arguments, cwd=place)
    fresh = run_command(*arguments[:-1], "fresh", cwd=place)
    assert resumed.returncode == fresh.returncode == 0, resumed.stderr
    assert (place / "killed" / "families.json").read_bytes() == (
        place / "fresh" / "families.json"
    ).read_bytes()
    if unfinished.returncode:
        assert "not finished" in unfinished.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_words_and_keeps_what_is_done(place: Path) -> None:
    script = (
        "import errno, sys, equiscope.runs.writing as writing\n"
        "def full(path, write):\n"
        "    if path.name == 'families.json':\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device', str(path))\n"
        "    return real(path, write)\n"
        "real, writing.write_atomically = writing.write_atomically, full\n"
        "from equiscope.cli import main\n"
        "sys.argv = ['equiscope', 'survey', 'mine.py:network', '--images', 'images.npz', '--angles', '8',"
        " '--layers', '0', '--out', 'full']\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=place, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 2
    assert "No space left on device" in result.stderr
    assert "same command again" in result.stderr
    again = run_command(
        "survey",
        "mine.py:network",
        "--images",
        "images.npz",
        "--angles",
        "8",
        "--layers",
        "0",
        "--out",
        "full",
        cwd=place,
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    "command", ["survey NET", "circuits RUN", "featurevis RUN", "budget RUN", "simplify RUN", "compare A B",
                "train plain --data DATA"],
)  # fmt: skip
def test_negative_seeds_are_refused_at_once(command: str, tmp_path: Path) -> None:
    result = run_command(*command.split(), "--seed", "-1", cwd=tmp_path)
    assert result.returncode == 2
    assert "Invalid value for '--seed'" in result.stderr
