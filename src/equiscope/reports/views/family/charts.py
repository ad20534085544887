"""The charts of a family."""

from __future__ import annotations

from equiscope.foundations.errors import unknown_name
from equiscope.reports.drawing.poses import members_in_order
from equiscope.reports.drawing.svg import Drawing, below
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.family.pose_drawings import draw_poses, poses_kind
from equiscope.reports.views.family.tuning_drawings import draw_joint_tuning, draw_tuning
from equiscope.reports.views.family.turned import draw_turned
from equiscope.reports.views.verification.drawings import synthetic_drawings
from equiscope.reports.views.view import Charts

__all__ = ["family_charts"]


def family_charts(context: SiteContext, name: str) -> Charts:
    """Give the charts of a family, by its id.

    Raises
    ------
    EquiscopeError
        If there is no such family.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> list(family_charts(SiteContext(document, Pictures(document)), "conv2d0-rotation-1"))
    ['dial', 'strip', 'tuning', 'synthetic']
    """
    if name not in context.families:
        raise unknown_name("family", name, context.families)
    family = context.families[name]
    shown = members_in_order(family, list(context.layers))
    strips = draw_turned(context, family, shown)
    drawn: dict[str, Drawing | None] = {
        poses_kind(family["transformation"]): draw_poses(family, shown, context.pictures),
        "strip": below(strips, 18.0, strips[0].label) if strips else None,
        "tuning": draw_tuning(family, shown),
        "joint": draw_joint_tuning(family, shown),
    }
    synthetic = synthetic_drawings(family, shown)
    if synthetic:
        drawn["synthetic"] = below(synthetic, 18.0, synthetic[0].label)
    return {key: (lambda own=own: own) for key, own in drawn.items() if own is not None}  # type: ignore[misc]
