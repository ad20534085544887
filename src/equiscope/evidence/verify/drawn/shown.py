"""What the units of some layers answer to drawings that all have their middle at one point.

A unit is read at the one position of its layer whose receptive field is centred on the drawing, after the ReLU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiscope.measurement.centres import Centres
from equiscope.stimuli.drawn import SyntheticStimulus

__all__ = ["N_ANGLES_COARSE", "Shown", "measure_drives", "record_centres"]

Floats = NDArray[np.float64]

# Angles at which a drawing is shown where its angle itself is not what is read.
N_ANGLES_COARSE = 8
# Drawings in a pass where few would fit: what a pass costs beside its arithmetic is then shared.
_LEAST_PER_PASS = 16


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


def record_centres(centres: Centres, patches: Tensor) -> Floats:
    """Measure centre responses after the ReLU to patches, layers side by side, shape (patch, unit).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from equiscope.models import Model
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> centres = Centres(model, [find_geometry(model, ["0"])["0"]], size_px=5)
    >>> record_centres(centres, torch.rand(2, 3, 5, 5)).shape
    (2, 4)
    """
    return np.asarray(centres.read(patches, _LEAST_PER_PASS).clamp(min=0).double().numpy())


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
