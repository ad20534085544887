"""Render the circuits of a run as one self-contained HTML page beside its report.

All weights are static pictures (`equiscope.report.kernels`); the script in ``assets/circuits.js`` enlarges single
kernels, filters and highlights, so the page also reads without it.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

import equiscope
from equiscope.circuits import Circuit, Circuits, load_circuits
from equiscope.circuits.factors import Factors
from equiscope.circuits.recover import weights_path
from equiscope.report.circuit_card import circuit_view, class_text, percent_text
from equiscope.report.circuit_ends import Ends, is_unit, strength_of
from equiscope.report.document import family_entry
from equiscope.report.files import load_document
from equiscope.report.html import anchors_of, asset, checked_address, render_template, script_hash
from equiscope.report.kernels import draw_kernels
from equiscope.report.network import layers_in_order, network_view
from equiscope.report.schema import FamilyEntry, PictureEntry, ReportDocument
from equiscope.report.wording import counted, interval_text, measured, number, q_text
from equiscope.store import read_families, read_json, write_atomically

__all__ = ["render_circuits", "save_circuits_page"]

Weights = Mapping[str, NDArray[Any]]

_PAGE = "circuits.html"
# More cards than this make a page that nobody reads to its end, and that is slow to open.
_MOST_CARDS = 300
_MOST_ROWS = 150
_MOST_FACTORS = 150
_MOST_TRANSPOSED = 60
_PICTURE_PX = 36
_PARTS = ("raw", "reordered", "template", "slots", "rows", "columns")
_PATHS = {
    "expanded": "expanded along every path",
    "gradient": "mean gradients over photographs",
}


def save_circuits_page(folder: Path) -> Path | None:
    """Write ``circuits.html`` into a run's folder.

    Parameters
    ----------
    folder
        Of a run whose circuits were recovered. A run of an earlier version, which kept no document, has a page without
        pictures of units.

    Returns
    -------
    Path or None
        Of the page; None where circuits were not recovered.
    """
    circuits = load_circuits(folder)
    if circuits is None:
        return None
    document = load_document(folder)
    families = document["families"] if document is not None else _stored_families(folder)
    page = render_circuits(circuits, _load_weights(folder, circuits), families, document)
    path = folder / _PAGE
    write_atomically(path, lambda stream: stream.write(page.encode()))
    return path


def _stored_families(folder: Path) -> list[FamilyEntry]:
    """Families of a run without a document: their poses are there all the same."""
    path = folder / "families.json"
    return [family_entry(family, None) for family in read_families(read_json(path))] if path.exists() else []


def _load_weights(folder: Path, circuits: Circuits) -> dict[str, Weights]:
    """Kernels of the circuits that have a card, the strongest into each target first."""
    stored: dict[str, tuple[Path, int]] = {}
    for pair in circuits.pairs:
        path = weights_path(folder, pair.source, pair.target)
        if path.exists():
            with np.load(path, allow_pickle=False) as arrays:
                stored |= {str(name): (path, i) for i, name in enumerate(arrays["ids"].tolist())}
    chosen = _choose([c for c in circuits.circuits if c.id in stored and c.is_symmetric])
    by_path: dict[Path, list[str]] = defaultdict(list)
    for circuit in chosen:
        by_path[stored[circuit.id][0]].append(circuit.id)
    weights: dict[str, Weights] = {}
    for path, ids in by_path.items():
        with np.load(path, allow_pickle=False) as arrays:
            for name in ids:
                weights[name] = {part: arrays[f"{stored[name][1]}:{part}"] for part in _PARTS}
    return weights


def _choose(circuits: Sequence[Circuit]) -> list[Circuit]:
    """Choose circuits to draw: first what feeds each target most, then what feeds it second, and so on.

    Circuits with single units come after as many between families, and all that one in a hundred null draws reaches
    come last.
    """
    ranks: dict[tuple[str, bool], int] = defaultdict(int)
    ranked = []
    for c in sorted(circuits, key=lambda c: -strength_of(c)):
        with_unit = is_unit(c.source, c.source_layer) or is_unit(c.target, c.target_layer)
        # A unit that is fed has one circuit from each family, which would put all of them first.
        end = c.source if is_unit(c.target, c.target_layer) else c.target
        key = (end, with_unit)
        is_near_chance = not c.r2 > c.r2_null_99
        ranked.append((is_near_chance, 2 * ranks[key] + with_unit, -strength_of(c), c))
        ranks[key] += 1
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:3])[:_MOST_CARDS]]


def render_circuits(
    circuits: Circuits,
    weights: Mapping[str, Weights],
    families: Sequence[FamilyEntry] = (),
    document: ReportDocument | None = None,
) -> str:
    """Render circuits as one HTML page that needs nothing else.

    Parameters
    ----------
    circuits
        What was recovered.
    weights
        Kernels of the circuits that have a card, by their ids: the arrays of `equiscope.circuits.tied.Tied`.
    families
        The families at their ends, for poses.
    document
        The run's report, for the units' pictures; the page links to it.

    Returns
    -------
    str
        The page, to be written as UTF-8.

    Raises
    ------
    EquiscopeError
        If a picture is not a ``data:image/`` address.
    """
    pictures = list(_small_pictures(document["pictures"] if document else ()))
    ends = Ends(families, {(entry["layer"], entry["channel"]): entry["name"] for entry in pictures})
    layers = layers_in_order(
        [(e.source, e.target) for some in (circuits.pairs, circuits.skipped) for e in some]
    )
    drawn = [c for c in circuits.circuits if c.id in weights and c.is_symmetric]
    card_anchors = anchors_of("circuit", [c.id for c in drawn])
    checks = {check.circuit: check for check in circuits.checks}
    cards = {c.id: circuit_view(c, weights[c.id], checks.get(c.id), ends, card_anchors[c.id]) for c in drawn}
    reports = anchors_of("family", [family["id"] for family in document["families"]]) if document else {}
    groups = _groups(circuits, layers, cards, card_anchors)
    script = asset("circuits.js")
    network = network_view(circuits.circuits, layers, ends, _targets_of(groups))
    factors = _factors(circuits.factors, ends)
    symmetric = [c for c in circuits.circuits if c.is_symmetric]
    between = [c for c in circuits.circuits if _is_between(c)]
    return render_template(
        "circuits.html.jinja",
        title=f"Circuits of {document['model']['name']}" if document else "Circuits",
        version=equiscope.__version__,
        has_report=document is not None,
        reports=reports,
        facts=_facts(circuits, between, symmetric),
        pairs=_pairs(circuits),
        skipped=circuits.skipped,
        network=network,
        groups=groups,
        n_cards=len(cards),
        factors=factors,
        n_factors=len(circuits.factors),
        transposed=_transposed(circuits, weights, card_anchors),
        n_transposed=len(circuits.transposed),
        css=asset("page.css") + asset("circuits.css"),
        # Only after everything was worked out is it known which of them are shown.
        pictures=[picture for picture in pictures if picture["name"] in ends.used],
        script=script,
        script_hash=script_hash(script),
    )


def _small_pictures(pictures: Iterable[PictureEntry]) -> Iterator[dict[str, Any]]:
    """Cut out each unit's strongest stimulus and make it as small as it is shown."""
    for i, picture in enumerate(pictures):
        address = checked_address(picture)
        try:
            with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as strip:
                side = min(strip.width, strip.height)
                tile = strip.convert("RGB").crop((0, 0, side, side)).resize((_PICTURE_PX, _PICTURE_PX))
        except (UnidentifiedImageError, OSError, ValueError):
            continue  # a unit whose picture cannot be read has none
        stream = io.BytesIO()
        tile.save(stream, "WEBP", quality=70, method=4)
        yield {
            "name": f"p{i}",
            "layer": picture["layer"],
            "channel": picture["channel"],
            "address": "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode(),
        }


