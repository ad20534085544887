"""Wall time, processor time and peak memory of the circuits of a run, by stage, as `equiscope circuits` finds them.

    python benchmarks/circuits.py equiscope-runs/googlenet --weights bvlc_googlenet_fp16.npz --images photos.tar

Recovers the circuits of a finished run again, in its own folder, and draws its report; without a run those of ``mini``,
which is surveyed first. Prints seconds by stage and for each two layers, how busy the machine was, and peak resident
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from equiscope.evidence.circuits import recover_circuits
from equiscope.models import load_model
from equiscope.reports.site.files import show_evidence
from equiscope.runs.run import load_run
from equiscope.stimuli import open_images


class Clock:
    """Adds up seconds on the wall and of all processors, by stage."""

    def __init__(self) -> None:
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.processors: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str, _n_steps: int) -> Iterator[Callable[[int], None]]:
        """Time one stage; those of single layers and pairs of layers go by their first words."""
        name = next((word for word in ("expanding weights", "gradients") if stage.startswith(word)), stage)
        wall, processors = time.perf_counter(), time.process_time()
        yield lambda _n: None
        self.wall[name] += time.perf_counter() - wall
        self.processors[name] += time.process_time() - processors


def main() -> None:
    """Print one line for each stage, and one for all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images")
    options = parser.parse_args()
    if options.run is not None:
        measure(options.run, options.weights, options.images)
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        subprocess.run(
            [sys.executable, "-m", "equiscope.cli", "survey", "mini", "--out", str(out)], check=True
        )
        measure(out, None, None)


def measure(folder: Path, weights: Path | None, images: str | None) -> None:
    """Recover the circuits of one run, and print what that took."""
    run, clock = load_run(folder), Clock()
    load_before = os.getloadavg()[0]
    with clock("all", 1):
        model = load_model(run.manifest["model"]["name"], weights)
        recover_circuits(run, model, open_images(images), progress=clock)
        with clock("report", 1):
            show_evidence(folder, "circuits")
    for stage, seconds in clock.wall.items():
        row = {"stage": stage, "seconds": round(seconds, 1), "cpu_seconds": round(clock.processors[stage], 1)}
        print(json.dumps(row))
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "threads": torch.get_num_threads(),
                "load_before": round(load_before, 2),
                "load_after": round(os.getloadavg()[0], 2),
                "peak_gib": round(peak_gib, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
