"""One stimulus of a family, transformed step by step, and what every member answered to exactly that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import Examples
from equiscope.measurement.orbits import read_circle
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.context import SiteContext
from equiscope.reports.poses import Shown, pose_of
from equiscope.reports.schema import FamilyEntry, MemberEntry, TurnedEntry
from equiscope.reports.svg import Drawing
from equiscope.reports.tuning_drawings import draw_strip
from equiscope.reports.wording import measured, octaves_text
from equiscope.transformations import find
from equiscope.transformations.spaces import HandedCircle, Line, Pair, Torus

__all__ = ["draw_turned", "turned_responses", "turned_sentence"]

Floats = NDArray[np.float64]


def turned_responses(
    responses: Responses[Any],
    examples: Mapping[str, Examples],
    geometries: Mapping[str, LayerGeometry],
    columns: Mapping[str, int],
    family: FamilyEntry,
    turned: TurnedEntry,
) -> list[list[float | None]] | None:
    """Read what the members of a family answered to the stimulus that is shown transformed.

    Parameters
    ----------
    responses
        Of the family's transformation: of its layer, or of several layers side by side.
    examples, geometries
        Strongest stimuli and geometry of each layer.
    columns
        Where each layer's units begin in the responses.
    family
        The family.
    turned
        The stimulus and the values of the axes at which it is shown.

    Returns
    -------
    list or None
        For each member in the family's order, for each tile: the response after the ReLU as a share of the unit's
        largest to any image. None where the stimulus is not among those that were shown.

    Notes
    -----
    Tiles stand at whole steps of the family's pose, orbits were measured at whole steps from another angle: responses
    are read between the measured ones by a Fourier series, between sizes linearly.
    """
    own = next(
        m for m in family["members"] if (m["layer"], m["channel"]) == (turned["layer"], turned["channel"])
    )
    row = _row_of(responses.bank, examples[own["layer"]], geometries[own["layer"]], own["channel"])
    if row is None:
        return None
    picked = [columns[m["layer"]] + m["channel"] for m in family["members"]]
    values = np.asarray(responses.read(row, row + 1)[0][:, picked], dtype=np.float64)
    if not np.isfinite(values).all():
        return None
    shown = np.clip(_read(values, responses, row, own, turned["axes"]), 0.0, None)
    largest = np.array([float(examples[m["layer"]].maximum[m["channel"]]) for m in family["members"]])
    shares = shown.reshape(-1, len(picked)) / np.where(largest > 0, largest, np.nan)
    return [[round(float(v), 3) if np.isfinite(v) else None for v in member] for member in shares.T]


def _row_of(bank: Bank, examples: Examples, geometry: LayerGeometry, channel: int) -> int | None:
    """Find the unit's strongest held-out stimulus among those that were shown."""
    image, position = examples.image[1, channel, :1], examples.position[1, channel, :1]
    places: NDArray[Any] = bank.position
    place = position[0]
    if bank.centre_px is not None:
        # Banks of several layers tell stimuli by where in the image they are centred.
        zero = np.zeros(1, np.int64)
        places, place = (
            bank.centre_px,
            centres_px(Bank(geometry.layer, zero, image, position, zero), geometry)[0],
        )
    # Halves share no image, so that a held-out image is held out in the bank as well.
    is_it = (bank.image == image[0]) & (places == place).all(1)
    return int(is_it.argmax()) if is_it.any() else None


def _read(
    values: Floats, responses: Responses[Any], row: int, own: MemberEntry, axes: Mapping[str, Sequence[float]]
) -> Floats:
    """Read an orbit, shape (element, unit), at the poses of the tiles: shape (*axes, unit)."""
    group = responses.group
    starts = [float(start[row]) for start in responses.bank.starts_deg(group)]
    space = find(group.name).space
    own_pose = pose_of(own, space.axes)
    match space:
        case Line(axis):
            wanted = np.asarray(axes[axis.name]) - own_pose[axis.name]
            return np.stack([np.interp(wanted, group.values, curve) for curve in values.T], axis=1)
        case Pair(axis):
            return np.asarray(values[::-1] if own_pose[axis.name] else values)
        case HandedCircle(axis, hand):
            # Element k turns by k, and element k + N mirrors what was turned.
            sheets = values.reshape(2, group.n_angles, -1)
            parts = []
            for is_on in axes[hand.name]:
                is_flipped = bool(is_on) != bool(own_pose[hand.name])
                sign = -1.0 if is_flipped else 1.0
                angles = [sign * angle - own_pose[axis.name] for angle in axes[axis.name]]
                parts.append(read_circle(sheets[int(is_flipped)], 0, starts[0], angles))
            return np.stack(parts)
        case Torus(axis, other):
            sheet = values.reshape(group.n_hues, group.n_angles, -1)
            slow = [value - own_pose[other.name] for value in axes[other.name]]
            fast = [value - own_pose[axis.name] for value in axes[axis.name]]
            return read_circle(read_circle(sheet, 0, starts[0], slow), 1, starts[1], fast)
        case _:
            (only,) = space.axes
            wanted_deg = [value - own_pose[only.name] for value in axes[only.name]]
            return read_circle(values, 0, starts[0], wanted_deg)


