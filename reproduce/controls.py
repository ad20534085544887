"""Measure the false-discovery rate of the survey, on networks and responses in which the truth is known.

    python reproduce/controls.py --weights bvlc_googlenet_fp16.npz --images photos.tar --out controls

Three networks are surveyed: GoogLeNet as trained, with random weights, and with the positions of every kernel
shuffled. On the responses of each, with draws that the survey itself never saw,

- *all scrambled*: every (stimulus, unit) is turned at random, so that every accepted family is false;
- *half scrambled*: this happens to a random half of the units, so that families of the others are still there to be
  found, and a family is false if half of its members or more were scrambled. The mean share of false ones among the
  accepted is the false-discovery rate.

A random network has some rotation structure of its own: its units are smooth patterns with a strongest direction.
Families accepted there *unscrambled* are therefore not counted as false; they are listed with the figures that tell
them from those of the trained network: size, score and phase coherence.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import equiscope
from equiscope.families import find_families
from equiscope.groups import CyclicGroup
from equiscope.bank import build_bank
from equiscope.responses import open_responses, scramble_responses
from equiscope.store import layer_path, load_examples
from equiscope.testing import random_weights, shuffled_kernels


def measure_rates(run: equiscope.Run, images: equiscope.ImageSet, n_draws: int) -> list[dict[str, object]]:
    """Scramble the responses of every layer of a run again and again, and count what is accepted."""
    settings = run.manifest["settings"]
    examples = load_examples(run.folder / "examples.npz")[0]
    rows = []
    for layer in settings["layers"]:
        bank = build_bank(examples[layer], np.asarray(images.groups))
        path = layer_path(run.folder, "responses", layer, ".zarr")
        measured = open_responses(path, bank, CyclicGroup(settings["angles"]), examples[layer].n_units)
        n_units = examples[layer].n_units
        found_when_all, false_share, n_found, n_false = [], [], 0, 0
        for draw in range(n_draws):
            rng = np.random.default_rng([4711, draw])
            everything = scramble_responses(measured, np.arange(n_units), rng)
            found_when_all.append(len(find_families(everything, examples[layer], seed=draw).families))
            scrambled = np.sort(rng.permutation(n_units)[: n_units // 2])
            families = find_families(
                scramble_responses(measured, scrambled, rng), examples[layer], seed=draw
            ).families
            false = sum(np.isin(family.channels, scrambled).mean() >= 0.5 for family in families)
            false_share.append(false / max(len(families), 1))
            n_found, n_false = n_found + len(families), n_false + false
        own = [family for family in run.families if family.layer == layer]
        rows.append(
            {
                "layer": layer,
                "families": len(own),
                "units": sum(family.size for family in own),
                "largest": max((family.size for family in own), default=0),
                "median_score": float(np.median([f.score for f in own])) if own else None,
                "median_coherence": float(np.nanmedian([f.phase_coherence for f in own])) if own else None,
                "median_disagreement_deg": float(np.median([f.disagreement_deg for f in own]))
                if own
                else None,
                "all_scrambled_share_of_draws_with_any": float(np.mean(np.array(found_when_all) > 0)),
                "half_scrambled_found": n_found,
                "half_scrambled_false": int(n_false),
                "half_scrambled_fdr": float(np.mean(false_share)),
            }
        )
        print(json.dumps({"network": run.manifest["model"]["name"], **rows[-1]}), flush=True)
    return rows


def main() -> None:
    """Survey the three networks and print a line for each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", default="conv2d0,conv2d1,conv2d2,mixed3a,mixed3b")
    parser.add_argument("--examples-per-unit", type=int, default=8)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--networks", default="trained,random,shuffled")
    options = parser.parse_args()
    trained = equiscope.load_model(options.model, options.weights)
    makers = {"trained": lambda m: m, "random": random_weights, "shuffled": shuffled_kernels}
    result = {}
    for name in options.networks.split(","):
        images = equiscope.open_images(options.images)
        run = equiscope.survey(
            makers[name](trained),
            images,
            options.layers.split(","),
            out=options.out / name,
            examples_per_unit=options.examples_per_unit,
        )
        result[name] = measure_rates(run, images, options.draws)
    (options.out / "controls.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
