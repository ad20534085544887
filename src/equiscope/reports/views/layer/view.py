"""The view of a layer: what its units do, and all of them as pictures; its script sorts and filters them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from equiscope.families.family import INVARIANCE_CUT
from equiscope.foundations.errors import unknown_name
from equiscope.reports.document.pictures.sprites import Pictures
from equiscope.reports.document.schema import FamilyEntry, LayerEntry, NullEntry, UnitEntry
from equiscope.reports.document.wording import counted, measured
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.overview.article import SOURCE, article_claim
from equiscope.reports.views.overview.drawings import draw_layer_shares
from equiscope.reports.views.overview.shares import KINDS, overview_rows
from equiscope.reports.views.overview.view import layer_measure
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Charts, Fragment, View
from equiscope.transformations import find

__all__ = ["VIEW", "render_layers"]

_UNKNOWN = "?"


def render_layers(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render each layer, in the order of the network.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> pages = dict(render_layers(SiteContext(document, Pictures(document))))
    >>> {name: len(page.data["channels"]) for name, page in pages.items()}
    {'conv2d0': 48, 'conv2d1': 96}
    """
    names = list(context.layers)
    for place, layer in enumerate(context.document["layers"]):
        around = [names[i] if 0 <= i < len(names) else None for i in (place - 1, place + 1)]
        yield layer["name"], _render(context, layer, around)


def _render(context: SiteContext, layer: LayerEntry, around: Sequence[str | None]) -> Fragment:
    families = [
        family
        for family in context.document["families"]
        if any(member["layer"] == layer["name"] for member in family["members"])
    ]
    rows = overview_rows(layer, context.document["families"])
    for row in rows:
        row["claim"] = article_claim(context.document["model"]["name"], layer["name"], row["transformation"])
        row["said"] = _said(context, layer["name"], row["transformation"])
    units = context.units[layer["name"]]
    html = render_template(
        __name__,
        "layer.html.jinja",
        layer=layer,
        measure=layer_measure(layer),
        before=around[0],
        after=around[1],
        rows=rows,
        kinds=KINDS,
        source=SOURCE if any(row["claim"] for row in rows) else "",
        has_units=bool(units),
        families=[
            {"id": f["id"], "title": _title(f), "transformation": f["transformation"]} for f in families
        ],
    )
    return Fragment(html, _data(layer, units, families, context.pictures))


def _title(family: FamilyEntry) -> str:
    return find(family["transformation"]).title(family["size"])


def _said(context: SiteContext, layer: str, transformation: str) -> list[str]:
    """Word how the search went: its null, what did not pass, and notes."""
    said = []
    for result in context.document["results"]:
        if result["transformation"] == transformation and layer in result["layers"]:
            said.append(_null_sentence(result["null"], transformation))
            if result["n_refused"]:
                said.append(f"{counted(result['n_refused'], 'candidate')} did not pass.")
            said += [note.removeprefix(f"{transformation}: ") for note in result["notes"] if note]
    return said


def _null_sentence(null: NullEntry | None, transformation: str) -> str:
    expected = measured(null["families_expected"]) if null else None
    score_95 = measured(null["score_95"]) if null else None
    if expected is None and score_95 is None:
        return "No null was measured here, so it is not known how many families chance alone would give."
    # Where families are ranked by their gains the null is told in gains too.
    what = "have gains" if find(transformation).space.is_ranked_by_gain else "score"
    limit = f"95 % of its families {what} below {score_95:.2f}" if score_95 is not None else ""
    if expected is None:
        return f"In a null in which each unit’s pose is scrambled, {limit}."
    mean = f"{expected:.2g}" if expected < 1 else f"{expected:.1f}"
    found = f"gave {mean} families on average that pass the same test"
    return f"A null in which each unit’s pose is scrambled {found}{'; ' + limit if limit else ''}."


def _data(
    layer: LayerEntry, units: Sequence[UnitEntry], families: Sequence[FamilyEntry], pictures: Pictures
) -> dict[str, Any]:
    """Give all units in columns: where their pictures are, and what they do under each transformation.

    ``kinds`` has a letter a unit, the place of its kind in ``KINDS``; ``invariance`` hundredths; ``members`` lists of
    channel, place in ``families`` and score in hundredths.
    """
    sheets, tiles = _tiles(units, pictures)
    names = [kinds["transformation"] for kinds in layer["kinds"]]
    kinds: dict[str, list[str]] = {name: [_UNKNOWN] * len(units) for name in names}
    invariance: dict[str, list[int | None]] = {name: [None] * len(units) for name in names}
    for i, unit in enumerate(units):
        for line in unit["symmetries"]:
            if line["transformation"] in kinds and line["kind"] in KINDS:
                kinds[line["transformation"]][i] = str(KINDS.index(line["kind"]))
                value = measured(line["invariance"])
                invariance[line["transformation"]][i] = None if value is None else round(100 * value)
    place = {unit["channel"]: i for i, unit in enumerate(units)}
    members: dict[str, list[list[int | None]]] = defaultdict(list)
    for index, family in enumerate(families):
        for member in family["members"]:
            if member["layer"] == layer["name"] and member["channel"] in place:
                score = measured(member["score"])
                members[family["transformation"]].append(
                    [place[member["channel"]], index, None if score is None else round(100 * score)]
                )
    shown = list(dict.fromkeys([*names, *members]))
    return {
        "layer": layer["name"],
        "channels": [unit["channel"] for unit in units],
        "sheets": sheets,
        "tiles": tiles,
        "invarianceCut": INVARIANCE_CUT,
        "kindNames": list(KINDS),
        "families": [
            [f["id"], f["size"], measured(f["score"]), f["transformation"], _title(f)] for f in families
        ],
        "transformations": [
            {
                "name": name,
                "kinds": "".join(kinds.get(name, [_UNKNOWN] * len(units))),
                "invariance": invariance[name]
                if any(v is not None for v in invariance.get(name, []))
                else None,
                "members": members.get(name, []),
            }
            for name in shown
        ],
    }


def _tiles(
    units: Sequence[UnitEntry], pictures: Pictures
) -> tuple[list[tuple[str, int, int]], list[list[int] | None]]:
    """Give the sheets of the units' pictures, with their columns and rows, and for each unit sheet, column and row."""
    sheets: dict[tuple[str, int, int], int] = {}
    tiles: list[list[int] | None] = []
    for unit in units:
        tile = pictures.tile(unit["layer"], unit["channel"])
        if tile is None:
            tiles.append(None)
        else:
            sheet = sheets.setdefault((tile.sheet, tile.n_columns, tile.n_rows), len(sheets))
            tiles.append([sheet, tile.column, tile.row])
    return list(sheets), tiles


def _charts(context: SiteContext, name: str) -> Charts:
    if name not in context.layers:
        raise unknown_name("layer", name, context.layers)
    return {"shares": lambda: draw_layer_shares(context.layers[name])}


VIEW = View("layer", __name__, render_layers, script="layer.js", charts=_charts)
