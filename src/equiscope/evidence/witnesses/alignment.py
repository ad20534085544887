"""The weights into the members of a family, each turned back to pose 0, as vectors that can be compared.

If v is u moved by g, then v's kernels are u's moved by g, from inputs that are moved by g. Moved back by its own pose,
every member's weights are then the same. Two members are as alike as the cosine of these vectors says: 1 for exact
copies, about 0 for units that merely answer at related poses.

In a first layer the inputs are the colours of the image: a turn of the plane turns the kernel, a turn of hue turns its
colours, and whatever else a transformation does to pictures it does to kernels. In a later layer they are units. Those
of a family that turns along stand at poses relative to the member's: weights are put onto a grid of relative poses, and
two members are compared where both have inputs near. Units that the transformation leaves as they are count one by one;
so do those that are pairs under a mirror or an inversion, where a member that is switched takes the partner. All other
inputs cannot be moved, so nothing can be said of what comes from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.evidence.circuits.ends import End, family_end
from equiscope.evidence.circuits.harmonics import KernelBasis, fitted_basis, rotating_basis
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.families.family import Family
from equiscope.foundations.statistics import circular_difference_deg
from equiscope.transformations import Axis, Pose, act_on, alone, find
from equiscope.transformations.axes import Switch
from equiscope.transformations.hue import HUE
from equiscope.transformations.pixels.colour import hue_matrix
from equiscope.transformations.reflection import MIRRORED
from equiscope.transformations.rotation import ANGLE

__all__ = ["Aligned", "ImageWeights", "InputWeights", "join_aligned", "moved_axes"]

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Steps of the grid of relative poses, and how near an input must be to count: natural units are tuned to a sixth of a
# turn of the plane, and more broadly in hue.
_N_ANGLES, _N_HUES = 24, 12
_ANGLE_WIDTH_DEG, _HUE_WIDTH_DEG = 12.0, 25.0
# Pictures of kernels are so faint about grey that no transformation clips them.
_GREY, _FAINT = 0.5, 0.1
# Kernels up to this side are written in as many functions as they have cells.
_SMALL_CELLS = 13


@dataclass(frozen=True)
class Aligned:
    """The weights of some units, moved back by their poses.

    Attributes
    ----------
    vectors
        Weights at every place of comparison, each times the unit's cover there, shape (unit, coefficient).
    shown
        Energy of the weights at each place, times the cover, shape (unit, place).
    cover
        How near the unit has inputs to each place, in [0, 1], shape (unit, place).
    compared
        Energy of each unit's weights from inputs near which the others have one, shape (unit,).
    energy
        Energy of the weights from all inputs, shape (unit,).
    """

    vectors: Complex
    shown: Floats
    cover: Floats
    compared: Floats
    energy: Floats

    @property
    def likeness(self) -> Floats:
        """Cosine of every two units over the places that both have inputs near, shape (unit, unit), in [-1, 1].

        Examples
        --------
        >>> Aligned(np.eye(2) + 0j, np.eye(2), np.ones((2, 2)), np.ones(2), np.ones(2)).likeness.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        common = self.shown @ self.cover.T
        scale = np.sqrt(np.maximum(common * common.T, 1e-60))
        return np.asarray((self.vectors @ self.vectors.conj().T).real / scale)

    @property
    def tested(self) -> float:
        """Share of the energy of all inputs that could be compared with those of another unit.

        Examples
        --------
        >>> one = np.ones((2, 1))
        >>> Aligned(one + 0j, one, one, np.array([3.0, 3.0]), np.array([4.0, 4.0])).tested
        0.75
        """
        return float(self.compared.sum() / max(float(self.energy.sum()), 1e-60))


def _are_turned(transformation: str) -> bool:
    """Whether kernels of the image are moved back in functions that turn, and not as pictures."""
    return set(find(transformation).axes) <= {ANGLE, HUE, MIRRORED}


def join_aligned(parts: Sequence[Aligned]) -> Aligned:
    """Join what comes from several layers.

    Examples
    --------
    >>> one = Aligned(np.ones((2, 3), complex), np.ones((2, 1)), np.ones((2, 1)), np.ones(2), np.ones(2))
    >>> join_aligned([one, one]).vectors.shape
    (2, 6)
    """
    return Aligned(
        np.concatenate([part.vectors for part in parts], axis=1),
        np.concatenate([part.shown for part in parts], axis=1),
        np.concatenate([part.cover for part in parts], axis=1),
        np.sum([part.compared for part in parts], axis=0),
        np.sum([part.energy for part in parts], axis=0),
    )


