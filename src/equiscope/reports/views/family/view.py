"""The view of one family: its members at their poses, how they respond, and how far all of it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from equiscope.evidence.circuits import Circuit
from equiscope.families.asked import family_of
from equiscope.foundations.received import quoted
from equiscope.reports.document.schema import FamilyEntry
from equiscope.reports.document.wording import (
    explanation_remark,
    interval_text,
    measured,
    number,
    q_text,
)
from equiscope.reports.drawing.poses import Shown, members_in_order
from equiscope.reports.drawing.svg import write_for_site
from equiscope.reports.views.circuit.ends import Ends
from equiscope.reports.views.circuit.evidence import CIRCUITS
from equiscope.reports.views.circuit.weights import StoredWeights
from equiscope.reports.views.context import SiteContext
from equiscope.reports.views.family.assurance import assurances, figures_of
from equiscope.reports.views.family.certainty import pose_error_text
from equiscope.reports.views.family.charts import family_charts
from equiscope.reports.views.family.moved import shown_at_zero
from equiscope.reports.views.family.pose_drawings import draw_poses, poses_kind
from equiscope.reports.views.family.tuning_drawings import draw_joint_tuning, draw_tuning
from equiscope.reports.views.family.turned import draw_turned, turned_sentence
from equiscope.reports.views.family.verdict import verdict_of
from equiscope.reports.views.family.weights import what_weights_say
from equiscope.reports.views.featurevis.evidence import FEATUREVIS
from equiscope.reports.views.templates import render_template
from equiscope.reports.views.verification.drawings import synthetic_drawings
from equiscope.reports.views.verification.evidence import VERIFICATION
from equiscope.reports.views.verification.words import synthetic_rows
from equiscope.reports.views.view import Fragment, View
from equiscope.transformations import Turn, find
from equiscope.transformations.spaces import Cylinder

__all__ = ["VIEW", "render_families"]

# Stimuli shown beside each member.
_N_STIMULI = 8


def render_families(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the view of every family of a run, by its id.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> from equiscope.reports.document.pictures.sprites import Pictures
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> pages = dict(render_families(SiteContext(document, Pictures(document))))
    >>> pages["conv2d0-rotation-1"].data["id"], list(pages) == [family["id"] for family in document["families"]]
    ('conv2d0-rotation-1', True)
    """
    ends = Ends(context.document["families"], context.pictures)
    circuits = context.found(CIRCUITS)
    weights = None if circuits is None else StoredWeights(context.folder, circuits)
    of_family: dict[str, list[Circuit]] = {}
    for circuit in circuits.circuits if circuits is not None else ():
        if circuit.is_symmetric:
            for end in (circuit.source, circuit.target):
                of_family.setdefault(family_of(end), []).append(circuit)
    for name, family in context.families.items():
        yield name, _render_family(context, family, of_family.get(name, ()), weights, ends)


def _render_family(
    context: SiteContext,
    family: FamilyEntry,
    circuits: Sequence[Circuit],
    weights: StoredWeights | None,
    ends: Ends,
) -> Fragment:
    """Render the view of one family.

    Parameters
    ----------
    context
        The run.
    family
        The family.
    circuits
        The symmetric circuits that it is an end of.
    weights
        Their weights; None where circuits were not recovered.
    ends
        The families of the run.
    """
    shown = members_in_order(family, list(context.layers))
    kind = poses_kind(family["transformation"])
    tuning = draw_tuning(family, shown)
    joint = draw_joint_tuning(family, shown)
    optimised = context.found(FEATUREVIS)
    html = render_template(
        __name__,
        "family.html.jinja",
        at_zero=shown_at_zero(context, family, shown),
        family=family,
        layers=family["layers"],
        known_layers=context.layers,
        remark=explanation_remark(family),
        verdict=verdict_of(family),
        kind=kind,
        # Where a chart is too wide to stand beside the members it goes above them.
        is_wide=kind == "chart",
        poses=write_for_site(draw_poses(family, shown, context.pictures), kind),
        members=[_member(context, family, member) for member in shown],
        neighbours=_neighbours(context, family),
        optimised=None if optimised is None else optimised.family(family["id"], shown),
        turned=[write_for_site(own, "strip-chart") for own in draw_turned(context, family, shown)],
        turned_sentence=turned_sentence(context, family),
        tuning=None if tuning is None else write_for_site(tuning, "tuning"),
        joint=None if joint is None else write_for_site(joint, "joint"),
        figures=figures_of(family),
        assurances=assurances(context.document, family),
        alternatives=_alternatives(family),
        synthetic=synthetic_rows(family),
        synthetic_drawings=[write_for_site(own, "synthetic") for own in synthetic_drawings(family, shown)],
        joined=_joined(context, family),
        **_words_of(family, is_tuned=tuning is not None),
        weights=what_weights_say(family, circuits, weights, ends),
        has_circuits=context.found(CIRCUITS) is not None,
        folder=quoted(context.folder or "RUN"),
    )
    return Fragment(html, {"id": family["id"], "members": [member.unit for member in shown]})


