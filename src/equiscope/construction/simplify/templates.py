"""Kernels of a convolution tied to templates: the nearest weights in which members of a family share what they have.

Weights between two families are tied if ``W[a -> b] = W[T a -> T b]`` for every transformation T: the kernel depends on
the relative pose of its units alone, and is turned with them. Such weights are a linear subspace, fixed by the poses.
The tied weights are the projection of the trained ones on it, and their free parameters its dimension: 9 of 36 weights
from a unit to a family of four by kernels of 3 x 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equiscope.construction.simplify.wiring import Wire
from equiscope.evidence.circuits.ends import End, character_values, characters, family_end, invariant_units
from equiscope.evidence.circuits.harmonics import KernelBasis, rotating_basis
from equiscope.families.family import Family, Unit
from equiscope.models.connections import IMAGE
from equiscope.transformations import alone
from equiscope.transformations.hue import HUE
from equiscope.transformations.rotation import ANGLE

__all__ = ["Block", "Joint", "Tie", "ends_of", "join_ends", "kernel_functions", "tie_weights"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Share of the largest eigenvalue below which a direction of the subspace is rounding.
_LEAST_EIGENVALUE = 1e-9


@dataclass(frozen=True)
class Block:
    """Weights between two families, or a family and one unit, that have a template.

    Attributes
    ----------
    source, target
        Ids of families, or ``layer:channel``.
    rows, columns
        Output and input channels of the convolution.
    n_weights, n_free
        Weights, and the dimension of the tied ones' subspace.
    is_shared
        Whether rows share templates, so that a gain for each of them is one more parameter.
    error
        What tying loses: squared changes of weights, each times the mean square of its input and over the variance of
        its output, summed.
    energy
        The same of the weights themselves.
    """

    source: str
    target: str
    rows: Ints
    columns: Ints
    n_weights: int
    n_free: int
    is_shared: bool
    error: float
    energy: float


@dataclass(frozen=True)
class Tie:
    """One convolution with all its blocks tied.

    Attributes
    ----------
    weights
        Tied kernels where a block is, the original ones elsewhere, shape (output, input, y, x).
    blocks
        The blocks.
    """

    weights: Floats
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Joint:
    """What two ends have in common: kernels, and an orthonormal basis of the tied ones.

    ``basis`` has shape (free, row, column, cell); where an end is single units, that axis has length 1 and every unit
    has a template of its own. The ends' channels are the convolution's; ``source_units`` and ``target_units`` are the
    layers' numbers of the same units.
    """

    source: End
    target: End
    basis: Floats
    source_units: Ints
    target_units: Ints

    def project(self, kernels: Floats) -> Floats:
        """Project kernels, shape (row, column, cell), on the tied ones."""
        n_free = len(self.basis)
        if self.basis.shape[2] == kernels.shape[1] and self.basis.shape[1] == kernels.shape[0]:
            flat = self.basis.reshape(n_free, -1)
            return np.asarray((flat.T @ (flat @ kernels.reshape(-1))).reshape(kernels.shape))
        axis = 1 if self.basis.shape[2] == 1 else 0
        flat = self.basis.reshape(n_free, -1)
        each = np.moveaxis(kernels, axis, 0).reshape(kernels.shape[axis], -1)
        tied = (each @ flat.T) @ flat
        rest = (kernels.shape[1 - axis], kernels.shape[2])
        return np.moveaxis(tied.reshape(kernels.shape[axis], *rest), 0, axis)


def kernel_functions(height: int, width: int) -> KernelBasis:
    """Functions that turn and hold every kernel of a size; quarter turns of square kernels are exact.

    Examples
    --------
    >>> kernel_functions(3, 3).synthesise.shape
    (9, 9)
    """
    y, x = np.meshgrid(
        (height - 1) / 2 - np.arange(height), np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    return rotating_basis(np.stack([x.ravel(), y.ravel()], axis=1), 2 * (max(height, width) - 1))


def ends_of(families: Iterable[Family], units: Sequence[Unit], layer: str, transformation: str) -> list[End]:
    """Families of a layer under a transformation, and the units that it leaves as they are as one end without poses.

    The image's colour channels are such units under rotation.

    Examples
    --------
    >>> [(end.layer, end.channels.tolist(), end.rotation) for end in ends_of([], [], IMAGE, "rotation")]
    [('image', [0, 1, 2], 'invariant')]
    """
    kinds = ["invariant" if transformation == alone(axis) else "" for axis in (ANGLE, HUE)]
    if layer == IMAGE:
        channels = np.arange(3) if transformation == alone(ANGLE) else np.zeros(0, np.int64)
        return (
            [End(None, IMAGE, channels, None, None, rotation=kinds[0], hue=kinds[1])] if len(channels) else []
        )
    own = (f for f in families if f.layer == layer and f.transformation == transformation)
    found = [end for family in own if (end := family_end(family)) is not None]
    channels = invariant_units(units, layer, transformation)
    if len(channels):
        found.append(End(None, layer, channels, None, None, rotation=kinds[0], hue=kinds[1]))
    return found


def join_ends(
    wire: Wire, sources: Iterable[End], targets: Iterable[End], functions: KernelBasis
) -> list[Joint]:
    """Set up the subspaces of all blocks of a convolution.

    Blocks with as many free parameters as weights are left out, and those between units that no pose turns.

    Examples
    --------
    >>> poses = np.arange(4) * np.pi / 2
    >>> quarters = End("conv1-rotation-1", "conv1", np.arange(4), poses, None, rotation="equivariant")
    >>> grey = End(None, "conv0", np.arange(1), None, None, rotation="invariant")
    >>> wire = Wire("conv1", "conv0", "conv1", np.arange(1), np.arange(4))
    >>> [joint.basis.shape for joint in join_ends(wire, [grey], [quarters], kernel_functions(3, 3))]
    [(9, 4, 1, 9)]
    """
    inputs = [end for e in sources if (end := _within(e, wire.source_units)) is not None]
    outputs = [end for e in targets if (end := _within(e, wire.target_units)) is not None]
    joints = []
    for target in outputs:
        for source in inputs:
            if _has_poses(source) or _has_poses(target):
                basis = _tied_basis(source, target, functions)
                n_weights = np.prod(basis.shape[1:])
                if 0 < len(basis) < n_weights:
                    joints.append(
                        Joint(
                            source, target, basis,
                            wire.source_units[source.channels], wire.target_units[target.channels],
                        )
                    )  # fmt: skip
    return joints


def _has_poses(end: End) -> bool:
    return end.angles is not None or end.hues is not None


def _within(end: End, units: Ints) -> End | None:
    """Keep the members of an end that are among the units of a convolution's channels; None without any."""
    place = {unit: channel for channel, unit in enumerate(units.tolist()) if unit >= 0}
    chosen = np.array([c in place for c in end.channels.tolist()])
    if not chosen.any():
        return None
    channels = np.array([place[c] for c in end.channels[chosen].tolist()])
    angles, hues = (None if poses is None else poses[chosen] for poses in (end.angles, end.hues))
    return replace(end, channels=channels, angles=angles, hues=hues)


