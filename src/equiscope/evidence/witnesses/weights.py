"""What the weights say of a family: how alike its members are, all their inputs moved back to pose 0.

The figure is the mean likeness of two members (`alignment`), 1 for exact copies. Its interval comes from resampled
members; its null is the same with the poses permuted among the members. Weights took no part in finding the family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.linearised import Gains
from equiscope.evidence.circuits.normalisations import measure_gains_on
from equiscope.evidence.circuits.paths import NoPathError, expanded_weights
from equiscope.evidence.circuits.ties import permutations
from equiscope.evidence.witnesses.alignment import (
    Aligned,
    ImageWeights,
    InputWeights,
    join_aligned,
    moved_axes,
)
from equiscope.evidence.witnesses.image_kernels import read_image_kernels
from equiscope.families.family import Family, Unit
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.refusals import refusals_told
from equiscope.stimuli import ImageSet
from equiscope.transformations import Pose, Turn, find
from equiscope.transformations.reflection import MIRRORED

__all__ = ["WeightWitness", "WeightsOf", "consult_weights"]

Floats = NDArray[np.float64]
# Moves the weights of a family's members back by poses, and counts what could be compared where that is asked for.
Align = Callable[[Sequence[Pose], bool], Aligned]

_N_DRAWS, _N_RESAMPLES = 100, 200


@dataclass(frozen=True)
class WeightWitness:
    """What the weights into a family's members say.

    Attributes
    ----------
    likeness, low, high
        Mean cosine of two members' weights, moved back to pose 0, with its 95 % bootstrap interval over members (NaN
        for two). NaN where nothing could be tested.
    permuted_95
        The 95th percentile of the same with poses permuted among the members; NaN for two members.
    tested
        Share of the energy of the inputs that could be tested.
    pairs
        Cosine of every two members, shape (member, member).
    reason
        Why nothing could be tested; empty where something was.
    """

    likeness: float = nan
    low: float = nan
    high: float = nan
    permuted_95: float = nan
    tested: float = 0.0
    pairs: Floats = field(default_factory=lambda: np.zeros((0, 0)), compare=False)
    reason: str = ""


class WeightsOf:
    """The weights of a network, as witnesses of the families of its layers.

    Parameters
    ----------
    model
        The network.
    geometries
        Of the surveyed layers, in their order.
    families, units
        What was found of them.
    gains
        What normalisations on the way are replaced by (`measure_gains`).
    """

    def __init__(
        self,
        model: Model,
        geometries: Mapping[str, LayerGeometry],
        families: Sequence[Family],
        units: Sequence[Unit],
        gains: Gains | None = None,
    ) -> None:
        self.model, self.geometries, self.families, self.units = model, geometries, families, units
        self.gains = gains
        self._images: dict[str, ImageWeights | None] = {}
        self._pairs: dict[str, list[LayerPair] | str] = {}

    def of(self, family: Family) -> WeightWitness:
        """Ask the weights about a family.

        Examples
        --------
        >>> from equiscope.models.geometry import find_geometry
        >>> from equiscope.testing import planted_circuits
        >>> planted = planted_circuits()
        >>> geometries = find_geometry(planted.model, ["early", "late"])
        >>> weights = WeightsOf(planted.model, geometries, planted.families, planted.units)
        >>> lines = weights.of(planted.families[1])
        >>> lines.likeness > 0.98, lines.permuted_95 < 0.8, lines.tested
        (True, True, 1.0)
        """
        if len(family.layers) > 1:
            return WeightWitness(
                reason="weights are compared within one layer, and its members are in several"
            )
        align = self._reader(family)
        if isinstance(align, str):
            return WeightWitness(reason=align)
        poses = [member.pose for member in family.members]
        aligned = align(poses, True)
        if not aligned.compared.any():
            return WeightWitness(
                reason="none of its inputs is in a family that moves along, or stays as it is"
            )
        pairs = aligned.likeness
        permuted = _permuted(align, family, poses)
        return WeightWitness(_mean_of_pairs(pairs), *_interval(pairs), permuted, aligned.tested, pairs)

    def _reader(self, family: Family) -> Align | str:
        """Give what moves the weights into a family's members back by poses; or say why they cannot be read."""
        image = self._image_weights(family.layer)
        if image is not None:
            return lambda poses, _: image.align(family.channels.tolist(), poses, family.transformation)
        if not moved_axes(family):
            has_hands = MIRRORED in find(family.transformation).axes
            said = "of features of both hands" if has_hands else f"under {family.transformation}"
            return f"{said} weights are compared only where they are kernels of the image"
        pairs = self._layer_pairs(family.layer)
        if isinstance(pairs, str):
            return pairs
        inputs = [InputWeights(pair, family) for pair in pairs]
        return lambda poses, is_counted: join_aligned(
            [own.align(poses, is_counted=is_counted) for own in inputs]
        )

    def _image_weights(self, layer: str) -> ImageWeights | None:
        if layer not in self._images:
            kernels = read_image_kernels(self.model, self.geometries[layer])
            self._images[layer] = None if kernels is None else ImageWeights(kernels)
        return self._images[layer]

    def _layer_pairs(self, layer: str) -> list[LayerPair] | str:
        """Weights into a layer from every earlier one, past all others; or why there are none."""
        if layer not in self._pairs:
            self._pairs[layer] = self._read_pairs(layer)
        return self._pairs[layer]

    def _read_pairs(self, layer: str) -> list[LayerPair] | str:
        names = list(self.geometries)
        before = names[: names.index(layer)]
        if not before and self.geometries[layer].is_global:
            return "its units see the whole image, so their kernels have no centre to be turned about"
        if not before:
            return (
                "what it answers is no weighted sum of the image: it reads the image through other layers, which were "
                "not surveyed, bends it, or lets no gradient through"
            )
        found = []
        for source in before:
            others = [name for name in names if name not in (source, layer)]
            try:
                with refusals_told(
                    self.model, f"the way from {source} to {layer}", "its weights stay unread"
                ):
                    weights = expanded_weights(
                        self.model, self.geometries[source], self.geometries[layer], self.gains, others
                    )
            except NoPathError:
                continue
            except EquiscopeError as error:
                # What comes this way would be left out of what is said to be tested.
                return str(error)
            found.append(LayerPair(weights, self.families, self.units))
        return found or "no weights lead to it from the layers that were surveyed before it"


