"""Controls of `equiscope compare`: mini against itself with shuffled channels, shuffled kernels and random weights.

    equiscope survey mini --out runs/mini
    for control in permuted shuffled random; do
        equiscope survey reproduce/compare_mini.py:$control --out runs/$control \
            --layers net.conv2d0,net.conv2d1,net.mixed3a,net.mixed3b --transformations rotation,hue,reflection,contrast
        equiscope compare runs/mini runs/$control --model-b reproduce/compare_mini.py:$control --verdict any
    done
    python reproduce/compare_mini.py runs/mini

The last line says of each family whether its counterpart among shuffled channels is itself, and at its own poses.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn

from equiscope.evidence.compare.comparison import ComparedFamily, Comparison, load_comparisons
from equiscope.models import load_model
from equiscope.models.mini import normalise
from equiscope.testing import random_weights, shuffled_kernels

CIRCLES = ("rotation", "hue")


class Normalised(nn.Module):
    """mini with its preprocessing inside, so that names of layers and the range of input differ from the original's."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Map RGB in [0, 1] to logits."""
        logits: Tensor = self.net(normalise(images))
        return logits


def shuffled() -> nn.Module:
    """Permute the pixels of every kernel."""
    return Normalised(shuffled_kernels(load_model("mini")).module)


def random() -> nn.Module:
    """Draw all weights anew."""
    return Normalised(random_weights(load_model("mini")).module)


def channels() -> dict[str, np.ndarray]:
    """Original channel of each channel of the permuted network."""
    generator = torch.Generator().manual_seed(1)
    return {
        f"net.{layer}": torch.randperm(n, generator=generator).numpy()
        for layer, n in (("conv2d0", 48), ("conv2d1", 96))
    }


def permuted() -> nn.Module:
    """Shuffle the channels of the first two layers; what the network computes stays as it is."""
    net = load_model("mini").module
    first, second = (torch.from_numpy(order) for order in channels().values())
    with torch.no_grad():
        net.conv2d0.weight.copy_(net.conv2d0.weight[first])
        net.conv2d0.bias.copy_(net.conv2d0.bias[first])
        net.conv2d1.weight.copy_(net.conv2d1.weight[second][:, first])
        net.conv2d1.bias.copy_(net.conv2d1.bias[second])
        for part in net.mixed3a.modules():
            if isinstance(part, nn.Conv2d) and part.in_channels == len(second):
                part.weight.copy_(part.weight[:, second])
    return Normalised(net)


def units(family: ComparedFamily) -> dict[tuple[str, int], float]:
    """Original units of a family, with their poses."""
    order = channels()
    return {
        (
            m.layer.removeprefix("net."),
            int(order[m.layer][m.channel]) if m.layer in order else m.channel,
        ): m.pose
        for m in family.members
    }


def check(comparison: Comparison, transformation: str) -> None:
    """Print how many families find themselves, and how far the offset misses their poses."""
    families = {(f.run, f.id): f for f in comparison.families if f.transformation == transformation}
    own = [family for (run, _), family in families.items() if run == "a"]
    n_same, errors, others = 0, [], []
    for family in own:
        if family.counterpart is None:
            others.append(f"{family.id}: {family.reason}")
            continue
        first, second = units(family), units(families["b", family.counterpart])
        if set(first) != set(second):
            others.append(f"{family.id}: found {family.counterpart}")
            continue
        n_same += 1
        match = next(m for m in comparison.matches if (m.a, m.b) == (family.id, family.counterpart))
        period = 360 / max(family.stabiliser_order, 1) if transformation in CIRCLES else 2
        away = [(second[u] + match.offset - first[u] + period / 2) % period - period / 2 for u in first]
        errors.append(float(np.median(np.abs(away))))
    worst = f"poses within {max(errors):.2f}" if errors else "no poses"
    print(f"{transformation}: {n_same} of {len(own)} found themselves, {worst}")
    for line in others:
        print(f"  {line}")


if __name__ == "__main__":
    compared = next(c for c in load_comparisons(sys.argv[1]) if "permuted" in c.name)
    for entry in compared.transformations:
        check(compared, entry.transformation)
