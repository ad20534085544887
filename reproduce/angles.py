r"""Measure the poses of one family again at other numbers of angles.

    python reproduce/angles.py equiscope-runs/googlenet mixed3a-rotation-2 --weights bvlc_googlenet_fp16.npz \
        --images photos.tar

Takes the family's own stimuli of the finding half from a finished run of a built-in network, measures them under 12, 16
and 32 rotations, and prints the poses and, against 32, the largest difference as it is and without the common offset.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np

import equiscope
from equiscope.families.circle_poses import synchronise
from equiscope.families.correlations import correlate_orbits
from equiscope.foundations.statistics import circular_difference_deg, circular_mean_deg
from equiscope.measurement.bank import build_bank
from equiscope.measurement.examples import NO_IMAGE
from equiscope.measurement.responses import measure_responses, open_responses
from equiscope.models.geometry import find_geometry
from equiscope.runs.examples import load_examples
from equiscope.transformations.groups import CyclicGroup


def main() -> None:
    """Print one line for each number of angles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("family")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    run = equiscope.load_run(options.run)
    family = next(family for family in run.families if family.id == options.family)
    model = equiscope.load_model(run.manifest["model"]["name"], options.weights)
    images = equiscope.open_images(options.images)
    geometry = find_geometry(model, [family.layer])[family.layer]
    examples = load_examples(options.run / "examples.npz")[0][family.layer]
    image = np.full_like(examples.image, NO_IMAGE)
    image[:, family.channels] = examples.image[:, family.channels]
    bank = build_bank(dataclasses.replace(examples, image=image), np.asarray(images.groups))
    poses = {}
    for order in (32, 16, 12):
        with tempfile.TemporaryDirectory() as folder:
            responses = open_responses(Path(folder) / "a.zarr", bank, CyclicGroup(order), examples.n_units)
            measure_responses(model, images, geometry, responses)
            poses[order] = synchronise(correlate_orbits(responses, 0), family.channels).poses_deg
        difference = circular_difference_deg(poses[order], poses[32])
        rest = circular_difference_deg(difference, circular_mean_deg(difference))
        row = {
            "angles": order,
            "poses_deg": poses[order].round(1).tolist(),
            "largest_difference_deg": round(float(np.abs(difference).max()), 2),
            "without_offset_deg": round(float(np.abs(rest).max()), 2),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
