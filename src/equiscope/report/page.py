"""Render one survey as one self-contained HTML page.

The page is made from a plain document (:class:`equiscope.report.ReportDocument`, nothing but JSON types), so whatever
can write that document can have a page. All curves and charts are static SVG, and each unit's picture is stored once,
as the background of a class that every place showing the unit has. The script in ``assets/page.js`` only links what
is already there, so the page also reads without it.
"""

from __future__ import annotations

from typing import Any

from equiscope.errors import EquiscopeError, unknown_name
from equiscope.report.card import family_view
from equiscope.report.html import anchors_of, asset, checked_address, render_template, script_hash
from equiscope.report.members import PageContext
from equiscope.report.overview import KINDS, depth_view, overview_rows
from equiscope.report.schema import FamilyEntry, LayerEntry, NullEntry, ReportDocument
from equiscope.report.wording import MISSING, counted, measured, number
from equiscope.synchronisation import MIN_COHERENCE

__all__ = ["render_page"]

# Transformations whose families are ranked by their gains: the null is told in gains too.
_BY_GAIN = ("reflection", "contrast", "scale")
_ACROSS = "across layers"


def render_page(document: ReportDocument) -> str:
    """Render a survey as one HTML page that needs nothing else.

    Parameters
    ----------
    document
        What the run found. Numbers that are None or NaN are shown as "–", never as 0.

    Returns
    -------
    str
        The page, to be written as UTF-8.

    Raises
    ------
    EquiscopeError
        If two families have one id, a family is of a layer that the document does not have, or a picture is not a
        ``data:image/`` address (the page would then fetch something).

    Notes
    -----
    Everything in the document is escaped. Beyond that, the page's content security policy allows only this
    module's own script (by its hash) and no connection at all.
    """
    _check_families(document)
    families = document["families"]
    names = [layer["name"] for layer in document["layers"]]
    layer_anchors = anchors_of("layer", names)
    pictures = [
        {"name": f"p{i}", "address": checked_address(picture), "n": picture["n_stimuli"]}
        for i, picture in enumerate(document["pictures"])
    ]
    context = PageContext(
        pictures={
            (picture["layer"], picture["channel"]): (f"p{i}", picture["n_stimuli"])
            for i, picture in enumerate(document["pictures"])
        },
        layers=names,
        anchors=anchors_of("family", [family["id"] for family in families]),
        links=document["links"],
        members={
            family["id"]: frozenset((m["layer"], m["channel"]) for m in family["members"])
            for family in families
        },
    )
    layers = [
        _layer_view(document, layer, layer_anchors[layer["name"]], context) for layer in document["layers"]
    ]
    across = _across_view(document, context)
    script = asset("page.js")
    return render_template(
        "page.html.jinja",
        document=document,
        layers=layers,
        groups=[*layers, across] if across else layers,
        depth=depth_view(document["layers"], layer_anchors),
        facts=_facts(document),
        kinds=KINDS,
        min_coherence=MIN_COHERENCE,
        css=asset("page.css"),
        pictures=pictures,
        script=script,
        script_hash=script_hash(script),
        index={
            "transformations": sorted({t.lower() for t in _transformations(document)}),
            "families": [_index_row(family, context.anchors[family["id"]]) for family in families],
        },
    )


def _check_families(document: ReportDocument) -> None:
    """Check that ids are unique, and that every member's layer is one of the document's."""
    families, names = document["families"], [layer["name"] for layer in document["layers"]]
    n_ids = len({family["id"] for family in families})
    if n_ids < len(families):
        raise EquiscopeError(
            f"the document has {len(families)} families with {n_ids} different ids; expected one id a family"
        )
    for family in families:
        for member in family["members"]:
            if member["layer"] not in names:
                raise unknown_name("layer", member["layer"], names)


def _transformations(document: ReportDocument) -> list[str]:
    """All transformations of the page: as they were surveyed, then those that only families have."""
    surveyed = [
        *document["settings"]["transformations"],
        *(result["transformation"] for result in document["results"]),
        *(family["transformation"] for family in document["families"]),
    ]
    return list(dict.fromkeys(surveyed))


def _facts(document: ReportDocument) -> dict[str, Any]:
    """Give the sentences and lines of the page's head and foot."""
    families, layers = document["families"], document["layers"]
    members = {(m["layer"], m["channel"]) for family in families for m in family["members"]}
    n_with = len({layer for layer, _ in members})
    only_rotation = all(name == "rotation" for name in _transformations(document))
    copies = "rotated copies" if only_rotation else "transformed copies"
    kinds = [
        (name, sum(family["transformation"] == name for family in families))
        for name in _transformations(document)
    ]
    if families:
        where = (
            f"{n_with} of {counted(len(layers), 'layer')}"
            if n_with < len(layers)
            else f"{counted(n_with, 'layer')}"
        )
        found = f"{counted(len(families), 'family')} of {copies}, with {counted(len(members), 'unit')} in {where}."
    else:
        found = f"no family of {copies} in {counted(len(layers), 'layer')}."
    images, settings = document["images"], document["settings"]
    failed = f", and {images['n_failed']:,} that could not be read" if images["n_failed"] else ""
    run = [
        ("Transformations", ", ".join(settings["transformations"]) or MISSING),
        ("Angles", str(settings["angles"])),
        ("Stimuli a unit", str(settings["examples_per_unit"])),
        ("False-discovery rate", f"at most {100 * settings['false_discovery_rate']:g} %"),
        ("Lowest score accepted", number(settings["min_score"])),
        ("Seed", str(settings["seed"])),
        ("equiscope", document["equiscope_version"]),
    ]
    seconds = [f"{stage} {number(value, 1, ' s')}" for stage, value in document["seconds"].items()]
    total = sum(value for value in document["seconds"].values() if measured(value) is not None)
    return {
        "found": found,
        "kinds": ", ".join(f"{n:,} {name}" for name, n in kinds) if families and len(kinds) > 1 else "",
        "images": f"{images['name']}: {counted(images['n_images'], 'image')}{failed}",
        "run": run,
        "weights": document["model"]["weights_sha256"] or MISSING,
        "seconds": ", ".join(seconds) or MISSING,
        "total_seconds": f"{total:,.0f} s",
    }


