"""Print what docs/results.md says about transformations, from a finished run.

    equiscope survey googlenet --weights W --images photos.tar --layers conv2d0,...,mixed4a --out RUN
    equiscope verify RUN googlenet --weights W
    python reproduce/transformations.py RUN

Totals by layer and transformation; hue × rotation families with their stabilisers; hue families that are invariant to
rotation; reflected pairs; scale families that span layers; rotation × scale; and for families that drawings of curves
drive, how far poses on photographs and on drawings differ.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

import equiscope
from equiscope.evidence.verify.verification import load_verification
from equiscope.families.shares import count_copies, judged_family
from equiscope.foundations.statistics import share_interval
from equiscope.transformations import find


def print_totals(run: equiscope.Run) -> None:
    """Share of units that are equivariant or invariant, by layer and transformation, with Wilson's interval."""
    names = run.manifest["settings"]["transformations"]
    print("layer".ljust(10), *(name.rjust(20) for name in names), "any".rjust(20))
    for layer in [*run.manifest["settings"]["layers"], None]:
        units = [u for u in run.units if layer is None or u.layer == layer]
        cells = []
        for name in names:
            n = sum(u.under(name).kind in ("equivariant", "invariant") for u in units)
            equivariant = sum(u.under(name).kind == "equivariant" for u in units)
            low, high = share_interval(n, len(units))
            cells.append(f"{equivariant}+{n - equivariant} {n / len(units):.0%} ({low:.0%}-{high:.0%})")
        n = sum(any(line.kind == "equivariant" for line in u.symmetries) for u in units)
        low, high = share_interval(n, len(units))
        cells.append(f"{n} equi {n / len(units):.0%} ({low:.0%}-{high:.0%})")
        print((layer or "all").ljust(10), *(cell.rjust(20) for cell in cells))


def print_copies(run: equiscope.Run) -> None:
    """Share of units that are copies by their weights, and of each family's median likeness, by layer, in Markdown."""
    names = run.manifest["settings"]["transformations"]
    print("\n| layer |", " | ".join(names), "|\n|---|" + "---|" * len(names))
    for layer in [*run.manifest["settings"]["layers"], None]:
        units = [(u.layer, u.channel) for u in run.units if layer in (None, u.layer)]
        cells = []
        for name in names:
            own = [
                f for f in run.families if f.transformation == name and (layer is None or f.layer == layer)
            ]
            share = count_copies(map(judged_family, own), units)
            tested = [f.verdict.likeness for f in own if f.verdict and np.isfinite(f.verdict.likeness)]
            if not own or not share.is_measured or not tested:
                cells.append("no family" if not own else "untested")
                continue
            cells.append(
                f"{share.n_copies}, {share.share:.0%} ({share.low:.0%}–{share.high:.0%}); {np.median(tested):.2f}"
            )
        print(f"| {layer or 'all'} |", " | ".join(cells), "|")


def main() -> None:
    """Print one section a claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    run = equiscope.load_run(parser.parse_args().run)
    print_totals(run)
    print_copies(run)
    words = Counter((f.transformation, f.verdict.word) for f in run.families if f.verdict)
    print("\nverdicts", dict(words))
    print("\nfamilies", dict(Counter(f.transformation for f in run.families)))
    print("seconds", run.manifest["seconds"], round(sum(run.manifest["seconds"].values())))
    print("\nhue x rotation")
    for f in (f for f in run.families if f.transformation == "hue-rotation"):
        turns = " ".join(f"{value:.2f}" for value in f.half_turns)
        symmetry = find(f.transformation).symmetry_text(f.stabiliser)
        print(
            f"  {f.id} {f.size} score {f.score:.2f} ({f.score_low:.2f}-{f.score_high:.2f}) {symmetry} {turns}"
        )
    print("\nhue families invariant to rotation")
    for f in (f for f in run.families if f.transformation == "hue" and "rotation" in f.invariant_to):
        print(f"  {f.id} {f.size} score {f.score:.2f} {f.channels.tolist()} {f.hues_deg.round().tolist()}")
    print("\nreflected and inverted pairs, by layer")
    for name in ("reflection", "contrast"):
        own = [f for f in run.families if f.transformation == name]
        print(
            " ",
            name,
            dict(Counter(f.layer for f in own)),
            f"best {max((f.score for f in own), default=np.nan):.2f}",
        )
    print("\ndihedral")
    for f in (
        f for f in run.families if f.transformation == "dihedral" and len(f.stabiliser) == f.stabiliser_order
    ):
        hands = Counter(bool(m.pose.get("is_mirrored")) for m in f.members)
        print(
            f"  {f.id} {hands[False]} + {hands[True]} handed, score {f.score:.2f}, best explained by {f.explained_by}"
        )
    print("\nscale families over three layers or more")
    for f in (f for f in run.families if f.transformation == "scale" and len(f.layers) >= 3):
        span = np.ptp([m.pose["octaves"] for m in f.members])
        members = ", ".join(f"{m.layer}:{m.channel} {m.pose['octaves']:+.2f}" for m in f.members)
        print(f"  {f.id} {span:.2f} octaves, score {f.score:.2f}, margin {f.margin:.2f}: {members}")
    print("\nrotation x scale")
    for link in run.manifest["family_links"]:
        print("  link", {k: round(v, 2) if isinstance(v, float) else v for k, v in link.items()})
    for f in (f for f in run.families if f.transformation == "rotation-scale"):
        print(
            f"  {f.id} {f.layer} {f.size} members, sizes {sorted({round(m.pose['octaves'], 2) for m in f.members})}"
        )
    print(
        "\nexplained by", Counter((f.transformation, f.explained_by) for f in run.families if f.explained_by)
    )
    verified = load_verification(run.folder)
    print("\ncurve families on drawings")
    for v in verified:
        if (
            v.axis == "rotation"
            and v.transformation == "rotation"
            and "curve" in (v.kind, v.stimulus.split(",")[0])
        ):
            print(
                f"  {v.family} {v.n_measured} members, driven by {v.kind} ({v.drive:.2f}), then {v.runner_up} "
                f"(lead {v.lead:.2f}, {v.lead_low:.2f} to {v.lead_high:.2f}); median error {v.median_error:.1f} "
                f"({v.error_low:.1f}-{v.error_high:.1f}), beyond 20: {v.n_outliers}; {v.stimulus}"
            )
    for axis in ("rotation", "hue", "scale"):
        errors = [v.median_error for v in verified if v.axis == axis and np.isfinite(v.median_error)]
        if errors:
            print(f"all families, {axis}: median of median errors {np.median(errors):.2f} over {len(errors)}")
    pairs = [v for v in verified if v.axis == "pair" and np.isfinite(v.margin)]
    print(f"pairs: {sum(v.margin > 0 for v in pairs)} of {len(pairs)} with a positive margin on drawings")


if __name__ == "__main__":
    main()
