"""What a drawing leaves free is chosen once for a whole family: its kind, its lengths, its polarity, its hue or angle.

The members of a family are one feature at several poses, so that one drawing at several poses must move them alike. A
drawing that each member chooses for itself says something else: a colour contrast turned by half a turn is the one of
the opposite hue, and where each member has its own hue, every pose is found again half a turn away.

The rule is the drive alone. A *choice* is a drawing with everything fixed but the turn along which poses are read. The
choice with the largest mean drive is taken, and of its kind those that drive the family nearly as well are added. The
drive of a member is its largest response over all turns, which is the same wherever its pose is: poses, those on
photographs and those on drawings, take no part in choosing what they are read on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiscope.evidence.verify.drawn.shown import Shown
from equiscope.stimuli.drawn import SyntheticStimulus

__all__ = ["CommonChoice", "choose_in_common"]

Floats = NDArray[np.float64]

# Drawings of the chosen kind that drive a family nearly as well as the best of them count for its poses, too.
_NEARLY_AS_WELL = 0.8


@dataclass(frozen=True)
class _Choice:
    """One drawing with everything fixed but one turn: responses along it, shape (turn, member), after the ReLU."""

    stimulus: SyntheticStimulus
    words: str
    # The hue, where poses are turns of the plane, and the angle, where they are turns of hue.
    fixed: float
    period_deg: float
    responses: Floats

    def is_like(self, other: _Choice) -> bool:
        """Whether it differs in its lengths and phases alone."""
        polarities = [dict(own.stimulus.parameters).get("polarity") for own in (self, other)]
        return (self.stimulus.kind, self.period_deg, self.fixed, polarities[0]) == (
            other.stimulus.kind,
            other.period_deg,
            other.fixed,
            polarities[1],
        )


@dataclass(frozen=True)
class CommonChoice:
    """What a family was read on.

    Attributes
    ----------
    words
        The drawing, with what was fixed.
    period_deg
        After which turn it repeats.
    curves
        Tuning of the members to it and to those like it, each of largest response 1, shape (drawing, turn, member).
    drives
        Largest response of each member to it, as a share of its largest to any drawing that could have been chosen,
        shape (member,), in [0, 1].
    own_words, own_curves
        What each member alone would have chosen of this kind, and its tuning to that, shape (turn, member).
    """

    words: str
    period_deg: float
    curves: Floats
    drives: Floats
    own_words: tuple[str, ...]
    own_curves: Floats


def choose_in_common(shown: Sequence[Shown], columns: Sequence[int], *, along_hue: bool) -> CommonChoice:
    """Choose what the members of a family are read on.

    Parameters
    ----------
    shown
        Drawings, each of which repeats no sooner than the family.
    columns
        Units of the members.
    along_hue
        Whether poses are turns of hue; otherwise turns of the plane.

    Examples
    --------
    Two units read the colour contrast of one hue at 0 and 180 degrees. The first also answers, a little more, to the
    opposite hue half a turn away, which is the same picture. One hue for both tells them apart.

    >>> contrast = SyntheticStimulus(
    ...     "colour_contrast", (("softness_px", 0.5), ("hue_deg", 0.0), ("chroma_strength", 0.4))
    ... )
    >>> turn = np.radians(np.arange(16) * 22.5)
    >>> up, down = np.exp(np.cos(turn)), np.exp(np.cos(turn - np.pi))
    >>> responses = np.stack([np.stack([up, down], 1), np.stack([1.01 * down, up], 1)])
    >>> seen = Shown(contrast, np.degrees(turn), np.array([0.0, 180.0]), responses)
    >>> found = choose_in_common([seen], [0, 1], along_hue=False)
    >>> found.words, found.curves[0].argmax(0).tolist()
    ('colour contrast, hue 180°, softness 0.5 px', [8, 0])
    >>> found.own_words, found.own_curves.argmax(0).tolist()
    (('colour contrast, hue 180°, softness 0.5 px', 'colour contrast, hue 0°, softness 0.5 px'), [8, 8])
    """
    choices = [choice for entry in shown for choice in _choices_of(entry, columns, along_hue=along_hue)]
    peaks = np.stack([choice.responses.max(0) for choice in choices])
    most = peaks.max(0)
    drives = np.asarray(np.where(most > 0, peaks / np.where(most > 0, most, 1), 0.0))
    best = int(drives.mean(1).argmax())
    enough = _NEARLY_AS_WELL * drives[best].mean()
    chosen = choices[best]
    alike = [
        c for c, drive in zip(choices, drives.mean(1), strict=True) if c.is_like(chosen) and drive >= enough
    ]
    of_kind = [
        index
        for index, choice in enumerate(choices)
        if (choice.stimulus.kind, choice.period_deg) == (chosen.stimulus.kind, chosen.period_deg)
    ]
    own = [choices[of_kind[int(drives[of_kind, k].argmax())]] for k in range(len(columns))]
    return CommonChoice(
        chosen.words,
        chosen.period_deg,
        # Each drawing as much as another, whatever its contrast.
        np.stack([c.responses / max(float(c.responses.max()), 1e-12) for c in alike]),
        drives[best],
        tuple(choice.words for choice in own),
        np.stack([choice.responses[:, k] for k, choice in enumerate(own)], axis=1),
    )


def _choices_of(entry: Shown, columns: Sequence[int], *, along_hue: bool) -> Iterator[_Choice]:
    """Give a drawing at each angle, if poses are turns of hue, or else in each of its hues."""
    if along_hue:
        for place, angle in enumerate(entry.angles_deg.tolist()):
            words = f"{entry.stimulus.label}, turned by {angle:g}°" if angle else entry.stimulus.label
            yield _Choice(entry.stimulus, words, angle, 360.0, entry.responses[:, place][:, columns])
        return
    for place, hue in enumerate(entry.steps.tolist()):
        words = _with_hue(entry.stimulus, hue).label
        yield _Choice(
            entry.stimulus, words, hue, entry.stimulus.period_deg, entry.responses[place][:, columns]
        )


def _with_hue(stimulus: SyntheticStimulus, turn_deg: float) -> SyntheticStimulus:
    """Give a drawing with its hue turned; a grey one has none."""
    parameters = tuple(
        (name, (value + turn_deg) % 360.0 if name == "hue_deg" else value)
        for name, value in stimulus.parameters
    )
    return SyntheticStimulus(stimulus.kind, parameters)