def _layer_view(
    document: ReportDocument, layer: LayerEntry, anchor: str, context: PageContext
) -> dict[str, Any]:
    """Give one layer: its row group of the overview, and its group of families."""
    if layer["whole_images"]:
        geometry = "whole images"
    else:
        pixels = [
            f"{noun} {value} px"
            for noun, value in (
                ("receptive field", layer["receptive_field_px"]),
                ("stride", layer["stride_px"]),
            )
            if value is not None
        ]
        geometry = ", ".join(pixels)
    parts = _parts(document, layer["name"], context)
    n_families = sum(len(part["families"]) for part in parts)
    facts = [counted(n_families, "family") if n_families else "", counted(layer["n_units"], "unit"), geometry]
    return {
        "name": layer["name"],
        "anchor": anchor,
        "n_units": counted(layer["n_units"], "unit"),
        "measure": " · ".join(fact for fact in facts if fact),
        "rows": overview_rows(layer, document["families"]),
        "n_families": n_families,
        "notes": layer["notes"],
        "parts": parts,
        "is_layer": True,
    }


def _across_view(document: ReportDocument, context: PageContext) -> dict[str, Any] | None:
    """Give the group of all families and results that span layers, or None without any."""
    parts = _parts(document, None, context)
    if not parts:
        return None
    n_families = sum(len(part["families"]) for part in parts)
    return {
        "name": _ACROSS,
        "anchor": "across-layers",
        "measure": counted(n_families, "family") if n_families else "",
        "n_families": n_families,
        "notes": [],
        "parts": parts,
        "is_layer": False,
    }


def _parts(document: ReportDocument, layer: str | None, context: PageContext) -> list[dict[str, Any]]:
    """Families and results of one layer, or with None of those that span layers, by transformation."""
    names = [entry["name"] for entry in document["layers"]]

    def is_here(own: str) -> bool:
        return own == layer if layer is not None else own not in names

    parts = []
    for transformation in _transformations(document):
        families = [
            family_view(family, context)
            for family in document["families"]
            if family["transformation"] == transformation and is_here(family["layer"])
        ]
        results = [
            result
            for result in document["results"]
            if result["transformation"] == transformation and is_here(result["layer"])
        ]
        if not families and not results:
            continue
        n_refused = sum(result["n_refused"] for result in results)
        parts.append(
            {
                "transformation": transformation,
                "n_families": counted(len(families), "family") if families else "no family",
                "families": families,
                "nulls": [_null_sentence(result["null"], transformation) for result in results],
                "refused": f"{counted(n_refused, 'candidate')} did not pass." if n_refused else "",
                "notes": [note for result in results for note in result["notes"]],
            }
        )
    return parts


def _null_sentence(null: NullEntry | None, transformation: str) -> str:
    expected = measured(null["families_expected"]) if null else None
    score_95 = measured(null["score_95"]) if null else None
    if expected is None and score_95 is None:
        return "No null was measured here, so it is not known how many families chance alone would give."
    what = "have gains" if transformation in _BY_GAIN else "score"
    limit = f"95 % of its families {what} below {score_95:.2f}" if score_95 is not None else ""
    if expected is None:
        return f"In a null in which each unit’s pose is scrambled, {limit}."
    mean = f"{expected:.2g}" if expected < 1 else f"{expected:.1f}"
    found = f"gave {mean} families on average that pass the same test"
    return f"A null in which each unit’s pose is scrambled {found}{'; ' + limit if limit else ''}."


def _index_row(family: FamilyEntry, anchor: str) -> dict[str, Any]:
    """Give what the script filters and sorts by. Its text is only compared, never put into the page."""
    disagreement = measured(family["disagreement_deg"])
    return {
        "anchor": anchor,
        "text": f"{family['layer']} {family['id']} {family['transformation']}".lower(),
        "transformation": family["transformation"].lower(),
        "units": [f"{m['layer']}:{m['channel']}".lower() for m in family["members"]],
        "size": family["size"],
        "score": measured(family["score"]),
        "margin": measured(family["margin"]),
        "disagreement": measured(family["disagreement_hue_deg"]) if disagreement is None else disagreement,
    }
