"""What the units of each layer do under each transformation: the table, and the shares by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equiscope.families.shares import Judged, count_copies
from equiscope.foundations.statistics import share_interval
from equiscope.reports.document.schema import FamilyEntry, KindsEntry, LayerEntry
from equiscope.reports.drawing.charts import MARKERS, spread_labels
from equiscope.reports.drawing.palette import category_colours

__all__ = ["KINDS", "depth_view", "judged_entry", "overview_rows"]

KINDS = ("equivariant", "invariant", "neither", "inactive", "not measurable")

# The chart by depth, in units of its view box: a CSS pixel each at full width.
_WIDTH, _HEIGHT = 900.0, 372.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 130.0, 14.0, 78.0
# Where a share of 0 stands.
_BASE = _HEIGHT - _BOTTOM
# Lines stand beside each other by this much, so that the ends of their intervals can be told apart.
_DODGE = 5.0


def _share(kinds: KindsEntry) -> tuple[float, float, float] | None:
    """Share of equivariant and invariant units among all, with its interval; None where no unit was measured."""
    counts: dict[str, int] = dict(kinds["counts"])  # type: ignore[arg-type]
    total = sum(counts.values())
    if not total or counts["inactive"] + counts["not measurable"] == total:
        return None
    n = counts["equivariant"] + counts["invariant"]
    low, high = share_interval(n, total)
    return n / total, low, high


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def overview_rows(layer: LayerEntry, families: Sequence[FamilyEntry]) -> list[dict[str, Any]]:
    """Give one row a transformation of a layer.

    Parameters
    ----------
    layer
        The layer.
    families
        All families; counted are those with a member in the layer.

    Examples
    --------
    >>> counts = {"equivariant": 3, "invariant": 1, "neither": 4, "inactive": 0, "not measurable": 0}
    >>> kinds = [{"transformation": "rotation", "counts": counts}]
    >>> (row,) = overview_rows({"name": "conv1", "kinds": kinds}, families=[])
    >>> row["transformation"], row["share"], row["interval"]
    ('rotation', '50 %', '22 to 78')
    """
    rows = []
    for kinds in layer["kinds"]:
        counts: dict[str, int] = dict(kinds["counts"])  # type: ignore[arg-type]
        total = max(1, sum(counts.values()))
        share = _share(kinds)
        rows.append(
            {
                "transformation": kinds["transformation"],
                "counts": [
                    {
                        "kind": kind,
                        "n": counts[kind],
                        "percent": _percent(counts[kind] / total),
                        "grow": f"{100 * counts[kind] / total:.2f}",
                    }
                    for kind in KINDS
                ],
                "share": "–" if share is None else _percent(share[0]),
                "interval": None if share is None else f"{100 * share[1]:.0f} to {100 * share[2]:.0f}",
                "n_families": sum(
                    family["transformation"] == kinds["transformation"]
                    and any(member["layer"] == layer["name"] for member in family["members"])
                    for family in families
                ),
                "copies": _copies(layer, kinds["transformation"], families),
            }
        )
    return rows


def judged_entry(family: FamilyEntry) -> Judged:
    """Give a family of a document as its verdict has it; units are (layer, channel).

    Examples
    --------
    >>> members = [{"layer": "conv1", "channel": channel} for channel in (4, 7)]
    >>> verdict = {"word": "copies", "cores": [{"members": [0, 1]}]}
    >>> judged_entry({"members": members, "verdict": verdict})
    Judged(units=(('conv1', 4), ('conv1', 7)), word='copies', cores=[[0, 1]])
    """
    units = tuple((member["layer"], member["channel"]) for member in family["members"])
    verdict = family.get("verdict")
    if verdict is None:
        return Judged(units, "", ())
    return Judged(units, verdict["word"], [core["members"] for core in verdict["cores"]])


def _copies(layer: LayerEntry, transformation: str, families: Sequence[FamilyEntry]) -> dict[str, Any] | None:
    """Word the share of a layer's units that are copies by their weights; None where the run has no verdicts."""
    if all(family.get("verdict") is None for family in families):
        return None
    own = [judged_entry(family) for family in families if family["transformation"] == transformation]
    found = count_copies(own, ((layer["name"], channel) for channel in range(layer["n_units"])))
    return {
        "share": _percent(found.share) if found.is_measured else "–",
        "interval": f"{100 * found.low:.0f} to {100 * found.high:.0f}" if found.is_measured else None,
        "n_untested": found.n_untested,
    }


