r"""What a survey finds of a designed network, and how near its families are to those of a plain network.

    for name in plain-0 plain-1 designed-0 half-compute-of-plain-0 half-blurred-compute-of-plain-0; do
        equiscope survey twins/$name/model.safetensors --images photos.tar --transformations rotation \
            --layers conv2d0,conv2d1,mixed3a,mixed3b --out runs/$name
    done
    equiscope survey reproduce/compare_mini.py:random --images photos.tar --transformations rotation \
        --layers net.conv2d0,net.conv2d1,net.mixed3a,net.mixed3b --out runs/random
    for name in plain-1 designed-0 half-compute-of-plain-0 half-blurred-compute-of-plain-0; do
        equiscope compare runs/plain-0 runs/$name --model-a twins/plain-0/model.safetensors \
            --model-b twins/$name/model.safetensors --images photos.tar --verdict any
    done
    equiscope compare runs/plain-0 runs/random --model-a twins/plain-0/model.safetensors \
        --model-b reproduce/compare_mini.py:random --images photos.tar --verdict any
    python reproduce/same_features.py runs twins

The networks are those of reproduce/twins.py. Two tables: of each designed layer, how many fields the survey found whole
and what became of its units; and of each family of the first network the score of its nearest family in every other
one, on photographs that did not choose it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from equiscope.construction.training import Convolution, load_training
from equiscope.runs.run import Run, load_run

FIRST = "plain-0"
OTHERS = ("plain-1", "designed-0", "half-compute-of-plain-0", "half-blurred-compute-of-plain-0", "random")
DESIGNED = ("designed-0", "half-compute-of-plain-0", "half-blurred-compute-of-plain-0")
KINDS = ("field", "invariant", "plain")


def print_recovery(run: Run, trained: Path) -> None:
    """Print for each layer what was designed and what was found."""
    for layer in load_training(trained).description.units:
        if layer.name not in run.manifest["settings"]["layers"]:
            continue
        parts = [layer.fields] if isinstance(layer, Convolution) else layer.outputs
        # Channels of a part are its fields, element after element, its invariant and its plain units.
        kinds: list[str] = []
        fields: list[set[int]] = []
        for part in parts:
            start = len(kinds)
            fields += [
                set(range(start + f * part.order, start + (f + 1) * part.order))
                for f in range(part.equivariant)
            ]
            kinds += (
                ["field"] * part.n_field_channels + ["invariant"] * part.invariant + ["plain"] * part.plain
            )
        found = [set(family.channels.tolist()) for family in run.families if family.layer == layer.name]
        n_whole = sum(field in found for field in fields)
        became = {kind: Counter[str]() for kind in KINDS}
        for unit in run.units:
            if unit.layer == layer.name:
                became[kinds[unit.channel]][unit.under("rotation").kind] += 1
        units = [
            f"{counts['equivariant']} / {counts['invariant']} / {counts.total()}" if counts.total() else "–"
            for counts in became.values()
        ]
        print(f"| {run.folder.name} | {layer.name} | {n_whole} of {len(fields)} | {' | '.join(units)} |")


def nearest(run: Run, other: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Score of the nearest family in another network, shape (family of the first,)."""
    comparison = json.loads((run.folder / "compare" / f"{other}.json").read_text())
    scores = [family["nearest_score"] for family in comparison["families"] if family["run"] == "a"]
    return np.array(scores, dtype=float)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("twins", type=Path)
    args = parser.parse_args()
    print(
        "| network | layer | fields found whole | units of fields: equi / inv / all | invariant units | plain units |"
    )
    print("|---|---|---|---|---|---|")
    for name in DESIGNED:
        print_recovery(load_run(args.runs / name), args.twins / name)
    first, rng = load_run(args.runs / FIRST), np.random.default_rng(0)
    scores = {name: nearest(first, name) for name in OTHERS}
    n, highest = len(scores["plain-1"]), float(scores["random"].max())
    draws = rng.integers(0, n, (5000, n))
    print(
        f"\n| against | median score | 95 % | above {highest:.2f}, the highest of random | mean difference | 95 % |"
    )
    print("|---|---|---|---|---|---|")
    for name, own in scores.items():
        low, high = np.percentile(np.median(own[draws], axis=1), [2.5, 97.5])
        gain = own - scores["plain-1"]
        ends = np.percentile(gain[draws].mean(1), [2.5, 97.5])
        difference = (
            "– | –" if name == "plain-1" else f"{gain.mean():+.2f} | {ends[0]:+.2f} to {ends[1]:+.2f}"
        )
        counted = f"{(own > highest).sum()} of {n}"
        print(f"| {name} | {np.median(own):.2f} | {low:.2f}–{high:.2f} | {counted} | {difference} |")


if __name__ == "__main__":
    main()