def _member(context: SiteContext, family: FamilyEntry, member: Shown) -> dict[str, Any]:
    layer, channel = member.entry["layer"], member.entry["channel"]
    n = min(_N_STIMULI, context.pictures.n_stimuli(layer, channel))
    entry = member.entry
    turned = [axis.name for axis in find(family["transformation"]).axes if isinstance(axis, Turn)]
    known = [member.place[name] for name in turned[:1] if measured(entry["pose"].get(name)) is not None]
    return {
        "unit": member.unit,
        "view": f"{layer}-{channel}",
        "pose": member.pose,
        "pose_error": pose_error_text(family, entry),
        "hand_deg": f"{-known[0]:.1f}" if known else None,
        "is_changed": member.is_changed,
        "light": member.colours[0],
        "dark": member.colours[1],
        "score": number(entry["score"]),
        "interval": interval_text(entry["score"], entry["score_low"], entry["score_high"]),
        "tiles": [context.pictures.tile(layer, channel, rank) for rank in range(n)],
    }


def _neighbours(context: SiteContext, family: FamilyEntry) -> dict[str, str | None]:
    """Ids of the families before and after this one in its layer and transformation."""
    key = (family["layers"], family["transformation"])
    ids = [own["id"] for own in context.document["families"] if (own["layers"], own["transformation"]) == key]
    place = ids.index(family["id"])
    return {
        "before": ids[place - 1] if place else None,
        "after": ids[place + 1] if place + 1 < len(ids) else None,
    }


def _alternatives(family: FamilyEntry) -> list[dict[str, Any]]:
    rows = []
    for entry in family["alternatives"]:
        deficit = measured(entry["deficit"])
        interval = interval_text(deficit, entry["deficit_low"], entry["deficit_high"])
        rows.append(
            {
                "transformation": entry["transformation"],
                "score": number(entry["score"]),
                "deficit": "best" if deficit == 0 else number(deficit),
                "interval": None if deficit == 0 else interval,
                "is_chosen": entry["transformation"] == family["explained_by"],
            }
        )
    return rows


def _words_of(family: FamilyEntry, *, is_tuned: bool) -> dict[str, Any]:
    """Give what the view says of the family's transformation."""
    transformation = find(family["transformation"])
    turns = [axis for axis in transformation.axes if isinstance(axis, Turn)]
    is_joined = isinstance(transformation.space, Cylinder)
    return {
        "heading": transformation.title(family["size"]),
        "poses_caption": transformation.words.poses,
        "untuned": "" if is_tuned else transformation.words.untuned,
        "turns_plane": any(axis.drawn == "angle" for axis in turns),
        "joint_heading": _sentence(" and ".join(axis.feature_noun for axis in reversed(turns))) + " together",
        # Families that are not searched themselves are those of one transformation, joined by another's.
        "joined_heading": _sentence(" families that ".join(transformation.needs)) + " joins"
        if is_joined
        else "",
    }


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _joined(context: SiteContext, family: FamilyEntry) -> list[dict[str, Any]]:
    """Links between the families that a family of a turn and a step joins."""
    space = find(family["transformation"]).space
    if not isinstance(space, Cylinder):
        return []

    def units(entry: FamilyEntry) -> set[tuple[str, int]]:
        return {(m["layer"], m["channel"]) for m in entry["members"]}

    own = units(family)
    return [
        {
            "ends": [link["first"], link["second"]],
            "n_pairs": str(link["n_pairs"]),
            "offset": number(link["offset_deg"], 0, "°"),
            "octaves": space.step.number(link["octaves"]),
            "residual": number(link["residual_deg"], 1, "°"),
            "q": q_text(link["q_value"]),
        }
        for link in context.document["links"]
        if all(
            key in context.families and units(context.families[key]) <= own
            for key in (link["first"], link["second"])
        )
    ]


VIEW = View(
    "family",
    __name__,
    render_families,
    script="family.js",
    style="family.css",
    evidence=(VERIFICATION, CIRCUITS, FEATUREVIS),
    charts=family_charts,
)
