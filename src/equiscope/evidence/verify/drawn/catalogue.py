"""The catalogue of drawings that a layer is shown, each at every angle and hue that makes a difference."""

from __future__ import annotations

from math import isfinite

import numpy as np
import torch

from equiscope.evidence.verify.drawn.shown import Shown, record_centres
from equiscope.measurement.centres import Centres
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.stimuli.drawn import catalogue, render

__all__ = ["show_catalogue"]

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
    field_px = min(float(max(geometry.receptive_field_px)), float(geometry.patch_px))
    centres, shown = Centres(model, [geometry], geometry.patch_px, precision), []
    # One hue is enough: the others are made by turning it.
    for stimulus in catalogue(max(field_px, 3.0), hues_deg=(0.0,)):
        is_coloured = isfinite(stimulus.hue_deg)
        full = _N_ANGLES_PRODUCT if is_coloured else _N_ANGLES
        n_angles = max(1, round(full * stimulus.period_deg / 360))
        angles_deg = np.arange(n_angles) * (stimulus.period_deg or 360.0) / n_angles
        hues_deg = np.arange(_N_HUES) * 360.0 / _N_HUES if is_coloured else np.zeros(1)
        responses = [
            record_centres(
                centres,
                render(stimulus, geometry.patch_px, angles_deg.tolist(), hue_shift_deg=float(hue)),
            )
            for hue in hues_deg
        ]
        shown.append(Shown(stimulus, angles_deg, hues_deg, np.stack(responses)))
    return shown
