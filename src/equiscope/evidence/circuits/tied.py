"""What one circuit looks like: its weights, the same reordered by relative pose, and its template."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.ends import End, characters
from equiscope.evidence.circuits.layer_pair import LayerPair, problem_of
from equiscope.evidence.circuits.ties import predict

__all__ = ["Tied", "tie_circuit"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complex = NDArray[np.complex128]

# Relative poses at which kernels are drawn, all round.
_N_SLOTS = 16


@dataclass(frozen=True)
class Tied:
    """The weights of one circuit, those that its template gives, and the pictures of both.

    Attributes
    ----------
    raw, tied
        Kernels, shape (target member, source member, y, x).
    reordered
        The raw kernels turned back to pose 0, one row a member that turns, shape (row, slot, y, x): slots are relative
        poses where both ends turn, otherwise the units at the other end. NaN where a slot is empty.
    template
        The template at each slot, shape (slot, y, x).
    slots
        Relative poses, degrees, shape (slot,); empty where slots are units.
    rows, columns
        Order of the rows by pose, and of slots where they are units: places in the family.
    """

    raw: Floats
    tied: Floats
    reordered: Floats
    template: Floats
    slots: Floats
    rows: Ints
    columns: Ints


def tie_circuit(pair: LayerPair, source: End, target: End, *, wrong_pose: bool = False) -> Tied:
    """Fit the template of one block to all of its members.

    Parameters
    ----------
    pair, source, target
        The block.
    wrong_pose
        Give as ``tied`` what the template says for output poses half a period away: of the plane, or of hue where the
        plane does not turn.

    Examples
    --------
    >>> from equiscope.evidence.circuits.paths import ExpandedWeights
    >>> from equiscope.testing import planted_circuits
    >>> planted, place = planted_circuits(), np.arange(-4.0, 5.0)
    >>> kernels = planted.model.module.late.weight.detach().numpy()
    >>> weights = ExpandedWeights("early", "late", kernels, place, place, 1.0, ())
    >>> pair = LayerPair(weights, planted.families, planted.units)
    >>> tied = tie_circuit(pair, pair.sources[0], pair.targets[0])
    >>> bool(np.corrcoef(tied.raw.ravel(), tied.tied.ravel())[0, 1] > 0.99)
    True
    """
    problem = problem_of(pair, source, target)
    template, tied = predict(
        problem.weights, problem.phases, problem.inputs, problem.outputs, problem.is_allowed
    )
    rows_end, columns_end = (source, target) if problem.is_transposed else (target, source)
    if wrong_pose:
        tied = _tied_at_wrong_pose(pair, source, target, problem.is_transposed, template)
    kernels = pair.basis.kernels(tied.swapaxes(0, 1) if problem.is_transposed else tied)
    raw = pair.kernels[np.ix_(target.channels, source.channels)]
    upright = pair.basis.kernels(problem.weights * problem.phases[:, None])
    turns = rows_end.angles if rows_end.angles is not None else rows_end.hues
    rows = np.arange(rows_end.size) if turns is None else np.argsort(turns)
    relative = _relative_poses(rows_end, columns_end)
    if relative is None:
        columns = np.arange(columns_end.size)
        if columns_end.hues is not None:
            columns = np.argsort(columns_end.hues)
        reordered = upright[np.ix_(rows, columns)]
        shown = pair.basis.kernels(np.einsum("uc,ck->uk", problem.inputs[columns], template))
        slots = np.zeros(0)
    else:
        columns = np.zeros(0, np.int64)
        slots = np.arange(_N_SLOTS) * 360.0 / _N_SLOTS
        reordered = _by_slot(upright[rows], relative[rows])
        shown = _template_at(pair, source, target, template, slots, -1.0 if problem.is_transposed else 1.0)
    shape = (len(pair.weights.y_px), len(pair.weights.x_px))
    return Tied(
        raw.reshape(*raw.shape[:2], *shape).astype(np.float64),
        kernels.reshape(*kernels.shape[:2], *shape),
        reordered.reshape(*reordered.shape[:2], *shape),
        shown.reshape(-1, *shape),
        slots,
        rows,
        columns,
    )


def _tied_at_wrong_pose(
    pair: LayerPair, source: End, target: End, is_transposed: bool, template: Complex
) -> Complex:
    """Give the weights that the template says for poses half a period away, as coefficients."""
    order = max(len({angle for _, angle in (source if is_transposed else target).stabiliser}), 1)
    if is_transposed:
        turned = problem_of(pair, _turned(source, np.pi / order), target)
    else:
        turned = problem_of(pair, source, _turned(target, np.pi / order))
    design = turned.inputs[None] * turned.outputs.conj()[:, None]
    return np.asarray(np.einsum("vuc,ck->vuk", design, template) * turned.phases.conj()[:, None])


def _by_slot(upright: Floats, relative: Floats) -> Floats:
    """Put the kernels of each row, shape (row, column, cell), into slots by their relative poses, radians."""
    nearest = np.round(relative / (2 * np.pi / _N_SLOTS)).astype(int) % _N_SLOTS
    placed = np.full((len(upright), _N_SLOTS, upright.shape[2]), np.nan)
    for row in range(len(upright)):
        for slot in range(_N_SLOTS):
            if (nearest[row] == slot).any():
                placed[row, slot] = upright[row, nearest[row] == slot].mean(0)
    return placed


def _template_at(
    pair: LayerPair, source: End, target: End, template: Complex, slots_deg: Floats, sign: float
) -> Floats:
    """Give the template at relative poses, shape (slot, cell)."""
    chosen = characters(source, target, pair.basis.orders)[0]
    axis = 0 if source.angles is not None and target.angles is not None else 1
    at = np.exp(1j * sign * np.outer(np.radians(slots_deg), chosen[:, axis]))
    return pair.basis.kernels(np.einsum("sc,ck->sk", at, template))


def _turned(end: End, angle: float) -> End:
    if end.angles is not None:
        return replace(end, angles=end.angles + angle)
    return replace(end, hues=None if end.hues is None else end.hues + np.pi)


def _relative_poses(rows: End, columns: End) -> Floats | None:
    """Poses of columns less those of rows, radians, of the plane or else of hue, shape (row, column)."""
    for a, b in ((rows.angles, columns.angles), (rows.hues, columns.hues)):
        if a is not None and b is not None:
            return np.asarray(b[None] - a[:, None])
    return None
