"""Poses of the members of a family on drawings, compared with those on photographs, one axis at a time.

A member's pose on a drawing is the turn at which it responds most. Poses have no common zero: what is compared is the
difference of both, after the offset that most members share, and up to what the family's stabiliser leaves as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.stabilisers import stabiliser_elements
from equiscope.evidence.verify.drawn.shown import Shown, measure_drives
from equiscope.evidence.verify.suggestion import Suggestion, suggest_kind
from equiscope.evidence.verify.verification import FamilyVerification, summarise_errors
from equiscope.families.family import Family
from equiscope.foundations.statistics import (
    circular_difference_deg,
    circular_mean_deg,
    circular_median_deg,
)
from equiscope.transformations import Switch, Turn, find

__all__ = ["OUTLIER_DEG", "verify_poses"]

Floats = NDArray[np.float64]

# Stimuli of the best kind that drive a family nearly as well as the best of them count for its poses, too.
_NEARLY_AS_WELL = 0.8
# An error beyond this is an outlier, degrees: less than half the distance of neighbours in a family of eight.
OUTLIER_DEG = 20.0


def verify_poses(family: Family, shown: Sequence[Shown]) -> list[FamilyVerification]:
    """Compare the poses of one family of one layer, one axis at a time.

    Examples
    --------
    Three units prefer an edge at 0, 90 and 200 degrees, and the run's poses say the same.

    >>> from equiscope.families.family import Member
    >>> from equiscope.stimuli.drawn import SyntheticStimulus
    >>> from equiscope.transformations import Pose
    >>> poses, angles = np.array([0.0, 90.0, 200.0]), np.arange(16) * 22.5
    >>> members = tuple(Member("conv1", i, Pose(angle_deg=own), 0.9, 0.8, 1.0) for i, own in enumerate(poses))
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members)
    >>> edge = SyntheticStimulus("edge", (("softness_px", 2.0), ("contrast", 0.8)))
    >>> responses = np.exp(np.cos(np.radians(angles[:, None] - poses)))[None]
    >>> (found,) = verify_poses(family, [Shown(edge, angles, np.zeros(1), responses)])
    >>> found.n_measured, found.median_error < 1
    (3, True)
    """
    columns = family.channels.tolist()
    suggestion = suggest_kind(shown, measure_drives(shown, columns))
    found = []
    drawn = _drawn_axes(family)
    if "angle" in drawn:
        # What repeats within a turn of the plane alone cannot be told from a drawing that repeats as often.
        period = 360.0 / sum(hue == 0 for hue, _ in stabiliser_elements(family))
        turning = [
            entry
            for entry in shown
            if entry.stimulus.period_deg >= period - 1e-6 and ("hue" not in drawn or len(entry.steps) > 1)
        ]
        found.append(_compare_axis(family, drawn["angle"], turning, suggestion, columns, period))
    if "hue" in drawn:
        coloured = [entry for entry in shown if len(entry.steps) > 1]
        found.append(_compare_axis(family, drawn["hue"], coloured, suggestion, columns, 360.0))
    return found


def _drawn_axes(family: Family) -> dict[str, Turn]:
    """Axes of a family's poses along which drawings turn, by what of a drawing moves."""
    return {axis.drawn: axis for axis in find(family.transformation).axes if isinstance(axis, Turn)}


