"""Poses of the members of a family on drawings, compared with those on photographs, one axis at a time.

What a drawing leaves free is chosen once for the family (`common_choice`). A member's pose is the turn at which it
shows the tuning curve that all members share (`common_curve`). Poses have no common zero: what is compared is the
difference of both, after the offset that most members share, and up to what the family's stabiliser leaves as it is.
How much of the family agrees is told beside what chance gives (`agreement`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.stabilisers import stabiliser_elements
from equiscope.evidence.verify.agreement import measure_agreement
from equiscope.evidence.verify.common_choice import choose_in_common
from equiscope.evidence.verify.common_curve import peak_deg, read_poses_deg
from equiscope.evidence.verify.drawn.shown import Shown, measure_drives
from equiscope.evidence.verify.suggestion import Suggestion, suggest_kind
from equiscope.evidence.verify.verification import (
    FamilyVerification,
    summarise_errors,
    with_agreement,
    with_own_choices,
)
from equiscope.families.family import Family
from equiscope.foundations.statistics import (
    circular_difference_deg,
    circular_mean_deg,
    circular_median_deg,
)
from equiscope.transformations import Switch, Turn, find

__all__ = ["OUTLIER_DEG", "verify_poses"]

Floats = NDArray[np.float64]

# An error beyond this is an outlier, degrees: less than half the distance of neighbours in a family of eight.
OUTLIER_DEG = 20.0
# Answers to a drawing and to the same half a turn on differ by what pixels at its edges do, as a share of the largest.
_SAME = 0.02


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
    """Read the members' poses on what drives the family most and has its period, along one axis."""
    poses = family.coordinates(axis.name)
    # A mirrored member shows the mirror image at its pose; only members of one hand share a zero and a curve.
    has_hands = any(isinstance(own, Switch) for own in find(family.transformation).axes)
    hands = np.array([has_hands and member.is_mirrored for member in family.members])
    places = np.flatnonzero(hands == hands[0])
    read = (
        _NOT_READ if not shown else _read(family, axis, shown, [columns[place] for place in places.tolist()])
    )
    synthetic, drives = np.full(len(columns), nan), np.zeros(len(columns))
    if shown:
        synthetic[places], drives[places] = read.synthetic, read.drives

    def errors_at(photographic: Floats) -> Floats:
        seen = synthetic if read.folded is None else read.folded(photographic)
        return _errors_deg(seen, photographic, period_deg)

    summary = summarise_errors(
        family, axis.key, suggestion.words, read.words, poses, synthetic, errors_at(poses), OUTLIER_DEG
    )
    agreement = measure_agreement(errors_at, poses, drives, OUTLIER_DEG, (0.0, period_deg))
    summary = with_agreement(summary, agreement, drives)
    if not read.own_words:
        return summary
    own_words, own = np.full(len(columns), "", dtype=object), np.full(len(columns), nan)
    own_words[places], own[places] = read.own_words, read.own_synthetic
    return with_own_choices(summary, own_words.tolist(), _errors_deg(own, poses, period_deg))


@dataclass(frozen=True)
class _Read:
    """Poses read on drawings, what they were read on, how much that drives each member, and what each would choose."""

    words: str
    synthetic: Floats
    drives: Floats
    own_words: tuple[str, ...] = ()
    own_synthetic: Floats = field(default_factory=lambda: np.zeros(0))
    # Gives the poses on drawings beside other poses on photographs, where they are known up to a symmetry.
    folded: Callable[[Floats], Floats] | None = None


_NOT_READ = _Read("", np.zeros(0), np.zeros(0))


def _read(family: Family, axis: Turn, shown: Sequence[Shown], columns: Sequence[int]) -> _Read:
    """Read poses along one axis: on two turns at once where the family has two, or else on what all have in common."""
    is_hue = axis.drawn == "hue"
    if len(_drawn_axes(family)) > 1:
        drives = measure_drives(shown, columns)
        best = suggest_kind(shown, drives).best
        peaks = np.array([_torus_peak(shown[best], column) for column in columns])
        options = _known_up_to(family, shown[best], columns)
        own = np.stack([family.hues_deg, family.poses_deg], axis=1)

        def folded(photographic: Floats) -> Floats:
            """Fold beside these poses along the axis, and the family's own along the other."""
            beside = own.copy()
            beside[:, 0 if is_hue else 1] = photographic
            return _nearest_coset(options, beside, peaks)[:, 0 if is_hue else 1]

        seen = folded(family.coordinates(axis.name))
        return _Read(shown[best].stimulus.label, seen, drives[best], folded=folded)
    chosen = choose_in_common(shown, columns, along_hue=is_hue)
    tops = [peak_deg(chosen.own_curves[:, k], chosen.period_deg) for k in range(len(columns))]
    return _Read(
        chosen.words,
        read_poses_deg(chosen.curves, chosen.drives, chosen.period_deg),
        chosen.drives,
        chosen.own_words,
        np.array(tops),
    )


def _errors_deg(synthetic: Floats, poses: Floats, period_deg: float) -> Floats:
    """Differences of poses on drawings and on photographs, but for the offset that most members share."""
    away = circular_difference_deg(synthetic, poses, period_deg)
    offset = _common_offset_deg(away[np.isfinite(away)], period_deg)
    return circular_difference_deg(away, offset, period_deg)


def _common_offset_deg(away_deg: Floats, period_deg: float) -> float:
    """Offset that most members share: the mean of those that are no outliers from the median."""
    middle = circular_median_deg(away_deg, period_deg)
    near = away_deg[np.abs(circular_difference_deg(away_deg, middle, period_deg)) <= OUTLIER_DEG]
    return circular_mean_deg(near, period_deg=period_deg) if len(near) else nan


def _torus_peak(entry: Shown, column: int) -> tuple[float, float]:
    """Hue and angle at which a unit responds most, each read along its axis through the maximum, degrees."""
    grid = entry.responses[:, :, column]
    hue, angle = np.unravel_index(int(grid.argmax()), grid.shape)
    return peak_deg(grid[:, angle], 360.0), peak_deg(grid[hue], entry.stimulus.period_deg)


def _known_up_to(family: Family, entry: Shown, columns: Sequence[int]) -> Floats:
    """Give the turns (hue, angle), degrees, up to which poses on a drawing are known: the family's, and the drawing's.

    Two colours side by side are the same after half a turn of hue and of the plane, so no unit can tell them apart, not
    even one that is not quite itself after it.
    """
    options = list(stabiliser_elements(family))
    grid = entry.responses[:, :, list(columns)]
    n_hues, n_angles, _ = grid.shape
    if n_hues % 2 == n_angles % 2 == 0 and entry.stimulus.period_deg == 360.0:
        half_on = np.roll(grid, (n_hues // 2, n_angles // 2), axis=(0, 1))
        if np.abs(half_on - grid).max() <= _SAME * np.abs(grid).max() and (180.0, 180.0) not in options:
            options += [((hue + 180.0) % 360.0, (angle + 180.0) % 360.0) for hue, angle in options]
    return np.array(options)


def _nearest_coset(options: Floats, own: Floats, peaks: Floats) -> Floats:
    """Move synthetic poses (hue, angle) by what they are known up to, to where they agree best with a family's own."""
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