def _y_of(share: float) -> float:
    return _BASE - (_BASE - _TOP) * share


def _line(
    number: int, xs: Sequence[float], shares: Sequence[tuple[float, float, float] | None]
) -> dict[str, Any]:
    """Draw the shares of one transformation: a line that is open where nothing was measured, and its intervals."""
    path, whiskers, points, is_open = [], [], [], False
    for x, value in zip(xs, shares, strict=True):
        if value is None:
            is_open = False
            continue
        y = _y_of(value[0])
        path.append(f"{'L' if is_open else 'M'}{x:.1f},{y:.1f}")
        whiskers.append(f"M{x:.1f},{_y_of(value[1]):.1f}V{_y_of(value[2]):.1f}")
        points.append((f"{x:.1f}", f"{y:.1f}"))
        is_open = True
    light, dark = category_colours(number)
    return {
        "light": light,
        "dark": dark,
        "path": "".join(path),
        "whiskers": "".join(whiskers),
        "points": points,
        "marker": MARKERS[number % len(MARKERS)],
        "end": (float(points[-1][0]), float(points[-1][1])),
    }


def depth_view(layers: Sequence[LayerEntry], anchors: Mapping[str, str]) -> dict[str, Any] | None:
    """Draw the share of equivariant and invariant units over the layers, one line a transformation.

    Parameters
    ----------
    layers
        In the order of the network.
    anchors
        Where the names of the layers lead.

    Returns
    -------
    dict or None
        None where nothing was measured, or there is but one layer.

    Examples
    --------
    >>> counts = {"equivariant": 3, "invariant": 1, "neither": 4, "inactive": 0, "not measurable": 0}
    >>> kinds = [{"transformation": "rotation", "counts": counts}]
    >>> layers = [{"name": name, "kinds": kinds} for name in ("conv1", "conv2")]
    >>> view = depth_view(layers, {"conv1": "#/layer/conv1", "conv2": "#/layer/conv2"})
    >>> [(line["name"], line["points"]) for line in view["lines"]]
    [('rotation', [('228.5', '154.0'), ('589.5', '154.0')])]
    """
    names = list(dict.fromkeys(k["transformation"] for layer in layers for k in layer["kinds"]))
    shares: dict[str, list[tuple[float, float, float] | None]] = {name: [] for name in names}
    for layer in layers:
        own = {kinds["transformation"]: _share(kinds) for kinds in layer["kinds"]}
        for name in names:
            shares[name].append(own.get(name))
    shares = {name: values for name, values in shares.items() if any(value is not None for value in values)}
    if len(layers) < 2 or not shares:
        return None
    base = _BASE
    step = (_WIDTH - _LEFT - _RIGHT) / len(layers)
    dodge = min(_DODGE, 0.8 * step / max(1, len(shares)))
    lines: list[dict[str, Any]] = []
    for number, (name, values) in enumerate(shares.items()):
        offset = dodge * (number - (len(shares) - 1) / 2)
        xs = [_LEFT + step * (index + 0.5) + offset for index in range(len(values))]
        lines.append({"name": name, **_line(number, xs, values)})
    places = spread_labels([line["end"][1] for line in lines], 15.0, _TOP, base)
    x_label = _WIDTH - _RIGHT + 14
    for line, y in zip(lines, places, strict=True):
        x_end, y_end = line["end"]
        line["label"] = (f"{x_label:.1f}", f"{y:.1f}")
        line["leader"] = f"M{x_end + 6:.1f},{y_end:.1f}L{x_label - 4:.1f},{y:.1f}"
    return {
        "width": f"{_WIDTH:g}",
        "height": f"{_HEIGHT:g}",
        "grid": "".join(f"M{_LEFT:g},{_y_of(k / 4):.1f}H{_WIDTH - _RIGHT:g}" for k in range(5)),
        "ticks": [(f"{_LEFT - 8:g}", f"{_y_of(k / 4):.1f}", f"{25 * k} %") for k in range(5)],
        "layers": [
            (f"{_LEFT + step * (i + 0.5):.1f}", f"{base + 14:.1f}", layer["name"], anchors[layer["name"]])
            for i, layer in enumerate(layers)
        ],
        "lines": lines,
    }
