"""The verdict on a family, in words: the first thing that a reader sees of it."""

from __future__ import annotations

from equiscope.families.verdict import ALIKE_IN_POSE, COPIES
from equiscope.reports.document.schema import FamilyEntry, VerdictEntry
from equiscope.reports.document.wording import interval_text, measured, number
from equiscope.reports.views.circuit.words import percent_text

__all__ = ["verdict_of"]


def verdict_of(family: FamilyEntry) -> tuple[str, str]:
    """Give the verdict on a family, and the sentences that say what it rests on.

    Examples
    --------
    >>> figures = {"likeness": 0.97, "likeness_low": 0.95, "likeness_high": 0.99, "permuted_95": 0.3, "tested": 1.0}
    >>> said = figures | {"word": "copies", "reason": "", "cores": [{"members": [0, 1, 2], "likeness": 0.97}]}
    >>> word, sentence = verdict_of({"size": 3, "verdict": said, "members": []})
    >>> word, sentence.partition(":")[0]
    ('Copies', 'By their weights the members are copies of each other')
    """
    verdict = family.get("verdict")
    if verdict is None:
        return "Untested", (
            "whether the members are copies was not asked when this run was made; giving the survey’s command again "
            "asks."
        )
    beside = _strangers(family) + _drawings(family)
    if verdict["word"] == COPIES:
        return "Copies", f"By their weights the members are copies of each other: {_figures(verdict)}{beside}"
    if verdict["word"] == ALIKE_IN_POSE:
        return "Alike in pose", (
            "The members answer at related poses, but they are not all copies of each other: "
            f"{_figures(verdict)} {_cores(family, verdict)}{beside}"
        )
    return "Untested", f"Whether the members are copies could not be tested: {verdict['reason']}.{beside}"


def _strangers(family: FamilyEntry) -> str:
    """Put the layer's other units beside the family."""
    score, others = measured(family.get("score")), measured(family.get("strangers_95"))
    if score is None or others is None:
        return ""
    return (
        f" On held-out photographs their answers correlate by {number(score)}; 95 % of the layer’s other units, each "
        f"at the pose that suits it best, by less than {number(others)}."
    )


def _drawings(family: FamilyEntry) -> str:
    """Say how far drawings confirm the poses, along the axis on which they do least."""
    read = [
        (agreement, entry)
        for entry in family.get("verification", [])
        if (agreement := measured(entry.get("agreement"))) is not None
    ]
    if not read:
        return ""
    agreement, entry = min(read, key=lambda own: own[0])
    ends = entry.get("agreement_low"), entry.get("agreement_high"), entry.get("agreement_null_95")
    low, high, chance = map(percent_text, ends)
    return (
        f" On drawings {percent_text(agreement)} of the members, by drive, have the poses that they have on "
        f"photographs ({low} to {high}; by chance {chance} at most)."
    )


def _figures(verdict: VerdictEntry) -> str:
    interval = interval_text(verdict["likeness"], verdict["likeness_low"], verdict["likeness_high"])
    beside = f" ({interval} with 95 % confidence)" if interval else ""
    permuted = verdict["permuted_95"]
    null = "" if permuted is None else f", with poses permuted among them by less than {number(permuted)}"
    share = measured(verdict["tested"])
    tested = "" if share is None else f" {100 * share:.0f} % of what feeds them could be compared."
    return (
        f"moved back to pose 0, the weights of two members are alike by {number(verdict['likeness'])}{beside}, 1 for "
        f"exact copies{null}.{tested}"
    )


def _cores(family: FamilyEntry, verdict: VerdictEntry) -> str:
    """Name the parts of a family that are copies."""
    if not verdict["cores"]:
        return "No part of the family is."
    members = family["members"]
    named = [
        f"{', '.join(str(members[place]['channel']) for place in core['members'])} ({number(core['likeness'])})"
        for core in verdict["cores"]
    ]
    return f"Parts that are: {'; '.join(named)}."
