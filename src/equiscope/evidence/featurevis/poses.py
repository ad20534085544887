"""One template at the poses of a family's members: turned, mirrored, recoloured, inverted, magnified, as they say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from equiscope.families.family import Family
from equiscope.transformations import Pose, Step, Switch, act_on, axis_named, find
from equiscope.transformations.pixels import crop_size_px, rotate_patches, zoom_crop_px, zoom_patches
from equiscope.transformations.rotation import ANGLE
from equiscope.transformations.scale import OCTAVES

__all__ = ["Pose", "canvas_px", "poses_of", "show_at_poses"]

# What lies beyond the end of a template.
_GREY = 0.5


def poses_of(family: Family) -> list[Pose]:
    """Give the members' poses, in their order; the largest member is at 0 octaves, so that no copy is magnified.

    Examples
    --------
    The largest member is at 0 octaves.

    >>> from math import nan
    >>> from equiscope.families.family import Member
    >>> members = tuple(Member("conv1", i, Pose(octaves=size), 0.9, 0.8, 1.0) for i, size in enumerate((0.0, 1.0)))
    >>> family = Family("conv1-scale-1", ("conv1",), "scale", 0.9, 0.8, 1.0, 0.01, members)
    >>> [dict(pose) for pose in poses_of(family)]
    [{'octaves': -1.0}, {'octaves': 0.0}]
    """
    axes = find(family.transformation).axes
    largest = {
        axis.name: max(_measured(member.pose[axis.name]) for member in family.members)
        for axis in axes
        if isinstance(axis, Step) and axis.act is None
    }
    return [
        Pose({axis.name: _measured(member.pose[axis.name]) - largest.get(axis.name, 0) for axis in axes})
        for member in family.members
    ]


def _measured(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def canvas_px(poses: Sequence[Pose], size_px: int) -> int:
    """Side of the template from which squares of ``size_px`` are cut at these poses, px, with a common middle.

    Examples
    --------
    A square that is turned is cut from a larger one.

    >>> canvas_px([Pose()], 11), canvas_px([Pose(), Pose(angle_deg=30.0)], 11)
    (11, 27)
    """
    return max(_crop_px(pose, size_px) for pose in poses)


def _crop_px(pose: Pose, size_px: int) -> int:
    needed = size_px
    if pose.get(ANGLE.name, 0.0) % 360.0:
        needed = _like(size_px, crop_size_px(size_px))
    if octaves := pose.get(OCTAVES.name, 0.0):
        needed = _like(size_px, zoom_crop_px(needed, octaves))
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

    Examples
    --------
    >>> poses = [Pose(angle_deg=0.0), Pose(angle_deg=90.0)]
    >>> upright, turned = show_at_poses(torch.rand(1, 3, 21, 21), poses, 11)[0]
    >>> torch.equal(turned, torch.rot90(upright, 1, (1, 2)))
    True
    """
    return torch.stack([_show_at(templates, pose, size_px) for pose in poses], dim=1)


def _show_at(templates: Tensor, pose: Pose, size_px: int) -> Tensor:
    """Show templates at one pose, shape (template, 3, size_px, size_px)."""
    needed = _crop_px(pose, size_px)
    missing = max(0, -(-(needed - templates.shape[-1]) // 2))
    shown = F.pad(templates, (missing,) * 4, value=_GREY) if missing else templates
    axes = [axis_named(name) for name in pose]
    # What is mirrored is mirrored before it is turned; what is done to colours commutes with both.
    for axis in axes:
        if isinstance(axis, Switch) and pose[axis.name]:
            shown = act_on(axis, shown, 1.0)
    angle, octaves = pose.get(ANGLE.name, 0.0), pose.get(OCTAVES.name, 0.0)
    if octaves:
        cut_px = _crop_px(Pose({ANGLE.name: angle}), size_px)
        shown = zoom_patches(shown, _middles(shown), [octaves], cut_px)[:, 0]
    if angle % 360.0:
        shown = rotate_patches(shown, _middles(shown), [angle], size_px)[:, 0]
    else:
        first = (shown.shape[-1] - size_px) // 2
        shown = shown[..., first : first + size_px, first : first + size_px]
    for axis in axes:
        if not isinstance(axis, Switch) and axis not in (ANGLE, OCTAVES):
            shown = act_on(axis, shown, pose[axis.name])
    return shown


def _middles(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    middle = torch.tensor([[(height - 1) / 2, (width - 1) / 2]], dtype=torch.float64)
    return middle.expand(len(images), 2)
