"""What the figures of a circuit mean, in words."""

from __future__ import annotations

from typing import Any

from equiscope.evidence.circuits import Circuit
from equiscope.evidence.circuits.causal import CausalCheck
from equiscope.evidence.circuits.circuit import class_text as kinds_text
from equiscope.evidence.circuits.tying_axes import COLOURING, TURNING, still_names, stretches
from equiscope.reports.document.wording import (
    MISSING,
    counted,
    interval_text,
    measured,
    number,
    plural,
    q_text,
)
from equiscope.reports.views.circuit.ends import is_unit
from equiscope.transformations import find

__all__ = [
    "check_view",
    "class_text",
    "evidence_of_circuit",
    "figures_of_circuit",
    "percent_text",
    "sentence_of_circuit",
    "weight_text",
]


def class_text(circuit: Circuit) -> str:
    """Give the class of a circuit: what its weights do as the families at its ends turn.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.evidence.circuits import load_circuits
    >>> circuits = load_circuits(Path("equiscope-runs/mini")).circuits
    >>> found = next(own for own in circuits if own.rotation_class == "equivariant→equivariant")
    >>> class_text(found)
    'equivariant → equivariant'
    """
    if circuit.rotation_class and circuit.hue_class and circuit.rotation_class != circuit.hue_class:
        return f"{TURNING} {_arrow(circuit.rotation_class)}, {COLOURING} {_arrow(circuit.hue_class)}"
    return _arrow(circuit.circuit_class)


def _arrow(name: str) -> str:
    return name.replace("→", " → ")


def percent_text(share: float | None) -> str:
    """Give a share in per cent.

    Examples
    --------
    >>> [percent_text(share) for share in (0.4567, 0.0678, 0.0004, float("nan"))]
    ['46 %', '6.8 %', '< 0.1 %', '–']
    """
    share = measured(share)
    if share is None:
        return MISSING
    return "< 0.1 %" if 0 <= share < 0.001 else f"{100 * share:.{1 if share < 0.1 else 0}f} %"


def weight_text(weight: float) -> str:
    """Give a weight, to two digits; one where it is below a thousandth.

    Examples
    --------
    >>> weight_text(0.2468), weight_text(0.00012)
    ('0.25', '1e−4')
    """
    return f"{weight:.2g}" if weight >= 1e-3 else f"{weight:.0e}".replace("e-0", "e-").replace("-", "−")


# What a class says of weights that turn with the poses of families at both ends.
_TURNING_WORDS = {
    "equivariant→equivariant": "Weights depend only on the difference between two members’ poses, and turn with them.",
    "invariant→equivariant": "Every member of the target is fed by the same pattern, turned by its own pose; "
    "what the source’s poses are makes no difference.",
    "equivariant→invariant": "Every member of the source feeds the same pattern, turned by its own pose; "
    "what the target’s poses are makes no difference.",
    "undetermined→equivariant": "Weights turn with the target’s poses; whether the source’s poses make a difference, "
    "the sampling error of the gradients leaves open.",
    "equivariant→undetermined": "Weights turn with the source’s poses; whether the target’s poses make a difference, "
    "the sampling error of the gradients leaves open.",
    "undetermined→undetermined": "Weights follow the poses; of which end, the sampling error of the gradients leaves "
    "open.",
}
# Of weights that stretch.
_GROWING_WORDS = {
    "equivariant→equivariant": "Weights depend only on how much larger one member is than the other, and are as much "
    "wider as the target is larger.",
    "invariant→equivariant": "One unit feeds every member with the same pattern, as wide as the member is large.",
    "equivariant→invariant": "One unit is fed by every member with the same pattern, as wide as the member is large.",
}


def _still_words(name: str, own_class: str, *, is_between: bool) -> str:
    """Say what a class says of weights that no pose moves: those of families that differ in hue."""
    nouns = plural(find(name).axes[-1].noun)
    words = {
        "equivariant→equivariant": f"weights depend only on the difference between two members’ {nouns}.",
        "invariant→equivariant": "the source makes no difference.",
        "equivariant→invariant": "the target makes no difference.",
    }
    with_unit = {
        "invariant→equivariant": f"One unit feeds the members of all {nouns} alike.",
        "equivariant→invariant": f"One unit is fed alike by the members of all {nouns}.",
    }
    return (words if is_between else with_unit).get(own_class, "")