def _one_by_one(weights: Complex) -> Aligned:
    """Weights from inputs that stay as they are: each is its own place, which all units have."""
    n = len(weights)
    energy = (np.abs(weights.reshape(n, -1)) ** 2).sum(1)
    return Aligned(weights.reshape(n, -1), energy[:, None], np.ones((n, 1)), energy, energy)


class ImageWeights:
    """Kernels that read the image.

    Parameters
    ----------
    kernels
        Of the units of a first layer, shape (unit, 3, y, x).

    Examples
    --------
    A kernel, and itself a quarter turn further.

    >>> kernel = np.random.default_rng(0).normal(size=(3, 5, 5))
    >>> weights = ImageWeights(np.stack([kernel, np.rot90(kernel, axes=(1, 2))]))
    >>> aligned = weights.align([0, 1], [{"angle_deg": 10.0}, {"angle_deg": 100.0}], "rotation")
    >>> round(float(aligned.likeness[0, 1]), 6)
    1.0
    """

    def __init__(self, kernels: NDArray[Any]) -> None:
        self._kernels, basis = kernels, _image_basis(kernels)
        self._basis, self._orders = basis, basis.orders
        self._coefficients = basis.coefficients(kernels.reshape(*kernels.shape[:2], -1).astype(np.float64))

    def align(self, channels: Sequence[int], poses: Sequence[Pose], transformation: str) -> Aligned:
        """Move the kernels of some units back by poses; a unit is mirrored before it is turned."""
        chosen = np.asarray(channels)
        if not _are_turned(transformation):
            moved = _moved_as_pictures(self._kernels[chosen], poses, transformation)
            return _one_by_one(moved.reshape(len(moved), -1).astype(complex))
        return _one_by_one(self._moved_back(chosen, poses))

    def kernels(self, channels: Sequence[int]) -> NDArray[Any]:
        """Give the kernels of some units as they are, shape (unit, 3, y, x)."""
        return np.asarray(self._kernels[np.asarray(channels)])

    def kernels_moved_back(
        self, channels: Sequence[int], poses: Sequence[Pose], transformation: str
    ) -> NDArray[Any]:
        """Give the kernels of some units moved back by poses, shape (unit, 3, y, x): of exact copies all are the same.

        Examples
        --------
        >>> kernel = np.random.default_rng(0).normal(size=(3, 5, 5))
        >>> weights = ImageWeights(np.stack([kernel, np.rot90(kernel, axes=(1, 2))]))
        >>> poses = [Pose(angle_deg=10.0), Pose(angle_deg=100.0)]
        >>> one, other = weights.kernels_moved_back([0, 1], poses, "rotation")
        >>> np.allclose(one, other)
        True
        """
        chosen = np.asarray(channels)
        if not _are_turned(transformation):
            return _moved_as_pictures(self._kernels[chosen], poses, transformation)
        moved = self._basis.kernels(self._moved_back(chosen, poses))
        return moved.reshape(*moved.shape[:2], *self._kernels.shape[2:])

    def _moved_back(self, chosen: NDArray[np.int64], poses: Sequence[Mapping[str, float]]) -> Complex:
        """Coefficients of kernels moved back by poses, shape (unit, 3, function)."""
        hues = np.stack([hue_matrix(pose.get(HUE.name, 0.0)).numpy() for pose in poses])
        coefficients = np.einsum("ucd,ucf->udf", hues, self._coefficients[chosen])
        angles = np.radians([pose.get(ANGLE.name, 0.0) for pose in poses])
        coefficients = coefficients * np.exp(1j * angles[:, None, None] * self._orders)
        is_mirrored = np.array([bool(pose.get(MIRRORED.name, False)) for pose in poses])
        coefficients[is_mirrored] = _switched(MIRRORED, coefficients[is_mirrored], self._orders)
        return np.asarray(coefficients)


