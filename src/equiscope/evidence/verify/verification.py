"""Second evidence for a run's families: tuning to stimuli drawn from formulas, in which no photograph takes part.

Every layer with families is shown a catalogue of synthetic stimuli, turned exactly. For each family the kind of
stimulus that drives its members most is suggested, with the runner-up, and the members' poses on it are compared with
those found on photographs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiscope.families.family import Family
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.progress import Progress, silent
from equiscope.foundations.statistics import (
    circular_difference_deg,
    circular_mean_deg,
    circular_median_deg,
    percentile_interval,
)
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import MAX_OFFSET, LayerGeometry, joint_patch_px
from equiscope.models.sides import fitted
from equiscope.runs.store import SCHEMA_VERSION, Run, check_network, load_record, read_geometries, write_json
from equiscope.stimuli.drawn import SyntheticStimulus, catalogue, render
from equiscope.transformations.pixels import invert_contrast

__all__ = ["FamilyVerification", "MemberVerification", "load_verification", "verify_run"]

Floats = NDArray[np.float64]

# Angles at which a stimulus that repeats after a full turn is drawn; poses are read between them.
_N_ANGLES = 32
_N_HUES = 16
_N_ANGLES_PRODUCT = 16
_N_ANGLES_COARSE = 8
_OCTAVES = tuple(np.arange(-8, 9) * 0.25)
# Stimuli of the best kind that drive a family nearly as well as the best of them count for its poses, too.
_NEARLY_AS_WELL = 0.8
# An error beyond this is an outlier, degrees: less than half the distance of neighbours in a family of eight.
OUTLIER_DEG = 20.0
OUTLIER_OCTAVES = 0.5
_N_RESAMPLES = 1000
_PIXELS_PER_PASS = 700_000
_FILE = "verification.json"


@dataclass(frozen=True)
class MemberVerification:
    """One member: its pose on photographs and on synthetic stimuli, in the unit of the family's pose.

    ``error``: synthetic less photographic pose, after the offset common to the family; NaN, as ``synthetic``, where the
    member did not fire for the stimulus.
    """

    layer: str
    channel: int
    pose: float
    synthetic: float
    error: float


@dataclass(frozen=True)
class FamilyVerification:
    """What synthetic stimuli say about one family.

    Attributes
    ----------
    family, transformation
        Which.
    axis
        What the errors are about: ``rotation`` or ``hue``, degrees, ``scale``, octaves, or ``pair``, for which
        ``score`` and ``margin`` are given instead.
    kind, drive, drive_low, drive_high
        Kind of stimulus that drives the family most, and its drive: mean over members of the response to the best
        stimulus of the kind, as a share of the member's largest response to any; with its 95 % bootstrap interval
        over members. A suggestion: it is the best of what was drawn.
    runner_up, lead, lead_low, lead_high
        The next kind, and by how much its drive is lower, with its interval.
    stimulus
        The stimulus that drove it most, in words; poses were read on it and others of the kind like it.
    median_error, error_low, error_high
        Median absolute error over members, with its 95 % bootstrap interval over members.
    n_outliers, n_measured
        Members with an error beyond 20 degrees or half an octave, and members that could be measured: none where only
        one fired, for one alone has nothing to differ from.
    score, margin
        Pairs only: correlation over all synthetic stimuli of one member's responses with the other's to the
        transformed stimuli, and how much more that is than without transforming.
    members
        In the family's order.
    """

    family: str
    transformation: str
    axis: str
    kind: str
    drive: float
    drive_low: float
    drive_high: float
    runner_up: str
    lead: float
    lead_low: float
    lead_high: float
    stimulus: str
    median_error: float
    error_low: float
    error_high: float
    n_outliers: int
    n_measured: int
    score: float
    margin: float
    members: tuple[MemberVerification, ...]


@dataclass(frozen=True)
class _Shown:
    """Responses after the ReLU to one stimulus, shape (hue, angle, unit)."""

    stimulus: SyntheticStimulus
    angles_deg: Floats
    hues_deg: Floats
    responses: Floats


@borrows_model
def verify_run(
    run: Run, model: Model, *, precision: torch.dtype = torch.float32, progress: Progress = silent
) -> tuple[FamilyVerification, ...]:
    """Measure the tuning of every family of a run on synthetic stimuli and compare it with the run's poses.

    Parameters
    ----------
    run
        A finished run.
    model
        The network that was surveyed.
    precision
        ``torch.bfloat16`` runs the network under autocast.
    progress
        Called at the start of each stage.

    Returns
    -------
    tuple of FamilyVerification
        By family; also written to the run's ``verification.json``. Families of hue × rotation appear twice, once for
        each axis.

    Raises
    ------
    EquiscopeError
        If the network is not the one that was surveyed.
    """
    check_network(run, model)
    geometries = read_geometries(run.manifest)
    found: dict[tuple[str, str], FamilyVerification] = {}
    for layer, geometry in geometries.items():
        own = [f for f in run.families if f.layer == layer]
        if geometry.is_global or not own:
            continue
        with progress(f"drawing stimuli for {layer}", 3) as on_step:
            shown = _show_catalogue(model, geometry, precision)
            on_step(1)
            for family in own:
                for verification in _verify_poses(family, shown):
                    found[family.id, verification.axis] = verification
            on_step(1)
            pairs = [f for f in own if f.transformation in ("reflection", "contrast")]
            for verification in _verify_pairs(model, geometry, pairs, shown, precision):
                found[verification.family, verification.axis] = verification
            on_step(1)
    across = [f for f in run.families if f.transformation == "scale"]
    if across:
        with progress("drawing stimuli at all sizes", 1) as on_step:
            for verification in _verify_scales(model, geometries, across, precision):
                found[verification.family, verification.axis] = verification
            on_step(1)
    order = {family.id: index for index, family in enumerate(run.families)}
    verified = tuple(sorted(found.values(), key=lambda v: order[v.family]))
    write_json(
        run.folder / _FILE,
        {"schema_version": SCHEMA_VERSION, "verifications": [asdict(entry) for entry in verified]},
    )
    return verified


@dataclass(frozen=True)
class _File:
    """Contents of ``verification.json``."""

    verifications: tuple[FamilyVerification, ...]


def load_verification(folder: str | Path) -> tuple[FamilyVerification, ...]:
    """Read what ``verify_run`` wrote into a run's folder; empty where it was not run.

    Raises
    ------
    EquiscopeError
        If the file is damaged, or of a newer version.
    """
    path = Path(folder) / _FILE
    if not path.exists():
        return ()
    found: tuple[FamilyVerification, ...] = load_record(path, _File).verifications
    return found


def _record(
    model: Model, geometries: Sequence[LayerGeometry], size_px: int, patches: Tensor, precision: torch.dtype
) -> Floats:
    """Centre responses after the ReLU to patches, layers side by side, shape (patch, unit)."""
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


def _show_catalogue(model: Model, geometry: LayerGeometry, precision: torch.dtype) -> list[_Shown]:
    """Show one layer every stimulus of its catalogue at every angle and hue that makes a difference."""
    field_px = min(float(max(geometry.receptive_field_px)), float(geometry.patch_px))
    shown = []
    # One hue is enough: the others are made by turning it.
    for stimulus in catalogue(max(field_px, 3.0), hues_deg=(0.0,)):
        is_coloured = isfinite(stimulus.hue_deg)
        full = _N_ANGLES_PRODUCT if is_coloured else _N_ANGLES
        n_angles = max(1, round(full * stimulus.period_deg / 360))
        angles_deg = np.arange(n_angles) * (stimulus.period_deg or 360.0) / n_angles
        hues_deg = np.arange(_N_HUES) * 360.0 / _N_HUES if is_coloured else np.zeros(1)
        responses = [
            _record(
                model,
                [geometry],
                geometry.patch_px,
                render(stimulus, geometry.patch_px, angles_deg.tolist(), hue_shift_deg=float(hue)),
                precision,
            )
            for hue in hues_deg
        ]
        shown.append(_Shown(stimulus, angles_deg, hues_deg, np.stack(responses)))
    return shown


def _drives(shown: Iterable[_Shown], columns: Sequence[int]) -> Floats:
    """Largest response of each member to each stimulus, as a share of its largest to any, (stimulus, member)."""
    peaks = np.stack([entry.responses[:, :, columns].max((0, 1)) for entry in shown])
    most = peaks.max(0)
    return np.asarray(np.where(most > 0, peaks / np.where(most > 0, most, 1), 0.0))


@dataclass(frozen=True)
class _Suggestion:
    """The kind that drives a family most, the next one, and the fields of a verification that say so."""

    kind: str
    best: int
    words: dict[str, Any]


def _suggest(shown: Sequence[_Shown], drives: Floats) -> _Suggestion:
    kinds = list(dict.fromkeys(entry.stimulus.kind for entry in shown))
    of_kind = {kind: [i for i, e in enumerate(shown) if e.stimulus.kind == kind] for kind in kinds}
    # One stimulus for the whole family: its members are copies, so what drives one best drives all.
    best_of = {kind: max(rows, key=lambda i: float(drives[i].mean())) for kind, rows in of_kind.items()}
    ranked = sorted(kinds, key=lambda kind: -float(drives[best_of[kind]].mean()))
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else ranked[0]
    rng = np.random.default_rng(0)
    n = drives.shape[1]
    draws = rng.integers(0, n, (_N_RESAMPLES, n))
    top, next_best = drives[best_of[first]], drives[best_of[second]]
    low, high = percentile_interval(top[draws].mean(1))
    lead_low, lead_high = percentile_interval((top - next_best)[draws].mean(1))
    return _Suggestion(
        first,
        best_of[first],
        {
            "kind": first,
            "drive": float(top.mean()),
            "drive_low": float(low),
            "drive_high": float(high),
            "runner_up": second,
            "lead": float((top - next_best).mean()),
            "lead_low": float(lead_low),
            "lead_high": float(lead_high),
        },
    )


def _verify_poses(family: Family, shown: Sequence[_Shown]) -> list[FamilyVerification]:
    """Compare the poses of one family of one layer, one axis at a time."""
    columns = family.channels.tolist()
    suggestion = _suggest(shown, _drives(shown, columns))
    found = []
    if family.transformation in ("rotation", "dihedral", "hue-rotation"):
        period = 360.0 / family.stabiliser_order
        turning = [
            entry
            for entry in shown
            if entry.stimulus.period_deg >= min(period, 360.0) - 1e-6
            and (family.transformation != "hue-rotation" or len(entry.hues_deg) > 1)
        ]
        found.append(_compare(family, "rotation", turning, suggestion, columns, period))
    if family.transformation in ("hue", "hue-rotation"):
        coloured = [entry for entry in shown if len(entry.hues_deg) > 1]
        found.append(_compare(family, "hue", coloured, suggestion, columns, 360.0))
    return found


def _compare(
    family: Family,
    axis: str,
    shown: Sequence[_Shown],
    suggestion: _Suggestion,
    columns: Sequence[int],
    period_deg: float,
) -> FamilyVerification:
    """Read the members' poses on the stimuli that drive them most and have the family's period, along one axis."""
    poses = family.hues_deg if axis == "hue" else family.poses_deg
    synthetic = np.full(len(columns), nan)
    words = ""
    if shown:
        drives = _drives(shown, columns)
        own = _suggest(shown, drives)
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
        if family.transformation == "hue-rotation":
            peaks = np.array([_torus_peak(best, column) for column in columns])
            folded = _nearest_coset(family, peaks)
            synthetic = folded[:, 0] if axis == "hue" else folded[:, 1]
        else:
            curves = [shown[i].responses[:, :, columns].max(1 if axis == "hue" else 0) for i in alike]
            total = np.sum([curve / max(float(curve.max()), 1e-12) for curve in curves], axis=0)
            span = 360.0 if axis == "hue" else best.stimulus.period_deg
            synthetic = np.array([_peak_deg(total[:, k], span) for k in range(len(columns))])
    if family.transformation == "dihedral":
        # A mirrored member shows the mirror image at its pose; only members of one hand share a zero.
        hand = np.array([member.is_mirrored for member in family.members])
        synthetic = np.where(hand == hand[0], synthetic, nan)
    away = circular_difference_deg(synthetic, poses, period_deg)
    offset = _common_offset_deg(away[np.isfinite(away)], period_deg)
    errors = circular_difference_deg(away, offset, period_deg)
    return _summarise(family, axis, suggestion.words, words, poses, synthetic, errors, OUTLIER_DEG)


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


def _torus_peak(entry: _Shown, column: int) -> tuple[float, float]:
    """Hue and angle at which a unit responds most, each read along its axis through the maximum, degrees."""
    grid = entry.responses[:, :, column]
    hue, angle = np.unravel_index(int(grid.argmax()), grid.shape)
    return _peak_deg(grid[:, angle], 360.0), _peak_deg(grid[hue], entry.stimulus.period_deg)


def _nearest_coset(family: Family, peaks: Floats) -> Floats:
    """Move synthetic poses (hue, angle) by the family's stabiliser to where they agree best with its own poses."""
    own = np.stack([family.hues_deg, family.poses_deg], axis=1)
    options = [np.zeros(2)]
    if "(180°, 180°)" in family.stabiliser:
        options.append(np.array([180.0, 180.0]))
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


