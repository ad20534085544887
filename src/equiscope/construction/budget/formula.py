"""The article's formula for the share of weights that stays free, and what layers that are built with such shares have.

``predict_ratio(8, 0.5)`` is 1 - 7/8 · 0.5² = 0.78. `count_ratio` builds the layer and counts: its fields have whole
numbers of units and its kernels a basis, so that the counted share is a little other than the predicted one.
"""

from __future__ import annotations

from dataclasses import dataclass

from equiscope.construction.equivariant import Conv2d, Fields
from equiscope.foundations.errors import EquiscopeError

__all__ = ["CountedRatio", "count_ratio", "predict_ratio"]


def predict_ratio(
    copies: float,
    equivariant: float | tuple[float, float],
    invariant: float | tuple[float, float] = 0.0,
) -> float:
    """Predict the share of kernels that stay free between two layers.

    Parameters
    ----------
    copies
        K, copies in a family, at least 1.
    equivariant, invariant
        Shares of units in [0, 1]: one number for both layers, or (before, after).

    Returns
    -------
    float
        Free kernels over all kernels, in [1 / K, 1].

    Raises
    ------
    EquiscopeError
        If K is below 1, or shares are none.

    References
    ----------
    Olah et al., "Naturally Occurring Equivariance in Neural Networks", 2020, the section on the budget of parameters:
    the case without invariant units and with one share.

    Examples
    --------
    Half of the units in families of eight.

    >>> predict_ratio(8, 0.5)
    0.78125
    """
    e_in, e_out = equivariant if isinstance(equivariant, tuple) else (equivariant, equivariant)
    i_in, i_out = invariant if isinstance(invariant, tuple) else (invariant, invariant)
    if copies < 1 or min(e_in, e_out, i_in, i_out) < 0 or max(e_in + i_in, e_out + i_out) > 1 + 1e-9:
        raise EquiscopeError(
            f"{copies} copies with shares {equivariant} equivariant and {invariant} invariant: expected 1 copy or "
            "more, and shares from 0 to 1 together"
        )
    return 1 - (1 - 1 / copies) * (e_in * e_out + i_in * e_out + e_in * i_out)


@dataclass(frozen=True)
class CountedRatio:
    """Free weights of a convolution that was built, over those of its plain twin.

    Parameters
    ----------
    predicted
        Share of kernels that are free, by `predict_ratio`.
    kernels
        Share of kernels that are free in the layer: parameters over the coefficients that each kernel has.
    weights
        Share of weights that are free: the layer's parameters over the plain twin's.
    """

    predicted: float
    kernels: float
    weights: float


def count_ratio(
    group: str, width: int, kernel_size: int, *, equivariant: float, invariant: float = 0.0
) -> CountedRatio:
    """Build a convolution between two layers of one width and count its free weights.

    Parameters
    ----------
    group
        As in `equiscope.construction.equivariant.Fields`; K is its order.
    width
        Channels of both layers.
    kernel_size
        Side of the kernels, px.
    equivariant, invariant
        Shares of the channels; the others are plain and feed everything, as the article counts them.

    Notes
    -----
    A kernel is a number of weights, and turned kernels are band-limited: one of 5 px has 15 coefficients for C8 and
    C16, all 25 for C4. Kernels between invariant units do not change under rotation and have fewer still. So
    ``weights`` is below ``kernels``, which is what the formula counts.

    Examples
    --------
    >>> ratio = count_ratio("C4", 16, 3, equivariant=0.5, invariant=0.25)
    >>> ratio.kernels == ratio.predicted, ratio.weights < ratio.kernels
    (True, True)
    """
    fields = Fields.from_width(group, width, equivariant=equivariant, invariant=invariant)
    layer = Conv2d(fields, fields, kernel_size, bias=False, plain_to="all")
    sizes = {
        "invariant_to_invariant": layer.basis.n_fixed,
        "to_plain": kernel_size**2,
        "plain_to_tied": kernel_size**2,
    }
    kernels = sum(
        p.numel() / sizes.get(name, layer.basis.n_coefficients) for name, p in layer.named_parameters()
    )
    return CountedRatio(
        predict_ratio(
            fields.order, fields.n_field_channels / fields.n_channels, fields.invariant / fields.n_channels
        ),
        kernels / width**2,
        layer.n_free_parameters / layer.n_expanded_parameters,
    )
