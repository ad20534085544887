"""Small charts of how one unit responds as its own stimuli are transformed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from equiscope.reports.document.schema import UnitTuningEntry
from equiscope.reports.drawing.charts import heat_paths
from equiscope.transformations import find
from equiscope.transformations.spaces import HandedCircle, Line, Pair, Torus

__all__ = ["UnitChart", "draw_unit_tuning"]

# In units of the view box, a CSS pixel each at full width.
_WIDTH, _HEIGHT = 240.0, 118.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 8.0, 6.0, 18.0


@dataclass(frozen=True)
class UnitChart:
    """One chart, worked out.

    Attributes
    ----------
    label
        What it shows, in words.
    caption
        What stands below it.
    bands, lines
        Paths of the standard error and of the mean, one a curve; the second curve is of mirrored stimuli.
    heat
        Class and path of each level of a chart of two axes, cells of size 1.
    n_columns, n_rows
        Cells of that chart.
    bars
        x, y, width, height and text of each bar.
    ticks
        x and text of each tick.
    zero
        Where the stimulus as it is stands, or None.
    """

    label: str
    caption: str
    bands: Sequence[str] = ()
    lines: Sequence[str] = ()
    heat: Sequence[tuple[str, str]] = ()
    n_columns: int = 0
    n_rows: int = 0
    bars: Sequence[tuple[str, str, str, str, str]] = ()
    ticks: Sequence[tuple[str, str]] = ()
    zero: str | None = None


def draw_unit_tuning(
    transformation: str, axes: dict[str, list[float]], entry: UnitTuningEntry
) -> UnitChart | None:
    """Draw one unit's tuning under one transformation; None where it did not respond at all.

    Parameters
    ----------
    transformation
        Its name.
    axes
        The axes of the values.
    entry
        The values.

    Examples
    --------
    >>> entry = {"n_stimuli": 3, "values": [1.0, 0.5], "error": None}
    >>> chart = draw_unit_tuning("reflection", {"is_mirrored": [0.0, 1.0]}, entry)
    >>> chart.caption, {name: height for _, _, _, height, name in chart.bars}
    ('3 stimuli', {'as it is': '94.0', 'mirrored': '47.0'})
    """
    values = entry["values"]
    if _is_unmeasured(values):
        return None
    n = entry["n_stimuli"]
    caption = f"{n} {'stimulus' if n == 1 else 'stimuli'}"
    label = f"Response under {transformation}, mean of {caption}"
    match find(transformation).space:
        case Pair(axis):
            return _bars(("as it is", axis.noun), label, caption, values, entry["error"])
        case Torus(axis, other):
            return _map(
                label, f"{caption}; {axis.feature_noun} to the right, {other.feature_noun} downwards", values
            )
        case HandedCircle(axis, hand):
            errors = [None] * len(values) if entry["error"] is None else entry["error"]
            said = f"{caption}; dashed: {hand.noun}"
            return _around(label, said, axes[axis.name], values, errors)
        case Line(step):
            places = axes[step.name]
            ticks = [(p, f"{p:g}") for p in places if p == round(p)]
            return _curves(label, f"{caption}; {step.unit}", places, [values], [entry["error"]], ticks)
        case space:
            return _around(label, caption, axes[space.axis.name], [values], [entry["error"]])


def _around(
    label: str,
    caption: str,
    turns_deg: Sequence[float],
    curves: Sequence[Sequence[float]],
    errors: Sequence[Sequence[float] | None],
) -> UnitChart:
    """Draw curves over a turn, the stimuli as they are in the middle."""
    n_half = len(turns_deg) // 2
    places = [turns_deg[1] * (i - n_half) for i in range(len(turns_deg) + 1)]
    # The last place is the first again.
    closed = [[*own, own[0]] for own in (_centred(curve) for curve in curves)]
    bands = [None if own is None else [*_centred(own), _centred(own)[0]] for own in errors]
    ticks = [(p, f"{p:g}°") for p in (-90.0, 0.0, 90.0)]
    return _curves(label, caption, places, closed, bands, ticks)


def _map(label: str, caption: str, values: Sequence[Sequence[float | None]]) -> UnitChart:
    """Draw responses over two turns, the stimuli as they are in the middle."""
    turned = [_centred(row) for row in _centred(values)]
    ticks = [(f"{_WIDTH * (k / 4):.1f}", f"{90 * k - 180}°".replace("-", "−")) for k in range(1, 4)]
    return UnitChart(
        label,
        caption,
        heat=heat_paths(turned),
        n_columns=len(turned[0]),
        n_rows=len(turned),
        ticks=ticks,
    )


def _curves(
    label: str,
    caption: str,
    places: Sequence[float],
    curves: Sequence[Sequence[float]],
    errors: Sequence[Sequence[float] | None],
    ticks: Sequence[tuple[float, str]],
) -> UnitChart:
    """Draw curves over one axis, each in a band of its standard error; a second one is of mirrored stimuli."""
    low, high = places[0], places[-1]
    pairs = list(zip(curves, errors, strict=True))
    top = max([1.0, *(v + e for c, own in pairs if own for v, e in zip(c, own, strict=True))])

    def x_of(place: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (place - low) / (high - low)

    def y_of(value: float) -> float:
        return float(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * max(0.0, value) / top)

    def points(values: Iterable[float]) -> list[str]:
        return [f"{x_of(p):.1f},{y_of(v):.1f}" for p, v in zip(places, values, strict=True)]

    bands: list[str] = []
    for curve, own in pairs:
        if own is not None:
            upper, lower = (points(v + sign * e for v, e in zip(curve, own, strict=True)) for sign in (1, -1))
            bands.append("M" + "L".join([*upper, *reversed(lower)]) + "Z")
    return UnitChart(
        label,
        caption,
        bands,
        ["M" + "L".join(points(curve)) for curve in curves],
        ticks=[(f"{x_of(place):.1f}", text.replace("-", "−")) for place, text in ticks],
        zero=f"{x_of(0.0):.1f}",
    )


def _is_unmeasured(values: Any) -> bool:
    if isinstance(values, list):
        return all(_is_unmeasured(value) for value in values)
    return values is None


def _centred(curve: Sequence[Any]) -> list[Any]:
    """Roll a cyclic axis so that 0 stands in the middle."""
    half = len(curve) - len(curve) // 2
    return [*curve[half:], *curve[:half]]


def _bars(
    names: tuple[str, str],
    label: str,
    caption: str,
    values: Sequence[float],
    error: Sequence[float] | None,
) -> UnitChart:
    width = (_WIDTH - _LEFT - _RIGHT) / 2
    bars, whiskers = [], []
    top = max(1.0, *(v + e for v, e in zip(values, error, strict=True))) if error else 1.0
    room = _HEIGHT - _TOP - _BOTTOM
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        height = room * max(0.0, value) / top
        x = _LEFT + width * (i + 0.5)
        bars.append((f"{x - 32:.1f}", f"{_HEIGHT - _BOTTOM - height:.1f}", "64", f"{height:.1f}", name))
        if error:
            high, low = (_HEIGHT - _BOTTOM - room * max(0.0, value + s * error[i]) / top for s in (1, -1))
            whiskers.append(f"M{x:.1f},{high:.1f}V{low:.1f}")
    ticks = [(f"{_LEFT + width * (i + 0.5):.1f}", name) for i, name in enumerate(names)]
    return UnitChart(label, caption, lines=["".join(whiskers)] if whiskers else [], bars=bars, ticks=ticks)
