"""The matrices of one circuit, drawn: with their labels and the template, or small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.reports.document.wording import counted
from equiscope.reports.drawing.kernels import LEAST_PX, draw_kernels
from equiscope.reports.drawing.svg import Drawing, Node, draw_tile, node, text_node
from equiscope.reports.views.circuit.matrices import Label, Matrices

__all__ = ["DrawnBoard", "draw_board", "draw_template", "draw_thumbnail"]

# Kernels are as large as both matrices side by side allow, within these limits.
_CELLS_WIDTH, _LEAST_CELL, _MOST_CELL = 880.0, 22.0, 40.0
_MOST_PICTURE = 34.0
_PRINT_PX = 64
# Width of a letter of a label.
_LETTER = 5.6


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

    Examples
    --------
    >>> from equiscope.reports.views.circuit.matrices import Board
    >>> kernels, labels = np.ones((2, 3, 3, 5)), [Label(f"conv2:{place}", str(place)) for place in range(3)]
    >>> board = Board("raw", kernels, labels[:2], labels, "Weights of conv1-hue-1 to conv2-hue-1", "Weights")
    >>> matrices = Matrices(board, board, kernels[:1], False, 1.0, [None] * 6, None)
    >>> list(draw_board(matrices, "raw").boxes), list(draw_board(matrices, "reordered").boxes)
    (['raw'], ['reordered', 'template'])
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
    """Draw the template alone, in a row with its slots.

    Examples
    --------
    >>> from equiscope.reports.views.circuit.matrices import Board
    >>> kernels, labels = np.ones((2, 3, 3, 5)), [Label(f"conv2:{place}", str(place)) for place in range(3)]
    >>> board = Board("raw", kernels, labels[:2], labels, "Weights of conv1-hue-1 to conv2-hue-1", "Weights")
    >>> matrices = Matrices(board, board, kernels[:1], False, 1.0, [None] * 6, None)
    >>> draw_template(matrices).label
    'The template: 3 kernels'
    """
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
    """Draw the reordered matrix small and without words; its rows, or columns, light up with their units.

    Examples
    --------
    >>> from equiscope.reports.views.circuit.matrices import Board
    >>> kernels, labels = np.ones((2, 3, 3, 5)), [Label(f"conv2:{place}", str(place)) for place in range(3)]
    >>> board = Board("raw", kernels, labels[:2], labels, "Weights of conv1-hue-1 to conv2-hue-1", "Weights")
    >>> matrices = Matrices(board, board, kernels[:1], False, 1.0, [None] * 6, None)
    >>> drawing = draw_thumbnail(matrices, width=60.0)
    >>> round(drawing.width), round(drawing.height)
    (60, 24)
    """
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
