"""How certain a family's poses and members are, in words."""

from __future__ import annotations

from equiscope.reports.document.schema import FamilyEntry, MemberEntry
from equiscope.reports.document.wording import measured
from equiscope.transformations import find

__all__ = ["pose_error_text", "stability_text"]


def pose_error_text(family: FamilyEntry, member: MemberEntry) -> str:
    """Word half the width of the interval of a member's pose; empty where there is none.

    Examples
    --------
    >>> from equiscope.families.family import Family, Member
    >>> from equiscope.reports.document.entries import family_entry
    >>> from equiscope.transformations import Pose
    >>> ends = Pose(angle_deg=88.5), Pose(angle_deg=91.5)
    >>> member = Member("conv1", 4, Pose(angle_deg=90.0), 0.8, 0.7, 0.9, *ends)
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.8, 0.7, 0.9, 0.01, (member,))
    >>> entry = family_entry(family, None)
    >>> pose_error_text(entry, entry["members"][0])
    '± 1.5°'
    """
    low, high = member.get("pose_low", {}), member.get("pose_high", {})
    widths = []
    for axis in find(family["transformation"]).axes:
        ends = measured(low.get(axis.name)), measured(high.get(axis.name))
        if ends[0] is not None and ends[1] is not None:
            widths.append(axis.distance_text((ends[1] - ends[0]) / 2))
    return f"± {', '.join(widths)}" if widths else ""


def stability_text(family: FamilyEntry) -> str:
    """Say how many of a family's members are found again; empty where that was not measured.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from equiscope.families.family import Family
    >>> from equiscope.reports.document.entries import family_entry
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.8, 0.7, 0.9, 0.01, ())
    >>> stability_text(family_entry(replace(family, stability=0.875), None))
    '88 % of its members are found again over resampled photographs.'
    """
    stability = measured(family.get("stability"))
    if stability is None:
        return ""
    return f"{100 * stability:.0f} % of its members are found again over resampled photographs."
