"""Small networks of equivariant layers, and inputs for them, that several tests share."""

from __future__ import annotations

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from equiscope.construction.equivariant import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout2d,
    Fields,
    GroupPool,
    HueStem,
    InceptionBlock,
    MaxPool2d,
    ResidualBlock,
)

GROUPS = ("C4", "C8", "C16", "D4", "D8", "H6", "H4xC8")


def noise(n: int, channels: int, height: int, width: int, blur_px: float = 0.0) -> Tensor:
    """Random pictures, float64, blurred by a Gaussian."""
    drawn = torch.randn(n, channels, height, width, dtype=torch.float64)
    return torch.from_numpy(gaussian_filter(drawn.numpy(), (0, 0, blur_px, blur_px))) if blur_px else drawn


def stem(out: Fields, kernel_size: int = 5) -> nn.Module:
    """What takes RGB to some fields."""
    if out.action.n_hues > 1:
        return HueStem(out, kernel_size, padding="same")
    return Conv2d(Fields(out.group, invariant=3), out, kernel_size, padding="same")


def body(group: str, plain: int = 2) -> nn.Sequential:
    """A network of every layer there is, from RGB to pooled fields."""
    a, b = Fields(group, 2, 3, plain), Fields(group, 1, 2, plain)
    c = Fields(group, 2, 1)
    joined = b + b + b
    return nn.Sequential(
        stem(a),
        BatchNorm2d(a),
        nn.ReLU(),
        MaxPool2d(a),
        InceptionBlock(a, direct=b, reduced=[(b, b, 5)], pooled=b),
        Dropout2d(joined, 0.2),
        ResidualBlock(joined, c, 5, stride=2),
        AvgPool2d(c, 2),
        Conv2d(c, c, 1),
    )


def network(group: str) -> nn.Sequential:
    """That body with a head that answers with five numbers."""
    layers = body(group)
    after = layers[-1].out_fields
    head = [GroupPool(after), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)]
    return nn.Sequential(*layers, *head)


def with_history(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module after some training: no parameter and no running moment has its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif name.endswith(("bias", "running_mean", "weight")):
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module.eval()
