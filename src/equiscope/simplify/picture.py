"""The curve of accuracy against parameters that were removed, as a picture."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equiscope.simplify.result import Point, Simplification

__all__ = ["draw_simplification"]

_WIDTH, _HEIGHT = 760, 330
# Of the two panels: left edge, right edge; their common top and bottom.
_PANELS, _TOP, _BOTTOM = ((52, 366), (430, 744)), 66, 270
_CLASSES = {
    "tied": "tied",
    "wrong poses": "wrong",
    "magnitude in blocks": "within",
    "magnitude": "pruned",
    "low rank": "low",
}
_WORDS = {
    "tied": "tied",
    "wrong poses": "tied at wrong poses",
    "magnitude in blocks": "the same blocks pruned",
    "magnitude": "pruned anywhere",
    "low rank": "low rank",
}
_STYLE = """
:root{--ink:#1c2430;--soft:#6b7686;--rule:#d9dee6;--paper:#fff;--band:#6b768622;--tied:#0b6e8f;--wrong:#c2571a;
--within:#b0307a;--pruned:#7a5aa6;--low:#5f7d3a}
@media (prefers-color-scheme:dark){:root{--ink:#e7ecf3;--soft:#9aa5b5;--rule:#38414e;--paper:#12161c;--band:#9aa5b533;
--tied:#5cc3e3;--wrong:#f0965c;--within:#ef8fc4;--pruned:#b79be0;--low:#a3c274}}
rect.paper{fill:var(--paper)}text{font:12px system-ui,sans-serif;fill:var(--soft)}
text.title{fill:var(--ink);font-weight:600}.rule{stroke:var(--rule);stroke-width:1}
.was{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}.band{fill:var(--band)}
text.end{text-anchor:end}text.middle{text-anchor:middle}
path.line{fill:none;stroke-width:1.8}path.bar{stroke-width:1;opacity:.6}
.tied{stroke:var(--tied);fill:var(--tied)}.wrong{stroke:var(--wrong);fill:var(--wrong)}
.within{stroke:var(--within);fill:var(--within)}
.pruned{stroke:var(--pruned);fill:var(--pruned)}.low{stroke:var(--low);fill:var(--low)}
text.tied,text.wrong,text.within,text.pruned,text.low{stroke:none;font-weight:600}
.wrong.line{stroke-dasharray:6 3}.within.line{stroke-dasharray:1 3}.pruned.line{stroke-dasharray:4 2}
.low.line{stroke-dasharray:8 3 2 3}
"""


def draw_simplification(result: Simplification) -> str:
    """Draw accuracy against the share of all parameters that were removed, as it is and recalibrated.

    Parameters
    ----------
    result
        What was measured.

    Returns
    -------
    str
        An SVG document of 760 x 330 with colours for light and dark pages, and no script. Bars are 95 % intervals
        (Wilson), the grey band is that of the original network.
    """
    furthest = max(point.n_removed for point in result.points) / result.n_parameters or 1.0
    shares = _ticks(furthest)
    top = max(result.original.high, *(p.recalibrated.high for p in result.points))
    heights = _ticks(min(1.0, top))
    methods = [m for m in _CLASSES if any(p.method == m for p in result.points)]
    parts = []
    for panel, title in enumerate(("weights as they come out", "after recalibration")):
        place = _placer(panel, shares[-1], heights[-1])
        parts.append(_axes(panel, title, shares, heights, place))
        parts.append(_original(panel, result, place))
        for method in methods:
            own = [p for p in result.points if p.method == method]
            parts.append(_curve(_CLASSES[method], own, result, panel == 1, place))
    x = float(_PANELS[0][0])
    for method in methods:
        parts.append(f'<text class="{_CLASSES[method]}" x="{x:.0f}" y="22">{_WORDS[method]}</text>')
        x += 7.7 * len(_WORDS[method]) + 16
    title = html.escape(f"{result.network} with families tied under {result.transformation}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">'
        f"<title>{title}</title><style>{_STYLE}</style>"
        f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>{"".join(parts)}</svg>\n'
    )


def _ticks(high: float) -> list[float]:
    """Round numbers from 0 to at least high, four to seven of them."""
    raw = high / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw - 1e-12)
    return [step * i for i in range(math.ceil(high / step - 1e-9) + 1)]


def _placer(
    panel: int, right_value: float, top_value: float
) -> Callable[[float, float], tuple[float, float]]:
    left, right = _PANELS[panel]

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / right_value, _BOTTOM - (_BOTTOM - _TOP) * y / top_value

    return place


def _axes(
    panel: int,
    title: str,
    shares: Sequence[float],
    heights: Sequence[float],
    place: Callable[[float, float], tuple[float, float]],
) -> str:
    left, right = _PANELS[panel]
    parts = [f'<text class="title" x="{left}" y="{_TOP - 18}">top-1 accuracy, {title}</text>']
    for height in heights:
        y = place(0, height)[1]
        parts.append(f'<path class="rule" d="M{left},{y:.1f}H{right}"/>')
        parts.append(f'<text class="end" x="{left - 8}" y="{y + 4:.1f}">{100 * height:.3g} %</text>')
    for share in shares:
        x = place(share, 0)[0]
        parts.append(f'<text class="middle" x="{x:.1f}" y="{_BOTTOM + 18}">{100 * share:.3g} %</text>')
    middle = (left + right) / 2
    parts.append(
        f'<text class="middle" x="{middle:.0f}" y="{_BOTTOM + 40}">parameters removed, of all</text>'
    )
    return "".join(parts)


def _original(
    panel: int, result: Simplification, place: Callable[[float, float], tuple[float, float]]
) -> str:
    left, right = _PANELS[panel]
    high, low = (place(0, v)[1] for v in (result.original.high, result.original.low))
    y = place(0, result.original.top1)[1]
    return (
        f'<rect class="band" x="{left}" y="{high:.1f}" width="{right - left}" height="{low - high:.1f}"/>'
        f'<path class="was" d="M{left},{y:.1f}H{right}"/>'
    )


def _curve(
    kind: str,
    points: Sequence[Point],
    result: Simplification,
    is_recalibrated: bool,
    place: Callable[[float, float], tuple[float, float]],
) -> str:
    path = [place(0, result.original.top1)]
    marks = []
    for point in points:
        accuracy = point.recalibrated if is_recalibrated else point.plain
        share = point.n_removed / result.n_parameters
        x, y = place(share, accuracy.top1)
        path.append((x, y))
        low, high = (place(share, v)[1] for v in (accuracy.low, accuracy.high))
        marks.append(f'<path class="bar {kind}" d="M{x:.1f},{low:.1f}V{high:.1f}"/>')
        marks.append(f'<circle class="{kind}" r="2.6" cx="{x:.1f}" cy="{y:.1f}"/>')
    line = "L".join(f"{x:.1f},{y:.1f}" for x, y in path)
    return f'<path class="line {kind}" style="fill:none" d="M{line}"/>{"".join(marks)}'