def _compare_axis(
    family: Family,
    axis: Turn,
    shown: Sequence[Shown],
    suggestion: Suggestion,
    columns: Sequence[int],
    period_deg: float,
) -> FamilyVerification:
    """Read the members' poses on the stimuli that drive them most and have the family's period, along one axis."""
    poses = family.coordinates(axis.name)
    is_hue = axis.drawn == "hue"
    synthetic = np.full(len(columns), nan)
    words = ""
    if shown:
        drives = measure_drives(shown, columns)
        own = suggest_kind(shown, drives)
        best = shown[own.best]
        words = best.stimulus.label
        polarity = dict(best.stimulus.parameters).get("polarity")
        alike = [
            i
            for i, entry in enumerate(shown)
            if entry.stimulus.kind == own.kind
            and entry.stimulus.period_deg == best.stimulus.period_deg
            and dict(entry.stimulus.parameters).get("polarity") == polarity
            and drives[i].mean() >= _NEARLY_AS_WELL * drives[own.best].mean()
        ]
        if len(_drawn_axes(family)) > 1:
            peaks = np.array([_torus_peak(best, column) for column in columns])
            folded = _nearest_coset(family, peaks)
            synthetic = folded[:, 0] if is_hue else folded[:, 1]
        else:
            curves = [shown[i].responses[:, :, columns].max(1 if is_hue else 0) for i in alike]
            total = np.sum([curve / max(float(curve.max()), 1e-12) for curve in curves], axis=0)
            span = 360.0 if is_hue else best.stimulus.period_deg
            synthetic = np.array([_peak_deg(total[:, k], span) for k in range(len(columns))])
    if any(isinstance(own, Switch) for own in find(family.transformation).axes):
        # A mirrored member shows the mirror image at its pose; only members of one hand share a zero.
        hand = np.array([member.is_mirrored for member in family.members])
        synthetic = np.where(hand == hand[0], synthetic, nan)
    away = circular_difference_deg(synthetic, poses, period_deg)
    offset = _common_offset_deg(away[np.isfinite(away)], period_deg)
    errors = circular_difference_deg(away, offset, period_deg)
    return summarise_errors(family, axis.key, suggestion.words, words, poses, synthetic, errors, OUTLIER_DEG)


def _common_offset_deg(away_deg: Floats, period_deg: float) -> float:
    """Offset that most members share: the mean of those that are no outliers from the median."""
    middle = circular_median_deg(away_deg, period_deg)
    near = away_deg[np.abs(circular_difference_deg(away_deg, middle, period_deg)) <= OUTLIER_DEG]
    return circular_mean_deg(near, period_deg=period_deg) if len(near) else nan


def _peak_deg(curve: Floats, span_deg: float) -> float:
    """Place of the maximum of a periodic curve, interpolated; NaN where it does not vary."""
    n = len(curve)
    if n < 3 or not float(np.ptp(curve)) > 1e-9 * max(float(curve.max()), 1e-12):
        return nan
    spectrum = np.fft.rfft(curve)
    if n % 2 == 0:
        spectrum[-1] /= 2
    fine = np.fft.irfft(spectrum, 16 * n)
    top = int(fine.argmax())
    before, at, after = fine[top - 1], fine[top], fine[(top + 1) % len(fine)]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float((top + shift) * span_deg / len(fine) % span_deg)


def _torus_peak(entry: Shown, column: int) -> tuple[float, float]:
    """Hue and angle at which a unit responds most, each read along its axis through the maximum, degrees."""
    grid = entry.responses[:, :, column]
    hue, angle = np.unravel_index(int(grid.argmax()), grid.shape)
    return _peak_deg(grid[:, angle], 360.0), _peak_deg(grid[hue], entry.stimulus.period_deg)


def _nearest_coset(family: Family, peaks: Floats) -> Floats:
    """Move synthetic poses (hue, angle) by the family's stabiliser to where they agree best with its own poses."""
    own = np.stack([family.hues_deg, family.poses_deg], axis=1)
    options = np.array(stabiliser_elements(family))
    moved = np.stack([peaks + option for option in options])
    away = circular_difference_deg(moved, own)
    # The offset between the two zeros is not known: take the member as reference that suits the others best.
    best, result = np.inf, peaks
    for reference in range(len(peaks)):
        for option in range(len(options)):
            zero = away[option, reference]
            if not np.isfinite(zero).all():
                continue
            distance = np.abs(circular_difference_deg(away, zero)).sum(-1)
            choice = np.where(np.isfinite(distance), distance, np.inf).argmin(0)
            total = float(np.nansum(np.take_along_axis(distance, choice[None], axis=0)))
            if total < best:
                best = total
                result = np.take_along_axis(moved, choice[None, :, None], axis=0)[0]
    return np.asarray(result % 360.0)
