"""How far a family can be trusted, in words: its figures, their intervals, and what chance alone would give."""

from __future__ import annotations

from typing import Any

from equiscope.families.circle_poses import MIN_COHERENCE
from equiscope.reports.document.poses import measured_pose, stabiliser_of
from equiscope.reports.document.schema import FamilyEntry, ReportDocument, ResultEntry
from equiscope.reports.document.wording import (
    MISSING,
    degrees,
    explanation_remark,
    interval_text,
    measured,
    number,
    q_text,
)
from equiscope.reports.drawing.poses import family_period_deg
from equiscope.reports.views.family.certainty import stability_text
from equiscope.transformations import find
from equiscope.transformations.spaces import HandedCircle, Torus

__all__ = ["assurances", "figures_of"]


def figures_of(family: FamilyEntry) -> list[dict[str, Any]]:
    """Lines of the list of figures: a term, its value, and what stands beside it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> figures = {line["term"]: line["value"] for line in figures_of(document["families"][0])}
    >>> float(figures["Score"]) > 0.5, figures["Symmetry"]
    (True, 'none short of a full turn')
    """

    def line(term: str, value: str, beside: str | None = None, code: str | None = None) -> dict[str, Any]:
        return {"term": term, "value": value, "beside": beside, "code": code}

    period_deg = family_period_deg(family)
    transformation = find(family["transformation"])
    space = transformation.space
    lines = [
        line("Score", number(family["score"]), _interval_of(family, "score")),
        line("Disagreement", _disagreement_text(family)),
        line("Coherence", number(family["phase_coherence"])),
        line("Margin", number(family["margin"]), _interval_of(family, "margin")),
        line("q", q_text(family["q_value"])),
        line("Symmetry", *_symmetry_texts(family)),
    ]  # fmt: skip
    if family["half_turns"] and isinstance(space, Torus):
        names = ("both", f"{space.other.what_turns} alone", f"{space.axis.what_turns} alone")
        halves = zip(names, family["half_turns"], strict=True)
        lines.append(
            line(
                "Itself after half a turn", ", ".join(f"of {name} {number(value)}" for name, value in halves)
            )
        )
    if space.has_spacing:
        lines.append(line("Spacing", number(family["gap_deviation_deg"], 0, "°"), "from even"))
    # However a hole was wrapped, its end comes after its start and at most one period later.
    holes = [f"{degrees(a, period_deg)} to {degrees(b, period_deg)}" for a, b in family["holes_deg"]]
    if holes:
        lines.append(line("Holes", ", ".join(holes)))
    if family["duplicates"]:
        same = [" and ".join(str(channel) for channel in pair) for pair in family["duplicates"]]
        lines.append(line("At one pose", "; ".join(same)))
    lines.append(line("Explained by", explanation_remark(family) or family["explained_by"] or MISSING))
    return lines


def assurances(document: ReportDocument, family: FamilyEntry) -> list[tuple[str, str]]:
    """Say what each figure means here: a heading and a sentence for each reason to trust or to doubt the family.

    Parameters
    ----------
    document
        The run, whose nulls are told.
    family
        The family.

    Returns
    -------
    list of tuple
        What was not measured is said to be so.

    Examples
    --------
    >>> from pathlib import Path
    >>> from equiscope.reports import load_document
    >>> document = load_document(Path("equiscope-runs/mini"))
    >>> said = dict(assurances(document, document["families"][0]))
    >>> said["Held-out images"].partition(" by ")[0]
    'On images that took no part in finding them, members respond alike'
    """
    said = [("Held-out images", _score_text(family)), ("Chance", _null_text(document, family))]
    said.append(("False discoveries", _q_text(family)))
    coherence = measured(family["phase_coherence"])
    if coherence is not None:
        verdict = "more" if coherence >= MIN_COHERENCE else "less"
        said.append(
            (
                "Finer detail",
                "The finer harmonics of the members’ tuning agree with the poses that the coarsest one gave by "
                f"{number(coherence)}, {verdict} than the {number(MIN_COHERENCE)} that is asked for. Units that "
                "resemble each other by chance agree in the coarsest alone.",
            )
        )
    margin = measured(family["margin"])
    if margin is not None:
        interval = _between(interval_text(margin, family["margin_low"], family["margin_high"]))
        said.append(
            (
                "Gain",
                f"Transforming makes members more alike by {number(margin)}{interval} than leaving them as they are.",
            )
        )
    disagreement = _disagreement_text(family)
    if MISSING not in disagreement:
        said.append(
            (
                "Poses",
                f"Measured again on the held-out half, poses differ from these by {disagreement} in the median.",
            )
        )
    if stability := stability_text(family):
        said.append(("Stability", stability))
    return said


