"""The relative error of a claimed symmetry, computed in float64.

A function f is equivariant to g if ``f(g x) = g f(x)``. The error is the norm of the difference over that of ``g f(x)``
about its mean: 1e-16 for a ReLU under a mirror, 1 if nothing agrees. It is logged even when it is small enough.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["assert_equivariant"]

_LOG = logging.getLogger(__name__)

Map = Callable[[Tensor], Tensor]


def assert_equivariant(
    function: Map,
    transform_in: Map,
    transform_out: Map,
    inputs: Tensor,
    *,
    tolerance: float = 1e-9,
    margin_px: int = 0,
) -> float:
    """Check that ``function(transform_in(x))`` is ``transform_out(function(x))``.

    Parameters
    ----------
    function
        A map of float64 tensors; an ``nn.Module`` is copied to float64 and evaluation mode.
    transform_in, transform_out
        How the group element acts on inputs and on outputs; as the identity on outputs it tests invariance.
    inputs
        Tensor of any shape and type, cast to float64.
    tolerance
        Largest relative error that passes. Exact symmetries leave about 1e-15; a rotation that interpolates needs
        what its interpolation costs.
    margin_px
        Border of the last two axes of the output that is not compared: where content turned in from outside.

    Returns
    -------
    float
        Norm of the difference over the norm of ``transform_out(function(x))`` about its mean, so that a
        large constant cannot hide an error.

    Raises
    ------
    AssertionError
        If the error is above the tolerance or not a number, if the shapes differ, or if the output is
        constant, which would fit any transformation and therefore says nothing.

    Examples
    --------
    >>> images = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    >>> assert_equivariant(nn.ReLU(), lambda x: x.flip(3), lambda x: x.flip(3), images)
    0.0
    """
    if isinstance(function, nn.Module):
        function = copy.deepcopy(function).double().eval()
    inputs = inputs.detach().double()
    with torch.no_grad():
        received = function(transform_in(inputs))
        expected = transform_out(function(inputs))
    _check_shapes(received, expected)
    if margin_px:
        inside = (..., slice(margin_px, -margin_px), slice(margin_px, -margin_px))
        received, expected = received[inside], expected[inside]
    error = _relative_error(received, expected)
    _LOG.info("relative equivariance error %.3g (tolerance %.3g)", error, tolerance)
    if not error <= tolerance:
        raise AssertionError(
            f"relative equivariance error {error:.3g} is above the tolerance {tolerance:.3g}"
        )
    return error


def _check_shapes(received: Tensor, expected: Tensor) -> None:
    if received.shape != expected.shape:
        raise AssertionError(
            f"function(transform_in(x)) has shape {tuple(received.shape)}, transform_out(function(x)) has "
            f"{tuple(expected.shape)}: the two must be comparable"
        )


def _relative_error(received: Tensor, expected: Tensor) -> float:
    """Norm of the difference over that of what was expected about its mean; refuses what is constant."""
    scale = (expected - expected.mean()).norm().item() if expected.numel() else 0.0
    if scale <= 1e-12 * expected.norm().item():
        raise AssertionError(
            f"the compared output of shape {tuple(expected.shape)} is constant, so it would pass under any "
            "transformation: give inputs that excite the function, or a smaller margin_px"
        )
    error: float = (received - expected).norm().item() / scale
    return error
