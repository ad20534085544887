"""How numbers are worded on the page; how poses are, `equiscope.transformations` knows."""

from __future__ import annotations

import math

from equiscope.reports.document.schema import AlternativeEntry, FamilyEntry
from equiscope.transformations.axes import MISSING

__all__ = [
    "MISSING",
    "counted",
    "degrees",
    "explanation_remark",
    "interval_text",
    "measured",
    "number",
    "plural",
    "q_text",
]

# Differences of scores up to this are small against what members of one family differ by among themselves.
_SEEN_DEFICIT = 0.05


def measured(value: float | None) -> float | None:
    """Give a number, or None where it was not measured.

    Examples
    --------
    >>> measured(0.5), measured(float("nan"))
    (0.5, None)
    """
    return value if value is not None and math.isfinite(value) else None


def number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    """Give a number in words, "–" where it was not measured.

    Examples
    --------
    >>> number(-0.128), number(12.4, decimals=0, unit=" px"), number(None)
    ('−0.13', '12 px', '–')
    """
    value = measured(value)
    if value is None:
        return MISSING
    # Adding 0 makes the −0 of a small negative number 0.
    return f"{round(value, decimals) + 0.0:.{decimals}f}{unit}".replace("-", "−")


def interval_text(value: float | None, low: float | None, high: float | None) -> str | None:
    """Give the interval of a number, or None where the number or an end of it is missing.

    Examples
    --------
    >>> interval_text(0.5, 0.412, 0.608)
    '0.41 to 0.61'
    """
    low, high = measured(low), measured(high)
    if measured(value) is None or low is None or high is None:
        return None
    return f"{number(low)} to {number(high)}"


def q_text(q_value: float | None) -> str:
    """Give a q-value; below a thousandth only that.

    Examples
    --------
    >>> q_text(0.0124), q_text(1e-9), q_text(None)
    ('0.012', '< 0.001', '–')
    """
    q_value = measured(q_value)
    if q_value is None:
        return MISSING
    return "< 0.001" if q_value < 0.001 else f"{q_value:.3f}"


def degrees(angle_deg: float, period_deg: float = 360.0) -> str:
    """Give a whole angle within its period.

    Examples
    --------
    >>> degrees(-30.2), degrees(200.0, period_deg=180.0)
    ('330°', '20°')
    """
    return f"{round(angle_deg % period_deg) % round(period_deg)}°"


def plural(noun: str) -> str:
    """Give the word for several: "families", "stimuli", "brightnesses", "hues".

    Examples
    --------
    >>> plural("family"), plural("hue"), plural("radius")
    ('families', 'hues', 'radii')
    """
    if noun.endswith("us"):
        return noun[:-2] + "i"
    if noun.endswith("y"):
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def counted(n: int, noun: str) -> str:
    """Give a number of things.

    Examples
    --------
    >>> counted(1, "family"), counted(1200, "stimulus")
    ('1 family', '1,200 stimuli')
    """
    return f"{n:,} {noun if n == 1 else plural(noun)}"


def explanation_remark(family: FamilyEntry) -> str:
    """Say so where another transformation explains the family at least as simply; otherwise nothing.

    Examples
    --------
    >>> own = {"transformation": "rotation", "deficit": 0.2, "deficit_low": 0.1}
    >>> family = {"transformation": "rotation", "explained_by": "hue", "alternatives": [own]}
    >>> explanation_remark(family), explanation_remark(family | {"alternatives": []})
    ('better explained as hue', 'may as well be hue')
    """
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
