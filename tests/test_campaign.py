"""The campaign of reproduce/campaign in its short form, and impostors that only it catches."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

CAMPAIGN = Path(__file__).parents[1] / "reproduce" / "campaign"


@pytest.fixture(scope="module")
def part() -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the campaign, which is no package."""
    sys.path.insert(0, str(CAMPAIGN))
    yield importlib.import_module
    sys.path.remove(str(CAMPAIGN))


def test_a_sample_of_everything_that_can_happen_to_a_run_does_no_harm() -> None:
    command = [sys.executable, str(CAMPAIGN), "--short"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "random: 0 faults in 6 trials" in ended.stdout


def raises() -> None:
    raise KeyError("chunks")


def hangs() -> None:
    time.sleep(60)


def dies() -> None:
    os.kill(os.getpid(), signal.SIGBUS)


def refuses_without_a_word() -> None:
    sys.exit(2)


def ends_with_another_code() -> None:
    sys.exit(7)


def refuses_in_words() -> None:
    sys.stderr.write("equiscope: photos is no folder\n")
    sys.exit(2)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (raises, "traceback"),
        (hangs, "hang"),
        (dies, "death by SIGBUS"),
        (refuses_without_a_word, "no word"),
        (ends_with_another_code, "exit code 7"),
        (refuses_in_words, ""),
    ],
)
def test_each_bad_ending_is_told_apart(
    part: Callable[[str], ModuleType], tmp_path: Path, command: Callable[[], None], fault: str
) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    longest_s = 0.5 if command is hangs else 60
    assert part("processes").run_command(command, [], scene, longest_s=longest_s).fault == fault


def writes_a_state_before_what_follows_from_it() -> None:
    Path("run").mkdir(exist_ok=True)
    if not Path("run/state.json").exists():
        Path("run/state.json").write_text('{"is_complete": true}')
        Path("run/table.csv").write_text("unit,kind\n")


def writes_what_follows_first() -> None:
    Path("run").mkdir(exist_ok=True)
    if not Path("run/state.json").exists():
        Path("run/table.csv").write_text("unit,kind\n")
        Path("run/part").write_text('{"is_complete": true}')
        Path("run/part").replace("run/state.json")


@pytest.mark.parametrize(
    ("command", "n_lost"), [(writes_a_state_before_what_follows_from_it, 1), (writes_what_follows_first, 0)]
)
def test_a_kill_between_a_state_and_what_follows_from_it_is_a_loss(
    part: Callable[[str], ModuleType], tmp_path: Path, command: Callable[[], None], n_lost: int
) -> None:
    kills, scene = part("kills"), part("scene")
    commands = (scene.Command("pair", ()),)
    states = kills.undisturbed(command, tmp_path, commands)
    trials = list(kills.kill_every_write(command, states, tmp_path, commands=commands))
    assert len(trials) == states.n_writes["pair"] >= 3
    assert sum(bool(faults) for _, faults in trials) == n_lost


def test_only_other_results_without_a_word_are_a_silent_change(part: Callable[[str], ModuleType]) -> None:
    outcome, judge = part("processes").Outcome, part("damage")._judge
    whole, wanted = outcome(0, "4 families", ""), {"run.json": "a", "families.json": "b"}
    changed = {"run.json": "a", "families.json": "c"}
    assert (
        "families.json"
        in judge("t", "run.json", outcome(0, "4 families", ""), changed, whole, wanted)[0].what
    )
    assert "prints" in judge("t", "run.json", outcome(0, "3 families", ""), wanted, whole, wanted)[0].what
    assert not judge(
        "t", "run.json", outcome(0, "3 families", "run.json was changed"), changed, whole, wanted
    )
    assert not judge("t", "families.json", outcome(0, "4 families", ""), changed, whole, wanted)


@pytest.mark.parametrize(
    ("page", "is_wrong"),
    [
        ("<img src='site/sprites/a.webp' alt='&lt;img onerror=alert(1)>'>", False),
        ("<img src=x onerror=alert(1)>", True),
        ("<a href='#/unit/0-1'>0:1</a>", False),
        ("<a href='javascript:alert(1)'>0:1</a>", True),
        ("<img src='../../secret.png'>", True),
        ("<script src='site/app/core.js'></script>", False),
        ("<script>alert(1)</script>", True),
    ],
)
def test_a_name_that_became_an_element_is_seen(
    part: Callable[[str], ModuleType], page: str, is_wrong: bool
) -> None:
    assert bool(part("names")._Elements(page).wrong) == is_wrong


@pytest.mark.parametrize(
    ("trial", "text", "is_wrong"),
    [
        ("names, survey", "layer \x1b[2J", True),
        ("names, survey", "layer \\x1b[2J", False),
        ("names, export run units", "layer\n=cmd()\n", True),
        ("names, export run units", "layer\n'=cmd()\n-0.5\n", False),
        ("names, survey", "=cmd()", False),
    ],
)
def test_escape_sequences_and_formulas_are_seen(
    part: Callable[[str], ModuleType], trial: str, text: str, is_wrong: bool
) -> None:
    outcome = part("processes").Outcome(0, text, "")
    assert any(faults for _, faults in part("names")._judge(trial, outcome)) == is_wrong
