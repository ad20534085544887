"""Ctrl-C is one line and exit code 130, whenever it is pressed; a reader that goes away is no defect either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from equiscope.cli.interruption import interruptible

# Presses Ctrl-C in the process itself, at a moment that does not depend on how fast the machine is.
PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, {handler})
def press():
    os.kill(os.getpid(), signal.SIGINT)
class WhenImported:
    def __init__(self, name):
        self.name = name
    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            press()
{moment}
sys.argv = ["equiscope", *{arguments!r}]
from equiscope.cli import main
main()
"""
WORKING = """
from equiscope.surveys.stages import Stage
def run(self, *_):
    {0}
Stage.run = run
"""
MOMENTS = {
    "the parser is imported": "sys.meta_path.insert(0, WhenImported('typer'))",
    "numpy is imported": "sys.meta_path.insert(0, WhenImported('numpy._core'))",
    "torch is imported": "sys.meta_path.insert(0, WhenImported('torch.nn'))",
    "a stage works": WORKING.format("press()"),
    "a destructor works": WORKING.format("type('Lost', (), {'__del__': lambda _self: press()})()"),
    "the first is handled": WORKING.format("\n    try:\n        press()\n    finally:\n        press()"),
    "the work makes another error of it": WORKING.format(
        "\n    try:\n        press()\n    except BaseException:\n        raise RuntimeError('lost')"
    ),
    "a signal was taken over": WORKING.format("raise KeyboardInterrupt"),
}
SURVEY = ["survey", "--images", "images.npz", "--layers", "conv2d0", "--transformations", "reflection"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few images that are not square."""
    folder = tmp_path_factory.mktemp("interrupted")
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    return folder


def program_of(moment: str, arguments: list[str], handler: str = "signal.default_int_handler") -> str:
    """The program, with the signal as a terminal leaves it, whatever the tests were begun with."""
    return PROGRAM.format(moment=moment, arguments=arguments, handler=handler)


def press_when(
    moment: str, arguments: list[str], cwd: Path, **options: str
) -> subprocess.CompletedProcess[str]:
    program = program_of(MOMENTS.get(moment, moment), arguments, **options)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_is_one_line(moment: str, place: Path, tmp_path: Path) -> None:
    result = press_when(moment, [*SURVEY, "--out", str(tmp_path / "run")], place)
    said = [line for line in result.stderr.splitlines() if "interrupted" in line or "Error" in line]
    assert said == ["equiscope: interrupted; the same command goes on from here"], result.stderr
    assert "Traceback" not in result.stderr
    assert "Aborted" not in result.stderr
    assert result.returncode == 130
    assert result.stdout == ""


def test_what_does_not_go_on_is_not_said_to(place: Path) -> None:
    result = press_when("the parser is imported", ["layers"], place)
    assert result.stderr == "equiscope: interrupted; give the same command again to begin anew\n"
    assert result.returncode == 130


def test_a_command_that_ends_well_in_spite_of_it_has_ended_well(place: Path) -> None:
    moment = """
import equiscope.reports.site.serve as serve
def open_site(*_, **__):
    try:
        press()
    except KeyboardInterrupt:
        return
serve.open_site = open_site
"""
    result = press_when(moment, ["open", "run"], place)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_signal_that_is_ignored_stays_ignored(place: Path, tmp_path: Path) -> None:
    ending = "import equiscope.reports.site.serve as serve\nserve.open_site = lambda *_, **__: press()\n"
    result = press_when(ending, ["open", "run"], place, handler="signal.SIG_IGN")
    assert (result.returncode, result.stderr) == (0, "")
    stopped = press_when(ending, ["open", "run"], place)
    assert stopped.returncode == 130


@pytest.fixture
def heard() -> Iterator[None]:
    """Let Ctrl-C be heard: in the background of a script it is ignored, and would stay so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_the_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with interruptible("go on"):
        assert signal.getsignal(signal.SIGINT) != before[0]
    with pytest.raises(ValueError, match="other"), interruptible("go on"):
        raise ValueError("other")
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_ctrl_c_from_outside(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "equiscope.cli", *SURVEY[:-2], "--out", str(out)],
        cwd=place,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (out / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert stderr.splitlines()[-1] == "equiscope: interrupted; the same command goes on from here"
    assert "Traceback" not in stderr
    assert process.returncode == 130


def test_an_error_without_ctrl_c_is_not_called_an_interruption(place: Path, tmp_path: Path) -> None:
    broken = WORKING.format("raise RuntimeError('a defect')")
    result = press_when(broken, [*SURVEY, "--out", str(tmp_path / "run")], place)
    assert "RuntimeError: a defect" in result.stderr
    assert "interrupted" not in result.stderr
    assert result.returncode == 1


def test_a_file_that_ends_early_is_not_aborted(place: Path, tmp_path: Path) -> None:
    short = WORKING.format("raise EOFError('no data left')")
    result = press_when(short, [*SURVEY, "--out", str(tmp_path / "run")], place)
    assert "Aborted" not in result.stderr
    assert "no data left" in result.stderr


def test_a_reader_that_goes_away_is_not_complained_to(place: Path) -> None:
    many = "import typer\nfrom equiscope.cli import app\n"
    many += "app.command('much')(lambda: typer.echo('x' * 1_000_000))\n"
    program = program_of(many, ["much"])
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Unbuffered, Python loses what a pipe does not take at once.
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_complained_of_once(place: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "equiscope.cli", "--help"],
            cwd=place,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
        )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "No space left on device" in result.stderr
