"""The weights of one circuit as matrices of kernels: as they are, and turned back in order of relative pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits import Circuit
from equiscope.evidence.circuits.tying_axes import COLOURING, still_names, stretches
from equiscope.reports.document.wording import counted
from equiscope.reports.drawing.kernels import kernel_scale
from equiscope.reports.views.circuit.ends import Ends, EndUnit, is_unit
from equiscope.reports.views.circuit.weights import Weights
from equiscope.transformations import Axis, Step, find
from equiscope.transformations.rotation import ANGLE

__all__ = ["Board", "Label", "Matrices", "arrange", "tied_along"]

# Shares of the full colour up to this are paper to the eye.
_NOTHING = 0.05


@dataclass(frozen=True)
class Label:
    """What stands beside a row, or above a column.

    ``name`` says all of it; ``short`` is what there is room for.
    """

    name: str
    short: str
    unit: str | None = None
    tile: Any | None = None
    is_tick: bool = False
    colours: tuple[str, str] | None = None


@dataclass(frozen=True)
class Board:
    """A matrix of kernels, shape (row, column, y, x), with its labels."""

    part: str
    kernels: NDArray[np.float64]
    rows: Sequence[Label]
    columns: Sequence[Label]
    label: str
    caption: str


@dataclass(frozen=True)
class Matrices:
    """The weights of one circuit, ready to be drawn.

    Attributes
    ----------
    raw, reordered
        Rows are always the target's, so that both read alike.
    template
        Kernels of shape (1, column, y, x), or (row, 1, y, x) where only the source turns.
    is_transposed
        The latter.
    scale
        The weight that has the full colour, the same in all three.
    links
        For each cell of ``raw``, row by row, the (row, column) of ``reordered`` that it went to, or None.
    turns_deg
        For each row of ``raw``, or each column where only the source turns, by how much its kernels were turned back,
        counter-clockwise; None where kernels stay as they are.
    """

    raw: Board
    reordered: Board
    template: NDArray[np.float64]
    is_transposed: bool
    scale: float
    links: Sequence[tuple[int, int] | None]
    turns_deg: Sequence[float] | None


def _label(unit: EndUnit) -> Label:
    return Label(
        unit.text, unit.pose or unit.name.rpartition(" ")[2], unit.unit, unit.tile, False, unit.colours
    )


def _slot_labels(slots: Sequence[float], axis: Axis, what: str) -> list[Label]:
    if isinstance(axis, Step):
        names = [axis.number(slot) for slot in slots]
        return [Label(f"relative {what} {name}", name, is_tick=True) for name in names]
    # A label at every other of sixteen slots leaves room to read them.
    every = max(1, len(slots) // 8)
    return [
        Label(f"relative {what} {slot:g}°", "" if i % every else f"{slot:g}°", is_tick=True)
        for i, slot in enumerate(slots)
    ]


def arrange(circuit: Circuit, weights: Weights, ends: Ends) -> Matrices:
    """Put the weights of a circuit in both orders.

    Parameters
    ----------
    circuit
        The circuit.
    weights
        Its arrays, as `equiscope.evidence.circuits.tied.Tied` describes them.
    ends
        Families and units.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.evidence.circuits import load_circuits
    >>> from equiscope.reports.views.circuit.weights import StoredWeights
    >>> circuits = load_circuits(Path("equiscope-runs/mini"))
    >>> stored = StoredWeights(Path("equiscope-runs/mini"), circuits)
    >>> drawn = ((own, stored.read(own.id)) for own in circuits.circuits if own.kinds)
    >>> circuit, weights = next((own, weights) for own, weights in drawn if weights is not None)
    >>> matrices = arrange(circuit, weights, Ends([]))
    >>> matrices.raw.caption, matrices.reordered.caption, matrices.reordered.kernels.ndim
    ('Weights as they are', 'Turned back to pose 0, in order of relative pose', 4)
    """
    sources = ends.members(circuit.source, circuit.source_layer, circuit.n_source)
    targets = ends.members(circuit.target, circuit.target_layer, circuit.n_target)
    raw = weights["raw"].astype(np.float64)
    reordered, template = (weights[name].astype(np.float64) for name in ("reordered", "template"))
    rows, columns = weights["rows"].tolist(), weights["columns"].tolist()
    slots = weights["slots"].tolist()
    is_transposed = _is_transposed(circuit, ends)
    row_units, column_units = (sources, targets) if is_transposed else (targets, sources)
    in_rows = [_label(row_units[i]) for i in rows]
    axis = _column_axis(circuit, ends)
    if slots:
        in_columns = _slot_labels(slots, axis, "pose" if axis == ANGLE else axis.noun)
    else:
        in_columns = [_label(column_units[i]) for i in columns]
    templates = template[None]
    if is_transposed:
        reordered, templates = reordered.swapaxes(0, 1), templates.swapaxes(0, 1)
        in_rows, in_columns = in_columns, in_rows
    # One scale for all: the same red is the same weight.
    scale = kernel_scale(raw)
    raw, reordered, templates = _without_margin([raw, reordered, templates], scale)
    turns = None
    if tied_along(circuit) is None and any(_turning(circuit, ends)):
        turns = [unit.place.get(ANGLE.name, 0.0) for unit in row_units]
    return Matrices(
        _raw_board(circuit, raw, targets, sources),
        _reordered_board(reordered, in_rows, in_columns, _order_text(circuit, is_relative=bool(slots))),
        templates,
        is_transposed,
        scale,
        _links(_Order(rows, columns, slots, axis), row_units, column_units, is_transposed, raw),
        turns,
    )


def _turning(circuit: Circuit, ends: Ends) -> tuple[bool, bool]:
    """Whether the members of the source, and of the target, have poses in the plane."""
    return ends.turns(circuit.source, circuit.source_layer), ends.turns(circuit.target, circuit.target_layer)


def _is_transposed(circuit: Circuit, ends: Ends) -> bool:
    """Whether rows of the reordered matrix stand for the source's members: where only the source turns."""
    if tied_along(circuit) is not None:
        return _is_into_unit(circuit)
    source_turns, target_turns = _turning(circuit, ends)
    return source_turns and not target_turns


