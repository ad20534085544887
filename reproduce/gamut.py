"""How often a turn of hue leaves the gamut on photographs, and what clamping would change.

    python reproduce/gamut.py --weights bvlc_googlenet_fp16.npz --images photos.tar --run RUN --layer conv2d2

For each hue: share of pixels with a channel outside of [0, 1], and the mean distance of those beyond it. Then the hue
families of a layer of a finished run: their mean held-out score on stimuli as they are and with every value clamped,
and by how much poses that are fitted anew to clamped stimuli differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import equiscope
from equiscope.families.circle_poses import Candidate, consensus, synchronise
from equiscope.families.correlations import correlate_orbits
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.measurement.bank import build_bank
from equiscope.measurement.examples import NO_IMAGE
from equiscope.measurement.responses import measure_responses, open_responses
from equiscope.models.geometry import find_geometry
from equiscope.runs.examples import load_examples
from equiscope.transformations import pixels
from equiscope.transformations.groups import CyclicGroup
from equiscope.transformations.pixels import rotate_hue


def main() -> None:
    """Print one line for each hue, and one for each family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--layer", default="conv2d2")
    parser.add_argument("--photographs", type=int, default=200)
    options = parser.parse_args()
    images = equiscope.open_images(options.images)
    step = max(1, len(images) // options.photographs)
    photos = [p for i in range(0, len(images), step) if (p := images.load(i)) is not None]
    hues = CyclicGroup(16, "hue").angles_deg
    for hue in hues[1:]:
        outside = [
            torch.relu(-t) + torch.relu(t - 1) for t in (rotate_hue(p, [float(hue)])[0] for p in photos)
        ]
        beyond = [excess.amax(0) for excess in outside]
        share = np.mean([float((excess > 1e-4).float().mean()) for excess in beyond])
        depth = np.concatenate([excess[excess > 1e-4].numpy() for excess in beyond])
        print(
            json.dumps(
                {
                    "hue_deg": hue,
                    "share_outside": round(float(share), 4),
                    "mean_depth": round(float(depth.mean()), 3),
                }
            )
        )

    run = equiscope.load_run(options.run)
    model = equiscope.load_model(run.manifest["model"]["name"], options.weights)
    geometry = find_geometry(model, [options.layer])[options.layer]
    examples = load_examples(options.run / "examples.npz")[0][options.layer]
    families = [f for f in run.families if f.layer == options.layer and f.transformation == "hue"]
    members = np.array(sorted({int(c) for f in families for c in f.channels}))
    image = np.full_like(examples.image, NO_IMAGE)
    image[:, members] = examples.image[:, members]
    bank = build_bank(dataclasses.replace(examples, image=image), np.asarray(images.groups))

    def clamped(pictures: Tensor, hues_deg: list[float]) -> Tensor:
        return rotate_hue(pictures, hues_deg).clamp(0, 1)

    correlations = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, turn in (("as they are", rotate_hue), ("clamped", clamped)):
            responses = open_responses(Path(folder) / name, bank, CyclicGroup(16, "hue"), examples.n_units)
            # Where stimuli take the turn of hue from, each time that they are shown.
            with mock.patch.object(pixels, "rotate_hue", turn):
                measure_responses(model, images, geometry, responses)
            correlations[name] = [correlate_orbits(responses, half) for half in (0, 1)]
    for family in families:
        candidate = Candidate(family.channels, family.hues_deg, family.stabiliser_order)
        anew = {name: synchronise(own[0], family.channels).poses_deg for name, own in correlations.items()}
        row = {
            "family": family.id,
            "size": family.size,
            "score_as_they_are": round(float(consensus(correlations["as they are"][1], candidate).mean()), 3),
            "score_clamped": round(float(consensus(correlations["clamped"][1], candidate).mean()), 3),
            "largest_pose_difference_deg": round(
                float(np.abs(circular_difference_deg(anew["as they are"], anew["clamped"])).max()), 1
            ),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
