"""Run a survey on disks that are too small for it, enlarge them, and give it again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kills import Fault, States, compare
from processes import run_command, snapshot
from scene import COMMANDS

__all__ = ["can_mount", "full_disks"]

_ROOM_KIB = 64 * 1024


def _mount(*arguments: str) -> bool:
    command = shutil.which("mount")
    return (
        command is not None
        and subprocess.run([command, *arguments], check=False, capture_output=True).returncode == 0
    )


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a disk of a given size (root outside most containers)."""
    probe = folder / "probe"
    probe.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or not _mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(probe)):
        return False
    _unmount(probe)
    return True


def _unmount(place: Path) -> None:
    subprocess.run([shutil.which("umount") or "umount", str(place)], check=False, capture_output=True)


def full_disks(
    main: Callable[[], None], states: States, folder: Path, sizes_kib: Sequence[int]
) -> Iterator[tuple[str, list[Fault]]]:
    """Survey onto a disk of each size, then again with room."""
    command = COMMANDS[0]
    for size in sizes_kib:
        trial = f"a disk of {size} KiB"
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(states.before[command.name], work)
        disk = work / command.folder
        disk.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk))
        try:
            full = run_command(main, command.arguments, work)
            _mount("-o", f"remount,size={_ROOM_KIB}k", str(disk))
            again = run_command(main, command.arguments, work)
            found = snapshot(disk)
        finally:
            _unmount(disk)
        faults = compare(trial, again, states.after[command.name], found)
        if full.fault:
            faults.append(Fault(trial, f"when full: {full.fault}: {full.err.strip()[-300:]}"))
        elif full.code == 2 and full.err.count("equiscope: ") != 1:
            faults.append(Fault(trial, f"when full: {full.err.strip()[-300:]}"))
        yield trial, faults
