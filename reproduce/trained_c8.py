r"""Train a C8-equivariant network, shuffle its channels, and recover its families and all of its weights.

    python reproduce/trained_c8.py --data tiny_imagenet_100.npz --steps 300 --out c8

The network is that of `equiscope.testing.equivariant_network` with the coefficients of its kernels trained to tell the
classes from features that are pooled over poses and places. It is then written out as plain convolutions with shuffled
channels, surveyed on the embedded photographs, and its circuits are recovered; neither sees what was designed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

import equiscope
from equiscope.evidence.circuits import recover_circuits
from equiscope.foundations.devices import keep_large_buffers
from equiscope.testing import equivariant_network
from equiscope.testing.rotating import group_weight, lifting_weight, scaled

ORDER, N_FIELDS, N_HARMONICS, CROP_PX, BATCH = 8, 4, 4, 40, 64


class Designed(nn.Module):
    """The network with its coefficients as parameters."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        shapes = [(N_FIELDS, 3)] + [(N_FIELDS, N_FIELDS, ORDER)] * 2
        self.parts = nn.ParameterList(torch.randn(*shape, N_HARMONICS, 2) for shape in shapes)
        self.head = nn.Sequential(nn.BatchNorm1d(2 * N_FIELDS), nn.Linear(2 * N_FIELDS, n_classes))

    def patterns(self) -> list[Tensor]:
        """Complex coefficients of the three layers."""
        return [torch.view_as_complex(part.contiguous()).to(torch.complex128) for part in self.parts]

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        for index, patterns in enumerate(self.patterns()):
            weight = scaled(lifting_weight(patterns, ORDER) if index == 0 else group_weight(patterns)).float()
            x = F.conv2d(x, weight)
            x = F.relu(x) if index < 2 else x
        # Over poses and places, so that the head cannot tell an angle.
        fields = F.relu(x).unflatten(1, (N_FIELDS, ORDER))
        logits: Tensor = self.head(torch.cat([fields.mean((2, 3, 4)), fields.amax((2, 3, 4))], dim=1))
        return logits


def main() -> None:
    """Train, survey, recover, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="what open_images takes: a labelled .npz or a folder")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keep_large_buffers()
    torch.manual_seed(0)
    with np.load(options.data) as arrays:
        labels = torch.as_tensor(arrays["train_label"].astype(np.int64))
    images = equiscope.open_images(options.data)
    rng = np.random.default_rng(0)
    network = Designed(int(labels.max()) + 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    started, losses = time.perf_counter(), []
    for step in range(options.steps):
        chosen = rng.integers(0, len(labels), BATCH).tolist()
        batch = torch.stack([picture for i in chosen if (picture := images.load(i)) is not None])
        y, x = rng.integers(0, batch.shape[2] - CROP_PX, 2).tolist()
        loss = F.cross_entropy(network(batch[:, :, y : y + CROP_PX, x : x + CROP_PX]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 49:
            print(f"step {step + 1}: loss {np.mean(losses[-50:]):.3f}", flush=True)
    print(f"trained in {time.perf_counter() - started:.0f} s; chance is {np.log(int(labels.max()) + 1):.3f}")
    planted = equivariant_network(ORDER, 1, [p.detach() for p in network.patterns()])
    run = equiscope.survey(planted.model, transformations=["rotation"], out=options.out)
    for layer, truth in planted.truth.items():
        label = {m.channel: f.id for f in run.families if f.layer == layer for m in f.members}
        found = [label.get(channel, f"alone {channel}") for channel in range(truth.n_channels)]
        print(f"{layer}: adjusted Rand index {adjusted_rand_score(truth.family_index, found):.3f}")
    circuits = recover_circuits(run, planted.model, equiscope.open_images())
    for pair in circuits.pairs:
        own = [c for c in circuits.circuits if (c.source_layer, c.target_layer) == (pair.source, pair.target)]
        print(
            f"{pair.source} to {pair.target} ({pair.path}): {pair.n_symmetric} of {pair.n_circuits} symmetric, "
            f"R² {min(c.r2 for c in own):.4f} to {max(c.r2 for c in own):.4f}, {own[0].circuit_class}"
        )


if __name__ == "__main__":
    main()