def sentence_of_circuit(circuit: Circuit) -> str:
    """Say what the class of a circuit means.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.evidence.circuits import load_circuits
    >>> circuits = load_circuits(Path("equiscope-runs/mini")).circuits
    >>> found = next(own for own in circuits if own.rotation_class == "equivariant→equivariant")
    >>> sentence_of_circuit(found)
    'Weights depend only on the difference between two members’ poses, and turn with them.'
    """
    name = circuit.transformation
    if stretches(name):
        return _GROWING_WORDS.get(kinds_text(circuit.kinds.get(name)), "")
    if name in still_names() and not circuit.is_between_families:
        return _still_words(name, kinds_text(circuit.kinds.get(name)), is_between=False)
    words = _TURNING_WORDS.get(circuit.rotation_class, "")
    if is_unit(circuit.source, circuit.source_layer):
        words = "One unit feeds every member with the same pattern, turned by the member’s pose."
    elif is_unit(circuit.target, circuit.target_layer):
        words = "One unit is fed by every member with the same pattern, turned by the member’s pose."
    for still in still_names():
        said = _still_words(still, kinds_text(circuit.kinds.get(still)), is_between=True)
        if said and words:
            words = f"{words} In {find(still).axes[-1].noun}, {said}"
        elif said:
            words = said[:1].upper() + said[1:]
    return words


def figures_of_circuit(circuit: Circuit) -> list[dict[str, Any]]:
    """Lines of the list of figures: a term, its value, and what stands beside it.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> from equiscope.evidence.circuits import load_circuits
    >>> circuits = load_circuits(Path("equiscope-runs/mini")).circuits
    >>> found = next(own for own in circuits if own.rotation_class == "equivariant→equivariant")
    >>> lines = figures_of_circuit(replace(found, r2=0.4, r2_low=0.3, r2_high=0.5, energy_share=0.17))
    >>> [(line["term"], line["value"], line["beside"]) for line in lines if line["term"] in ("R²", "Energy")]
    [('R²', '0.40', '0.30 to 0.50'), ('Energy', '17 %', 'of all weight energy from this layer into the target')]
    """

    def line(term: str, value: str, beside: str | None = None) -> dict[str, Any]:
        return {"term": term, "value": value, "beside": beside, "is_strong": term in ("R²", "q")}

    layers = "these layers" if len(circuit.ends[0].layers) > 1 else "this layer"
    lines = [
        line("R²", number(circuit.r2), interval_text(circuit.r2, circuit.r2_low, circuit.r2_high)),
        line(
            "By chance", f"95 % below {number(circuit.r2_null_95)}, 99 % below {number(circuit.r2_null_99)}"
        ),
        line("q", q_text(circuit.q_value)),
        line(
            "Energy",
            percent_text(circuit.energy_share),
            f"of all weight energy from {layers} into the target",
        ),
        line(
            "Strength", f"{number(circuit.strength, 1)} ×", "the root mean square weight between the layers"
        ),
        line("Members", f"{circuit.n_source} to {circuit.n_target}"),
    ]
    if circuit.noise_share > 0:
        lines.append(
            line(
                "Sampling error",
                percent_text(circuit.noise_share),
                "of the energy, which no template explains",
            )
        )
    if circuit.is_small:
        lines.append(line("Few members", "fewer than five that turn: chance alone reaches far"))
    lines += [
        line("Instead", f"R² {number(r2)}", f"as {_arrow(name)}")
        for name, r2 in ((kinds_text(kinds), r2) for kinds, r2 in circuit.alternatives)
        if name != circuit.rotation_class
    ]
    return lines


