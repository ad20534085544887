r"""Train plain and designed networks under one budget, several seeds each, and compare their accuracies.

    equiscope survey mini
    equiscope design equiscope-runs/mini --transformation rotation --verdict any --out design.json
    equiscope design equiscope-runs/mini --transformation rotation --plain-to all --verdict any --out free.json
    python reproduce/twins.py --data tiny_imagenet_100.npz --design design.json --free-design free.json --out twins

Each training is one `equiscope train` in a process of its own, `--jobs` of them at a time; finished ones are not
repeated and interrupted ones go on. The table has the mean accuracy over seeds and its 95 % interval, the difference
from the budget's plain network (Welch's interval over seeds), and what each network costs. It is also written to
`--out`/twins.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from equiscope.construction.training import (
    TrainingRun,
    describe_network,
    load_training,
    match_budget,
    summarise,
)

# Of Tiny ImageNet's first hundred, for which budgets are counted.
N_CLASSES = 100


@dataclass(frozen=True)
class Entry:
    """A network in one of the comparisons, the first of which its others are compared with."""

    budget: str
    name: str
    network: str
    reference: str | None = None
    match: str = "widths"
    cost: float = 1.0  # about, in multiply-adds of `plain`: the dearest begin first


# DESIGN and FREE stand for the files of the two designs, NARROW and FORCED for those of `half` and `equivariant` at the
# compute of `plain`.
ENTRIES = (
    Entry("widths", "plain", "plain", cost=1),
    Entry("widths", "plain, kernels and grids of half", "twin:half", cost=2.7),
    Entry("widths", "half", "half", cost=2.7),
    Entry("widths", "equivariant", "equivariant", cost=2.8),
    Entry("widths", "plain, kernels and grids of designed", "twin:DESIGN", cost=1.1),
    Entry("widths", "designed", "DESIGN", cost=1.1),
    Entry("72 k parameters", "plain", "plain", "half", "parameters", cost=0.2),
    Entry(
        "72 k parameters",
        "plain, kernels and grids of designed",
        "twin:DESIGN",
        "half",
        "parameters",
        cost=0.2,
    ),
    Entry("72 k parameters", "half", "half", cost=2.7),
    Entry("72 k parameters", "equivariant", "equivariant", "half", "parameters", cost=5.7),
    Entry("72 k parameters", "designed", "DESIGN", "half", "parameters", cost=0.3),
    Entry("30 k parameters", "plain", "plain", "NARROW", "parameters", cost=0.1),
    Entry("30 k parameters", "half", "half", "plain", "compute", cost=1),
    Entry("30 k parameters", "half, blurred", "half-blurred", "plain", "compute", cost=1.1),
    Entry("30 k parameters", "designed", "DESIGN", "NARROW", "parameters", cost=0.2),
    Entry("12 k parameters", "plain", "plain", "FORCED", "parameters", cost=0.1),
    Entry("12 k parameters", "half", "half", "FORCED", "parameters", cost=0.4),
    Entry("12 k parameters", "equivariant", "equivariant", "plain", "compute", cost=1),
    Entry("12 k parameters", "designed", "DESIGN", "FORCED", "parameters", cost=0.1),
    Entry("393 k parameters", "plain", "plain", cost=1),
    Entry("393 k parameters", "half", "half", "plain", "parameters", cost=16),
    Entry("393 k parameters", "equivariant", "equivariant", "plain", "parameters", cost=31),
    Entry("393 k parameters", "designed", "DESIGN", "plain", "parameters", cost=1.4),
    Entry("393 k parameters", "designed, plain units feed all", "FREE", "plain", "parameters", cost=1.3),
    Entry("78 M multiply-adds", "plain", "plain", cost=1),
    Entry("78 M multiply-adds", "half", "half", "plain", "compute", cost=1),
    Entry("78 M multiply-adds", "half, blurred", "half-blurred", "plain", "compute", cost=1.1),
    Entry(
        "78 M multiply-adds",
        "plain, kernels, grids and blurs of half",
        "twin:half-blurred",
        "plain",
        "compute",
        cost=1.1,
    ),
    Entry("78 M multiply-adds", "equivariant", "equivariant", "plain", "compute", cost=1),
    Entry("78 M multiply-adds", "designed", "DESIGN", "plain", "compute", cost=1),
    Entry("InceptionV1", "plain", "inceptionv1", cost=1.4),
    Entry("InceptionV1", "plain, kernels and grids of half", "twin:inceptionv1-half", cost=3.5),
    Entry("InceptionV1", "half", "inceptionv1-half", cost=3.5),
)

# Networks at the compute of `plain` whose numbers of parameters others get.
RESIZED = {"NARROW": "half", "FORCED": "equivariant"}


def folder_of(entry: Entry, seed: int) -> str:
    """Name a training's folder; networks that stand in two comparisons are trained once."""
    network = entry.network.replace("DESIGN", "designed").replace("FREE", "designed-free").replace(":", "-")
    budget = f"-{entry.match}-of-{entry.reference.lower()}" if entry.reference else ""
    return f"{network}{budget}-{seed}"


