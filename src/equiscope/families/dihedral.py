"""Families under rotations and reflections together: which features are handed, and whose mirror images are units too.

Every unit u is joined by its mirror image, the unit that answers to a picture as u answers to the mirrored picture. A
dihedral family is then a rotation family among units and mirror images: of a handed feature, such as a spiral, it holds
left-handed units and the mirror images of right-handed ones; of a feature with a mirror axis, such as a curve, it holds
every unit beside its own mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import numpy as np
from numpy.typing import NDArray

from equiscope.families.circles import Verified, search_circle, spacing
from equiscope.families.family import Family, LayerFamilies, Member, classify_units, summarise_null
from equiscope.families.synchronisation import GRID_DEG, INVARIANCE_CUT, MIN_SCORE
from equiscope.measurement.examples import NO_IMAGE, Examples
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import CyclicGroup, DihedralGroup

__all__ = ["find_dihedral_families", "joint_dihedral_tuning", "with_mirror_images"]

Floats = NDArray[np.float64]
# A family that holds at least this share of its units beside their own mirror images has a mirror axis. Of planted
# curves every one is, of planted spirals none.
_MIRROR_SHARE = 0.5
_MIN_SIZE = 3


def with_mirror_images(responses: Responses[DihedralGroup]) -> Responses[CyclicGroup]:
    """View responses under rotations and reflections as responses of twice as many units under rotations.

    Unit ``u + n_units`` is the mirror image of u: it answers to a picture as u answers to the mirrored one.
    """
    n_angles, n_units = responses.group.n_angles, responses.n_units
    values = np.asarray(responses.array[:], dtype=np.float32).reshape(-1, 2, n_angles, n_units)
    doubled = np.ascontiguousarray(values.transpose(0, 2, 1, 3)).reshape(-1, n_angles, 2 * n_units)
    return Responses(responses.bank, CyclicGroup(n_angles), doubled)


def find_dihedral_families(
    responses: Responses[DihedralGroup],
    examples: Examples,
    *,
    seed: int = 0,
    false_discovery_rate: float = 0.05,
    min_score: float = MIN_SCORE,
    n_null: int = 20,
    on_step: Callable[[int], None] | None = None,
) -> LayerFamilies:
    """Find, verify and accept the dihedral families of one layer.

    Every family is found twice, as it is and mirrored, so half as many null draws show the same rate, at half the cost.

    Parameters
    ----------
    responses
        Responses of all units to the bank turned, and turned and mirrored, both halves.
    examples, seed, false_discovery_rate, min_score, n_null, on_step
        As for ``circles.find_families``.

    Returns
    -------
    LayerFamilies
        Handed families with members of both hands, and families with a mirror axis. A handed family without a member
        of the other hand is a rotation family and stands there only.
    """
    layer = responses.bank.layer
    doubled = with_mirror_images(responses)
    found = search_circle(
        doubled,
        np.tile(examples.is_inactive, 2),
        seed=seed,
        false_discovery_rate=false_discovery_rate,
        min_score=min_score,
        n_null=-(-n_null // 2),
        on_step=on_step,
    )
    families: list[Family] = []
    taken: set[int] = set()
    n_folded = 0
    for verified in found.accepted:
        members, has_axis = _fold(verified, examples.n_units, layer)
        channels = {member.channel for member in members}
        # Each family is found twice, as it is and mirrored.
        if channels & taken or len(channels) < _MIN_SIZE:
            n_folded += 1
            continue
        if not has_axis and len({member.is_mirrored for member in members}) < 2:
            n_folded += 1
            continue
        taken |= channels
        families.append(_as_family(layer, len(families) + 1, verified, members, has_axis))
    own = found.verifying.autocorrelation(GRID_DEG)[:, : examples.n_units].min(0)
    units = np.arange(examples.n_units)
    mirrored = found.verifying.curves(units, units + examples.n_units, GRID_DEG).min(0)
    return LayerFamilies(
        layer=layer,
        transformation="dihedral",
        families=tuple(families),
        symmetries=classify_units(
            "dihedral", examples.is_inactive, np.minimum(own, mirrored), INVARIANCE_CUT, families
        ),
        null=summarise_null(found.null_scores, min((f.score for f in families), default=np.inf)),
        n_refused=found.n_refused,
    )


def _fold(verified: Verified, n_units: int, layer: str) -> tuple[list[Member], bool]:
    """Turn units and mirror images into members with a pose and a hand; whether the feature has a mirror axis."""
    candidate = verified.candidate
    rows = list(
        zip(
            candidate.channels.tolist(),
            candidate.poses_deg.tolist(),
            verified.member_scores.tolist(),
            verified.member_low.tolist(),
            verified.member_high.tolist(),
            strict=True,
        )
    )
    plain = {channel for channel in candidate.channels.tolist() if channel < n_units}
    images = {channel - n_units for channel in candidate.channels.tolist() if channel >= n_units}
    has_axis = len(plain & images) >= _MIRROR_SHARE * len(plain | images)
    members: dict[int, Member] = {}
    for channel, pose, score, low, high in rows:
        is_image = channel >= n_units
        unit = channel - n_units if is_image else channel
        # The mirror image of the unit is the base turned by the pose; the unit is that, mirrored: m r = r⁻¹ m.
        angle = -pose if is_image else pose
        if has_axis and is_image:
            # Of a feature with a mirror axis a unit and its image are the same up to a turn: the unit's pose is enough.
            continue
        if unit not in members or score > members[unit].score:
            members[unit] = Member(layer, unit, angle, score, low, high, is_mirrored=is_image)
    ordered = [members[unit] for unit in sorted(members)]
    return _put_first_at_zero(ordered, candidate.period_deg), has_axis


def _put_first_at_zero(members: list[Member], period_deg: float) -> list[Member]:
    """Measure poses from the first member: (θ, s) times the inverse of its pose from the right."""
    if not members:
        return members
    first = members[0]
    turned = []
    for member in members:
        # Base' = g_first · base, so g = g_member · g_first⁻¹ with (θ, s)(θ', s')⁻¹ = (θ ∓ θ', s + s').
        same_hand = member.is_mirrored == first.is_mirrored
        angle = member.pose_deg - first.pose_deg if same_hand else member.pose_deg + first.pose_deg
        turned.append(
            Member(
                member.layer,
                member.channel,
                angle % period_deg % period_deg,
                member.score,
                member.score_low,
                member.score_high,
                is_mirrored=not same_hand,
            )
        )
    return turned


def _as_family(layer: str, number: int, verified: Verified, members: list[Member], has_axis: bool) -> Family:
    order = verified.candidate.stabiliser_order
    turns = [f"{360 / order * k:g}°" for k in range(order)]
    poses = np.array([member.pose_deg for member in members])
    channels = np.array([member.channel for member in members])
    deviation, holes, duplicates = (nan, (), ())
    if has_axis:
        deviation, holes, duplicates = spacing(channels, poses, verified.candidate.period_deg)  # type: ignore[assignment]
    return Family(
        id=f"{layer}-dihedral-{number}",
        layer=layer,
        transformation="dihedral",
        score=verified.score,
        score_low=verified.score_low,
        score_high=verified.score_high,
        disagreement_deg=verified.disagreement_deg,
        phase_coherence=verified.phase_coherence,
        q_value=verified.q_value,
        stabiliser_order=order,
        stabiliser="{" + ", ".join(turns + (["mirror"] if has_axis else [])) + "}",
        gap_deviation_deg=deviation,
        holes_deg=holes,
        duplicates=duplicates,
        members=tuple(members),
    )


def joint_dihedral_tuning(responses: Responses[DihedralGroup], examples: Examples, family: Family) -> Floats:
    """How every member responds as the members' own held-out stimuli are mirrored and turned.

    Returns
    -------
    ndarray
        Shape (member, mirrored, angle), in [0, 1] of the member's own maximum. Each stimulus is first brought to the
        pose and hand of the first member, so a member (θ, s) peaks at angle θ of sheet s if the family is one.
    """
    n_angles = responses.group.n_angles
    bank = responses.bank
    first, last = responses.of_half(1)
    starts = bank.start_deg(responses.group.rotations)
    frequency = np.fft.rfftfreq(n_angles, 1 / n_angles)
    keys = list(zip(bank.image[first:last].tolist(), *bank.position[first:last].T.tolist(), strict=True))
    total = np.zeros((2, n_angles, family.size))
    n_curves = 0
    for member in family.members:
        image, position = examples.image[1, member.channel], examples.position[1, member.channel]
        own = {(int(i), int(y), int(x)) for i, (y, x) in zip(image, position, strict=True) if i != NO_IMAGE}
        for row in (first + offset for offset, key in enumerate(keys) if key in own):
            sheets = responses.read(row, row + 1)[0][:, family.channels].reshape(2, n_angles, -1)
            spectrum = np.fft.rfft(sheets, axis=1)
            # Sheet s of element k shows m^s r(k + start) x, where x shows g_member base = r(pose) m^hand base.
            for sheet in (0, 1):
                # m^s r(a + pose) m^hand: on the sheet s + hand at the angle a + pose, its sign turned by each mirror.
                shown = sheet ^ int(member.is_mirrored)
                offset = np.radians(starts[row] + member.pose_deg) * frequency[:, None]
                if sheet == 0:
                    curve = np.fft.irfft(spectrum[0] * np.exp(-1j * offset), n=n_angles, axis=0)
                else:
                    # r(b) m = m r(-b): the angle in the convention (θ, s) is minus that of the turn before mirroring.
                    curve = np.fft.irfft(np.conj(spectrum[1] * np.exp(-1j * offset)), n=n_angles, axis=0)
                total[shown] += curve
            n_curves += 1
    if n_curves == 0:
        return np.full((family.size, 2, n_angles), nan)
    mean = np.clip(np.moveaxis(total / n_curves, 2, 0), 0, None)
    peak = mean.max((1, 2), keepdims=True)
    return np.asarray(np.where(peak > 0, mean / np.where(peak > 0, peak, 1), nan))
