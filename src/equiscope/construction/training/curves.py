"""Learning curves of a training, as ``curves.csv`` and as ``curves.svg``."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from equiscope.foundations.files import write_atomically
from equiscope.foundations.received import printable

__all__ = ["COLUMNS", "draw_curves", "save_curves"]

COLUMNS = (
    "step",
    "epoch",
    "learning_rate",
    "train_loss",
    "val_loss",
    "val_top1",
    "val_low",
    "val_high",
    "seconds",
    "images_per_s",
)
Row = Mapping[str, float | None]
Point = tuple[float, float]

_WIDTH, _HEIGHT = 760, 300
# Of the two panels: left edge, right edge; their common top and bottom.
_PANELS, _TOP, _BOTTOM = ((52, 360), (432, 740)), 44, 250
_STYLE = """
:root{--ink:#1c2430;--soft:#6b7686;--rule:#d9dee6;--train:#9aa5b5;--val:#0b6e8f;--band:#0b6e8f22;--paper:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e7ecf3;--soft:#9aa5b5;--rule:#38414e;--train:#7c8798;--val:#5cc3e3;
--band:#5cc3e333;--paper:#12161c}}
rect.paper{fill:var(--paper)}text{font:12px system-ui,sans-serif;fill:var(--soft)}
text.title{fill:var(--ink);font-weight:600}
.rule{stroke:var(--rule);stroke-width:1}.train{fill:none;stroke:var(--train);stroke-width:1.5}
.val{fill:none;stroke:var(--val);stroke-width:2}.dot{fill:var(--val)}.band{fill:var(--band);stroke:none}
text.end{text-anchor:end}text.middle{text-anchor:middle}.in-val{fill:var(--val)}
"""


def save_curves(folder: Path, rows: Sequence[Row], name: str) -> None:
    """Write ``curves.csv`` and ``curves.svg`` into a training's folder.

    Examples
    --------
    >>> save_curves(Path("."), [{"step": 1.0, "epoch": 0.5, "train_loss": 2.0, "val_top1": None}], "small")
    >>> Path("curves.csv").read_text().splitlines()[0].split(",")[:3]
    ['step', 'epoch', 'learning_rate']
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if row.get(key) is None else row[key] for key in COLUMNS} for row in rows)
    table, picture = stream.getvalue().encode(), draw_curves(rows, name).encode()
    write_atomically(folder / "curves.csv", lambda file: file.write(table))
    write_atomically(folder / "curves.svg", lambda file: file.write(picture))


def draw_curves(rows: Sequence[Row], name: str) -> str:
    """Draw loss and top-1 accuracy over epochs.

    Parameters
    ----------
    rows
        Lines of the curve, see ``COLUMNS``; what was not measured is None.
    name
        For the title.

    Returns
    -------
    str
        An SVG document of 760 x 300 with colours for light and dark pages, and no script.

    Examples
    --------
    >>> rows = [{"step": 1.0, "epoch": 0.5, "train_loss": 2.0, "val_top1": None}]
    >>> draw_curves(rows, "small").startswith("<svg")
    True
    """
    train, val, top1 = (_points(rows, key) for key in ("train_loss", "val_loss", "val_top1"))
    low, high = _points(rows, "val_low"), _points(rows, "val_high")
    last_epoch = max((x for x, _ in (*train, *val)), default=1.0) or 1.0
    losses = [y for _, y in (*train, *val)]
    loss_axis = _ticks(0.0, max(losses, default=1.0) or 1.0)
    share_axis = _ticks(0.0, min(1.0, max((y for _, y in high), default=1.0) or 1.0))
    parts = [
        _panel(0, "loss", loss_axis, last_epoch, lambda tick: f"{tick:g}"),
        _panel(1, "validation accuracy, top 1", share_axis, last_epoch, lambda tick: f"{100 * tick:g} %"),
    ]
    place = _placer(0, loss_axis[-1], last_epoch)
    parts.append(_line("train", train, place) + _line("val", val, place) + _dots(val, place))
    legend = f'<text x="{_PANELS[0][1]}" y="24" class="end">training <tspan class="in-val">'
    parts.append(f"{legend}validation</tspan></text>")
    place = _placer(1, share_axis[-1], last_epoch)
    if low:
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, [*low, *reversed(high)]))
        parts.append(f'<polygon class="band" points="{outline}"/>')
    parts.append(_line("val", top1, place) + _dots(top1, place))
    if top1:
        x, y = place(top1[-1])
        parts.append(f'<text class="end in-val" x="{x:.1f}" y="{y - 9:.1f}">{100 * top1[-1][1]:.1f} %</text>')
    title = html.escape(printable(name))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Learning curves of {title}"><title>Learning curves of {title}</title><style>{_STYLE}</style>'
        f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>{"".join(parts)}</svg>\n'
    )


def _points(rows: Sequence[Row], key: str) -> list[Point]:
    found = []
    for row in rows:
        x, y = row.get("epoch"), row.get(key)
        if x is not None and y is not None and math.isfinite(y):
            found.append((x, y))
    return found


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to at least high, four to seven of them."""
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw - 1e-12)
    return [low + step * i for i in range(math.ceil((high - low) / step - 1e-9) + 1)]


def _placer(panel: int, top: float, last_epoch: float) -> Callable[[Point], Point]:
    """Map points of a panel's data to the picture."""
    left, right = _PANELS[panel]

    def place(point: Point) -> Point:
        x, y = point
        return left + (right - left) * x / last_epoch, _BOTTOM - (_BOTTOM - _TOP) * y / top

    return place


def _panel(
    panel: int, title: str, ticks: Sequence[float], last_epoch: float, word: Callable[[float], str]
) -> str:
    """Draw a panel's title, grid and axes."""
    left, right = _PANELS[panel]
    place = _placer(panel, ticks[-1], last_epoch)
    parts = [f'<text class="title" x="{left}" y="24">{title}</text>']
    for tick in ticks:
        y = place((0, tick))[1]
        parts.append(f'<path class="rule" d="M{left},{y:.1f}H{right}"/>')
        parts.append(f'<text class="end" x="{left - 8}" y="{y + 4:.1f}">{word(tick)}</text>')
    for epoch in _ticks(0.0, last_epoch):
        if epoch <= last_epoch * (1 + 1e-9):
            x = place((epoch, 0))[0]
            parts.append(f'<text class="middle" x="{x:.1f}" y="{_BOTTOM + 18}">{epoch:g}</text>')
    parts.append(f'<text class="middle" x="{(left + right) / 2:.0f}" y="{_BOTTOM + 38}">epoch</text>')
    return "".join(parts)


def _line(kind: str, points: Sequence[Point], place: Callable[[Point], Point]) -> str:
    if len(points) < 2:
        return ""
    path = "L".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
    return f'<path class="{kind}" d="M{path}"/>'


def _dots(points: Sequence[Point], place: Callable[[Point], Point]) -> str:
    return "".join(f'<circle class="dot" r="2.5" cx="{x:.1f}" cy="{y:.1f}"/>' for x, y in map(place, points))
