"""GoogLeNet (InceptionV1) as Caffe's BVLC trained it, with the layer names of the Circuits articles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.models.caffe import LocalResponseNorm, caffe_input, caffe_names
from equiscope.models.model import Model
from equiscope.models.weights import PublicFile, assign, obtain, read_tensors

__all__ = [
    "BLOCKS",
    "LAYERS",
    "GoogLeNet",
    "MixedBlock",
    "Widths",
    "build",
    "tensor_names",
]

WEIGHTS = PublicFile(
    name="bvlc_googlenet.caffemodel",
    url="http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
    sha1="405fc5acd08a3bb12de8ee5e23a96bec22f08204",
)


class Widths(NamedTuple):
    """Number of channels in each branch of a mixed block."""

    n_1x1: int
    n_3x3_bottleneck: int
    n_3x3: int
    n_5x5_bottleneck: int
    n_5x5: int
    n_pool_reduce: int

    @property
    def n_out(self) -> int:
        """Channels of the block's output."""
        return self.n_1x1 + self.n_3x3 + self.n_5x5 + self.n_pool_reduce


BLOCKS = {
    "mixed3a": Widths(64, 96, 128, 16, 32, 32),
    "mixed3b": Widths(128, 128, 192, 32, 96, 64),
    "mixed4a": Widths(192, 96, 208, 16, 48, 64),
    "mixed4b": Widths(160, 112, 224, 24, 64, 64),
    "mixed4c": Widths(128, 128, 256, 24, 64, 64),
    "mixed4d": Widths(112, 144, 288, 32, 64, 64),
    "mixed4e": Widths(256, 160, 320, 32, 128, 128),
    "mixed5a": Widths(256, 160, 320, 32, 128, 128),
    "mixed5b": Widths(384, 192, 384, 48, 128, 128),
}
LAYERS = ("conv2d0", "conv2d1", "conv2d2", *BLOCKS)

_STEM_TENSORS = {
    "conv2d0": "conv1/7x7_s2",
    "conv2d1": "conv2/3x3_reduce",
    "conv2d2": "conv2/3x3",
    "softmax2_pre_activation": "loss3/classifier",
}
_BRANCH_TENSORS = {
    "1x1": "1x1",
    "3x3_bottleneck": "3x3_reduce",
    "3x3": "3x3",
    "5x5_bottleneck": "5x5_reduce",
    "5x5": "5x5",
    "pool_reduce": "pool_proj",
}


