"""How many multiplications a pass needs: what a layer costs on any machine, to the factor by which machines differ."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from equiscope.models.model import Model

__all__ = ["count_multiplications"]


def count_multiplications(model: Model, layers: Sequence[str], side_px: int) -> dict[str, int]:
    """Count the multiplications of all convolutions that run until each of some layers has its output.

    Parameters
    ----------
    model
        The network.
    layers
        Names of modules that run.
    side_px
        Side of the image, px.

    Returns
    -------
    dict
        By layer, for one image.

    Raises
    ------
    EquiscopeError
        If a layer does not exist, or never runs.

    Examples
    --------
    A kernel of 3 x 3 for 3 channels makes 27 multiplications at each of 6 x 6 positions of 4 channels.

    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    >>> count_multiplications(model, ["1", "2"], 8)
    {'1': 3888, '2': 4176}
    """
    total, found = 0, {}

    def count(module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            total += output[0].numel() * module.weight[0].numel()

    def read(layer: str, output: Tensor) -> Tensor:
        found[layer] = total
        return output[:1, :1, :1, :1]

    with ExitStack() as stack:
        for module in model.module.modules():
            stack.callback(module.register_forward_hook(count).remove)
        model.record(torch.zeros(1, 3, side_px, side_px), list(layers), read)
    return {layer: found[layer] for layer in layers}