def _tied_basis(source: End, target: End, functions: KernelBasis) -> Floats:
    """Orthonormal basis of the tied kernels between two ends, shape (free, row, column, cell)."""
    # Single units have templates of their own.
    a, b = (end if _has_poses(end) else replace(end, channels=end.channels[:1]) for end in (source, target))
    orders = functions.orders
    chosen, is_allowed = characters(a, b, orders)
    # The kernel turns with the output; where that has no angle, with the input.
    turning = b.angles if b.angles is not None else a.angles
    sign = 1.0 if b.angles is not None or a.angles is None else -1.0
    inputs, outputs = character_values([a, b], chosen, sign)
    relative = inputs[None] * outputs.conj()[:, None]  # (row, column, character)
    angles = np.zeros(1) if turning is None else turning
    turn = np.exp(-1j * np.outer(angles, orders))  # (member, function)
    turn = turn[:, None] if b.angles is not None or a.angles is None else turn[None]
    shape = (b.size, a.size)
    design = []
    for character, function in np.argwhere(is_allowed.T):
        phase = np.broadcast_to(relative[:, :, character] * turn[:, :, function], shape)
        complex_kernels = phase[..., None] * functions.synthesise[:, function]
        design += [complex_kernels.real.reshape(-1), complex_kernels.imag.reshape(-1)]
    n_cells = len(functions.synthesise)
    columns = np.stack(design, axis=1) if design else np.zeros((np.prod(shape) * n_cells, 0))
    basis = _orthonormal(columns)
    return basis.reshape(len(basis), *shape, n_cells)


