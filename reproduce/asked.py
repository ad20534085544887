"""What budget, design, circuits and compare say of a run's families by verdict: all, those alike in pose too, copies.

    equiscope survey mini --out runs/mini
    python reproduce/asked.py runs/mini

Three tables: free parameters (with the network, 95 % interval) and the designed network's shares under each
transformation; blocks between families whose weights follow their poses, between neighbouring layers, without images;
and, with --other RUN, the families of both that have a counterpart. The run is left with the documents of its copies,
as the commands write them by default; `equiscope report` then shows them.
"""

from __future__ import annotations

import argparse

import equiscope
from equiscope.construction.budget import estimate_budget
from equiscope.construction.design import design_network
from equiscope.evidence.circuits import recover_circuits
from equiscope.evidence.compare.runs import compare_runs
from equiscope.families.asked import ASKED
from equiscope.foundations.options import Options
from equiscope.runs.asked import ask_run
from equiscope.runs.run import Run
from equiscope.transformations import ALL


def tell_families(runs: dict[str, Run]) -> None:
    """How many families and units there are of each verdict."""
    print("| transformation |", " | ".join(runs), "|\n|---|" + "---|" * len(runs))
    for name in (own.name for own in ALL):
        own = [[f for f in run.families if f.transformation == name] for run in runs.values()]
        if any(own):
            said = (f"{len(families)} of {sum(f.size for f in families)} units" for families in own)
            print(f"| {name} |", " | ".join(said), "|")


def tell_budgets(runs: dict[str, Run], model: equiscope.Model) -> None:
    """Free parameters if the families of each verdict were tied."""
    print("\n| free parameters |", " | ".join(runs), "|\n|---|" + "---|" * len(runs))
    budgets = [estimate_budget(run, model) for run in runs.values()]
    for entries in zip(*(budget.totals for budget in budgets), strict=True):
        said = (
            f"{own.n_free / own.n_parameters:.1%} ({own.n_free_low / own.n_parameters:.1%}–"
            f"{own.n_free_high / own.n_parameters:.1%})"
            for own in entries
        )
        print(f"| {entries[0].transformation} |", " | ".join(said), "|")


def tell_designs(runs: dict[str, Run]) -> None:
    """Shares of each layer, and the network that has them."""
    print("\n| designed under rotation |", " | ".join(runs), "|\n|---|" + "---|" * len(runs))
    designs = [design_network(run, transformation="rotation") for run in runs.values()]
    for layers in zip(*(design.layers for design in designs), strict=True):
        if layers[0].is_surveyed:
            said = (
                f"{own.n_equivariant / own.n_units:.0%} ({own.equivariant_low:.0%}–{own.equivariant_high:.0%}), "
                f"{own.fields} fields of {own.group}"
                for own in layers
            )
            print(f"| {layers[0].layer} |", " | ".join(said), "|")
    said = (f"{design.free_parameters:,} of {design.twin_free_parameters:,}" for design in designs)
    print("| free parameters |", " | ".join(said), "|")


def tell_circuits(runs: dict[str, Run], model: equiscope.Model) -> None:
    """Blocks of weights between neighbouring layers that follow poses, and families that have one."""
    print("\n| blocks between families, symmetric |", " | ".join(runs), "|\n|---|" + "---|" * len(runs))
    found = [recover_circuits(run, model) for run in runs.values()]
    for pairs in zip(*(own.pairs for own in found), strict=True):
        said = (f"{pair.n_symmetric} of {pair.n_circuits}" for pair in pairs)
        print(f"| {pairs[0].source} → {pairs[0].target} |", " | ".join(said), "|")
    confirmed = ([c.n_symmetric > 0 for c in own.confirmations if c.n_tested] for own in found)
    print("| families with one |", " | ".join(f"{sum(own)} of {len(own)}" for own in confirmed), "|")


def tell_comparisons(
    runs: dict[str, Run], others: dict[str, Run], model: equiscope.Model, names: list[str]
) -> None:
    """Families of the first run that have a counterpart in the other."""
    print("\n| counterparts |", " | ".join(runs), "|\n|---|" + "---|" * len(runs))
    images, options = equiscope.open_images(), Options()
    found = [
        compare_runs(run, model, others[verdict], model, images, transformations=names, options=options)
        for verdict, run in runs.items()
    ]
    for name in names:
        own = ([f for f in one.families if (f.run, f.transformation) == ("a", name)] for one in found)
        said = (f"{sum(f.counterpart is not None for f in one)} of {len(one)}" for one in own)
        print(f"| {name} |", " | ".join(said), "|")


def main() -> None:
    """Print all tables of a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--weights")
    parser.add_argument("--other", help="a second run of the same network, to compare with")
    parser.add_argument("--transformations", default="hue", help="to compare, separated by commas")
    options = parser.parse_args()
    model = equiscope.load_model(options.model, options.weights)
    # Copies last: their documents stay.
    run = equiscope.load_run(options.run)
    runs = {verdict: ask_run(run, verdict) for verdict in reversed(ASKED)}
    tell_families(runs)
    tell_budgets(runs, model)
    tell_designs(runs)
    tell_circuits(runs, model)
    if options.other:
        other = equiscope.load_run(options.other)
        others = {verdict: ask_run(other, verdict) for verdict in runs}
        tell_comparisons(runs, others, model, options.transformations.split(","))


if __name__ == "__main__":
    main()
