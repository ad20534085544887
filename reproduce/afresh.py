"""How much of a layer's equivariance was learnt: one layer of a network drawn afresh above trained ones, surveyed.

    python reproduce/afresh.py --weights bvlc_googlenet_fp16.npz --images photos.tar --out afresh

Each convolution of the layer gets normal weights, and each of its units keeps the norm of its weights and its bias; all
layers before it stay as trained. It is surveyed with the layer that feeds it, whose poses its weights are moved by, and
so is the network as trained. A line each: units in accepted families and units that are copies of another by their
weights, with Wilson's 95 % interval, and the median likeness of families beside the one with poses permuted. With
random weights on turned inputs units answer at related poses and are no copies.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
from collections import Counter
from math import isnan, nan
from pathlib import Path

import numpy as np
import torch
from torch import nn

import equiscope
from equiscope.families.shares import count_copies, judged_family
from equiscope.foundations.statistics import share_interval

# A layer, and the surveyed layer that feeds it.
FED_BY = {"conv2d2": "conv2d1", "mixed3a": "conv2d2", "mixed3b": "mixed3a"}


def drawn_afresh(model: equiscope.Model, layer: str, seed: int) -> equiscope.Model:
    """Copy a network with the weights of one layer drawn, each unit's norm and bias kept."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for part in module.get_submodule(layer).modules():
            if isinstance(part, nn.Conv2d):
                drawn = torch.randn(part.weight.shape, generator=generator)
                own, new = (
                    torch.linalg.vector_norm(w, dim=(1, 2, 3), keepdim=True) for w in (part.weight, drawn)
                )
                drawn *= own / new
                part.weight.copy_(drawn)
    return dataclasses.replace(model, module=module, name=f"{model.name}-{layer}-drawn-{seed}")


def said_share(n: int, total: int) -> str:
    """Give a share with its interval."""
    low, high = share_interval(n, total)
    return f"{n} of {total} units, {n / total:.1%} ({low:.1%}–{high:.1%})"


def tell(name: str, run: equiscope.Run, layer: str) -> None:
    """Print what a survey says of the layer under rotation."""
    families = [family for family in run.families if family.layer == layer]
    units = [(unit.layer, unit.channel) for unit in run.units if unit.layer == layer]
    n_in_families = len({channel for family in families for channel in family.channels.tolist()})
    share = count_copies(map(judged_family, families), units)
    verdicts = [family.verdict for family in families if family.verdict is not None]
    words = ", ".join(f"{n} {word}" for word, n in sorted(Counter(own.word for own in verdicts).items()))
    likeness = [own.likeness for own in verdicts if not isnan(own.likeness)] or [nan]
    permuted = [own.permuted_95 for own in verdicts if not isnan(own.permuted_95)] or [nan]
    print(
        f"{layer} {name}: {len(families)} families ({words}) of {said_share(n_in_families, len(units))}; "
        f"copies {said_share(share.n_copies, len(units))}; in families that could not be tested {share.n_untested}; "
        f"median likeness {np.median(likeness):.2f}, with poses permuted {np.median(permuted):.2f}",
        flush=True,
    )


def main() -> None:
    """Survey each layer as trained and drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", default=",".join(FED_BY))
    parser.add_argument("--draws", type=int, default=2)
    options = parser.parse_args()
    trained = equiscope.load_model("googlenet", options.weights)
    images = equiscope.open_images(options.images)
    for layer in options.layers.split(","):
        networks = {"as trained": trained} | {
            f"drawn afresh ({seed})": drawn_afresh(trained, layer, seed) for seed in range(options.draws)
        }
        for name, model in networks.items():
            run = equiscope.survey(
                model,
                images,
                [FED_BY[layer], layer],
                transformations=["rotation"],
                out=options.out / f"{layer}-{model.name}",
            )
            tell(name, run, layer)


if __name__ == "__main__":
    main()