def _moved_as_pictures(kernels: NDArray[Any], poses: Sequence[Pose], transformation: str) -> Floats:
    """Move kernels to the lowest of some poses as their transformation moves pictures of them on grey, square."""
    own, side_px = find(transformation), max(kernels.shape[2:])
    lowest = Pose({axis.name: min(pose[axis.name] for pose in poses) for axis in own.axes})
    moved = []
    for kernel, pose in zip(kernels, poses, strict=True):
        crop_px = own.crop_px_at(pose, [lowest], side_px)
        crop_px += (crop_px - side_px) % 2
        # As many cells around the kernel on all sides, which end it in grey.
        margins = [(crop_px - side) / 2 for side in kernel.shape[1:]]
        before = [math.floor(margin) for margin in margins]
        picture = torch.full((3, crop_px, crop_px), _GREY, dtype=torch.float64)
        rows, columns = (slice(b, b + n) for b, n in zip(before, kernel.shape[1:], strict=True))
        scale = _FAINT / max(float(np.abs(kernel).max()), 1e-30)
        picture[:, rows, columns] += torch.from_numpy(scale * kernel.astype(np.float64))
        y, x = (b + (n - 1) / 2 for b, n in zip(before, kernel.shape[1:], strict=True))
        shown, blank = (
            own.show_at(drawn, (y, x), pose, [lowest], side_px)[0]
            for drawn in (picture, torch.full_like(picture, _GREY))
        )
        moved.append((shown - blank).numpy() / scale)
    return np.stack(moved)


