"""What the weights say about a family: whether they confirm it, and its strongest circuits in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equiscope.evidence.circuits import Circuit
from equiscope.evidence.circuits.tying_axes import stretches
from equiscope.families.asked import family_of
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.wording import counted, interval_text, number, q_text
from equiscope.reports.drawing.svg import write_for_site
from equiscope.reports.views.circuit.drawings import draw_thumbnail
from equiscope.reports.views.circuit.ends import Ends, strength_of
from equiscope.reports.views.circuit.matrices import arrange
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.reports.views.circuit.words import class_text, percent_text
from equiscope.transformations import find

__all__ = ["what_weights_say"]

# Circuits shown in each direction.
_N_CIRCUITS = 6


def what_weights_say(
    family: FamilyEntry, circuits: Sequence[Circuit], weights: StoredWeights | None, ends: Ends
) -> dict[str, Any]:
    """Give what the weights say about the family, and its strongest circuits in and out.

    Examples
    --------
    >>> confirmation = {"n_tested": 3, "n_symmetric": 0, "best_r2": None, "best_null_95": None, "best_circuit": ""}
    >>> family = {"id": "conv1-rotation-1", "transformation": "rotation", "confirmation": confirmation}
    >>> what_weights_say(family, [], None, Ends([]))["sentence"]
    'Weights took no part in finding the family, and they do not confirm it: in none of 3 blocks of weights
    with other families do they turn with its poses.'
    """
    ways = []
    for title, others in (
        ("What feeds it", [c for c in circuits if family_of(c.target) == family["id"]]),
        ("What it feeds", [c for c in circuits if family_of(c.source) == family["id"]]),
    ):
        strongest = sorted(others, key=lambda c: -strength_of(c))
        ways.append(
            {
                "title": title,
                "n": counted(len(others), "symmetric circuit"),
                "is_into": title == "What feeds it",
                "rows": [_circuit_row(c, family, weights, ends) for c in strongest[:_N_CIRCUITS]],
            }
        )
    return {"sentence": _confirmation(family), "ways": ways, "is_any": bool(circuits)}


def _circuit_row(
    circuit: Circuit, family: FamilyEntry, weights: StoredWeights | None, ends: Ends
) -> dict[str, Any]:
    other = circuit.source if family_of(circuit.target) == family["id"] else circuit.target
    arrays = None if weights is None else weights.read(circuit.id)
    drawing = None
    if arrays is not None:
        drawing = write_for_site(draw_thumbnail(arrange(circuit, arrays, ends)), "thumbnail")
    return {
        "id": circuit.id if arrays is not None else None,
        "other": other,
        "is_family": other in ends.families,
        "class": class_text(circuit),
        "r2": number(circuit.r2),
        "interval": interval_text(circuit.r2, circuit.r2_low, circuit.r2_high),
        "null": number(circuit.r2_null_95),
        "q": q_text(circuit.q_value),
        "share": percent_text(circuit.energy_share),
        "drawing": drawing,
    }


def _confirmation(family: FamilyEntry) -> str:
    """Say in how many circuits the weights follow the family, and which of them does so most clearly."""
    entry = family.get("confirmation")
    if entry is None:
        return ""
    n_tested, n_symmetric = entry["n_tested"], entry["n_symmetric"]
    if not n_tested:
        return "No block of weights between this family and another could be tested."
    transformation = find(family["transformation"])
    follow = transformation.words.follow
    if not n_symmetric:
        return (
            f"Weights took no part in finding the family, and they do not confirm it: in none of "
            f"{counted(n_tested, 'block')} of weights with other families do they {follow}."
        )
    source, _, target = entry["best_circuit"].rpartition(">")
    way, other = ("from", source) if family_of(target) == family["id"] else ("to", target)
    return (
        f"Weights took no part in finding the family, and they confirm it: in {n_symmetric} of "
        f"{counted(n_tested, 'block')} of weights with other families they {follow}. It stands out most "
        f"{way} {other}, where a template explains {number(entry['best_r2'])} of the weight energy of members left "
        f"out; {'with strangers' if stretches(transformation.name) else 'with poses permuted'} it explains less than "
        f"{number(entry['best_null_95'])} in 95 of 100 draws."
    )