def _summarise(
    family: Family,
    axis: str,
    suggestion: dict[str, Any],
    stimulus: str,
    poses: Floats,
    synthetic: Floats,
    errors: Floats,
    outlier: float,
) -> FamilyVerification:
    # One member alone sets the zero of the poses, and agrees with itself whatever it does.
    if np.isfinite(errors).sum() < 2:
        errors = np.full(len(errors), nan)
    measured = np.abs(errors[np.isfinite(errors)])
    low = high = nan
    if len(measured):
        draws = np.random.default_rng(1).integers(0, len(measured), (_N_RESAMPLES, len(measured)))
        ends = percentile_interval(np.median(measured[draws], axis=1))
        low, high = float(ends[0]), float(ends[1])
    return FamilyVerification(
        family=family.id,
        transformation=family.transformation,
        axis=axis,
        stimulus=stimulus,
        median_error=float(np.median(measured)) if len(measured) else nan,
        error_low=low,
        error_high=high,
        n_outliers=int((measured > outlier).sum()),
        n_measured=len(measured),
        score=nan,
        margin=nan,
        members=tuple(
            MemberVerification(m.layer, m.channel, float(pose), float(other), float(error))
            for m, pose, other, error in zip(family.members, poses, synthetic, errors, strict=True)
        ),
        **suggestion,
    )


