"""``mini``: the embedded default, a small InceptionV1-like network that the project trained itself."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models.googlenet import MixedBlock, Widths
from equiscope.models.model import Model

__all__ = ["LAYERS", "Mini", "build"]

# Surveyed by default; mixed4a can be named too, but costs as much as all of these together.
LAYERS = ("conv2d0", "conv2d1", "mixed3a", "mixed3b")

# Channel means and standard deviations of the training images, RGB in [0, 1].
_MEAN = (0.48, 0.45, 0.40)
_SD = (0.27, 0.26, 0.28)


class Mini(nn.Module):
    """InceptionV1 in small: a 7x7 stem, a 3x3 layer and three mixed blocks; 0.4 million parameters.

    Modules named in ``LAYERS`` give their values before the ReLU. Input: RGB, normalised by the training
    set's mean and standard deviation, trained at 56 px; any size from 48 px up works.
    """

    def __init__(self, n_classes: int = 100) -> None:
        super().__init__()
        self.conv2d0 = nn.Conv2d(3, 48, 7, stride=2, padding=3)
        self.conv2d1 = nn.Conv2d(48, 96, 3, padding=1)
        self.mixed3a = MixedBlock(96, Widths(16, 56, 80, 16, 24, 8))
        self.mixed3b = MixedBlock(128, Widths(32, 64, 112, 24, 40, 8))
        self.mixed4a = MixedBlock(192, Widths(64, 80, 128, 24, 40, 24))
        self.classifier = nn.Linear(256, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (image, 3, y, x) to logits, shape (image, class)."""
        x = F.relu(self.conv2d0(x))
        x = F.relu(self.conv2d1(x))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = F.relu(self.mixed3a(x))
        x = F.relu(self.mixed3b(x))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = F.relu(self.mixed4a(x))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def normalise(images: Tensor) -> Tensor:
    """Subtract the mean and divide by the standard deviation of the training images, channel by channel."""
    mean = torch.tensor(_MEAN, device=images.device).view(1, 3, 1, 1)
    sd = torch.tensor(_SD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / sd


def build(weights: Path | None = None) -> Model:
    """Load ``mini`` with the weights shipped in the package, or with those of another training run.

    Parameters
    ----------
    weights
        A ``.safetensors`` file written by ``reproduce/train_mini.py``.

    Raises
    ------
    EquiscopeError
        If the file does not hold this network's tensors.

    Examples
    --------
    >>> model = build()
    >>> model.name, tuple(model.default_layers)
    ('mini', ('conv2d0', 'conv2d1', 'mixed3a', 'mixed3b'))
    """
    if weights is None:
        data = importlib.resources.files("equiscope.models").joinpath("mini.safetensors").read_bytes()
    else:
        data = Path(weights).read_bytes()
    try:
        tensors = {name: tensor.float() for name, tensor in load_safetensors(data).items()}
        network = Mini(n_classes=tensors["classifier.bias"].shape[0])
        network.load_state_dict(tensors)
    except Exception as error:
        raise EquiscopeError(
            f"{weights or 'the embedded mini.safetensors'} is not a weight file of mini: {error}; "
            "expected what reproduce/train_mini.py writes"
        ) from error
    return Model(network.eval(), "mini", preprocess=normalise, default_layers=LAYERS, input_size_px=56)
