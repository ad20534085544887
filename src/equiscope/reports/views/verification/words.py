"""What drawn stimuli say about a family, in rows of a table."""

from __future__ import annotations

from typing import Any

from equiscope.evidence.verify.poses import OUTLIER_DEG
from equiscope.reports.document.schema import FamilyEntry, VerificationEntry
from equiscope.reports.document.wording import counted, interval_text, measured, number
from equiscope.reports.views.circuit.words import percent_text
from equiscope.transformations import Axis, Switch, axis_of

__all__ = ["synthetic_rows"]


def synthetic_rows(family: FamilyEntry) -> list[dict[str, Any]]:
    """Give what drawn stimuli say: what drives the family most, and how its poses on them compare.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> family = next(own for own in document["families"] if own["id"] == "conv2d0-hue-1")
    >>> [(row["axis"], row["kind"]) for row in synthetic_rows(family)]
    [('hue', 'colour_centre_surround')]
    """
    rows = []
    for entry in family["verification"]:
        axis = axis_of(family["transformation"], entry["axis"])
        if axis is None:
            continue
        is_pair = isinstance(axis, Switch)
        interval: str | None
        if is_pair:
            found, interval = number(entry["score"]), None
            beside = f"{number(entry['margin'])} more than untransformed"
        else:
            found = axis.distance_text(entry["median_error"])
            interval = interval_text(entry["median_error"], entry["error_low"], entry["error_high"])
            n_far, n = entry["n_outliers"], entry["n_measured"]
            beside = f"{n_far} of {n} far off" if n else "no member fired"
        rows.append(
            {
                "axis": axis.key if is_pair else axis.noun,
                "is_pair": is_pair,
                "found": found,
                "interval": interval,
                "beside": beside,
                "stimulus": entry["stimulus"],
                "kind": entry["kind"],
                "drive": percent_text(entry["drive"]),
                "runner_up": entry["runner_up"],
                "lead": number(entry["lead"]),
                "lead_interval": interval_text(entry["lead"], entry["lead_low"], entry["lead_high"]),
                "agrees": _agreement_text(entry),
                "own": _own_choices_text(entry, axis),
            }
        )
    return rows


def _agreement_text(entry: VerificationEntry) -> str | None:
    """Say how much of the family agrees, beside what chance gives; None where that was not measured."""
    if measured(entry.get("agreement")) is None:
        return None
    ends = percent_text(entry.get("agreement_low")), percent_text(entry.get("agreement_high"))
    chance = percent_text(entry.get("agreement_null_95"))
    return (
        f"{percent_text(entry.get('agreement'))} agree by drive ({ends[0]} to {ends[1]}), by chance {chance}"
    )


def _own_choices_text(entry: VerificationEntry, axis: Axis) -> str | None:
    """Say what members would say on drawings of their own choice; None where that was not measured."""
    members = entry.get("members") or []
    errors = [abs(error) for own in members if (error := measured(own.get("own_error"))) is not None]
    if not errors:
        return None
    chosen = {own["own_stimulus"] for own in members if own["own_stimulus"]}
    far = sum(error > OUTLIER_DEG for error in errors)
    return (
        f"Left to themselves, members would choose {counted(len(chosen), 'drawing')} of this kind, and {far} of "
        f"{len(errors)} would be far off along {axis.noun}. That is no evidence: copies answer alike to one drawing."
    )
