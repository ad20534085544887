"""What tying would save, drawn: the article's formula over r for some K, with a network's layers on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from equiscope.construction.budget import Budget, LayerBudget, predict_ratio
from equiscope.foundations.files import write_atomically
from equiscope.reports.document.wording import number
from equiscope.reports.drawing.charts import MARKERS
from equiscope.reports.drawing.palette import category_colours
from equiscope.reports.drawing.svg import Drawing, Node, below, beside, node, text_node, write_for_print

__all__ = ["draw_saving", "draw_savings", "drawn_transformations", "save_savings"]

FILE = "budget.svg"
# Copies whose curves are drawn; no saving is above the last one, whatever the copies.
_COPIES = (2.0, 4.0, 8.0, 16.0, math.inf)
# A panel in units of its view box, and the plot in it.
_WIDTH, _HEIGHT = 376.0, 288.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 52.0, 8.0, 46.0
_N_STEPS = 50
# Names of layers stand where no layer can: a saving is at most r². That triangle has room for so many.
_MOST_NAMES, _NAME_ROW = 8, 14.0
_LETTER = 6.4
_MOST_LETTERS = 16
_N_COLUMNS = 3


def drawn_transformations(budget: Budget) -> list[str]:
    """Name the transformations under which some layer has a family, and copies stand in one layer.

    Examples
    --------
    >>> from equiscope.construction.budget import load_budget
    >>> drawn_transformations(load_budget(Path("equiscope-runs/mini")))
    ['rotation', 'hue', 'together']
    """
    named = [
        entry.transformation for entry in budget.layers if entry.n_families and not math.isnan(entry.ratio)
    ]
    return list(dict.fromkeys(named))


def draw_savings(budget: Budget) -> Drawing | None:
    """Draw all transformations, a panel each; None where no layer has a family.

    Examples
    --------
    >>> from equiscope.construction.budget import load_budget
    >>> svg = write_for_print(draw_savings(load_budget(Path("equiscope-runs/mini"))), lambda _: None)
    >>> [name for name in ("Rotation", "Reflection", "Hue") if f">{name}<" in svg]
    ['Rotation', 'Hue']
    """
    names = drawn_transformations(budget)
    panels = [_with_heading(draw_saving(budget, name), name) for name in names]
    if not panels:
        return None
    label = "Kernels saved by tying, over the share of equivariant units, for each transformation"
    rows = [
        beside(panels[start : start + _N_COLUMNS], 22.0, label) for start in range(0, len(panels), _N_COLUMNS)
    ]
    return below(rows, 22.0, label)


def draw_saving(budget: Budget, transformation: str) -> Drawing:
    """Draw what one transformation saves: curves of the formula, and each layer at its r and saving.

    Parameters
    ----------
    budget
        Of a run.
    transformation
        One of `drawn_transformations`.

    Examples
    --------
    >>> from equiscope.construction.budget import load_budget
    >>> drawing = draw_saving(load_budget(Path("equiscope-runs/mini")), "rotation")
    >>> svg = write_for_print(drawing, lambda _: None)
    >>> [name for name in ("K = 16", "K → ∞", "conv2d0", "conv2d1", "mixed3a") if f">{name}" in svg]
    ['K = 16', 'K → ∞', 'conv2d0', 'conv2d1']
    """
    entries = [entry for entry in budget.layers if entry.transformation == transformation]
    nodes = _axes()
    nodes += [part for copies in _COPIES for part in _curve(copies)]
    for index, entry in enumerate(entries):
        nodes.append(_layer(index, entry))
    nodes += _names(entries)
    label = (
        f"Kernels saved by tying under {transformation}, over the share of equivariant units, a mark a layer"
    )
    return Drawing(_WIDTH, _HEIGHT, nodes, label)


def save_savings(folder: Path, budget: Budget) -> Path | None:
    """Write ``budget.svg`` into a run's folder; None where no layer has a family.

    Examples
    --------
    >>> from equiscope.construction.budget import load_budget
    >>> path = save_savings(Path(), load_budget(Path("equiscope-runs/mini")))
    >>> path.name, path.read_text(encoding="utf-8")[:5]
    ('budget.svg', '<svg ')
    """
    drawing = draw_savings(budget)
    if drawing is None:
        return None
    content = write_for_print(drawing, lambda _: None).encode()
    write_atomically(folder / FILE, lambda stream: stream.write(content))
    return folder / FILE


def _with_heading(panel: Drawing, transformation: str) -> Drawing:
    heading = text_node(_LEFT, -8.0, transformation[:1].upper() + transformation[1:], "heading")
    room = 20.0
    return replace(panel, nodes=[heading, *panel.nodes], top=-room, height=panel.height + room)


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share


def _y(saving: float) -> float:
    base = _HEIGHT - _BOTTOM
    return base - (base - _TOP) * saving


def _axes() -> list[Node]:
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    grid = "".join(f"M{_x(0):g},{_y(t):g}H{_x(1):g}M{_x(t):g},{_y(0):g}V{_y(1):g}" for t in ticks)
    words = [text_node(_x(0) - 7, _y(t), f"{100 * t:g} %", "text small end") for t in ticks]
    words += [text_node(_x(t), _y(0) + 13, f"{100 * t:g} %", "text small middle") for t in ticks]
    middle = _y(0.5)
    return [
        node("path", "grid", d=grid),
        *words,
        text_node(_x(0.5), _y(0) + 31, "r, equivariant units of all units", "text middle"),
        text_node(0.0, 0.0, "kernels saved", "text middle", transform=f"translate(7,{middle:g}) rotate(-90)"),
    ]


def _curve(copies: float) -> list[Node]:
    """Draw the formula for one K, with its name at the end."""
    shares = [i / _N_STEPS for i in range(_N_STEPS + 1)]
    savings = [r * r if math.isinf(copies) else 1 - predict_ratio(copies, r) for r in shares]
    points = "L".join(f"{_x(r):.1f},{_y(saving):.1f}" for r, saving in zip(shares, savings, strict=True))
    styles = "axis dashed" if math.isinf(copies) else "axis"
    name = "K → ∞" if math.isinf(copies) else f"K = {copies:g}"
    return [
        node("path", styles, d=f"M{points}"),
        text_node(_x(1) + 6, _y(savings[-1]), name, "text small start"),
    ]


def _marker(index: int) -> str:
    # Layers with one colour differ by their marks.
    return MARKERS[(index + index // len(MARKERS)) % len(MARKERS)]


def _layer(index: int, entry: LayerBudget) -> Node:
    """Draw a layer at its place, with both intervals."""
    x, y = _x(entry.equivariant_share), _y(1 - entry.ratio)
    whiskers = (
        f"M{_x(entry.equivariant_low):.1f},{y:.1f}H{_x(entry.equivariant_high):.1f}"
        f"M{x:.1f},{_y(1 - entry.ratio_high):.1f}V{_y(1 - entry.ratio_low):.1f}"
    )
    said = f"{entry.layer}: r {100 * entry.equivariant_share:.0f} %, saves {100 * (1 - entry.ratio):.1f} %"
    return node(
        "g",
        "",
        node("title", "", said),
        node("path", "whisker", d=whiskers),
        node("path", "spot", d=_marker(index), transform=f"translate({x:.1f},{y:.1f})"),
        colours=category_colours(index),
    )


def _names(entries: Sequence[LayerBudget]) -> list[Node]:
    """Name the layers with their K, those that save most where there are many."""
    ranked = sorted(range(len(entries)), key=lambda index: entries[index].ratio)
    shown = sorted(ranked[:_MOST_NAMES])
    nodes: list[Node] = []
    for row, index in enumerate(shown):
        y = _y(1) + 14 + _NAME_ROW * row
        entry = entries[index]
        layer = entry.layer
        short = layer if len(layer) <= _MOST_LETTERS else f"…{layer[1 - _MOST_LETTERS :]}"
        name = f"{short}  K {number(entry.copies, 1)}"
        width = 24 + _LETTER * len(name)
        nodes.append(
            node(
                "g",
                "",
                node("rect", "ground", x=_x(0) + 4, y=y - 7, width=width, height=_NAME_ROW),
                node("path", "spot", d=_marker(index), transform=f"translate({_x(0) + 14:g},{y:g})"),
                text_node(_x(0) + 24, y, name, "own-name"),
                colours=category_colours(index),
            )
        )
    n_more = len(entries) - len(shown)
    if n_more:
        y = _y(1) + 14 + _NAME_ROW * len(shown)
        nodes.append(text_node(_x(0) + 24, y, f"and {n_more} that save less", "text small"))
    return nodes
