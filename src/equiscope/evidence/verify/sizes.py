"""Sizes that the members of a scale family prefer, among drawings that are magnified as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray

from equiscope.evidence.verify.drawn.shown import N_ANGLES_COARSE, Shown, measure_drives, record_centres
from equiscope.evidence.verify.drawn.size_series import make_size_series, series_octaves
from equiscope.evidence.verify.suggestion import suggest_kind
from equiscope.evidence.verify.verification import FamilyVerification, summarise_errors
from equiscope.families.family import Family
from equiscope.models import Model
from equiscope.models.geometry import MAX_OFFSET, LayerGeometry, joint_patch_px
from equiscope.stimuli.drawn import render

__all__ = ["OUTLIER_OCTAVES", "verify_sizes"]

Floats = NDArray[np.float64]

# An error beyond this is an outlier, octaves: less than half the distance of neighbours an octave apart.
OUTLIER_OCTAVES = 0.5


def verify_sizes(
    model: Model,
    geometries: Mapping[str, LayerGeometry],
    families: Sequence[Family],
    precision: torch.dtype,
) -> list[FamilyVerification]:
    """Compare the sizes that members prefer, among drawings that are magnified as a whole."""
    layers = list(dict.fromkeys(m.layer for f in families for m in f.members))
    used = [g for name, g in geometries.items() if name in layers]
    size_px = joint_patch_px(used, max_offset=MAX_OFFSET)
    if size_px is None:
        return []
    start_of, n_units = {}, 0
    for geometry in used:
        start_of[geometry.layer] = n_units
        n_units += geometry.n_channels
    shown = []
    for series in make_size_series(size_px):
        responses = []
        for stimulus in series:
            n = max(1, round(N_ANGLES_COARSE * stimulus.period_deg / 360))
            angles = np.arange(n) * (stimulus.period_deg or 360.0) / n
            patches = render(stimulus, size_px, angles.tolist())
            responses.append(record_centres(model, used, size_px, patches, precision).max(0))
        # Sizes stand where hues would, so that drives and suggestions read them alike.
        shown.append(Shown(series[0], np.zeros(1), series_octaves(series), np.stack(responses)[:, None]))
    found = []
    for family in families:
        columns = [start_of[m.layer] + m.channel for m in family.members]
        drives = measure_drives(shown, columns)
        suggestion = suggest_kind(shown, drives)
        best = shown[suggestion.best]
        octaves = np.array([member.octaves for member in family.members])
        preferred = np.array(
            [_preferred_octaves(best.responses[:, 0, column], best.steps) for column in columns]
        )
        away = preferred - octaves
        errors = away - np.nanmedian(away) if np.isfinite(away).any() else away
        summary = summarise_errors(
            family,
            "scale",
            suggestion.words,
            best.stimulus.kind.replace("_", " "),
            octaves,
            preferred,
            errors,
            OUTLIER_OCTAVES,
        )
        found.append(summary)
    return found


def _preferred_octaves(curve: Floats, octaves: Floats) -> float:
    """Size at which a response is largest, by a parabola; NaN at either end, where more might lie beyond."""
    top = int(curve.argmax())
    if not 0 < top < len(curve) - 1 or curve[top] <= 0:
        return nan
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(octaves[top] + shift * (octaves[1] - octaves[0]))
