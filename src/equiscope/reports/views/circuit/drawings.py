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
from equiscope.reports.drawing.kernels import LEAST_PX, draw_kernels, kernel_scale
from equiscope.reports.drawing.svg import Drawing, Node, draw_tile, node, text_node
from equiscope.reports.views.circuit.ends import Ends, EndUnit, is_unit
from equiscope.reports.views.circuit.weights import Weights
from equiscope.transformations import Axis, Step, find
from equiscope.transformations.rotation import ANGLE

__all__ = [
    "Board",
    "DrawnBoard",
    "Label",
    "Matrices",
    "arrange",
    "draw_board",
    "draw_template",
    "draw_thumbnail",
    "tied_along",
]

# Kernels are as large as both matrices side by side allow, within these limits.
_CELLS_WIDTH, _LEAST_CELL, _MOST_CELL = 880.0, 22.0, 40.0
_MOST_PICTURE = 34.0
# Shares of the full colour up to this are paper to the eye.
_NOTHING = 0.05
_PRINT_PX = 64
# Width of a letter of a label.
_LETTER = 5.6


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
    """
    sources = ends.members(circuit.source, circuit.source_layer, circuit.n_source)
    targets = ends.members(circuit.target, circuit.target_layer, circuit.n_target)
    raw = weights["raw"].astype(np.float64)
    reordered, template = (weights[name].astype(np.float64) for name in ("reordered", "template"))
    rows, columns = weights["rows"].tolist(), weights["columns"].tolist()
    slots = weights["slots"].tolist()
    # Where only the source turns, it is the source's members that rows of `reordered` stand for.
    source_turns = ends.turns(circuit.source, circuit.source_layer)
    target_turns = ends.turns(circuit.target, circuit.target_layer)
    own_axis = tied_along(circuit)
    is_transposed = source_turns and not target_turns if own_axis is None else _is_into_unit(circuit)
    row_units, column_units = (sources, targets) if is_transposed else (targets, sources)
    in_rows = [_label(row_units[i]) for i in rows]
    # What differs from column to column: of two ends that turn their poses in the plane, else what ties the weights.
    axis = ANGLE if source_turns and target_turns else own_axis or find(COLOURING).axes[0]
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
    order = _order_text(circuit, is_relative=bool(slots))
    head = f"{circuit.source} to {circuit.target}"
    turns = None
    if own_axis is None and (source_turns or target_turns):
        turns = [unit.place.get(ANGLE.name, 0.0) for unit in row_units]
    return Matrices(
        Board(
            "raw", raw, [_label(unit) for unit in targets], [_label(unit) for unit in sources],
            f"Weights of {head}: {counted(len(raw), 'row')} of targets, {counted(raw.shape[1], 'column')} of sources, "
            "red positive, blue negative", "Weights as they are",
        ),
        Board(
            "reordered", reordered, in_rows, in_columns,
            f"The same weights, {order[:1].lower()}{order[1:]}: {counted(len(reordered), 'row')}, "
            f"{counted(reordered.shape[1], 'column')}", order,
        ),
        templates,
        is_transposed,
        scale,
        _links(_Order(rows, columns, slots, axis), row_units, column_units, is_transposed, raw),
        turns,
    )  # fmt: skip


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
    """Give the axis along which a circuit's weights stretch, or stay as they are; None where they turn, or pair up."""
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


# Drawing ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnBoard:
    """A drawing of a matrix, and where on it its cells are.

    ``boxes``: left, top, width and height of the cells of each part, in units of the drawing.
    """

    drawing: Drawing
    boxes: dict[str, tuple[float, float, float, float]]


def _cell_of(matrices: Matrices) -> tuple[float, float]:
    columns = (matrices.raw.kernels.shape[1], matrices.reordered.kernels.shape[1] + matrices.is_transposed)
    # Too many columns for both stand below each other.
    n_columns = sum(columns) if sum(columns) * _LEAST_CELL <= _CELLS_WIDTH else max(columns)
    width = min(_MOST_CELL, max(_LEAST_CELL, _CELLS_WIDTH / n_columns))
    n_y, n_x = matrices.raw.kernels.shape[2:]
    return width, width * (n_y + 0.1) / (n_x + 0.1)


def _label_width(labels: Sequence[Label], picture: float) -> float:
    words = max((len(own.short) for own in labels), default=0)
    return 12.0 + _LETTER * words + (picture + 4.0) * any(own.tile for own in labels)


