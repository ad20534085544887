"""The view of one family: its members at their poses, how they respond, and how far all of it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from equiscope.evidence.circuits import Circuit
from equiscope.foundations.received import quoted
from equiscope.reports.assurance import assurances, figures_of
from equiscope.reports.circuit_drawings import arrange, draw_thumbnail
from equiscope.reports.circuit_ends import Ends, strength_of
from equiscope.reports.circuit_text import class_text, percent_text
from equiscope.reports.circuit_weights import StoredWeights
from equiscope.reports.context import SiteContext
from equiscope.reports.fragment import Fragment
from equiscope.reports.html import render_template
from equiscope.reports.pose_drawings import draw_poses, poses_kind
from equiscope.reports.poses import Shown, members_in_order
from equiscope.reports.schema import FamilyEntry
from equiscope.reports.svg import Drawing, write_for_site
from equiscope.reports.tuning_drawings import draw_joint_tuning, draw_synthetic, draw_tuning
from equiscope.reports.turned import draw_turned, turned_sentence
from equiscope.reports.wording import (
    counted,
    explanation_remark,
    interval_text,
    measured,
    number,
    octaves_text,
    q_text,
    title_text,
)

__all__ = ["render_families", "render_family"]

# Stimuli shown beside each member, and circuits in each direction.
_N_STIMULI = 8
_N_CIRCUITS = 6
_CAPTIONS = {
    "rotation": "Each member stands at the angle by which its feature is turned. Curves are responses as the family’s "
    "stimuli turn, the rim holds the marks of the poses.",
    "hue": "The angle is a turn of hue, from red over green to blue; the rim shows what it makes of red.",
    "dihedral": "Each member stands at the angle by which its feature is turned; dashed curves are of mirrored "
    "members, each shown in its own hand.",
    "hue-rotation": "Each member stands at the orientation and the hue of its feature, a dot where its picture had to "
    "move aside.",
    "scale": "Each member stands at the size of its feature, above the responses by size.",
    "rotation-scale": "Each member stands at the orientation and the size of its feature.",
    "reflection": "How strongly each member responds to the feature as it is and mirrored, of its own maximum.",
    "contrast": "How strongly each member responds to the feature as it is and inverted, of its own maximum.",
}
_UNTUNED = {
    "rotation-scale": "How members respond as stimuli turn and grow together was not measured; the rotation families "
    "that are joined have their own checks.",
    "reflection": "",
    "contrast": "",
}
_AXES = {"rotation": "angle", "hue": "hue", "scale": "size", "pair": "pair"}


def render_families(context: SiteContext) -> Iterator[tuple[str, Fragment]]:
    """Render the view of every family of a run, by its id."""
    ends = Ends(context.document["families"], context.pictures)
    weights = None if context.circuits is None else StoredWeights(context.folder, context.circuits)
    of_family: dict[str, list[Circuit]] = {}
    for circuit in context.circuits.circuits if context.circuits is not None else ():
        if circuit.is_symmetric:
            for end in (circuit.source, circuit.target):
                of_family.setdefault(end, []).append(circuit)
    for name, family in context.families.items():
        yield name, render_family(context, family, of_family.get(name, ()), weights, ends)


def render_family(
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
    transformation = family["transformation"]
    kind = poses_kind(transformation)
    tuning = draw_tuning(family, shown)
    joint = draw_joint_tuning(family, shown)
    turned = draw_turned(context, family, shown)
    html = render_template(
        "site/family.html.jinja",
        family=family,
        heading=title_text(family),
        layers=family["layer"].split("+") if family["layer"] not in context.layers else [family["layer"]],
        known_layers=context.layers,
        remark=explanation_remark(family),
        kind=kind,
        # Where a chart is too wide to stand beside the members it goes above them.
        is_wide=kind == "chart",
        poses=write_for_site(draw_poses(family, shown, context.pictures), kind),
        poses_caption=_CAPTIONS.get(transformation, _CAPTIONS["rotation"]),
        members=[_member(context, family, member) for member in shown],
        neighbours=_neighbours(context, family),
        optimised=context.optimised.family(family["id"], shown),
        turned=[write_for_site(own, "strip-chart") for own in turned],
        turned_sentence=turned_sentence(context, family),
        tuning=None if tuning is None else write_for_site(tuning, "tuning"),
        untuned=_UNTUNED.get(transformation, "No tuning was measured.") if tuning is None else "",
        joint=None if joint is None else write_for_site(joint, "joint"),
        figures=figures_of(family),
        assurances=assurances(context.document, family),
        alternatives=_alternatives(family),
        synthetic=_synthetic(family),
        synthetic_drawings=[write_for_site(own, "synthetic") for own in synthetic_drawings(family, shown)],
        joined=_joined(context, family),
        weights=_weights(family, circuits, weights, ends),
        has_circuits=context.circuits is not None,
        folder=quoted(context.folder or "RUN"),
    )
    return Fragment(html, {"id": family["id"], "members": [member.unit for member in shown]})


def _member(context: SiteContext, family: FamilyEntry, member: Shown) -> dict[str, Any]:
    layer, channel = member.entry["layer"], member.entry["channel"]
    n = min(_N_STIMULI, context.pictures.n_stimuli(layer, channel))
    turn_deg = member.hue_deg if family["transformation"] == "hue" else member.angle_deg
    has_turn = measured(member.entry["pose_deg"]) is not None or family["transformation"] == "hue"
    entry = member.entry
    return {
        "unit": member.unit,
        "view": f"{layer}-{channel}",
        "pose": member.pose,
        "hand_deg": f"{-turn_deg:.1f}" if has_turn else None,
        "is_changed": member.is_changed,
        "light": member.colours[0],
        "dark": member.colours[1],
        "score": number(entry["score"]),
        "interval": interval_text(entry["score"], entry["score_low"], entry["score_high"]),
        "tiles": [context.pictures.tile(layer, channel, rank) for rank in range(n)],
    }


def _neighbours(context: SiteContext, family: FamilyEntry) -> dict[str, str | None]:
    """Ids of the families before and after this one in its layer and transformation."""
    key = (family["layer"], family["transformation"])
    ids = [own["id"] for own in context.document["families"] if (own["layer"], own["transformation"]) == key]
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


def synthetic_drawings(family: FamilyEntry, shown: Sequence[Shown]) -> list[Drawing]:
    """Draw the members' poses on drawn stimuli, one drawing an axis that was measured."""
    drawings = []
    for entry in family["verification"]:
        members = entry.get("members") or []
        if entry["axis"] != "pair" and members:
            drawing = draw_synthetic(family, shown, entry["axis"], members)
            if drawing is not None:
                drawings.append(drawing)
    return drawings