def _image_basis(kernels: NDArray[Any]) -> KernelBasis:
    height, width = kernels.shape[2:]
    y, x = np.meshgrid(
        (height - 1) / 2 - np.arange(height), np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    cells = np.stack([x.ravel(), y.ravel()], axis=1)
    if max(height, width) <= _SMALL_CELLS:
        return rotating_basis(cells)
    return fitted_basis(cells, kernels.reshape(-1, height * width).astype(np.float64), most=24)


class InputWeights:
    """Weights from the units of an earlier layer into the members of one family.

    Parameters
    ----------
    pair
        The layers, with their families and units.
    family
        Of the later layer.

    Examples
    --------
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> family = planted.families[3]
    >>> own = InputWeights(LayerPair(weights, planted.families, planted.units), family)
    >>> bool(np.median(own.align([member.pose for member in family.members]).likeness) > 0.9)
    True
    """

    def __init__(self, pair: LayerPair, family: Family) -> None:
        axes = moved_axes(family)
        self._end, self._orders = _target_end(family, axes), pair.basis.orders
        channels = family.channels
        spread = _spreads(pair)

        def weighed(sources: NDArray[np.int64]) -> Complex:
            return np.asarray(pair.coefficients(channels, sources) * spread[sources][None, :, None])

        self._turning: list[tuple[_Grid, Complex]] = []
        taken: set[int] = set()
        for source in _turning_sources(pair, axes) if ANGLE in axes or HUE in axes else ():
            if taken.isdisjoint(source.channels.tolist()):
                self._turning.append((_Grid.of(source, self._end), weighed(source.channels)))
                taken |= set(source.channels.tolist())
        still = [c for c in _still_units(pair, axes) if c not in taken] if axes else []
        # Of each that counts one by one the unit that stands for it where a member is switched: itself, or its partner.
        partner = {c: c for c in still} | (_partners(pair, axes) if _is_switch(axes) else {})
        single = np.array(sorted(partner), dtype=np.int64)
        self._single, self._axes = weighed(single), axes
        self._partner = np.searchsorted(single, [partner[c] for c in single.tolist()])
        outside = np.setdiff1d(np.arange(pair.energy.shape[1]), [*taken, *single])
        self._untested = (np.abs(weighed(outside)) ** 2).sum((1, 2))

    def align(self, poses: Sequence[Mapping[str, float]], *, is_counted: bool = True) -> Aligned:
        """Move the weights back by poses, one a member; without ``is_counted`` it is not told what was compared."""
        n = len(poses)
        target = _at(self._end, poses)
        angles = np.zeros(n) if target.angles is None else target.angles
        phases = np.exp(1j * np.outer(angles, self._orders))[:, None]
        single = self._single * phases
        if _is_switch(self._axes):
            (axis,) = self._axes
            is_on = np.array([bool(pose[axis.name]) for pose in poses])
            single[is_on] = _switched(axis, single[is_on][:, self._partner], self._orders)
        parts = [_one_by_one(single)]
        parts += [
            _on_grid(weights * phases, grid, target, is_counted=is_counted) for grid, weights in self._turning
        ]
        aligned = join_aligned(parts)
        return replace(aligned, energy=aligned.energy + self._untested)


def moved_axes(family: Family) -> tuple[Axis, ...]:
    """Give the axes along which the weights into a family's members can be moved back in a later layer; none if none.

    Of a dihedral family that is the angle where no member is mirrored, as in one whose members have a mirror axis.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> poses = [Pose(angle_deg=0.0, is_mirrored=False), Pose(angle_deg=70.0, is_mirrored=False)]
    >>> members = tuple(Member("conv2", i, own, 0.9, 0.8, 1.0) for i, own in enumerate(poses))
    >>> family = Family("conv2-dihedral-1", ("conv2",), "dihedral", 0.9, 0.8, 1.0, 0.01, members)
    >>> [axis.name for axis in moved_axes(family)]
    ['angle_deg']
    """
    axes = find(family.transformation).axes
    if _is_switch(axes) or set(axes) <= {ANGLE, HUE}:
        return axes
    has_mirrored = any(member.pose.get(MIRRORED.name, False) for member in family.members)
    return (ANGLE,) if set(axes) == {ANGLE, MIRRORED} and not has_mirrored else ()


def _target_end(family: Family, axes: Sequence[Axis]) -> End:
    """Give the members of a family as the end of weights that are moved along some axes."""
    angles, hues = (np.zeros(family.size) if axis in axes else None for axis in (ANGLE, HUE))
    return End(family.id, family.layers[0], family.channels, angles, hues)


def _at(end: End, poses: Sequence[Mapping[str, float]]) -> End:
    angles = None if end.angles is None else np.radians([pose[ANGLE.name] for pose in poses])
    hues = None if end.hues is None else np.radians([pose[HUE.name] for pose in poses])
    return replace(end, angles=angles, hues=hues)


def _is_switch(axes: Sequence[Axis]) -> bool:
    """Whether families are pairs of a unit and the same, switched by an action on whole pictures."""
    return len(axes) == 1 and isinstance(axes[0], Switch) and axes[0].act is not None


def _switched(axis: Axis, coefficients: Complex, orders: NDArray[np.int64]) -> Complex:
    """Move kernels as an axis moves places: what it does to values, the units that it comes from do.

    A mirror left to right takes each function's azimuth from half a turn, one from above to below from a whole.
    """
    corner = torch.full((1, 3, 2, 2), _GREY)
    corner[..., 0, 0] += _FAINT
    moved = (act_on(axis, corner, 1.0) - _GREY).abs()[0].sum(0)
    row, column = divmod(int(moved.argmax()), 2)
    if row != column:
        coefficients = coefficients.conj()
    return np.asarray(np.where(orders % 2 == 0, 1.0, -1.0) * coefficients if column else coefficients)


def _partners(pair: LayerPair, axes: Sequence[Axis]) -> dict[int, int]:
    """Give the units of the earlier layer in pairs along the same axes, each with its partner in its best pair."""
    found: dict[int, int] = {}
    pairs = [f for f in pair.families if f.layers == (pair.weights.source,) and moved_axes(f) == tuple(axes)]
    for family in sorted(pairs, key=lambda own: -own.score):
        one, other = family.channels.tolist()
        if one not in found and other not in found:
            found |= {one: other, other: one}
    return found


def _spreads(pair: LayerPair) -> Floats:
    """Give each source unit's standard deviation: a weight counts by what usually comes through it."""
    of_unit = {unit.channel: unit.sd for unit in pair.units if unit.layer == pair.weights.source}
    return np.nan_to_num([of_unit.get(channel, 0.0) for channel in range(pair.energy.shape[1])])


def _turning_sources(pair: LayerPair, axes: Sequence[Axis]) -> list[End]:
    """Families whose poses move along with the target's: along some of its axes, and indifferent to the others."""
    found = []
    for family in pair.families:
        own = set(find(family.transformation).axes)
        others = {alone(axis) for axis in axes if axis not in own}
        end = family_end(family) if family.layers == (pair.weights.source,) else None
        if end is not None and own <= set(axes) and others <= set(family.invariant_to):
            found.append((len(others), -family.size, end))
    # What moves along all axes says most; then large families, in which relative poses are sampled best.
    return [end for *_, end in sorted(found, key=lambda entry: entry[:2])]


def _still_units(pair: LayerPair, axes: Sequence[Axis]) -> list[int]:
    """Units of the earlier layer that are invariant along all axes."""
    names = [alone(axis) for axis in axes]
    return [
        unit.channel
        for unit in pair.units
        if unit.layer == pair.weights.source and all(unit.under(name).kind == "invariant" for name in names)
    ]


@dataclass(frozen=True)
class _Grid:
    """Relative poses of one source family, at which weights from it into a target are put.

    Attributes
    ----------
    source
        The family.
    axes
        Along angle, then hue, whether both ends have a pose: the source's poses, degrees, the width within which an
        input counts as near, degrees, and the angle after which poses repeat, with the places.
    """

    source: End
    axes: tuple[tuple[str, Floats, float, float, Floats], ...]
    _near: dict[tuple[float, ...], Floats] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(source: End, target: End) -> _Grid:
        """Choose the grid for one source and the poses that targets have."""
        axes = []
        for name, own, width_deg, n_steps, turns in (
            ("angles", target.angles, _ANGLE_WIDTH_DEG, _N_ANGLES, source.n_turns),
            ("hues", target.hues, _HUE_WIDTH_DEG, _N_HUES, 1),
        ):
            other = getattr(source, name)
            if own is not None and other is not None:
                period = 360.0 / turns
                axes.append(
                    (name, np.degrees(other), width_deg, period, np.arange(n_steps) * period / n_steps)
                )
        return _Grid(source, tuple(axes))

    def relative(self, target: End) -> list[tuple[Floats, float, float]]:
        """Give the sources' poses relative to each target's along each axis, shape (target, source), width, period."""
        return [
            (poses[None] - np.degrees(getattr(target, name))[:, None], width_deg, period)
            for name, poses, width_deg, period, _ in self.axes
        ]

    def near(self, target: End) -> Floats:
        """How near each source is to each place, as each target sees it, shape (target, place, source).

        A target sees it by its pose alone, so that those of permuted poses are the same, in another order.
        """
        rows = []
        for poses in zip(*(getattr(target, name).tolist() for name, *_ in self.axes), strict=True):
            if poses not in self._near:
                near = np.ones((1, self.source.size))
                for pose, (_, others, width_deg, period, places) in zip(poses, self.axes, strict=True):
                    along = _nearness(others[None] - np.degrees(pose), places[:, None], width_deg, period)
                    near = (near[:, None] * along[None]).reshape(-1, self.source.size)
                self._near[poses] = near
            rows.append(self._near[poses])
        return np.stack(rows) if rows else np.ones((target.size, 1, self.source.size))


def _on_grid(weights: Complex, grid: _Grid, target: End, *, is_counted: bool) -> Aligned:
    """Put weights, shape (target, source, function), onto a grid of the sources' poses relative to each target's.

    At a place stands the mean of the weights from inputs near it, as near as a Gaussian says; its cover is that of the
    nearest input. What could be compared is counted only where it is asked for.
    """
    n, n_sources, _ = weights.shape
    near = grid.near(target)
    cover = near.max(2)
    # As much energy as there is in the weights, however many places there are.
    shares = near * np.sqrt(n_sources / near.shape[1]) / np.maximum(near.sum(2, keepdims=True), 1e-12)
    # Real and imaginary parts side by side.
    mean = (shares @ np.ascontiguousarray(weights).view(np.float64)).view(np.complex128)
    energy = (np.abs(weights) ** 2).sum(2)
    return Aligned(
        (cover[:, :, None] * mean).reshape(n, -1),
        cover * (np.abs(mean) ** 2).sum(2),
        cover,
        (energy * _met_by_others(grid.relative(target), n, n_sources)).sum(1) if is_counted else np.zeros(n),
        energy.sum(1),
    )


def _met_by_others(apart: Sequence[tuple[Floats, float, float]], n: int, n_sources: int) -> Floats:
    """How near the others have an input to each of a target's, on average, shape (target, source).

    One target after the other: for all together, families of a hundred would take gigabytes.
    """
    found = np.zeros((n, n_sources))
    for own in range(n):
        near = np.ones((n_sources, n, n_sources))
        for relative, width_deg, period_deg in apart:
            near *= _nearness(relative[own][:, None, None], relative, width_deg, period_deg)
        found[own] = (near.max(2).sum(1) - 1) / max(n - 1, 1)
    return found


def _nearness(a_deg: Floats, b_deg: Floats, width_deg: float, period_deg: float) -> Floats:
    return np.asarray(np.exp(-((circular_difference_deg(a_deg, b_deg, period_deg) / width_deg) ** 2) / 2))