class MixedBlock(nn.ModuleDict):
    """An inception block: four branches side by side, concatenated before their ReLU.

    The output is the pre-ReLU value, in the order 1x1, 3x3, 5x5, pool_reduce; bottlenecks have their ReLU
    inside. Every branch's convolution can be recorded too, as ``mixed3a.5x5_bottleneck``.
    """

    def __init__(self, n_in: int, widths: Widths) -> None:
        super().__init__(
            {
                "1x1": nn.Conv2d(n_in, widths.n_1x1, 1),
                "3x3_bottleneck": nn.Conv2d(n_in, widths.n_3x3_bottleneck, 1),
                "3x3": nn.Conv2d(widths.n_3x3_bottleneck, widths.n_3x3, 3, padding=1),
                "5x5_bottleneck": nn.Conv2d(n_in, widths.n_5x5_bottleneck, 1),
                "5x5": nn.Conv2d(widths.n_5x5_bottleneck, widths.n_5x5, 5, padding=2),
                "pool": nn.MaxPool2d(3, stride=1, padding=1),
                "pool_reduce": nn.Conv2d(n_in, widths.n_pool_reduce, 1),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on ``x``, shape (image, channel, y, x), non-negative."""
        branches = [
            self["1x1"](x),
            self["3x3"](F.relu(self["3x3_bottleneck"](x))),
            self["5x5"](F.relu(self["5x5_bottleneck"](x))),
            self["pool_reduce"](self["pool"](x)),
        ]
        return torch.cat(branches, dim=1)


class GoogLeNet(nn.Module):
    """InceptionV1, randomly initialised; without arguments as Caffe's BVLC trained it.

    Each of `LAYERS` is a direct child whose output is the pre-ReLU value. Input: prepared images, shape
    (image, 3, y, x); output: logits, shape (image, class).

    Parameters
    ----------
    blocks
        Widths of the nine mixed blocks.
    n_classes
        Number of logits.
    stem_padding_px
        Zeros before and after the image, along y and along x, for the first convolution, px; not more
        before than after.
    """

    def __init__(
        self,
        blocks: Mapping[str, Widths] = BLOCKS,
        n_classes: int = 1000,
        stem_padding_px: tuple[int, int] = (3, 3),
    ) -> None:
        super().__init__()
        before, after = stem_padding_px
        self.block_names = tuple(blocks)
        self.excess_px = after - before
        self.conv2d0 = nn.Conv2d(3, 64, 7, stride=2, padding=before)
        self.maxpool0 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.localresponsenorm0 = LocalResponseNorm(5)
        self.conv2d1 = nn.Conv2d(64, 64, 1)
        self.conv2d2 = nn.Conv2d(64, 192, 3, padding=1)
        self.localresponsenorm1 = LocalResponseNorm(5)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        n_channels = 192
        for name, widths in blocks.items():
            if name == "mixed4a":
                self.maxpool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            elif name == "mixed5a":
                self.maxpool10 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            self.add_module(name, MixedBlock(n_channels, widths))
            n_channels = widths.n_out
        self.softmax2_pre_activation = nn.Linear(n_channels, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of ``x``, shape (image, 3, y, x)."""
        if self.excess_px:
            x = F.pad(x, (0, self.excess_px, 0, self.excess_px))
        # ReLU commutes with the pool, and costs a quarter after it.
        x = F.relu(self.maxpool0(self.conv2d0(x)))
        x = self.localresponsenorm0(x)
        x = F.relu(self.conv2d1(x))
        x = F.relu(self.conv2d2(x))
        x = self.maxpool1(self.localresponsenorm1(x))
        for name in self.block_names:
            if name == "mixed4a":
                x = self.maxpool4(x)
            elif name == "mixed5a":
                x = self.maxpool10(x)
            x = F.relu(self.get_submodule(name)(x))
        logits: Tensor = self.softmax2_pre_activation(x.mean(dim=(2, 3)))
        return logits


def tensor_names() -> dict[str, str]:
    """Name the tensors of its weights: for each parameter the blob of Caffe's network.

    Examples
    --------
    >>> tensor_names()["mixed3a.3x3_bottleneck.weight"]
    'inception_3a/3x3_reduce/weights'
    """
    modules = dict(_STEM_TENSORS)
    for block in BLOCKS:
        for branch, caffe in _BRANCH_TENSORS.items():
            modules[f"{block}.{branch}"] = f"inception_{block.removeprefix('mixed')}/{caffe}"
    return caffe_names(modules)


def build(weights: Path | None = None) -> Model:
    """Build GoogLeNet with its trained weights.

    Parameters
    ----------
    weights
        The original ``.caffemodel``, or an ``.npz`` with Caffe's tensor names. Without it the cache is
        used, or else the file is downloaded from its public address.

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
    >>> drawn, names = dict(GoogLeNet().named_parameters()), tensor_names()
    >>> np.savez("drawn.npz", **{names[key]: value.detach() for key, value in drawn.items()})
    >>> model = build(Path("drawn.npz"))
    >>> model.name, model.input_size_px, model.default_layers[:3]
    ('googlenet', 224, ('conv2d0', 'conv2d1', 'conv2d2'))
    """
    path = obtain(WEIGHTS) if weights is None else weights
    module = GoogLeNet()
    # The training file carries two auxiliary heads that nothing here looks at.
    tensors = {
        name: tensor
        for name, tensor in read_tensors(path).items()
        if not name.startswith(("loss1/", "loss2/"))
    }
    assign(module, tensor_names(), tensors, str(path))
    return Model(module.eval(), "googlenet", caffe_input, LAYERS, input_size_px=224)
