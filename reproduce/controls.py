"""Measure the false-discovery rate of every transformation, on responses in which the truth is known.

    python reproduce/controls.py --weights bvlc_googlenet_fp16.npz --images photos.tar --out controls

Networks are surveyed: GoogLeNet as trained, with random weights, and with the positions of every kernel shuffled. On
the responses of each, for each transformation and layer, with draws that the survey itself never saw,

- *all scrambled*: every (stimulus, unit) is transformed by its own random element, so every accepted family is false;
- *half scrambled*: this happens to a random half of the units, so that families of the others are still there to be
  found, and a family is false if half of its members or more were scrambled. The mean share of false ones among the
  accepted is the false-discovery rate.

A random network has some structure of its own: its units are smooth patterns with a strongest direction. Families
accepted there *unscrambled* are therefore not counted as false; they are listed with the figures that tell them from
those of the trained network: size, score and phase coherence.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import equiscope
from equiscope.families.family import Family
from equiscope.families.find import find_families
from equiscope.families.layer_families import LayerFamilies
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Responses, scramble_responses
from equiscope.runs.examples import load_examples
from equiscope.runs.manifest import read_geometries
from equiscope.surveys.results import read_result, result_path
from equiscope.surveys.stages import Stage
from equiscope.testing import random_weights, shuffled_kernels
from equiscope.transformations import find

Find = Callable[[Responses[Any], int], tuple[Family, ...]]


def stage_of(run: equiscope.Run, model: equiscope.Model, images: equiscope.ImageSet) -> Stage:
    """Open a finished run as the survey saw it."""
    geometries = read_geometries(run.manifest)
    return Stage(
        model=model,
        images=images,
        geometries=geometries,
        examples=load_examples(run.folder / "examples.npz")[0],
        photographs=np.asarray(images.groups),
        folder=run.folder,
        settings=run.manifest["settings"],
        whole_px=224,
        precision=torch.float32,
        progress=lambda _name, _total: nullcontext(lambda _steps: None),
    )


def measured(stage: Stage, run: equiscope.Run) -> list[tuple[str, str, Responses[Any], Find, list[Family]]]:
    """Every transformation and layer: its responses, how its families are found, and those of the run."""
    entries: list[tuple[str, str, Responses[Any], Find, list[Family]]] = []
    names = run.manifest["settings"]["transformations"]
    for layer, examples in stage.examples.items():
        results: dict[str, LayerFamilies] = {}
        for name in (name for name in names if not find(name).is_joint):
            result = results[name] = read_result(result_path(run.folder, name, layer)).result
            # Where too few units can be searched, nothing was measured.
            if result.null.n_draws:
                responses, channels = stage.measured(name, layer, results)
                own = [f for f in run.families if f.layer == layer and f.transformation == name]
                entries.append((name, layer, responses, _finder([examples], channels), own))
    for name in (name for name in names if find(name).is_joint):
        layers, joint = stage.measured_jointly(name)
        if joint is not None:
            own = [f for f in run.families if f.transformation == name]
            entries.append((name, "+".join(layers), joint, _finder([stage.examples[n] for n in layers]), own))
    return entries


def _finder(examples: list[Examples], channels: NDArray[np.int64] | None = None) -> Find:
    def search(values: Responses[Any], seed: int) -> tuple[Family, ...]:
        return find_families(values, examples, channels=channels, seed=seed).families

    return search


def measure_rates(run: equiscope.Run, stage: Stage, n_draws: int) -> list[dict[str, object]]:
    """Scramble the responses of every transformation and layer again and again, and count what is accepted."""
    rows = []
    for name, layer, responses, search, own in measured(stage, run):
        found_when_all, false_share, n_found, n_false = [], [], 0, 0
        # The scale search over all layers takes a minute: fewer draws, each of which has a hundred families.
        for draw in range(n_draws if name != "scale" else min(n_draws, 2)):
            rng = np.random.default_rng([4711, draw])
            everything = scramble_responses(responses, np.arange(responses.n_units), rng)
            found_when_all.append(len(search(everything, draw)))
            scrambled = rng.permutation(responses.n_units)[: responses.n_units // 2]
            families = search(scramble_responses(responses, np.sort(scrambled), rng), draw)
            # Units of several layers stand side by side.
            names = layer.split("+")
            sizes = [stage.examples[own_name].n_units for own_name in names]
            start_of = dict(zip(names, np.cumsum([0, *sizes]).tolist(), strict=False))
            false = 0
            for family in families:
                columns = [start_of[m.layer] + m.channel for m in family.members]
                false += int(np.isin(columns, scrambled).mean() >= 0.5)
            false_share.append(false / max(len(families), 1))
            n_found, n_false = n_found + len(families), n_false + false
        rows.append(
            {
                "transformation": name,
                "layer": layer,
                "families": len(own),
                "units": sum(family.size for family in own),
                "largest": max((family.size for family in own), default=0),
                "median_score": float(np.median([f.score for f in own])) if own else None,
                "all_scrambled_found": int(np.sum(found_when_all)),
                "all_scrambled_draws": len(found_when_all),
                "half_scrambled_found": n_found,
                "half_scrambled_false": n_false,
                "half_scrambled_fdr": float(np.mean(false_share)),
            }
        )
        print(json.dumps({"network": run.manifest["model"]["name"], **rows[-1]}), flush=True)
    return rows


def main() -> None:
    """Survey the networks and print a line for each transformation and layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", default="conv2d0,conv2d1,conv2d2,mixed3a")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--networks", default="trained,random,shuffled")
    options = parser.parse_args()
    trained = equiscope.load_model(options.model, options.weights)
    makers = {"trained": lambda m: m, "random": random_weights, "shuffled": shuffled_kernels}
    result = {}
    for name in options.networks.split(","):
        images = equiscope.open_images(options.images)
        model = makers[name](trained)
        run = equiscope.survey(model, images, options.layers.split(","), out=options.out / name)
        result[name] = measure_rates(run, stage_of(run, model, images), options.draws)
    (options.out / "controls.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