def _synthetic(family: FamilyEntry) -> list[dict[str, Any]]:
    """Give what drawn stimuli say: what drives the family most, and how its poses on them compare."""
    rows = []
    for entry in family["verification"]:
        unit, digits = {"scale": (" octaves", 2)}.get(entry["axis"], ("°", 1))
        interval: str | None
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
                "drive": percent_text(entry["drive"]),
                "runner_up": entry["runner_up"],
                "lead": number(entry["lead"]),
                "lead_interval": interval_text(entry["lead"], entry["lead_low"], entry["lead_high"]),
            }
        )
    return rows


def _joined(context: SiteContext, family: FamilyEntry) -> list[dict[str, Any]]:
    """Links between the rotation families that a family over scale joins."""
    if family["transformation"] != "rotation-scale":
        return []

    def units(entry: FamilyEntry) -> set[tuple[str, int]]:
        return {(m["layer"], m["channel"]) for m in entry["members"]}

    own = units(family)
    return [
        {
            "ends": [link["first"], link["second"]],
            "n_pairs": str(link["n_pairs"]),
            "offset": number(link["offset_deg"], 0, "°"),
            "octaves": octaves_text(link["octaves"]),
            "residual": number(link["residual_deg"], 1, "°"),
            "q": q_text(link["q_value"]),
        }
        for link in context.document["links"]
        if all(
            key in context.families and units(context.families[key]) <= own
            for key in (link["first"], link["second"])
        )
    ]


# Weights ------------------------------------------------------------------------------------------------------------


def _weights(
    family: FamilyEntry, circuits: Sequence[Circuit], weights: StoredWeights | None, ends: Ends
) -> dict[str, Any]:
    """Give what the weights say about the family, and its strongest circuits in and out."""
    ways = []
    for title, others in (
        ("What feeds it", [c for c in circuits if c.target == family["id"]]),
        ("What it feeds", [c for c in circuits if c.source == family["id"]]),
    ):
        strongest = sorted(others, key=lambda c: -strength_of(c))
        ways.append(
            {
                "title": title,
                "n": counted(len(others), "symmetric circuit"),
                "is_into": title == "What feeds it",
                "rows": [_circuit_row(c, family, weights, ends) for c in strongest[:_N_CIRCUITS]],
            }
        )
    return {"sentence": _confirmation(family), "ways": ways, "is_any": bool(circuits)}


def _circuit_row(
    circuit: Circuit, family: FamilyEntry, weights: StoredWeights | None, ends: Ends
) -> dict[str, Any]:
    other = circuit.source if circuit.target == family["id"] else circuit.target
    arrays = None if weights is None else weights.read(circuit.id)
    drawing = None
    if arrays is not None:
        drawing = write_for_site(draw_thumbnail(arrange(circuit, arrays, ends)), "thumbnail")
    return {
        "id": circuit.id if arrays is not None else None,
        "other": other,
        "is_family": other in ends.families,
        "class": class_text(circuit),
        "r2": number(circuit.r2),
        "interval": interval_text(circuit.r2, circuit.r2_low, circuit.r2_high),
        "null": number(circuit.r2_null_95),
        "q": q_text(circuit.q_value),
        "share": percent_text(circuit.energy_share),
        "drawing": drawing,
    }


def _confirmation(family: Mapping[str, Any]) -> str:
    """Say in how many circuits the weights turn with the family, and which of them does so most clearly."""
    entry = family.get("confirmation")
    if entry is None:
        return ""
    n_tested, n_symmetric = entry["n_tested"], entry["n_symmetric"]
    if not n_tested:
        return "No block of weights between this family and another could be tested."
    is_scale = family["transformation"] == "scale"
    follow = "grow with its sizes" if is_scale else "turn with its poses"
    if not n_symmetric:
        return (
            f"Weights took no part in finding the family, and they do not confirm it: in none of "
            f"{counted(n_tested, 'block')} of weights with other families do they {follow}."
        )
    end = entry["best_circuit"].split(">")
    other = next((name for name in end if name != family["id"]), "")
    way = "from" if entry["best_circuit"].endswith(f">{family['id']}") else "to"
    return (
        f"Weights took no part in finding the family, and they confirm it: in {n_symmetric} of "
        f"{counted(n_tested, 'block')} of weights with other families they {follow}. It stands out most "
        f"{way} {other}, where a template explains {number(entry['best_r2'])} of the weight energy of members left "
        f"out; {'with strangers' if is_scale else 'with poses permuted'} it explains less than "
        f"{number(entry['best_null_95'])} in 95 of 100 draws."
    )
