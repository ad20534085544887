"""Scenes of three layers that are equivariant by design and were trained: many fields, each eight or more exact copies.

The network is C4, C8 or C16-equivariant. It learns for some minutes to tell from which of the embedded photographs a
crop is, is exported as plain convolutions, and its channels are shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.construction.equivariant import BatchNorm2d, Conv2d, Fields, export
from equiscope.stimuli import open_images
from equiscope.testing.battery.scene import LayerScene
from equiscope.transformations import Pose

__all__ = ["TRAINED", "TrainedKind", "train_fields"]

_KERNELS_PX = (7, 5, 5)
_CROP_PX, _BATCH, _LEARNING_RATE = 40, 32, 0.01


@dataclass(frozen=True)
class TrainedKind:
    """Which group, and how many fields and invariant units each layer has."""

    group: str
    n_fields: int
    n_invariant: int = 3


TRAINED = {
    "C4": TrainedKind("C4", 16),
    "C8": TrainedKind("C8", 10),
    "C16": TrainedKind("C16", 6),
}


def train_fields(
    kind: TrainedKind, seed: int, n_steps: int = 400
) -> tuple[nn.Module, Mapping[str, LayerScene]]:
    """Train a designed network, export it, shuffle its channels, and tell what each channel is.

    Parameters
    ----------
    kind
        What is designed.
    seed
        Of the first weights, of the crops, and of the order of channels.
    n_steps
        Of training.

    Examples
    --------
    >>> module, layers = train_fields(TrainedKind("C4", 1, 1), seed=0, n_steps=1)
    >>> list(layers), layers["2"].features
    (['2', '5', '8'], ('field 0', '', 'field 0', 'field 0', 'field 0'))
    """
    fields = Fields(kind.group, equivariant=kind.n_fields, invariant=kind.n_invariant)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, head = _build(fields, len(_photographs()))
        _train(network, head, fields, seed, n_steps)
    plain = export(network.eval())
    order = np.random.default_rng(seed)
    layers: dict[str, LayerScene] = {}
    place: NDArray[np.int64] = np.arange(3)
    for name, part in plain.named_children():
        if isinstance(part, nn.Conv2d):
            before, place = place, order.permutation(part.out_channels)
            _shuffle(part, place, before)
            layers[str(int(name) + 2)] = _truth(fields, part.weight.detach(), place, kind)
        elif isinstance(part, nn.BatchNorm2d):
            for values in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                if values is not None:
                    values[place] = values.clone()
    return plain, layers


def _photographs() -> Sequence[Tensor]:
    images = open_images()
    return [image for i in range(len(images)) if (image := images.load(i)) is not None]


def _build(fields: Fields, n_classes: int) -> tuple[nn.Sequential, nn.Module]:
    stages: list[nn.Module] = []
    before = Fields(fields.group, invariant=3)
    for side in _KERNELS_PX:
        stages += [Conv2d(before, fields, side, bias=False), BatchNorm2d(fields), nn.ReLU()]
        before = fields
    return nn.Sequential(*stages), nn.Linear(2 * (fields.equivariant + fields.invariant), n_classes)


def _pooled(x: Tensor, fields: Fields) -> Tensor:
    """Means and maxima over places and poses, so that the head cannot tell an angle."""
    turning = x[:, : fields.n_field_channels].reshape(len(x), fields.equivariant, fields.order, *x.shape[2:])
    still = x[:, fields.n_field_channels :]
    mean = [turning.mean((2, 3, 4)), still.mean((2, 3))]
    return torch.cat([*mean, turning.amax((2, 3, 4)), still.amax((2, 3))], dim=1)


def _train(network: nn.Module, head: nn.Module, fields: Fields, seed: int, n_steps: int) -> None:
    rng, photographs = np.random.default_rng(seed), _photographs()
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=max(n_steps, 2))
    network.train()
    for _ in range(n_steps):
        labels = rng.integers(0, len(photographs), _BATCH)
        crops = []
        for label in labels.tolist():
            image = photographs[label]
            y, x = (int(rng.integers(0, max(1, side - _CROP_PX))) for side in image.shape[1:])
            crops.append(image[:, y : y + _CROP_PX, x : x + _CROP_PX])
        logits = head(_pooled(network(torch.stack(crops)), fields))
        loss = F.cross_entropy(logits, torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


@torch.no_grad()
def _shuffle(part: nn.Conv2d, place: NDArray[np.int64], before: NDArray[np.int64]) -> None:
    weight = torch.empty_like(part.weight)
    weight[torch.from_numpy(place)[:, None], torch.from_numpy(before)] = part.weight.detach()
    part.weight.copy_(weight)


def _truth(fields: Fields, weight: Tensor, place: NDArray[np.int64], kind: TrainedKind) -> LayerScene:
    """Say what each channel is. A unit turned by an element is the other member of its field: no kernel is turned."""
    n, order = fields.n_channels, fields.order
    names = [""] * n
    poses: list[Pose | None] = [None] * n
    likeness = np.zeros((n, n))
    flat = weight.flatten(1).double()
    flat = (flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy()
    cosine = flat @ flat.T
    for index in range(fields.equivariant):
        own = place[index * order : (index + 1) * order]
        for element, channel in enumerate(own.tolist()):
            names[channel] = f"field {index}"
            poses[channel] = Pose(angle_deg=fields.action.angle_deg(element))
        likeness[own] = np.maximum(likeness[own], cosine[own].max(0))
    is_turning = np.array([name != "" for name in names])
    likeness[:, ~is_turning] = likeness[~is_turning] = 0.0
    np.fill_diagonal(likeness, 1.0)
    return LayerScene(
        tuple(names),
        tuple(poses),
        np.minimum(np.maximum(likeness, likeness.T), 1.0),
        {f"field {index}": 1 for index in range(fields.equivariant)},
    )