def check_view(check: CausalCheck | None) -> dict[str, Any] | None:
    """Give what changing the weights did to the target's responses; None where nothing was tried.

    Examples
    --------
    >>> zeroed, template, wrong_pose = (0.8, 0.7, 0.9), (0.99, 0.98, 1.0), (0.35, 0.2, 0.5)
    >>> view = check_view(CausalCheck("a>b", *zeroed, *template, *wrong_pose, n_stimuli=12))
    >>> view["n"], {row["name"]: row["value"] for row in view["rows"]}
    ('12 stimuli',
     {'replaced by the template': '0.990', 'by the template at a wrong pose': '0.350', 'set to zero': '0.800'})
    """
    if check is None:
        return None
    rows = [
        ("replaced by the template", check.template, check.template_low, check.template_high),
        ("by the template at a wrong pose", check.wrong_pose, check.wrong_pose_low, check.wrong_pose_high),
        ("set to zero", check.zeroed, check.zeroed_low, check.zeroed_high),
    ]
    return {
        "n": counted(check.n_stimuli, "stimulus"),
        "rows": [
            {
                "name": name,
                "value": number(value, 3),
                "interval": interval_text(value, low, high),
                "share": f"{100 * min(max(measured(value) or 0.0, 0.0), 1.0):.1f}"
                if measured(value) is not None
                else None,
            }
            for name, value, low, high in rows
        ],
    }


def evidence_of_circuit(circuit: Circuit) -> str:
    """Say how far the circuit can be trusted: what its template explains, and what chance alone would.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> from equiscope.evidence.circuits import load_circuits
    >>> circuits = load_circuits(Path("equiscope-runs/mini")).circuits
    >>> found = next(own for own in circuits if own.rotation_class == "equivariant→equivariant")
    >>> evidence_of_circuit(replace(found, r2=0.4, r2_low=0.3, r2_high=0.5, r2_null_95=0.1, q_value=0.004))
    'A template fitted to the other members explains 0.40 (0.30 to 0.50 with 95 % confidence, bootstrap over members)
    of the weight energy of each member that is left out in turn. With poses permuted it explains less than 0.10
    in 95 of 100 draws. Of such circuits between these layers that stand out as much, 0.4 % are expected to be false.'
    """
    r2, null = measured(circuit.r2), measured(circuit.r2_null_95)
    if r2 is None:
        return "How much of the weights its template explains could not be measured."
    interval = interval_text(r2, circuit.r2_low, circuit.r2_high)
    sure = f" ({interval} with 95 % confidence, bootstrap over members)" if interval else ""
    is_still = circuit.transformation in still_names()
    if stretches(circuit.transformation) or (is_still and not circuit.is_between_families):
        return _evidence_by_strangers(circuit, r2, null, sure)
    said = (
        f"A template fitted to the other members explains {number(r2)}{sure} of the weight energy of each member that "
        "is left out in turn."
    )
    if null is not None:
        said += f" With poses permuted it explains less than {number(null)} in 95 of 100 draws."
    said += _false_text(circuit, "Of such circuits between these layers")
    if circuit.is_small:
        said += " Fewer than five members turn, so chance alone reaches far."
    return said


def _evidence_by_strangers(circuit: Circuit, r2: float, null: float | None, sure: str) -> str:
    alike = (
        "made equally large, at the same relative size"
        if stretches(circuit.transformation)
        else "as they are"
    )
    said = (
        f"The mean of the other members’ kernels, {alike}, explains {number(r2)}{sure} of the weight energy of each "
        "member’s, up to a factor."
    )
    if null is not None:
        said += (
            f" With members of other {circuit.transformation} families of the same layers in all but one member’s "
            f"place it explains less than {number(null)} in 95 of 100 draws."
        )
    said += _false_text(circuit, "Of such circuits")
    if circuit.is_small:
        said += " Fewer than five members could be compared, so chance alone reaches far."
    return said


def _false_text(circuit: Circuit, which: str) -> str:
    q = measured(circuit.q_value)
    if q is None:
        return ""
    share = "less than 0.1 %" if q < 0.001 else f"{100 * q:.1f} %"
    return f" {which} that stand out as much, {share} are expected to be false."
