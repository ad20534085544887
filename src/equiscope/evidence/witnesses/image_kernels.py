"""The kernels by which the units of a first layer read the image, and whether that is all that they do."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.evidence.circuits.linearised import Gains, Linearise
from equiscope.evidence.circuits.running import run_to
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted

__all__ = ["read_image_kernels"]

_UNITS_PER_PASS = 64
_GREY = 0.5
# Units whose own kernels are shown as images, on which the kernels of all must say what the layer answers.
_N_SHOWN = 16
# Share of the energy of what images change that kernels must explain, where a unit is above its threshold: behind
# another nonlinearity it is far below.
_LEAST_EXPLAINED = 0.97


@borrows_model
def read_image_kernels(model: Model, geometry: LayerGeometry) -> NDArray[np.float32] | None:
    """Read by which kernel each unit answers to the image.

    Parameters
    ----------
    model
        The network.
    geometry
        Of the layer.

    Returns
    -------
    ndarray or None
        Shape (unit, 3, y, x), activation units for RGB in [0, 1]. None where the answers are not such a sum, cut off
        below some threshold: behind another layer, for whole images, or where the path cannot be read.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.ReLU()))
    >>> geometry = find_geometry(model, ["1", "3"])
    >>> read_image_kernels(model, geometry["1"]).shape, read_image_kernels(model, geometry["3"])
    ((4, 3, 5, 5), None)
    """
    if geometry.is_global:
        return None
    network, size_px = fitted(model, geometry.sides), geometry.patch_px
    row, column = geometry.position_in_patch(size_px)
    kernels = np.zeros((geometry.n_channels, 3, size_px, size_px), np.float32)

    def answer(images: Tensor) -> Tensor:
        return run_to(network, images, geometry.layer, {})[:, :, row, column]

    try:
        for start in range(0, geometry.n_channels, _UNITS_PER_PASS):
            n = min(_UNITS_PER_PASS, geometry.n_channels - start)
            images = torch.full((n, 3, size_px, size_px), _GREY, requires_grad=True)
            # What hooks do in the backward pass is put back after it.
            with model.evaluating(), torch.enable_grad(), Linearise(Gains()):
                own = answer(images)[:, start : start + n].diagonal().sum()
                (slope,) = torch.autograd.grad(own, images)
            kernels[start : start + n] = slope.numpy()
        with torch.no_grad():
            shown = _as_images(kernels)
            answers = answer(shown).float().cpu().numpy()
            with Linearise(Gains()):
                at_grey = answer(torch.full((1, 3, size_px, size_px), _GREY)).float().cpu().numpy()
        change = np.einsum("icyx,ucyx->iu", shown.numpy() - _GREY, kernels)
    except Exception:  # networks refuse with any type
        return None
    return kernels if kernels.any() and _explains(change, at_grey, answers) else None


def _as_images(kernels: NDArray[np.float32]) -> Tensor:
    """Make images of some kernels: what their units answer to most."""
    chosen = kernels[np.linspace(0, len(kernels) - 1, min(_N_SHOWN, len(kernels))).round().astype(int)]
    largest = np.maximum(np.abs(chosen).max((1, 2, 3), keepdims=True), 1e-30)
    return torch.from_numpy(_GREY + 0.5 * chosen / largest)


def _explains(
    change: NDArray[np.float32], at_grey: NDArray[np.float32], answers: NDArray[np.float32]
) -> bool:
    """Whether answers change against grey as the kernels say, wherever that leads above the threshold."""
    is_above = at_grey + change > 0
    if not is_above.any():
        return False
    missed = (answers - at_grey - change)[is_above].astype(np.float64)
    return bool(
        (missed**2).sum() <= (1 - _LEAST_EXPLAINED) * (change[is_above].astype(np.float64) ** 2).sum()
    )
