"""One circuit: the weights from one family to another, and how it is told from chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.statistics import family_q_values

__all__ = [
    "LEAST_STRENGTH",
    "NOT_SYMMETRIC",
    "SMALL",
    "Candidate",
    "Circuit",
    "judge",
    "p_values",
    "standardised",
]

Floats = NDArray[np.float64]

# Below this many members on the side that is left out, the null is so wide that little can be told.
SMALL = 5
NOT_SYMMETRIC = "not symmetric"
# Blocks with single units are kept where their weights are at least as strong as the layers' on average.
LEAST_STRENGTH = 1.0


@dataclass(frozen=True)
class Circuit:
    """The weights from one family, or unit, to another.

    Attributes
    ----------
    id
        ``SOURCE>TARGET``.
    source, target
        Ids of families, or ``layer:channel`` of single units that the transformation leaves as they are.
    source_layer, target_layer
        Their layers.
    transformation
        What ties the weights: ``rotation``, ``hue``, ``hue-rotation``, ``scale``, ``reflection`` or ``contrast``.
    rotation_class, hue_class, scale_class
        Such as ``invariant→equivariant``, or ``not symmetric``; empty where the transformation does not apply.
    pair_class
        The same under reflection or contrast; otherwise empty. Pairs that are not symmetric are not listed.
    n_source, n_target
        Numbers of members.
    is_small
        Fewer than five members on the side that is left out in turn.
    r2, r2_low, r2_high
        Share of the weight energy of members left out that the template of the others explains, with its 95 %
        bootstrap interval over members. For pairs the share of a member's weights along its partner's transformed
        ones, between two units that do not turn the share that is the same in all directions, both without interval.
    r2_null_95, r2_null_99
        Percentiles of the same with permuted poses; for pairs, with members of other pairs; between two units that do
        not turn, of kernels between other units.
    p_value, q_value
        Share of null draws that explain as much (one added), and the estimated share of false ones among all circuits
        of this kind between these layers that stand out as much.
    energy_share
        Share of the weight energy into the target from the whole source layer.
    strength
        Root mean square weight of the block over that of all weights between the layers.
    alternatives
        R² of simpler classes that were compared, by their names.
    """

    id: str
    source: str
    target: str
    source_layer: str
    target_layer: str
    transformation: str
    rotation_class: str
    hue_class: str
    pair_class: str
    n_source: int
    n_target: int
    is_small: bool
    r2: float
    r2_low: float
    r2_high: float
    r2_null_95: float
    r2_null_99: float
    p_value: float
    q_value: float
    energy_share: float
    strength: float
    alternatives: tuple[tuple[str, float], ...] = ()
    scale_class: str = ""

    @property
    def circuit_class(self) -> str:
        """Its class under what ties it; for hue × rotation both, rotation first."""
        if self.pair_class:
            return self.pair_class
        return " / ".join(
            dict.fromkeys(c for c in (self.rotation_class, self.hue_class, self.scale_class) if c)
        )

    @property
    def is_between_families(self) -> bool:
        """Whether both ends are families, and neither is a single unit."""
        ends = ((self.source, self.source_layer), (self.target, self.target_layer))
        return not any(name.removeprefix(f"{layer}:").isdigit() for name, layer in ends)

    @property
    def is_symmetric(self) -> bool:
        """Whether it has a class at all."""
        return self.circuit_class != NOT_SYMMETRIC


@dataclass(frozen=True)
class Candidate:
    """A block before it is judged.

    Attributes
    ----------
    circuit
        Without what the null says of it: percentiles, p and q are NaN.
    null
        R² of each draw, shape (draw,).
    deviations
        From `standardised`, of the data first, then of each draw, shape (1 + draw,).
    """

    circuit: Circuit
    null: Floats
    deviations: Floats


def standardised(r2: Floats, null: Floats) -> Floats:
    """R² less the mean, in standard deviations: of the data first, then of each draw, shape (1 + draw, block).

    Mean and deviation are over the data and all distinct draws alike. Were the data left out, those of a family of
    three, with its five other orders, would look far from draws that happen to lie close together, whatever they are.

    Parameters
    ----------
    r2, null
        Shapes (block,) and (draw, block).
    """
    distinct, counts = _distinct(null, 10)
    n = 1 + counts.sum(0)
    mean = (r2 + (distinct * counts).sum(0)) / n
    spread = np.sqrt(((r2 - mean) ** 2 + ((distinct - mean) ** 2 * counts).sum(0)) / n)
    return np.asarray((np.concatenate([r2[None], null]) - mean) / np.maximum(spread, 1e-3))


def p_values(deviations: Floats) -> Floats:
    """Share of the distinct draws that stand out as much as the data, one added, shape (block,)."""
    distinct, counts = _distinct(deviations[1:], 8)
    return np.asarray((1 + (counts & (distinct >= deviations[0] - 1e-8)).sum(0)) / (1 + counts.sum(0)))


def _distinct(draws: Floats, decimals: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Sort rounded draws of each block, shape (draw, block), and say which are the first of their value."""
    values = np.sort(np.round(draws, decimals), axis=0)
    is_first = np.ones(values.shape, dtype=bool)
    is_first[1:] = values[1:] != values[:-1]
    return values, is_first


def judge(candidates: Sequence[Candidate], rate: float) -> list[Circuit]:
    """Add what the null says, q-values from all blocks of a kind together; what does not stand out is not symmetric."""
    if not candidates:
        return []
    null = np.stack([c.null for c in candidates], axis=1)
    deviations = np.stack([c.deviations for c in candidates], axis=1)
    # Without a single draw this raises.
    q_values = family_q_values(deviations[0].tolist(), list(deviations[1:]))
    null_95, null_99 = np.quantile(null, (0.95, 0.99), axis=0)
    figures = np.stack([null_95, null_99, p_values(deviations), q_values], axis=1).tolist()
    judged = []
    for candidate, (own_95, own_99, p_value, q_value) in zip(candidates, figures, strict=True):
        circuit = candidate.circuit
        is_tied = q_value <= rate and circuit.r2 > 0
        judged.append(
            replace(
                circuit,
                rotation_class=circuit.rotation_class
                and (circuit.rotation_class if is_tied else NOT_SYMMETRIC),
                hue_class=circuit.hue_class and (circuit.hue_class if is_tied else NOT_SYMMETRIC),
                scale_class=circuit.scale_class and (circuit.scale_class if is_tied else NOT_SYMMETRIC),
                r2_null_95=own_95,
                r2_null_99=own_99,
                p_value=p_value,
                q_value=q_value,
            )
        )
    return judged
