r"""Seconds a unit for optimised images, alone and in a batch, and what more steps would gain.

    python benchmarks/featurevis.py
    python benchmarks/featurevis.py --model googlenet --weights bvlc_googlenet_fp16.npz --layers mixed3b --units 12

One line for each layer: wall and processor seconds a unit for one unit alone and for ``--units`` together (64, or as
many as the layer has), and for some numbers of steps the mean over these units of the response, as a share of that
after four times as many steps as usual. Processor seconds are those to compare where other programs run beside.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from equiscope.evidence.featurevis import Visualisation, visualise_units
from equiscope.evidence.featurevis.units import STEPS
from equiscope.models import load_model
from equiscope.models.geometry import find_geometry


def main() -> None:
    """Print one line for each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--layers")
    parser.add_argument("--units", type=int, default=64)
    options = parser.parse_args()
    model = load_model(options.model, options.weights)
    layers = model.resolve_layers(options.layers.split(",") if options.layers else None)
    for layer, geometry in find_geometry(model, layers).items():
        channels = range(min(options.units, geometry.n_channels))

        def measure(
            n_units: int, steps: int = STEPS, layer: str = layer, geometry: object = geometry
        ) -> tuple[Visualisation, list[float]]:
            before = time.perf_counter(), time.process_time()
            found = visualise_units(model, layer, range(n_units), geometry=geometry, steps=steps)
            after = time.perf_counter(), time.process_time()
            return found, [round((b - a) / n_units, 3) for a, b in zip(before, after, strict=True)]

        _, alone = measure(1)
        found, together = measure(len(channels))
        after = {steps: measure(len(channels), steps)[0].after for steps in (STEPS // 4, 4 * STEPS)} | {
            STEPS: found.after
        }
        shares = {
            steps: round(float(np.mean(after[steps] / after[4 * STEPS])), 3) for steps in sorted(after)[:-1]
        }
        line = {"layer": layer, "patch_px": geometry.patch_px, "units": len(channels)}
        line |= {"alone_s": alone, "together_s": together, "of_response_after_512": shares}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
