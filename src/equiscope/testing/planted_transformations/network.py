"""The planted network of a transformation, from the units that its recipe gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from equiscope.foundations.errors import unknown_name
from equiscope.models.model import Model
from equiscope.testing.planted_transformations import (
    brightness,
    contrast,
    dihedral,
    hue,
    hue_rotation,
    reflection,
    rotation,
    saturation,
    scale,
    stretch,
    up_down,
)
from equiscope.testing.planted_transformations.truth import PlantedOrbit, PlantedPose, PlantedTransformations
from equiscope.testing.planted_transformations.units import Recipe, UnitRecipe
from equiscope.transformations.brightness import Brightness
from equiscope.transformations.contrast import Contrast
from equiscope.transformations.dihedral import Dihedral
from equiscope.transformations.hue import Hue
from equiscope.transformations.hue_rotation import HueRotation
from equiscope.transformations.reflection import Reflection
from equiscope.transformations.rotation import Rotation
from equiscope.transformations.saturation import Saturation
from equiscope.transformations.scale import Scale
from equiscope.transformations.stretch import Stretch
from equiscope.transformations.up_down import UpDown

__all__ = ["planted_transformation"]

_RECIPES: Mapping[str, Callable[[], Recipe]] = {
    Rotation.name: rotation.recipe,
    Hue.name: hue.recipe,
    HueRotation.name: hue_rotation.recipe,
    Reflection.name: reflection.recipe,
    Dihedral.name: dihedral.recipe,
    Contrast.name: contrast.recipe,
    Scale.name: scale.recipe,
    UpDown.name: up_down.recipe,
    Brightness.name: brightness.recipe,
    Saturation.name: saturation.recipe,
    Stretch.name: stretch.recipe,
}


def planted_transformation(transformation: str, seed: int = 0) -> PlantedTransformations:
    """Build a network of analytic kernels whose families under one transformation are known.

    The modules of `equiscope.testing.planted_transformations` say which families, invariant units and look-alikes each
    network has.

    Parameters
    ----------
    transformation
        A name of `equiscope.transformations.surveyed_names`.
    seed
        Shuffles the channels; the kernels are the same for every seed.

    Returns
    -------
    PlantedTransformations
        The network and its truth.

    Raises
    ------
    EquiscopeError
        If the transformation is unknown.

    Notes
    -----
    A kernel is a pattern, of zero mean and unit norm under a round window, times a functional of RGB: Rec. 709
    luma, or a chroma coordinate of unit norm that is zero for every grey. All members of a family have one bias.
    There is no padding.

    Hue, reflection and contrast are exact but for the rounding of float32. Turned kernels are sampled from their
    formula at their own angles: on scenes with a spectrum of 1/f below 0.3 cycles per px, responses that should be
    one differ by no more than 0.001 of their standard deviation.

    Examples
    --------
    >>> planted = planted_transformation("reflection")
    >>> [(orbit.name, len(orbit.members)) for orbit in planted.orbits][-1]
    ('oblique curves', 2)
    """
    if transformation not in _RECIPES:
        raise unknown_name("planted transformation", transformation, _RECIPES)
    recipe = _RECIPES[transformation]()
    generator = torch.Generator().manual_seed(seed)
    order = {
        layer: torch.randperm(len(own), generator=generator).tolist() for layer, own in recipe.layers.items()
    }
    members = _members(recipe, order)
    placed = {layer: _placed(units, order[layer]) for layer, units in recipe.layers.items()}
    convolutions = {layer: _convolution(own) for layer, own in placed.items()}
    module = recipe.build(convolutions).eval()
    return PlantedTransformations(
        Model(module, name=f"planted-{transformation}", default_layers=tuple(recipe.layers)),
        tuple(
            PlantedOrbit(name, transformation, tuple(members[name]), stabiliser, name in recipe.faint)
            for name, stabiliser in recipe.stabilisers.items()
        ),
        {layer: tuple(c for c, unit in enumerate(own) if not unit.orbit) for layer, own in placed.items()},
        {layer: tuple(c for c, unit in enumerate(own) if unit.is_invariant) for layer, own in placed.items()},
        {layer: tuple(unit.kind for unit in own) for layer, own in placed.items()},
    )


def _placed(units: Sequence[UnitRecipe], order: Sequence[int]) -> list[UnitRecipe]:
    """Put units into the channels of an order."""
    return [unit for _, unit in sorted(zip(order, units, strict=True), key=lambda pair: pair[0])]


def _members(recipe: Recipe, order: Mapping[str, Sequence[int]]) -> dict[str, list[PlantedPose]]:
    """List the units of each orbit with their channels and poses, in the order of the recipe."""
    members: dict[str, list[PlantedPose]] = {name: [] for name in recipe.stabilisers}
    for layer, units in recipe.layers.items():
        for channel, unit in zip(order[layer], units, strict=True):
            if unit.orbit:
                members[unit.orbit].append(replace(unit.pose, layer=layer, channel=channel))
    return members


def _convolution(units: Sequence[UnitRecipe]) -> nn.Conv2d:
    """Build a convolution with one channel a unit, in the order given."""
    weight = torch.stack([unit.weight for unit in units])
    # On "meta" torch draws no initial weights, so that its global random state stays as it is.
    convolution = nn.Conv2d(3, len(units), weight.shape[-1], device="meta")
    convolution.weight = nn.Parameter(weight.float())
    convolution.bias = nn.Parameter(torch.tensor([unit.bias for unit in units]))
    return convolution
