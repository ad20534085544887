"""Which kind of drawing drives a family most, and how surely.

The *drive* of a drawing is the mean over members of the response to it, each as a share of the member's largest
response to any drawing. It is a suggestion, since it is the best of what was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.verify.drawn.shown import Shown
from equiscope.foundations.statistics import percentile_interval

__all__ = ["Suggestion", "suggest_kind"]

Floats = NDArray[np.float64]

_N_RESAMPLES = 1000


@dataclass(frozen=True)
class Suggestion:
    """The kind that drives a family most, the next one, and the fields of a verification that say so."""

    kind: str
    best: int
    words: dict[str, Any]


def suggest_kind(shown: Sequence[Shown], drives: Floats) -> Suggestion:
    """Rank kinds of drawings by the drive of the best drawing of each.

    Parameters
    ----------
    shown
        The drawings.
    drives
        Response of each member to each, as a share of its largest to any, shape (drawing, member), in [0, 1].

    Returns
    -------
    Suggestion
        With 95 % bootstrap intervals over members.

    Examples
    --------
    >>> from equiscope.stimuli.drawn import SyntheticStimulus
    >>> edge = SyntheticStimulus("edge", (("softness_px", 2.0), ("contrast", 0.8)))
    >>> softer = SyntheticStimulus("edge", (("softness_px", 4.0), ("contrast", 0.8)))
    >>> shown = [Shown(own, np.zeros(1), np.zeros(1), np.zeros((1, 1, 2))) for own in (edge, softer)]
    >>> found = suggest_kind(shown, np.array([[0.5, 0.7], [1.0, 0.8]]))
    >>> found.kind, found.best, round(found.words["drive"], 2)
    ('edge', 1, 0.9)
    """
    kinds = list(dict.fromkeys(entry.stimulus.kind for entry in shown))
    of_kind = {kind: [i for i, e in enumerate(shown) if e.stimulus.kind == kind] for kind in kinds}
    # One stimulus for the whole family: its members are copies, so what drives one best drives all.
    best_of = {kind: max(rows, key=lambda i: float(drives[i].mean())) for kind, rows in of_kind.items()}
    ranked = sorted(kinds, key=lambda kind: -float(drives[best_of[kind]].mean()))
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else ranked[0]
    rng = np.random.default_rng(0)
    n = drives.shape[1]
    draws = rng.integers(0, n, (_N_RESAMPLES, n))
    top, next_best = drives[best_of[first]], drives[best_of[second]]
    low, high = percentile_interval(top[draws].mean(1))
    lead_low, lead_high = percentile_interval((top - next_best)[draws].mean(1))
    return Suggestion(
        first,
        best_of[first],
        {
            "kind": first,
            "drive": float(top.mean()),
            "drive_low": float(low),
            "drive_high": float(high),
            "runner_up": second,
            "lead": float((top - next_best).mean()),
            "lead_low": float(lead_low),
            "lead_high": float(lead_high),
        },
    )
