"""One circuit as a card: its weights as they are and in order of relative pose, and what the numbers mean in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.circuits import Circuit
from equiscope.circuits.causal import CausalCheck
from equiscope.report.circuit_ends import Ends, EndUnit, is_unit
from equiscope.report.kernels import KernelGrid, draw_kernels, kernel_scale
from equiscope.report.wording import MISSING, counted, interval_text, measured, number, q_text

__all__ = ["circuit_view", "class_text", "percent_text", "weight_text"]

# Kernels are shown about this large, px, where there is room, by a whole number of screen pixels a weight: few of
# them larger.
_CELL_PX, _FEW_CELL_PX, _FEW = 27, 40, 14
# Wider pairs of pictures stand below each other.
_MOST_COLUMNS = 44
_CHARACTER_PX, _PICTURE_PX = 6.3, 30.0
# Shares of the full colour up to this are paper to the eye.
_NOTHING = 0.05


def class_text(circuit: Circuit) -> str:
    """Give the class of a circuit: what its weights do as the families at its ends turn."""
    if circuit.rotation_class and circuit.hue_class and circuit.rotation_class != circuit.hue_class:
        return f"rotation {_arrow(circuit.rotation_class)}, hue {_arrow(circuit.hue_class)}"
    return _arrow(circuit.circuit_class)


def _arrow(name: str) -> str:
    return name.replace("→", " → ")


def percent_text(share: float | None) -> str:
    """Give a share in per cent."""
    share = measured(share)
    if share is None:
        return MISSING
    return "< 0.1 %" if 0 <= share < 0.001 else f"{100 * share:.{1 if share < 0.1 else 0}f} %"


def weight_text(weight: float) -> str:
    """Give a weight, to two digits."""
    return f"{weight:.2g}" if weight >= 1e-3 else f"{weight:.0e}".replace("e-0", "e-").replace("-", "−")


_ROTATION_WORDS = {
    "equivariant→equivariant": "Weights depend only on the difference between two members’ poses, and turn with them.",
    "invariant→equivariant": "Every member of the target is fed by the same pattern, turned by its own pose; "
    "what the source’s poses are makes no difference.",
    "equivariant→invariant": "Every member of the source feeds the same pattern, turned by its own pose; "
    "what the target’s poses are makes no difference.",
}
_HUE_WORDS = {
    "equivariant→equivariant": "In hue, weights depend only on the difference between two members’ hues.",
    "invariant→equivariant": "In hue, the source makes no difference.",
    "equivariant→invariant": "In hue, the target makes no difference.",
}


def _sentence(circuit: Circuit) -> str:
    words = _ROTATION_WORDS.get(circuit.rotation_class, "")
    if is_unit(circuit.source, circuit.source_layer):
        words = "One unit feeds every member with the same pattern, turned by the member’s pose."
    elif is_unit(circuit.target, circuit.target_layer):
        words = "One unit is fed by every member with the same pattern, turned by the member’s pose."
    hue = _HUE_WORDS.get(circuit.hue_class, "")
    if not words:
        hue = hue.removeprefix("In hue, ")
        return hue[:1].upper() + hue[1:]
    return f"{words} {hue}".strip()


def circuit_view(
    circuit: Circuit,
    weights: Mapping[str, NDArray[Any]],
    check: CausalCheck | None,
    ends: Ends,
    anchor: str,
) -> dict[str, Any]:
    """Work out everything that the card of a circuit shows.

    Parameters
    ----------
    circuit
        The circuit.
    weights
        Its kernels, as `equiscope.circuits.tied.Tied` describes them.
    check
        What interventions did, if any.
    ends
        Families and units.
    anchor
        Of the card.

    Returns
    -------
    dict
        What ``assets/circuits.html.jinja`` shows.
    """
    sources = ends.members(circuit.source, circuit.source_layer, circuit.n_source)
    targets = ends.members(circuit.target, circuit.target_layer, circuit.n_target)
    return {
        "id": circuit.id,
        "anchor": anchor,
        "source": circuit.source,
        "target": circuit.target,
        "transformation": circuit.transformation,
        "class": class_text(circuit),
        "is_small": circuit.is_small,
        "sentence": _sentence(circuit),
        "numbers": _numbers(circuit),
        "check": _check(check),
        "text": " ".join(
            (circuit.source, circuit.target, circuit.source_layer, circuit.target_layer, circuit.transformation,
             circuit.circuit_class)
        ).lower(),
        **_pictures(circuit, weights, sources, targets, ends),
    }  # fmt: skip


def _numbers(circuit: Circuit) -> list[dict[str, Any]]:
    def line(term: str, value: str, beside: str | None = None) -> dict[str, Any]:
        return {"term": term, "value": value, "beside": beside, "is_strong": term in ("R²", "q")}

    lines = [
        line("R²", number(circuit.r2), interval_text(circuit.r2, circuit.r2_low, circuit.r2_high)),
        line(
            "By chance", f"95 % below {number(circuit.r2_null_95)}, 99 % below {number(circuit.r2_null_99)}"
        ),
        line("q", q_text(circuit.q_value)),
        line(
            "Energy",
            percent_text(circuit.energy_share),
            "of all weight energy from this layer into the target",
        ),
        line(
            "Strength", f"{number(circuit.strength, 1)} ×", "the root mean square weight between the layers"
        ),
        line("Members", f"{circuit.n_source} to {circuit.n_target}"),
    ]
    if circuit.is_small:
        lines.append(line("Few members", "fewer than five that turn: chance alone reaches far"))
    lines += [
        line("Instead", f"R² {number(r2)}", f"as {_arrow(name)}")
        for name, r2 in circuit.alternatives
        if name != circuit.rotation_class
    ]
    return lines


def _check(check: CausalCheck | None) -> dict[str, Any] | None:
    if check is None:
        return None
    rows = [
        ("replaced by the template", check.template, check.template_low, check.template_high),
        ("by the template at a wrong pose", check.wrong_pose, check.wrong_pose_low, check.wrong_pose_high),
        ("set to zero", check.zeroed, check.zeroed_low, check.zeroed_high),
    ]
    return {
        "n": counted(check.n_stimuli, "stimulus").replace("stimuluss", "stimuli"),
        "rows": [
            {
                "name": name,
                "value": number(value, 3),
                "interval": interval_text(value, low, high),
                "share": f"{100 * min(max(measured(value) or 0.0, 0.0), 1.0):.1f}"
                if measured(value) is not None
                else None,
            }
            for name, value, low, high in rows
        ],
    }


# Pictures -----------------------------------------------------------------------------------------------------------


def _label(unit: EndUnit) -> dict[str, Any]:
    return {
        "name": unit.text,
        "short": unit.pose or unit.name.rpartition(" ")[2],
        "picture": unit.picture,
        "is_tick": False,
    }


def _slot_labels(slots_deg: list[float], what: str) -> list[dict[str, Any]]:
    # A label at every other of sixteen slots leaves room to read them.
    return [
        {
            "name": f"{what} {slot:g}°",
            "short": f"{slot:g}°" if not i % max(1, len(slots_deg) // 8) else "",
            "picture": None,
            "is_tick": True,
        }
        for i, slot in enumerate(slots_deg)
    ]


def _pictures(
    circuit: Circuit,
    weights: Mapping[str, NDArray[Any]],
    sources: list[EndUnit],
    targets: list[EndUnit],
    ends: Ends,
) -> dict[str, Any]:
    raw = weights["raw"].astype(np.float64)
    reordered, template = (weights[name].astype(np.float64) for name in ("reordered", "template"))
    rows, columns = weights["rows"].tolist(), weights["columns"].tolist()
    slots_deg = weights["slots"].tolist()
    # Where only the source turns, it is the source's members that rows of `reordered` stand for. On the page rows
    # are always the target's, so that both pictures read alike.
    turns = [
        ends.turns(*end)
        for end in ((circuit.source, circuit.source_layer), (circuit.target, circuit.target_layer))
    ]
    is_transposed = turns == [True, False]
    row_units, column_units = (sources, targets) if is_transposed else (targets, sources)
    in_rows = [_label(row_units[i]) for i in rows]
    if slots_deg:
        in_columns = _slot_labels(slots_deg, "relative pose" if all(turns) else "relative hue")
    else:
        in_columns = [_label(column_units[i]) for i in columns]
    templates = template[None]
    if is_transposed:
        reordered, templates = reordered.swapaxes(0, 1), templates.swapaxes(0, 1)
        in_rows, in_columns = in_columns, in_rows
    # One scale for both: the same red is the same weight.
    scale = kernel_scale(raw)
    raw, reordered, templates = _without_margin([raw, reordered, templates], scale)
    both = draw_kernels(raw, scale), draw_kernels(reordered, scale)
    # Hue moves no kernel; all else turns them.
    what = "hue" if circuit.transformation == "hue" else "pose"
    relative = f"relative {what}" if slots_deg else what
    order = f"In order of {relative}" if what == "hue" else f"Turned back to pose 0, in order of {relative}"
    head = f"{circuit.source} to {circuit.target}"
    raw_view = _board(
        both[0], [_label(unit) for unit in targets], [_label(unit) for unit in sources],
        f"Weights of {head}: {counted(len(raw), 'row')} of targets, {counted(raw.shape[1], 'column')} of sources, "
        "red positive, blue negative",
    )  # fmt: skip
    reordered_view = _board(
        both[1], in_rows, in_columns,
        f"The same weights, {order[:1].lower()}{order[1:]}: {counted(len(reordered), 'row')}, "
        f"{counted(reordered.shape[1], 'column')}",
    )  # fmt: skip
    drawn = draw_kernels(templates, scale)
    reordered_view["template"] = {
        "address": drawn.address,
        "alt": f"The template of {head}, fitted to all members",
        "rows": drawn.n_rows,
        "columns": drawn.n_columns,
        "is_left": is_transposed,
    }
    pitch = max(both[0].pitch_x, both[0].pitch_y)
    widest = max(raw.shape[1], reordered.shape[1] + is_transposed)
    total = raw.shape[1] + reordered.shape[1] + is_transposed
    label_px = max(
        _PICTURE_PX * any(label["picture"] for label in view["row_labels"])
        + _CHARACTER_PX * max(len(label["short"]) for label in view["row_labels"]) + 14
        for view in (raw_view, reordered_view)
    )  # fmt: skip
    label_px = max(label_px, 64.0)
    return {
        "raw": raw_view,
        "reordered": reordered_view,
        "scale": weight_text(scale),
        "is_stacked": total > _MOST_COLUMNS,
        "cell_px": pitch * max(1, round((_CELL_PX if total > _FEW else _FEW_CELL_PX) / pitch)),
        "ratio": f"{both[0].pitch_y / both[0].pitch_x:.4g}",
        "label_px": f"{label_px:.0f}",
        "total": total,
        "widest": widest,
        "most_rows": max(len(raw), len(reordered) + 1),
        "links": _links(rows, columns, slots_deg, row_units, column_units, is_transposed, all(turns)),
        "caption": order,
    }


def _without_margin(pictures: list[NDArray[Any]], scale: float) -> list[NDArray[Any]]:
    """Leave out rows and columns round all kernels that hold next to nothing, as many on either side."""
    for axis in (2, 3):
        while pictures[0].shape[axis] > 2:
            edges = [np.take(picture, [0, -1], axis) for picture in pictures]
            if max(np.abs(np.nan_to_num(edge)).max(initial=0.0) for edge in edges) > _NOTHING * scale:
                break
            pictures = [np.take(p, range(1, p.shape[axis] - 1), axis) for p in pictures]
    return pictures


def _board(
    drawn: KernelGrid, row_labels: list[dict[str, Any]], column_labels: list[dict[str, Any]], alt: str
) -> dict[str, Any]:
    return {
        "address": drawn.address,
        "alt": alt,
        "rows": drawn.n_rows,
        "columns": drawn.n_columns,
        "row_labels": row_labels,
        "column_labels": column_labels,
        "template": None,
    }


def _links(
    rows: list[int],
    columns: list[int],
    slots_deg: list[float],
    row_units: list[EndUnit],
    column_units: list[EndUnit],
    is_transposed: bool,
    is_by_angle: bool,
) -> str:
    """Say for each cell of the raw picture, row by row, which cell of the reordered one it went to."""
    place = {unit: i for i, unit in enumerate(rows)}
    column_place = {unit: i for i, unit in enumerate(columns)}
    step_deg = 360.0 / max(len(slots_deg), 1)

    def pose(unit: EndUnit) -> float:
        value = unit.angle_deg if is_by_angle else unit.hue_deg
        return math.nan if value is None else value

    found: dict[tuple[int, int], str] = {}
    for i in range(len(row_units)):
        for j in range(len(column_units)):
            if slots_deg:
                relative = pose(column_units[j]) - pose(row_units[i])
                slot = round(relative / step_deg) % len(slots_deg) if math.isfinite(relative) else None
            else:
                slot = column_place.get(j)
            if slot is None or i not in place:
                continue
            cell = (place[i], slot)
            raw = (i, j)
            found[raw[::-1] if is_transposed else raw] = "{}.{}".format(
                *(cell[::-1] if is_transposed else cell)
            )
    n_targets, n_sources = (
        (len(column_units), len(row_units)) if is_transposed else (len(row_units), len(column_units))
    )
    return " ".join(found.get((i, j), "-") for i in range(n_targets) for j in range(n_sources))