def _verify_pairs(
    model: Model,
    geometry: LayerGeometry,
    families: Sequence[Family],
    shown: Sequence[_Shown],
    precision: torch.dtype,
) -> list[FamilyVerification]:
    """Compare pairs: one member's responses with the other's to mirrored or inverted synthetic stimuli."""
    found = []
    for transformation in ("reflection", "contrast"):
        own = [f for f in families if f.transformation == transformation]
        if not own:
            continue
        plain: list[Floats] = []
        changed: list[Floats] = []
        for entry in shown:
            n = min(_N_ANGLES_COARSE, len(entry.angles_deg))
            angles = (np.arange(n) * (entry.stimulus.period_deg or 360.0) / n).tolist()
            patches = render(entry.stimulus, geometry.patch_px, angles)
            other = patches.flip(-1) if transformation == "reflection" else invert_contrast(patches)
            for target, pictures in ((plain, patches), (changed, other)):
                target.append(_record(model, [geometry], geometry.patch_px, pictures, precision))
        upright, transformed = np.concatenate(plain), np.concatenate(changed)
        for family in own:
            u, v = family.channels.tolist()
            with np.errstate(invalid="ignore", divide="ignore"):
                score = float(np.corrcoef(transformed[:, u], upright[:, v])[0, 1])
                same = float(np.corrcoef(upright[:, u], upright[:, v])[0, 1])
            suggestion = _suggest(shown, _drives(shown, [u, v]))
            nans = np.full(2, nan)
            summary = _summarise(
                family,
                "pair",
                suggestion.words,
                shown[suggestion.best].stimulus.label,
                nans,
                nans,
                nans,
                OUTLIER_DEG,
            )
            found.append(replace(summary, score=score, margin=score - same))
    return found


