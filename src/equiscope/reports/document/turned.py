"""What the members of a family answered to one stimulus, transformed step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.measurement.bank import Bank, centres_px
from equiscope.measurement.examples import Examples
from equiscope.measurement.responses import Responses
from equiscope.models.geometry import LayerGeometry
from equiscope.reports.document.schema import FamilyEntry, MemberEntry, TurnedEntry
from equiscope.reports.document.wording import measured
from equiscope.transformations.groups import DihedralGroup, Scales, TorusGroup

__all__ = ["read_cyclic", "turned_responses"]

Floats = NDArray[np.float64]


def read_cyclic(values: Floats, axis: int, start_deg: float, angles_deg: Sequence[float]) -> Floats:
    """Read a closed curve between its samples.

    Parameters
    ----------
    values
        Samples at equal steps round the circle along ``axis``.
    axis
        Which.
    start_deg
        Angle of the first sample.
    angles_deg
        Where to read.

    Returns
    -------
    ndarray
        With the angles along ``axis``; exact at the samples, a Fourier series between them.
    """
    n = values.shape[axis]
    spectrum = np.fft.rfft(np.moveaxis(values, axis, -1), axis=-1)
    order = np.arange(n // 2 + 1)
    weight = np.where((order == 0) | (2 * order == n), 1.0, 2.0) / n
    waves = np.exp(1j * np.radians(np.asarray(angles_deg, dtype=float)[:, None] - start_deg) * order)
    return np.moveaxis((spectrum[..., None, :] * (waves * weight)).real.sum(-1), -1, axis)


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
    group, bank = responses.group, responses.bank
    pose_deg, hue_deg = (measured(own[key]) or 0.0 for key in ("pose_deg", "hue_deg"))
    if isinstance(group, Scales):
        wanted = np.asarray(axes["octaves"]) - (measured(own["octaves"]) or 0.0)
        return np.stack([np.interp(wanted, group.octaves, curve) for curve in values.T], axis=1)
    if isinstance(group, DihedralGroup):
        start = float(bank.start_deg(group.rotations)[row])
        # Element k turns by k, and element k + N mirrors what was turned.
        sheets = values.reshape(2, group.n_angles, -1)
        parts = []
        for is_mirrored in axes["is_mirrored"]:
            is_flipped = bool(is_mirrored) != own["is_mirrored"]
            sign = -1.0 if is_flipped else 1.0
            angles = [sign * angle - pose_deg for angle in axes["angle_deg"]]
            parts.append(read_cyclic(sheets[int(is_flipped)], 0, start, angles))
        return np.stack(parts)
    if isinstance(group, TorusGroup):
        sheet = values.reshape(group.n_hues, group.n_angles, -1)
        by_hue = read_cyclic(
            sheet, 0, float(bank.start_hue_deg(group)[row]), [h - hue_deg for h in axes["hue_deg"]]
        )
        start = float(bank.start_deg(group.rotations)[row])
        return read_cyclic(by_hue, 1, start, [a - pose_deg for a in axes["angle_deg"]])
    if "element" in axes:
        return values[::-1] if own["is_mirrored"] or own["is_inverted"] else values
    name, pose = ("hue_deg", hue_deg) if "hue_deg" in axes else ("angle_deg", pose_deg)
    return read_cyclic(values, 0, float(bank.start_deg(group)[row]), [angle - pose for angle in axes[name]])
