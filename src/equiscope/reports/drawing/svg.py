"""Drawings that are made once and written twice: for the site, whose style sheets colour them, and for print.

A `Drawing` is a tree of `Node`. Each node names its styles ("curve", "rim") instead of its colours. In the site these
become classes, so that a drawing follows the page into the dark and lights up under the pointer. For print they become
presentation attributes with fixed colours, which every program that reads SVG knows: no style sheet, no custom
property, no ``currentColor``; pictures are embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from markupsafe import Markup

from equiscope.foundations.received import printable_lines

__all__ = [
    "Drawing",
    "Node",
    "below",
    "beside",
    "draw_tile",
    "node",
    "styles_of",
    "text_node",
    "write_for_print",
    "write_for_site",
]

SANS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
MONO = "Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"
INK, SOFT, RULE, WELL, HOLE, RIM = "#1c1d1f", "#5d6066", "#d9d9d3", "#f5f5f1", "#e4e4dd", "#a9aba8"
_OWN = "own"

# How each style looks in print; ``own`` is the colour of the member, layer or transformation that is drawn. The site's
# charts.css has the same names.
STYLES: dict[str, dict[str, str]] = {
    "disk": {"fill": WELL},
    "well": {"fill": WELL},
    "ground": {"fill": "#ffffff"},
    "paper": {"fill": "#ffffff", "stroke": RULE, "stroke-width": "1"},
    "rim": {"fill": "none", "stroke": RIM, "stroke-width": "1"},
    "hue-rim": {"fill": "none", "stroke-width": "5"},
    "hole": {"fill": HOLE, "stroke": WELL, "stroke-width": "1.5"},
    "grid": {"fill": "none", "stroke": RULE, "stroke-width": "1"},
    "axis": {"fill": "none", "stroke": RIM, "stroke-width": "1"},
    "wrap": {"fill": "none", "stroke": INK, "stroke-width": "1.2", "stroke-dasharray": "6 4"},
    "curve": {"fill": _OWN, "fill-opacity": "0.05", "stroke": _OWN, "stroke-width": "1.7", "stroke-linejoin": "round"},
    "line": {"fill": "none", "stroke": _OWN, "stroke-width": "1.7", "stroke-linejoin": "round"},
    "dashed": {"stroke-dasharray": "5 3.5"},
    "mark": {"fill": "none", "stroke": _OWN, "stroke-width": "3.5"},
    "leader": {"fill": "none", "stroke": _OWN, "stroke-width": "1", "stroke-opacity": "0.7"},
    "whisker": {"fill": "none", "stroke": _OWN, "stroke-width": "1", "stroke-opacity": "0.55"},
    "span": {"fill": "none", "stroke": _OWN, "stroke-width": "2.4", "stroke-opacity": "0.45"},
    "spot": {"fill": _OWN},
    "open-spot": {"fill": "#ffffff", "stroke": _OWN, "stroke-width": "1.8"},
    "ring": {"fill": "none", "stroke": _OWN, "stroke-width": "2"},
    "ghost": {"fill": "none", "stroke": _OWN, "stroke-width": "1.5", "stroke-dasharray": "3 2.5"},
    "faded": {"opacity": "0.5"},
    "bar": {"fill": _OWN, "fill-opacity": "0.85"},
    "lower": {"fill-opacity": "0.5"},
    "heat": {"fill": "none", "stroke": _OWN, "stroke-width": "1.02"},
    "unmeasured": {"fill": "none", "stroke": RULE, "stroke-width": "1"},
    "tick": {"fill": "none", "stroke": _OWN, "stroke-width": "2.4"},
    "member": {},
    "nothing": {"fill": RULE, "fill-opacity": "0.6"},
    "lane": {"fill": "none"},
    "member-lane": {},
    "label": {},
    "angle": {"font-size": "8.5"},
    "text": {"fill": SOFT, "font-family": SANS, "font-size": "11"},
    "name": {"fill": INK, "font-family": MONO, "font-size": "10.5"},
    "own-name": {"fill": _OWN, "font-family": MONO, "font-size": "10.5"},
    "pose": {"fill": INK, "font-family": SANS, "font-size": "12", "font-weight": "600"},
    "heading": {"fill": INK, "font-family": SANS, "font-size": "12.5", "font-weight": "600"},
    "small": {"font-size": "9.5"},
    "strong": {"fill": INK},
    "start": {"text-anchor": "start"},
    "middle": {"text-anchor": "middle"},
    "end": {"text-anchor": "end"},
    "tile": {},
    "frame": {"fill": "none"},
    "kernels": {"image-rendering": "optimizeSpeed"},
}  # fmt: skip

# Centres a line of text on its place. ``dominant-baseline`` would say so, but print programs do not read it.
_CENTRED = "0.35em"
_MARGIN = 10.0


@dataclass
class Node:
    """One element.

    Attributes
    ----------
    tag, attributes, children
        Of the element; text among the children is escaped.
    styles
        Names of its styles, separated by spaces; a later one wins.
    colours
        Own colour of it and all inside it, for a light and for a dark page.
    unit
        ``LAYER:CHANNEL`` that it shows: the site lights up all elements of one unit together.
    """

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)
    styles: str = ""
    colours: tuple[str, str] | None = None
    unit: str | None = None

    def add(self, *children: Node | str) -> Node:
        """Add children and give the node itself."""
        self.children.extend(children)
        return self


@dataclass(frozen=True)
class Drawing:
    """A drawing with its size, about one CSS pixel a unit.

    Attributes
    ----------
    width, height
        Of the view box.
    nodes
        What is drawn.
    label
        What it shows, in words.
    left, top
        Corner of the view box.
    """

    width: float
    height: float
    nodes: Sequence[Node]
    label: str
    left: float = 0.0
    top: float = 0.0


def node(
    tag: str,
    styles: str = "",
    *children: Node | str,
    colours: tuple[str, str] | None = None,
    unit: str | None = None,
    **attributes: Any,
) -> Node:
    """Make a node; an underscore in the name of an attribute stands for a hyphen, numbers are rounded."""
    written = {
        key.rstrip("_").replace("_", "-"): _number(value)
        for key, value in attributes.items()
        if value is not None
    }
    return Node(tag, written, list(children), styles, colours, unit)


def text_node(x: float, y: float, text: str, styles: str = "text", **attributes: Any) -> Node:
    """Make a line of text, centred on ``y``."""
    return node("text", styles, text, x=x, y=y, dy=_CENTRED, **attributes)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return (
            f"{value:.2f}".rstrip("0").rstrip(".").replace("-0", "0")
            if abs(value) < 0.005
            else f"{value:.2f}".rstrip("0").rstrip(".")
        )
    return str(value)


def draw_tile(tile: Any, x: float, y: float, side: float, *, is_round: bool, label: str = "") -> Node:
    """Draw a tile of a sheet of pictures into a square, or the circle in it.

    Parameters
    ----------
    tile
        `equiscope.reports.document.pictures.sprites.Tile`.
    x, y, side
        Corner and side of the square.
    is_round
        Show what is inside the circle.
    label
        Alternative text; without one the picture is left to what stands beside it.
    """
    image = node(
        "image", "", href=tile.sheet, x=-tile.column, y=-tile.row, width=tile.n_columns, height=tile.n_rows,
        preserveAspectRatio="none",
    )  # fmt: skip
    shape: dict[str, Any] = {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    square = Node("svg", {}, [], "tile")
    square.attributes = {
        "x": _number(x), "y": _number(y), "width": _number(side), "height": _number(side), "viewBox": "0 0 1 1",
        "preserveAspectRatio": "none", **shape,
    }  # fmt: skip
    if is_round:
        return square.add(node("g", "", image, clip_path=f"url(#{ROUND})"))
    return square.add(image)


ROUND = "round-picture"


def _round_clip() -> Node:
    # One for all pictures: each has a user space of its own, from 0 to 1.
    return node("clipPath", "", node("circle", "", cx=0.5, cy=0.5, r=0.5), id=ROUND)


def beside(drawings: Sequence[Drawing], gap: float, label: str) -> Drawing:
    """Put drawings side by side, their tops in one line."""
    nodes, x = [], 0.0
    for own in drawings:
        place = f"translate({_number(x - own.left)},{_number(-own.top)})"
        nodes.append(node("g", "", *own.nodes, transform=place))
        x += own.width + gap
    return Drawing(x - gap, max(own.height for own in drawings), nodes, label)


def below(drawings: Sequence[Drawing], gap: float, label: str) -> Drawing:
    """Put drawings below each other, their left edges in one line."""
    nodes, y = [], 0.0
    for own in drawings:
        place = f"translate({_number(-own.left)},{_number(y - own.top)})"
        nodes.append(node("g", "", *own.nodes, transform=place))
        y += own.height + gap
    return Drawing(max(own.width for own in drawings), y - gap, nodes, label)


def styles_of(drawing: Drawing) -> set[str]:
    """Names of all styles in a drawing."""
    return {name for own in _walk(drawing.nodes) for name in own.styles.split()}


def _walk(nodes: Sequence[Node | str]) -> Iterator[Node]:
    for own in nodes:
        if isinstance(own, Node):
            yield own
            yield from _walk(own.children)


def write_for_site(drawing: Drawing, extra: str = "") -> Markup:
    """Write a drawing for the site, where classes stand for styles.

    Parameters
    ----------
    drawing
        What to write.
    extra
        Further classes of the ``<svg>`` itself.
    """
    inside = "".join(_write(own, _class_attributes) for own in _with_clip(drawing))
    head = f'<svg class="{escape(f"chart {extra}".strip())}" viewBox="{_view_box(drawing)}" role="group"'
    text = f'{head} aria-label="{escape(drawing.label)}">{inside}</svg>'
    return Markup(text)  # noqa: S704 - everything in it was escaped


def write_for_print(drawing: Drawing, picture: Callable[[Node], str | None]) -> str:
    """Write a drawing as an SVG file that needs nothing else.

    Parameters
    ----------
    drawing
        What to write.
    picture
        Gives the ``data:`` address of what an ``<image>`` of a sheet shows, or None where there is nothing: the image
        is then left out.
    """
    drawing = _with_margin(drawing)
    root = node("g", "", *drawing.nodes)
    nodes = (
        [_round_clip(), _embedded(root, picture)] if _has_round(drawing.nodes) else [_embedded(root, picture)]
    )
    inside = "".join(_write(own, _print_attributes) for own in nodes)
    left, top, width, height = _view_box(drawing).split()
    return printable_lines(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="{_view_box(drawing)}" role="img">\n'
        f"<title>{escape(drawing.label)}</title>\n"
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#ffffff"/>\n{inside}\n</svg>\n'
    )


def _with_margin(drawing: Drawing) -> Drawing:
    """Leave room round a drawing, for what stands on its edge."""
    return replace(
        drawing,
        width=drawing.width + 2 * _MARGIN,
        height=drawing.height + 2 * _MARGIN,
        left=drawing.left - _MARGIN,
        top=drawing.top - _MARGIN,
    )


def _view_box(drawing: Drawing) -> str:
    return " ".join(_number(value) for value in (drawing.left, drawing.top, drawing.width, drawing.height))


def _has_round(nodes: Sequence[Node]) -> bool:
    return any(own.attributes.get("clip-path") == f"url(#{ROUND})" for own in _walk(nodes))


def _with_clip(drawing: Drawing) -> list[Node]:
    return [*([_round_clip()] if _has_round(drawing.nodes) else []), *drawing.nodes]


Attributes = Callable[[Node, str], tuple[dict[str, str], str]]


def _write(own: Node, attributes_of: Attributes, colour: str = INK) -> str:
    # Plain text put together by hand: a run has some hundred thousand elements.
    attributes, colour = attributes_of(own, colour)
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    if not own.children:
        return f"<{own.tag}{written}/>"
    inside = "".join(
        _write(child, attributes_of, colour) if isinstance(child, Node) else escape(child)
        for child in own.children
    )
    return f"<{own.tag}{written}>{inside}</{own.tag}>"


def _class_attributes(own: Node, colour: str) -> tuple[dict[str, str], str]:
    attributes = dict(own.attributes)
    if own.styles:
        attributes["class"] = own.styles
    if own.colours:
        attributes["style"] = f"--light:{own.colours[0]};--dark:{own.colours[1]}"
        attributes["class"] = f"{own.styles} own".strip()
    if own.unit:
        attributes["data-unit"] = own.unit
    return attributes, colour


def _print_attributes(own: Node, colour: str) -> tuple[dict[str, str], str]:
    if own.colours:
        colour = own.colours[0]
    attributes: dict[str, str] = {}
    for name in own.styles.split():
        attributes |= {key: colour if value == _OWN else value for key, value in STYLES[name].items()}
    kept = {
        key: value
        for key, value in own.attributes.items()
        # Behaviour and accessibility of the site mean nothing in print.
        if not key.startswith(("data-", "aria-")) and key not in ("role", "tabindex")
    }
    return attributes | kept, colour


def _embedded(own: Node, picture: Callable[[Node], str | None]) -> Node:
    """Copy with every image's address embedded, and links as plain groups."""
    children: list[Node | str] = []
    for child in own.children:
        if not isinstance(child, Node):
            children.append(child)
            continue
        if child.tag == "image" and not child.attributes["href"].startswith("data:"):
            address = picture(child)
            if address is None:
                continue
            shown = {"href": address, "xlink:href": address, "x": "0", "y": "0", "width": "1", "height": "1"}
            children.append(Node("image", child.attributes | shown, [], child.styles))
            continue
        children.append(_embedded(child, picture))
    if own.tag == "a":
        kept = {key: value for key, value in own.attributes.items() if key != "href"}
        return Node("g", kept, children, own.styles, own.colours, own.unit)
    attributes = dict(own.attributes)
    if own.tag == "image":
        attributes["xlink:href"] = attributes["href"]
    return Node(own.tag, attributes, children, own.styles, own.colours, own.unit)
