"""The view of all circuits of a run: the network, what was tested, and lists that are loaded when opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from equiscope.evidence.circuits import Circuit, Circuits
from equiscope.evidence.circuits.factors import Factor, Factors
from equiscope.evidence.circuits.tying_axes import GROWING, is_pair, stretches
from equiscope.foundations.received import quoted
from equiscope.reports.document.wording import counted, measured, number, q_text
from equiscope.reports.drawing.kernels import draw_kernels
from equiscope.reports.views.circuit.ends import Ends, is_unit, strength_of
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.reports.views.circuit.words import class_text, percent_text
from equiscope.reports.views.circuits.network import layers_in_order, network_data
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Fragment, View
from equiscope.transformations import ALL

__all__ = ["VIEW", "render_all_circuits", "render_lists"]

# A list's file stays well under 300 KB.
_ROWS_A_FILE = 3000
_FACTORS_A_FILE = 30
_TRANSPOSED_A_FILE = 60
# Families whose weights stretch span layers: their circuits have a list of their own.
_ACROSS = ("across layers", GROWING)
_PATHS = {"expanded": "expanded along every path", "gradient": "mean gradients over photographs"}


def render_all_circuits(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the view of all circuits; without circuits it says what recovers them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> folder = Path("equiscope-runs/mini")
    >>> context = SiteContext(document := load_document(folder), Pictures(document), folder)
    >>> "blocks of weights between two families turn with their poses" in dict(render_all_circuits(context))[""].html
    True
    """
    circuits = context.found(CIRCUITS)
    folder = quoted(context.folder or "RUN")
    if circuits is None:
        yield (
            "",
            Fragment(render_template(__name__, "circuits.html.jinja", has_circuits=False, folder=folder)),
        )
        return
    ends = Ends(context.document["families"])
    layers = _layers(circuits)
    network = network_data(circuits.circuits, layers, ends)
    stored = StoredWeights(context.folder, circuits)
    html = render_template(
        __name__,
        "circuits.html.jinja",
        has_circuits=True,
        folder=folder,
        facts=_facts(circuits),
        verdict=circuits.verdict,
        network=network,
        pairs=_pairs(circuits),
        skipped=circuits.skipped,
        lists=[
            {
                "title": _title(pair),
                "files": files,
                "n": counted(n, "circuit"),
                "n_kept": n_kept,
            }
            for pair, files, n, n_kept in _pair_lists(circuits, layers, stored)
        ],
        factor_files=_names("factors", len(circuits.factors), _FACTORS_A_FILE),
        n_factors=counted(len(circuits.factors), "family"),
        transposed_files=_names("transposed", len(circuits.transposed), _TRANSPOSED_A_FILE),
        n_transposed=counted(len(circuits.transposed), "pair"),
    )
    yield "", Fragment(html, {"network": network})


