"""The view of a unit: its strongest stimuli, its tuning, what feeds it and what it feeds, and its families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.circuits.neighbours import Neighbours, load_neighbours
from equiscope.foundations.records import leave_out_damaged
from equiscope.reports.document.poses import turns_of_family
from equiscope.reports.document.schema import FamilyEntry, UnitEntry
from equiscope.reports.document.wording import counted, number
from equiscope.reports.drawing.kernels import draw_kernels
from equiscope.reports.drawing.poses import pose_text
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.featurevis.evidence import FEATUREVIS
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.unit.charts import draw_unit_tuning
from equiscope.reports.views.view import Fragment, View
from equiscope.transformations import find

__all__ = ["VIEW", "render_units"]

# Layers whose kernels are shown in each direction, and members of a family.
_N_LAYERS = 2
_N_MEMBERS = 8
# Weights below this share of the largest are not seen.
_NOTHING = 0.03
_PATHS = {"expanded": "weights expanded along every path", "gradient": "mean gradients over photographs"}
_HALVES = (
    "From the half of the images that finds families",
    "From the half that verifies them",
)


def render_units(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render each unit of each layer, by layer and channel.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> pages = dict(render_units(SiteContext(document, Pictures(document))))
    >>> len(pages), list(pages)[:2], list(pages)[-1]
    (144, ['conv2d0-0', 'conv2d0-1'], 'conv2d1-95')
    """
    names = list(context.layers)
    for place, layer in enumerate(names):
        units = context.units[layer]
        channels = [unit["channel"] for unit in units]
        inputs = _nearest(context, [(source, layer) for source in reversed(names[:place])])
        outputs = _nearest(context, [(layer, target) for target in names[place + 1 :]])
        for i, unit in enumerate(units):
            around = [channels[k] if 0 <= k < len(channels) else None for k in (i - 1, i + 1)]
            yield f"{layer}-{unit['channel']}", _render(context, unit, around, inputs, outputs)


def _nearest(context: SiteContext, pairs: Sequence[tuple[str, str]]) -> list[Neighbours]:
    """Kernels of the nearest layers, those whose weights are exact first."""
    if context.folder is None:
        return []
    found: list[Neighbours] = []
    others: list[Neighbours] = []
    for source, target in pairs:
        own = leave_out_damaged(partial(load_neighbours, context.folder, source, target))
        if own is not None:
            (found if own.path == "expanded" else others).append(own)
        if len(found) == _N_LAYERS:
            break
    return (found + others)[:_N_LAYERS]


def _render(
    context: SiteContext,
    unit: UnitEntry,
    around: Sequence[int | None],
    inputs: Sequence[Neighbours],
    outputs: Sequence[Neighbours],
) -> Fragment:
    layer, channel = unit["layer"], unit["channel"]
    families = context.families_of.get((layer, channel), ())
    own_family = {family["id"]: family for family in families}
    axes = context.layers[layer].get("unit_axes", {})
    charts = []
    for name, entry in unit["tuning"].items():
        chart = draw_unit_tuning(name, axes[name], entry) if name in axes else None
        if chart is not None:
            charts.append((name, chart))
    optimised = context.found(FEATUREVIS)
    html = render_template(
        __name__,
        "unit.html.jinja",
        layer=layer,
        channel=channel,
        before=around[0],
        after=around[1],
        mean=number(unit["mean"]),
        sd=number(unit["sd"]),
        strips=_strips(context, layer, channel),
        optimised=None if optimised is None else optimised.unit(layer, channel),
        lines=[
            {
                "transformation": line["transformation"],
                "kind": line["kind"],
                "family": line["family"] if line["family"] in context.families else None,
                "pose": _pose(own_family.get(line["family"] or ""), layer, channel),
                "score": number(line["score"]),
                "invariance": number(line["invariance"]),
                "order": str(line["stabiliser_order"]) if line["stabiliser_order"] else "–",
            }
            for line in unit["symmetries"]
        ],
        charts=charts,
        inputs=[_kernels(context, own, channel, is_input=True) for own in inputs],
        outputs=[_kernels(context, own, channel, is_input=False) for own in outputs],
        has_circuits=context.found(CIRCUITS) is not None,
        families=[_family(context, family, layer, channel) for family in families],
    )
    return Fragment(html)


