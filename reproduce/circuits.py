"""Look for the article's ten circuits among those that a run recovered, and print what docs/results.md says of them.

    equiscope verify RUN googlenet --weights W
    equiscope circuits RUN googlenet --weights W --images photos.tar --verdict any
    python reproduce/circuits.py RUN --model googlenet --weights W

Families are named by what drawings drive them most (`equiscope verify`), single units in the same way here: for each
unit that rotation leaves as it is and that a circuit ends in, the kind of drawing that excites it most. Of the
candidates for a circuit of the article those are printed first that explain most of their target's weights, with R²,
interval, null, q and energy share, and, where both ends turn, the mean weight by relative pose.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import equiscope
from equiscope.evidence.circuits import Circuit, Circuits, load_circuits
from equiscope.evidence.circuits.drawn import weights_path
from equiscope.evidence.verify.verification import load_verification
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.manifest import read_geometries
from equiscope.stimuli.drawn import catalogue, render

ROUND = (
    "circle",
    "disc",
    "colour_centre_surround",
    "black_white_centre",
    "diverging_lines",
    "cross",
    "spiral",
)
LINES = ("line", "grating", "gabor")


def kinds_of_units(
    model: equiscope.Model, geometry: LayerGeometry, channels: Sequence[int]
) -> dict[str, str]:
    """Kind of drawing that excites each unit most, by ``layer:channel``."""
    size_px = geometry.patch_px
    row, column = geometry.position_in_patch(size_px)
    best: dict[int, tuple[float, str]] = {}
    for stimulus in catalogue(float(max(geometry.receptive_field_px)), hues_deg=(0.0, 90.0, 180.0, 270.0)):
        angles = (np.arange(8) * (stimulus.period_deg or 360.0) / 8).tolist()
        seen = model.record(render(stimulus, size_px, angles), [geometry.layer])[geometry.layer]
        top = seen[:, :, row, column].max(0).values
        for channel in channels:
            if float(top[channel]) > best.get(channel, (0.0, ""))[0]:
                best[channel] = float(top[channel]), stimulus.kind
    return {f"{geometry.layer}:{channel}": kind for channel, (_, kind) in best.items()}


def profile(run: equiscope.Run, circuit: Circuit) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean weight, summed over the kernel, by relative pose, degrees, and largest to 1; None where it was not kept."""
    path = weights_path(run.folder, circuit.source_layer, circuit.target_layer)
    if not path.exists():
        return None
    with np.load(path) as arrays:
        ids = arrays["ids"].tolist()
        if circuit.id not in ids or not len(arrays[f"{ids.index(circuit.id)}:slots"]):
            return None
        index = ids.index(circuit.id)
        summed = arrays[f"{index}:reordered"].astype(np.float64).sum((2, 3))
        slots = arrays[f"{index}:slots"]
    is_there = np.isfinite(summed).any(0)
    mean = np.nanmean(summed[:, is_there], axis=0)
    return slots[is_there], mean / np.abs(mean).max()


def words(run: equiscope.Run, circuit: Circuit) -> str:
    """One line about a circuit."""
    text = (
        f"{circuit.id} [{circuit.transformation}: {circuit.circuit_class}] {circuit.n_source} to {circuit.n_target}, "
        f"R² {circuit.r2:.2f} ({circuit.r2_low:.2f} to {circuit.r2_high:.2f}), null 95 % {circuit.r2_null_95:.2f}, "
        f"99 % {circuit.r2_null_99:.2f}, q {circuit.q_value:.3f}, energy {circuit.energy_share:.1%}"
    )
    found = profile(run, circuit)
    if found is not None:
        slots, mean = found
        text += "\n      by relative pose: " + " ".join(
            f"{s:.0f}°:{m:+.2f}" for s, m in zip(slots, mean, strict=True)
        )
    return text


