"""The charts of a circuit."""

from __future__ import annotations

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.foundations.received import quoted
from equiscope.reports.drawing.svg import beside
from equiscope.reports.views.circuit.drawings import draw_board, draw_template
from equiscope.reports.views.circuit.ends import Ends
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.circuit.matrices import arrange
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.view import Charts

__all__ = ["circuit_charts"]


def circuit_charts(context: SiteContext, name: str) -> Charts:
    """Give the charts of a circuit, by its id.

    Raises
    ------
    EquiscopeError
        If no circuits were recovered, or none of this name whose weights were kept.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> folder = Path("equiscope-runs/mini")
    >>> context = SiteContext(document := load_document(folder), Pictures(document), folder)
    >>> circuit_charts(context, "conv2d0-hue-1>conv2d1-hue-1")["template"]().label
    'The template: 16 kernels'
    """
    circuits = context.found(CIRCUITS)
    if circuits is None:
        raise EquiscopeError(
            f"{context.folder} has no circuits yet: run `equiscope circuits {quoted(context.folder)}` first"
        )
    stored = StoredWeights(context.folder, circuits)
    circuit = next((c for c in circuits.circuits if c.id == name), None)
    weights = stored.read(name)
    if circuit is None or weights is None:
        raise unknown_name("circuit whose weights were kept", name, stored.ids)
    matrices = arrange(circuit, weights, Ends(context.document["families"], context.pictures))
    raw, reordered = (draw_board(matrices, part, for_print=True).drawing for part in ("raw", "reordered"))
    return {
        "matrices": lambda: beside([raw, reordered], 30.0, reordered.label),
        "raw": lambda: raw,
        "reordered": lambda: reordered,
        "template": lambda: draw_template(matrices, for_print=True),
    }
