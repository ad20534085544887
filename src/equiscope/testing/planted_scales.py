"""Layers wired alike from size to size: the same kernels, wider from layer to layer, to test a search for circuits."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equiscope.families.family import Family, Member, Symmetry, Unit
from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model
from equiscope.testing.planted_circuits import PlantedCircuits
from equiscope.transformations import Pose
from equiscope.transformations.scale import OCTAVES, Scale

__all__ = ["planted_scales"]

Floats = NDArray[np.float64]

_LAYERS = ("first", "second", "third", "fourth")
_N_FAMILIES = 8
_N_INVARIANT, _N_OTHERS = 2, 8
_INVARIANT, _OTHER = -1, -2
# Sizes of a family's two members in each layer about the layer's own, octaves, and how far each may lie from there.
_SIZES = (-0.3, 0.3)
_JITTER = 0.04
_KERNEL_SIZE_PX = 13
# Octaves of an input less its output's: each layer is an octave beyond the one before.
_RELATIVE = np.array([-1.6, -1.0, -0.4])
# Width of the Gaussian at octave 0, px, where cells are 2 px apart.
_WIDTH_PX = 2.8
_N_HARMONICS = 3
# Root mean square of kernels between families, with one unit that stays the same, and of all others: circuits stand
# out by their strength, too.
_BETWEEN, _WITH_UNIT, _UNTIED = 1.0, 1.5, 0.3


def planted_scales(seed: int = 0, *, noise: float = 0.0, is_tied: bool = True) -> PlantedCircuits:
    """Build four convolutions of stride 2, of which each is wired like the one before, an octave larger.

    Each layer has two members, 0.6 octaves apart, of each of eight families that span all layers, two units that are
    the same at all scales, and eight that are neither, whose weights are random. Channels are shuffled, and every unit
    has a gain of its own.

    Parameters
    ----------
    seed
        Draws templates, sizes, gains and noise, and shuffles the channels.
    noise
        Share of the energy of each kernel that is independent from weight to weight, in [0, 1].
    is_tied
        Whether there is anything to find. Otherwise every kernel is drawn on its own, of the same functions.

    Returns
    -------
    PlantedCircuits
        ``classes`` holds every pair of two different families (``equivariant→equivariant``), and every family with
        every unit in both directions, where a path leads.

    Raises
    ------
    EquiscopeError
        If the noise is not within [0, 1].

    Notes
    -----
    The kernel from a unit of octave a to one of octave b is ``psi(x / 2^b)`` (from a family to a unit that stays the
    same ``psi(x / 2^a)``), where psi, a random sum of circular
    harmonics under a Gaussian, depends on the two families and on ``a - b`` to the nearest of -1.6, -1 and -0.4.

    Examples
    --------
    >>> planted_scales().model.default_layers
    ('first', 'second', 'third', 'fourth')
    """
    if not 0 <= noise <= 1:
        raise EquiscopeError(
            f"noise {noise}: it is a share of the weights' energy, give a number from 0 to 1"
        )
    rng = np.random.default_rng(seed)
    family_of, octaves = _draw_units(rng)
    n_units = len(family_of)
    order = [rng.permutation(n_units) for _ in _LAYERS]
    templates = _draw(rng, n_units, n_units, 3)
    first = rng.normal(size=(n_units, 3, 3, 3)) / math.sqrt(27)
    stages: OrderedDict[str, nn.Module] = OrderedDict(first=_convolution(torch.from_numpy(first)))
    wires = _Wires(family_of, octaves, templates, noise, is_tied)
    for depth in range(1, len(_LAYERS)):
        stages[f"relu{depth}"] = nn.ReLU()
        weight = wires.draw_layer(depth, rng)
        shuffled = np.empty_like(weight)
        shuffled[order[depth][:, None], order[depth - 1]] = weight
        stages[_LAYERS[depth]] = _convolution(torch.from_numpy(shuffled))
    model = Model(nn.Sequential(stages).eval(), name="planted-scales", default_layers=_LAYERS)
    families, units = _survey(family_of, octaves, order)
    classes = _classes(families, units) if is_tied and noise < 1 else {}
    return PlantedCircuits(model, families, units, MappingProxyType(classes))


def _draw_units(rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Give every unit's family, shape (unit,), and octave, shape (layer, unit), in their unshuffled places."""
    families_of = [index for index in range(_N_FAMILIES) for _ in _SIZES]
    family_of = np.array(families_of + [_INVARIANT] * _N_INVARIANT + [_OTHER] * _N_OTHERS)
    octaves = np.full((len(_LAYERS), len(family_of)), np.nan)
    for depth in range(len(_LAYERS)):
        sizes = np.tile(_SIZES, _N_FAMILIES) + rng.uniform(-_JITTER, _JITTER, len(families_of))
        octaves[depth, : len(sizes)] = depth + sizes
    return family_of, octaves


