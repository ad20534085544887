"""Pairs of units on drawings: one member's responses against the other's to the transformed drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.evidence.verify.drawn.shown import N_ANGLES_COARSE, Shown, measure_drives, record_centres
from equiscope.evidence.verify.suggestion import suggest_kind
from equiscope.evidence.verify.verification import FamilyVerification, summarise_errors
from equiscope.families.family import Family
from equiscope.measurement.centres import Centres
from equiscope.models import Model
from equiscope.models.geometry import LayerGeometry
from equiscope.stimuli.drawn import render
from equiscope.transformations import act_on, in_order

__all__ = ["verify_pairs"]

Floats = NDArray[np.float64]


def verify_pairs(
    model: Model,
    geometry: LayerGeometry,
    families: Sequence[Family],
    shown: Sequence[Shown],
    precision: torch.dtype,
) -> list[FamilyVerification]:
    """Correlate one member's responses to transformed synthetic stimuli with the other's to the stimuli as they are.

    Examples
    --------
    >>> from torch import nn
    >>> from equiscope.evidence.verify.drawn.catalogue import show_catalogue
    >>> from equiscope.families.family import Member
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.transformations import Pose
    >>> _ = torch.manual_seed(0)
    >>> layer = nn.Conv2d(3, 2, 5, bias=False)
    >>> layer.weight.data[1] = layer.weight.data[0].flip(2)
    >>> model = Model(nn.Sequential(layer))
    >>> geometry = find_geometry(model, ["0"])["0"]
    >>> members = tuple(Member("0", i, Pose(is_mirrored=bool(i)), 0.9, 0.8, 1.0) for i in (0, 1))
    >>> pair = Family("0-reflection-1", ("0",), "reflection", 0.9, 0.8, 1.0, 0.01, members)
    >>> shown = show_catalogue(model, geometry, torch.float32)
    >>> round(verify_pairs(model, geometry, [pair], shown, torch.float32)[0].score, 3)
    1.0
    """
    found, centres = [], Centres(model, [geometry], geometry.patch_px, precision)
    for transformation in in_order(f.transformation for f in families):
        own = [f for f in families if f.transformation == transformation.name]
        (axis,) = transformation.axes
        plain: list[Floats] = []
        changed: list[Floats] = []
        for entry in shown:
            n = min(N_ANGLES_COARSE, len(entry.angles_deg))
            angles = (np.arange(n) * (entry.stimulus.period_deg or 360.0) / n).tolist()
            patches = render(entry.stimulus, geometry.patch_px, angles)
            other = act_on(axis, patches, 1.0)
            for target, pictures in ((plain, patches), (changed, other)):
                target.append(record_centres(centres, pictures))
        upright, transformed = np.concatenate(plain), np.concatenate(changed)
        for family in own:
            u, v = family.channels.tolist()
            with np.errstate(invalid="ignore", divide="ignore"):
                score = float(np.corrcoef(transformed[:, u], upright[:, v])[0, 1])
                same = float(np.corrcoef(upright[:, u], upright[:, v])[0, 1])
            suggestion = suggest_kind(shown, measure_drives(shown, [u, v]))
            nans = np.full(2, nan)
            summary = summarise_errors(
                family,
                axis.key,
                suggestion.words,
                shown[suggestion.best].stimulus.label,
                nans,
                nans,
                nans,
                nan,
            )
            found.append(replace(summary, score=score, margin=score - same))
    return found
