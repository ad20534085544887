"""The drawings as a witness of a family: what the verification record of a run says of its poses, in one figure.

Weights and responses are the other two. The witness speaks only where a drawing drives the family: a family of faces
answers a little to many drawings, and where it answers to them is no evidence about its poses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, nan

from equiscope.evidence.verify.verification import FamilyVerification

__all__ = ["LEAST_DRIVE", "DrawingsWitness", "ask_drawings"]

# Mean drive of the members on the drawing that poses are read on, from which that says something about the family.
LEAST_DRIVE = 0.8


@dataclass(frozen=True)
class DrawingsWitness:
    """What drawings say of a family.

    Attributes
    ----------
    agreement, low, high
        Share of the members, each counted by its drive, whose pose on drawings is that on photographs to 20 degrees or
        two steps, with its 95 % bootstrap interval over members. Of a family with two axes that of the axis that agrees
        less. NaN where nothing could be read.
    null_95
        What chance reaches in one of twenty draws.
    median_error
        Median absolute error, in the unit of the axis.
    drive
        Mean drive of the members on the drawing.
    n_measured
        Members that fired for it.
    reason
        Why nothing can be said; empty where something can.
    """

    agreement: float = nan
    low: float = nan
    high: float = nan
    null_95: float = nan
    median_error: float = nan
    drive: float = nan
    n_measured: int = 0
    reason: str = ""

    @property
    def confirms(self) -> bool:
        """Whether it speaks, and more of the family agrees than half, and than chance gives.

        It confirms poses: units that are tuned alike have them in common, too, without being copies.
        """
        return not self.reason and self.agreement > max(self.null_95, 0.5)

    @property
    def contradicts(self) -> bool:
        """Whether it speaks, and no more than half of the family agrees; what chance might give is neither."""
        return not self.reason and self.agreement <= 0.5


def ask_drawings(verifications: Iterable[FamilyVerification], family: str) -> DrawingsWitness:
    """Ask the verification record of a run about a family.

    Parameters
    ----------
    verifications
        What `equiscope.verify` returned, or `load_verification` reads from a run's folder.
    family
        The family's ``id``.

    Examples
    --------
    >>> import equiscope
    >>> record = equiscope.verify("equiscope-runs/mini")
    >>> ask_drawings(record, "conv2d0-rotation-1").n_measured > 2
    True
    >>> ask_drawings(record, "conv2d0-rotation-99").reason
    'it was shown no drawings'
    """
    own = [entry for entry in verifications if entry.family == family]
    if not own:
        return DrawingsWitness(reason="it was shown no drawings")
    read = [entry for entry in own if isfinite(entry.agreement)]
    if len(read) < len(own):
        return DrawingsWitness(reason="drawings gave fewer than two of its members a pose")
    least = min(read, key=lambda entry: entry.agreement)
    reason = ""
    if least.read_drive < LEAST_DRIVE:
        reason = f"{least.stimulus} drives its members to {100 * least.read_drive:.0f} % of what they answer to any"
    return DrawingsWitness(
        least.agreement,
        least.agreement_low,
        least.agreement_high,
        least.agreement_null_95,
        least.median_error,
        least.read_drive,
        least.n_measured,
        reason,
    )
