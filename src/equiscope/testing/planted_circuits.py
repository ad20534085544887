"""Two layers whose weights are tied between families that are known by hand, to test a search for circuits.

Weights are tied if the kernel between two members depends on their relative pose alone: ``W[a, b] = R_b psi(a - b)``,
with a kernel ``psi`` for each relative pose and the turn ``R_b`` by the output's pose. If a curve at 30° excites a line
at 50°, then a curve at 40° excites a line at 60° by the same kernel, turned by 10°.

Channels, shuffled by the seed:

=========  ==========================  ==========================
kind       ``"early"``                 ``"late"``
=========  ==========================  ==========================
family     nine curves                 eight units
family     seven lines, modulo 180°    six lines, modulo 180°
invariant  three isotropic units       three isotropic units
neither    four units                  four units
=========  ==========================  ==========================

Poses are irregular. All four blocks between families are ``equivariant→equivariant``, blocks from isotropic units
to families ``invariant→equivariant`` and from families to isotropic units ``equivariant→invariant``, each unit with
a template of its own. All other weights are random.

A kernel of 9 x 9 from input pose a to output pose b is ``psi(a - b)`` turned counter-clockwise by b, where psi is a
random sum of circular harmonics 0 to 3 under Gaussians of 1.1 and 1.3 px, each with a random sum of the harmonics
-3 to 3 of the difference of poses, and is sampled from its formula at the exact angle: ties are exact but for
sampling. Harmonics that a stabiliser forbids are left out. All tied blocks have one mean square weight, four times
that of the random weights. There is no padding and no bias: a patch as large as the receptive field (23 px, 31 px)
gives one position.

The first layer's units are copies of each other as pictures too. The second layer's are by their weights alone:
what they answer also depends on poses that the first layer does not have.

References
----------
Weiler, Hamprecht and Storath, "Learning steerable filters for rotation equivariant CNNs", 2018, section 2, for the
kernels; Olah, Cammarata, Voss, Schubert and Goh, "Naturally occurring equivariance in neural networks", 2020, for
the classes of circuits.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from equiscope.families.circle import equal_turns
from equiscope.families.family import Family, Member, Symmetry, Unit
from equiscope.foundations.errors import EquiscopeError
from equiscope.models.model import Model
from equiscope.testing.kernels import sample_harmonics, sample_kernel
from equiscope.testing.patterns import Pattern, arc, bar, half_edge, random_pattern, spot
from equiscope.transformations import Pose
from equiscope.transformations.pixels.colour import LUMA
from equiscope.transformations.rotation import ANGLE, Rotation

__all__ = ["PlantedCircuits", "planted_circuits"]

_KERNEL_SIZE_PX = 9
# Widths of the Gaussians, px. Of the energy of the third harmonic, which is the worst, no more than 0.3 % lies beyond
# the kernel's border or above the grid's highest frequency.
_WIDTHS_PX = (1.1, 1.3)
# Of the angle within a kernel, and of the difference of poses.
_HIGHEST_HARMONIC = 3
# Root mean square of kernels that are not tied over that of tied ones: circuits stand out in a trained network too.
_UNTIED_STRENGTH = 0.5


@dataclass(frozen=True)
class _Group:
    """Channels of a layer that are alike: a family, or units that are each on their own."""

    patterns: tuple[Pattern, ...]
    poses_deg: tuple[float, ...]
    stabiliser_order: int = 1
    kind: str = "equivariant"

    @property
    def size(self) -> int:
        return len(self.poses_deg)

    @property
    def poses(self) -> Tensor:
        return torch.deg2rad(torch.tensor(self.poses_deg, dtype=torch.float64))


def _family(pattern: Pattern, poses_deg: tuple[float, ...], stabiliser_order: int) -> _Group:
    return _Group((pattern,) * len(poses_deg), poses_deg, stabiliser_order)


def _single_units(patterns: tuple[Pattern, ...], kind: str) -> _Group:
    return _Group(patterns, (0.0,) * len(patterns), 1, kind)


# No pose of one layer stands in the other, gaps between neighbours are 9° to 88°, and two curves share a pose.
_LAYERS: dict[str, tuple[_Group, ...]] = {
    "early": (
        _family(arc(7.0, 2.0), (0.0, 31.0, 54.0, 97.0, 97.0, 141.0, 229.0, 283.0, 322.0), 1),
        _family(bar(2.2), (5.0, 40.0, 62.0, 83.0, 110.0, 150.0, 159.0), 2),
        _single_units((spot(1.6), spot(2.5), spot(4.0)), "invariant"),
        _single_units(tuple(random_pattern(i) for i in (0, 1, 3, 6)), "neither"),
    ),
    # What these show follows from their weights.
    "late": (
        _family(half_edge(2.5), (13.0, 72.0, 101.0, 168.0, 190.0, 217.0, 292.0, 338.0), 1),
        _family(bar(2.2), (11.0, 33.0, 70.0, 94.0, 121.0, 165.0), 2),
        _single_units((spot(2.5),) * 3, "invariant"),
        _single_units((random_pattern(0),) * 4, "neither"),
    ),
}


@dataclass(frozen=True)
class PlantedCircuits:
    """A network, what a survey would say about its units, and which weights are tied.

    Parameters
    ----------
    model
        The network. Its layers are ``model.default_layers``: ``"early"`` and ``"late"``.
    families
        Families under rotation, in each layer one without symmetry of its own and one of lines. Poses are degrees,
        counter-clockwise on screen, in [0, 360 / stabiliser_order).
    units
        One line about each unit of both layers.
    classes
        The class of every planted circuit, by the ids of its source and target: ids of families, or ``layer:channel``
        of invariant units. Empty where no weights are tied.
    """

    model: Model
    families: tuple[Family, ...]
    units: tuple[Unit, ...]
    classes: Mapping[tuple[str, str], str]


def planted_circuits(seed: int = 0, *, noise: float = 0.0, is_tied: bool = True) -> PlantedCircuits:
    """Build two convolutions, the second of which is wired alike from every member of a family to the next.

    Parameters
    ----------
    seed
        Draws the templates and the noise, and shuffles the channels.
    noise
        Share of the energy of each tied block that is independent from weight to weight, in [0, 1]. What one template
        can explain of the weights is then ``1 - noise``.
    is_tied
        Whether there is anything to find. Otherwise every kernel of those blocks is drawn on its own, of the same
        functions and the same energy.

    Returns
    -------
    PlantedCircuits

    Raises
    ------
    EquiscopeError
        If the noise is not within [0, 1].

    Examples
    --------
    >>> planted = planted_circuits()
    >>> [family.id for family in planted.families], len(planted.classes)
    (['early-rotation-0', 'early-rotation-1', 'late-rotation-0', 'late-rotation-1'], 16)
    """
    if not 0 <= noise <= 1:
        raise EquiscopeError(
            f"noise {noise}: it is a share of the weights' energy, give a number from 0 to 1"
        )
    generator = torch.Generator().manual_seed(seed)
    order = {
        layer: torch.randperm(sum(group.size for group in groups), generator=generator)
        for layer, groups in _LAYERS.items()
    }
    second = _late_weight(generator, noise, is_tied, order)
    model = Model(
        _network(_early_weight(order["early"]), second), "planted-circuits", default_layers=("early", "late")
    )
    early, late = (_ends(layer, groups, order[layer].tolist()) for layer, groups in _LAYERS.items())
    classes = _classes(early, late) if is_tied and noise < 1 else {}
    return PlantedCircuits(
        model, early.families + late.families, early.units + late.units, MappingProxyType(classes)
    )


def _early_weight(order: Tensor) -> Tensor:
    """Kernels of the first layer, shape (channel, 3, y, x)."""
    groups = _LAYERS["early"]
    kernels = [
        sample_kernel(p, pose) for g in groups for p, pose in zip(g.patterns, g.poses_deg, strict=True)
    ]
    weight = torch.empty(len(order), 3, *kernels[0].shape, dtype=torch.float64)
    luma = torch.tensor(LUMA, dtype=torch.float64)
    weight[order] = torch.stack(kernels)[:, None] * luma[:, None, None]
    return weight


def _late_weight(
    generator: torch.Generator, noise: float, is_tied: bool, order: Mapping[str, Tensor]
) -> Tensor:
    """Kernels of the second layer, shape (channel, channel of the first, y, x)."""
    rows = []
    for target in _LAYERS["late"]:
        row = []
        for source in _LAYERS["early"]:
            block = _block(source, target, generator, is_tied)
            if _circuit_class(source, target):
                # Of the block's own root mean square, so that its share is the same in every block.
                drawn = torch.randn(block.shape, generator=generator, dtype=torch.float64)
                drawn *= block.square().mean().sqrt() / drawn.square().mean().sqrt()
                block = math.sqrt(1 - noise) * block + math.sqrt(noise) * drawn
            row.append(block)
        rows.append(torch.cat(row, dim=1))
    weight = torch.cat(rows)
    # He's initialisation has this energy.
    weight *= math.sqrt(2 * len(weight) / weight.square().sum().item())
    shuffled = torch.empty_like(weight)
    shuffled[order["late"][:, None], order["early"]] = weight
    return shuffled


def _network(first: Tensor, second: Tensor) -> nn.Module:
    # On "meta" torch draws no initial weights, so that its global random state stays as it is.
    early, late = (
        nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], bias=False, device="meta") for w in (first, second)
    )
    for convolution, weight in ((early, first), (late, second)):
        convolution.weight = nn.Parameter(weight.float())
    return nn.Sequential(OrderedDict(early=early, relu=nn.ReLU(), late=late)).eval()


def _classes(early: _Ends, late: _Ends) -> dict[tuple[str, str], str]:
    """Class of the weights between the ends of tied groups, by their ids."""
    return {
        (source_id, target_id): found
        for target, target_ids in zip(_LAYERS["late"], late.ids, strict=True)
        for source, source_ids in zip(_LAYERS["early"], early.ids, strict=True)
        if (found := _circuit_class(source, target))
        for target_id in target_ids
        for source_id in source_ids
    }


def _circuit_class(source: _Group, target: _Group) -> str:
    """Class of the weights between two groups; empty where they are not tied."""
    kinds = source.kind, target.kind
    return "→".join(kinds) if "neither" not in kinds and "equivariant" in kinds else ""


@dataclass(frozen=True)
class _Ends:
    """What stands at one end of the second layer's weights, and how each group's members are called."""

    families: tuple[Family, ...]
    units: tuple[Unit, ...]
    ids: tuple[tuple[str, ...], ...]


def _ends(layer: str, groups: tuple[_Group, ...], order: list[int]) -> _Ends:
    families: list[Family] = []
    lines: dict[int, Symmetry] = {}
    ids = []
    first = 0
    for group in groups:
        channels = order[first : first + group.size]
        first += group.size
        if group.kind != "equivariant":
            for channel in channels:
                lines[channel] = Symmetry(
                    Rotation.name, group.kind, invariance=float(group.kind == "invariant")
                )
            ids.append(tuple(f"{layer}:{channel}" for channel in channels))
            continue
        name = f"{layer}-rotation-{len(families)}"
        members = sorted(zip(channels, group.poses_deg, strict=True))
        families.append(_as_family(name, layer, group, members))
        for channel in channels:
            lines[channel] = Symmetry(Rotation.name, "equivariant", name, 1.0, 0.0, group.stabiliser_order)
        ids.append((name,))
    units = tuple(Unit(layer, channel, 0.0, 1.0, (lines[channel],)) for channel in range(len(order)))
    return _Ends(tuple(families), units, tuple(ids))


def _as_family(name: str, layer: str, group: _Group, members: list[tuple[int, float]]) -> Family:
    period = 360 / group.stabiliser_order
    poses = sorted(pose for _, pose in members)
    gaps = [(after - before) % period for before, after in zip(poses, [*poses[1:], poses[0]], strict=True)]
    even = period / len(poses)
    return Family(
        id=name,
        layers=(layer,),
        transformation=Rotation.name,
        score=1.0,
        score_low=1.0,
        score_high=1.0,
        q_value=0.0,
        stabiliser=equal_turns(ANGLE.name, group.stabiliser_order),
        disagreement=Pose({ANGLE.name: 0.0}),
        phase_coherence=1.0,
        gap_deviation_deg=math.sqrt(sum((gap - even) ** 2 for gap in gaps) / len(gaps)),
        holes_deg=tuple(
            (pose, (pose + gap) % period) for pose, gap in zip(poses, gaps, strict=True) if gap > 1.5 * even
        ),
        duplicates=tuple(
            (u, v)
            for i, (u, a) in enumerate(members)
            for v, b in members[i + 1 :]
            if min((a - b) % period, (b - a) % period) < 7.5
        ),
        members=tuple(
            Member(layer, channel, Pose({ANGLE.name: pose}), 1.0, 1.0, 1.0) for channel, pose in members
        ),
    )


def _block(source: _Group, target: _Group, generator: torch.Generator, is_tied: bool) -> Tensor:
    """Kernels from one group to another, shape (target, source, y, x), of mean square 1 where they could be tied."""
    harmonics = torch.arange(_HIGHEST_HARMONIC + 1, dtype=torch.float64)
    characters = torch.arange(-_HIGHEST_HARMONIC, _HIGHEST_HARMONIC + 1, dtype=torch.float64)
    a, b = source.poses, target.poses
    shape = (len(_WIDTHS_PX), len(harmonics))

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, *shape, generator=generator, dtype=torch.complex128)

    kind = _circuit_class(source, target)
    if not kind or not is_tied:
        kernels = _sampled(draw(target.size, source.size))
    elif kind == "equivariant→equivariant":
        # A turn that leaves the target as it is turns its kernel and moves every input's relative pose.
        is_allowed = _returns(harmonics + characters[:, None], target) & _returns(characters, source)[:, None]
        template = draw(len(characters)) * is_allowed[:, None]
        relative = torch.exp(1j * characters * (a - b[:, None])[..., None])
        turn = torch.exp(-1j * harmonics * b[:, None, None, None])
        kernels = _sampled(torch.einsum("vuc,cwm->vuwm", relative, template) * turn)
    elif kind == "invariant→equivariant":
        template = draw(1, source.size) * _returns(harmonics, target)
        kernels = _sampled(template * torch.exp(-1j * harmonics * b[:, None, None, None]))
    else:
        template = draw(target.size, 1) * _returns(harmonics, source)
        kernels = _sampled(template * torch.exp(-1j * harmonics * a[:, None, None]))
    # One energy for each template: a unit's for single units.
    axes = {"invariant→equivariant": (0, 2, 3), "equivariant→invariant": (1, 2, 3)}.get(kind, (0, 1, 2, 3))
    kernels = kernels / kernels.square().mean(axes, keepdim=True).sqrt()
    return kernels if kind else _UNTIED_STRENGTH * kernels


def _returns(harmonics: Tensor, group: _Group) -> Tensor:
    """Which harmonics a turn by 360° / stabiliser_order leaves as they are."""
    return harmonics % group.stabiliser_order == 0


def _sampled(coefficients: Tensor) -> Tensor:
    return sample_harmonics(coefficients, _WIDTHS_PX, _KERNEL_SIZE_PX)
