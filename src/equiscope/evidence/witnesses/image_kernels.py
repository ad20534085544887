"""The kernels by which the units of a first layer read the image, and whether that is all that they do."""

from __future__ import annotations

from dataclasses import dataclass

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
    layer = _Layer(fitted(model, geometry.sides), geometry)
    every = np.arange(geometry.n_channels)
    some = every[np.linspace(0, len(every) - 1, min(_N_SHOWN, len(every))).round().astype(int)]
    try:
        # Of a later layer a few units tell, whose patches are large.
        for units in (some, every) if len(some) < len(every) else (every,):
            kernels = layer.kernels(units)
            shown = _as_images(kernels[np.isin(units, some)])
            change = np.einsum("icyx,ucyx->iu", shown.numpy() - _GREY, kernels)
            if not kernels.any() or not _explains(change, *layer.answers(shown, units)):
                return None
    except Exception:  # networks refuse with any type
        return None
    return kernels


@dataclass(frozen=True)
class _Layer:
    """A layer that is shown patches, and read at the position in their middle."""

    network: Model
    geometry: LayerGeometry

    def answer(self, images: Tensor, units: NDArray[np.int64]) -> Tensor:
        """Give answers, shape (image, unit)."""
        row, column = self.geometry.position_in_patch(self.geometry.patch_px)
        return run_to(self.network, images, self.geometry.layer, {})[:, units, row, column]

    def kernels(self, units: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give the gradients of some units' answers to grey, shape (unit, 3, y, x)."""
        size_px, parts = self.geometry.patch_px, []
        for start in range(0, len(units), _UNITS_PER_PASS):
            own = units[start : start + _UNITS_PER_PASS]
            images = torch.full((len(own), 3, size_px, size_px), _GREY, requires_grad=True)
            # What hooks do in the backward pass is put back after it.
            with self.network.evaluating(), torch.enable_grad(), Linearise(Gains()):
                (slope,) = torch.autograd.grad(self.answer(images, own).diagonal().sum(), images)
            parts.append(slope.numpy())
        return np.concatenate(parts)

    def answers(
        self, shown: Tensor, units: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give what units answer to grey before any threshold, shape (1, unit), and to images, (image, unit)."""
        with torch.no_grad():
            answers = self.answer(shown, units).float().cpu().numpy()
            with Linearise(Gains()):
                at_grey = self.answer(torch.full((1, *shown.shape[1:]), _GREY), units).float().cpu().numpy()
        return at_grey, answers


def _as_images(kernels: NDArray[np.float32]) -> Tensor:
    """Make images of kernels: what their units answer to most."""
    largest = np.maximum(np.abs(kernels).max((1, 2, 3), keepdims=True), 1e-30)
    return torch.from_numpy(_GREY + 0.5 * kernels / largest)


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
