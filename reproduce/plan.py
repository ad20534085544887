"""Compare what `equiscope.plan` predicts with what the survey then takes, in time of the processor.

    python reproduce/plan.py googlenet --weights bvlc_googlenet_fp16.npz --images photos.tar \
        --layers conv2d0,conv2d1,conv2d2 --transformations rotation,hue --out planned

Wall time depends on what else the machine does, so that both are counted in seconds of the processor, over all threads.
The memory is the most that the process held; the plan is made in the same process before.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import equiscope
from equiscope.surveys import planning, rates


def count_processor_time() -> None:
    """Let plans be made in seconds of the processor."""
    timer: Any = SimpleNamespace(perf_counter=time.process_time)
    rates.clock = time.process_time
    for module in (planning, importlib.import_module("equiscope.commands.plan")):
        module.time = timer  # type: ignore[attr-defined]


def main() -> None:
    """Plan, survey, and print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images")
    parser.add_argument("--layers")
    parser.add_argument("--transformations")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    count_processor_time()
    names = [None if own is None else own.split(",") for own in (given.layers, given.transformations)]
    model = equiscope.load_model(given.model, given.weights)
    options: dict[str, Any] = {"transformations": names[1], "quick": given.quick}
    plan = equiscope.plan(model, given.images, names[0], **options)
    start = time.process_time()
    run = equiscope.survey(model, given.images, names[0], out=given.out, **options)
    seconds = time.process_time() - start
    disk = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"layers  {', '.join(plan.settings['layers'])}")
    for name, predicted, found, unit in (
        ("time", plan.seconds, seconds, "s"),
        ("memory", plan.memory_bytes / 1e6, memory / 1e6, "MB"),
        ("disk", plan.disk_bytes / 1e6, disk / 1e6, "MB"),
    ):
        print(
            f"{name:7} predicted {predicted:8.1f} {unit}, found {found:8.1f} {unit}: {predicted / found:.2f}"
        )


if __name__ == "__main__":
    main()
