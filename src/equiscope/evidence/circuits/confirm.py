"""What the weights say about each family as a whole, and how many of its circuits turn with its poses.

A family is *confirmed* by everything that feeds its members at once: if it is one of copies, their weights, moved back
to pose 0, are the same, whatever they come from. That is its verdict (`equiscope.evidence.witnesses`). A single circuit
confirms nothing: two fields of an exact C4 network, mixed into one "family", are still fed by others in order of pose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.ends import family_end
from equiscope.evidence.circuits.linearised import Gains
from equiscope.evidence.circuits.results import Confirmation
from equiscope.evidence.circuits.tying_axes import stretches
from equiscope.families.verdict import Verdict
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.run import Run

__all__ = ["confirm_families", "give_verdicts"]


def give_verdicts(
    run: Run, model: Model, geometries: Mapping[str, LayerGeometry], gains: Gains | None
) -> dict[str, Verdict]:
    """Give the verdict on each family of a run, by its id; runs from before there were verdicts get them here.

    Parameters
    ----------
    run, model, geometries
        The run, its network, and the geometry of its layers.
    gains
        What normalisations are replaced by; without them what lies behind one is untested.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_circuits
    >>> planted = planted_circuits()
    >>> run = Run(Path("my-run"), {}, planted.units, planted.families)
    >>> found = give_verdicts(run, planted.model, find_geometry(planted.model, ["early", "late"]), None)
    >>> {verdict.word for verdict in found.values()}
    {'copies'}
    """
    # The witnesses read weights as circuits do, and are imported after them.
    from equiscope.evidence.witnesses.judge import give_verdict
    from equiscope.evidence.witnesses.weights import WeightsOf

    weights = WeightsOf(model, geometries, run.families, run.units, gains)
    return {
        family.id: give_verdict(family, weights.of(family)) if family.verdict is None else family.verdict
        for family in run.families
    }


def confirm_families(
    run: Run, circuits: Sequence[Circuit], verdicts: Mapping[str, Verdict] | None = None
) -> tuple[Confirmation, ...]:
    """Say of each family that turns or scales what all its inputs say, and count its circuits.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.families.family import Family
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=())
    >>> run = Run(Path("my-run"), {}, families=(family,))
    >>> (found,) = confirm_families(run, [], {family.id: Verdict("copies", likeness=0.9, tested=0.8)})
    >>> found.family, found.n_tested, found.is_confirmed
    ('conv1-rotation-1', 0, True)
    """
    confirmations = []
    for family in run.families:
        if family_end(family) is None and not stretches(family.transformation):
            continue
        own = [
            c for c in circuits if family.id in (c.ends[0].family, c.ends[1].family) and c.is_between_families
        ]
        turning = [c for c in own if c.is_symmetric and c.turns_with(family.id)]
        best = max(turning, key=lambda c: c.r2 - c.r2_null_95, default=None)
        confirmations.append(
            Confirmation(
                family.id, len(own), len(turning),
                nan if best is None else best.r2,
                nan if best is None else best.r2_null_95,
                "" if best is None else best.id,
                (verdicts or {}).get(family.id, family.verdict),
            )
        )  # fmt: skip
    return tuple(confirmations)
