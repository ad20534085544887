"""One circuit: the weights from one family to another, and how it is told from chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.tying_axes import COLOURING, GROWING, TURNING, is_pair
from equiscope.foundations.statistics import family_q_values

__all__ = [
    "LEAST_STRENGTH",
    "NOT_SYMMETRIC",
    "SMALL",
    "UNDETERMINED",
    "Candidate",
    "Circuit",
    "CircuitEnd",
    "Kinds",
    "circuit_id",
    "class_text",
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


# What the source and the target of a circuit are under one transformation, of these.
Kinds = tuple[str, str]
UNDETERMINED = "undetermined"
_KINDS = ("equivariant", "invariant", UNDETERMINED)


def class_text(kinds: Kinds | None) -> str:
    """Write what both ends are under a transformation; None is no class at all.

    Examples
    --------
    >>> class_text(("invariant", "equivariant"))
    'invariant→equivariant'
    >>> class_text(None)
    'not symmetric'
    """
    return NOT_SYMMETRIC if kinds is None else "→".join(kinds)


def circuit_id(source: str, target: str) -> str:
    """Name a circuit by the names of its ends, such that no two circuits share a name.

    A ``>`` in a name, which a layer's may hold, is percent-encoded, and so is the percent sign.

    Examples
    --------
    >>> circuit_id("conv2-rotation-1", "conv3:7")
    'conv2-rotation-1>conv3:7'
    >>> circuit_id("a>b:0", "c:1")
    'a%3Eb:0>c:1'
    """
    return ">".join(name.replace("%", "%25").replace(">", "%3E") for name in (source, target))


@dataclass(frozen=True)
class CircuitEnd:
    """What stands at one end of a circuit: a family, or a single unit that the transformation leaves as it is.

    Attributes
    ----------
    layers
        Layer of the unit, or the layers that the family's members stand in.
    family
        ``id`` of the family; None for a unit.
    channel
        Of the unit; None for a family.
    """

    layers: tuple[str, ...]
    family: str | None = None
    channel: int | None = None

    def __post_init__(self) -> None:
        if not self.layers or (self.family is None) == (self.channel is None):
            raise ValueError(f"end {self} of a circuit is neither a family nor a unit of a layer")

    @property
    def is_unit(self) -> bool:
        """Whether it is a single unit."""
        return self.family is None

    @property
    def layer(self) -> str:
        """Its layer, to be shown; of several, joined by ``+``."""
        return "+".join(self.layers)

    @property
    def name(self) -> str:
        """The family's id, or ``layer:channel`` of a unit, to be shown; no two ends of a run share a name."""
        return f"{self.layer}:{self.channel}" if self.family is None else self.family


