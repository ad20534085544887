"""One family as a card: what its template shows, with every path and place worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equiscope.report.charts import (
    heat_level,
    heat_paths,
    parse_stabiliser,
)
from equiscope.report.dial import (
    CURVE_RADIUS,
    LABEL_RADIUS,
    PICTURE_RADIUS,
    VIEW_RADIUS,
    leader_path,
    mark_path,
    point_at,
    rim_path,
    sector_path,
    spread_pictures,
    tuning_path,
)
from equiscope.report.members import PageContext, Shown, family_period_deg, members_in_order, tuning_along
from equiscope.report.palette import rim_colour
from equiscope.report.planes import rotation_scale_chart, size_chart, toral_chart
from equiscope.report.schema import ConfirmationEntry, FamilyEntry
from equiscope.report.wording import (
    counted,
    degrees,
    describe_symmetry,
    disagreement_text,
    explanation_remark,
    interval_text,
    measured,
    number,
    octaves_text,
    q_text,
    title_text,
)

__all__ = ["family_view"]

_CHECKS = {
    "rotation": "Turn and check: how strongly each member responds as the family’s stimuli turn.",
    "hue": "Turn the hue and check: how strongly each member responds as the stimuli’s hue turns.",
    "dihedral": "Turn and check: how strongly each member responds as the stimuli turn, shown in its own hand.",
    "hue-rotation": "Turn and check: how strongly each member responds as the stimuli turn, at its own hue.",
    "scale": "Zoom and check: how strongly each member responds as the family’s stimuli grow, left to right.",
}


_UNCHECKED = {
    "rotation-scale": "How members respond as stimuli turn and grow together was not measured; the rotation families "
    "have their own checks.",
}


def family_view(family: FamilyEntry, page: PageContext) -> dict[str, Any]:
    """Work out everything that the card of a family shows.

    Parameters
    ----------
    family
        The family.
    page
        What it shares with the rest of the page.

    Returns
    -------
    dict
        What ``assets/card.html.jinja`` shows.
    """
    shown = members_in_order(family, page)
    # Only these three have a chart as wide as the card; everything else turns and has a dial, or is a pair.
    drawing: dict[str, Any]
    match family["transformation"]:
        case "hue-rotation":
            layout, drawing = "plane", toral_chart(family, shown)
        case "scale":
            layout, drawing = "plane", size_chart(family, shown)
        case "rotation-scale":
            layout, drawing = "plane", rotation_scale_chart(family, shown)
        case "reflection" | "contrast":
            layout, drawing = "pair", _pair_table(family, shown)
        case _:
            layout, drawing = "dial", _dial(family, shown)
    return {
        "id": family["id"],
        "anchor": page.anchors[family["id"]],
        "layer": family["layer"],
        "transformation": family["transformation"],
        "title": title_text(family),
        "remark": explanation_remark(family),
        "layout": layout,
        # A pose that is more than an angle gets a line of its own.
        "is_wordy": family["transformation"] != "rotation",
        "drawing": drawing,
        "numbers": _numbers(family),
        "members": [member.view for member in shown],
        "check": _check(family, shown),
        "unchecked": _UNCHECKED.get(family["transformation"], "") if family["tuning"] is None else "",
        "sheets": _sheets(family, shown),
        "alternatives": _alternatives(family),
        "synthetic": _synthetic(family),
        "joined": _joined(family, page),
    }


def _numbers(family: FamilyEntry) -> list[dict[str, Any]]:
    """Lines of the list of numbers: a term, its value, and what stands beside it."""

    def line(term: str, value: str, beside: str | None = None, code: str | None = None) -> dict[str, Any]:
        is_strong = term in ("Score", "Disagreement", "Coherence", "Margin", "q")
        return {"term": term, "value": value, "beside": beside, "code": code, "is_strong": is_strong}

    period_deg = family_period_deg(family)
    # However a hole was wrapped, its end comes after its start and at most one period later.
    holes = [f"{degrees(a, period_deg)} to {degrees(b, period_deg)}" for a, b in family["holes_deg"]]
    remark = explanation_remark(family)
    lines = [
        line(
            "Score",
            number(family["score"]),
            interval_text(family["score"], family["score_low"], family["score_high"]),
        ),
        line("Disagreement", disagreement_text(family)),
        line("Coherence", number(family["phase_coherence"])),
        line(
            "Margin",
            number(family["margin"]),
            interval_text(family["margin"], family["margin_low"], family["margin_high"]),
        ),
        line("q", q_text(family["q_value"])),
        line("Symmetry", describe_symmetry(family), code=family["stabiliser"] or None),
    ]
    if family["half_turns"]:
        names = ("both", "hue alone", "the plane alone")
        text = ", ".join(
            f"of {name} {number(value)}" for name, value in zip(names, family["half_turns"], strict=True)
        )
        lines.append(line("Itself after half a turn", text))
    if family["transformation"] not in ("reflection", "contrast", "scale", "hue-rotation", "rotation-scale"):
        lines.append(line("Spacing", number(family["gap_deviation_deg"], 0, "°"), "from even"))
    if holes:
        lines.append(line("Holes", ", ".join(holes)))
    if family["duplicates"]:
        same = [" and ".join(str(channel) for channel in pair) for pair in family["duplicates"]]
        lines.append(line("At one pose", "; ".join(same)))
    lines.append(line("Explained by", remark or family["explained_by"] or "–"))
    confirmation = family.get("confirmation")
    if confirmation is not None:
        lines.append(line("Weights", *_weights_text(family["id"], confirmation)))
    return lines


def _weights_text(family: str, confirmation: ConfirmationEntry) -> tuple[str, str | None]:
    """Say in how many circuits the weights turn with the family, and which of them does so most clearly."""
    n_tested, n_symmetric = confirmation["n_tested"], confirmation["n_symmetric"]
    if not n_tested:
        return "no circuit could be tested", None
    if not n_symmetric:
        return f"turn with it in none of {counted(n_tested, 'circuit')}", None
    best = confirmation["best_circuit"]
    other = ""
    if best.endswith(f">{family}"):
        other = f" from {best.removesuffix(f'>{family}')}"
    elif best.startswith(f"{family}>"):
        other = f" to {best.removeprefix(f'{family}>')}"
    r2 = (
        f"R² {number(confirmation['best_r2'])}{other}, by chance below {number(confirmation['best_null_95'])}"
    )
    return f"turn with it in {n_symmetric} of {counted(n_tested, 'circuit')}", r2


def _alternatives(family: FamilyEntry) -> list[dict[str, Any]]:
    rows = []
    for entry in family["alternatives"]:
        deficit = measured(entry["deficit"])
        rows.append(
            {
                "transformation": entry["transformation"],
                "score": number(entry["score"]),
                "deficit": "best" if deficit == 0 else number(deficit),
                "interval": None
                if deficit == 0
                else interval_text(deficit, entry["deficit_low"], entry["deficit_high"]),
                "is_chosen": entry["transformation"] == family["explained_by"],
            }
        )
    return rows


_AXES = {"rotation": "angle", "hue": "hue", "scale": "size", "pair": "pair"}


def _synthetic(family: FamilyEntry) -> list[dict[str, Any]]:
    """Give what drawn stimuli say: what drives the family most, and how its poses on them compare."""
    rows = []
    for entry in family["verification"]:
        unit, digits = {"scale": (" octaves", 2)}.get(entry["axis"], ("°", 1))
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
                "drive": number(entry["drive"]),
                "runner_up": entry["runner_up"],
                "lead": number(entry["lead"]),
                "lead_interval": interval_text(entry["lead"], entry["lead_low"], entry["lead_high"]),
            }
        )
    return rows


def _joined(family: FamilyEntry, page: PageContext) -> list[dict[str, Any]]:
    """Links between the rotation families that a family over scale joins."""
    if family["transformation"] != "rotation-scale":
        return []
    own = page.members[family["id"]]
    return [
        {
            "ends": [(key, page.anchors[key]) for key in (link["first"], link["second"])],
            "n_pairs": str(link["n_pairs"]),
            "offset": number(link["offset_deg"], 0, "°"),
            "octaves": octaves_text(link["octaves"]),
            "residual": number(link["residual_deg"], 1, "°"),
            "q": q_text(link["q_value"]),
        }
        for link in page.links
        if all(key in page.members and page.members[key] <= own for key in (link["first"], link["second"]))
    ]


def _check(family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any] | None:
    """Members × pose as a heat map, one row a member."""
    curves = [tuning_along(family, member) for member in shown]
    first = next((curve for curve in curves if curve is not None), None)
    if first is None or first[0] == "element":
        return None
    name, axis, _ = first
    n = len(axis)
    period_deg = family_period_deg(family)
    n_copies = round(360.0 / period_deg)
    rows = []
    for member, curve in zip(shown, curves, strict=True):
        if name == "octaves":
            step = axis[1] - axis[0] if n > 1 else 1.0
            own = [(member.octaves - axis[0]) / step + 0.5]
        else:
            start = member.hue_deg if name == "hue_deg" else member.angle_deg
            own = [((start + turn * period_deg) / (360.0 / n) + 0.5) % n for turn in range(n_copies)]
        rows.append(
            {
                "paths": heat_paths([curve[2]]) if curve else [("hn", f"M0,.5h{n}")],
                "own": "".join(f"M{place:.2f},0v1" for place in own),
            }
        )
    if name == "octaves":
        step = axis[1] - axis[0] if n > 1 else 1.0
        ticks = [
            (octaves_text(value), f"{100 * ((value - axis[0]) / step + 0.5) / n:.1f}")
            for value in axis
            if abs(value - round(value)) < 1e-6
        ]
    else:
        ticks = [(f"{angle}°", f"{100 * (angle / 360 + 0.5 / n):.1f}") for angle in (0, 90, 180, 270)]
    return {
        "caption": _CHECKS.get(family["transformation"], _CHECKS["rotation"]),
        "n": n,
        "rows": rows,
        "ticks": ticks,
    }


def _sheets(family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any] | None:
    """Each member's joint tuning over hue and angle, one heat map a member."""
    tuning = family["tuning"]
    if family["transformation"] != "hue-rotation" or tuning is None:
        return None
    n_hues, n_angles = len(tuning["axes"]["hue_deg"]), len(tuning["axes"]["angle_deg"])
    elements = parse_stabiliser(family["stabiliser"])
    maps = []
    for member in shown:
        values = tuning["values"][member.index]
        own = [
            (
                ((member.angle_deg + angle) / 360 * n_angles + 0.5) % n_angles,
                ((member.hue_deg + hue) / 360 * n_hues + 0.5) % n_hues,
            )
            for hue, angle in elements
        ]
        maps.append(
            {
                "paths": heat_paths(values) if values is not None else [],
                "own": [(f"{x:.2f}", f"{y:.2f}") for x, y in own],
            }
        )
    return {"n_hues": n_hues, "n_angles": n_angles, "maps": maps}