def _disagreement_text(family: FamilyEntry) -> str:
    """Give how far poses measured on held-out images depart from the family's, along each axis that it has."""
    return find(family["transformation"]).distance_text(measured_pose(family["disagreement"]))


def _symmetry_texts(family: FamilyEntry) -> tuple[str, None, str | None]:
    """Give in words what leaves the members as they are, nothing beside it, and the elements themselves."""
    transformation, stabiliser = find(family["transformation"]), stabiliser_of(family)
    space = transformation.space
    hands = (
        [bool(m["pose"].get(space.hand.name)) for m in family["members"]]
        if isinstance(space, HandedCircle)
        else []
    )
    code = transformation.stabiliser_text(stabiliser) if family["stabiliser"] else None
    return transformation.symmetry_text(stabiliser, hands), None, code


def _interval_of(family: FamilyEntry, key: str) -> str | None:
    figures: dict[str, Any] = dict(family)
    return interval_text(figures[key], figures[f"{key}_low"], figures[f"{key}_high"])


def _between(interval: str | None) -> str:
    return f" ({interval} with 95 % confidence)" if interval else ""


def _score_text(family: FamilyEntry) -> str:
    score = measured(family["score"])
    if score is None:
        return "No score could be measured on images that took no part in finding the family."
    interval = _between(interval_text(score, family["score_low"], family["score_high"]))
    back = find(family["transformation"]).words.back
    return (
        f"On images that took no part in finding them, members respond alike by {number(score)}{interval}, each "
        f"{back}; 1 is the very same response. The interval is a bootstrap over photographs."
    )


def _null_text(document: ReportDocument, family: FamilyEntry) -> str:
    result = _result_of(document, family)
    null = result["null"] if result else None
    expected = measured(null["families_expected"]) if null else None
    limit = measured(null["score_95"]) if null else None
    if expected is None and limit is None:
        return "No null was measured here, so it is not known how many families chance alone would give."
    # Where families are ranked by their gains the null is told in gains too.
    is_gain = find(family["transformation"]).space.is_ranked_by_gain
    parts = ["The same search on responses in which each unit’s pose was scrambled"]
    if expected is not None:
        mean = f"{expected:.2g}" if expected < 1 else f"{expected:.1f}"
        parts.append(f" gave {mean} families on average that pass the same test")
    if limit is not None:
        own = measured(family["margin"] if is_gain else family["score"])
        noun = "gain" if is_gain else "score"
        joint = ";" if expected is not None else ":"
        parts.append(f"{joint} 95 % of its families have a {noun} below {number(limit)}")
        if own is not None:
            parts.append(f", this one has {number(own)}")
    return "".join(parts) + "."


def _result_of(document: ReportDocument, family: FamilyEntry) -> ResultEntry | None:
    layers = set(family["layers"])
    for result in document["results"]:
        if result["transformation"] == family["transformation"] and layers <= set(result["layers"]):
            return result
    return None


def _q_text(family: FamilyEntry) -> str:
    q = measured(family["q_value"])
    if q is None:
        return "No q-value could be estimated."
    share = "less than 0.1 %" if q < 0.001 else f"{100 * q:.1f} %"
    return f"Of families that stand out from chance at least as much as this one, {share} are expected to be false (q)."