def _strips(context: SiteContext, layer: str, channel: int) -> list[dict[str, Any]]:
    pictures = context.pictures
    strips = []
    for half, caption in enumerate(_HALVES):
        n = pictures.n_stimuli(layer, channel, half)
        if n:
            tiles = [pictures.tile(layer, channel, rank, half) for rank in range(n)]
            strips.append({"caption": caption, "tiles": [tile for tile in tiles if tile is not None]})
    if not strips and pictures.n_stimuli(layer, channel):
        tiles = [pictures.tile(layer, channel, rank) for rank in range(pictures.n_stimuli(layer, channel))]
        strips.append({"caption": "From all images", "tiles": [tile for tile in tiles if tile is not None]})
    return [strip for strip in strips if strip["tiles"]]


def _pose(family: FamilyEntry | None, layer: str, channel: int) -> str:
    if family is None:
        return ""
    member = next((m for m in family["members"] if (m["layer"], m["channel"]) == (layer, channel)), None)
    if member is None:
        return ""
    # Where more than one circle turns the stabiliser is no mere number of turns: poses are given in full.
    return pose_text(family, member, 360.0 / turns_of_family(family))


def _kernels(context: SiteContext, own: Neighbours, channel: int, *, is_input: bool) -> dict[str, Any]:
    layer = own.source if is_input else own.target
    channels = (own.inputs if is_input else own.outputs)[channel]
    kernels = (own.input_kernels if is_input else own.output_kernels)[channel]
    shares = (own.input_shares if is_input else own.output_shares)[channel]
    is_any = bool(np.isfinite(shares).any() and np.abs(kernels).max(initial=0.0) > 0)
    total = float(np.nansum(shares))
    return {
        "layer": layer,
        "path": _PATHS.get(own.path, own.path),
        "address": draw_kernels(_without_margin(kernels)[None]).address if is_any else None,
        "size": f"{kernels.shape[-1]} × {kernels.shape[-2]}",
        "together": f"{100 * total:.0f} %" if is_any else "–",
        "units": [
            {
                "channel": int(other),
                "tile": context.pictures.tile(layer, int(other)),
                "share": f"{100 * float(share):.0f} %",
                "sign": "excites" if float(kernel.sum()) >= 0 else "inhibits",
            }
            for other, share, kernel in zip(channels, shares, kernels, strict=True)
        ]
        if is_any
        else [],
    }


def _without_margin(kernels: NDArray[Any]) -> NDArray[Any]:
    """Leave out the rim round all kernels, shape (rank, y, x), that holds next to nothing."""
    largest = np.abs(kernels).max(initial=0.0)
    while min(kernels.shape[1:]) > 2:
        inner = kernels[:, 1:-1, 1:-1]
        rim = np.abs(kernels).copy()
        rim[:, 1:-1, 1:-1] = 0
        if rim.max() > _NOTHING * largest:
            break
        kernels = inner
    return kernels


def _family(context: SiteContext, family: FamilyEntry, layer: str, channel: int) -> dict[str, Any]:
    members = [(m["layer"], m["channel"]) for m in family["members"]]
    own = members.index((layer, channel))
    first = max(0, min(own - _N_MEMBERS // 2, len(members) - _N_MEMBERS))
    shown = members[first : first + _N_MEMBERS]
    return {
        "id": family["id"],
        "title": find(family["transformation"]).title(family["size"]),
        "pose": _pose(family, layer, channel),
        "score": number(family["score"]),
        "members": [(*member, context.pictures.tile(*member)) for member in shown],
        "rest": counted(len(members) - len(shown), "further member") if len(members) > len(shown) else "",
    }


VIEW = View("unit", __name__, render_units, evidence=(FEATUREVIS, CIRCUITS))
