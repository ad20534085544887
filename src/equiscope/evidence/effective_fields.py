"""How much of its receptive field a unit really looks at: where the gradient of its response lies.

The receptive field of a unit is every pixel that can change its response. Most of them can hardly: seen from the
middle, fewer and fewer paths lead through the network. The *effective* field is the smallest square about the middle
that holds 90 % of the energy of the gradient,

    energy(y, x)  =  sum over stimuli and colours of (d response / d pixel)²,

of the response before the ReLU, at the unit's strongest held-out stimuli. That of a layer is the one that is large
enough for nine of ten of its units. Example: units of GoogLeNet's mixed3b can be changed by 91 px, and
look at 49 px. Pictures that are cut so show what the units answer to, larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.evidence.circuits.running import run_to
from equiscope.foundations.errors import EquiscopeError
from equiscope.measurement.bank import cut_stimuli
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted
from equiscope.stimuli import ImageSet

__all__ = ["SHARE", "EffectiveField", "measure_effective_fields", "side_that_holds"]

Floats = NDArray[np.float64]

# Of the gradient's energy that the square holds: the rest is spread over a rim that is many times as large.
SHARE = 0.9
# Of the units, for whom the square is large enough: for all of them it would be that of the most scattered one.
_UNITS_SHARE = 0.9
# Units of a layer that are looked at, and stimuli of each.
_N_UNITS, _N_STIMULI = 64, 2
# Less than this is no picture; kernels of 3 px are shown with what is about them.
_LEAST_PX = 7
_PIXELS_PER_PASS = 500_000
_N_RESAMPLES = 1000


@dataclass(frozen=True)
class EffectiveField:
    """How large the units of a layer really see.

    Attributes
    ----------
    side_px
        Side of the smallest centred square that holds `SHARE` of the gradient's energy for nine of ten units, px; odd
        or even as the layer's patch is, so that both have one middle.
    low_px, high_px
        Its 95 % bootstrap interval over units, px; NaN for a single unit.
    n_units
        Units that it was measured on.
    """

    side_px: int
    low_px: float = nan
    high_px: float = nan
    n_units: int = 0


def side_that_holds(energy: Floats, share: float = SHARE) -> int:
    """Give the side of the smallest centred square that holds a share of a map's sum.

    Parameters
    ----------
    energy
        Shape (side, side), not negative.
    share
        In (0, 1].

    Returns
    -------
    int
        Odd where the map's own side is, even where it is even; that side itself where all of it is zero.

    Examples
    --------
    All of it lies within the middle three cells, 1 / 5 in the very middle.

    >>> energy = np.zeros((9, 9))
    >>> energy[4, 3:6] = 2.0, 1.0, 2.0
    >>> side_that_holds(energy), side_that_holds(energy, 0.15)
    (3, 1)
    """
    side = len(energy)
    total = float(energy.sum())
    for own in range(1 if side % 2 else 2, side, 2):
        rim = (side - own) // 2
        if total > 0 and float(energy[rim : rim + own, rim : rim + own].sum()) >= share * total:
            return own
    return side


@borrows_model
def measure_effective_fields(
    model: Model,
    images: ImageSet,
    geometries: Mapping[str, LayerGeometry],
    examples: Mapping[str, Examples],
    on_layer: Callable[[int], object] = lambda _: None,
) -> dict[str, EffectiveField]:
    """Measure the effective field of the units of each layer.

    Parameters
    ----------
    model, images
        The network, and the images of the survey.
    geometries, examples
        Geometry and strongest stimuli of each layer.
    on_layer
        Called with 1 after each layer.

    Returns
    -------
    dict
        By layer; without those that see the whole image, in which no unit fired, or through which no gradient comes.

    Notes
    -----
    A layer costs at most 128 passes of one patch, forwards and backwards.

    Examples
    --------
    A kernel of 9 px of which only the middle 3 px are not 0.

    >>> from equiscope import open_images
    >>> from equiscope.measurement.examples import collect_examples, split_halves
    >>> from equiscope.models.geometry import find_geometry
    >>> conv = torch.nn.Conv2d(3, 2, 9)
    >>> with torch.no_grad():
    ...     _ = conv.weight.zero_()[:, :, 3:6, 3:6].fill_(1.0)
    >>> model, images = Model(torch.nn.Sequential(conv)), open_images(max_side_px=96)
    >>> own = find_geometry(model, ["0"])
    >>> examples = collect_examples(model, images, own, split_halves(images.groups, 0), 2)
    >>> measure_effective_fields(model, images, own, examples)["0"].side_px, own["0"].patch_px
    (7, 9)
    """
    found = {}
    for layer, geometry in geometries.items():
        sides = _sides_px(model, images, geometry, examples[layer])
        if len(sides):
            found[layer] = _summary(sides, geometry.patch_px)
        on_layer(1)
    return found


def _summary(sides: Floats, patch_px: int) -> EffectiveField:
    """Sum the sides of units up, shape (unit,)."""
    rng = np.random.default_rng(0)
    drawn = np.quantile(sides[rng.integers(0, len(sides), (_N_RESAMPLES, len(sides)))], _UNITS_SHARE, axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(sides) > 1 else (nan, nan)
    wanted = max(float(np.quantile(sides, _UNITS_SHARE)), _LEAST_PX)
    # What lies between two sides gets the larger one.
    side = patch_px - 2 * int((patch_px - wanted) // 2)
    return EffectiveField(min(side, patch_px), float(low), float(high), len(sides))


def _sides_px(model: Model, images: ImageSet, geometry: LayerGeometry, examples: Examples) -> Floats:
    """Sides of some units' effective fields, shape (unit,), px; none where nothing can be measured."""
    if geometry.is_global:
        return np.zeros(0)
    fires = (examples.image[1] != NO_IMAGE) & (np.nan_to_num(examples.value[1]) > 0)
    active = np.flatnonzero(fires.any(1))
    chosen = active[
        np.unique(np.linspace(0, len(active) - 1, min(_N_UNITS, len(active))).round().astype(int))
    ]
    unit, rank = np.nonzero(fires[chosen][:, :_N_STIMULI])
    size_px = geometry.patch_px
    energy = np.zeros((len(chosen), size_px, size_px))
    per_pass = max(4, _PIXELS_PER_PASS // geometry.sides.at_least(size_px)[0] ** 2)
    try:
        for start in range(0, len(unit), per_pass):
            own, ranks = unit[start : start + per_pass], rank[start : start + per_pass]
            image, place = (part[1, chosen[own], ranks] for part in (examples.image, examples.position))
            patches = cut_stimuli(images, geometry, image, place, np.zeros(1), size_px)[:, 0]
            np.add.at(energy, own, _energies(model, geometry, patches, chosen[own]))
    except (EquiscopeError, RuntimeError):
        # A network whose answers have no gradient is shown with its whole receptive field.
        return np.zeros(0)
    return np.array([side_that_holds(own) for own in energy if own.any()], dtype=float)


def _energies(
    model: Model, geometry: LayerGeometry, patches: torch.Tensor, units: NDArray[np.int64]
) -> Floats:
    """Energy of the gradient of one unit's response to each patch, shape (patch, y, x)."""
    row, column = geometry.position_in_patch(geometry.patch_px)
    which = torch.as_tensor(units, device=model.device)
    # What hooks do in the backward pass is put back after it.
    with model.evaluating(), torch.enable_grad():
        output = run_to(fitted(model, geometry.sides), patches.requires_grad_(), geometry.layer, {})
        total = output[:, :, row, column].gather(1, which[:, None]).sum()
        (slope,) = torch.autograd.grad(total, patches)
    return np.asarray(slope.detach().double().square().sum(1).cpu().numpy())
