"""Break a small run in every way that a user's machine can, and count what goes wrong.

``python reproduce/campaign`` takes two to three hours and fills docs/reliability.md; ``--short`` takes two minutes and
runs in the tests. It prints each fault and one line a part, and ends with exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from calls import malformed_calls
from damage import damage_every_file
from disks import can_mount, full_disks
from kills import Fault, kill_at_random, kill_every_write, undisturbed
from names import hostile_names
from processes import import_everything
from scene import COMMANDS

PARTS = ("writes", "random", "damage", "calls", "disks", "names")
_DISK_KIB = (64, 128, 192, 256, 320, 384, 448, 512, 640, 768)
# What an undisturbed run of the scene needs on disk is about 700 KiB.


def run_campaign(
    main: Callable[[], None],
    folder: Path,
    parts: Iterable[str],
    *,
    is_short: bool,
    shard: tuple[int, int] = (0, 1),
) -> list[Fault]:
    """Run some parts in an empty folder; tell the figures on standard output.

    Returns
    -------
    list
        The faults, empty if nothing went wrong.
    """
    states = undisturbed(main, folder)
    finished = folder / "after-report"
    every = 40 if is_short else 1
    trials = {
        "writes": lambda: kill_every_write(main, states, folder, every),
        "random": lambda: kill_at_random(main, states, folder, 6 if is_short else 200),
        "damage": lambda: damage_every_file(main, finished, folder, 0.01 if is_short else 1.0, shard),
        "calls": lambda: malformed_calls(main, finished, folder, 20 if is_short else 300),
        "disks": lambda: full_disks(main, states, folder, _DISK_KIB[::5] if is_short else _DISK_KIB),
        "names": lambda: hostile_names(main, folder),
    }
    faults = []
    for part in parts:
        if part == "disks" and not can_mount(folder):
            print("disks: left out, for this user cannot mount a disk of a given size")
            continue
        started, n_trials, found = time.monotonic(), 0, []
        for _, wrong in trials[part]():
            n_trials += 1
            for fault in wrong:
                print(f"  {fault.trial}: {fault.what}", flush=True)
            found += wrong
            if not n_trials % 100:
                print(f"{part}: {len(found)} faults in the first {n_trials} trials", flush=True)
        print(
            f"{part}: {len(found)} faults in {n_trials} trials, {time.monotonic() - started:.0f} s",
            flush=True,
        )
        faults += found
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a sample of each part")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--shard", default="1/1", help="2/3: every third trial of damage, for the second of three"
    )
    options = parser.parse_args()
    number, n_shards = map(int, options.shard.split("/"))
    import_everything()
    from equiscope.cli import main

    print("commands: " + ", ".join(command.name for command in COMMANDS))
    with tempfile.TemporaryDirectory() as place:
        faults = run_campaign(
            main,
            Path(place).resolve(),
            options.only,
            is_short=options.short,
            shard=(number % n_shards, n_shards),
        )
    sys.exit(1 if faults else 0)