def main() -> None:
    """Print one section for each circuit of the article."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--top", type=int, default=3)
    options = parser.parse_args()
    run = equiscope.load_run(options.run)
    found = load_circuits(options.run)
    if found is None:
        raise SystemExit(f"run `equiscope circuits {options.run} --verdict any` first")
    kind = {v.family: v.kind for v in load_verification(options.run)}
    model = equiscope.load_model(options.model, options.weights)
    ending: dict[str, set[int]] = {}
    for circuit in found.circuits:
        target = circuit.ends[1]
        if target.channel is not None and not circuit.pair_class:
            ending.setdefault(target.layer, set()).add(target.channel)
    geometries = read_geometries(run.manifest)
    for layer, channels in ending.items():
        kind |= kinds_of_units(model, geometries[layer], sorted(channels))
    print_totals(found)
    by_id = {family.id: family for family in run.families}

    def is_family(name: str, transformation: str, kinds: Sequence[str] = ()) -> bool:
        family = by_id.get(name)
        return (
            family is not None
            and family.transformation == transformation
            and (not kinds or kind.get(name, "") in kinds)
        )

    layers = run.manifest["settings"]["layers"]
    deepest = layers[-2], layers[-1]
    items: list[tuple[str, Callable[[Circuit], bool]]] = [
        ("contrast → centre-surround", lambda c: is_family(c.source, "hue-rotation")
         and (is_family(c.target, "hue") or c.ends[1].is_unit) and c.rotation_class == "equivariant→invariant"),
        ("black-and-white centre", lambda c: kind.get(c.target) == "black_white_centre"
         and c.rotation_class == "equivariant→invariant"),
        ("line → circle or divergence", lambda c: is_family(c.source, "rotation", LINES) and c.ends[1].is_unit
         and kind.get(c.target) in ROUND and c.rotation_class == "equivariant→invariant"),
        ("curve → circle or evolute", lambda c: is_family(c.source, "rotation", ("curve",)) and c.ends[1].is_unit
         and c.rotation_class == "equivariant→invariant"),
        ("curve → curve", lambda c: is_family(c.source, "rotation", ("curve",))
         and is_family(c.target, "rotation", ("curve",)) and c.rotation_class == "equivariant→equivariant"),
        ("contrast → line", lambda c: is_family(c.source, "hue-rotation") and is_family(c.target, "rotation")
         and c.rotation_class == "equivariant→equivariant" and c.hue_class == "equivariant→invariant"),
        ("hue → hue centre-surround", lambda c: is_family(c.source, "hue") and is_family(c.target, "hue")),
        ("left and right → either (heads), last two layers", lambda c: c.transformation == "reflection"
         and c.pair_class == "equivariant→invariant" and (c.source_layer, c.target_layer) == deepest),
        ("left and right → left and right (human-animal), last two layers", lambda c: c.transformation == "reflection"
         and c.pair_class == "equivariant→equivariant" and (c.source_layer, c.target_layer) == deepest),
    ]  # fmt: skip
    for name, fits in items:
        own = [c for c in found.circuits if c.is_symmetric and fits(c)]
        own.sort(key=lambda c: -c.r2 * c.energy_share)
        above = sum(c.r2 > c.r2_null_99 for c in own)
        print(f"\n{name}: {len(own)} circuits, {above} above the 99th percentile of their null")
        for circuit in own[: options.top]:
            driven = ", ".join(
                f"{end}: {kind[end]}" for end in (circuit.source, circuit.target) if end in kind
            )
            print(f"  {words(run, circuit)}" + (f"\n      drawings: {driven}" if driven else ""))
    print("\nhigh-low frequency from factors")
    for entry in found.factors:
        if kind.get(entry.target) == "high_low_frequency":
            errors = " ".join(f"{error:.3f}" for error in entry.held_out_errors)
            print(
                f"  {entry.source_layer}>{entry.target} R² {entry.r2:.2f}, null 95 % {entry.r2_null_95:.2f}, "
                f"p {entry.p_value:.3f}; held-out error by factors {errors}"
            )
            for factor in entry.factors:
                print(f"      {factor.share:.0%}: {factor.channels}")


def print_totals(found: Circuits) -> None:
    """Blocks between families of five or more, and what the causal check says."""
    print("blocks between rotation families of five or more members")
    for pair in found.pairs:
        own = [
            c for c in found.circuits
            if (c.source_layer, c.target_layer) == (pair.source, pair.target) and c.transformation == "rotation"
            and not c.pair_class and c.is_between_families and min(c.n_source, c.n_target) >= 5
        ]  # fmt: skip
        if own:
            print(
                f"  {pair.source}>{pair.target} ({pair.path}): {len(own)}, above 95 % of null "
                f"{sum(c.r2 > c.r2_null_95 for c in own)}, above 99 % {sum(c.r2 > c.r2_null_99 for c in own)}, "
                f"symmetric {sum(c.is_symmetric for c in own)}, largest R² {max(c.r2 for c in own):.2f}, "
                f"energy outside the basis {pair.energy_outside:.1%}, {pair.seconds:.1f} s"
            )
    classes = Counter((c.transformation, c.circuit_class) for c in found.circuits)
    for (transformation, name), n in classes.most_common():
        print(f"  {transformation}: {name}: {n}")
    kept = [c for c in found.checks if np.isfinite(c.template)]
    if kept:
        print(
            f"causal check of {len(kept)}: median correlation kept with weights zeroed "
            f"{np.median([c.zeroed for c in kept]):.2f}, "
            f"template {np.median([c.template for c in kept]):.2f}, wrong pose "
            f"{np.median([c.wrong_pose for c in kept]):.2f}; template above wrong pose in "
            f"{sum(c.template > c.wrong_pose for c in kept)}, intervals apart in "
            f"{sum(c.template_low > c.wrong_pose_high for c in kept)}"
        )
    turning = [c for c in found.confirmations if c.n_tested]
    print(
        f"families with a circuit that turns with them: {sum(c.n_symmetric > 0 for c in turning)} of {len(turning)}"
    )
    print(
        f"transposed pairs: {len(found.transposed)}; skipped: {[(s.source, s.target) for s in found.skipped]}"
    )
    for entry in found.transposed[:5]:
        print(f"  {entry.forward} and {entry.backward}: cosine {entry.cosine:.2f}, q {entry.q_value:.3f}")


if __name__ == "__main__":
    main()