def _verify_scales(
    model: Model,
    geometries: dict[str, LayerGeometry],
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
    for series in _size_series(size_px):
        responses = []
        for stimulus in series:
            n = max(1, round(_N_ANGLES_COARSE * stimulus.period_deg / 360))
            angles = np.arange(n) * (stimulus.period_deg or 360.0) / n
            patches = render(stimulus, size_px, angles.tolist())
            responses.append(_record(model, used, size_px, patches, precision).max(0))
        # Sizes stand where hues would, so that drives and suggestions read them alike.
        shown.append(_Shown(series[0], np.zeros(1), _series_octaves(series), np.stack(responses)[:, None]))
    found = []
    for family in families:
        columns = [start_of[m.layer] + m.channel for m in family.members]
        drives = _drives(shown, columns)
        suggestion = _suggest(shown, drives)
        best = shown[suggestion.best]
        octaves = np.array([member.octaves for member in family.members])
        preferred = np.array(
            [_preferred_octaves(best.responses[:, 0, column], best.hues_deg) for column in columns]
        )
        away = preferred - octaves
        errors = away - np.nanmedian(away) if np.isfinite(away).any() else away
        summary = _summarise(
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


def _size_series(size_px: int) -> list[list[SyntheticStimulus]]:
    """Drawings of each kind and polarity, all lengths of which are magnified together, smallest first."""
    chosen: dict[tuple[Any, ...], SyntheticStimulus] = {}
    # A field in which the shapes can be drawn that is small enough to be magnified by two octaves.
    middle = max(size_px / 6, 7.0)
    for stimulus in catalogue(middle, hues_deg=(0.0, 90.0, 180.0, 270.0)):
        if stimulus.kind in ("edge", "corner", "brightness_gradient", "colour_contrast"):
            # They have no size of their own.
            continue
        # The first of each shape is its smallest; sizes are made here.
        shape = tuple(value for name, value in stimulus.parameters if not name.endswith("_px"))
        chosen.setdefault((stimulus.kind, *shape), stimulus)
    series = []
    for stimulus in chosen.values():
        magnified = [s for octaves in _OCTAVES if (s := _magnified(stimulus, float(octaves))) is not None]
        if len(magnified) >= 5:
            series.append(magnified)
    return series


def _magnified(stimulus: SyntheticStimulus, octaves: float) -> SyntheticStimulus | None:
    """Multiply every length of a stimulus; None where it can no longer be drawn."""
    factor = 2.0**octaves
    parameters = tuple(
        (name, value * factor if name.endswith("_px") else value) for name, value in stimulus.parameters
    )
    try:
        return SyntheticStimulus(stimulus.kind, parameters)
    except EquiscopeError:
        return None


def _series_octaves(series: Sequence[SyntheticStimulus]) -> Floats:
    """Size of each drawing of a series against the first, octaves."""
    lengths = [next(value for name, value in s.parameters if name.endswith("_px")) for s in series]
    return np.asarray(np.log2(np.array(lengths) / lengths[0]))


def _preferred_octaves(curve: Floats, octaves: Floats) -> float:
    """Size at which a response is largest, by a parabola; NaN at either end, where more might lie beyond."""
    top = int(curve.argmax())
    if not 0 < top < len(curve) - 1 or curve[top] <= 0:
        return nan
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(octaves[top] + shift * (octaves[1] - octaves[0]))
