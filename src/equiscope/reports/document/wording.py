"""How numbers, poses and symmetries are worded on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable

from equiscope.reports.document.schema import AlternativeEntry, FamilyEntry, MemberEntry
from equiscope.reports.document.stabilisers import parse_stabiliser

__all__ = [
    "MISSING",
    "counted",
    "degrees",
    "describe_symmetry",
    "disagreement_text",
    "explanation_remark",
    "interval_text",
    "measured",
    "number",
    "octaves_text",
    "pose_text",
    "q_text",
    "title_text",
]

MISSING = "–"
# Differences of scores up to this are small against what members of one family differ by among themselves.
_SEEN_DEFICIT = 0.05


def measured(value: float | None) -> float | None:
    """Give a number, or None where it was not measured."""
    return value if value is not None and math.isfinite(value) else None


def number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    """Give a number in words, "–" where it was not measured."""
    value = measured(value)
    if value is None:
        return MISSING
    # Adding 0 makes the −0 of a small negative number 0.
    return f"{round(value, decimals) + 0.0:.{decimals}f}{unit}".replace("-", "−")


def interval_text(value: float | None, low: float | None, high: float | None) -> str | None:
    """Give the interval of a number, or None where the number or an end of it is missing."""
    low, high = measured(low), measured(high)
    if measured(value) is None or low is None or high is None:
        return None
    return f"{number(low)} to {number(high)}"


def q_text(q_value: float | None) -> str:
    """Give a q-value; below a thousandth only that."""
    q_value = measured(q_value)
    if q_value is None:
        return MISSING
    return "< 0.001" if q_value < 0.001 else f"{q_value:.3f}"


def degrees(angle_deg: float, period_deg: float = 360.0) -> str:
    """Give a whole angle within its period."""
    return f"{round(angle_deg % period_deg) % round(period_deg)}°"


def counted(n: int, noun: str) -> str:
    """Give a number of things."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"


def octaves_text(octaves: float | None) -> str:
    """Give a magnification with its sign."""
    octaves = measured(octaves)
    if octaves is None:
        return MISSING
    return f"{octaves + 0.0:+.2f}".replace("-", "−").replace("+0.00", "0").replace("−0.00", "0")


def pose_text(family: FamilyEntry, member: MemberEntry, period_deg: float) -> str:
    """Give a member's pose under its family's transformation."""
    angle = (
        MISSING if measured(member["pose_deg"]) is None else degrees(member["pose_deg"] or 0.0, period_deg)
    )
    hue_period = period_deg if family["transformation"] == "hue" else 360.0
    hue = MISSING if measured(member["hue_deg"]) is None else degrees(member["hue_deg"] or 0.0, hue_period)
    match family["transformation"]:
        case "hue":
            return f"hue {hue}"
        case "reflection":
            return "mirrored" if member["is_mirrored"] else "as it is"
        case "contrast":
            return "inverted" if member["is_inverted"] else "as it is"
        case "dihedral":
            return f"{angle} mirrored" if member["is_mirrored"] else angle
        case "hue-rotation":
            return f"{angle}, hue {hue}"
        case "scale":
            return f"{octaves_text(member['octaves'])} oct."
        case "rotation-scale":
            return f"{angle}, {octaves_text(member['octaves'])} oct."
        case _:
            return angle


def title_text(family: FamilyEntry) -> str:
    """Give what kind of family it is and how many members it has."""
    if family["transformation"] in ("reflection", "contrast") and family["size"] == 2:
        return f"{family['transformation']} pair"
    return f"{family['transformation']} family of {family['size']}"


def disagreement_text(family: FamilyEntry) -> str:
    """Give how far poses measured on held-out images depart from the family's, along each axis that it has."""
    angle = number(family["disagreement_deg"], 1, "°")
    hue = number(family["disagreement_hue_deg"], 1, "°")
    octaves = number(family["disagreement_octaves"], 2, " octaves")
    match family["transformation"]:
        case "hue":
            return hue
        case "hue-rotation":
            return f"{angle} of angle, {hue} of hue"
        case "scale":
            return octaves
        case "rotation-scale":
            return f"{angle} of angle, {octaves} of size".replace("octaves of size", "octaves")
        case _:
            return angle


def describe_symmetry(family: FamilyEntry) -> str:
    """Give in words what leaves the members as they are."""
    order = max(1, family["stabiliser_order"])
    turn = "none short of a full turn" if order == 1 else f"repeats every {360.0 / order:g}°"
    match family["transformation"]:
        case "hue":
            return f"{turn} of hue"
        case "dihedral":
            if "mirror" in family["stabiliser"]:
                return f"{turn}; its own mirror image"
            if any(member["is_mirrored"] for member in family["members"]):
                return f"{turn}; comes in two hands"
            return f"{turn}; no mirrored copy was found"
        case "hue-rotation":
            return _describe_toral(parse_stabiliser(family["stabiliser"]))
        case "reflection" | "contrast" | "scale":
            return "none"
        case _:
            return turn


def _describe_toral(elements: Iterable[tuple[float, float]]) -> str:
    words = []
    for hue, angle in elements:
        if hue % 360 and angle % 360:
            both = f"{hue:g}° of hue with {angle:g}° of the plane"
            words.append("half a turn of hue and of the plane together" if hue == angle == 180 else both)
        elif hue % 360:
            words.append("half a turn of hue alone" if hue == 180 else f"{hue:g}° of hue")
        elif angle % 360:
            words.append("half a turn of the plane alone" if angle == 180 else f"{angle:g}° of the plane")
    return "repeats after " + "; ".join(words) if words else "none short of a full turn of both"


def explanation_remark(family: FamilyEntry) -> str:
    """Say so where another transformation explains the family at least as simply; otherwise nothing."""
    other = family["explained_by"]
    if not other or other == family["transformation"]:
        return ""
    own = next((a for a in family["alternatives"] if a["transformation"] == family["transformation"]), None)
    if own is not None and _is_worse(own):
        return f"better explained as {other}"
    return f"may as well be {other}"


def _is_worse(alternative: AlternativeEntry) -> bool:
    """Whether it explains the family worse than the best transformation, significantly and by what can be seen."""
    low, deficit = measured(alternative["deficit_low"]), measured(alternative["deficit"])
    return low is not None and low > 0 and deficit is not None and deficit > _SEEN_DEFICIT