# What is shown of it ------------------------------------------------------------------------------------------------


def draw_turned(context: SiteContext, family: FamilyEntry, shown: Sequence[Shown]) -> list[Drawing]:
    """Draw the stimulus under each element over the members' responses.

    Returns
    -------
    list
        Empty where it was not kept; two drawings for families that come in two hands, each of the members of one hand.
    """
    turned = family.get("turned")
    tiles = context.pictures.turned(family["id"])
    if turned is None or not tiles:
        return []
    names = list(turned["axes"])
    places = [dict(zip(names, values, strict=True)) for values in product(*turned["axes"].values())]
    if len(places) != len(tiles):
        return []
    if "is_mirrored" not in names:
        hue_deg = measured(_member_of(family, turned)["hue_deg"]) or 0.0
        if len(names) > 1:
            # Of two axes the plane's is shown, at the hue that is nearest to the stimulus' own.
            hue_deg = min(
                turned["axes"]["hue_deg"], key=lambda value: abs((value - hue_deg + 180.0) % 360.0 - 180.0)
            )
        keep = [i for i, place in enumerate(places) if len(names) == 1 or place["hue_deg"] == hue_deg]
        return [_strip(family, shown, tiles, places, keep, names[-1])]
    drawings = []
    for is_mirrored in (False, True):
        some = [member for member in shown if member.entry["is_mirrored"] == is_mirrored]
        keep = [i for i, place in enumerate(places) if bool(place["is_mirrored"]) == is_mirrored]
        if some:
            drawings.append(_strip(family, some, tiles, places, keep, names[-1]))
    return drawings


def _strip(
    family: FamilyEntry,
    shown: Sequence[Shown],
    tiles: Sequence[Any],
    places: Sequence[Mapping[str, float]],
    keep: Sequence[int],
    axis: str,
) -> Drawing:
    turned = family.get("turned")
    responses = turned.get("responses") if turned is not None else None
    picked: list[list[float | None] | None] = [
        None if responses is None else [responses[i][k] for k in keep] for i in range(family["size"])
    ]
    words = [_word(family, axis, places[i][axis]) for i in keep]
    return draw_strip(shown, [tiles[i] for i in keep], words, picked)


def _member_of(family: FamilyEntry, turned: TurnedEntry) -> MemberEntry:
    return next(
        m for m in family["members"] if (m["layer"], m["channel"]) == (turned["layer"], turned["channel"])
    )


def _word(family: FamilyEntry, axis: str, value: float) -> str:
    if axis == "octaves":
        return octaves_text(value)
    if axis == "element":
        changed = "mirrored" if family["transformation"] == "reflection" else "inverted"
        return changed if value else "as it is"
    return f"{value:g}°"


_STEPS = {
    "rotation": "turned",
    "hue": "with its hue turned",
    "dihedral": "turned, as it is and mirrored; members stand below the hand that is theirs",
    "hue-rotation": "turned, at its own hue",
    "scale": "at growing size, in octaves",
    "reflection": "as it is and mirrored",
    "contrast": "as it is and inverted",
}


def turned_sentence(context: SiteContext, family: FamilyEntry) -> str:
    """Say what the drawing shows, or why there is none."""
    turned = family.get("turned")
    if turned is None:
        if family["transformation"] == "rotation-scale":
            return ""
        return "This run kept no stimulus of the family under each element: surveys of later versions do."
    if not context.pictures.turned(family["id"]):
        return "The pictures of the transformed stimulus are missing from site/sprites."
    step = _STEPS.get(family["transformation"], "transformed")
    said = (
        f"Above, one photograph {step}: the held-out stimulus that excites {turned['layer']}:{turned['channel']} most. "
        "It took no part in finding the family."
    )
    if turned.get("responses") is None:
        return f"{said} What the members answered to it was not kept."
    return (
        f"{said} Below, what each member answered to exactly these images, as a share of its largest response to any. "
        "If the family is one, each responds where the picture shows the feature at its own pose."
    )
