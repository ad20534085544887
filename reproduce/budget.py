"""Two assumptions of `equiscope budget`, measured: what bottlenecks are like, and what joins families that share units.

    equiscope survey googlenet --weights bvlc_googlenet_fp16.npz --images photos.tar --out runs/googlenet \
        --layers conv2d0,conv2d1,conv2d2,mixed3a,mixed3b,mixed4a
    equiscope survey googlenet --weights bvlc_googlenet_fp16.npz --images photos.tar --out runs/bottlenecks \
        --transformations rotation --layers conv2d0,conv2d1,conv2d2,mixed3a.3x3_bottleneck,mixed3a.5x5_bottleneck,\
mixed3a,mixed3b.3x3_bottleneck,mixed3b.5x5_bottleneck,mixed3b
    for run in googlenet bottlenecks; do
        equiscope budget runs/$run googlenet --weights bvlc_googlenet_fp16.npz --verdict any
    done
    python reproduce/budget.py runs/googlenet runs/bottlenecks

First table: of each module up to mixed3b the share that stays free under rotation if its bottlenecks were surveyed, if
they are like the units that they lead to, and if nothing of them is tied. Second: of each layer the units, and those in
the largest set that families of any transformation within layers join by the units that they share.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from equiscope.construction.budget import ConvolutionBudget, load_budget
from equiscope.families.family import Unit
from equiscope.runs.run import load_run


def modules(folder: Path) -> dict[str, ConvolutionBudget]:
    """Budgets of a run's modules under rotation."""
    budget = load_budget(folder)
    if budget is None:
        raise SystemExit(
            f"{folder} has no budget: equiscope budget {folder} googlenet --weights FILE --verdict any"
        )
    return {own.module: own for own in budget.convolutions if own.transformation == "rotation"}


def largest_chain(units: list[Unit]) -> int:
    """Units in the largest set that is joined by families with a unit in common."""
    parent = list(range(len(units)))

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    first: dict[tuple[str, str], int] = {}
    for place, unit in enumerate(units):
        for own in unit.symmetries:
            if own.family is not None and own.transformation != "scale":
                parent[root(place)] = root(first.setdefault((own.transformation, own.family), place))
    return Counter(map(root, range(len(units)))).most_common(1)[0][1]


def main(run: Path, bottlenecks: Path) -> None:
    """Print both tables."""
    assumed, measured = modules(run), modules(bottlenecks)
    both = [(measured[name], assumed[name]) for name in measured]
    print(f"{'module':26}{'parameters':>12}{'surveyed':>10}{'like':>10}{'untied':>10}")
    for own, other in both:
        shares = own.n_free, other.n_free, other.n_free_surveyed
        print(
            f"{own.module:26}{own.n_parameters:12}",
            *(f"{free / own.n_parameters:9.1%}" for free in shares),
        )
    n = sum(own.n_parameters for own, _ in both)
    sums = [
        sum(own.n_free for own, _ in both),
        sum(other.n_free for _, other in both),
        sum(other.n_free_surveyed for _, other in both),
    ]
    print(f"{'all':26}{n:12}", *(f"{free / n:9.1%}" for free in sums))
    opened = load_run(run)
    print()
    for layer in opened.manifest["settings"]["layers"]:
        units = [unit for unit in opened.units if unit.layer == layer]
        print(f"{layer:26}{len(units):12}{largest_chain(units):10}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
