"""Whether a layer, a block or a network of equivariant layers keeps what it promises, element by element.

Elements that move pixels onto pixels, as quarter turns do, must leave no error but rounding; others interpolate, and
their errors are measured.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from equiscope.construction.equivariant import Action
from equiscope.foundations.errors import EquiscopeError

__all__ = ["EquivarianceErrors", "Space", "assert_fields_equivariant"]

_LOG = logging.getLogger(__name__)


class Space(Protocol):
    """What a feature space can do: `equiscope.construction.equivariant.Fields` or `Colours`."""

    @property
    def action(self) -> Action:
        """The group and what its elements do."""

    @property
    def n_tied_channels(self) -> int:
        """Channels that keep a promise; they come first."""

    def transform(self, features: Tensor, element: int) -> Tensor:
        """Act with a group element."""


@dataclass(frozen=True)
class EquivarianceErrors:
    """Relative equivariance error of every element but the identity.

    Parameters
    ----------
    exact
        By the element's name, for those that move pixels onto pixels: quarter turns, mirrors, hue.
    interpolated
        By the element's name, for those that interpolate.
    """

    exact: dict[str, float]
    interpolated: dict[str, float]

    @property
    def largest_exact(self) -> float:
        """NaN if there is none."""
        return max(self.exact.values(), default=math.nan)

    @property
    def largest_interpolated(self) -> float:
        """NaN if there is none."""
        return max(self.interpolated.values(), default=math.nan)


def assert_fields_equivariant(
    module: nn.Module,
    inputs: Tensor,
    *,
    in_fields: Space | None = None,
    out_fields: Space | None = None,
    tolerance: float = 1e-10,
    interpolated_tolerance: float = math.inf,
    margin_px: float = 0.0,
) -> EquivarianceErrors:
    """Check that a module commutes with every element of its group, on its fields and invariant units.

    Parameters
    ----------
    module
        A layer, block or network. It is copied to float64 and evaluation mode.
    inputs
        Tensor, shape (image, channel, y, x), cast to float64.
    in_fields, out_fields
        The spaces before and after, by default of the first and last part that has any. An output (image, value) stays.
    tolerance, interpolated_tolerance
        Largest relative errors at elements that move pixels onto pixels, and at others, by default not judged.
    margin_px
        At elements that interpolate, how far the compared disc stays from the output's border, positions.

    Returns
    -------
    EquivarianceErrors
        Norm of the difference over that of the expected output about its mean in each channel and image; also logged.

    Raises
    ------
    AssertionError
        If an error is above its tolerance or not a number, shapes differ, or no tied channel could fail.
    EquiscopeError
        If the module has no spaces and none are given.

    Examples
    --------
    >>> from equiscope.construction.equivariant import Conv2d, Fields
    >>> layer = Conv2d(Fields("C4", equivariant=1), Fields("C4", equivariant=2), kernel_size=3)
    >>> list(assert_fields_equivariant(layer, torch.rand(1, 4, 7, 7)).exact)
    ['90°', '180°', '270°']
    """
    before, after = in_fields or _space(module, "in_fields"), out_fields or _space(module, "out_fields")
    action, inputs = before.action, inputs.detach().double()
    module = copy.deepcopy(module).double().eval()
    found = EquivarianceErrors({}, {})
    with torch.no_grad():
        upright = module(inputs)
        expect = after.transform if upright.ndim == 4 else _as_it_is
        for element in range(1, action.order):
            label, is_exact = action.label(element), action.is_exact(element)
            received, expected = module(before.transform(inputs, element)), expect(upright, element)
            error = _relative_error(received, expected, after, None if is_exact else margin_px, label)
            (found.exact if is_exact else found.interpolated)[label] = error
            _check_error(
                error, tolerance if is_exact else interpolated_tolerance, f"{label} of {action.name}"
            )
    return found


def _as_it_is(output: Tensor, _element: int) -> Tensor:
    return output


def _check_error(error: float, largest: float, where: str) -> None:
    _LOG.info("relative equivariance error %.3g at %s", error, where)
    if not error <= largest:
        raise AssertionError(
            f"relative equivariance error {error:.3g} at {where} is above the tolerance {largest:.3g}"
        )


def _space(module: nn.Module, name: Literal["in_fields", "out_fields"]) -> Space:
    """Find the space of the first or the last part of a module that has one; its own comes before."""
    if hasattr(module, name):
        own: Space = getattr(module, name)
        return own
    spaces: list[Space] = [getattr(part, name) for part in module.modules() if hasattr(part, name)]
    if not spaces:
        raise EquiscopeError(
            f"{type(module).__name__} has no part with {name}: give {name} a Fields, or check a network of "
            "equiscope.construction.equivariant"
        )
    return spaces[0 if name == "in_fields" else -1]


def _relative_error(
    received: Tensor, expected: Tensor, space: Space, margin_px: float | None, label: str
) -> float:
    """Relative error of the tied channels, within a disc if a margin is given."""
    if received.shape != expected.shape:
        raise AssertionError(
            f"at {label} the output has shape {tuple(received.shape)}, expected {tuple(expected.shape)}: the grid of "
            "positions does not turn with the input"
        )
    if expected.ndim == 4:
        height, width = expected.shape[-2:]
        received, expected = (part[:, : space.n_tied_channels].flatten(2) for part in (received, expected))
        if margin_px is not None:
            inside = _disc(height, width, margin_px)
            received, expected = received[..., inside], expected[..., inside]
        spread = (expected - expected.mean(-1, keepdim=True)).norm().item()
    else:
        spread = (expected - expected.mean()).norm().item()
    if not expected.numel() or spread <= 1e-12 * expected.norm().item():
        raise AssertionError(
            f"nothing can fail at {label}: the compared output of shape {tuple(expected.shape)} is empty or constant. "
            "Give inputs that excite the module, a smaller margin_px, or fields that are not plain alone"
        )
    error: float = (received - expected).norm().item() / spread
    return error


def _disc(height: int, width: int, margin_px: float) -> Tensor:
    """Which positions lie in the largest disc that keeps a margin, shape (y · x,)."""
    y, x = torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    return (torch.hypot(y[:, None], x[None, :]) <= (min(height, width) - 1) / 2 - margin_px).flatten()
