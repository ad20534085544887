"""What a search says about one transformation of a layer: its families, every unit, and what chance would find."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np

from equiscope.families.family import Family, Symmetry

__all__ = ["LayerFamilies", "NullSummary", "UnitPair", "summarise_null"]


@dataclass(frozen=True)
class NullSummary:
    """What the search finds where there is nothing: with every unit's pose scrambled for every stimulus.

    ``families_per_draw``: mean number found in a draw; ``families_expected``: mean number that would have been
    accepted; ``score_95``: 95th percentile of what families are ranked by (their scores; for reflection,
    contrast and scale their gains, see ``pairs``), NaN if there were none.
    """

    n_draws: int
    families_per_draw: float
    families_expected: float
    score_95: float


@dataclass(frozen=True)
class UnitPair:
    """Two units, counted through all layers, of which v is u moved by ``away`` along a line; figures are held-out.

    ``margin``: by how much they correlate better at that relative pose than at none. ``held_out_away``: the relative
    pose that the held-out half alone gives.
    """

    u: int
    v: int
    away: float
    score: float
    margin: float
    q_value: float = nan
    held_out_away: float = nan

    @property
    def gain(self) -> float:
        """Share of what the pair lacks to being alike that moving one supplies: what pairs are ranked by."""
        return self.margin / max(1 - (self.score - self.margin), 1e-9)


@dataclass(frozen=True)
class LayerFamilies:
    """What the survey says about one transformation of a layer, or of several layers together.

    Attributes
    ----------
    layers, transformation
        Where, and under what.
    families
        The accepted families.
    symmetries
        One a unit, in the order of layers and channels.
    null, n_refused
        What the search finds where there is nothing, and how many candidates did not pass.
    notes
        What else is to be said.
    pairs
        Along a line the accepted pairs, of which families are made; otherwise empty.
    """

    layers: tuple[str, ...]
    transformation: str
    families: tuple[Family, ...]
    symmetries: tuple[Symmetry, ...]
    null: NullSummary
    n_refused: int
    notes: tuple[str, ...] = ()
    pairs: tuple[UnitPair, ...] = ()

    @property
    def layer(self) -> str:
        """Its layer, or its layers joined by ``+``: to be read, not to be taken apart."""
        return "+".join(self.layers)


def summarise_null(null_scores: list[list[float]], threshold: float) -> NullSummary:
    """Describe what the search found in all null draws; ``threshold``: the lowest accepted score.

    Examples
    --------
    Two draws, of which one held two false families.

    >>> summarise_null([[], [0.4, 0.6]], threshold=0.5)
    NullSummary(n_draws=2, families_per_draw=1.0, families_expected=0.5, score_95=0.59)
    """
    scores = np.array([score for draw in null_scores for score in draw])
    return NullSummary(
        n_draws=len(null_scores),
        families_per_draw=len(scores) / max(len(null_scores), 1),
        families_expected=float((scores >= threshold).sum() / max(len(null_scores), 1)),
        score_95=float(np.quantile(scores, 0.95)) if len(scores) else nan,
    )