def _column_axis(circuit: Circuit, ends: Ends) -> Axis:
    """Give what differs from column to column: poses in the plane of two ends that turn, else what ties the weights."""
    if all(_turning(circuit, ends)):
        return ANGLE
    return tied_along(circuit) or find(COLOURING).axes[0]


def _raw_board(
    circuit: Circuit, kernels: NDArray[np.float64], targets: Sequence[EndUnit], sources: Sequence[EndUnit]
) -> Board:
    return Board(
        "raw", kernels, [_label(unit) for unit in targets], [_label(unit) for unit in sources],
        f"Weights of {circuit.source} to {circuit.target}: {counted(len(kernels), 'row')} of targets, "
        f"{counted(kernels.shape[1], 'column')} of sources, red positive, blue negative", "Weights as they are",
    )  # fmt: skip


def _reordered_board(
    kernels: NDArray[np.float64], rows: Sequence[Label], columns: Sequence[Label], order: str
) -> Board:
    label = (
        f"The same weights, {order[:1].lower()}{order[1:]}: {counted(len(kernels), 'row')}, "
        f"{counted(kernels.shape[1], 'column')}"
    )
    return Board("reordered", kernels, rows, columns, label, order)


def _without_margin(pictures: list[NDArray[Any]], scale: float) -> list[NDArray[Any]]:
    """Leave out rows and columns round all kernels that hold next to nothing, as many on either side."""
    for axis in (2, 3):
        while pictures[0].shape[axis] > 2:
            edges = [np.take(picture, [0, -1], axis) for picture in pictures]
            if max(np.abs(np.nan_to_num(edge)).max(initial=0.0) for edge in edges) > _NOTHING * scale:
                break
            pictures = [np.take(p, range(1, p.shape[axis] - 1), axis) for p in pictures]
    return pictures


def _is_into_unit(circuit: Circuit) -> bool:
    """Whether it leads from a family into a single unit."""
    return is_unit(circuit.target, circuit.target_layer) and not is_unit(circuit.source, circuit.source_layer)


def tied_along(circuit: Circuit) -> Axis | None:
    """Give the axis along which a circuit's weights stretch, or stay as they are; None where they turn, or pair up.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> tied_along(SimpleNamespace(transformation="scale")).noun, tied_along(SimpleNamespace(transformation="rotation"))
    ('size', None)
    """
    name = circuit.transformation
    return find(name).axes[-1] if stretches(name) or name in still_names() else None


def _order_text(circuit: Circuit, *, is_relative: bool) -> str:
    """Say what was done to kernels before they were put in order, and in which."""
    axis = tied_along(circuit)
    order = f"in order of {'relative ' if is_relative else ''}{'pose' if axis is None else axis.noun}"
    if axis is None:
        return f"Turned back to pose 0, {order}"
    return f"Made equally large, {order}" if stretches(circuit.transformation) else f"I{order[1:]}"


@dataclass(frozen=True)
class _Order:
    """How a matrix was put in order: members of its rows and columns, or relative poses along an axis as columns."""

    rows: Sequence[int]
    columns: Sequence[int]
    slots: Sequence[float]
    axis: Axis

    def slot(self, own: EndUnit, other: EndUnit, column: int) -> int | None:
        """Give the column of the kernel from ``own`` to ``other``; None where it went nowhere."""
        if not self.slots:
            return self.columns.index(column) if column in self.columns else None
        ends = own.place.get(self.axis.name), other.place.get(self.axis.name)
        if ends[0] is None or ends[1] is None:
            return None
        relative = ends[0] - ends[1]
        if isinstance(self.axis, Step):
            return min(range(len(self.slots)), key=lambda k: abs(self.slots[k] - relative))
        return round(relative / (360.0 / len(self.slots))) % len(self.slots)


def _links(
    order: _Order,
    row_units: Sequence[EndUnit],
    column_units: Sequence[EndUnit],
    is_transposed: bool,
    raw: NDArray[np.float64],
) -> list[tuple[int, int] | None]:
    """Say for each cell of the raw matrix, row by row, which cell of the reordered one it went to."""
    place = {unit: i for i, unit in enumerate(order.rows)}
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for i, row in enumerate(row_units):
        for j, column in enumerate(column_units):
            if not np.isfinite(raw[(j, i) if is_transposed else (i, j)]).all():
                continue  # no path leads from the one to the other
            slot = order.slot(column, row, j)
            if slot is None or i not in place:
                continue
            if is_transposed:
                found[j, i] = (slot, place[i])
            else:
                found[i, j] = (place[i], slot)
    shape = (len(column_units), len(row_units)) if is_transposed else (len(row_units), len(column_units))
    return [found.get((i, j)) for i in range(shape[0]) for j in range(shape[1])]
