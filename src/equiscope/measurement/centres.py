"""Show patches to a network and read the position in their middle, of one layer or of several.

The position that is centred in a patch sees nothing beyond it, so that it answers as it would in the whole image:
padding inside the network only reaches positions further out. Of several layers the positions nearest to the middle are
read. Only what these need is computed (`equiscope.models.centred`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from equiscope.models.centred import CentredPasses
from equiscope.models.geometry import LayerGeometry
from equiscope.models.model import Model
from equiscope.models.sides import fitted

__all__ = ["Centres"]

# Pixels of patches in one forward pass: large enough to keep two cores busy, small enough for their caches.
_PIXELS_PER_PASS = 700_000


class Centres:
    """A network that is shown patches of one size, read in their middle.

    Parameters
    ----------
    model
        The network.
    geometries
        The layers; of several the units stand side by side, each read at the position nearest to the middle.
    size_px
        Side of the patches, px.
    precision
        ``torch.bfloat16`` runs the network under autocast; its parameters stay.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> centres = Centres(model, list(find_geometry(model, ["0"]).values()), size_px=5)
    >>> centres.read(torch.rand(2, 3, 5, 5)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        model: Model,
        geometries: Sequence[LayerGeometry],
        size_px: int,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.size_px, self.precision = model, size_px, precision
        self._shown_px = geometries[0].sides.at_least(size_px)[0]
        # Patches of one layer are of a size that is centred on one of its positions.
        is_alone = len(geometries) == 1
        positions = {own.layer: partial(_position, own, size_px, is_alone) for own in geometries}
        self._passes = CentredPasses(fitted(model, geometries[0].sides), positions)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why more than what is needed was computed, a sentence each."""
        return tuple(self._passes.notes)

    def per_pass(self, order: int = 1) -> int:
        """Patches for one pass: at least one stimulus under all of so many elements.

        Where outputs are large they run in pieces (`equiscope.models.passes`).
        """
        return max(order, _PIXELS_PER_PASS // self._shown_px**2)

    def read(self, patches: Tensor, order: int = 1) -> Tensor:
        """Read patches, shape (patch, 3, y, x), RGB; shape (patch, unit), activation units, on the CPU.

        Raises
        ------
        EquiscopeError
            As `Model.record`.
        """
        parts = []
        for some in torch.split(patches, self.per_pass(order)):
            is_cast = self.precision != torch.float32
            with torch.autocast(self.model.device.type, self.precision, enabled=is_cast):
                read = self._passes.read(some)
            parts.append(torch.cat([own.cpu() for own in read.values()], dim=1))
        return torch.cat(parts)


def _position(
    geometry: LayerGeometry, size_px: int, is_alone: bool, places: tuple[int, int]
) -> tuple[int, int]:
    """Position (y, x) that is read of a map of so many places."""
    if geometry.is_global:
        return places[0] // 2, places[1] // 2
    find: Callable[[int], tuple[int, int]] = (
        geometry.position_in_patch if is_alone else geometry.nearest_position
    )
    return find(size_px)
