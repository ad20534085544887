"""What a simplified network still can do, drawn: its accuracy over the share of parameters that were removed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from equiscope.construction.simplify import METHODS, Point, Simplification
from equiscope.foundations.files import write_atomically
from equiscope.reports.document.wording import number
from equiscope.reports.drawing.charts import MARKERS, spread_labels
from equiscope.reports.drawing.palette import category_colours
from equiscope.reports.drawing.svg import Drawing, Node, beside, node, text_node, write_for_print

__all__ = ["HEADINGS", "draw_curve", "draw_curves", "draw_mark", "save_curves"]

FILE = "simplify.svg"
# By whether networks were recalibrated.
HEADINGS = {False: "Top-1 accuracy, weights as they come out", True: "Top-1 accuracy after recalibration"}
# A panel in units of its view box, and the plot in it; names of methods stand at its right.
_WIDTH, _HEIGHT = 430.0, 288.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 132.0, 10.0, 46.0
_BASE = _HEIGHT - _BOTTOM
_N_TICKS, _NAME_ROW = 5, 14.0


def draw_curve(found: Simplification, *, is_recalibrated: bool) -> Drawing:
    """Draw top-1 accuracy over the share of all parameters that were removed, one line a method.

    Parameters
    ----------
    found
        What was measured.
    is_recalibrated
        Of the networks after recalibration; otherwise as they come out.

    Notes
    -----
    Whiskers are 95 % intervals (Wilson), and so is the band about the original network. Both drawings of one result
    have the same axes.

    Examples
    --------
    >>> from equiscope.construction.simplify import load_simplification
    >>> drawing = draw_curve(load_simplification(Path("equiscope-runs/mini")), is_recalibrated=True)
    >>> svg = write_for_print(drawing, lambda _: None)
    >>> [method for method in METHODS if f">{method}<" in svg]
    ['tied', 'wrong poses', 'magnitude in blocks', 'magnitude', 'low rank']
    """
    plot = _plot_of(found)
    nodes = _axes(plot)
    original = found.original
    top, bottom = plot.y(original.high), plot.y(original.low)
    nodes += [
        node("rect", "nothing", x=plot.x(0), y=top, width=plot.right - _LEFT, height=bottom - top),
        node("path", "axis dashed", d=f"M{_LEFT:g},{plot.y(original.top1):.1f}H{plot.right:g}"),
    ]
    curves = [(method, own) for method in METHODS if (own := [p for p in found.points if p.method == method])]
    ends = [plot.y(_accuracy(own[-1], is_recalibrated)[0]) for _, own in curves]
    places = spread_labels(ends, _NAME_ROW, _TOP, _BASE - 4)
    # Tied networks come last, over the others.
    for (method, own), place in reversed(list(zip(curves, places, strict=True))):
        nodes.append(_curve(found, method, own, plot, place, is_recalibrated))
    label = (
        f"Top-1 accuracy of {found.network} over parameters removed, "
        f"{'after recalibration' if is_recalibrated else 'weights as they come out'}, a line a method"
    )
    return Drawing(_WIDTH, _HEIGHT, nodes, label)


def draw_curves(found: Simplification) -> Drawing:
    """Draw both, as the weights come out and after recalibration, side by side.

    Examples
    --------
    >>> from equiscope.construction.simplify import load_simplification
    >>> draw_curves(load_simplification(Path("equiscope-runs/mini"))).label
    'mini with families tied under rotation: accuracy over parameters removed'
    """
    panels = [
        _with_heading(draw_curve(found, is_recalibrated=own), heading) for own, heading in HEADINGS.items()
    ]
    label = (
        f"{found.network} with families tied under {found.transformation}: accuracy over parameters removed"
    )
    return beside(panels, 14.0, label)


def draw_mark(method: str) -> Drawing:
    """Draw the mark of a method, for its name in words beside the curves.

    Examples
    --------
    >>> [draw_mark(method).nodes[0].colours[0] for method in ("tied", "low rank")]
    ['#0072b2', '#9a7100']
    """
    index = METHODS.index(method)
    spot = node("path", "spot", d=MARKERS[index], colours=category_colours(index))
    return Drawing(10.0, 10.0, [spot], method, left=-5.0, top=-5.0)


def save_curves(folder: Path, found: Simplification) -> Path:
    """Write ``simplify.svg`` into a run's folder.

    Examples
    --------
    >>> from equiscope.construction.simplify import load_simplification
    >>> path = save_curves(Path(), load_simplification(Path("equiscope-runs/mini")))
    >>> path.name, path.read_text(encoding="utf-8")[:5]
    ('simplify.svg', '<svg ')
    """
    content = write_for_print(draw_curves(found), lambda _: None).encode()
    write_atomically(folder / FILE, lambda stream: stream.write(content))
    return folder / FILE


@dataclass(frozen=True)
class _Plot:
    """Where shares and accuracies stand, with the marks of both axes."""

    shares: Sequence[float]
    heights: Sequence[float]

    @property
    def right(self) -> float:
        return _WIDTH - _RIGHT

    def x(self, share: float) -> float:
        return _LEFT + (self.right - _LEFT) * share / self.shares[-1]

    def y(self, accuracy: float) -> float:
        return _BASE - (_BASE - _TOP) * accuracy / self.heights[-1]


def _plot_of(found: Simplification) -> _Plot:
    furthest = max(point.n_removed for point in found.points) / found.n_parameters
    highest = max(found.original.high, *(a.high for p in found.points for a in (p.plain, p.recalibrated)))
    return _Plot(_ticks(furthest or 1.0), _ticks(highest))


def _ticks(high: float) -> list[float]:
    """Give round numbers from 0 to at least ``high``."""
    power = 10 ** math.floor(math.log10(high / _N_TICKS))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= high / _N_TICKS - 1e-12)
    return [step * i for i in range(math.ceil(high / step - 1e-9) + 1)]


def _with_heading(panel: Drawing, words: str) -> Drawing:
    room = 20.0
    heading = text_node(_LEFT, -8.0, words, "heading")
    return replace(panel, nodes=[heading, *panel.nodes], top=-room, height=panel.height + room)


def _axes(plot: _Plot) -> list[Node]:
    grid = "".join(f"M{_LEFT:g},{plot.y(height):.1f}H{plot.right:g}" for height in plot.heights)
    grid += "".join(f"M{plot.x(share):.1f},{_BASE:g}V{_BASE + 4:g}" for share in plot.shares)
    words = [
        text_node(_LEFT - 7, plot.y(height), f"{100 * height:.3g} %", "text small end")
        for height in plot.heights
    ]
    words += [
        text_node(plot.x(share), _BASE + 13, f"{100 * share:.3g} %", "text small middle")
        for share in plot.shares
    ]
    middle = plot.x(plot.shares[-1] / 2)
    return [
        node("path", "grid", d=grid),
        *words,
        text_node(middle, _BASE + 31, "parameters removed, of all", "text middle"),
    ]


def _accuracy(point: Point, is_recalibrated: bool) -> tuple[float, float, float]:
    own = point.recalibrated if is_recalibrated else point.plain
    return own.top1, own.low, own.high


def _curve(
    found: Simplification,
    method: str,
    points: Sequence[Point],
    plot: _Plot,
    place: float,
    is_recalibrated: bool,
) -> Node:
    """Draw a method from the original network on, with its name at the height of ``place``."""
    index = METHODS.index(method)
    marks = []
    line = [(plot.x(0), plot.y(found.original.top1))]
    for point in points:
        top1, low, high = _accuracy(point, is_recalibrated)
        x, y = plot.x(point.n_removed / found.n_parameters), plot.y(top1)
        line.append((x, y))
        up_to = "" if point.layer is None else f" up to {point.layer}"
        said = (
            f"{method}{up_to}: {point.n_removed:,} removed, {number(100 * top1, 1, ' %')} "
            f"({number(100 * low, 1)} to {number(100 * high, 1, ' %')})"
        )
        marks.append(
            node(
                "g",
                "",
                node("title", "", said),
                node("path", "whisker", d=f"M{x:.1f},{plot.y(high):.1f}V{plot.y(low):.1f}"),
                node("path", "spot", d=MARKERS[index], transform=f"translate({x:.1f},{y:.1f})"),
            )
        )
    path = "L".join(f"{x:.1f},{y:.1f}" for x, y in line)
    x, y = line[-1]
    return node(
        "g",
        "",
        node("path", "line" if index == 0 else "line dashed", d=f"M{path}"),
        node("path", "leader", d=f"M{x + 6:.1f},{y:.1f}L{plot.right + 8:.1f},{place:.1f}"),
        *marks,
        text_node(plot.right + 11, place, method, "own-name"),
        colours=category_colours(index),
    )
