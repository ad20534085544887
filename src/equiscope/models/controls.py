"""Copies of a network in which there is nothing left to find."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math

import torch
from torch import nn

from equiscope.models.model import Model

__all__ = ["random_weights", "shuffled_kernels"]

_LOG = logging.getLogger(__name__)

# The base class of every convolution, which torch does not export under a public name.
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def shuffled_kernels(model: Model, seed: int = 0) -> Model:
    """Copy a model with the spatial positions of each kernel permuted.

    Every (output, input) slice of every convolution gets a permutation of its own, so it keeps its values
    and every unit its total weight from each input, while oriented structure is destroyed, within a slice
    and between the slices of a unit.

    Parameters
    ----------
    model
        Left as it is.
    seed
        Draws the permutations; the same on every device.

    Returns
    -------
    Model
        Same layers; 1x1 convolutions and all other parameters are unchanged.
    """
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, _CONVOLUTIONS) and part.weight[0, 0].numel() > 1:
                slices = part.weight.flatten(2)
                order = torch.rand(slices.shape, generator=generator).argsort(-1).to(slices.device)
                part.weight.copy_(slices.gather(-1, order).reshape(part.weight.shape))
    return dataclasses.replace(model, module=module, name=f"{model.name}-shuffled")


def random_weights(model: Model, seed: int = 0) -> Model:
    """Copy a model with fresh weights, as before any training.

    Convolutions and linear layers get He's normal initialisation and zero biases; every other module that
    can reset itself does (normalisation layers to the identity).

    Parameters
    ----------
    model
        Left as it is.
    seed
        Draws the weights; the same on every device.

    Returns
    -------
    Model
        Same layers. Parameters that no module can reset keep their values, and a warning names them.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equation 10.
    """
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(model.module)
    kept = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in module.named_modules():
            if isinstance(part, (*_CONVOLUTIONS, nn.Linear)):
                sd = math.sqrt(2 / part.weight[0].numel())
                part.weight.copy_(sd * torch.randn(part.weight.shape, generator=generator))
                if part.bias is not None:
                    part.bias.zero_()
            elif callable(reset := getattr(part, "reset_parameters", None)):
                reset()
            else:
                kept += [f"{name}.{own}".lstrip(".") for own, _ in part.named_parameters(recurse=False)]
    if kept:
        _LOG.warning("random weights of %s: no rule to reset %s", model.name, ", ".join(kept))
    return dataclasses.replace(model, module=module, name=f"{model.name}-random")
