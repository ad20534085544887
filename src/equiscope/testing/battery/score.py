"""How right the families of a survey are on a scene: how many pairs called copies are, how many copies are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import nan

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from equiscope.families.family import Family
from equiscope.testing.battery.scene import LayerScene, Scene
from equiscope.transformations import Axis, Pose, Turn, find

__all__ = ["Score", "copies_of", "score_layer", "score_scene"]

Floats = NDArray[np.float64]

# Likeness of copies that have nothing of their own but what sampling makes.
_EXACT = 0.99


@dataclass(frozen=True)
class Score:
    """What a survey got right of some layers.

    Attributes
    ----------
    n_called, n_wrong
        Pairs of units that are in one family called copies, and how many of them have a likeness below 0.8.
    n_copies, n_found
        Pairs of one feature with a likeness of 0.9 or more, and how many of them are in one family called copies.
    n_units, n_in_families
        Units, and how many of them are in a family called copies.
    errors
        Of the relative poses of pairs that were found: the difference from the truth, in degrees or octaves.
    exact_errors
        Those of pairs with a likeness of 0.99 or more: what each has of its own moves no pose.
    rand
        Adjusted Rand index between features and families of each layer; units in none stand for themselves.
    """

    n_called: int = 0
    n_wrong: int = 0
    n_copies: int = 0
    n_found: int = 0
    n_units: int = 0
    n_in_families: int = 0
    errors: tuple[float, ...] = ()
    exact_errors: tuple[float, ...] = ()
    rand: tuple[float, ...] = field(default=())

    def __add__(self, other: Score) -> Score:
        """Count both together.

        Examples
        --------
        >>> (Score(n_called=3, errors=(1.0,)) + Score(n_called=2, errors=(2.0,))).errors
        (1.0, 2.0)
        """
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def share_wrong(self) -> float:
        """Of the pairs called copies."""
        return self.n_wrong / self.n_called if self.n_called else nan

    @property
    def share_found(self) -> float:
        """Of the pairs of copies."""
        return self.n_found / self.n_copies if self.n_copies else nan


def copies_of(families: Iterable[Family]) -> list[Family]:
    """Give what is called copies: each core of each family, as a family of its own.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.families.verdict import Core, Verdict
    >>> members = tuple(Member("1", i, Pose(angle_deg=30.0 * i), 0.9, 0.8, 1.0) for i in range(4))
    >>> verdict = Verdict("alike in pose", cores=(Core((0, 1), 0.9), Core((2, 3), 0.8)))
    >>> family = Family("1-rotation-1", ("1",), "rotation", 0.9, 0.8, 1.0, 0.01, members, verdict=verdict)
    >>> [core.channels.tolist() for core in copies_of([family])]
    [[0, 1], [2, 3]]
    """
    return [
        replace(family, members=tuple(family.members[place] for place in core.members))
        for family in families
        if family.verdict is not None
        for core in family.verdict.cores
    ]


def score_scene(scene: Scene, families: Iterable[Family]) -> dict[str, Score]:
    """Score the families of every layer whose truth is known.

    Parameters
    ----------
    scene
        The truth.
    families
        What is called copies (`copies_of`), or all that a survey found. Those of other transformations, which it
        surveys before, do not count.

    Examples
    --------
    Of a scene in which nothing was found every pair of copies is missing.

    >>> from equiscope.testing.battery import battery_scene
    >>> score = score_scene(battery_scene("reflection"), [])["responses"]
    >>> score.n_called, score.n_copies > 0, score.share_found
    (0, True, 0.0)
    """
    called = [own for own in families if own.transformation == scene.transformation]
    return {
        name: score_layer(layer, [own for own in called if own.layers == (name,)], scene.transformation)
        for name, layer in scene.layers.items()
    }


def score_layer(layer: LayerScene, families: Sequence[Family], transformation: str) -> Score:
    """Score families that are called copies, all of one layer.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> truth = LayerScene(("arc", "arc"), (Pose(angle_deg=0.0), Pose(angle_deg=30.0)), np.ones((2, 2)), {"arc": 1})
    >>> members = tuple(Member("1", i, Pose(angle_deg=50.0 + 33.0 * i), 0.9, 0.8, 1.0) for i in range(2))
    >>> family = Family("1-rotation-1", ("1",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    >>> score = score_layer(truth, [family], "rotation")
    >>> score.n_called, score.n_wrong, score.n_copies, score.n_found, score.errors
    (1, 0, 1, 1, (3.0,))
    """
    n = len(layer.features)
    together = np.zeros((n, n), dtype=bool)
    label = np.arange(-n, 0)
    errors: list[float] = []
    exact_errors: list[float] = []
    is_exact = layer.likeness >= _EXACT
    for number, family in enumerate(families):
        channels = family.channels
        together[np.ix_(channels, channels)] = True
        label[channels] = number
        errors += _errors(layer, family, transformation, layer.must_be_found)
        exact_errors += _errors(layer, family, transformation, layer.must_be_found & is_exact)
    pairs = np.triu(together, 1)
    must = np.triu(layer.must_be_found, 1)
    names = {name: index for index, name in enumerate(sorted(set(layer.features) - {""}))}
    wanted = [names.get(name, -1 - unit) for unit, name in enumerate(layer.features)]
    return Score(
        n_called=int(pairs.sum()),
        n_wrong=int((pairs & ~layer.are_copies).sum()),
        n_copies=int(must.sum()),
        n_found=int((must & pairs).sum()),
        n_units=n,
        n_in_families=int((label >= 0).sum()),
        errors=tuple(errors),
        exact_errors=tuple(exact_errors),
        rand=(float(adjusted_rand_score(wanted, label)),),
    )


def _errors(
    layer: LayerScene, family: Family, transformation: str, counted: NDArray[np.bool_]
) -> list[float]:
    """Differences of relative poses from the truth, of the pairs of a family that are counted."""
    axes = find(transformation).axes
    if any(isinstance(value, bool) for pose in layer.poses if pose is not None for value in pose.values()):
        return []  # relative poses of mirror images depend on which of the two is the upright one
    members = {member.channel: member.pose for member in family.members}
    found = []
    for a, b in zip(*np.nonzero(np.triu(counted, 1)), strict=True):
        own, other = layer.poses[a], layer.poses[b]
        if a in members and b in members and own is not None and other is not None:
            stabiliser = layer.stabilisers[layer.features[a]]
            apart = [_apart(axis, members[a], members[b], own, other, 360 / stabiliser) for axis in axes]
            found.append(round(max(apart), 4))
    return found


def _apart(axis: Axis, a: Pose, b: Pose, own: Pose, other: Pose, period_deg: float) -> float:
    name = axis.name
    away = (b[name] - a[name]) - (other[name] - own[name])
    if not isinstance(axis, Turn):
        return abs(away)
    period = period_deg if name == "angle_deg" else 360.0
    return abs((away + period / 2) % period - period / 2)
