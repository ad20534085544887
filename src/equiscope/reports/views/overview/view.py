"""The first view: what was found, the network as a strip of layers, and what the units of each layer do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from equiscope.construction.simplify import TRANSFORMATIONS
from equiscope.evidence.circuits.tying_axes import is_pair
from equiscope.families.shares import count_copies
from equiscope.families.verdict import ALIKE_IN_POSE, COPIES, UNTESTED
from equiscope.foundations.received import shown_command
from equiscope.reports.document.schema import FamilyEntry, LayerEntry, MemberEntry, ReportDocument
from equiscope.reports.document.wording import MISSING, counted, measured, number
from equiscope.reports.views.budget.evidence import BUDGET
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.overview.article import SOURCE, article_claim
from equiscope.reports.views.overview.drawings import draw_shares
from equiscope.reports.views.overview.shares import KINDS, depth_view, judged_entry, overview_rows
from equiscope.reports.views.simplify.evidence import SIMPLIFICATION
from equiscope.reports.views.templates import render_template, view_address
from equiscope.reports.views.view import Charts, Fragment, View
from equiscope.transformations import Words, find

__all__ = ["VIEW", "layer_measure", "render_overview"]

# Members whose pictures stand for a family in lists, and families whose pictures stand for a layer.
_N_MEMBERS = 4
_N_FAMILIES = 6


def render_overview(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the overview; its data is what search and the list of families go by.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> ((name, page),) = render_overview(SiteContext(document, Pictures(document)))
    >>> page.data["layers"], page.data["transformations"]
    ([['conv2d0', 48], ['conv2d1', 96]], ['rotation', 'hue'])
    """
    document = context.document
    layers = [_layer(context, layer) for layer in document["layers"]]
    transformations = list(
        dict.fromkeys(k["transformation"] for entry in document["layers"] for k in entry["kinds"])
    )
    depth = depth_view(document["layers"], {name: view_address("layer", name) for name in context.layers})
    html = render_template(
        __name__,
        "overview.html.jinja",
        document=document,
        command=shown_command(document["command"]) if document["command"] else MISSING,
        layers=layers,
        transformations=transformations,
        depth=depth,
        facts=_facts(document),
        has_verdicts=bool(_verdicts(document["families"])),
        kinds=KINDS,
        has_circuits=context.found(CIRCUITS) is not None,
        has_budget=context.found(BUDGET) is not None,
        has_simplification=context.found(SIMPLIFICATION) is not None,
        can_be_tied=any(family["transformation"] in TRANSFORMATIONS for family in document["families"]),
        finished=document.get("is_finished", True),
        verified=any(family["verification"] for family in document["families"]),
        source=SOURCE if any(row["claim"] for entry in layers for row in entry["rows"]) else "",
        largest=_largest(context),
    )
    yield "", Fragment(html, _index(context))


def _charts(context: SiteContext, _name: str) -> Charts:
    return {"shares": lambda: draw_shares(context.document["layers"])}


def _transformations_of(document: ReportDocument) -> list[str]:
    """All transformations: as they were surveyed, then those that only families have."""
    surveyed = [
        *document["settings"]["transformations"],
        *(result["transformation"] for result in document["results"]),
        *(family["transformation"] for family in document["families"]),
    ]
    return list(dict.fromkeys(surveyed))


def layer_measure(layer: LayerEntry) -> str:
    """Give what a layer is, in a line: units, receptive field, stride.

    Examples
    --------
    >>> layer = {"n_units": 64, "whole_images": False, "receptive_field_px": 7, "stride_px": 2}
    >>> layer_measure(layer)
    '64 units · receptive field 7 px · stride 2 px'
    """
    facts = [counted(layer["n_units"], "unit")]
    if layer["whole_images"]:
        facts.append("whole images")
    for noun, value in (("receptive field", layer["receptive_field_px"]), ("stride", layer["stride_px"])):
        if value is not None and not layer["whole_images"]:
            facts.append(f"{noun} {value} px")
    field = layer.get("effective_field")
    if field is not None:
        facts.append(
            f"pictures show {field['side_px']} px, which hold {100 * field['share']:.0f} % of the gradient"
        )
    return " · ".join(facts)


def _layer(context: SiteContext, layer: LayerEntry) -> dict[str, Any]:
    families = [
        family
        for family in context.document["families"]
        if any(member["layer"] == layer["name"] for member in family["members"])
    ]
    rows = overview_rows(layer, context.document["families"])
    for row in rows:
        row["claim"] = article_claim(context.document["model"]["name"], layer["name"], row["transformation"])
    shown = sorted((f for f in families if f["layers"] == [layer["name"]]), key=lambda f: -f["size"])[
        :_N_FAMILIES
    ]
    tiles = [
        (family["members"][0], context.pictures.tile(layer["name"], family["members"][0]["channel"]))
        for family in shown
    ]
    return {
        "name": layer["name"],
        "measure": layer_measure(layer),
        "n_units": layer["n_units"],
        "n_families": len(families),
        "families": counted(len(families), "family") if families else "no family",
        "rows": rows,
        "by_transformation": {row["transformation"]: row for row in rows},
        "tiles": [(member["channel"], tile) for member, tile in tiles if tile is not None],
    }