# Drawings -----------------------------------------------------------------------------------------------------------


def _dial(family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any]:
    """Draw closed tuning curves, poses at the rim and pictures round it."""
    is_hue = family["transformation"] == "hue"
    period_deg = family_period_deg(family)
    order = max(1, family["stabiliser_order"])
    turns_deg = [member.hue_deg if is_hue else member.angle_deg for member in shown]
    by_pose = sorted(range(len(shown)), key=lambda i: turns_deg[i])
    slots_deg, diameter = spread_pictures([turns_deg[i] for i in by_pose])
    slot_of = dict(zip(by_pose, slots_deg, strict=True))
    parts = []
    for i, member in enumerate(shown):
        curve = tuning_along(family, member)
        x, y = (float(value) for value in point_at(slot_of[i], PICTURE_RADIUS))
        parts.append(
            {
                "curve": tuning_path(curve[1], curve[2]) if curve else "",
                "marks": " ".join(mark_path(turns_deg[i] + turn * period_deg) for turn in range(order)),
                "leader": leader_path(turns_deg[i], slot_of[i], diameter),
                "left": f"{50 * (1 + x / VIEW_RADIUS):.2f}",
                "top": f"{50 * (1 + y / VIEW_RADIUS):.2f}",
            }
        )
    holes = [(a, a + ((b - a) % period_deg or period_deg)) for a, b in family["holes_deg"]]
    subject = "hue of the stimuli turns" if is_hue else "stimuli turn"
    return {
        "label": f"Responses of the {len(shown)} members as the {subject}",
        "caption": "The angle is a turn of hue, from red over green to blue; the rim shows what it makes of red."
        if is_hue
        else "",
        "radius": f"{CURVE_RADIUS:g}",
        "labels": [(f"{angle}°", *point_at(angle, LABEL_RADIUS)) for angle in (0, 90, 180, 270)],
        "rim": [(rim_path(a, a + 10.4), rim_colour(a + 5)) for a in range(0, 360, 10)] if is_hue else [],
        "holes": [
            sector_path(a + turn * period_deg, b + turn * period_deg)
            for a, b in holes
            for turn in range(order)
        ],
        "diameter": f"{50 * diameter / VIEW_RADIUS:.2f}",
        "parts": parts,
    }


def _pair_table(family: FamilyEntry, shown: Sequence[Shown]) -> dict[str, Any]:
    """Responses of both members to the feature as it is and transformed."""
    tuning = family["tuning"]
    rows = []
    for member in shown:
        values = tuning["values"][member.index] if tuning is not None else None
        rows.append([(number(value), heat_level(value)) for value in (values or (None, None))])
    changed = {"reflection": "mirrored", "contrast": "inverted"}[family["transformation"]]
    return {
        "caption": f"How strongly each member responds to the feature as it is and {changed}, of its own maximum.",
        "changed": changed,
        "rows": rows,
    }