def render_lists(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render what the view of all circuits loads when it is opened there: circuits by pair of layers, and so on.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> folder = Path("equiscope-runs/mini")
    >>> context = SiteContext(document := load_document(folder), Pictures(document), folder)
    >>> names = dict(render_lists(context))["conv2d0>conv2d1"].data["names"]
    >>> [name.partition("-")[0] for name in names[:2]]
    ['conv2d0', 'conv2d1']
    """
    circuits = context.found(CIRCUITS)
    if circuits is None:
        return
    ends = Ends(context.document["families"], context.pictures)
    stored = StoredWeights(context.folder, circuits)
    own = _by_pair(circuits)
    for pair, files, n, _ in _pair_lists(circuits, _layers(circuits), stored):
        for i, name in enumerate(files):
            some = own[pair][i * _ROWS_A_FILE : (i + 1) * _ROWS_A_FILE]
            html = render_template(__name__, "list.html.jinja", title=_title(pair), n=counted(n, "circuit"))
            yield name, Fragment(html, _table(some, stored, ends))
    for i, name in enumerate(_names("factors", len(circuits.factors), _FACTORS_A_FILE)):
        chosen = sorted(circuits.factors, key=_beyond_chance)[i * _FACTORS_A_FILE : (i + 1) * _FACTORS_A_FILE]
        yield (
            name,
            Fragment(
                render_template(__name__, "factors.html.jinja", factors=[_factors(f, ends) for f in chosen])
            ),
        )
    for i, name in enumerate(_names("transposed", len(circuits.transposed), _TRANSPOSED_A_FILE)):
        entries = circuits.transposed[i * _TRANSPOSED_A_FILE : (i + 1) * _TRANSPOSED_A_FILE]
        rows = [_transposed(entry, stored) for entry in entries]
        yield name, Fragment(render_template(__name__, "transposed.html.jinja", rows=rows))


def _layers(circuits: Circuits) -> list[str]:
    return layers_in_order(
        [(e.source, e.target) for some in (circuits.pairs, circuits.skipped) for e in some]
    )


def _names(stem: str, n: int, per_file: int) -> list[str]:
    """Names of the files of one list."""
    return [stem if not i else f"{stem}~{i + 1}" for i in range(-(-n // per_file))]


def _is_between(circuit: Circuit) -> bool:
    """Whether it joins two families that turn."""
    is_single = is_unit(circuit.source, circuit.source_layer) or is_unit(circuit.target, circuit.target_layer)
    return not is_single and not circuit.pair_class


def _by_pair(circuits: Circuits) -> dict[tuple[str, str], list[Circuit]]:
    """Circuits of each two layers: symmetric ones first, those between families before those with single units."""
    own: dict[tuple[str, str], list[Circuit]] = defaultdict(list)
    for c in circuits.circuits:
        own[_ACROSS if stretches(c.transformation) else (c.source_layer, c.target_layer)].append(c)
    for some in own.values():
        some.sort(key=lambda c: (not c.is_symmetric, not _is_between(c), -strength_of(c)))
    return own


def _pair_lists(
    circuits: Circuits, layers: Sequence[str], stored: StoredWeights
) -> Iterator[tuple[tuple[str, str], list[str], int, int]]:
    """Give each two layers, the files of their list, and how many of their circuits are symmetric, and have a view."""
    depth = {layer: i for i, layer in enumerate(layers)}
    own = _by_pair(circuits)
    for pair in sorted(own, key=lambda pair: (depth.get(pair[1], len(depth)), depth.get(pair[0], 0))):
        symmetric = [c for c in own[pair] if c.is_symmetric]
        kept = sum(c.id in stored for c in symmetric)
        yield pair, _names(f"{pair[0]}>{pair[1]}", len(own[pair]), _ROWS_A_FILE), len(symmetric), kept


def _title(pair: tuple[str, str]) -> str:
    return f"{GROWING}, across layers" if pair == _ACROSS else f"{pair[0]} → {pair[1]}"


def _table(circuits: Iterable[Circuit], stored: StoredWeights, ends: Ends) -> dict[str, Any]:
    """Give a list in few bytes: names and classes once, and a row of places and figures for each circuit."""
    names: dict[str, int] = {}
    classes: dict[str, int] = {}
    rows = []
    for c in circuits:
        source, target = (names.setdefault(name, len(names)) for name in (c.source, c.target))
        kind = classes.setdefault(f"{c.transformation}: {class_text(c)}", len(classes))
        figures = [
            _short(value) for value in (c.r2, c.r2_low, c.r2_high, c.r2_null_95, c.q_value, c.energy_share)
        ]
        rows.append(
            [source, target, kind, *figures, int(c.is_symmetric), int(c.is_symmetric and c.id in stored)]
        )
    return {
        "names": list(names),
        "families": [int(name in ends.families) for name in names],
        "classes": list(classes),
        "rows": rows,
    }


def _short(value: float) -> float | None:
    value_ = measured(value)
    return None if value_ is None else float(f"{value_:.3g}")


def _facts(circuits: Circuits) -> dict[str, Any]:
    symmetric = [c for c in circuits.circuits if c.is_symmetric]
    between = [c for c in circuits.circuits if _is_between(c)]
    n_between = sum(c.is_symmetric for c in between)
    with_units = sum(not _is_between(c) and not c.pair_class for c in symmetric)
    with_pairs = sum(bool(c.pair_class) for c in symmetric)
    tested = [entry for entry in circuits.confirmations if entry.n_tested]
    turning = sum(entry.n_symmetric > 0 for entry in tested)
    asked = [entry for entry in circuits.confirmations if entry.is_tested]
    confirmed = sum(entry.is_confirmed for entry in asked)
    return {
        "found": f"{n_between:,} of {counted(len(between), 'block')} of weights between two families "
        "turn with their poses",
        "turning": f"{turning:,} of {counted(len(tested), 'family')} "
        f"{'has' if turning == 1 else 'have'} at least one such circuit",
        "confirmed": f"All weights into their members together confirm {confirmed:,} of "
        f"{counted(len(asked), 'family')} as copies"
        if asked
        else "",
        "with_units": f"{counted(with_units, 'circuit')} with single units that the transformation leaves as they are",
        "with_pairs": f"{counted(with_pairs, 'circuit')} of {_pair_names()} pairs",
        "is_any": bool(circuits.circuits),
    }


def _pair_names() -> str:
    """Name the transformations of pairs: "reflection and contrast"."""
    names = [transformation.name for transformation in ALL if is_pair(transformation.name)]
    return " and ".join([*([", ".join(names[:-1])] if names[:-1] else []), names[-1]])


def _pairs(circuits: Circuits) -> list[dict[str, Any]]:
    rows = []
    for entry in circuits.pairs:
        share = entry.n_symmetric / entry.n_circuits if entry.n_circuits else None
        rows.append(
            {
                "source": entry.source,
                "target": entry.target,
                "path": _PATHS.get(entry.path, entry.path),
                "linearised": "; ".join(entry.linearised) or "exact",
                "outside": percent_text(measured(entry.energy_outside)),
                "n": f"{entry.n_circuits:,}",
                "n_symmetric": f"{entry.n_symmetric:,}",
                "share": percent_text(share),
                "bar": f"{100 * share:.1f}" if share is not None else "0",
            }
        )
    return rows


def _beyond_chance(own: Factors) -> float:
    return (measured(own.r2_null_95) or 0.0) - (measured(own.r2) or 0.0)


def _factors(own: Factors, ends: Ends) -> dict[str, Any]:
    r2, null = measured(own.r2), measured(own.r2_null_95)
    return {
        "target": own.target,
        "is_family": own.target in ends.families,
        "source": own.source_layer,
        "r2": number(own.r2),
        "null": number(own.r2_null_95),
        "p": q_text(own.p_value),
        "is_chance": r2 is None or null is None or r2 <= null,
        "errors": [
            {"n": i, "value": number(error), "is_chosen": i == len(own.factors)}
            for i, error in enumerate(own.held_out_errors, 1)
        ],
        "factors": [_factor(factor, own.source_layer, ends, i) for i, factor in enumerate(own.factors, 1)],
        "n": counted(len(own.factors), "factor"),
    }


def _factor(factor: Factor, layer: str, ends: Ends, place: int) -> dict[str, Any]:
    # A few numbers that are not there would leave the whole picture blank.
    template = np.array(factor.template, dtype=np.float64)[None, None]
    units = [ends.unit(layer, int(channel)) for channel in factor.channels]
    return {
        "place": place,
        "address": draw_kernels(template, has_lines=False).address,
        "alt": f"Template of factor {place} from {layer}",
        "share": percent_text(factor.share),
        "units": [
            {
                "name": unit.name,
                "view": f"{layer}-{channel}",
                "tile": unit.tile,
                "loading": percent_text(loading),
            }
            for unit, channel, loading in zip(units, factor.channels, factor.loadings, strict=True)
        ],
    }


def _transposed(entry: Any, stored: StoredWeights) -> dict[str, Any]:
    """Give the same pattern in opposite directions, with both templates where they are at hand."""

    def end(name: str) -> dict[str, Any]:
        weights = stored.read(name)
        address = None
        if weights is not None:
            address = draw_kernels(weights["template"].astype(np.float64)[None, :1], has_lines=False).address
        return {"id": name, "has_view": weights is not None, "address": address}

    return {
        "ends": [end(entry.forward), end(entry.backward)],
        "cosine": number(entry.cosine),
        "turn": number(entry.turn_deg, 0, "°"),
        "q": q_text(entry.q_value),
    }


VIEW = View(
    "circuits",
    __name__,
    render_all_circuits,
    parts={"list": render_lists},
    title="Circuits",
    script="circuits.js",
    style="circuits.css",
    evidence=(CIRCUITS,),
)
