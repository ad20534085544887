"""Families and units of a run in the words of the document."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from equiscope.families.family import Family, Member, Tuning, Unit
from equiscope.families.verdict import Verdict
from equiscope.reports.document.schema import (
    FamilyEntry,
    KindsEntry,
    MemberEntry,
    PoseEntry,
    TuningEntry,
    UnitEntry,
    VerdictEntry,
)

__all__ = ["count_kinds", "family_entry", "shown_axes", "unit_entry"]


def count_kinds(units: Iterable[Unit], transformation: str) -> KindsEntry:
    """Count how many units of a layer are of which kind under a transformation.

    Examples
    --------
    >>> from equiscope.families.family import Symmetry
    >>> unit = Unit("conv1", 0, 0.1, 0.2, (Symmetry("rotation", "invariant"),))
    >>> count_kinds([unit], "rotation")["counts"]["invariant"], count_kinds([unit], "hue")["counts"]["invariant"]
    (1, 0)
    """
    counts = Counter(unit.under(transformation).kind for unit in units)
    return {
        "transformation": transformation,
        "counts": {
            "equivariant": counts["equivariant"],
            "invariant": counts["invariant"],
            "neither": counts["neither"],
            "inactive": counts["inactive"],
            "not measurable": counts["not measurable"],
        },
    }


def unit_entry(unit: Unit) -> UnitEntry:
    """Word one unit as the document does, without pictures and tuning.

    Examples
    --------
    >>> entry = unit_entry(Unit("conv1", 4, 0.5, float("nan")))
    >>> entry["layer"], entry["channel"], entry["mean"], entry["sd"]
    ('conv1', 4, 0.5, None)
    """
    return {
        "layer": unit.layer,
        "channel": unit.channel,
        "mean": _measured(unit.mean),
        "sd": _measured(unit.sd),
        "symmetries": [
            {
                "transformation": line.transformation,
                "kind": line.kind,
                "family": line.family,
                "score": _measured(line.score),
                "invariance": _measured(line.invariance),
                "stabiliser_order": line.stabiliser_order,
            }
            for line in unit.symmetries
        ],
        "tuning": {},
        "pictures": None,
    }


def family_entry(family: Family, tuning: Tuning | None) -> FamilyEntry:
    """Word one family as the document does.

    Examples
    --------
    >>> from equiscope.families.family import Member
    >>> from equiscope.transformations import Pose
    >>> member = Member("conv1", 4, Pose(angle_deg=90.0), 0.8, 0.7, 0.9)
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.8, 0.7, 0.9, 0.01, (member,))
    >>> entry = family_entry(family, None)
    >>> entry["id"], entry["members"][0]["channel"], entry["members"][0]["pose"]
    ('conv1-rotation-1', 4, {'angle_deg': 90.0})
    """
    return {
        "id": family.id,
        "layers": list(family.layers),
        "transformation": family.transformation,
        "size": family.size,
        "score": family.score,
        "score_low": family.score_low,
        "score_high": family.score_high,
        "disagreement": dict(family.disagreement),
        "phase_coherence": family.phase_coherence,
        "margin": family.margin,
        "margin_low": family.margin_low,
        "margin_high": family.margin_high,
        "q_value": family.q_value,
        "stabiliser": [_pose_entry(element) for element in family.stabiliser],
        "half_turns": list(family.half_turns),
        "gap_deviation_deg": family.gap_deviation_deg,
        "holes_deg": [list(hole) for hole in family.holes_deg],
        "duplicates": [list(pair) for pair in family.duplicates],
        "explained_by": family.explained_by,
        "alternatives": [
            {
                "transformation": own.transformation,
                "score": own.score,
                "deficit": own.deficit,
                "deficit_low": own.deficit_low,
                "deficit_high": own.deficit_high,
            }
            for own in family.alternatives
        ],
        "tuning": None if tuning is None else _tuning_entry(tuning),
        "verification": [],
        "verdict": None if family.verdict is None else _verdict_entry(family.verdict),
        "strangers_95": _measured(family.strangers_95),
        "stability": _measured(family.stability),
        "members": [_member_entry(member) for member in family.members],
    }


def _member_entry(member: Member) -> MemberEntry:
    return {
        "layer": member.layer,
        "channel": member.channel,
        "pose": _pose_entry(member.pose),
        "score": member.score,
        "score_low": member.score_low,
        "score_high": member.score_high,
        "pose_low": _pose_entry(member.pose_low),
        "pose_high": _pose_entry(member.pose_high),
    }


def _verdict_entry(verdict: Verdict) -> VerdictEntry:
    return {
        "word": verdict.word,
        "reason": verdict.reason,
        "likeness": _measured(verdict.likeness),
        "likeness_low": _measured(verdict.likeness_low),
        "likeness_high": _measured(verdict.likeness_high),
        "permuted_95": _measured(verdict.permuted_95),
        "tested": _measured(verdict.tested),
        "cores": [
            {"members": list(core.members), "likeness": _measured(core.likeness)} for core in verdict.cores
        ],
    }


def _pose_entry(pose: Mapping[str, float]) -> PoseEntry:
    return {name: value if isinstance(value, bool) else _measured(value) for name, value in pose.items()}


def _measured(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tuning_entry(tuning: Tuning) -> TuningEntry:
    values = np.asarray(tuning.values, dtype=np.float64)
    return {
        "axes": shown_axes(tuning.axes),
        "values": np.where(np.isfinite(values), values, None).tolist(),  # type: ignore[call-overload]
    }


def shown_axes(axes: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Give the axes of a tuning as JSON types.

    Examples
    --------
    >>> shown_axes({"angle_deg": np.array([0, 90])})
    {'angle_deg': [0.0, 90.0]}
    """
    return {name: [float(value) for value in values] for name, values in axes.items()}
