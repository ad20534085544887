r"""The figures of docs/equivariant.md: errors between quarter turns, and the variance of activations over depth.

    python reproduce/equivariant.py

Errors are those of `equiscope.testing.assert_fields_equivariant`, the largest over the elements that interpolate, on
white noise, on noise blurred by Gaussians of 1 and 2 px, and on two photographs; of one convolution, and of networks
of three with ReLU between, plain or blurred, at random weights.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from equiscope.construction.equivariant import BlurredReLU, Conv2d, Fields
from equiscope.testing import assert_fields_equivariant

SIDE = 64


def inputs(kind: str) -> Tensor:
    """Two pictures of 3 channels, float64, standardised."""
    if kind == "photographs":
        # Made smaller by means over 4 x 4 px, as a photograph of this size would be.
        photos = [photo[: 4 * SIDE, 100 : 100 + 4 * SIDE] for photo in load_sample_images().images]
        pictures = np.stack([p.reshape(SIDE, 4, SIDE, 4, 3).mean((1, 3)) for p in photos]).transpose(
            0, 3, 1, 2
        )
    else:
        pictures = np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE))
        blur_px = float(kind.split()[1])
        pictures = gaussian_filter(pictures, (0, 0, blur_px, blur_px)) if blur_px else pictures
    return torch.from_numpy((pictures - pictures.mean()) / pictures.std())


def network(group: str, size_px: int, n_layers: int, *, is_blurred: bool = False) -> nn.Sequential:
    """Convolutions with ReLU between them, from RGB to mixed fields."""
    layers: list[nn.Module] = []
    before, fields = Fields(group, invariant=3), Fields(group, 4, 4)
    for depth in range(n_layers):
        if depth:
            layers.append(BlurredReLU(fields) if is_blurred else nn.ReLU())
        layers.append(Conv2d(before, fields, size_px, padding="same"))
        before = fields
    return nn.Sequential(*layers)


def print_errors() -> None:
    """One row for each group, size of kernel and depth: medians of three networks."""
    kinds = ("blur 0", "blur 1", "blur 2", "photographs")
    print("| group | kernel | layers | ReLU | quarter turns |", " | ".join(kinds), "|")
    for group, size_px, depth, relu in (
        ("C8", 3, 1, "–"), ("C8", 5, 1, "–"), ("C8", 7, 1, "–"), ("C16", 5, 1, "–"), ("C16", 7, 1, "–"),
        ("D8", 5, 1, "–"),
        ("C8", 5, 3, "sharp"), ("C8", 7, 3, "sharp"), ("C16", 7, 3, "sharp"),
        ("C8", 5, 3, "blurred"), ("C8", 7, 3, "blurred"), ("C16", 7, 3, "blurred"),
    ):  # fmt: skip
        cells, exact = [], 0.0
        for kind in kinds:
            errors = []
            for seed in range(3):
                torch.manual_seed(seed)
                margin_px = depth * size_px
                found = assert_fields_equivariant(
                    network(group, size_px, depth, is_blurred=relu == "blurred"),
                    inputs(kind),
                    margin_px=margin_px,
                )
                errors.append(found.largest_interpolated)
                exact = max(exact, found.largest_exact)
            cells.append(f"{np.median(errors):.3f}")
        print(f"| {group} | {size_px} | {depth} | {relu} | {exact:.0e} |", " | ".join(cells), "|", flush=True)


def print_variances() -> None:
    """Factor by which the second moment changes from layer to layer, over ten layers: geometric mean of four seeds."""
    for kind in ("blur 0", "photographs"):
        for group, equivariant, invariant in (
            ("C4", 1.0, 0.0), ("C8", 1.0, 0.0), ("C16", 1.0, 0.0),
            ("C8", 0.5, 0.25), ("C8", 0.0, 1.0), ("C8", 0.0, 0.0),
        ):  # fmt: skip
            logs = []
            for seed in range(4):
                torch.manual_seed(seed)
                fields = Fields.from_width(group, 64, equivariant=equivariant, invariant=invariant)
                features, before = inputs(kind).float()[:2, :, :32, :32], Fields(group, invariant=3)
                moments = []
                for _ in range(10):
                    with torch.no_grad():
                        features = Conv2d(before, fields, 5, padding="same")(features)
                    moments.append(features.square().mean().item())
                    features, before = features.relu(), fields
                logs.append(math.log(moments[-1] / moments[0]) / 9)
            factor = math.exp(float(np.mean(logs)))
            print(
                f"{kind}: {group}, {equivariant:.0%} equivariant, {invariant:.0%} invariant: {factor:.2f} a layer",
                flush=True,
            )


if __name__ == "__main__":
    print_errors()
    print_variances()
