"""One image for a whole family: a template that every member answers to at its own pose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.evidence.featurevis.ascent import climb
from equiscope.evidence.featurevis.objectives import CentreResponses, frozen
from equiscope.evidence.featurevis.parameterisation import FourierImages
from equiscope.evidence.featurevis.poses import Pose, canvas_px, poses_of, show_at_poses
from equiscope.evidence.featurevis.robustness import Robustness
from equiscope.evidence.featurevis.units import (
    SHIFT_STRIDES,
    START_CONTRAST,
    STEPS,
    generator_for,
    in_eight_bits,
    over_natural,
)
from equiscope.families.family import Family
from equiscope.foundations import limits
from equiscope.foundations.devices import keep_large_buffers
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.options import DEFAULTS, Options
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry, find_geometry
from equiscope.transformations.scale import OCTAVES

__all__ = ["FamilyVisualisation", "visualise_family"]

Floats = NDArray[np.float64]

# Noise images on which a member's scale is measured where no natural response is known.
_N_NOISE = 64


@dataclass(frozen=True)
class FamilyVisualisation:
    """One template for a family, and its copies at the members' poses.

    Attributes
    ----------
    family, transformation
        ``id`` of the family, and what it is a family under.
    layers, channels
        The members, in the family's order, shape (member,).
    template
        Tensor, shape (3, y, x), RGB in [0, 1]: the feature at pose 0 (of families of several sizes, at the largest).
    copies
        For each member the template at its pose, shape (3, y, x), as large as a stimulus of the member's layer.
    responses
        Response of each member to the copy at each member's pose, shape (member, pose), activation units, before the
        ReLU.
    natural
        Response of each member to its strongest natural stimulus, shape (member,); NaN where it is not known.
    scale
        What each member's response was divided by, shape (member,).
    null
        Responses of the members, each to its copy of a template that was optimised in the same way for wrong poses,
        shape (draw, member).
    same_pose
        Which poses count as the same, shape (member, member): duplicates of the family, and each with itself.
    steps, seed
        As they were asked for.
    """

    family: str
    transformation: str
    layers: tuple[str, ...]
    channels: NDArray[np.int64]
    template: Tensor
    copies: tuple[Tensor, ...]
    responses: Floats
    natural: Floats
    scale: Floats
    null: Floats
    same_pose: NDArray[np.bool_] = field(repr=False)
    steps: int
    seed: int

    @property
    def own(self) -> Floats:
        """Response of each member to the copy at its own pose, shape (member,)."""
        return np.asarray(self.responses.diagonal())

    @property
    def is_active(self) -> NDArray[np.bool_]:
        """Members that answer to their copy, shape (member,)."""
        return self.own > 0

    @property
    def ratio(self) -> Floats:
        """Response to the own copy as a multiple of that to the strongest natural stimulus, shape (member,)."""
        return over_natural(self.own, self.natural)

    @property
    def elsewhere(self) -> Floats:
        """Mean response after the ReLU to the copies at other poses, as a share of the own, shape (member,).

        NaN for a member that is not active or has no other pose to compare with.
        """
        rectified = np.where(self.same_pose, np.nan, self.responses.clip(min=0))
        n_others = (~self.same_pose).sum(1)
        is_measured = self.is_active & (n_others > 0)
        means = np.nansum(rectified, axis=1) / np.maximum(n_others, 1)
        return np.where(is_measured, means / np.where(is_measured, self.own, 1), np.nan)

    @property
    def is_best_at_own(self) -> NDArray[np.bool_]:
        """Members that answer to no copy at another pose more than to their own, shape (member,)."""
        others = np.where(self.same_pose, -np.inf, self.responses)
        return np.asarray(self.is_active & (self.own >= others.max(1)))

    @property
    def strength(self) -> float:
        """Mean over members of the response to the own copy, each divided by its scale: what was optimised."""
        return float((self.own / self.scale).mean())

    @property
    def null_strength(self) -> Floats:
        """The same of the templates for wrong poses, shape (draw,)."""
        return np.asarray((self.null / self.scale).mean(1))


@dataclass(frozen=True)
class _LayerMembers:
    """The members of a family in one layer."""

    responses: CentreResponses
    size_px: int
    robustness: Robustness
    members: NDArray[np.int64]
    channels: NDArray[np.int64]


def visualise_family(
    model: Model,
    family: Family,
    *,
    natural: Mapping[str, Floats] | None = None,
    geometries: Mapping[str, LayerGeometry] | None = None,
    steps: int = STEPS,
    n_null: int = 1,
    options: Options = DEFAULTS,
) -> FamilyVisualisation:
    """Find one image that, transformed by each member's pose, excites that member, for all members at once.

    Parameters
    ----------
    model
        The network. It is borrowed: everything about it is the same afterwards.
    family
        Of rotation, hue, reflection, contrast, dihedral, hue × rotation, scale or rotation × scale.
    natural
        For each layer the response to the strongest natural stimulus of each unit: `natural_responses`. A member's
        response is divided by it, so that each counts alike; where that of a member is not known or not above 0, those
        of all members by the standard deviations of their responses to noise.
    geometries
        Of the layers, where they are known; otherwise they are measured.
    steps
        Steps of the optimiser.
    n_null
        Further templates, optimised together with the first for wrong poses: those of the family dealt out to other
        members, and to both members of a pair the same one. Each costs as much as the family's own.
    options
        ``seed`` of the noise that images start from, of shifts, and of wrong poses; ``progress`` counts the steps.

    Raises
    ------
    EquiscopeError
        If a layer or channel of the family is not in the network, no step is asked for, or the network gives NaN.

    Examples
    --------
    >>> from equiscope.testing import planted_circuits
    >>> planted = planted_circuits()
    >>> visualise_family(planted.model, planted.families[0], steps=2).template.shape
    torch.Size([3, 23, 23])
    """
    limits.STEPS.check("steps", steps)
    limits.TEMPLATES.check("n_null", n_null)
    groups = _gather_all(model, family, geometries or {})
    keep_large_buffers()
    with frozen(model), options.progress(f"template of {family.id}", steps) as on_step:
        scale, best = _scales(model, family, groups, natural, options.seed)
        template = _Template(model, groups, poses_of(family), scale)
        assignments = _assign(family, n_null, options.seed)
        spectra = template.climb(assignments, steps, options.seed, on_step)
        whole, copies, every = template.measure(spectra)
    null = [every[1 + i][np.arange(family.size), a] for i, a in enumerate(assignments[1:])]
    return FamilyVisualisation(
        family.id, family.transformation, tuple(member.layer for member in family.members), family.channels, whole,
        copies, every[0], best, scale, np.stack(null) if null else np.zeros((0, family.size)), _same_poses(family),
        steps, options.seed,
    )  # fmt: skip


def _gather_all(model: Model, family: Family, known: Mapping[str, LayerGeometry]) -> list[_LayerMembers]:
    """Gather the members of each layer."""
    layers = list(dict.fromkeys(member.layer for member in family.members))
    model.resolve_layers(layers)
    missing = [layer for layer in layers if layer not in known]
    measured = find_geometry(model, missing) if missing else {}
    return [_gather(model, family, {**known, **measured}[layer]) for layer in layers]


def _same_poses(family: Family) -> NDArray[np.bool_]:
    """Which members share a pose, shape (member, member): duplicates, and each with itself."""
    is_same = np.eye(family.size, dtype=bool)
    places = {(member.layer, member.channel): i for i, member in enumerate(family.members)}
    for a, b in family.duplicates:
        for layer in dict.fromkeys(member.layer for member in family.members):
            i, j = places.get((layer, a)), places.get((layer, b))
            if i is not None and j is not None:
                is_same[i, j] = is_same[j, i] = True
    return is_same


def _gather(model: Model, family: Family, geometry: LayerGeometry) -> _LayerMembers:
    """Gather the members in one layer, with what is needed to measure them."""
    if geometry.is_global:
        raise EquiscopeError(
            f"layer {geometry.layer!r} sees the whole image, so its families have no template: leave it out"
        )
    members = [i for i, member in enumerate(family.members) if member.layer == geometry.layer]
    channels = [family.members[i].channel for i in members]
    if max(channels) >= geometry.n_channels:
        raise EquiscopeError(
            f"family {family.id} has channel {max(channels)} of {geometry.layer!r}, which has {geometry.n_channels} "
            f"channels in {model.name}: give the network that was surveyed"
        )
    return _LayerMembers(
        CentreResponses(model, geometry, geometry.patch_px),
        geometry.patch_px,
        Robustness(shift_px=max(geometry.stride_px) * SHIFT_STRIDES),
        np.array(members),
        np.array(channels),
    )


def _scales(
    model: Model,
    family: Family,
    groups: list[_LayerMembers],
    natural: Mapping[str, Floats] | None,
    seed: int,
) -> tuple[Floats, Floats]:
    """Scale of each member's responses, and its strongest natural response, NaN where that is not known."""
    best = np.array([(natural or {}).get(m.layer, {m.channel: np.nan})[m.channel] for m in family.members])
    if bool((best > 0).all()):
        return best, best
    spread = np.empty(family.size)
    for group in groups:
        canvas = FourierImages(group.size_px, group.size_px, group.size_px)
        generator = generator_for(seed, 0)
        noise = torch.stack([canvas.draw(generator, canvas.contrast) for _ in range(_N_NOISE)])
        with torch.no_grad():
            responses = group.responses(canvas.render(noise.to(model.device)))[:, group.channels]
        spread[group.members] = responses.std(0).double().cpu().numpy()
    # A member that noise leaves cold counts as it is.
    return np.where(spread > 0, spread, 1.0), best