def draw_board(matrices: Matrices, part: str, *, for_print: bool = False) -> DrawnBoard:
    """Draw one matrix with its labels, the reordered one with its template.

    Parameters
    ----------
    matrices
        What is drawn.
    part
        ``raw`` or ``reordered``.
    for_print
        With larger pixels, so that programs that smooth them do no harm.
    """
    board = matrices.raw if part == "raw" else matrices.reordered
    cell_x, cell_y = _cell_of(matrices)
    n_rows, n_columns = board.kernels.shape[:2]
    picture = min(cell_x - 3.0, cell_y - 3.0, _MOST_PICTURE)
    has_template = part == "reordered"
    lead = 7.0
    left = max(
        _label_width(board.rows, picture), 56.0 if has_template and not matrices.is_transposed else 0.0
    )
    head = 26.0
    top = head + _label_width(board.columns, picture)
    if has_template and matrices.is_transposed:
        top = max(top, head + 56.0)
    start_x, start_y = left, top
    if has_template:
        start_x += (cell_x + lead) * matrices.is_transposed
        start_y += (cell_y + lead) * (not matrices.is_transposed)
    least = _PRINT_PX if for_print else LEAST_PX
    nodes: list[Node] = [text_node(0.0, 9.0, board.caption, "heading")]
    boxes = {part: (start_x, start_y, cell_x * n_columns, cell_y * n_rows)}
    nodes += _cells(board.kernels, matrices.scale, boxes[part], least)
    if has_template:
        boxes["template"] = (
            (left, start_y, cell_x, cell_y * n_rows) if matrices.is_transposed
            else (start_x, top, cell_x * n_columns, cell_y)
        )  # fmt: skip
        nodes += _cells(matrices.template, matrices.scale, boxes["template"], least)
        if matrices.is_transposed:
            nodes.append(_upright(left + cell_x / 2, top - 5.0, "template", "text"))
        else:
            nodes.append(text_node(left - 7.0, top + cell_y / 2, "template", "text end"))
    for i, own in enumerate(board.rows):
        nodes.append(_row_label(own, left - 6.0, start_y + cell_y * (i + 0.5), picture))
    for i, own in enumerate(board.columns):
        nodes.append(_column_label(own, start_x + cell_x * (i + 0.5), top - 4.0, picture))
    width = max(start_x + cell_x * n_columns + 2.0, 7.0 * len(board.caption))
    return DrawnBoard(Drawing(width, start_y + cell_y * n_rows + 2.0, nodes, board.label), boxes)


def draw_template(matrices: Matrices, *, for_print: bool = False) -> Drawing:
    """Draw the template alone, in a row with its slots."""
    kernels = matrices.template.swapaxes(0, 1) if matrices.is_transposed else matrices.template
    labels = matrices.reordered.rows if matrices.is_transposed else matrices.reordered.columns
    cell_x, cell_y = _cell_of(matrices)
    picture = min(cell_x - 3.0, cell_y - 3.0, _MOST_PICTURE)
    top = _label_width(labels, picture)
    box = (2.0, top, cell_x * kernels.shape[1], cell_y)
    nodes = _cells(kernels, matrices.scale, box, _PRINT_PX if for_print else LEAST_PX)
    nodes += [
        _column_label(own, 2.0 + cell_x * (i + 0.5), top - 4.0, picture) for i, own in enumerate(labels)
    ]
    return Drawing(
        box[2] + 4.0, top + cell_y + 2.0, nodes, f"The template: {counted(kernels.shape[1], 'kernel')}"
    )


def draw_thumbnail(matrices: Matrices, width: float = 240.0) -> Drawing:
    """Draw the reordered matrix small and without words; its rows, or columns, light up with their units."""
    board = matrices.reordered
    n_rows, n_columns = board.kernels.shape[:2]
    cell_x, cell_y = _cell_of(matrices)
    cell_x, cell_y = cell_x * (size := min(1.0, width / (cell_x * n_columns))), cell_y * size
    box = (0.0, 0.0, cell_x * n_columns, cell_y * n_rows)
    nodes = _cells(board.kernels, matrices.scale, box, LEAST_PX)
    nodes += [
        node(
            "rect",
            "lane member-lane",
            x=0,
            y=cell_y * i,
            width=box[2],
            height=cell_y,
            unit=own.unit,
            colours=own.colours,
        )
        for i, own in enumerate(board.rows)
        if own.unit
    ]
    nodes += [
        node(
            "rect",
            "lane member-lane",
            x=cell_x * i,
            y=0,
            width=cell_x,
            height=box[3],
            unit=own.unit,
            colours=own.colours,
        )
        for i, own in enumerate(board.columns)
        if own.unit
    ]
    return Drawing(box[2], box[3], nodes, board.label)


def _cells(
    kernels: NDArray[np.float64], scale: float, box: tuple[float, float, float, float], least_px: int
) -> list[Node]:
    x, y, width, height = box
    drawn = draw_kernels(kernels, scale, least_px=least_px)
    return [
        node("rect", "paper", x=x, y=y, width=width, height=height),
        node(
            "image",
            "kernels",
            href=drawn.address,
            x=x,
            y=y,
            width=width,
            height=height,
            preserveAspectRatio="none",
        ),
    ]


def _row_label(own: Label, x: float, y: float, picture: float) -> Node:
    group = node("g", "label", node("title", "", own.name), colours=own.colours, unit=own.unit)
    if own.tile is not None:
        group.add(draw_tile(own.tile, x - picture, y - picture / 2, picture, is_round=False))
        group.add(node("rect", "frame", x=x - picture, y=y - picture / 2, width=picture, height=picture))
        x -= picture + 4.0
    return group.add(text_node(x, y, own.short, "text end small"))


def _column_label(own: Label, x: float, bottom: float, picture: float) -> Node:
    group = node("g", "label", node("title", "", own.name), colours=own.colours, unit=own.unit)
    if own.tile is not None:
        group.add(draw_tile(own.tile, x - picture / 2, bottom - picture, picture, is_round=False))
        group.add(node("rect", "frame", x=x - picture / 2, y=bottom - picture, width=picture, height=picture))
        bottom -= picture + 4.0
    return group.add(_upright(x, bottom, own.short, "text small"))


def _upright(x: float, y: float, text: str, styles: str) -> Node:
    """Write upwards from a place."""
    return text_node(0.0, 0.0, text, styles, transform=f"translate({x:.1f},{y:.1f}) rotate(-90)")
