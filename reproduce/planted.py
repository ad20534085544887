"""Survey networks whose families are known and print how right the answers are.

    python reproduce/planted.py
    python reproduce/planted.py --fields 24

For each planted network, on the embedded photographs: families found exactly, families found wrongly, and the largest
pose error in degrees after each family's free offset is taken out. With ``--fields`` instead, for so many seeds, a
network of three layers that is C8 by design, exported and shuffled, on crops of two photographs: the adjusted Rand
index of each layer between its units (each field one, the others alone) and what the survey found.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

import equiscope
from equiscope.foundations.statistics import circular_difference_deg, circular_mean_deg
from equiscope.testing import PlantedFamily, planted_fields, planted_network, sample_crops


def largest_pose_error_deg(found: equiscope.Family, true: PlantedFamily) -> float:
    """Largest difference between found and true poses of a family, degrees."""
    period = 360 / true.stabiliser_order
    poses = dict(zip(true.channels, true.poses_deg, strict=True))
    error = circular_difference_deg(found.poses_deg, np.array([poses[c] for c in found.channels]), period)
    offset = circular_mean_deg(error, period_deg=period)
    return float(np.abs(circular_difference_deg(error, offset, period)).max())


def find_fields(n_seeds: int) -> None:
    """Print one line for each seed of a designed network, and how many layers came out exactly."""
    crops, n_exact = sample_crops(), 0
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "crops.npz", images=crops)
        for seed in range(n_seeds):
            planted = planted_fields(pixels, seed)
            run = equiscope.survey(
                planted.model,
                Path(folder) / "crops.npz",
                list(planted.truth),
                transformations=["rotation"],
                precision="float32",
                out=Path(folder) / f"run-{seed}",
            )
            row: dict[str, object] = {"seed": seed}
            for layer, truth in planted.truth.items():
                found = list(range(-truth.n_channels, 0))
                for number, family in enumerate(f for f in run.families if f.layer == layer):
                    for channel in family.channels.tolist():
                        found[channel] = number
                alone = range(-truth.n_channels, 0)
                wanted = [n if n >= 0 else a for n, a in zip(truth.family_index, alone, strict=True)]
                row[layer] = round(float(adjusted_rand_score(wanted, found)), 3)
                n_exact += row[layer] == 1
            print(json.dumps(row), flush=True)
    print(f"{n_exact} of {n_seeds * len(planted.truth)} layers exactly")


def main() -> None:
    """Print one line for each kind of planted network, or for each seed of designed ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fields", type=int, metavar="SEEDS")
    options = parser.parse_args()
    if options.fields:
        find_fields(options.fields)
        return
    for kind in ("grey", "strided", "colour"):
        planted = planted_network(seed=1, kind=kind)
        with tempfile.TemporaryDirectory() as folder:
            run = equiscope.survey(planted.model, out=Path(folder) / "run")
        truth = {frozenset(family.channels): family for family in planted.truth[planted.layer].families}
        right = [family for family in run.families if frozenset(family.channels.tolist()) in truth]
        errors = [largest_pose_error_deg(f, truth[frozenset(f.channels.tolist())]) for f in right]
        row = {
            "network": kind,
            "planted": len(truth),
            "found_exactly": len(right),
            "found_wrongly": len(run.families) - len(right),
            "largest_pose_error_deg": round(max(errors), 2),
            "smallest_score": round(min(family.score for family in right), 3),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
