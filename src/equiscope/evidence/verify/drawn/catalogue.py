"""The catalogue of drawings that a layer is shown, each at every angle and hue that makes a difference."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.evidence.verify.drawn.shown import Shown, record_centres
from equiscope.measurement.centres import Centres
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.stimuli.drawn import SyntheticStimulus, catalogue, render

__all__ = ["count_drawings", "show_catalogue", "time_drawings"]

# Angles at which a stimulus that repeats after a full turn is drawn; poses are read between them.
_N_ANGLES = 32
_N_HUES = 16
_N_ANGLES_PRODUCT = 16


def show_catalogue(model: Model, geometry: LayerGeometry, precision: torch.dtype) -> list[Shown]:
    """Show one layer every stimulus of its catalogue at every angle and hue that makes a difference.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> shown = show_catalogue(model, find_geometry(model, ["0"])["0"], torch.float32)
    >>> shown[0].stimulus.kind, shown[0].responses.shape  # one hue, 16 angles, four units
    ('grating', (1, 16, 4))
    """
    centres = Centres(model, [geometry], geometry.patch_px, precision)
    return [_show(centres, stimulus) for stimulus in _catalogue_of(geometry)]


def count_drawings(geometry: LayerGeometry) -> int:
    """Count the patches that `show_catalogue` shows a layer.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> geometry = find_geometry(model, ["0"])["0"]
    >>> shown = show_catalogue(model, geometry, torch.float32)
    >>> count_drawings(geometry) == sum(own.responses[..., 0].size for own in shown)
    True
    """
    poses = [_poses_of(stimulus) for stimulus in _catalogue_of(geometry)]
    return sum(len(angles_deg) * len(hues_deg) for angles_deg, hues_deg in poses)


def time_drawings(model: Model, geometry: LayerGeometry, precision: torch.dtype) -> float:
    """Measure how long `show_catalogue` takes for one patch, seconds: on the first drawing, after it was shown once.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.models.geometry import find_geometry
    >>> model = Model(nn.Sequential(nn.Conv2d(3, 4, 5)))
    >>> time_drawings(model, find_geometry(model, ["0"])["0"], torch.float32) > 0
    True
    """
    centres = Centres(model, [geometry], geometry.patch_px, precision)
    stimulus = _catalogue_of(geometry)[0]
    _show(centres, stimulus)
    start = time.perf_counter()
    shown = _show(centres, stimulus)
    return (time.perf_counter() - start) / shown.responses[..., 0].size


def _catalogue_of(geometry: LayerGeometry) -> Sequence[SyntheticStimulus]:
    """Give the drawings for a layer's field; one hue is enough, for the others are made by turning it."""
    field_px = min(float(max(geometry.receptive_field_px)), float(geometry.patch_px))
    return catalogue(max(field_px, 3.0), hues_deg=(0.0,))


def _poses_of(stimulus: SyntheticStimulus) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the angles and hues at which a drawing makes a difference, degrees."""
    is_coloured = isfinite(stimulus.hue_deg)
    full = _N_ANGLES_PRODUCT if is_coloured else _N_ANGLES
    n_angles = max(1, round(full * stimulus.period_deg / 360))
    angles_deg = np.arange(n_angles) * (stimulus.period_deg or 360.0) / n_angles
    return angles_deg, np.arange(_N_HUES) * 360.0 / _N_HUES if is_coloured else np.zeros(1)


def _show(centres: Centres, stimulus: SyntheticStimulus) -> Shown:
    """Show one drawing at its angles and hues."""
    angles_deg, hues_deg = _poses_of(stimulus)
    responses = [
        record_centres(
            centres, render(stimulus, centres.size_px, angles_deg.tolist(), hue_shift_deg=float(hue))
        )
        for hue in hues_deg
    ]
    return Shown(stimulus, angles_deg, hues_deg, np.stack(responses))
