"""Wall time and peak memory of whole surveys, as a user runs them.

    python benchmarks/survey.py --weights bvlc_googlenet_fp16.npz --images photos.tar

Surveys ``mini`` on the embedded photographs and, where weights and images are given, conv2d0 to mixed3b of GoogLeNet at
16 angles and 6 stimuli a unit, each in a fresh process and a fresh folder; prints seconds in all and by stage, and
peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path


def measure(arguments: list[str]) -> dict[str, object]:
    """Run one survey in a process of its own; seconds, peak memory and its manifest's stages."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "equiscope.cli", "survey", *arguments, "--out", str(out)]
        started = time.perf_counter()
        # wait4 gives this child's own peak memory, which getrusage would mix with that of earlier ones.
        process = os.spawnv(os.P_NOWAIT, sys.executable, command)
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"{' '.join(command)} failed with status {status}")
        stages = json.loads((out / "run.json").read_text())["seconds"]
    return {
        "survey": " ".join(arguments[:1]),
        "seconds": round(seconds, 1),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        "stages": stages,
    }


def main() -> None:
    """Print one line for each survey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights")
    parser.add_argument("--images")
    options = parser.parse_args()
    print(json.dumps(measure(["mini"])), flush=True)
    if options.weights is None or options.images is None:
        return
    layers = "conv2d0,conv2d1,conv2d2,mixed3a,mixed3b"
    googlenet = ["googlenet", "--weights", options.weights, "--images", options.images, "--layers", layers]
    print(json.dumps(measure([*googlenet, "--angles", "16", "--examples-per-unit", "6"])), flush=True)


if __name__ == "__main__":
    main()
