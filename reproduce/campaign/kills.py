"""Kill every command once before each of its writes, and at random times; then give it again and compare.

A kill is a loss if the same command, given again, does not end with exit code 0 and the folder of a run that was never
disturbed, byte for byte but for times; left-over files count as a difference.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from processes import Outcome, run_command, snapshot
from scene import COMMANDS, Command, make_scene

__all__ = ["Fault", "States", "kill_at_random", "kill_every_write", "undisturbed"]


@dataclass(frozen=True)
class Fault:
    """Something that went wrong: in which trial, and how."""

    trial: str
    what: str


@dataclass(frozen=True)
class States:
    """The scene before each command, and what the command makes of it when nothing disturbs it."""

    before: dict[str, Path]
    after: dict[str, dict[str, str]]
    n_writes: dict[str, int]
    seconds: dict[str, float]


def undisturbed(main: Callable[[], None], folder: Path, commands: tuple[Command, ...] = COMMANDS) -> States:
    """Run all commands one after the other, and keep the scene before each.

    Raises
    ------
    RuntimeError
        If a command fails, or does not give the same twice.
    """
    import time

    states = States({}, {}, {}, {})
    current = folder / "start"
    make_scene(current)
    for command in commands:
        states.before[command.name] = current
        nexts = []
        for attempt in ("", "-again"):
            following = folder / f"after-{command.name}{attempt}"
            shutil.copytree(current, following)
            started = time.monotonic()
            outcome = run_command(main, command.arguments, following)
            states.seconds[command.name] = time.monotonic() - started
            if outcome.code != 0:
                raise RuntimeError(f"{command.name} ended with {outcome.code}: {outcome.err}")
            nexts.append((following, snapshot(following / command.folder), outcome.n_writes))
        if nexts[0][1] != nexts[1][1]:
            raise RuntimeError(
                f"{command.name} gives other files each time: {_differences(nexts[0][1], nexts[1][1])}"
            )
        shutil.rmtree(nexts[1][0])
        current, states.after[command.name], states.n_writes[command.name] = nexts[0]
    return states


def kill_every_write(
    main: Callable[[], None],
    states: States,
    folder: Path,
    every: int = 1,
    commands: tuple[Command, ...] = COMMANDS,
) -> Iterator[tuple[str, list[Fault]]]:
    """Kill each command before each of its writes; ``every`` takes only each so-manieth."""
    for command in commands:
        for number in range(1, states.n_writes[command.name] + 1, every):
            trial = f"{command.name}, write {number} of {states.n_writes[command.name]}"
            yield trial, _kill_and_repeat(main, states, command, folder, trial, kill_at=number)


def kill_at_random(
    main: Callable[[], None],
    states: States,
    folder: Path,
    n_kills: int,
    commands: tuple[Command, ...] = COMMANDS,
) -> Iterator[tuple[str, list[Fault]]]:
    """Kill commands at times drawn evenly from their duration."""
    rng = np.random.default_rng(0)
    for index in range(n_kills):
        command = commands[index % len(commands)]
        after_s = float(rng.uniform(0, states.seconds[command.name]))
        trial = f"{command.name}, after {after_s:.3f} s"
        yield trial, _kill_and_repeat(main, states, command, folder, trial, kill_after_s=after_s)


def _kill_and_repeat(
    main: Callable[[], None],
    states: States,
    command: Command,
    folder: Path,
    trial: str,
    *,
    kill_at: int | None = None,
    kill_after_s: float | None = None,
) -> list[Fault]:
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(states.before[command.name], work)
    run_command(main, command.arguments, work, kill_at=kill_at, kill_after_s=kill_after_s)
    again = run_command(main, command.arguments, work)
    return compare(trial, again, states.after[command.name], snapshot(work / command.folder))


def compare(trial: str, again: Outcome, wanted: dict[str, str], found: dict[str, str]) -> list[Fault]:
    """Tell what is wrong with a folder after the command was given again."""
    if again.fault or again.code != 0:
        return [Fault(trial, f"given again: {again.fault or 'refused'}: {again.err.strip()[-300:]}")]
    differing = _differences(wanted, found)
    return [Fault(trial, f"differs: {differing}")] if differing else []


def _differences(wanted: dict[str, str], found: dict[str, str]) -> str:
    """Name the files that two folders do not share."""
    lines = [
        *(f"{name} is missing" for name in wanted.keys() - found.keys()),
        *(f"{name} is left over" for name in found.keys() - wanted.keys()),
        *(f"{name} is another" for name in wanted.keys() & found.keys() if wanted[name] != found[name]),
    ]
    return ", ".join(sorted(lines))
