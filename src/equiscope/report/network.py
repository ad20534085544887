"""The whole network at once: a column a layer, a dot a family, a line for each of the strongest circuits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any

from equiscope.circuits import Circuit
from equiscope.report.circuit_ends import Ends, colours_of, is_unit, strength_of
from equiscope.report.wording import counted, measured, number

__all__ = ["layers_in_order", "network_view"]

_ORDER = ("rotation", "hue-rotation", "hue", "contrast", "reflection")
# Lines drawn into each family.
_N_INTO = 4
_WIDTH, _MARGIN, _TOP, _BOTTOM, _ROW, _SUBCOLUMN = 1000.0, 40.0, 34.0, 14.0, 13.0, 15.0
# More dots than this below each other would make the drawing higher than a window: they stand in several columns.
_MOST_ROWS = 52


def layers_in_order(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Order layers as the network does, given every two of them as (earlier, later)."""
    sources: dict[str, set[str]] = {}
    for source, target in pairs:
        sources.setdefault(source, set())
        sources.setdefault(target, set()).add(source)
    return sorted(sources, key=lambda layer: len(sources[layer]))


def network_view(
    circuits: Sequence[Circuit], layers: Sequence[str], ends: Ends, anchors: Mapping[str, str]
) -> dict[str, Any] | None:
    """Work out the drawing of all families and the strongest circuits between them; None without any.

    Parameters
    ----------
    circuits
        All circuits.
    layers
        In the network's order.
    ends
        The families.
    anchors
        Where a click on a family leads.
    """
    between = [
        c for c in circuits if not (is_unit(c.source, c.source_layer) or is_unit(c.target, c.target_layer))
    ]
    sizes: dict[str, int] = {}
    layer_of: dict[str, str] = {}
    for c in between:
        for name, layer, size in (
            (c.source, c.source_layer, c.n_source),
            (c.target, c.target_layer, c.n_target),
        ):
            sizes[name], layer_of[name] = size, layer
    if not sizes:
        return None
    into: dict[str, list[Circuit]] = defaultdict(list)
    for c in between:
        if c.is_symmetric:
            into[c.target].append(c)
    # Pairs are many, and each circuit of theirs says little: their lines would hide those of the larger families.
    edges = [
        c
        for own in into.values()
        for c in sorted(own, key=lambda c: -strength_of(c))[: 1 if own[0].pair_class else _N_INTO]
    ]
    places, height, columns = _place(layers, sizes, layer_of, edges, ends)
    names = list(places)
    number_of = {name: i for i, name in enumerate(names)}
    n_in: dict[str, int] = defaultdict(int)
    n_out: dict[str, int] = defaultdict(int)
    for c in between:
        if c.is_symmetric:
            n_in[c.target] += 1
            n_out[c.source] += 1
    dots = []
    for name in names:
        x, y = places[name]
        light, dark = colours_of(ends.transformation(name))
        dots.append(
            {
                "x": f"{x:.1f}",
                "y": f"{y:.1f}",
                "r": f"{_radius(sizes[name]):.1f}",
                "light": light,
                "dark": dark,
                "name": name,
                "label": f"{name}: {counted(sizes[name], 'member')}, {counted(n_in[name], 'symmetric circuit')} in, "
                f"{n_out[name]} out",
                "anchor": anchors.get(name),
            }
        )
    used = sorted({ends.transformation(name) for name in names}, key=_rank)
    return {
        "width": f"{_WIDTH:g}",
        "height": f"{height:.0f}",
        "columns": columns,
        # Strong ones last, on top of the others.
        "edges": [
            _edge(c, places, number_of, sizes, ends) for c in sorted(edges, key=lambda c: strength_of(c))
        ],
        "dots": dots,
        "legend": [(name, *colours_of(name)) for name in used if name],
        "n_edges": f"{len(edges):,}",
        "n_into": _N_INTO,
    }


def _rank(transformation: str) -> int:
    """Place of a transformation in a column, what turns first."""
    return _ORDER.index(transformation) if transformation in _ORDER else len(_ORDER)


def _radius(size: int) -> float:
    return min(6.0, 1.6 + 1.1 * sqrt(size))


def _place(
    layers: Sequence[str],
    sizes: Mapping[str, int],
    layer_of: Mapping[str, str],
    edges: Sequence[Circuit],
    ends: Ends,
) -> tuple[dict[str, tuple[float, float]], float, list[dict[str, str]]]:
    """Place families: by transformation, and within one near what feeds them, so that lines cross less."""
    fed_by: dict[str, list[str]] = defaultdict(list)
    for c in edges:
        fed_by[c.target].append(c.source)
    own = {layer: [name for name in sizes if layer_of[name] == layer] for layer in layers}
    n_rows = max(min(max(map(len, own.values()), default=1), _MOST_ROWS), 10)
    height = _TOP + _BOTTOM + _ROW * n_rows
    step = (_WIDTH - 2 * _MARGIN) / max(len(layers) - 1, 1)
    places: dict[str, tuple[float, float]] = {}
    columns = []
    for number_of_layer, layer in enumerate(layers):
        names = own[layer]
        x = _MARGIN + step * number_of_layer

        def key(name: str) -> tuple[int, float, int]:
            above = [places[source][1] for source in fed_by[name] if source in places]
            tail = name.rpartition("-")[2]
            return (
                _rank(ends.transformation(name)),
                sum(above) / len(above) if above else height,
                int(tail) if tail.isdecimal() else 0,
            )

        names.sort(key=key)
        n_columns = max(1, ceil(len(names) / n_rows))
        deep = ceil(len(names) / n_columns) if names else 0
        pitch = (height - _TOP - _BOTTOM) / max(n_rows, 1)
        start = _TOP + (height - _TOP - _BOTTOM - pitch * (deep - 1)) / 2
        for i, name in enumerate(names):
            row, column = i // n_columns, i % n_columns
            places[name] = (x + _SUBCOLUMN * (column - (n_columns - 1) / 2), start + pitch * row)
        anchor = "start" if not number_of_layer else "end" if number_of_layer == len(layers) - 1 else "middle"
        edge = {"start": x - _MARGIN, "end": x + _MARGIN, "middle": x}[anchor]
        columns.append({"x": f"{edge:.1f}", "name": layer, "anchor": anchor, "n": str(len(names))})
    return places, height, columns


def _edge(
    c: Circuit,
    places: Mapping[str, tuple[float, float]],
    number_of: Mapping[str, int],
    sizes: Mapping[str, int],
    ends: Ends,
) -> dict[str, Any]:
    (x0, y0), (x1, y1) = places[c.source], places[c.target]
    x0, x1 = x0 + _radius(sizes[c.source]), x1 - _radius(sizes[c.target])
    bend = 0.45 * (x1 - x0)
    share, r2 = measured(c.energy_share) or 0.0, measured(c.r2) or 0.0
    light, dark = colours_of(ends.transformation(c.source))
    return {
        "path": f"M{x0:.1f},{y0:.1f}C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}",
        "source": number_of[c.source],
        "target": number_of[c.target],
        "width": f"{min(7.0, 0.7 + 14 * share):.2f}",
        "opacity": f"{0.08 + 0.7 * min(max(r2, 0.0), 1.0):.2f}",
        "light": light,
        "dark": dark,
        "label": f"{c.source} to {c.target}: R² {number(c.r2)}",
    }
