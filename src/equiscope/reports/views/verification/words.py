"""What drawn stimuli say about a family, in rows of a table."""

from __future__ import annotations

from typing import Any

from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.wording import interval_text, number
from equiscope.reports.views.circuit.words import percent_text

__all__ = ["synthetic_rows"]

_AXES = {"rotation": "angle", "hue": "hue", "scale": "size", "pair": "pair"}


def synthetic_rows(family: FamilyEntry) -> list[dict[str, Any]]:
    """Give what drawn stimuli say: what drives the family most, and how its poses on them compare."""
    rows = []
    for entry in family["verification"]:
        unit, digits = {"scale": (" octaves", 2)}.get(entry["axis"], ("°", 1))
        interval: str | None
        if entry["axis"] == "pair":
            found, interval = number(entry["score"]), None
            beside = f"{number(entry['margin'])} more than untransformed"
        else:
            found = number(entry["median_error"], digits, unit)
            interval = interval_text(entry["median_error"], entry["error_low"], entry["error_high"])
            n_far, n = entry["n_outliers"], entry["n_measured"]
            beside = f"{n_far} of {n} far off" if n else "no member fired"
        rows.append(
            {
                "axis": _AXES[entry["axis"]],
                "found": found,
                "interval": interval,
                "beside": beside,
                "stimulus": entry["stimulus"],
                "kind": entry["kind"],
                "drive": percent_text(entry["drive"]),
                "runner_up": entry["runner_up"],
                "lead": number(entry["lead"]),
                "lead_interval": interval_text(entry["lead"], entry["lead_low"], entry["lead_high"]),
            }
        )
    return rows
