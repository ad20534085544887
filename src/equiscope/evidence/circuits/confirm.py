"""How many of a family's circuits turn with its poses, which were found without the weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.ends import family_end
from equiscope.evidence.circuits.results import Confirmation
from equiscope.evidence.circuits.tying_axes import stretches
from equiscope.runs.run import Run

__all__ = ["confirm_families"]


def confirm_families(run: Run, circuits: Sequence[Circuit]) -> tuple[Confirmation, ...]:
    """Count, for each family that turns or scales, the circuits whose weights follow its poses.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.families.family import Family
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=())
    >>> (found,) = confirm_families(Run(Path("my-run"), {}, families=(family,)), [])
    >>> found.family, found.n_tested, found.n_symmetric
    ('conv1-rotation-1', 0, 0)
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
            )
        )  # fmt: skip
    return tuple(confirmations)