@dataclass(frozen=True)
class Circuit:
    """The weights from one family, or unit, to another.

    Attributes
    ----------
    id
        From `circuit_id`.
    ends
        Source and target.
    transformation
        Name of what ties the weights (`equiscope.transformations.ALL`).
    kinds
        Its class: for each transformation that applies what the source and the target are under it, ``equivariant``,
        ``invariant``, or ``undetermined`` where the sampling error of gradients leaves both possible; None where the
        weights are not symmetric. Hue × rotation has a class under either. Pairs that are not symmetric are not listed.
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
        Simpler classes that were compared, as in ``kinds``, and their R².
    noise_share
        Share of the block's energy that is sampling error, which no template explains: 0 for weights that are read off
        the network, more for gradients; NaN where it was not measured.
    """

    id: str
    ends: tuple[CircuitEnd, CircuitEnd]
    transformation: str
    kinds: dict[str, Kinds | None]
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
    alternatives: tuple[tuple[Kinds, float], ...] = ()
    noise_share: float = nan

    def __post_init__(self) -> None:
        classes = [*self.kinds.values(), *(kinds for kinds, _ in self.alternatives)]
        for kind in (kind for kinds in classes if kinds is not None for kind in kinds):
            if kind not in _KINDS:
                raise ValueError(
                    f"circuit {self.id!r} has an end that is {kind[:60]!r}, expected {' or '.join(_KINDS)}"
                )

    @property
    def source(self) -> str:
        """Name of the source, to be shown."""
        return self.ends[0].name

    @property
    def target(self) -> str:
        """Name of the target, to be shown."""
        return self.ends[1].name

    @property
    def source_layer(self) -> str:
        """Layer of the source, to be shown."""
        return self.ends[0].layer

    @property
    def target_layer(self) -> str:
        """Layer of the target, to be shown."""
        return self.ends[1].layer

    def _class_under(self, *transformations: str) -> str:
        own = (class_text(self.kinds[name]) for name in transformations if name in self.kinds)
        return next(own, "")

    @property
    def rotation_class(self) -> str:
        """Its class under rotation, to be shown; empty where rotation does not apply."""
        return self._class_under(TURNING)

    @property
    def hue_class(self) -> str:
        """Its class under hue, to be shown; empty where hue does not apply."""
        return self._class_under(COLOURING)

    @property
    def scale_class(self) -> str:
        """Its class under scale, to be shown; empty where scale does not apply."""
        return self._class_under(GROWING)

    @property
    def pair_class(self) -> str:
        """Its class under what undoes itself, such as reflection, to be shown; empty for all others."""
        return self._class_under(*(name for name in self.kinds if is_pair(name)))

    @property
    def circuit_class(self) -> str:
        """Its class under what ties it, to be shown; for hue × rotation both, rotation first."""
        return " / ".join(dict.fromkeys(class_text(kinds) for kinds in self.kinds.values()))

    @property
    def is_between_families(self) -> bool:
        """Whether both ends are families, and neither is a single unit."""
        return not any(end.is_unit for end in self.ends)

    @property
    def is_symmetric(self) -> bool:
        """Whether it has a class at all."""
        return any(kinds is not None for kinds in self.kinds.values())

    def turns_with(self, family: str) -> bool:
        """Whether its class says that the weights turn with the poses of the family at one of its ends."""
        place = 0 if self.ends[0].family == family else 1
        return any(kinds is not None and kinds[place] == "equivariant" for kinds in self.kinds.values())


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
    """Standardise R²: (R² - mean) / standard deviation, first of the data, then of draws, shape (1 + draw, block).

    Mean and deviation are over the data and all distinct draws alike. Were the data left out, those of a family of
    three, with its five other orders, would look far from draws that happen to lie close together, whatever they are.

    Parameters
    ----------
    r2, null
        Shapes (block,) and (draw, block).

    Examples
    --------
    The data stand out by as many standard deviations as all five numbers together have.

    >>> standardised(np.array([0.9]), np.array([[0.1], [0.2], [0.3], [0.4]]))[:, 0].round(2).tolist()
    [1.87, -1.01, -0.65, -0.29, 0.07]
    """
    distinct, counts = _distinct(null, 10)
    n = 1 + counts.sum(0)
    mean = (r2 + (distinct * counts).sum(0)) / n
    spread = np.sqrt(((r2 - mean) ** 2 + ((distinct - mean) ** 2 * counts).sum(0)) / n)
    return np.asarray((np.concatenate([r2[None], null]) - mean) / np.maximum(spread, 1e-3))


def p_values(deviations: Floats) -> Floats:
    """Permutation p-values, (1 + distinct draws at least as far out) / (1 + distinct draws), shape (block,).

    Examples
    --------
    None of three draws stands out as much as the data: (0 + 1) / (3 + 1).

    >>> p_values(np.array([[3.0], [0.5], [-0.2], [0.1]])).tolist()
    [0.25]
    """
    distinct, counts = _distinct(deviations[1:], 8)
    return np.asarray((1 + (counts & (distinct >= deviations[0] - 1e-8)).sum(0)) / (1 + counts.sum(0)))


def _distinct(draws: Floats, decimals: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Sort rounded draws of each block, shape (draw, block), and say which are the first of their value."""
    values = np.sort(np.round(draws, decimals), axis=0)
    is_first = np.ones(values.shape, dtype=bool)
    is_first[1:] = values[1:] != values[:-1]
    return values, is_first


def judge(candidates: Sequence[Candidate], rate: float) -> list[Circuit]:
    """Add p-values, q-values and null percentiles to blocks of one kind; q-values above ``rate`` take away the class.

    Examples
    --------
    >>> ends, kinds = (CircuitEnd(("a",), "one"), CircuitEnd(("b",), "other")), {"rotation": ("equivariant",) * 2}
    >>> unknown = [float("nan")] * 4
    >>> block = Circuit("one>other", ends, "rotation", kinds, 9, 8, False, 0.9, 0.8, 1.0, *unknown, 0.5, 1.0)
    >>> null = np.linspace(0.0, 0.3, 40)
    >>> deviations = standardised(np.array([0.9]), null[:, None])[:, 0]
    >>> (judged,) = judge([Candidate(block, null, deviations)], rate=0.05)
    >>> judged.is_symmetric, round(judged.p_value, 3)
    (True, 0.024)
    """
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
                kinds=circuit.kinds if is_tied else dict.fromkeys(circuit.kinds),
                r2_null_95=own_95,
                r2_null_99=own_99,
                p_value=p_value,
                q_value=q_value,
            )
        )
    return judged
