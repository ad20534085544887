r"""Count how often gradient circuits of exactly equivariant networks get a wrong class.

    python reproduce/gradient_classes.py --seeds 1 3 --steps 150
    python reproduce/gradient_classes.py --drawn 100

In a network that is C4- or C8-equivariant by design (`equiscope.testing.battery.trained`) every field turns, and so
does every field that it feeds: each block between fields of the first and the third layer, read by gradients across the
second, is equivariant → equivariant. A class with an invariant end is wrong, unless its template explains 99 % or more:
then pose makes a difference of 1 % at most, which is what is called none. Printed for several numbers of stimuli a
unit are the classes when each block gets the simplest that explains as much up to chance, as exact weights do
(``before``), and when the gradients' sampling error is taken off and may leave an end undetermined (``after``). Even
seeds are for choosing thresholds, odd ones for reporting. Training is short by default: that weights are tied follows
from the design, whatever they learnt.

``--drawn N`` draws N blocks of four onto four and of eight onto eight members, with odd seeds, in which a known share
of the energy depends on the source's poses and a known share is sampling error, and counts what is said of the source.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter

import numpy as np

import equiscope
from equiscope.evidence.circuits.circuit import UNDETERMINED, Circuit
from equiscope.evidence.circuits.classes import ClassFit, choose_class
from equiscope.evidence.circuits.find import find_circuits
from equiscope.evidence.circuits.gradients import gradient_weights
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.paths import ExpandedWeights
from equiscope.evidence.circuits.ties import permutations, tie_equivariant
from equiscope.families.family import Family, Member, Symmetry, Unit
from equiscope.measurement.examples import collect_examples, split_halves
from equiscope.models import Model
from equiscope.models.geometry import find_geometry
from equiscope.testing.battery.scene import LayerScene, is_for_choosing
from equiscope.testing.battery.trained import TrainedKind, train_fields

FIELDS = {"C4": 8, "C8": 5}


def fields_of(layer: str, truth: LayerScene) -> list[Family]:
    """Give the fields of a layer as families, each member at its pose."""
    names = np.array(truth.features)
    return [
        Family(
            f"{layer}-rotation-{number}", (layer,), "rotation", 1.0, 1.0, 1.0, 0.0,
            tuple(
                Member(layer, channel, pose, 1.0, 1.0, 1.0)
                for channel in np.flatnonzero(names == name).tolist()
                if (pose := truth.poses[channel]) is not None
            ),
        )
        for number, name in enumerate(truth.stabilisers)
    ]  # fmt: skip


def units_of(layer: str, truth: LayerScene) -> list[Unit]:
    """Say of each unit of a layer whether it turns."""
    kinds = ["equivariant" if name else "invariant" for name in truth.features]
    return [Unit(layer, i, 0.0, 1.0, (Symmetry("rotation", kind),)) for i, kind in enumerate(kinds)]


def _said(circuit: Circuit) -> str:
    """Say whether a class is right, given that both ends turn."""
    kinds = circuit.kinds["rotation"]
    if kinds is None:
        return "not symmetric"
    if "invariant" in kinds:
        # No template can explain more than all, so that a richer one has 1 % to gain at most.
        return "simpler to 1 %" if circuit.r2 >= 0.99 else "wrong"
    return UNDETERMINED if UNDETERMINED in kinds else "right"


def classes(weights: ExpandedWeights, families: list[Family], units: list[Unit]) -> Counter[str]:
    """Count the blocks between two fields by what is said of them."""
    found: Counter[str] = Counter()
    for circuit in find_circuits(LayerPair(weights, families, units, most_order=5), n_draws=100):
        if circuit.is_between_families:
            found[_said(circuit)] += 1
    return found


def measure(kind: str, seed: int, n_stimuli: list[int], n_steps: int) -> dict[tuple[int, str], Counter[str]]:
    """Train one network, and classify its gradient circuits with so many stimuli, before and after."""
    module, layers = train_fields(TrainedKind(kind, FIELDS[kind], 2), seed, n_steps)
    model = Model(module, f"fields-{kind}", default_layers=tuple(layers))
    geometries = find_geometry(model, list(layers))
    first, *_, last = layers
    images = equiscope.open_images(max_side_px=96)
    halves = split_halves(images.groups, 0)
    examples = collect_examples(model, images, {last: geometries[last]}, halves, 8)[last]
    families = [family for layer, truth in layers.items() for family in fields_of(layer, truth)]
    units = [unit for layer, truth in layers.items() for unit in units_of(layer, truth)]
    found = {}
    for n in n_stimuli:
        (weights,) = gradient_weights(
            model, images, [geometries[first]], geometries[last], examples, n_stimuli=n
        )
        noise = float((np.asarray(weights.noise) ** 2).sum() / (weights.weights**2).sum())
        found[n, "before"] = classes(dataclasses.replace(weights, noise=None), families, units)
        found[n, "after"] = classes(weights, families, units)
        for when in ("before", "after"):
            print(kind, seed, n, when, f"sampling error {noise:.0%}", dict(found[n, when]), flush=True)
    return found


def draw_fits(seed: int, n: int, turning: float, noise: float) -> tuple[list[ClassFit], list[ClassFit]]:
    """Fit a drawn block of n onto n in two classes, without and with a draw of its sampling error.

    ``turning`` is the share of the exact weights' energy that depends on the source's poses, ``noise`` that of the
    sampling error in the whole.
    """
    rng = np.random.default_rng([seed, n])
    poses, sources = (2 * np.pi * np.arange(n) / n + rng.uniform(-0.1, 0.1, n) for _ in range(2))
    waves, phases = np.arange(-3, 4), np.exp(1j * np.outer(poses, np.arange(4)))
    inputs, outputs = np.exp(1j * np.outer(sources, waves)), np.exp(1j * np.outer(poses, waves))
    template = rng.normal(size=(7, 4)) + 1j * rng.normal(size=(7, 4))
    template *= np.where(waves == 0, np.sqrt(1 - turning), np.sqrt(turning / 6))[:, None]
    design = inputs[None] * outputs.conj()[:, None]
    weights = np.einsum("vuc,ck->vuk", design, template) * phases.conj()[:, None]
    size = np.sqrt((np.abs(weights) ** 2).mean() * noise / (1 - noise) / 2)
    error, draw = (
        size * (rng.normal(size=weights.shape) + 1j * rng.normal(size=weights.shape)) for _ in "ab"
    )
    draws, one = permutations(poses, 50, rng), np.ones((n, 1), complex)
    rich, simple = ("equivariant", "equivariant"), ("invariant", "equivariant")
    before, after = (
        [
            ClassFit(rich, tie_equivariant(weights + error, phases, inputs, outputs, draws, noise=told)),
            ClassFit(simple, tie_equivariant(weights + error, phases, one, one, draws, noise=told)),
        ]
        for told in (None, draw)
    )
    return before, after


def print_drawn(n_blocks: int) -> None:
    """Print what is said of the sources of drawn blocks."""
    for n in (4, 8):
        for noise in (0.1, 0.5, 0.8):
            for turning in (0.0, 0.2, 0.8):
                said = [Counter[str](), Counter[str]()]
                for seed in range(1, 2 * n_blocks, 2):
                    for counts, fits in zip(said, draw_fits(seed, n, turning, noise), strict=True):
                        counts[choose_class(fits).kinds[0]] += 1
                print(
                    f"{n} onto {n}, sampling error {noise:.0%}, turning with the source {turning:.0%}: before "
                    f"{dict(said[0])}, after {dict(said[1])}",
                    flush=True,
                )


def main() -> None:
    """Print a line a network, number of stimuli and rule, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["C4", "C8"], choices=sorted(FIELDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--stimuli", nargs="+", type=int, default=[4, 16])
    parser.add_argument("--steps", type=int, default=10, help="of training")
    parser.add_argument("--drawn", type=int, metavar="N", help="draw blocks instead")
    options = parser.parse_args()
    if options.drawn:
        print_drawn(options.drawn)
        return
    total: dict[tuple[bool, int, str], Counter[str]] = {}
    for kind in options.kinds:
        for seed in options.seeds:
            for (n, when), found in measure(kind, seed, options.stimuli, options.steps).items():
                total.setdefault((is_for_choosing(seed), n, when), Counter()).update(found)
    for (is_chosen, n, when), found in total.items():
        what = "for choosing" if is_chosen else "for reporting"
        print(f"{what}, {n} stimuli, {when}: {found['wrong']} of {found.total()} wrong; {dict(found)}")


if __name__ == "__main__":
    main()
