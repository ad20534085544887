"""What the units of a layer are under a transformation: in a family of K copies, invariant, or neither.

Under several transformations together each unit counts once, under the one whose family it is in: a unit that is in a
family under rotation and in one under hue saves by one of them, not by both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import Unit
from equiscope.transformations import alone, find

__all__ = ["TOGETHER", "Kinds", "draw_weights", "fixed_kinds", "kinds_together", "kinds_under"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOGETHER = "together"


@dataclass(frozen=True)
class Kinds:
    """The units of one layer.

    Attributes
    ----------
    copies
        Members of a unit's family within the layer, itself among them, shape (unit,); 1 without a family.
    acts
        Under which transformation it has that family, as an index, shape (unit,); -1 without one.
    is_tied
        Whether it is equivariant or invariant, shape (unit, transformation).
    is_invariant
        Whether it is invariant, shape (unit, transformation).
    cluster
        Units of one family have one number, all others one of their own, shape (unit,): what a bootstrap draws.
    """

    copies: Floats
    acts: Ints
    is_tied: Bools
    is_invariant: Bools
    cluster: Ints

    @property
    def n_units(self) -> int:
        """Units of the layer."""
        return len(self.copies)

    @property
    def is_equivariant(self) -> Bools:
        """Whether a unit is in a family, shape (unit,)."""
        return self.acts >= 0

    @property
    def n_families(self) -> int:
        """Families with members in the layer."""
        return len(set(self.cluster[self.is_equivariant].tolist()))

    @property
    def is_invariant_to_all(self) -> Bools:
        """Whether a unit is in no family, and invariant under every transformation, shape (unit,)."""
        return ~self.is_equivariant & self.is_invariant.all(1)


def fixed_kinds(n_transformations: int) -> Kinds:
    """Give the kinds of a layer of one unit that no transformation changes: a channel of the image, or a constant.

    Examples
    --------
    >>> kinds = fixed_kinds(2)
    >>> kinds.n_units, kinds.is_invariant.tolist()
    (1, [[True, True]])
    """
    everywhere = np.ones((1, n_transformations), dtype=bool)
    return Kinds(np.ones(1), np.array([-1]), everywhere, everywhere, np.zeros(1, dtype=np.int64))


def kinds_under(units: Sequence[Unit], transformation: str) -> Kinds:
    """Sort the units of one layer by what they are under one transformation.

    Examples
    --------
    >>> from equiscope.families.family import Symmetry
    >>> unit = Unit("conv1", 0, 0.0, 1.0, (Symmetry("rotation", "invariant", invariance=1.0),))
    >>> kinds_under([unit], "rotation").is_equivariant.tolist()
    [False]
    """
    families = [_family(unit, transformation) for unit in units]
    is_invariant = np.array([[_is_invariant(unit, transformation)] for unit in units], dtype=bool)
    is_tied = np.array([[_is_tied(unit, transformation)] for unit in units], dtype=bool)
    return _assemble(families, [0 if family else -1 for family in families], is_tied, is_invariant)


def kinds_together(units: Sequence[Unit], transformations: Sequence[str]) -> Kinds:
    """Sort the units of one layer under all transformations, each into one family at most.

    Notes
    -----
    The largest family of all comes first, then the one with the most units that are in none yet, as long as it has
    two; of equal ones the earlier transformation. A unit that turns and changes hue counts in the larger of its two
    families, or with all units of a hue × rotation family, and never in two.

    Examples
    --------
    >>> from equiscope.families.family import Symmetry
    >>> turned = Symmetry("rotation", "equivariant", "conv1-rotation-1", score=0.9)
    >>> coloured = Symmetry("hue", "equivariant", "conv1-hue-1", score=0.9)
    >>> own = [(turned,), (turned, coloured), (turned,), (coloured,)]
    >>> units = [Unit("conv1", channel, 0.0, 1.0, symmetries) for channel, symmetries in enumerate(own)]
    >>> kinds_together(units, ["rotation", "hue"]).copies.tolist()
    [3.0, 3.0, 3.0, 1.0]
    """
    members: dict[tuple[int, str], set[int]] = {}
    for place, unit in enumerate(units):
        for index, name in enumerate(transformations):
            family = _family(unit, name)
            if family:
                members.setdefault((index, family), set()).add(place)
    families: list[str | None] = [None] * len(units)
    acts = [-1] * len(units)
    free = set(range(len(units)))
    while members:
        chosen = max(members, key=lambda key: (len(members[key] & free), -key[0]))
        own = members.pop(chosen) & free
        if len(own) < 2:
            break
        free -= own
        for place in own:
            acts[place], families[place] = chosen[0], chosen[1]
    is_tied = np.array([[_is_tied(unit, name) for name in transformations] for unit in units], dtype=bool)
    is_invariant = np.array(
        [[_is_invariant(unit, name) for name in transformations] for unit in units], dtype=bool
    )
    return _assemble(families, acts, is_tied, is_invariant)


def _family(unit: Unit, transformation: str) -> str | None:
    own = unit.under(transformation)
    return own.family if own.kind == "equivariant" else None


def _is_tied(unit: Unit, transformation: str) -> bool:
    return _has_kind(unit, transformation, ("equivariant", "invariant"))


def _is_invariant(unit: Unit, transformation: str) -> bool:
    # In a family of the product it varies with it, whatever its parts were told to be.
    return _family(unit, transformation) is None and _has_kind(unit, transformation, ("invariant",))


def _has_kind(unit: Unit, transformation: str, kinds: Sequence[str]) -> bool:
    if unit.under(transformation).kind in kinds:
        return True
    # A unit that is equivariant or invariant under both parts is so under the product too, where the survey of the
    # product did not look at it: hue × rotation leaves out units that vary with one of them only.
    axes = find(transformation).axes
    return len(axes) > 1 and all(unit.under(alone(axis)).kind in kinds for axis in axes)


def _assemble(
    families: Sequence[str | None], acts: Sequence[int], is_tied: Bools, is_invariant: Bools
) -> Kinds:
    keys = [
        (act, family) if family else (-1, place)
        for place, (act, family) in enumerate(zip(acts, families, strict=True))
    ]
    size = Counter(keys)
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    return Kinds(
        np.array([size[key] for key in keys], dtype=float),
        np.array(acts, dtype=np.int64),
        is_tied,
        is_invariant,
        np.array([number[key] for key in keys], dtype=np.int64),
    )


def draw_weights(cluster: Ints, n_resamples: int, rng: np.random.Generator) -> Floats:
    """Draw families and single units with replacement.

    Parameters
    ----------
    cluster
        Number of each unit's family or own number, shape (unit,).

    Returns
    -------
    ndarray
        How often each unit counts, shape (1 + resample, unit); the first row is the layer as it is.

    Notes
    -----
    Members of a family were found together and would be missed together, so that an interval over single units would
    be too narrow.

    Examples
    --------
    Units 0 and 1 are one family, and drawn as one.

    >>> draw_weights(np.array([0, 0, 1]), 2, np.random.default_rng(1)).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [2.0, 2.0, 0.0]]
    """
    n_clusters = int(cluster.max()) + 1
    counts = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_resamples)
    return np.concatenate([np.ones((1, len(cluster))), counts[:, cluster]])
