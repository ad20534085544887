"""The whole network at once: a column a layer, a dot a family, a line for each of the strongest circuits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, sqrt
from typing import Any

from equiscope.evidence.circuits import Circuit
from equiscope.evidence.circuits.tying_axes import stretches
from equiscope.families.asked import family_of
from equiscope.reports.document.wording import measured, number
from equiscope.reports.views.circuit.ends import Ends, colours_of, is_unit, place_of, strength_of

__all__ = ["layers_in_order", "network_data"]

# Lines drawn into each family.
_N_INTO = 4
_WIDTH, _MARGIN, _TOP, _BOTTOM, _ROW, _SUBCOLUMN = 1000.0, 40.0, 34.0, 14.0, 13.0, 15.0
# More dots than this below each other would make the drawing higher than a window: they stand in several columns.
_MOST_ROWS = 52


def layers_in_order(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Order layers as the network does, given every two of them as (earlier, later).

    Examples
    --------
    >>> layers_in_order([("conv1", "conv3"), ("conv2", "conv3"), ("conv1", "conv2")])
    ['conv1', 'conv2', 'conv3']
    """
    sources: dict[str, set[str]] = {}
    for source, target in pairs:
        sources.setdefault(source, set())
        sources.setdefault(target, set()).add(source)
    return sorted(sources, key=lambda layer: len(sources[layer]))


def network_data(circuits: Sequence[Circuit], layers: Sequence[str], ends: Ends) -> dict[str, Any] | None:
    """Work out the drawing of all families and the strongest circuits between them; None without any.

    Parameters
    ----------
    circuits
        All circuits.
    layers
        In the network's order.
    ends
        The families.

    Returns
    -------
    dict or None
        ``columns`` (x, name, text anchor, families), ``dots`` (x, y, radius, place of its transformation, name,
        members, symmetric circuits in and out, whether it has a view) and ``edges`` (places of both ends, width,
        opacity, R² in words), the strongest last. ``circuits.js`` draws them: written out they
        would be ten times as long.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.evidence.circuits import load_circuits
    >>> from equiscope.reports import load_document
    >>> folder = Path("equiscope-runs/mini")
    >>> ends = Ends(load_document(folder)["families"])
    >>> data = network_data(load_circuits(folder).circuits, ["conv2d0", "conv2d1"], ends)
    >>> [name for _, name, *_ in data["columns"]], [name for name, *_ in data["kinds"]]
    (['conv2d0', 'conv2d1'], ['rotation', 'hue'])
    """
    between = [
        c
        for c in circuits
        # Families that span layers have no place in a column.
        if not (is_unit(c.source, c.source_layer) or is_unit(c.target, c.target_layer))
        and not stretches(c.transformation)
    ]
    sizes: dict[str, int] = {}
    layer_of: dict[str, str] = {}
    for c in between:
        sizes |= {c.source: c.n_source, c.target: c.n_target}
        layer_of |= {c.source: c.source_layer, c.target: c.target_layer}
    if not sizes:
        return None
    edges = _strongest(between)
    places, height, columns = _place(layers, sizes, layer_of, edges, ends)
    number_of = {name: i for i, name in enumerate(places)}
    used = sorted({ends.transformation(name) for name in places}, key=place_of)
    return {
        "width": _WIDTH,
        "height": round(height),
        "columns": columns,
        "dots": _dots(between, places, sizes, used, ends),
        # Strong ones last, on top of the others.
        "edges": [_edge(c, number_of) for c in sorted(edges, key=lambda c: strength_of(c))],
        "kinds": [[name, *colours_of(name)] for name in used],
        "nInto": _N_INTO,
    }


def _dots(
    circuits: Iterable[Circuit],
    places: Mapping[str, tuple[float, float]],
    sizes: Mapping[str, int],
    used: Sequence[str],
    ends: Ends,
) -> list[list[Any]]:
    """Describe each family's dot, with its symmetric circuits in and out counted."""
    symmetric = [c for c in circuits if c.is_symmetric]
    n_in, n_out = Counter(c.target for c in symmetric), Counter(c.source for c in symmetric)
    return [
        [
            round(x, 1), round(y, 1), round(_radius(sizes[name]), 1), used.index(ends.transformation(name)), name,
            sizes[name], n_in[name], n_out[name], int(name in ends.families),
        ]
        for name, (x, y) in places.items()
    ]  # fmt: skip


def _strongest(circuits: Iterable[Circuit]) -> list[Circuit]:
    """Give the strongest symmetric circuits into each family."""
    into: dict[str, list[Circuit]] = defaultdict(list)
    for c in circuits:
        if c.is_symmetric:
            into[c.target].append(c)
    # Pairs are many, and each circuit of theirs says little: their lines would hide those of the larger families.
    return [
        c
        for own in into.values()
        for c in sorted(own, key=lambda c: -strength_of(c))[: 1 if own[0].pair_class else _N_INTO]
    ]


def _radius(size: int) -> float:
    return min(6.0, 1.6 + 1.1 * sqrt(size))


def _place(
    layers: Sequence[str],
    sizes: Mapping[str, int],
    layer_of: Mapping[str, str],
    edges: Sequence[Circuit],
    ends: Ends,
) -> tuple[dict[str, tuple[float, float]], float, list[list[Any]]]:
    """Place families: by transformation, and within one near what feeds them, so that lines cross less."""
    fed_by: dict[str, list[str]] = defaultdict(list)
    for c in edges:
        fed_by[c.target].append(c.source)
    own = {layer: [name for name in sizes if layer_of[name] == layer] for layer in layers}
    n_rows = max(min(max(map(len, own.values()), default=1), _MOST_ROWS), 10)
    height = _TOP + _BOTTOM + _ROW * n_rows
    step = (_WIDTH - 2 * _MARGIN) / max(len(layers) - 1, 1)
    places: dict[str, tuple[float, float]] = {}
    columns: list[list[Any]] = []
    for number_of_layer, layer in enumerate(layers):
        names = own[layer]
        x = _MARGIN + step * number_of_layer

        def key(name: str) -> tuple[int, float, int]:
            above = [places[source][1] for source in fed_by[name] if source in places]
            tail = family_of(name).rpartition("-")[2]
            return (
                place_of(ends.transformation(name)),
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
        columns.append([round(edge, 1), layer, anchor, len(names)])
    return places, height, columns


def _edge(c: Circuit, number_of: Mapping[str, int]) -> list[Any]:
    share, r2 = measured(c.energy_share) or 0.0, measured(c.r2) or 0.0
    return [
        number_of[c.source],
        number_of[c.target],
        round(min(7.0, 0.7 + 14 * share), 2),
        round(0.08 + 0.7 * min(max(r2, 0.0), 1.0), 2),
        number(c.r2),
    ]
