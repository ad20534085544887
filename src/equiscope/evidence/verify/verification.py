"""What synthetic stimuli say about the families of a run, and its file in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiscope.families.family import Family
from equiscope.foundations.statistics import percentile_interval
from equiscope.runs.layout import SCHEMA_VERSION
from equiscope.runs.reading import load_record
from equiscope.runs.writing import write_json

if TYPE_CHECKING:
    from equiscope.evidence.verify.agreement import Agreement

__all__ = [
    "FamilyVerification",
    "MemberVerification",
    "load_verification",
    "save_verification",
    "summarise_errors",
    "with_agreement",
    "with_own_choices",
]

Floats = NDArray[np.float64]

_FILE = "verification.json"
_N_RESAMPLES = 1000


@dataclass(frozen=True)
class MemberVerification:
    """One member: its pose on photographs and on synthetic stimuli, in the unit of the family's pose.

    ``error``: synthetic less photographic pose, after the offset common to the family; NaN, as ``synthetic``, where the
    member did not fire for the stimulus. ``drive``: its response to the stimulus that poses were read on, as a share of
    its largest. ``own_stimulus`` and ``own_error``: what of that kind drives it most, and the error that it would have
    on that: a diagnosis, since members are copies only if one stimulus does for all.
    """

    layer: str
    channel: int
    pose: float
    synthetic: float
    error: float
    drive: float = nan
    own_stimulus: str = ""
    own_error: float = nan


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
        The stimulus that drove it most of those that tell its poses, in words; poses were read on it and others of the
        kind like it.
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
    agreement, agreement_low, agreement_high, agreement_null_95
        Share of the members, each counted by its drive, with an error that is no outlier; its 95 % bootstrap interval
        over members; and what chance reaches in one of twenty draws (`equiscope.evidence.verify.agreement`). NaN for
        pairs, and where fewer than two members fired.
    read_drive
        Mean drive of the members on the stimulus that poses were read on.
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
    agreement: float = nan
    agreement_low: float = nan
    agreement_high: float = nan
    agreement_null_95: float = nan
    read_drive: float = nan


def summarise_errors(
    family: Family,
    axis: str,
    suggestion: dict[str, Any],
    stimulus: str,
    poses: Floats,
    synthetic: Floats,
    errors: Floats,
    outlier: float,
) -> FamilyVerification:
    """Summarise the errors of a family's members along one axis.

    Parameters
    ----------
    family, axis, stimulus
        What was measured, and on which drawing, in words.
    suggestion
        Fields that say which kind drives the family.
    poses, synthetic, errors
        Of each member, shape (member,), in the unit of the axis; NaN where nothing was measured.
    outlier
        An error beyond this is an outlier.

    Examples
    --------
    >>> from equiscope.testing import planted_circuits
    >>> family, errors = planted_circuits().families[0], np.array([1.0, -2.0, 3.0, 30.0, *[nan] * 5])
    >>> names = "drive", "drive_low", "drive_high", "lead", "lead_low", "lead_high"
    >>> kind = dict.fromkeys(names, 0.9) | {"kind": "edge", "runner_up": "line"}
    >>> found = summarise_errors(family, "rotation", kind, "edge, softness 2 px", errors, errors, errors, 20.0)
    >>> found.median_error, found.n_measured, found.n_outliers
    (2.5, 4, 1)
    """
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


def with_agreement(entry: FamilyVerification, agreement: Agreement, drives: Floats) -> FamilyVerification:
    """Say how much of a family agrees, and how much what its poses were read on drives each member.

    Examples
    --------
    >>> figures = 0.9, 0.8, 1.0, "line", 0.2, 0.1, 0.3, "edge, softness 2 px", 4.0, 2.0, 6.0, 0, 1, nan, nan
    >>> member = MemberVerification("conv1", 0, 0.0, 5.0, 5.0)
    >>> entry = FamilyVerification("conv1-rotation-1", "rotation", "rotation", "edge", *figures, members=(member,))
    >>> from equiscope.evidence.verify.agreement import Agreement
    >>> found = with_agreement(entry, Agreement(1.0, 0.9, 1.0, 0.4), np.array([0.8]))
    >>> found.agreement, found.agreement_null_95, found.read_drive, found.members[0].drive
    (1.0, 0.4, 0.8, 0.8)
    """
    members = [
        replace(member, drive=float(drive)) for member, drive in zip(entry.members, drives, strict=True)
    ]
    return replace(
        entry,
        members=tuple(members),
        agreement=agreement.share,
        agreement_low=agreement.low,
        agreement_high=agreement.high,
        agreement_null_95=agreement.null_95,
        read_drive=float(drives.mean()),
    )


def with_own_choices(
    entry: FamilyVerification, words: Sequence[str], errors: Sequence[float] | Floats
) -> FamilyVerification:
    """Say what each member would have chosen for itself, and its error on that.

    Examples
    --------
    >>> figures = 0.9, 0.8, 1.0, "line", 0.2, 0.1, 0.3, "edge, softness 2 px", 4.0, 2.0, 6.0, 0, 1, nan, nan
    >>> member = MemberVerification("conv1", 0, 0.0, 5.0, 5.0)
    >>> entry = FamilyVerification("conv1-rotation-1", "rotation", "rotation", "edge", *figures, members=(member,))
    >>> with_own_choices(entry, ["edge, softness 4 px"], [180.0]).members[0].own_error
    180.0
    """
    members = [
        replace(member, own_stimulus=own, own_error=float(error))
        for member, own, error in zip(entry.members, words, errors, strict=True)
    ]
    return replace(entry, members=tuple(members))


@dataclass(frozen=True)
class _File:
    """Contents of ``verification.json``."""

    verifications: tuple[FamilyVerification, ...]


def save_verification(folder: Path, verifications: Sequence[FamilyVerification]) -> None:
    """Write verifications into a run's folder.

    Examples
    --------
    >>> figures = 0.9, 0.8, 1.0, "line", 0.2, 0.1, 0.3, "edge, softness 2 px", 4.0, 2.0, 6.0, 0, 8, nan, nan
    >>> found = FamilyVerification("conv1-rotation-1", "rotation", "rotation", "edge", *figures, members=())
    >>> save_verification(Path("my-run"), [found])
    >>> load_verification("my-run")[0].median_error
    4.0
    """
    write_json(
        folder / _FILE,
        {"schema_version": SCHEMA_VERSION, "verifications": [asdict(entry) for entry in verifications]},
    )


def load_verification(folder: str | Path) -> tuple[FamilyVerification, ...]:
    """Read what ``verify_run`` wrote into a run's folder; empty where it was not run.

    Raises
    ------
    EquiscopeError
        If the file is damaged, or of a newer version.

    Examples
    --------
    >>> load_verification("a-run-that-was-not-verified")
    ()
    """
    path = Path(folder) / _FILE
    if not path.exists():
        return ()
    found: tuple[FamilyVerification, ...] = load_record(path, _File).verifications
    return found
