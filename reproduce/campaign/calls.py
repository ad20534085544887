"""Malformed calls: every option of every command with values that it cannot mean.

A call may be refused with a sentence and exit code 2, or do what the value says where it means something. It may not
end in a traceback, without a word, or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import typer
from kills import Fault
from processes import run_command
from scene import COMMANDS

__all__ = ["malformed_calls"]

_VALUES = (
    "nan", "inf", "-1", "0", "1e20", "99999999999999999999", "-0.5", "2.5", "", " ", "…", "\x1b]0;x\x07", "../..",
    "/dev/null", "/dev/full", "/dev/zero", "net.py", "photos", "run", "no/such", "x" * 300, "a,,b", "None", "[]",
    "meta",
)  # fmt: skip
# What a call needs to come as far as the value.
_WHOLE = {command.name: command.arguments for command in COMMANDS} | {
    "budget": ("budget", "run"),
    "simplify": ("simplify", "run", "net.py:network", "--images", "classes"),
    "design": ("design", "run"),
    "compare": ("compare", "run", "run", "--images", "photos"),
    "layers": ("layers", "net.py:network"),
    "plan": ("plan", "net.py:network", "--images", "photos"),
    "figure": ("figure", "run", "overview"),
    "export": ("export", "run", "families"),
    "tally": ("tally", "run", "answers.json"),
}
# It serves until it is stopped.
_ENDLESS = {"open"}


def malformed_calls(
    main: Callable[[], None], finished: Path, folder: Path, n_calls: int
) -> Iterator[tuple[str, list[Fault]]]:
    """Give ``n_calls`` calls, each with one value replaced, drawn from all of them."""
    calls = [tuple(call) for call in _all_calls()]
    order = np.random.default_rng(0).permutation(len(calls))[:n_calls]
    for index in order:
        call = calls[index]
        trial = " ".join(repr(part)[1:-1] for part in call)
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(finished, work)
        outcome = run_command(main, call, work, longest_s=60)
        yield trial, [Fault(trial, f"{outcome.fault}: {outcome.err.strip()[-300:]}")] if outcome.fault else []


def _all_calls() -> Iterator[list[str]]:
    from equiscope.cli import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if name in _ENDLESS:
            continue
        whole = list(_WHOLE[name])
        for value in _VALUES:
            for place in range(1, len(whole)):
                if not whole[place].startswith("--"):
                    yield [*whole[:place], value, *whole[place + 1 :]]
            for parameter in command.params:
                flag = parameter.opts[0]
                if flag.startswith("--") and flag != "--help":
                    yield [*whole, flag, value]
        yield [*whole, "--no-such-option"]
        yield [name]
        yield [*whole, "one", "too", "many", "values"]