@dataclass(frozen=True)
class _Wires:
    """What the kernels of all layers come from.

    ``family_of`` has shape (unit,), ``octaves`` (layer, unit) and ``templates`` (target, source, slot, harmonic, part),
    a slot being one of the relative sizes.
    """

    family_of: NDArray[np.int64]
    octaves: Floats
    templates: Floats
    noise: float
    is_tied: bool

    def draw_layer(self, depth: int, rng: np.random.Generator) -> Floats:
        """Draw the kernels into a layer, shape (target, source, y, x), in the units' unshuffled places."""
        n_units = len(self.family_of)
        weight = np.empty((n_units, n_units, _KERNEL_SIZE_PX, _KERNEL_SIZE_PX))
        for v in range(n_units):
            for u in range(n_units):
                strength, kernel = self._kernel(depth, u, v, rng)
                drawn = rng.normal(size=kernel.shape)
                drawn *= math.sqrt((kernel**2).mean() / (drawn**2).mean())
                weight[v, u] = strength * (math.sqrt(1 - self.noise) * kernel + math.sqrt(self.noise) * drawn)
        weight *= rng.uniform(0.9, 1.1, n_units)[:, None, None, None]
        weight *= math.sqrt(2 * n_units / (weight**2).sum())
        return weight

    def _kernel(self, depth: int, u: int, v: int, rng: np.random.Generator) -> tuple[float, Floats]:
        """Give the strength of a kernel from unit u to unit v, and the kernel, of unit mean square."""
        b, a = self.octaves[depth, v], self.octaves[depth - 1, u]
        to_family, from_family = self.family_of[v] >= 0, self.family_of[u] >= 0
        has_other = _OTHER in (self.family_of[v], self.family_of[u])
        can_tie = not has_other and (to_family or from_family)
        strength = _UNTIED if not can_tie else _BETWEEN if to_family and from_family else _WITH_UNIT
        # Against its own layer: there all cells are alike.
        size = 0.0 if not can_tie else b - depth if to_family else a - (depth - 1)
        slot = int(np.abs(a - b - _RELATIVE).argmin()) if to_family and from_family else 0
        # All members of a family share the template of the first.
        key = self.family_of[v] * 2 if to_family else v, self.family_of[u] * 2 if from_family else u, slot
        template = self.templates[key] if self.is_tied and can_tie else _draw(rng)
        return strength, _sampled(template, size)


def _draw(rng: np.random.Generator, *size: int) -> Floats:
    """Draw coefficients (harmonic, part) of templates."""
    return rng.normal(size=(*size, _N_HARMONICS, 2))


def _sampled(template: Floats, octaves: float) -> Floats:
    """Sample a template on cells of unit mean square, so large that an octave doubles it."""
    axis = (np.arange(_KERNEL_SIZE_PX) - (_KERNEL_SIZE_PX - 1) / 2) * 2.0
    y, x = np.meshgrid(-axis, axis, indexing="ij")
    place = (x + 1j * y) / (_WIDTH_PX * 2.0**octaves)
    envelope = np.exp(-(np.abs(place) ** 2) / 2)
    kernel = sum(
        (place**m / math.sqrt(math.factorial(m)) * (c + 1j * s)).real * envelope
        for m, (c, s) in enumerate(template)
    )
    return np.asarray(kernel / np.sqrt((kernel**2).mean()))


def _convolution(weight: Tensor) -> nn.Conv2d:
    # On "meta" torch draws no initial weights, so that its global random state stays as it is.
    n_out, n_in, size = weight.shape[:3]
    convolution = nn.Conv2d(n_in, n_out, size, stride=2, padding=size // 2, bias=False, device="meta")
    convolution.weight = nn.Parameter(weight.float())
    return convolution


def _survey(
    family_of: NDArray[np.int64], octaves: Floats, order: list[NDArray[np.int64]]
) -> tuple[tuple[Family, ...], tuple[Unit, ...]]:
    """Say what a survey would say."""
    families = []
    lines: dict[tuple[str, int], Symmetry] = {}
    for index in range(_N_FAMILIES):
        name = f"scale-{index + 1}"
        members = []
        for depth, layer in enumerate(_LAYERS):
            for unit in np.flatnonzero(family_of == index).tolist():
                channel = int(order[depth][unit])
                members.append(
                    Member(layer, channel, Pose({OCTAVES.name: float(octaves[depth, unit])}), 1.0, 1.0, 1.0)
                )
                lines[layer, channel] = Symmetry(Scale.name, "equivariant", name, 1.0, 0.0, 1)
        families.append(
            Family(
                name, tuple(_LAYERS), Scale.name, 1.0, 1.0, 1.0, 0.0,
                tuple(sorted(members, key=lambda m: (_LAYERS.index(m.layer), m.channel))),
                stabiliser=(Pose({OCTAVES.name: 0.0}),), margin=1.0,
            )
        )  # fmt: skip
    units = []
    for depth, layer in enumerate(_LAYERS):
        for unit in np.flatnonzero(family_of == _INVARIANT).tolist():
            lines[layer, int(order[depth][unit])] = Symmetry(Scale.name, "invariant", invariance=1.0)
        for unit in np.flatnonzero(family_of == _OTHER).tolist():
            lines[layer, int(order[depth][unit])] = Symmetry(Scale.name, "neither", invariance=0.0)
        units += [
            Unit(layer, channel, 0.0, 1.0, (lines[layer, channel],)) for channel in range(len(family_of))
        ]
    return tuple(families), tuple(units)


def _classes(families: tuple[Family, ...], units: tuple[Unit, ...]) -> dict[tuple[str, str], str]:
    still = [
        (unit.layer, f"{unit.layer}:{unit.channel}")
        for unit in units
        if unit.under(Scale.name).kind == "invariant"
    ]
    between = {(a.id, b.id): "equivariant→equivariant" for a in families for b in families if a is not b}
    # No weights lead into the first layer, and none out of the last.
    into = {
        (name, f.id): "invariant→equivariant"
        for layer, name in still
        for f in families
        if layer != _LAYERS[-1]
    }
    out = {
        (f.id, name): "equivariant→invariant"
        for layer, name in still
        for f in families
        if layer != _LAYERS[0]
    }
    return between | into | out
