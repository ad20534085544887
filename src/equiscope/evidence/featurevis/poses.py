"""One template at the poses of a family's members: turned, mirrored, recoloured, inverted, magnified, as they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from equiscope.families.family import Family, Member
from equiscope.transformations.pixels import (
    crop_size_px,
    hue_matrix,
    invert_contrast,
    rotate_patches,
    zoom_crop_px,
    zoom_patches,
)

__all__ = ["Pose", "canvas_px", "poses_of", "show_at_poses"]

# What lies beyond the end of a template.
_GREY = 0.5


@dataclass(frozen=True)
class Pose:
    """An element of a family's group: what to do to the template, 0 and false where nothing is to be done.

    Hue, contrast and size first or last make no difference; mirroring comes before turning.
    """

    angle_deg: float = 0.0
    hue_deg: float = 0.0
    octaves: float = 0.0
    is_mirrored: bool = False
    is_inverted: bool = False


def poses_of(family: Family) -> list[Pose]:
    """Give the members' poses, in their order; the largest member is at 0 octaves, so that no copy is magnified."""
    poses = [_pose_of(member) for member in family.members]
    largest = max(pose.octaves for pose in poses)
    return [replace(pose, octaves=pose.octaves - largest) for pose in poses]


def _pose_of(member: Member) -> Pose:
    angle_deg, hue_deg, octaves = (
        0.0 if math.isnan(value) else value for value in (member.pose_deg, member.hue_deg, member.octaves)
    )
    return Pose(angle_deg, hue_deg, octaves, member.is_mirrored, member.is_inverted)


def canvas_px(poses: Sequence[Pose], size_px: int) -> int:
    """Side of the template from which squares of ``size_px`` are cut at these poses, px, with a common middle."""
    return max(_crop_px(pose, size_px) for pose in poses)


def _crop_px(pose: Pose, size_px: int) -> int:
    needed = size_px
    if pose.angle_deg % 360.0:
        needed = _like(size_px, crop_size_px(size_px))
    if pose.octaves:
        needed = _like(size_px, zoom_crop_px(needed, pose.octaves))
    return needed


def _like(size_px: int, needed: int) -> int:
    """Round up to a side whose middle lies as that of ``size_px`` does: otherwise cutting would interpolate."""
    return needed + (needed - size_px) % 2


def show_at_poses(templates: Tensor, poses: Sequence[Pose], size_px: int) -> Tensor:
    """Transform templates and cut their middle.

    Parameters
    ----------
    templates
        Tensor, shape (template, 3, y, x), square, RGB in [0, 1].
    poses
        What to do.
    size_px
        Side of the squares, px, of the same parity as the templates'.

    Returns
    -------
    Tensor, shape (template, pose, 3, size_px, size_px)
        Differentiable. As in a survey, values are not clamped: turned colours and splines may leave [0, 1] slightly.
        Beyond the template's end there is mid-grey.
    """
    return torch.stack([_show_at(templates, pose, size_px) for pose in poses], dim=1)


def _show_at(templates: Tensor, pose: Pose, size_px: int) -> Tensor:
    """Show templates at one pose, shape (template, 3, size_px, size_px)."""
    needed = _crop_px(pose, size_px)
    missing = max(0, -(-(needed - templates.shape[-1]) // 2))
    shown = F.pad(templates, (missing,) * 4, value=_GREY) if missing else templates
    if pose.is_mirrored:
        shown = shown.flip(-1)
    is_turned = pose.angle_deg % 360.0 != 0
    if pose.octaves:
        cut_px = _crop_px(replace(pose, octaves=0.0), size_px)
        shown = zoom_patches(shown, _middles(shown), [pose.octaves], cut_px)[:, 0]
    if is_turned:
        shown = rotate_patches(shown, _middles(shown), [pose.angle_deg], size_px)[:, 0]
    else:
        first = (shown.shape[-1] - size_px) // 2
        shown = shown[..., first : first + size_px, first : first + size_px]
    if pose.hue_deg % 360.0:
        shown = torch.einsum("ij,njyx->niyx", hue_matrix(pose.hue_deg).to(shown), shown)
    return invert_contrast(shown) if pose.is_inverted else shown


def _middles(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    middle = torch.tensor([[(height - 1) / 2, (width - 1) / 2]], dtype=torch.float64)
    return middle.expand(len(images), 2)
