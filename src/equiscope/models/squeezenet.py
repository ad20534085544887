"""SqueezeNet 1.1 as its authors trained it in Caffe."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.models.caffe import caffe_input, caffe_names
from equiscope.models.model import Model
from equiscope.models.weights import PublicFile, assign, obtain, read_tensors

__all__ = ["LAYERS", "FireModule", "SqueezeNet", "build", "tensor_names"]

WEIGHTS = PublicFile(
    name="squeezenet_v1.1.caffemodel",
    url="https://github.com/forresti/SqueezeNet/raw/master/SqueezeNet_v1.1/squeezenet_v1.1.caffemodel",
    # Its authors publish none, and no copy was at hand to take it from.
    sha1=None,
)

# Channels: input, squeeze, each of the two expansions.
_FIRES = {
    "fire2": (64, 16, 64),
    "fire3": (128, 16, 64),
    "fire4": (128, 32, 128),
    "fire5": (256, 32, 128),
    "fire6": (256, 48, 192),
    "fire7": (384, 48, 192),
    "fire8": (384, 64, 256),
    "fire9": (512, 64, 256),
}
_POOLED_AFTER = ("fire3", "fire5")
LAYERS = ("conv1", *_FIRES)


class FireModule(nn.Module):
    """A 1x1 convolution with ReLU, then 1x1 and 3x3 convolutions side by side, before their ReLU."""

    def __init__(self, n_in: int, n_squeeze: int, n_expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(n_in, n_squeeze, 1)
        self.expand1x1 = nn.Conv2d(n_squeeze, n_expand, 1)
        self.expand3x3 = nn.Conv2d(n_squeeze, n_expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the module on ``x``, shape (image, channel, y, x), non-negative."""
        squeezed = F.relu(self.squeeze1x1(x))
        return torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], dim=1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1, randomly initialised.

    Each of `LAYERS` is a direct child whose output is the pre-ReLU value. Input: BGR, 0 to 255 minus the
    mean, shape (image, 3, y, x); output: logits (never negative), shape (image, 1000).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        for name, channels in _FIRES.items():
            self.add_module(name, FireModule(*channels))
        self.conv10 = nn.Conv2d(512, 1000, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of ``x``, shape (image, 3, y, x)."""
        x = self.pool(F.relu(self.conv1(x)))
        for name in _FIRES:
            x = F.relu(self.get_submodule(name)(x))
            if name in _POOLED_AFTER:
                x = self.pool(x)
        return F.relu(self.conv10(x)).mean(dim=(2, 3))


def tensor_names() -> dict[str, str]:
    """Name the tensors of its weights: for each parameter the blob of Caffe's network.

    Examples
    --------
    >>> tensor_names()["fire2.squeeze1x1.bias"]
    'fire2/squeeze1x1/biases'
    """
    fires = [f"{fire}.{name}" for fire in _FIRES for name, _ in FireModule(1, 1, 1).named_children()]
    return caffe_names({layer: layer.replace(".", "/") for layer in ("conv1", *fires, "conv10")})


def build(weights: Path | None = None) -> Model:
    """Build SqueezeNet 1.1 with its trained weights.

    Parameters
    ----------
    weights
        The original ``.caffemodel``, or an ``.npz`` with Caffe's tensor names. Without it the cache is
        used; nothing is downloaded, because no checksum is known.

    Returns
    -------
    Model
        The network with the layers of `LAYERS` as its default.

    Raises
    ------
    EquiscopeError
        If the weights cannot be had, or do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> drawn, names = dict(SqueezeNet().named_parameters()), tensor_names()
    >>> np.savez("drawn.npz", **{names[key]: value.detach() for key, value in drawn.items()})
    >>> model = build(Path("drawn.npz"))
    >>> model.name, model.input_size_px, model.default_layers[:3]
    ('squeezenet', 227, ('conv1', 'fire2', 'fire3'))
    """
    path = obtain(WEIGHTS) if weights is None else weights
    module = SqueezeNet()
    assign(module, tensor_names(), read_tensors(path), str(path))
    return Model(module.eval(), "squeezenet", caffe_input, LAYERS, input_size_px=227)