def _is_between(circuit: Circuit) -> bool:
    """Whether it joins two families that turn."""
    is_single = is_unit(circuit.source, circuit.source_layer) or is_unit(circuit.target, circuit.target_layer)
    return not is_single and not circuit.pair_class


def _facts(circuits: Circuits, between: Sequence[Circuit], symmetric: Sequence[Circuit]) -> dict[str, Any]:
    n_between = sum(c.is_symmetric for c in between)
    with_units = sum(not _is_between(c) and not c.pair_class for c in symmetric)
    with_pairs = sum(bool(c.pair_class) for c in symmetric)
    tested = [entry for entry in circuits.confirmations if entry.n_tested]
    confirmed = sum(entry.n_symmetric > 0 for entry in tested)
    return {
        "found": f"{n_between:,} of {counted(len(between), 'block')} of weights between two families "
        "turn with their poses",
        "confirmed": f"{confirmed:,} of {counted(len(tested), 'family')} "
        f"{'has' if confirmed == 1 else 'have'} at least one such circuit",
        "with_units": f"{counted(with_units, 'circuit')} with single units that the transformation leaves as they are",
        "with_pairs": f"{counted(with_pairs, 'circuit')} of reflection and contrast pairs",
        "is_any": bool(circuits.circuits),
    }


