"""What the pictures of a report are cut from: images, what units answered most to, and how much of that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from equiscope.evidence.effective_fields import EffectiveField
from equiscope.evidence.witnesses.alignment import ImageWeights
from equiscope.measurement.examples import Examples
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.schema import FamilyEntry, MemberEntry
from equiscope.stimuli import ImageSet

__all__ = ["Order", "ShownImages"]


@dataclass(frozen=True)
class ShownImages:
    """What a network was shown, and what of that its units answered most to.

    Attributes
    ----------
    images
        The images.
    geometries, examples
        Geometry and strongest stimuli of each layer.
    whole_px
        Side of whole-image stimuli, px.
    effective
        To what pictures are cut, by layer; those of other layers show the whole receptive field.
    kernels
        Kernels of the units of first layers, by layer.
    """

    images: ImageSet
    geometries: Mapping[str, LayerGeometry]
    examples: Mapping[str, Examples]
    whole_px: int
    effective: Mapping[str, EffectiveField] = field(default_factory=dict)
    kernels: Mapping[str, ImageWeights] = field(default_factory=dict)

    def side_px(self, layer: str) -> int:
        """Side of the square that a picture of a layer shows, px.

        Examples
        --------
        >>> from equiscope.stimuli import open_images
        >>> geometry = LayerGeometry("conv1", 2, (1, 1), (31, 31), (15.0, 15.0))
        >>> shown = ShownImages(open_images(), {"conv1": geometry}, {}, 224, {"conv1": EffectiveField(17)})
        >>> shown.side_px("conv1"), geometry.patch_px
        (17, 31)
        """
        geometry, own = self.geometries[layer], self.effective.get(layer)
        if geometry.is_global:
            return self.whole_px
        return geometry.patch_px if own is None else min(own.side_px, geometry.patch_px)


@dataclass(frozen=True)
class Order:
    """One thing to cut out of an image: tiles from ``first`` on, one for each element, or a single plain one."""

    layer: str
    centre_px: tuple[float, float]
    first: int
    family: FamilyEntry | None = None
    member: MemberEntry | None = None
    axes: dict[str, list[float]] | None = None