def _assign(family: Family, n_null: int, seed: int) -> list[NDArray[np.int64]]:
    """For each template, which member's pose each member is shown: its own first, then wrong ones."""
    own = np.arange(family.size)
    rng = np.random.default_rng((seed, family.size))
    wrong = []
    for _ in range(n_null):
        dealt = rng.permutation(family.size)
        while family.size > 2 and bool((dealt == own).all()):
            dealt = rng.permutation(family.size)
        wrong.append(dealt if family.size > 2 else np.zeros(family.size, np.int64))
    return [own, *wrong]


class _Template:
    """Templates of a family as functions of their spectra, and what its members make of them."""

    def __init__(self, model: Model, groups: list[_LayerMembers], poses: list[Pose], scale: Floats) -> None:
        self._model, self._groups, self._poses = model, groups, poses
        self._scale = torch.from_numpy(scale).float().to(model.device)
        needed = []
        for group in groups:
            margin_px = group.robustness.margin_px(group.size_px)
            own = [poses[i] for i in group.members]
            needed.append(canvas_px(own, group.size_px + 2 * margin_px))
        # The feature at pose 0 and 0 octaves is as large as a stimulus of the layer of the largest member.
        largest = max(range(len(poses)), key=lambda i: poses[i].get(OCTAVES.name, 0.0))
        inner_px = next(group.size_px for group in groups if largest in group.members)
        side_px = max(*needed, inner_px)
        side_px += (side_px - inner_px) % 2
        self.canvas = FourierImages(side_px, side_px, inner_px)

    def climb(
        self, assignments: list[NDArray[np.int64]], steps: int, seed: int, on_step: Callable[[int], None]
    ) -> Tensor:
        """Optimise one template for each assignment of poses to members; spectra, one for each."""
        generators = [generator_for(seed, 1, i) for i in range(len(assignments))]
        spectra = torch.stack([self.canvas.draw(g, START_CONTRAST) for g in generators])
        # Shifts in (template, step, member); equal draws for all layers, scaled to each one's stride.
        changes = [
            torch.stack(
                [
                    torch.stack(
                        [
                            group.robustness.draw(generator_for(seed, 2, i, m), steps)
                            for m in group.members.tolist()
                        ]
                    )
                    for i in range(len(assignments))
                ]
            )
            for group in self._groups
        ]

        templates = np.arange(len(assignments))

        def objective(spectra: Tensor, step: int) -> Tensor:
            canvases = self.canvas.render(spectra)
            total = torch.zeros(len(assignments), device=self._model.device)
            for group, moved in zip(self._groups, changes, strict=True):
                view_px = group.size_px + 2 * group.robustness.margin_px(group.size_px)
                of_member = np.stack([a[group.members] for a in assignments])
                needed = np.unique(of_member)
                views = show_at_poses(canvases, [self._poses[i] for i in needed], view_px)
                # Turned colours may leave the gamut, but no picture can show them.
                views = views[templates[:, None], np.searchsorted(needed, of_member)].clamp(0, 1)
                shown = group.robustness.show(
                    views.flatten(0, 1), moved[:, :, step].flatten(0, 1), group.size_px
                )
                own = group.responses(shown).view(*views.shape[:2], -1)
                each = own[:, torch.arange(len(group.members)), group.channels]
                total = total + (each / self._scale[group.members]).sum(1)
            return total / len(self._poses)

        start = spectra.to(self._model.device)
        return climb(start, objective, steps, borrowing=self._model.evaluating, on_step=on_step)

    def measure(self, spectra: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Floats]:
        """Give the first template, its copies, and every member's response to every copy of each template.

        The responses have the shape (template, member, pose), activation units, to pictures in eight bits.
        """
        n_poses = len(self._poses)
        measured = np.empty((len(spectra), n_poses, n_poses))
        with torch.no_grad():
            canvases = in_eight_bits(self.canvas.render(spectra))
            for group in self._groups:
                for i, copies in enumerate(show_at_poses(canvases, self._poses, group.size_px)):
                    responses = group.responses(in_eight_bits(copies))[:, group.channels]
                    measured[i, group.members] = responses.T.double().cpu().numpy()
            shown = tuple(in_eight_bits(copy).cpu() for copy in self.show(canvases[:1]))
        return in_eight_bits(self.canvas.cut(canvases[0])).cpu(), shown, measured

    def show(self, canvases: Tensor) -> list[Tensor]:
        """Give the copies of the first canvas at each member's pose, each as large as its layer's stimuli."""
        copies: dict[int, Tensor] = {}
        for group in self._groups:
            shown = show_at_poses(canvases[:1], [self._poses[i] for i in group.members], group.size_px)[0]
            copies |= dict(zip(group.members.tolist(), shown, strict=True))
        return [copies[i] for i in range(len(self._poses))]
