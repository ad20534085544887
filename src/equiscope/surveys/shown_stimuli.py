"""Which stimuli the layers of a survey are shown, under how many elements, and how many that makes.

A layer is shown the strongest stimuli of its own units. Layers with large patches of one size share theirs: a pass to
the last of them gives the answers of the others on the way (`equiscope.measurement.shared_bank`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.measurement.bank import Bank, build_bank
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Responses
from equiscope.measurement.shared_bank import share_bank, strongest_shown
from equiscope.models.geometry import LayerGeometry
from equiscope.models.receptive_fields import LARGE_PATCH_PX
from equiscope.transformations import Transformation, find
from equiscope.transformations.groups import Group

__all__ = ["ShownStimuli"]

# Stimuli in each half below which correlations hang on a few of them: planted look-alikes then pass for copies.
_FEW_STIMULI = 64
# Layers that share their stimuli are shown as many as so many units would be alone.
_UNITS_SHOWN = 192


@dataclass(kw_only=True)
class ShownStimuli:
    """What the layers of a survey are shown.

    Attributes
    ----------
    geometries, examples, photographs
        Each layer's geometry and strongest stimuli, and the photograph of each image, shape (image,).
    settings
        The run's settings.
    whole_px
        Side of whole-image stimuli, px.
    """

    geometries: dict[str, LayerGeometry]
    examples: dict[str, Examples]
    photographs: NDArray[np.int64]
    settings: dict[str, Any]
    whole_px: int
    _shared: dict[tuple[str, tuple[str, ...]], dict[str, Bank]] = field(default_factory=dict, repr=False)

    def group(self, transformation: Transformation, layer: str | None = None) -> Group:
        """Give the elements that stimuli of a layer are shown under; without a layer the most."""
        return transformation.group(self.settings["angles"], None if layer is None else self.patch_px(layer))

    def n_per_half(self, transformation: Transformation, layer: str, n_units: int) -> int:
        """Strongest stimuli of each unit and half that are shown under a transformation.

        All where a pass is cheap or each stimulus is shown twice only; fewer for many elements and large patches, but
        never so few that ``n_units`` units together have less than some hundreds.
        """
        per_half = -(-int(self.settings["examples_per_unit"]) // 2)
        wanted = transformation.stimuli_per_half(per_half)
        if self.patch_px(layer) > LARGE_PATCH_PX and not transformation.is_quick:
            wanted //= 2
        wanted = max(wanted, -(-_FEW_STIMULI // max(n_units, 1)))
        return min(max(wanted, 1), per_half)

    def count_stimuli(self, name: str, layer: str) -> int:
        """Estimate how many stimuli of a layer are shown under a transformation, before it is known which."""
        transformation, n_units = find(name), self.examples[layer].n_units
        if self.shares(transformation, layer):
            return 2 * self._n_shared_per_half(transformation, layer)
        n_eligible = max(1, round(transformation.usual_share * n_units))
        n_together = (
            sum(own.n_units for own in self.examples.values()) if transformation.is_joint else n_eligible
        )
        return 2 * n_eligible * self.n_per_half(transformation, layer, n_together)

    def cost(self, name: str, layer: str) -> float:
        """Estimate what a transformation of a layer costs: pixels that go through the network.

        Where layers are measured together, the layer's part of that, or all of it for the first that shares stimuli.
        """
        transformation = find(name)
        if self.shares(transformation, layer) and layer != self.together(layer)[0]:
            return 0.0
        layers = self.geometries if transformation.is_joint else [layer]
        side_px = max(map(self.patch_px, layers))
        order = self.group(transformation, layer).order
        return float(self.count_stimuli(name, layer) * order * side_px**2)

    def patch_px(self, layer: str) -> int:
        """Give the side of the layer's stimuli, px."""
        geometry = self.geometries[layer]
        return self.whole_px if geometry.is_global else geometry.patch_px

    def together(self, layer: str) -> list[str]:
        """Layers that are shown the stimuli of a layer, itself among them: those with large patches of one size."""
        size_px, own = self.patch_px(layer), self.geometries[layer]
        if size_px <= LARGE_PATCH_PX:
            return [layer]
        return [
            name
            for name, other in self.geometries.items()
            if (self.patch_px(name), other.is_global, other.sides) == (size_px, own.is_global, own.sides)
        ]

    def shares(self, transformation: Transformation, layer: str) -> bool:
        """Whether a layer is shown the stimuli of others, too, under a transformation."""
        return not transformation.is_joint and len(self.together(layer)) > 1

    def own(self, transformation: Transformation, layer: str, responses: Responses[Any]) -> Examples:
        """Give the stimuli from which tuning is read: of those that a layer was shown, each unit's strongest."""
        examples = self.examples[layer]
        return strongest_shown(responses, examples) if self.shares(transformation, layer) else examples

    def _n_shared_per_half(self, transformation: Transformation, layer: str) -> int:
        """Stimuli of each half that some layers are shown together."""
        n_units = min(sum(self.examples[name].n_units for name in self.together(layer)), _UNITS_SHOWN)
        n_units = max(1, round(transformation.usual_share * n_units))
        return n_units * self.n_per_half(transformation, layer, n_units)

    def bank(
        self, transformation: Transformation, layer: str, channels: NDArray[np.int64] | None = None
    ) -> Bank:
        """Stimuli of a layer that are shown under a transformation."""
        return self.banks(transformation, layer, channels)[layer]

    def banks(
        self, transformation: Transformation, layer: str, channels: NDArray[np.int64] | None = None
    ) -> dict[str, Bank]:
        """Stimuli that are shown, by each layer that shares them: those of all units then, whichever are asked for."""
        if self.shares(transformation, layer):
            key = (transformation.name, tuple(self.together(layer)))
            if key not in self._shared:
                self._shared[key] = share_bank(
                    {name: self.examples[name] for name in key[1]},
                    self.geometries,
                    self.photographs,
                    n_per_half=self.n_per_half(transformation, layer, _UNITS_SHOWN),
                    n_stimuli_per_half=self._n_shared_per_half(transformation, layer),
                )
            return self._shared[key]
        return {layer: self._bank_alone(transformation, layer, channels)}

    def _bank_alone(
        self, transformation: Transformation, layer: str, channels: NDArray[np.int64] | None
    ) -> Bank:
        if transformation.is_joint:
            n_units = sum(own.n_units for own in self.examples.values())
        else:
            n_units = self.examples[layer].n_units if channels is None else len(channels)
        return build_bank(
            self.examples[layer],
            self.photographs,
            channels=channels,
            n_per_half=self.n_per_half(transformation, layer, n_units),
        )
