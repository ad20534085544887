"""Poses along a line that members prefer, such as sizes, among drawings that are moved along it as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import nan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.evidence.verify.agreement import measure_agreement
from equiscope.evidence.verify.drawn.shown import N_ANGLES_COARSE, Shown, measure_drives, record_centres
from equiscope.evidence.verify.drawn.size_series import make_size_series, series_octaves
from equiscope.evidence.verify.suggestion import suggest_kind
from equiscope.evidence.verify.verification import FamilyVerification, summarise_errors, with_agreement
from equiscope.families.family import Family
from equiscope.measurement.centres import Centres
from equiscope.models import Model
from equiscope.models.geometry import MAX_OFFSET, LayerGeometry, joint_patch_px
from equiscope.stimuli.drawn import SyntheticStimulus, catalogue, render
from equiscope.transformations import Step, Transformation, act_on, in_order
from equiscope.transformations.groups import Segment

__all__ = ["verify_lines"]

Floats = NDArray[np.float64]

# An error beyond this is an outlier, steps of the line: for scale half an octave, less than half the distance of
# neighbours an octave apart.
_OUTLIER_STEPS = 2.0


def verify_lines(
    model: Model,
    geometries: Mapping[str, LayerGeometry],
    families: Sequence[Family],
    precision: torch.dtype,
) -> list[FamilyVerification]:
    """Compare the poses that members of families along a line prefer, among drawings that move along it as a whole.

    Parameters
    ----------
    model, geometries
        The network, and the geometry of its layers.
    families
        Whose poses lie on a line.
    precision
        What the network computes in.

    Examples
    --------
    Spots of two layers, each with the size of its kernel.

    >>> from equiscope.families.family import Member
    >>> from equiscope.models.geometry import find_geometry
    >>> from equiscope.testing import planted_transformation
    >>> from equiscope.transformations import Pose
    >>> planted = planted_transformation("scale")
    >>> spots = [Member(m.layer, m.channel, Pose(octaves=m.octaves), 1, 1, 1) for m in planted.orbits[0].members]
    >>> family = Family("scale-1", ("early", "late"), "scale", 1, 1, 1, 0, tuple(spots))
    >>> geometries = find_geometry(planted.model, family.layers)
    >>> (found,) = verify_lines(planted.model, geometries, [family], torch.float32)
    >>> found.kind, found.n_outliers, found.median_error < 0.25
    ('disc', 0, True)
    """
    found = []
    for transformation in in_order(family.transformation for family in families):
        own = [family for family in families if family.transformation == transformation.name]
        layers = list(dict.fromkeys(m.layer for f in own for m in f.members))
        used = [g for name, g in geometries.items() if name in layers]
        size_px = joint_patch_px(used, max_offset=MAX_OFFSET)
        if size_px is None:
            continue
        starts = np.cumsum([0] + [g.n_channels for g in used]).tolist()
        start_of = dict(zip((g.layer for g in used), starts, strict=False))
        shown = _show_series(Centres(model, used, size_px, precision), transformation)
        for family in own:
            columns = [start_of[m.layer] + m.channel for m in family.members]
            found.append(_compare_line(family, transformation, shown, columns))
    return found


def _show_series(centres: Centres, transformation: Transformation) -> list[Shown]:
    """Show drawings moved along a line, each at its best angle."""
    size_px = centres.size_px

    def record(stimulus: SyntheticStimulus, change: Callable[[Tensor], Tensor]) -> Floats:
        n = max(1, round(N_ANGLES_COARSE * stimulus.period_deg / 360))
        angles = np.arange(n) * (stimulus.period_deg or 360.0) / n
        patches = change(render(stimulus, size_px, angles.tolist()))
        return np.asarray(record_centres(centres, patches).max(0))

    (axis,) = transformation.axes
    shown = []
    # Steps stand where hues would, so that drives and suggestions read them alike.
    if isinstance(axis, Step) and axis.drawn == "length":
        for series in make_size_series(size_px):
            responses = [record(stimulus, lambda patches: patches) for stimulus in series]
            shown.append(Shown(series[0], np.zeros(1), series_octaves(series), np.stack(responses)[:, None]))
        return shown
    group = transformation.group(N_ANGLES_COARSE)
    values = np.array(group.values if isinstance(group, Segment) else [0.0])
    for stimulus in catalogue(max(size_px, 3.0), hues_deg=(0.0,)):
        responses = [record(stimulus, partial(act_on, axis, value=value)) for value in values.tolist()]
        shown.append(Shown(stimulus, np.zeros(1), values, np.stack(responses)[:, None]))
    return shown


def _compare_line(
    family: Family, transformation: Transformation, shown: Sequence[Shown], columns: Sequence[int]
) -> FamilyVerification:
    """Compare where members respond most with their poses, up to one offset."""
    (axis,) = transformation.axes
    group = transformation.group(N_ANGLES_COARSE)
    suggestion = suggest_kind(shown, measure_drives(shown, columns))
    best = shown[suggestion.best]
    poses = family.coordinates(axis.name)
    preferred = np.array([_preferred_step(best.responses[:, 0, column], best.steps) for column in columns])
    values = group.values if isinstance(group, Segment) else (nan, nan)
    limit = _OUTLIER_STEPS * (group.step if isinstance(group, Segment) else nan)

    def errors_at(photographic: Floats) -> Floats:
        away = preferred - photographic
        return np.asarray(away - np.nanmedian(away) if np.isfinite(away).any() else away)

    words = best.stimulus.kind.replace("_", " ")
    summary = summarise_errors(
        family, axis.key, suggestion.words, words, poses, preferred, errors_at(poses), limit
    )
    drives = measure_drives(shown, columns)[suggestion.best]
    span = (float(values[0]), float(values[-1]))
    return with_agreement(summary, measure_agreement(errors_at, poses, drives, limit, span), drives)


def _preferred_step(curve: Floats, values: Floats) -> float:
    """Place on a line at which a response is largest, by a parabola; NaN at either end, where more might lie beyond."""
    top = int(curve.argmax())
    if not 0 < top < len(curve) - 1 or curve[top] <= 0:
        return nan
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(values[top] + shift * (values[1] - values[0]))
