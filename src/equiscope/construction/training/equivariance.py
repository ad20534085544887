"""How far a trained network keeps what its groups promise, layer by layer.

An image is turned by an element of a layer's group, and the layer's response is compared with its response to the image
as it is, turned and with its channels moved. The relative error is the root mean square of the difference over the
deviation of the response: 0 but for rounding at quarter turns, and what the pixels leave at other angles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil, nan, sqrt

import torch
from torch import Tensor, nn

from equiscope.construction.equivariant import Colours, Fields
from equiscope.construction.training.descriptions import Convolution, Description, Inception, Pool
from equiscope.construction.training.network import DesignedNetwork
from equiscope.transformations.pixels.turning import crop_around

__all__ = ["LayerEquivariance", "measure_equivariance"]

# Images a pass.
_PER_PASS = 64
# Between the disc that is shown and the mean colour around it, px.
_EDGE_PX = 4.0


@dataclass(frozen=True)
class LayerEquivariance:
    """Relative equivariance error of a layer's fields and invariant units.

    Attributes
    ----------
    layer, group
        Names.
    exact
        At elements that move pixels onto pixels: quarter turns, mirrors, hue. Rounding alone is 1e-6. NaN if the group
        has none.
    between
        At the other rotations; NaN if the group has none. Far from 0, units differ in more than their angle.
    n_images
        Images that were turned.
    """

    layer: str
    group: str
    exact: float
    between: float
    n_images: int


def measure_equivariance(network: DesignedNetwork, images: Tensor) -> tuple[LayerEquivariance, ...]:
    """Turn images about their centre, and compare the units that stand there with what their group promises.

    Parameters
    ----------
    network
        The network. It is run in evaluation mode and left as it is.
    images
        Standardised, shape (image, 3, y, x), on the network's device: such as it was trained for.

    Returns
    -------
    tuple of LayerEquivariance
        For each layer with fields or invariant units. Root mean square, over images, units and elements g, of
        ``r(g x) - g r(x)``, over that of ``r`` about each unit's mean over images and elements; r is the response
        after the ReLU.

    Notes
    -----
    Images are continued by reflection to a side on which every layer has a unit in the middle, and shown in a disc, so
    that all angles have the same border. A network is equivariant to rotations finer than quarter turns only as far as
    its grids hold the detail that its units make: every layer adds to the error (docs/equivariant.md).

    Examples
    --------
    Quarter turns move pixels onto pixels, and the other turns of C8 do not.

    >>> network = DesignedNetwork(Description("small", (Convolution("conv1", Fields("C8", 4), 5),), True), 2)
    >>> images = torch.randn(8, 3, 21, 21, generator=torch.Generator().manual_seed(0))
    >>> (error,) = measure_equivariance(network, images)
    >>> error.exact < 1e-4 < error.between
    True
    """
    description = network.description
    layers = [layer for layer in description.units if layer.fields.n_tied_channels]
    if not layers:
        return ()
    side_px = _side_with_centres(description, max(images.shape[-2:]))
    discs = _discs(images, side_px)
    spaces: dict[str, Fields | Colours] = {}
    for layer in layers:
        group = layer.fields.group
        is_hue = layer.fields.action.n_hues > 1
        spaces[group] = Colours(group) if is_hue else Fields(group, invariant=3)
    with _Centres(network, [layer.name for layer in layers]) as run:
        upright = run(discs)
        errors = _square_errors(run, discs, layers, spaces, upright)
    spread = {layer.name: _spread(upright[layer.name], layer.fields) for layer in layers}
    return tuple(
        LayerEquivariance(
            layer.name,
            layer.fields.group,
            _relative(errors[layer.name][True], spread[layer.name]),
            _relative(errors[layer.name][False], spread[layer.name]),
            len(images),
        )
        for layer in layers
    )


def _square_errors(
    run: Callable[[Tensor], dict[str, Tensor]],
    discs: Tensor,
    layers: Sequence[Convolution | Inception],
    spaces: Mapping[str, Fields | Colours],
    upright: Mapping[str, Tensor],
) -> dict[str, dict[bool, list[float]]]:
    """Mean square errors of each layer, one an element of its group: True those that move pixels onto pixels."""
    errors: dict[str, dict[bool, list[float]]] = {layer.name: {True: [], False: []} for layer in layers}
    for group, space in spaces.items():
        own = [layer for layer in layers if layer.fields.group == group]
        for element in range(1, space.action.order):
            received = run(space.transform(discs, element))
            is_exact = space.action.is_exact(element)
            for layer in own:
                expected = _moved(upright[layer.name], layer.fields, element)
                n_tied = layer.fields.n_tied_channels
                difference = received[layer.name][:, :n_tied] - expected[:, :n_tied]
                errors[layer.name][is_exact].append(difference.square().mean().item())
    return errors


def _side_with_centres(description: Description, least_px: int) -> int:
    """Smallest side on which every layer has an odd number of positions, px."""

    def has_centres(side: int) -> bool:
        for layer in description.layers:
            if side % 2 == 0:
                return False
            if isinstance(layer, Pool):
                side = ceil(side / 2)
            elif isinstance(layer, Convolution):
                side = ceil(side / layer.stride)
        return side % 2 == 1

    sides = (description.fit_side(side) for side in range(least_px, least_px + 4096))
    return next(side for side in sides if has_centres(side))


def _discs(images: Tensor, side_px: int) -> Tensor:
    """Discs of images on the mean colour, which is 0, shape (image, 3, side, side)."""
    height, width = images.shape[-2:]
    squares, _, _ = crop_around(images, ((height - 1) / 2, (width - 1) / 2), side_px)
    axis = torch.arange(side_px, device=images.device) - (side_px - 1) / 2
    inside = (side_px - 1) / 2 - torch.hypot(axis[:, None], axis[None, :])
    return squares * (inside / _EDGE_PX).clamp(0, 1)


class _Centres:
    """Runs a network and gives, for some of its layers, the responses in the middle, shape (image, channel)."""

    def __init__(self, network: DesignedNetwork, names: Sequence[str]) -> None:
        self.network, self.names = network, names
        self.stack = ExitStack()
        self.seen: dict[str, list[Tensor]] = {}

    def __enter__(self) -> Callable[[Tensor], dict[str, Tensor]]:
        """Watch the layers, in evaluation mode."""
        for name in self.names:
            handle = self.network.layers[name].register_forward_hook(self._note(name))
            self.stack.callback(handle.remove)
        self.stack.callback(self.network.train, self.network.training)
        self.network.eval()
        return self.run

    def __exit__(self, *_: object) -> None:
        """Leave the network as it was."""
        self.stack.close()

    def _note(self, name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            y, x = (side // 2 for side in output.shape[-2:])
            self.seen[name].append(output[:, :, y, x].float())

        return note

    @torch.no_grad()
    def run(self, images: Tensor) -> dict[str, Tensor]:
        """Give the responses of each layer."""
        self.seen = {name: [] for name in self.names}
        for part in torch.split(images, _PER_PASS):
            self.network(part)
        return {name: torch.cat(parts) for name, parts in self.seen.items()}


def _moved(values: Tensor, fields: Fields, element: int) -> Tensor:
    """Act with an element on responses at the centre of rotation, shape (image, channel)."""
    if not fields.equivariant:
        return values
    n = fields.n_field_channels
    source = fields.action.relative[element].to(values.device)
    turned = torch.unflatten(values[:, :n], 1, (-1, fields.order))[:, :, source].flatten(1)
    return torch.cat([turned, values[:, n:]], dim=1)


def _spread(values: Tensor, fields: Fields) -> float:
    """Mean square of the tied channels about their unit's mean."""
    n, n_tied = fields.n_field_channels, fields.n_tied_channels
    in_fields = torch.unflatten(values[:, :n], 1, (-1, fields.order)) if n else values[:, :0]
    parts = [
        (in_fields - in_fields.mean((0, 2), keepdim=True)).flatten() if n else values[:, :0].flatten(),
        (values[:, n:n_tied] - values[:, n:n_tied].mean(0)).flatten(),
    ]
    return torch.cat(parts).square().mean().item()


def _relative(squares: Sequence[float], spread: float) -> float:
    return sqrt(sum(squares) / len(squares) / spread) if squares and spread > 0 else nan
