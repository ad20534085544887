"""What the units of some layers answer to drawings that all have their middle at one point.

A unit is read at the one position of its layer whose receptive field is centred on the drawing, after the ReLU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted
from equiscope.stimuli.drawn import SyntheticStimulus

__all__ = ["N_ANGLES_COARSE", "Shown", "measure_drives", "record_centres"]

Floats = NDArray[np.float64]

# Angles at which a drawing is shown where its angle itself is not what is read.
N_ANGLES_COARSE = 8
_PIXELS_PER_PASS = 700_000


@dataclass(frozen=True)
class Shown:
    """Responses to one drawing, or to a series of drawings of growing size.

    Attributes
    ----------
    stimulus
        The drawing; of a series the first.
    angles_deg, steps
        Turns of the plane, and turns of hue (degrees) or magnifications (octaves), at which it was shown.
    responses
        After the ReLU, shape (step, angle, unit), activation units.
    """

    stimulus: SyntheticStimulus
    angles_deg: Floats
    steps: Floats
    responses: Floats


def record_centres(
    model: Model, geometries: Sequence[LayerGeometry], size_px: int, patches: Tensor, precision: torch.dtype
) -> Floats:
    """Measure centre responses after the ReLU to patches, layers side by side, shape (patch, unit).

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> geometry = find_geometry(model, ["0"])["0"]
    >>> record_centres(model, [geometry], 5, torch.rand(2, 3, 5, 5), torch.float32).shape
    (2, 4)
    """
    by_layer = {geometry.layer: geometry for geometry in geometries}
    network = fitted(model, geometries[0].sides)

    def read(layer: str, output: Tensor) -> Tensor:
        geometry = by_layer[layer]
        is_alone = len(by_layer) == 1
        row, column = (geometry.position_in_patch if is_alone else geometry.nearest_position)(size_px)
        return output[:, :, row, column].float()

    per_pass = max(16, _PIXELS_PER_PASS // geometries[0].sides.at_least(size_px)[0] ** 2)
    parts = []
    for start in range(0, len(patches), per_pass):
        with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
            read_out = network.record(patches[start : start + per_pass], list(by_layer), read)
        parts.append(torch.cat([read_out[layer].cpu() for layer in by_layer], dim=1))
    return np.asarray(torch.cat(parts).clamp(min=0).double().numpy())


def measure_drives(shown: Iterable[Shown], columns: Sequence[int]) -> Floats:
    """Largest response of each member to each stimulus, as a share of its largest to any, (stimulus, member).

    Examples
    --------
    Two members; the second answers to the first drawing half as much as to the second.

    >>> from equiscope.stimuli.drawn import SyntheticStimulus
    >>> edge = SyntheticStimulus("edge", (("softness_px", 2.0), ("contrast", 0.8)))
    >>> responses = [np.array([[[4.0, 1.0]]]), np.array([[[0.0, 2.0]]])]
    >>> shown = [Shown(edge, np.zeros(1), np.zeros(1), own) for own in responses]
    >>> measure_drives(shown, [0, 1]).tolist()
    [[1.0, 0.5], [0.0, 1.0]]
    """
    peaks = np.stack([entry.responses[:, :, columns].max((0, 1)) for entry in shown])
    most = peaks.max(0)
    return np.asarray(np.where(most > 0, peaks / np.where(most > 0, most, 1), 0.0))
