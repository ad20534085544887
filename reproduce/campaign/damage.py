"""Damage every file of a finished run in six ways, one at a time, and give each command that reads the run.

A command may end as if nothing had happened, repair the file, or refuse in one sentence. It may not show other results
without a word: that is a silent change.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from kills import Fault
from processes import Outcome, run_command, snapshot, without_times
from scene import COMMANDS

__all__ = ["DAMAGES", "READERS", "damage_every_file"]


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        bit = int(np.random.default_rng(len(content)).integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)


def _remove(path: Path) -> None:
    path.unlink()


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "emptied": _empty,
    "halved": _halve,
    "zeroed": _zero,
    "a bit flipped": _flip_a_bit,
    "removed": _remove,
    "a folder": _replace_by_folder,
}
READERS = {command.name: command.arguments for command in COMMANDS if command.folder == "run"} | {
    "export families": ("export", "run", "families", "--format", "json"),
    "export circuits": ("export", "run", "circuits", "--format", "json"),
    "budget": ("budget", "run"),
}
# Of the site's own files only these are readers.
_SITE_READERS = ("survey", "report")


def damage_every_file(
    main: Callable[[], None],
    finished: Path,
    folder: Path,
    share: float = 1.0,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[tuple[str, list[Fault]]]:
    """Damage each file of the run in ``finished`` in each way, for each reader.

    ``share`` of the trials are drawn at random; of these ``shard`` takes every second, say, for one of two processes.
    """
    first, step = shard
    n_drawn = 0
    rng = np.random.default_rng(0)
    references: dict[str, tuple[Outcome, dict[str, str]]] = {}
    for name in (str(path) for path in sorted(snapshot(finished / "run"))):
        for damage in DAMAGES:
            for reader in _SITE_READERS if name.startswith(("site/", "index.html")) else READERS:
                if rng.uniform() >= share:
                    continue
                n_drawn += 1
                if n_drawn % step != first:
                    continue
                if reader not in references:
                    references[reader] = _read(main, finished, folder, reader)
                trial = f"{name} {damage}, {reader}"
                outcome, after = _read(main, finished, folder, reader, name, damage)
                yield trial, _judge(trial, name, outcome, after, *references[reader])


def _read(
    main: Callable[[], None],
    finished: Path,
    folder: Path,
    reader: str,
    name: str | None = None,
    damage: str = "",
) -> tuple[Outcome, dict[str, str]]:
    """Give a reader a copy of the run, with one file damaged: how it ended, and what the folder holds then."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(finished, work)
    if name is not None:
        DAMAGES[damage](work / "run" / name)
    outcome = run_command(main, READERS[reader], work)
    return outcome, snapshot(work / "run")


def _judge(
    trial: str, name: str, outcome: Outcome, after: dict[str, str], whole: Outcome, wanted: dict[str, str]
) -> list[Fault]:
    """Compare with the same command on the undamaged run."""
    if outcome.fault:
        return [Fault(trial, f"{outcome.fault}: {outcome.err.strip()[-300:]}")]
    if outcome.code == 2 or without_times(outcome.err) != without_times(whole.err):
        return []
    others = {key for key in after.keys() | wanted.keys() if after.get(key) != wanted.get(key)} - {name}
    if others:
        return [Fault(trial, f"silent change of {', '.join(sorted(others))}")]
    return (
        [Fault(trial, "silent change of what it prints")]
        if without_times(outcome.out) != without_times(whole.out)
        else []
    )
