"""A network that is equivariant by design, exported and shuffled, so that nothing in it shows its fields."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from equiscope.construction.equivariant import BatchNorm2d, Conv2d, Fields, export
from equiscope.models.model import Model
from equiscope.testing.planted import LayerTruth, Planted, PlantedFamily

__all__ = ["planted_fields", "sample_crops"]

_N_LAYERS = 3
_KERNEL_SIZE_PX = 7


def sample_crops() -> NDArray[np.uint8]:
    """Cut forty crops out of scikit-learn's two photographs at half their size, shape (image, 72, 88, 3).

    Examples
    --------
    >>> sample_crops().shape
    (40, 72, 88, 3)
    """
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    crops = []
    for index in range(40):
        photo = photos[index % 2]
        y, x = rng.integers(0, photo.shape[0] - 144), rng.integers(0, photo.shape[1] - 176)
        crops.append(photo[y : y + 144 : 2, x : x + 176 : 2])
    return np.stack(crops)


def planted_fields(images: Tensor, seed: int = 0, *, group: str = "C8") -> Planted:
    """Build three convolutions of random kernels, each with three fields, two invariant and two plain units.

    Parameters
    ----------
    images
        What batch normalisation is set by, shape (image, 3, y, x), in [0, 1].
    seed
        Of kernels and of the order of channels.
    group
        Rotations: ``"C4"``, ``"C8"`` or ``"C16"``.

    Returns
    -------
    Planted
        The exported network, plain convolutions with shuffled channels, and what each channel is. Fields of random
        kernels may come out nearly round, so that they are invariant as well.

    Examples
    --------
    >>> planted_fields(torch.rand(4, 3, 24, 24), group="C4").model.layer_names
    ['0', '1', '2', '3', '4', '5', '6', '7', '8']
    """
    generator = torch.Generator().manual_seed(seed)
    fields = Fields(group, equivariant=3, invariant=2, plain=2)
    before = Fields(group, invariant=3)
    stages: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(_N_LAYERS):
            stages += [
                Conv2d(before, fields, _KERNEL_SIZE_PX, bias=False),
                BatchNorm2d(fields, momentum=1.0),
                nn.ReLU(),
            ]
            before = fields
    network = nn.Sequential(*stages)
    with torch.no_grad():
        network.train()(images)
    plain = export(network.eval())
    truth = {}
    place = torch.arange(3)
    for name, part in plain.named_children():
        if isinstance(part, nn.Conv2d):
            place_before, place = place, torch.randperm(part.out_channels, generator=generator)
            weight = torch.empty_like(part.weight)
            weight[place[:, None], place_before] = part.weight.detach()
            part.weight = nn.Parameter(weight)
        elif isinstance(part, nn.BatchNorm2d):
            for values in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                if values is not None:
                    values[place] = values.clone()
            truth[name] = _truth(fields, place.tolist())
    return Planted(Model(plain), truth)


def _truth(fields: Fields, place: list[int]) -> LayerTruth:
    """Say what the channels of a layer are, given where each went."""
    order, n = fields.order, fields.n_field_channels
    families = tuple(
        PlantedFamily(
            f"field {index}",
            tuple(place[index * order : (index + 1) * order]),
            tuple(fields.action.angle_deg(element) for element in range(order)),
            stabiliser_order=1,
        )
        for index in range(fields.equivariant)
    )
    invariant = tuple(place[n : n + fields.invariant])
    return LayerTruth(families, invariant, unrelated=tuple(place[n + fields.invariant :]))