def _pairs(circuits: Circuits) -> list[dict[str, Any]]:
    rows = []
    for entry in circuits.pairs:
        outside = measured(entry.energy_outside)
        share = entry.n_symmetric / entry.n_circuits if entry.n_circuits else None
        rows.append(
            {
                "source": entry.source,
                "target": entry.target,
                "path": _PATHS.get(entry.path, entry.path),
                "linearised": "; ".join(entry.linearised) or "exact",
                "outside": percent_text(outside),
                "n": f"{entry.n_circuits:,}",
                "n_symmetric": f"{entry.n_symmetric:,}",
                "share": percent_text(share),
                "bar": f"{100 * share:.1f}" if share is not None else "0",
            }
        )
    return rows


def _groups(
    circuits: Circuits, layers: Sequence[str], cards: Mapping[str, dict[str, Any]], anchors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Symmetric circuits by layer pair, those with a card by target."""
    own: dict[tuple[str, str], list[Circuit]] = defaultdict(list)
    for c in circuits.circuits:
        if c.is_symmetric:
            own[c.source_layer, c.target_layer].append(c)
    depth = {layer: i for i, layer in enumerate(layers)}
    pairs = sorted(own, key=lambda pair: (depth.get(pair[1], 0), depth.get(pair[0], 0)))
    pair_anchors = anchors_of("pair", [f"{source}.{target}" for source, target in pairs])
    target_names = [
        f"{pair[0]}.{target}" for pair in pairs for target in dict.fromkeys(c.target for c in own[pair])
    ]
    target_anchors = anchors_of("into", target_names)
    groups = []
    for pair in pairs:
        with_card = sorted((c for c in own[pair] if c.id in cards), key=lambda c: -strength_of(c))
        by_target: dict[str, list[Circuit]] = defaultdict(list)
        for c in with_card:
            by_target[c.target].append(c)
        others = sorted(
            (c for c in own[pair] if c.id not in cards), key=lambda c: (not _is_between(c), -strength_of(c))
        )
        groups.append(
            {
                "source": pair[0],
                "target": pair[1],
                "anchor": pair_anchors[f"{pair[0]}.{pair[1]}"],
                "n": counted(len(own[pair]), "symmetric circuit"),
                "n_drawn": counted(len(with_card), "circuit") + " drawn",
                "n_cards": len(with_card),
                "targets": [
                    {
                        "id": target,
                        "anchor": target_anchors[f"{pair[0]}.{target}"],
                        "n": f"{counted(some[0].n_target, 'member')}" if some[0].n_target > 1 else "a unit",
                        "cards": [cards[c.id] for c in some],
                    }
                    for target, some in by_target.items()
                ],
                "others": [_row(c) for c in others[:_MOST_ROWS]],
                "n_others": counted(len(others), "further symmetric circuit"),
                "n_left": max(0, len(others) - _MOST_ROWS),
            }
        )
    return groups


def _row(circuit: Circuit) -> dict[str, Any]:
    return {
        "source": circuit.source,
        "target": circuit.target,
        "transformation": circuit.transformation,
        "class": class_text(circuit),
        "r2": number(circuit.r2),
        "interval": interval_text(circuit.r2, circuit.r2_low, circuit.r2_high),
        "null": number(circuit.r2_null_95),
        "q": q_text(circuit.q_value),
        "share": percent_text(circuit.energy_share),
        "text": " ".join(
            (circuit.source, circuit.target, circuit.source_layer, circuit.target_layer, circuit.transformation,
             circuit.circuit_class)
        ).lower(),
    }  # fmt: skip


def _targets_of(groups: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Say where a family's circuits are: those that lead to it, else the first from it, else its layers' list."""
    into: dict[str, str] = {}
    out: dict[str, str] = {}
    listed: dict[str, str] = {}
    for group in groups:
        for target in group["targets"]:
            into.setdefault(target["id"], target["anchor"])
            for card in target["cards"]:
                out.setdefault(card["source"], card["anchor"])
        for row in group["others"]:
            for name in (row["target"], row["source"]):
                listed.setdefault(name, group["anchor"])
    return listed | out | into


def _factors(factors: Sequence[Factors], ends: Ends) -> list[dict[str, Any]]:
    """Give the families whose inputs stand out most from chance, each with its factors."""
    chosen = sorted(factors, key=lambda own: -((measured(own.r2) or 0.0) - (measured(own.r2_null_95) or 0.0)))
    anchors = anchors_of("factors", [f"{own.source_layer}.{own.target}" for own in chosen])
    rows = []
    for own in chosen[:_MOST_FACTORS]:
        r2, null = measured(own.r2), measured(own.r2_null_95)
        rows.append(
            {
                "target": own.target,
                "source": own.source_layer,
                "anchor": anchors[f"{own.source_layer}.{own.target}"],
                "r2": number(own.r2),
                "null": number(own.r2_null_95),
                "p": q_text(own.p_value),
                "is_chance": r2 is None or null is None or r2 <= null,
                "errors": [
                    {"n": i, "value": number(error), "is_chosen": i == len(own.factors)}
                    for i, error in enumerate(own.held_out_errors, 1)
                ],
                "factors": [
                    _factor(factor, own.source_layer, ends, i) for i, factor in enumerate(own.factors, 1)
                ],
                "n": counted(len(own.factors), "factor"),
                "text": f"{own.target} {own.source_layer} factor".lower(),
            }
        )
    return rows


def _factor(factor: Any, layer: str, ends: Ends, place: int) -> dict[str, Any]:
    # A few numbers that are not there would leave the whole picture blank.
    template = np.array(factor.template, dtype=np.float64)[None, None]
    drawn = draw_kernels(template, has_lines=False)
    units = [ends.unit(layer, int(channel)) for channel in factor.channels]
    return {
        "place": place,
        "address": drawn.address,
        "alt": f"Template of factor {place} from {layer}",
        "share": percent_text(factor.share),
        "units": [
            {"name": unit.name, "picture": unit.picture, "loading": percent_text(loading)}
            for unit, loading in zip(units, factor.loadings, strict=True)
        ],
    }


def _transposed(
    circuits: Circuits, weights: Mapping[str, Weights], anchors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Give the same pattern in opposite directions, with both templates where they are at hand."""

    def picture(name: str) -> str | None:
        if name not in weights:
            return None
        return draw_kernels(weights[name]["template"].astype(np.float64)[None, :1], has_lines=False).address

    return [
        {
            "ends": [
                {"id": name, "anchor": anchors.get(name), "address": picture(name)}
                for name in (entry.forward, entry.backward)
            ],
            "cosine": number(entry.cosine),
            "turn": number(entry.turn_deg, 0, "°"),
            "q": q_text(entry.q_value),
        }
        for entry in circuits.transposed[:_MOST_TRANSPOSED]
    ]
