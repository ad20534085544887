"""What normalisations on the way through a network are replaced by, measured on some of its images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from equiscope.evidence.circuits.linearised import Gains, measure_gains
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted
from equiscope.stimuli import ImageSet

__all__ = ["measure_gains_on"]

_N_IMAGES = 12


def measure_gains_on(model: Model, images: ImageSet, geometries: Mapping[str, LayerGeometry]) -> Gains:
    """Measure the factors for everything up to the last of some layers, on a dozen images.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope import Model, open_images
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 3)))
    >>> gains = measure_gains_on(model, open_images(max_side_px=96), find_geometry(model, ["0", "2"]))
    >>> [len(factors) for factors in gains.functions]
    [4]
    """
    last = list(geometries)[-1]
    needed_px = max((g.patch_px for g in geometries.values() if not g.is_global), default=1)
    return measure_gains(fitted(model, geometries[last].sides), _sample(images, needed_px), last)


def _sample(images: ImageSet, needed_px: int) -> Tensor:
    """Return a dozen images of one size, from all over the set, no smaller than is needed where there are such."""
    step = max(1, len(images) // _N_IMAGES)
    loaded = [image for i in range(0, len(images), step) if (image := images.load(i)) is not None]
    sides = [min(image.shape[1:]) for image in loaded]
    # All are cut to the smallest, into which layers may not fit.
    least_px = min(needed_px, max(sides))
    large = [image for image, side in zip(loaded, sides, strict=True) if side >= least_px]
    side = min(min(image.shape[1:]) for image in large)
    return torch.stack([image[:, :side, :side] for image in large[:_N_IMAGES]])
