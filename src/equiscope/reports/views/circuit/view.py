"""The view of one circuit: its weights as they are and in order of relative pose, and its figures in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from equiscope.evidence.circuits import Circuit
from equiscope.evidence.circuits.causal import CausalCheck
from equiscope.evidence.circuits.tying_axes import stretches
from equiscope.reports.document.wording import counted, number
from equiscope.reports.drawing.svg import write_for_site
from equiscope.reports.views.circuit.charts import circuit_charts
from equiscope.reports.views.circuit.drawings import DrawnBoard, draw_board
from equiscope.reports.views.circuit.ends import Ends, is_unit, strength_of
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.circuit.matrices import Label, Matrices, arrange, tied_along
from equiscope.reports.views.circuit.weights import StoredWeights, Weights
from equiscope.reports.views.circuit.words import (
    check_view,
    class_text,
    evidence_of_circuit,
    figures_of_circuit,
    sentence_of_circuit,
    weight_text,
)
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.view import Fragment, View

__all__ = ["VIEW", "render_circuits"]

# Wider pairs of matrices stand below each other.
_MOST_COLUMNS = 40
_N_OTHERS = 6


def render_circuits(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the view of every circuit whose weights were kept, by its id.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> folder = Path("equiscope-runs/mini")
    >>> context = SiteContext(document := load_document(folder), Pictures(document), folder)
    >>> dict(render_circuits(context))["conv2d0-hue-1>conv2d1-hue-1"].data["caption"]
    'In order of relative hue'
    """
    circuits = context.found(CIRCUITS)
    if circuits is None:
        return
    stored = StoredWeights(context.folder, circuits)
    ends = Ends(context.document["families"], context.pictures)
    checks = {check.circuit: check for check in circuits.checks}
    drawn = [c for c in circuits.circuits if c.id in stored and c.is_symmetric]
    by_end: dict[str, list[Circuit]] = {}
    for circuit in sorted(drawn, key=lambda c: -strength_of(c)):
        for end in (circuit.source, circuit.target):
            by_end.setdefault(end, []).append(circuit)
    for circuit in drawn:
        weights = stored.read(circuit.id)
        if weights is not None:
            others = [
                c for end in (circuit.target, circuit.source) for c in by_end[end] if c.id != circuit.id
            ]
            yield circuit.id, _render_circuit(circuit, weights, checks.get(circuit.id), ends, others)


def _render_circuit(
    circuit: Circuit,
    weights: Weights,
    check: CausalCheck | None,
    ends: Ends,
    others: Sequence[Circuit] = (),
) -> Fragment:
    """Render the view of one circuit.

    Parameters
    ----------
    circuit
        The circuit.
    weights
        Its kernels, as `equiscope.evidence.circuits.tied.Tied` describes them.
    check
        What interventions did, if any.
    ends
        Families and units.
    others
        Circuits that share an end with it and have a view, the strongest first.
    """
    matrices = arrange(circuit, weights, ends)
    raw, reordered = draw_board(matrices, "raw"), draw_board(matrices, "reordered")
    n_columns = matrices.raw.kernels.shape[1] + matrices.reordered.kernels.shape[1] + matrices.is_transposed
    axis = tied_along(circuit)
    what = "pose" if axis is None else axis.noun
    html = render_template(
        __name__,
        "circuit.html.jinja",
        circuit=circuit,
        source=_end(circuit.source, circuit.source_layer, ends),
        target=_end(circuit.target, circuit.target_layer, ends),
        class_=class_text(circuit),
        sentence=sentence_of_circuit(circuit),
        evidence=evidence_of_circuit(circuit),
        boards=[_board(matrices, raw, "raw"), _board(matrices, reordered, "reordered")],
        is_stacked=n_columns > _MOST_COLUMNS,
        scale=weight_text(matrices.scale),
        turning=matrices.turns_deg is not None,
        what=f"relative {what}" if len(weights["slots"]) else what,
        blank="no path leads from one to the other, or none was looked for"
        if stretches(circuit.transformation)
        else "no two members are this far apart",
        figures=figures_of_circuit(circuit),
        check=check_view(check),
        others=[_other(c, circuit) for c in others[:_N_OTHERS]],
    )
    return Fragment(html, _data(matrices))


def _end(name: str, layer: str, ends: Ends) -> dict[str, Any]:
    if is_unit(name, layer):
        kind, view = "unit", f"{layer}-{name.rpartition(':')[2]}"
    else:
        kind, view = "family", name
    is_known = kind == "unit" or name in ends.families
    return {"name": name, "layer": layer, "kind": kind, "view": view if is_known else None}


def _other(circuit: Circuit, own: Circuit) -> dict[str, str]:
    if circuit.target == own.target:
        way = f"also into {own.target}"
    elif circuit.source == own.source:
        way = f"also from {own.source}"
    elif circuit.target == own.source:
        way = f"what feeds {own.source}"
    else:
        way = f"what {own.target} feeds"
    return {"id": circuit.id, "way": way, "r2": number(circuit.r2), "class": class_text(circuit)}


def _board(matrices: Matrices, drawn: DrawnBoard, part: str) -> dict[str, Any]:
    """Give a drawing with a button over each of its matrices."""
    drawing = drawn.drawing
    buttons = []
    for name, (x, y, width, height) in drawn.boxes.items():
        kernels = matrices.template if name == "template" else _of(matrices, name).kernels
        alt = f"The template, {counted(kernels.shape[0] * kernels.shape[1], 'kernel')}"
        buttons.append(
            {
                "part": name,
                "n_rows": kernels.shape[0],
                "n_columns": kernels.shape[1],
                "left": f"{100 * (x - drawing.left) / drawing.width:.3f}",
                "top": f"{100 * (y - drawing.top) / drawing.height:.3f}",
                "width": f"{100 * width / drawing.width:.3f}",
                "height": f"{100 * height / drawing.height:.3f}",
                "label": alt if name == "template" else _of(matrices, name).label,
            }
        )
    return {
        "part": part,
        "svg": write_for_site(drawing, "matrix"),
        "natural_px": f"{drawing.width:.0f}",
        "buttons": buttons,
    }


def _of(matrices: Matrices, part: str) -> Any:
    return matrices.raw if part == "raw" else matrices.reordered


def _data(matrices: Matrices) -> dict[str, Any]:
    """Give what the script needs: where each cell goes, by how much it turns, and who stands at its ends."""

    def labels(own: Sequence[Label]) -> list[list[str | None]]:
        return [[label.name, label.unit, "tick" if label.is_tick else None] for label in own]

    n_raw_columns = matrices.raw.kernels.shape[1]
    n_columns = matrices.reordered.kernels.shape[1]
    return {
        # Cells are counted row by row; -1 where a cell goes nowhere.
        "links": [-1 if link is None else link[0] * n_columns + link[1] for link in matrices.links],
        "raw": {
            "rows": labels(matrices.raw.rows),
            "columns": labels(matrices.raw.columns),
            "n": n_raw_columns,
        },
        "reordered": {
            "rows": labels(matrices.reordered.rows),
            "columns": labels(matrices.reordered.columns),
            "n": n_columns,
        },
        "caption": matrices.reordered.caption,
        "turns": None if matrices.turns_deg is None else [round(turn, 2) for turn in matrices.turns_deg],
        "isTransposed": matrices.is_transposed,
    }


VIEW = View(
    "circuit",
    __name__,
    render_circuits,
    script="circuit.js",
    style="circuit.css",
    evidence=(CIRCUITS,),
    charts=circuit_charts,
)
