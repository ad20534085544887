"""Render one survey as one self-contained HTML page.

The page is made from a plain document (:class:`ReportDocument`, nothing but JSON types), so whatever can
write that document can have a page. All curves are static SVG; the script in ``assets/page.js`` only links
what is already there, so the page also reads without it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, TypedDict

from jinja2 import Environment, StrictUndefined

from equiscope.errors import EquiscopeError, unknown_name
from equiscope.report.dial import (
    CURVE_RADIUS,
    LABEL_RADIUS,
    PICTURE_RADIUS,
    leader_path,
    mark_path,
    point_at,
    pose_colours,
    sector_path,
    spread_pictures,
    tuning_path,
)
from equiscope.synchronisation import MIN_COHERENCE

__all__ = [
    "FamilyEntry",
    "ImagesEntry",
    "LayerEntry",
    "MemberEntry",
    "ModelEntry",
    "NullEntry",
    "ReportDocument",
    "SettingsEntry",
    "UnitCounts",
    "render_page",
]

MISSING = "–"
KINDS = ("equivariant", "invariant", "neither", "inactive", "not measurable")


class ModelEntry(TypedDict):
    """The network that was surveyed."""

    name: str
    weights_sha256: str | None


class ImagesEntry(TypedDict):
    """The images it was shown; ``licences`` maps the name of an image, or of a set, to its licence."""

    name: str
    n_images: int
    n_failed: int
    licences: dict[str, str]


class SettingsEntry(TypedDict):
    """The options of the run that change its result."""

    angles: int
    examples_per_unit: int
    false_discovery_rate: float
    seed: int
    min_score: float | None


UnitCounts = TypedDict(
    "UnitCounts",
    {"equivariant": int, "invariant": int, "neither": int, "inactive": int, "not measurable": int},
)


class NullEntry(TypedDict):
    """What the same search finds in the layer after each unit's orientation has been scrambled.

    ``families_expected`` is the mean number of families a scrambled layer gives that pass the same test;
    ``score_95`` is the score that 95 % of the scrambled layers' families stay below.
    """

    families_expected: float | None
    score_95: float | None


class LayerEntry(TypedDict):
    """One surveyed layer. ``family_ids`` gives its families in the order in which they are shown."""

    name: str
    n_units: int
    receptive_field_px: int | None
    stride_px: int | None
    whole_images: bool
    counts: UnitCounts
    null: NullEntry | None
    notes: list[str]
    family_ids: list[str]


class MemberEntry(TypedDict):
    """One unit of a family.

    ``tuning`` is the unit's response to the family's stimuli at each of the family's ``angles_deg``, in
    [0, 1]; one value, or the whole list, may be None. ``stimuli`` is a ``data:image/…`` address of one strip
    of ``n_stimuli`` squares side by side, strongest first, or None.
    """

    layer: str
    channel: int
    pose_deg: float
    score: float | None
    score_low: float | None
    score_high: float | None
    tuning: list[float | None] | None
    stimuli: str | None
    n_stimuli: int


class FamilyEntry(TypedDict):
    """Units that are copies of one feature under ``transformation``.

    ``holes_deg`` are arcs (from, to), counter-clockwise, in which the family has no member. Poses and
    holes of a family whose ``stabiliser_order`` is s repeat every 360°/s and are given once.
    """

    id: str
    layer: str
    transformation: str
    size: int
    score: float | None
    score_low: float | None
    score_high: float | None
    disagreement_deg: float | None
    phase_coherence: float | None
    q_value: float | None
    stabiliser_order: int
    gap_deviation_deg: float | None
    holes_deg: list[list[float]]
    duplicates: list[list[int]]
    angles_deg: list[float]
    members: list[MemberEntry]


class ReportDocument(TypedDict):
    """Everything that the page shows."""

    title: str
    equiscope_version: str
    command: str
    created: str
    model: ModelEntry
    images: ImagesEntry
    settings: SettingsEntry
    seconds: dict[str, float]
    layers: list[LayerEntry]
    families: list[FamilyEntry]


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
        If layers and families do not refer to each other one to one, or a picture is not a ``data:image/``
        address (the page would then fetch something).

    Notes
    -----
    Everything in the document is escaped. Beyond that, the page's content security policy allows only this
    module's own script (by its hash) and no connection at all.
    """
    families = _families_by_id(document)
    family_anchors = _anchors("family", families)
    layer_anchors = _anchors("layer", [layer["name"] for layer in document["layers"]])
    script = _asset("page.js")
    layers = []
    for layer in document["layers"]:
        entry = _layer_view(layer, layer_anchors[layer["name"]])
        entry["families"] = [_family_view(families[key], family_anchors[key]) for key in layer["family_ids"]]
        layers.append(entry)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_asset("page.html.jinja")).render(
        document=document,
        layers=layers,
        facts=_facts(document),
        kinds=KINDS,
        min_coherence=MIN_COHERENCE,
        css=_asset("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        index=[_index_row(families[key], family_anchors[key]) for key in families],
        dial={
            "curve_radius": CURVE_RADIUS,
            "labels": [(f"{angle}°", *point_at(angle, LABEL_RADIUS)) for angle in (0, 90, 180, 270)],
        },
    )
    # A file name that is not valid UTF-8 reaches Python as lone surrogates, which UTF-8 cannot hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def _asset(name: str) -> str:
    return (files("equiscope.report") / "assets" / name).read_text(encoding="utf-8")


def _families_by_id(document: ReportDocument) -> dict[str, FamilyEntry]:
    """Families by id, after checking that every family is listed by exactly one layer."""
    families = {family["id"]: family for family in document["families"]}
    listed = [key for layer in document["layers"] for key in layer["family_ids"]]
    for key in listed:
        if key not in families:
            raise unknown_name("family", key, families)
    if len(families) < len(document["families"]) or sorted(listed) != sorted(families):
        raise EquiscopeError(
            f"the document has {len(document['families'])} families with {len(families)} different ids, and "
            f"its layers list {len(listed)}; expected one id a family, in `family_ids` of exactly one layer"
        )
    return families


def _anchors(prefix: str, names: Iterable[str]) -> dict[str, str]:
    """One anchor a name, safe in an id and in an address, and unique even where two names clean to one."""
    anchors: dict[str, str] = {}
    for name in names:
        stem = f"{prefix}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
        anchor, n_same = stem, 1
        while anchor in anchors.values():
            n_same += 1
            anchor = f"{stem}--{n_same}"
        anchors[name] = anchor
    return anchors


def _measured(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    value = _measured(value)
    return MISSING if value is None else f"{value:.{decimals}f}{unit}"


def _interval(scored: FamilyEntry | MemberEntry) -> str | None:
    """Give the interval of a score, or None where the score or an end of it is missing."""
    low, high = _measured(scored["score_low"]), _measured(scored["score_high"])
    if _measured(scored["score"]) is None or low is None or high is None:
        return None
    return f"{low:.2f} to {high:.2f}"


def _q_text(q_value: float | None) -> str:
    q_value = _measured(q_value)
    if q_value is None:
        return MISSING
    return "< 0.001" if q_value < 0.001 else f"{q_value:.3f}"


def _degrees(angle_deg: float, period_deg: float = 360.0) -> str:
    return f"{round(angle_deg % period_deg) % round(period_deg)}°"


def _counted(n: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"


def _copies(transformations: Iterable[str]) -> str:
    return "rotated copies" if set(transformations) <= {"rotation"} else "transformed copies"


def _facts(document: ReportDocument) -> dict[str, Any]:
    """Give the sentences and lines of the page's head and foot."""
    families, layers = document["families"], document["layers"]
    n_units = len({(m["layer"], m["channel"]) for family in families for m in family["members"]})
    n_with = sum(bool(layer["family_ids"]) for layer in layers)
    copies = _copies(family["transformation"] for family in families)
    if families:
        where = (
            f"{n_with} of {_counted(len(layers), 'layer')}"
            if n_with < len(layers)
            else f"{_counted(n_with, 'layer')}"
        )
        found = (
            f"{_counted(len(families), 'family')} of {copies}, with {_counted(n_units, 'unit')} in {where}."
        )
    else:
        found = f"no family of {copies} in {_counted(len(layers), 'layer')}."
    images, settings = document["images"], document["settings"]
    failed = f", and {images['n_failed']:,} that could not be read" if images["n_failed"] else ""
    run = [
        ("Angles", str(settings["angles"])),
        ("Stimuli a unit", str(settings["examples_per_unit"])),
        ("False-discovery rate", f"at most {100 * settings['false_discovery_rate']:g} %"),
        ("Lowest score accepted", _number(settings["min_score"])),
        ("Seed", str(settings["seed"])),
        ("equiscope", document["equiscope_version"]),
    ]
    seconds = [f"{stage} {_number(value, 1, ' s')}" for stage, value in document["seconds"].items()]
    total = sum(value for value in document["seconds"].values() if _measured(value) is not None)
    return {
        "found": found,
        "images": f"{images['name']}: {_counted(images['n_images'], 'image')}{failed}",
        "run": run,
        "weights": document["model"]["weights_sha256"] or MISSING,
        "seconds": ", ".join(seconds) or MISSING,
        "total_seconds": f"{total:,.0f} s",
    }


def _layer_view(layer: LayerEntry, anchor: str) -> dict[str, Any]:
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
    counts: dict[str, int] = {kind: layer["counts"][kind] for kind in KINDS}  # type: ignore[literal-required]
    total = max(1, sum(counts.values()))
    return {
        "name": layer["name"],
        "anchor": anchor,
        "n_units": _counted(layer["n_units"], "unit"),
        "geometry": geometry,
        "counts": counts,
        "shares": {kind: f"{100 * count / total:.3f}" for kind, count in counts.items()},
        "n_families": len(layer["family_ids"]),
        "found": _counted(len(layer["family_ids"]), "family") if layer["family_ids"] else "",
        "null": _null_sentence(layer["null"]),
        "notes": layer["notes"],
    }


def _null_sentence(null: NullEntry | None) -> str:
    expected = _measured(null["families_expected"]) if null else None
    score_95 = _measured(null["score_95"]) if null else None
    if expected is None and score_95 is None:
        return "No null was measured here, so it is not known how many families chance alone would give."
    limit = f"95 % of its families score below {score_95:.2f}" if score_95 is not None else ""
    if expected is None:
        return f"In a null in which each unit’s orientation is scrambled, {limit}."
    mean = f"{expected:.2g}" if expected < 1 else f"{expected:.1f}"
    found = f"gave {mean} families on average that pass the same test"
    return f"A null in which each unit’s orientation is scrambled {found}{'; ' + limit if limit else ''}."


def _family_view(family: FamilyEntry, anchor: str) -> dict[str, Any]:
    order = max(1, family["stabiliser_order"])
    period_deg = 360.0 / order
    ordered = sorted(family["members"], key=lambda member: member["pose_deg"] % period_deg)
    slots_deg, diameter = spread_pictures([m["pose_deg"] % period_deg for m in ordered])
    members = []
    for member, slot_deg in zip(ordered, slots_deg, strict=True):
        pose_deg = member["pose_deg"] % period_deg
        light, dark = pose_colours(pose_deg / period_deg)
        copies_deg = [pose_deg + turn * period_deg for turn in range(order)]
        members.append(
            {
                "unit": f"{member['layer']}:{member['channel']}",
                "pose": _degrees(pose_deg, period_deg),
                "hand_deg": f"{-pose_deg:.1f}",
                "light": light,
                "dark": dark,
                "score": _number(member["score"]),
                "interval": _interval(member),
                "stimuli": _picture(member),
                "n_stimuli": member["n_stimuli"],
                "curve": tuning_path(family["angles_deg"], member["tuning"]),
                "marks": " ".join(mark_path(angle) for angle in copies_deg),
                "leader": leader_path(pose_deg, slot_deg, diameter),
                "picture": point_at(slot_deg, PICTURE_RADIUS),
            }
        )
    # However a hole was wrapped, its end comes after its start and at most one period later.
    holes = [
        (start, start + ((end - start) % period_deg or period_deg)) for start, end in family["holes_deg"]
    ]
    channels = [" and ".join(str(channel) for channel in same) for same in family["duplicates"]]
    return {
        "id": family["id"],
        "anchor": anchor,
        "layer": family["layer"],
        "transformation": family["transformation"],
        "size": family["size"],
        "score": _number(family["score"]),
        "interval": _interval(family),
        "disagreement": _number(family["disagreement_deg"], 1, "°"),
        "gap_deviation": _number(family["gap_deviation_deg"], 0, "°"),
        "coherence": _number(family["phase_coherence"]),
        "q": _q_text(family["q_value"]),
        "symmetry": "none short of a full turn" if order == 1 else f"repeats every {period_deg:g}°",
        "holes": [f"{_degrees(start, period_deg)} to {_degrees(end, period_deg)}" for start, end in holes],
        "hole_paths": [
            sector_path(start + turn * period_deg, end + turn * period_deg)
            for start, end in holes
            for turn in range(order)
        ],
        "duplicates": channels,
        "picture_diameter": f"{diameter:.1f}",
        "members": members,
    }


def _index_row(family: FamilyEntry, anchor: str) -> dict[str, Any]:
    """Give what the script filters and sorts by. Its text is only compared, never put into the page."""
    return {
        "anchor": anchor,
        "text": f"{family['layer']} {family['id']} {family['transformation']}".lower(),
        "units": [f"{m['layer']}:{m['channel']}".lower() for m in family["members"]],
        "size": family["size"],
        "score": _measured(family["score"]),
        "disagreement": _measured(family["disagreement_deg"]),
    }


def _picture(member: MemberEntry) -> str | None:
    address = member["stimuli"]
    if address and not re.match(r"data:image/(jpeg|png|webp);base64,[A-Za-z0-9+/=]+\Z", address):
        raise EquiscopeError(
            f"the stimuli of {member['layer']}:{member['channel']} are {address[:60]!r}; expected a "
            f"base64 data:image/jpeg, png or webp address, because the page may not fetch anything"
        )
    return address or None
