"""How far a family can be trusted, in words: its figures, their intervals, and what chance alone would give."""

from __future__ import annotations

from typing import Any

from equiscope.families.circle_poses import MIN_COHERENCE
from equiscope.reports.document.schema import FamilyEntry, ReportDocument, ResultEntry
from equiscope.reports.document.wording import (
    MISSING,
    degrees,
    describe_symmetry,
    disagreement_text,
    explanation_remark,
    interval_text,
    measured,
    number,
    q_text,
)
from equiscope.reports.drawing.poses import family_period_deg
from equiscope.reports.views.family.words import TURNED_BACK

__all__ = ["assurances", "figures_of"]

# Transformations whose families are ranked by their gains: the null is told in gains too.
_BY_GAIN = ("reflection", "contrast", "scale")


def figures_of(family: FamilyEntry) -> list[dict[str, Any]]:
    """Lines of the list of figures: a term, its value, and what stands beside it."""

    def line(term: str, value: str, beside: str | None = None, code: str | None = None) -> dict[str, Any]:
        return {"term": term, "value": value, "beside": beside, "code": code}

    period_deg = family_period_deg(family)
    transformation = family["transformation"]
    lines = [
        line("Score", number(family["score"]), _interval_of(family, "score")),
        line("Disagreement", disagreement_text(family)),
        line("Coherence", number(family["phase_coherence"])),
        line("Margin", number(family["margin"]), _interval_of(family, "margin")),
        line("q", q_text(family["q_value"])),
        line("Symmetry", describe_symmetry(family), code=family["stabiliser"] or None),
    ]  # fmt: skip
    if family["half_turns"]:
        names = ("both", "hue alone", "the plane alone")
        halves = zip(names, family["half_turns"], strict=True)
        lines.append(
            line(
                "Itself after half a turn", ", ".join(f"of {name} {number(value)}" for name, value in halves)
            )
        )
    if transformation not in ("reflection", "contrast", "scale", "hue-rotation", "rotation-scale"):
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
    disagreement = disagreement_text(family)
    if MISSING not in disagreement:
        said.append(
            (
                "Poses",
                f"Measured again on the held-out half, poses differ from these by {disagreement} in the median.",
            )
        )
    return said


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
    back = TURNED_BACK.get(family["transformation"], "transformed back")
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
    is_gain = family["transformation"] in _BY_GAIN
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
    layers = set(family["layer"].split("+"))
    for result in document["results"]:
        if result["transformation"] == family["transformation"] and (
            result["layer"] == family["layer"] or layers <= set(result["layer"].split("+"))
        ):
            return result
    return None


def _q_text(family: FamilyEntry) -> str:
    q = measured(family["q_value"])
    if q is None:
        return "No q-value could be estimated."
    share = "less than 0.1 %" if q < 0.001 else f"{100 * q:.1f} %"
    return f"Of families that stand out from chance at least as much as this one, {share} are expected to be false (q)."
