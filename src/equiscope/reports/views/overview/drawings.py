"""What the units of each layer do, as charts for print: shares by depth, and the counts of one layer."""

from __future__ import annotations

from collections.abc import Sequence

from equiscope.reports.document.schema import LayerEntry
from equiscope.reports.drawing.svg import Drawing, Node, node, text_node
from equiscope.reports.views.overview.shares import KINDS, depth_view

__all__ = ["draw_layer_shares", "draw_shares"]

# The site's own colours of these kinds, on white.
_FILLS = {
    "equivariant": "#20618f",
    "invariant": "#e0a33a",
    "neither": "#c9cbc8",
    "inactive": "#ecece8",
    "not measurable": "#ffffff",
}


def draw_shares(layers: Sequence[LayerEntry]) -> Drawing | None:
    """Draw the share of equivariant and invariant units over the layers; None where nothing was measured.

    Parameters
    ----------
    layers
        In the order of the network.

    Examples
    --------
    >>> counts = {"equivariant": 3, "invariant": 1, "neither": 4, "inactive": 0, "not measurable": 0}
    >>> kinds = [{"transformation": "rotation", "counts": counts}]
    >>> drawing = draw_shares([{"name": name, "kinds": kinds} for name in ("conv1", "conv2")])
    >>> [own.children[0] for own in drawing.nodes if own.styles == "name end"]
    ['conv1', 'conv2']
    """
    view = depth_view(layers, {layer["name"]: "" for layer in layers})
    if view is None:
        return None
    nodes: list[Node] = [node("path", "grid", d=view["grid"])]
    nodes += [text_node(float(x), float(y), text, "text end") for x, y, text in view["ticks"]]
    for x, y, name, _ in view["layers"]:
        turned = f"translate({x},{y}) rotate(-35)"
        nodes.append(text_node(0.0, 0.0, name, "name end", transform=turned))
    for line in view["lines"]:
        own = node("g", "", colours=(line["light"], line["dark"]))
        own.add(node("path", "whisker", d=line["whiskers"]), node("path", "line", d=line["path"]))
        own.add(
            *(
                node("path", "spot", d=line["marker"], transform=f"translate({x},{y})")
                for x, y in line["points"]
            )
        )
        own.add(node("path", "whisker", d=line["leader"]))
        own.add(text_node(float(line["label"][0]), float(line["label"][1]), line["name"], "own-name"))
        nodes.append(own)
    return Drawing(
        float(view["width"]), float(view["height"]), nodes,
        "Share of equivariant and invariant units of each layer, with 95 % intervals",
    )  # fmt: skip


def draw_layer_shares(layer: LayerEntry) -> Drawing | None:
    """Draw how many units of one layer are of which kind, a bar a transformation; None where none was surveyed.

    Examples
    --------
    >>> counts = {"equivariant": 3, "invariant": 1, "neither": 4, "inactive": 0, "not measurable": 0}
    >>> kinds = [{"transformation": "rotation", "counts": counts}]
    >>> drawing = draw_layer_shares({"name": "conv1", "n_units": 8, "kinds": kinds})
    >>> drawing.label
    'What the 8 units of conv1 do under each transformation'
    >>> [own.children[0] for own in drawing.nodes if own.styles == "text middle"]
    ['3', '1', '4']
    """
    if not layer["kinds"]:
        return None
    left, width, row, top = 110.0, 430.0, 24.0, 34.0
    nodes = _draw_legend(left)
    for i, kinds in enumerate(layer["kinds"]):
        counts: dict[str, int] = dict(kinds["counts"])  # type: ignore[arg-type]
        total = max(1, sum(counts.values()))
        y, start = top + row * i, left
        nodes.append(text_node(left - 8, y + 8, kinds["transformation"], "text strong end"))
        for kind in KINDS:
            length = width * counts[kind] / total
            if not counts[kind]:
                continue
            nodes.append(_draw_box(kind, x=start, y=y, width=length, height=16))
            if length > 22:
                ink = "#ffffff" if kind == "equivariant" else "#1c1d1f"
                nodes.append(text_node(start + length / 2, y + 8, str(counts[kind]), "text middle", fill=ink))
            start += length
    label = f"What the {layer['n_units']} units of {layer['name']} do under each transformation"
    return Drawing(left + width + 8, top + row * len(layer["kinds"]), nodes, label)


def _draw_legend(left: float) -> list[Node]:
    """Draw a box in the colour of each kind, and its name beside it."""
    nodes: list[Node] = []
    x = left
    for kind in KINDS:
        nodes += [_draw_box(kind, x=x, y=6, width=10, height=10), text_node(x + 14, 11.0, kind)]
        x += 30 + 6.0 * len(kind)
    return nodes


def _draw_box(kind: str, x: float, y: float, width: float, height: float) -> Node:
    fill = _FILLS[kind]
    return node(
        "rect", "", x=x, y=y, width=width, height=height, fill=fill, stroke="#a9aba8", stroke_width=0.7
    )
