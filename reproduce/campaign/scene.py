"""What the campaign works on: a network of exact quarter turns, twelve crops of photographs, and the commands on them.

The network's eight units a layer are two families of four, so that a run has families, verified poses, circuits and
templates, and every file that a survey, `verify`, `circuits`, `featurevis` and `report` leave; all of it in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

__all__ = ["COMMANDS", "Command", "make_scene"]

_NETWORK = """
import torch
from torch import nn


def network():
    generator = torch.Generator().manual_seed(1)
    first, second = nn.Conv2d(3, 8, 5), nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        kernels = torch.randn(2, 3, 5, 5, generator=generator)
        kernels -= kernels.mean((1, 2, 3), keepdim=True)
        first.weight[:] = torch.cat([torch.rot90(kernels, turn, (2, 3)) for turn in range(4)])
        kernels = torch.randn(2, 4, 2, 3, 3, generator=generator)
        turned = [torch.rot90(kernels.roll(turn, 1), turn, (3, 4)) for turn in range(4)]
        second.weight[:] = torch.cat(turned).flatten(1, 2)
        first.bias.zero_()
        second.bias.zero_()
    return nn.Sequential(first, nn.ReLU(), second)
"""


@dataclass(frozen=True)
class Command:
    """A command of the campaign: what is typed, and the folder below the scene into which it writes."""

    name: str
    arguments: tuple[str, ...]
    folder: str = "run"


_NET = "net.py:network"
COMMANDS = (
    Command(
        "survey",
        (
            *("survey", _NET, "--images", "photos", "--layers", "0,2", "--angles", "8"),
            *("--examples-per-unit", "4", "--transformations", "rotation,hue,scale", "--out", "run"),
        ),
    ),
    Command("verify", ("verify", "run", _NET)),
    Command("circuits", ("circuits", "run", _NET, "--images", "photos", "--draws", "20", "--verdict", "any")),
    Command("featurevis", ("featurevis", "run", _NET, "--steps", "4")),
    Command("report", ("report", "run")),
    Command(
        "train",
        (
            *("train", "plain", "--data", "classes", "--crop", "16", "--epochs", "2", "--batch", "8"),
            *("--checkpoint-every", "2", "--device", "cpu", "--out", "trained"),
        ),
        "trained",
    ),
)


def make_scene(folder: Path) -> None:
    """Write the network, the photographs and the labelled images into a new folder."""
    folder.mkdir(parents=True)
    (folder / "net.py").write_text(_NETWORK)
    sources = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for index in range(12):
        source = sources[index % len(sources)]
        top, left = rng.integers(0, (source.shape[0] - 72, source.shape[1] - 80))
        Image.fromarray(source[top : top + 72, left : left + 80]).save(folder / "photos" / f"{index:02d}.png")
    for split, n_images in (("train", 16), ("val", 4)):
        for name in ("bright", "dark"):
            (folder / "classes" / split / name).mkdir(parents=True)
            for index in range(n_images):
                values = rng.integers(0, 128, (20, 20, 3)) + (128 if name == "bright" else 0)
                path = folder / "classes" / split / name / f"{index}.png"
                Image.fromarray(values.astype(np.uint8)).save(path)
