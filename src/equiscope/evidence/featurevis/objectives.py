"""What an image is optimised for: the response of units at its centre, before the ReLU, with a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from equiscope.evidence.circuits.running import run_to
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted

__all__ = ["CentreResponses", "frozen", "redirected_rectifiers"]

_RECTIFIERS = frozenset(("relu", "relu_"))


class CentreResponses:
    """The responses of all units of a layer at the centre of square images.

    Parameters
    ----------
    model
        The network. It runs up to the layer and no further, forwards and backwards.
    geometry
        Of the layer.
    size_px
        Side of the images, px.

    Raises
    ------
    EquiscopeError
        If no position of the layer is centred in images of this size.
    """

    def __init__(self, model: Model, geometry: LayerGeometry, size_px: int) -> None:
        self._model = fitted(model, geometry.sides)
        self._layer = geometry.layer
        self._position = None if geometry.is_global else _position(geometry, size_px)

    def __call__(self, images: Tensor) -> Tensor:
        """Give the responses to images, shape (image, 3, y, x), as (image, unit), activation units.

        Raises
        ------
        EquiscopeError
            If a response is not finite.
        """
        maps = run_to(self._model, images.contiguous(memory_format=torch.channels_last), self._layer, {})
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise EquiscopeError(
                f"layer {self._layer!r} of {self._model.name} gives {shape}, expected (image, channel, y, x): "
                "name a convolutional layer"
            )
        row, column = self._position or ((maps.shape[2] - 1) // 2, (maps.shape[3] - 1) // 2)
        responses = maps[:, :, row, column]
        if not bool(torch.isfinite(responses).all()):
            channels = (~torch.isfinite(responses)).any(0).nonzero()[:, 0].tolist()
            raise EquiscopeError(
                f"layer {self._layer!r} of {self._model.name} gives NaN or infinity in channel(s) "
                f"{', '.join(map(str, channels[:8]))} for an image in [0, 1]: check the network's weights and its "
                "preprocessing"
            )
        return responses


def _position(geometry: LayerGeometry, size_px: int) -> tuple[int, int]:
    # Where no square is centred, position_in_patch says so.
    if size_px != geometry.patch_px and not geometry.is_centred(size_px):
        sizes = range(geometry.patch_px, size_px + 2 * geometry.patch_px)
        nearest = sorted(filter(geometry.is_centred, sizes), key=lambda size: abs(size - size_px))[:2]
        raise EquiscopeError(
            f"no position of layer {geometry.layer!r} is centred in an image of {size_px} px: take "
            f"{' or '.join(map(str, sorted(nearest)))} px, or leave size_px out"
        )
    return geometry.position_in_patch(size_px)


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Let no parameter ask for a gradient for the time of the block; each one's own flag is restored after it.

    Examples
    --------
    >>> from torch import nn
    >>> model = Model(nn.Conv2d(3, 2, 3))
    >>> with frozen(model):
    ...     any(parameter.requires_grad for parameter in model.module.parameters())
    False
    >>> all(parameter.requires_grad for parameter in model.module.parameters())
    True
    """
    with model.evaluating():
        for parameter in model.module.parameters():
            parameter.requires_grad_(False)
        yield


class redirected_rectifiers(TorchFunctionMode):  # noqa: N801 - used like a function
    """Let gradients pass rectifiers that are closed, where following them would open the rectifier.

    Values stay as they are, bit for bit. A unit all of whose inputs are off gets no gradient and its image would stay
    as it is; this leads out of there. Only ``relu`` is known, as a function or as a module.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in _RECTIFIERS or not args[0].requires_grad:
            return func(*args, **kwargs)
        x = args[0]
        is_in_place = name.endswith("_") or kwargs.get("inplace", args[1] if len(args) > 1 else False)
        # Copies, for what works in place must leave autograd what it needs.
        closed = x.clone().clamp(max=0)
        passed = closed - closed.detach()
        # The loss falls along the negative gradient.
        passed.register_hook(lambda gradient: gradient.clamp(max=0))
        output = torch.relu(x.clone()) + passed
        return x.copy_(output) if is_in_place else output