def _largest(context: SiteContext) -> list[dict[str, Any]]:
    """Give the largest family of each transformation, to begin with."""
    chosen: dict[str, FamilyEntry] = {}
    for family in context.document["families"]:
        best = chosen.get(family["transformation"])
        if best is None or (family["size"], family["score"] or 0) > (best["size"], best["score"] or 0):
            chosen[family["transformation"]] = family
    return [
        {
            "id": family["id"],
            "title": find(family["transformation"]).title(family["size"]),
            "layer": "+".join(family["layers"]),
            "score": number(family["score"]),
            "members": [
                (m["layer"], m["channel"], context.pictures.tile(m["layer"], m["channel"]))
                for m in family["members"][:8]
            ],
        }
        for family in chosen.values()
    ]


def _facts(document: ReportDocument) -> dict[str, Any]:
    families = document["families"]
    found = f"{_headline(document)}{_verdicts(families)}"
    kinds = [
        (name, sum(family["transformation"] == name for family in families))
        for name in _transformations_of(document)
    ]
    images, settings = document["images"], document["settings"]
    failed = f", and {images['n_failed']:,} that could not be read" if images["n_failed"] else ""
    total = sum(value for value in document["seconds"].values() if measured(value) is not None)
    seconds = [f"{stage} {number(value, 1, ' s')}" for stage, value in document["seconds"].items()]
    return {
        "found": found,
        "kinds": [(name, n) for name, n in kinds if n] if len(kinds) > 1 else [],
        "images": f"{images['name']}: {counted(images['n_images'], 'image')}{failed}",
        "run": [
            ("Transformations", ", ".join(settings["transformations"]) or MISSING),
            ("Angles", str(settings["angles"])),
            ("Stimuli a unit", str(settings["examples_per_unit"])),
            ("False-discovery rate", f"at most {100 * settings['false_discovery_rate']:g} %"),
            ("Lowest score accepted", number(settings["min_score"])),
            ("Seed", str(settings["seed"])),
            ("equiscope", document["equiscope_version"] or MISSING),
        ],
        "weights": document["model"]["weights_sha256"] or MISSING,
        "seconds": ", ".join(seconds) or MISSING,
        "total_seconds": f"{total:,.0f} s" if seconds else "an unknown time",
    }


def _headline(document: ReportDocument) -> str:
    """Say how many units are copies, where verdicts say it, and how many are in families."""
    families, layers = document["families"], document["layers"]
    said = {find(name).words.copies for name in _transformations_of(document)}
    copies = said.pop() if len(said) == 1 else Words.copies
    if not families:
        return f"no family of {copies} in {counted(len(layers), 'layer')}."
    members = {(m["layer"], m["channel"]) for family in families for m in family["members"]}
    n_with = len({layer for layer, _ in members})
    where = f"{f'{n_with} of ' if n_with < len(layers) else ''}{counted(len(layers), 'layer')}"
    if not _verdicts(families):
        return f"{counted(len(families), 'family')} of {copies}, with {counted(len(members), 'unit')} in {where}."
    units = [(layer["name"], channel) for layer in layers for channel in range(layer["n_units"])]
    share = count_copies(map(judged_entry, families), units)
    rest = (
        f"{counted(len(families), 'family')} whose units answer as {copies}, with {counted(len(members), 'unit')} in "
        f"{where}"
    )
    if not share.is_measured:
        return f"{rest}: an upper bound, for none could be tested."
    interval = (
        f"{_percent(share.share)}, {100 * share.low:.0f} to {100 * share.high:.0f} with 95 % confidence"
    )
    return (
        f"that {share.n_copies:,} of {counted(len(units), 'unit')} ({interval}) are {copies} of each other by their "
        f"weights. An upper bound is what it found by their answers: {rest} ({_percent(len(members) / len(units))})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _verdicts(families: Sequence[FamilyEntry]) -> str:
    """Say how many families are copies by their weights; nothing where that was not asked."""
    words = Counter(verdict["word"] for family in families if (verdict := family.get("verdict")) is not None)
    if not words:
        return ""
    return (
        f" By their weights {words[COPIES]} are copies as a whole and {words[ALIKE_IN_POSE]} only alike in pose; "
        f"{words[UNTESTED]} could not be tested."
    )


def _index(context: SiteContext) -> dict[str, Any]:
    """Give what the scripts know of everything: layers, and a row a family. Texts are only ever put in as texts."""
    document = context.document
    names = list(context.layers)
    sheets: dict[str, int] = {}
    transformations = _transformations_of(document)

    def tile_of(layer: str, channel: int) -> list[int] | None:
        tile = context.pictures.tile(layer, channel)
        if tile is None:
            return None
        number_of = sheets.setdefault(tile.sheet, len(sheets))
        shapes[number_of] = [tile.n_columns, tile.n_rows]
        return [number_of, tile.column, tile.row]

    shapes: dict[int, list[int]] = {}

    def member_of(member: MemberEntry) -> list[Any]:
        layer, channel = member["layer"], member["channel"]
        return [names.index(layer) if layer in context.layers else -1, channel, tile_of(layer, channel)]

    rows = [
        [
            family["id"],
            "+".join(family["layers"]),
            transformations.index(family["transformation"]),
            family["size"],
            measured(family["score"]),
            measured(family["q_value"]),
            [member_of(member) for member in family["members"][:_N_MEMBERS]],
        ]
        for family in document["families"]
    ]
    return {
        "layers": [[layer["name"], layer["n_units"]] for layer in document["layers"]],
        "transformations": transformations,
        # Of two members a family is called a pair under these.
        "pairs": [is_pair(name) for name in transformations],
        "families": rows,
        "sheets": [[address, *shapes[i]] for address, i in sheets.items()],
    }


VIEW = View("overview", __name__, render_overview, title="Overview", charts=_charts)
