"""Train ``mini``, the network that is embedded in the package, on 100 classes of Tiny ImageNet.

    python reproduce/train_mini.py --data tiny_imagenet_100.npz --out mini.safetensors

One call of `equiscope.construction.training.train` with its ``MINI_RECIPE``; the whitened stem and why it is needed is
told in `equiscope.construction.training.recipe`. The training lies beside the weights, in a folder called like them,
and goes on when it was interrupted. What is saved is rounded to float16, as it is shipped.

Deterministic for a seed on one machine with one thread count. The embedded file was made by an earlier form of this
script, of the same hyperparameters; its random numbers and the scale of its first weights were others.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import equiscope
from equiscope.construction.training import MINI_RECIPE, open_labelled
from equiscope.construction.training.batches import centre_batch
from equiscope.models.mini import build


def main() -> None:
    """Train, round, and evaluate the network as it is shipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=MINI_RECIPE.epochs)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    recipe = replace(MINI_RECIPE, epochs=options.epochs)
    run = equiscope.train(
        "plain",
        options.data,
        options.out.with_suffix(""),
        recipe=recipe,
        seed=options.seed,
        precision="bfloat16",
    )
    for row in run.manifest["curves"]:
        if row["val_top1"] is not None:
            print(
                json.dumps(
                    {key: round(row[key], 4) for key in ("epoch", "train_loss", "val_top1", "seconds")}
                )
            )
    save_file({name: tensor.half() for name, tensor in load_file(run.model_file).items()}, options.out)

    shipped, val = build(options.out), open_labelled(options.data, 64).val
    n_right = 0
    for images in np.array_split(np.arange(len(val)), max(1, len(val) // 500)):
        batch = centre_batch(val, images, MINI_RECIPE.crop_px)
        with torch.no_grad():
            logits = shipped.module(shipped.preprocess(torch.from_numpy(batch.pixels).float() / 255))
        n_right += int((logits.argmax(1).numpy() == batch.labels).sum())
    print(json.dumps({"shipped_val_top1": n_right / len(val)}))


if __name__ == "__main__":
    main()