@borrows_model
def consult_weights(
    model: Model,
    images: ImageSet,
    geometries: Mapping[str, LayerGeometry],
    families: Sequence[Family],
    units: Sequence[Unit],
) -> WeightsOf:
    """Open a network's weights as a witness; normalisations are measured on a dozen of the images.

    Examples
    --------
    >>> from equiscope import open_images
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_circuits
    >>> planted = planted_circuits()
    >>> own = find_geometry(planted.model, ["early", "late"])
    >>> weights = consult_weights(planted.model, open_images(max_side_px=96), own, planted.families, planted.units)
    >>> round(weights.of(planted.families[0]).likeness, 2)
    1.0
    """
    try:
        gains = measure_gains_on(model, images, geometries)
    except Exception:  # networks refuse with any type; paths without normalisations can be read all the same
        gains = None
    return WeightsOf(model, geometries, families, units, gains)


def _permuted(align: Align, family: Family, poses: Sequence[Pose]) -> float:
    """95th percentile of the mean likeness with poses permuted; NaN where two members have no other order."""
    if family.size < 3:
        return nan
    axis = find(family.transformation).axes[0]
    coordinates = np.array([float(pose[axis.name]) for pose in poses])
    if isinstance(axis, Turn):
        along = np.radians(coordinates) * family.stabiliser_order
    else:
        # A piece of a line is put on half a circle, so that its ends stay apart.
        along = np.pi * (coordinates - coordinates.min()) / max(float(np.ptp(coordinates)), 1e-9)
    orders = permutations(along, _N_DRAWS, np.random.default_rng(0))
    # A few members have few orders, each of which is drawn again and again.
    distinct, drawn = np.unique(orders, axis=0, return_inverse=True)
    found = [_mean_of_pairs(align([poses[index] for index in order], False).likeness) for order in distinct]
    return float(np.quantile(np.array(found)[drawn.ravel()], 0.95))


def _mean_of_pairs(likeness: Floats) -> float:
    return float(likeness[~np.eye(len(likeness), dtype=bool)].mean())


def _interval(likeness: Floats) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over pairs, members resampled; a member is no pair with itself."""
    n = len(likeness)
    if n < 3:
        return nan, nan
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _N_RESAMPLES)
    apart = likeness * ~np.eye(n, dtype=bool)
    weight = (counts.sum(1) ** 2 - (counts**2).sum(1)).astype(float)
    total = np.einsum("ri,ij,rj->r", counts, apart, counts)
    means = total[weight > 0] / weight[weight > 0]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
