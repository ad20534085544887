"""One budget for two networks: the same widths, the same free parameters, or the same multiply-adds.

A tied layer of 64 channels has fewer free parameters than a plain one. By ``widths`` its channels stay and it has fewer
parameters; by ``parameters`` or ``compute`` all widths are multiplied by the factor that makes them equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from equiscope.construction.equivariant import Colours, Fields
from equiscope.construction.equivariant.basis import kernel_basis
from equiscope.construction.training.descriptions import (
    Convolution,
    Description,
    Inception,
    Pool,
    branch_names,
    fields_of,
)
from equiscope.construction.training.network import blur_taps, space_before
from equiscope.construction.training.widths import resized
from equiscope.foundations.errors import EquiscopeError, unknown_name

__all__ = ["MATCHES", "Counts", "count", "match_budget"]

MATCHES = ("widths", "parameters", "compute")
# Factors on all widths that are looked through, and how finely around the best of them.
_SMALLEST, _LARGEST = 1 / 16, 16.0
_N_HALVINGS, _N_NEAR, _NEAR = 12, 12, 0.04
# By this factor at least a budget is missed that no widths reach; whole fields of small networks may miss by less.
_OUT_OF_REACH = 2.0
_AMOUNTS = {"parameters": "free parameters", "compute": "multiply-adds"}


@dataclass(frozen=True)
class Counts:
    """What a network costs.

    Attributes
    ----------
    free_parameters
        Numbers that training chooses, the classifier's among them, without what a whitened stem leaves out.
    expanded_parameters
        Weights and biases of the plain network that it is exported as; blurs are constants and do not count.
    multiply_adds
        Of the exported network for one image, convolutions and classifier, blurs too.
    side_px
        Side of that image, px.
    """

    free_parameters: int
    expanded_parameters: int
    multiply_adds: int
    side_px: int


def count(description: Description, side_px: int, n_classes: int) -> Counts:
    """Count a network's parameters and multiply-adds, without making it.

    Parameters
    ----------
    description
        The network.
    side_px
        Side of the images, px; an antialiased network takes the next side that fits.
    n_classes
        Number of classes.

    Raises
    ------
    EquiscopeError
        If a kernel is too small for its group.

    Examples
    --------
    >>> from equiscope.construction.training.architectures import describe_network
    >>> counts = count(describe_network("plain"), side_px=48, n_classes=100)
    >>> counts.free_parameters, counts.expanded_parameters
    (393252, 392268)
    """
    side_px = description.fit_side(side_px)
    tally, side, before = _Tally(description.plain_to), side_px, None
    for layer in description.layers:
        if isinstance(layer, Pool):
            if before is not None and description.is_antialiased:
                n_taps = blur_taps(side)
                tally.n_multiply_adds += before.n_channels * (n_taps * math.ceil(side / 2)) ** 2
            side = math.ceil(side / 2)
            continue
        entry = space_before(layer, before)
        if isinstance(layer, Convolution):
            if description.is_blurred and layer.stride > 1:
                n_channels = 3 if before is None else before.n_channels
                tally.n_multiply_adds += n_channels * ((2 * layer.stride + 1) * side) ** 2
            side = math.ceil(side / layer.stride)
            tally.add(entry, layer.fields, layer.kernel_px, side)
        else:
            for out in (layer.direct, layer.pooled):
                tally.add(entry, out, 1, side)
            for bottleneck, out, kernel_px in layer.reduced:
                tally.add(entry, bottleneck, 1, side)
                tally.add(bottleneck, out, kernel_px, side)
        if description.is_blurred:
            n_rectified = sum(fields.n_channels for fields in fields_of(layer))
            tally.n_multiply_adds += n_rectified * (3 * side) ** 2
        before = layer.fields
    if before is None:  # the description begins with a convolution
        raise TypeError(f"{description.name!r} has no layer with units")
    return Counts(
        tally.n_free + (before.n_units + 1) * n_classes,
        tally.n_expanded + (before.n_channels + 1) * n_classes,
        tally.n_multiply_adds + before.n_channels * n_classes,
        side_px,
    )


class _Tally:
    """Sums over convolutions, each with its normalisation."""

    def __init__(self, plain_to: str) -> None:
        self.n_free = self.n_expanded = self.n_multiply_adds = 0
        self._is_plain_to_all = plain_to == "all"

    def add(self, a: Fields | Colours, b: Fields, kernel_px: int, side_px: int) -> None:
        """Add a convolution from a to b whose output has this side."""
        basis, n_pixels = kernel_basis(b.group, kernel_px), kernel_px**2
        n, n_fixed = basis.n_coefficients, basis.n_fixed
        if isinstance(a, Colours):
            self.n_free += b.equivariant * 3 * n + b.invariant * n_fixed + b.plain * 3 * n_pixels
        else:
            # What `equiscope.construction.equivariant.Conv2d` has for each kind of input and output.
            self.n_free += b.equivariant * (a.equivariant * a.order + a.invariant) * n
            self.n_free += b.invariant * (a.equivariant * n + a.invariant * n_fixed)
            self.n_free += b.plain * a.n_channels * n_pixels
            self.n_free += b.n_tied_channels * a.plain * n_pixels * self._is_plain_to_all
        n_weights = a.n_channels * b.n_channels * n_pixels
        self.n_free += 2 * b.n_units
        self.n_expanded += n_weights + b.n_channels
        self.n_multiply_adds += n_weights * side_px**2


def match_budget(
    description: Description, reference: Description, by: str, side_px: int, n_classes: int
) -> Description:
    """Resize a network to the budget of another.

    Parameters
    ----------
    description, reference
        The network, and the one whose budget counts.
    by
        ``"widths"``: the channels of each convolution, by its name. ``"parameters"``: free parameters.
        ``"compute"``: multiply-adds. For the last two all widths are multiplied by one factor.
    side_px, n_classes
        As for `count`.

    Returns
    -------
    Description
        The same shares of equivariant, invariant and plain units in every layer, as nearly as whole fields allow; the
        network itself where it has the budget already.

    Raises
    ------
    EquiscopeError
        If ``by`` is unknown, widths are to be matched and layers have other names, or the budget is out of reach.

    Examples
    --------
    >>> from equiscope.construction.training.architectures import describe_network
    >>> plain, half = describe_network("plain"), describe_network("half")
    >>> matched = match_budget(half, plain, "parameters", side_px=48, n_classes=100)
    >>> [round(count(network, 48, 100).free_parameters / 1000) for network in (plain, half, matched)]
    [393, 72, 393]
    """
    if by not in MATCHES:
        raise unknown_name("match", by, MATCHES)
    if by == "widths":
        return _with_widths(description, reference)

    def amount(candidate: Description) -> int:
        counts = count(candidate, side_px, n_classes)
        return counts.free_parameters if by == "parameters" else counts.multiply_adds

    wanted = amount(reference)
    if amount(description) == wanted:
        return description
    best = _with_amount(description, amount, wanted)
    if abs(math.log(amount(best) / wanted)) > math.log(_OUT_OF_REACH):
        raise EquiscopeError(
            f"{description.name!r} cannot have the {wanted:,} {_AMOUNTS[by]} of {reference.name!r}: with all widths "
            f"times one factor from {_SMALLEST:g} to {_LARGEST:g} the nearest is {amount(best):,}; give a reference "
            "nearer to it in size"
        )
    return best


def _with_amount(description: Description, amount: Callable[[Description], int], wanted: int) -> Description:
    """Multiply all widths by the factor that comes nearest to an amount."""

    def at(factor: float) -> Description:
        return resized(description, lambda _name, n: max(1, round(n * factor)), description.name)

    low, high = math.log(_SMALLEST), math.log(_LARGEST)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        if amount(at(math.exp(middle))) < wanted:
            low = middle
        else:
            high = middle
    # Whole fields make the amount jump, not always upwards: the nearest of several factors about the crossing.
    near = [low + _NEAR * step / _N_NEAR for step in range(-_N_NEAR, _N_NEAR + 1)]
    return min((at(math.exp(f)) for f in near), key=lambda d: abs(math.log(amount(d) / wanted)))


def _with_widths(description: Description, reference: Description) -> Description:
    """Give every convolution the channels of the reference's of the same name."""
    own, other = _widths(description), _widths(reference)
    if own == other:
        return description
    if list(own) != list(other):
        different = sorted(set(own) ^ set(other))
        raise EquiscopeError(
            f"{description.name!r} and {reference.name!r} have different layers ({', '.join(different[:6])}), so their "
            "widths cannot be the same: match parameters or compute, or give both the same layers"
        )
    named = _by_own_name(description, other)
    return resized(description, lambda name, _n: named[name], description.name)


def _widths(description: Description) -> dict[str, int]:
    """Channels of every convolution; branches by number, because twins may have larger kernels in the same place."""
    widths: dict[str, int] = {}
    for layer in description.units:
        if isinstance(layer, Inception):
            for index, part in enumerate(layer.outputs):
                widths[f"{layer.name} branch {index}"] = part.n_channels
            for index, (bottleneck, _, _) in enumerate(layer.reduced):
                widths[f"{layer.name} bottleneck {index}"] = bottleneck.n_channels
        else:
            widths[layer.name] = layer.fields.n_channels
    return widths


def _by_own_name(description: Description, widths: dict[str, int]) -> dict[str, int]:
    """Rename numbered branches as `resized` names them."""
    named: dict[str, int] = {}
    for layer in description.units:
        if isinstance(layer, Inception):
            for index, part in enumerate(branch_names(layer)):
                named[f"{layer.name}.{part}"] = widths[f"{layer.name} branch {index}"]
            for index, (_, _, side) in enumerate(layer.reduced):
                named[f"{layer.name}.{side}x{side}_bottleneck"] = widths[f"{layer.name} bottleneck {index}"]
        else:
            named[layer.name] = widths[layer.name]
    return named