def command(entry: Entry, seed: int, args: argparse.Namespace) -> list[str]:
    """Word the training as one would type it."""
    network = entry.network.replace("DESIGN", str(args.design)).replace("FREE", str(args.free_design))
    options: dict[str, object] = {
        "--data": args.data,
        "--out": args.out / folder_of(entry, seed),
        "--seed": seed,
        "--epochs": args.epochs,
        "--batch": args.batch,
        "--learning-rate": args.learning_rate,
        "--crop": args.crop,
        "--device": args.device,
        "--workers": 2,
    }
    if entry.reference:
        is_file = entry.reference in RESIZED
        reference = str(args.out / f"{entry.reference.lower()}.json") if is_file else entry.reference
        options |= {"--reference": reference, "--match": entry.match}
    words = [str(word) for option in options.items() for word in option]
    graphs = [] if args.graphs else ["--no-graphs"]
    return [sys.executable, "-m", "equiscope.cli", "train", network, *words, *graphs]


def train_all(jobs: Sequence[tuple[Entry, int]], args: argparse.Namespace) -> None:
    """Run the trainings, budgets in the order of --only, the dearest of each first, and say how each ended."""
    until = time.monotonic() + args.limit_s

    def run(job: tuple[Entry, int]) -> None:
        entry, seed = job
        left, start = until - time.monotonic(), time.monotonic()
        if left < 1:
            return
        log = args.out / f"{folder_of(entry, seed)}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                command(entry, seed, args),
                stdout=stream,
                stderr=stream,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            try:
                end = str(process.wait(left))
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
                end = "stopped"
        print(f"{folder_of(entry, seed):55} {time.monotonic() - start:6.0f} s  {end}", flush=True)

    def place(job: tuple[Entry, int]) -> tuple[int, float]:
        return next(i for i, part in enumerate(args.only) if part in job[0].budget), -job[0].cost

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(run, sorted(jobs, key=place)))


def difference(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Mean difference of two samples and its 95 % interval by Welch's t; NaN where a sample has one value."""
    mean = float(np.mean(one) - np.mean(other))
    if min(len(one), len(other)) < 2:
        return mean, math.nan, math.nan
    interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    return mean, float(interval.low), float(interval.high)


def report(entries: Sequence[Entry], args: argparse.Namespace) -> None:
    """Print and write what came out."""
    rows, first = [], {}
    print(
        "| budget | network | free parameters | multiply-adds | seeds | top-1 | 95 % | against plain | 95 % |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for entry in entries:
        folders = [args.out / folder_of(entry, seed) for seed in range(args.seeds)]
        runs = [run for run in map(load_if_finished, folders) if run is not None]
        if not runs:
            continue
        counts, summary = runs[0].manifest["counts"], summarise(runs)
        scores = [run.top1 for run in runs]
        first.setdefault(entry.budget, scores)
        gain = difference(scores, first[entry.budget])
        row = {
            "budget": entry.budget,
            "network": entry.name,
            "counts": counts,
            "top1": scores,
            "mean": [summary.mean, summary.low, summary.high],
            "difference": gain,
            "seconds": [run.manifest["seconds"] for run in runs],
        }
        rows.append(row)
        cells = [
            entry.budget,
            entry.name,
            f"{counts['free_parameters']:,}",
            f"{counts['multiply_adds'] / 1e6:,.0f} M",
            str(len(scores)),
            f"{100 * summary.mean:.1f} %",
            f"{100 * summary.low:.1f}–{100 * summary.high:.1f}",
            *(("–", "–") if scores is first[entry.budget] else signed(gain)),
        ]
        print(f"| {' | '.join(cells)} |")
    (args.out / "twins.json").write_text(json.dumps(rows, indent=1))


def signed(gain: tuple[float, float, float]) -> tuple[str, str]:
    """Word a difference and its interval in percentage points."""
    return f"{100 * gain[0]:+.1f}", f"{100 * gain[1]:+.1f} to {100 * gain[2]:+.1f}"


def load_if_finished(folder: Path) -> TrainingRun | None:
    """Open a training, or None if there is none that is finished."""
    record = folder / "training.json"
    if not record.is_file() or not json.loads(record.read_text())["is_complete"]:
        return None
    return load_training(folder)


def main() -> None:
    """Train what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--design", type=Path, required=True)
    parser.add_argument("--free-design", type=Path, required=True, help="the same with --plain-to all")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.15)
    parser.add_argument("--crop", type=int, default=56)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--graphs", action=argparse.BooleanOptionalAction, default=True, help="CUDA graphs")
    parser.add_argument(
        "--limit-s", type=float, default=math.inf, help="stop after so long; the rest goes on later"
    )
    parser.add_argument("--only", nargs="*", default=[""], help="budgets with one of these in their name")
    parser.add_argument(
        "--most-cost", type=float, default=math.inf, help="leave out what is dearer, in times plain"
    )
    parser.add_argument("--report", action="store_true", help="train nothing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plain = describe_network("plain")
    for reference, network in RESIZED.items():
        resized = match_budget(describe_network(network), plain, "compute", args.crop, N_CLASSES)
        (args.out / f"{reference.lower()}.json").write_text(json.dumps(resized.document()))
    entries = [
        entry
        for entry in ENTRIES
        if entry.cost <= args.most_cost and any(part in entry.budget for part in args.only)
    ]
    jobs = {folder_of(entry, seed): (entry, seed) for seed in range(args.seeds) for entry in entries}
    if not args.report:
        train_all(list(jobs.values()), args)
    report(entries, args)


if __name__ == "__main__":
    main()
