r"""How much of their groups' promises trained networks keep, and networks of the same kind with random weights.

    python reproduce/kept_rotations.py --data tiny_imagenet_100.npz twins/half-compute-of-plain-0 ...

Errors are those of `equiscope.construction.training.measure_equivariance` at the rotations that are no quarter turns:
mean, smallest and largest over four sets of 32 validation images; of random networks over four seeds, each on a set of
its own. The last column is the largest at quarter turns. The normalisations of random networks know the moments of 640
images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equiscope.construction.training import (
    DesignedNetwork,
    LabelledImages,
    load_training,
    measure_equivariance,
    open_labelled,
)
from equiscope.construction.training.batches import centre_batch
from equiscope.models.trained import standardise

N_IMAGES, N_SETS, N_SETTLING = 32, 4, 640


def pictures(data: LabelledImages, side_px: int, n: int, mean: list[float], sd: list[float]) -> Tensor:
    """Open validation images from all over the set, standardised."""
    chosen = np.unique(np.linspace(0, len(data.val) - 1, n).astype(np.int64))
    pixels = torch.from_numpy(centre_batch(data.val, chosen, side_px).pixels).float() / 255
    return standardise(mean, sd)(pixels)


def untrained(network: DesignedNetwork, images: Tensor, seed: int) -> DesignedNetwork:
    """Make a network of the same kind with random weights, whose normalisations know its features."""
    torch.manual_seed(seed)
    fresh = DesignedNetwork(network.description, network.n_classes)
    with torch.no_grad():
        for part in torch.split(images.repeat(4, 1, 1, 1), 64):
            fresh(part)
    return fresh


def main() -> None:
    """Print a row for each network, a column for each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trainings", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    for folder in args.trainings:
        run = load_training(folder)
        network, settings = run.load_network(), run.manifest["settings"]
        data = open_labelled(args.data, settings["recipe"]["side_px"])
        side, mean, sd = (
            run.manifest["counts"]["side_px"],
            settings["recipe"]["mean"],
            settings["recipe"]["sd"],
        )
        # Every fourth, so that each set is from all over the validation images.
        images = pictures(data, side, N_SETS * N_IMAGES, mean, sd)
        sets = [images[start::N_SETS] for start in range(N_SETS)]
        settling = pictures(data, side, N_SETTLING, mean, sd)
        rows = {"trained": [network] * N_SETS}
        rows["random weights"] = [untrained(network, settling, seed) for seed in range(N_SETS)]
        for label, networks in rows.items():
            found = [measure_equivariance(one, own) for one, own in zip(networks, sets, strict=True)]
            between = np.array([[entry.between for entry in errors] for errors in found])
            cells = [f"{own.mean():.2f} ({own.min():.2f}–{own.max():.2f})" for own in between.T]
            exact = max(entry.exact for errors in found for entry in errors)
            print(f"| {folder.name} | {label} | {' | '.join(cells)} | {exact:.0e} |", flush=True)


if __name__ == "__main__":
    main()