def _orthonormal(columns: Floats) -> Floats:
    """Orthonormal rows that span what columns span."""
    if not columns.shape[1]:
        return columns.T
    if columns.shape[0] < columns.shape[1]:
        value, vector = np.linalg.eigh(columns @ columns.T)
        return np.asarray(vector[:, value > _LEAST_EIGENVALUE * value[-1]].T)
    value, vector = np.linalg.eigh(columns.T @ columns)
    is_kept = value > _LEAST_EIGENVALUE * value[-1]
    rows = (columns @ (vector[:, is_kept] / np.sqrt(value[is_kept]))).T
    # Once more, against rounding in the weakest directions.
    return np.asarray(np.linalg.qr(rows.T)[0].T)


def tie_weights(weights: Floats, joints: Sequence[Joint], input_rms: Floats, output_sd: Floats) -> Tie:
    """Project all blocks of a convolution on their subspaces.

    Parameters
    ----------
    weights
        Shape (output, input, y, x).
    joints
        From `join_ends`.
    input_rms, output_sd
        Root mean square of each input channel and standard deviation of each output channel, on images, shapes
        (input,) and (output,); they say how much a change of a weight matters.

    Examples
    --------
    >>> poses = np.arange(4) * np.pi / 2
    >>> quarters = End("conv1-rotation-1", "conv1", np.arange(4), poses, None, rotation="equivariant")
    >>> grey = End(None, "conv0", np.arange(1), None, None, rotation="invariant")
    >>> wire = Wire("conv1", "conv0", "conv1", np.arange(1), np.arange(4))
    >>> joints = join_ends(wire, [grey], [quarters], kernel_functions(3, 3))
    >>> upright = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    >>> turned = np.stack([np.rot90(upright, turn) for turn in range(4)])[:, None]
    >>> np.allclose(tie_weights(turned, joints, np.ones(1), np.ones(4)).weights, turned)
    True
    """
    kernels = weights.reshape(*weights.shape[:2], -1)
    tied = kernels.copy()
    for joint in joints:
        place = np.ix_(joint.target.channels, joint.source.channels)
        tied[place] = joint.project(kernels[place])
    importance = input_rms[None] ** 2 / np.maximum(output_sd, 1e-12)[:, None] ** 2  # (output, input)
    lost = ((tied - kernels) ** 2).sum(2) * importance
    energy = (kernels**2).sum(2) * importance
    blocks = [block for joint in joints for block in _blocks(joint, lost, energy, kernels.shape[2])]
    return Tie(tied.reshape(weights.shape), tuple(blocks))


def _blocks(joint: Joint, lost: Floats, energy: Floats, n_cells: int) -> list[Block]:
    """List the blocks of two ends: one for two families, one for each unit otherwise."""
    source, target, n_free = joint.source, joint.target, len(joint.basis)
    rows, columns = target.channels, source.channels
    if _has_poses(source) and _has_poses(target):
        parts = [(source.named.name, target.named.name, rows, columns)]
    elif _has_poses(target):
        units = zip(joint.source_units.tolist(), columns.tolist(), strict=True)
        parts = [(f"{source.layer}:{unit}", target.named.name, rows, np.array([c])) for unit, c in units]
    else:
        units = zip(joint.target_units.tolist(), rows.tolist(), strict=True)
        parts = [(source.named.name, f"{target.layer}:{unit}", np.array([r]), columns) for unit, r in units]
    found = []
    for source_id, target_id, own_rows, own_columns in parts:
        place = np.ix_(own_rows, own_columns)
        n_weights = len(own_rows) * len(own_columns) * n_cells
        found.append(
            Block(
                source_id, target_id, own_rows, own_columns, n_weights, n_free, _has_poses(target),
                float(lost[place].sum()), float(energy[place].sum()),
            )
        )  # fmt: skip
    return found
