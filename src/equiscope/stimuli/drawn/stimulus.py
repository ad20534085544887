"""One drawn stimulus: a kind with a value for each of its parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from equiscope.foundations.errors import EquiscopeError, unknown_name
from equiscope.stimuli.drawn.kinds import KINDS
from equiscope.stimuli.drawn.parameters import parameter_in_words, range_of

__all__ = ["SyntheticStimulus"]


@dataclass(frozen=True)
class SyntheticStimulus:
    """One picture of the plane, from which patches of any size and angle are rendered.

    Attributes
    ----------
    kind
        One of `kinds`; the table of `equiscope.stimuli.drawn` says what it shows.
    parameters
        Name and value of each parameter, in the kind's own order whatever order they were given in. Suffixes carry
        units; `polarity` and `handedness` are 1 or -1, `contrast` is in (0, 1], `chroma_strength` is the distance
        from grey, at most `MAX_CHROMA_STRENGTH`.
    period_deg
        Smallest rotation after which the picture repeats; 0 if it looks the same at every angle.
    hue_deg
        Hue of a coloured stimulus, 0° red, 120° green, 240° blue; NaN if it is grey.

    Raises
    ------
    EquiscopeError
        If there is no such kind, a parameter is missing or not the kind's, or a value is out of its range.

    Examples
    --------
    >>> edge = SyntheticStimulus("edge", (("softness_px", 2.0), ("contrast", 0.8)))
    >>> edge.label, edge.period_deg
    ('edge, softness 2 px', 360.0)
    """

    kind: str
    parameters: tuple[tuple[str, float], ...]
    # Both follow from the above. NaN is not equal to itself and must not make a stimulus differ from its like.
    period_deg: float = field(init=False, compare=False)
    hue_deg: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("kind of synthetic stimulus", self.kind, KINDS)
        kind = KINDS[self.kind]
        values = dict(self.parameters)
        if len(self.parameters) != len(kind.names) or set(values) != set(kind.names):
            received = ", ".join(name for name, _ in self.parameters) or "nothing"
            raise EquiscopeError(
                f"a synthetic {self.kind} was given {received}: expected each of {', '.join(kind.names)} once."
            )
        for name, value in values.items():
            is_allowed, expected = range_of(name)
            if not (math.isfinite(value) and is_allowed(value)):
                raise EquiscopeError(
                    f"{name} of a synthetic {self.kind} is {value}, expected {expected}: give another value."
                )
        for is_drawable, expected in kind.conditions:
            if not is_drawable(values):
                received = ", ".join(f"{name} {value:g}" for name, value in values.items())
                raise EquiscopeError(
                    f"a synthetic {self.kind} cannot be drawn with {received}: expected {expected}."
                )
        object.__setattr__(self, "parameters", tuple((name, float(values[name])) for name in kind.names))
        object.__setattr__(self, "period_deg", kind.period_deg(values))
        object.__setattr__(self, "hue_deg", values.get("hue_deg", math.nan))

    @property
    def label(self) -> str:
        """The kind and its parameters in words; contrast and chroma strength, common to a catalogue, are left out."""
        words = [self.kind.replace("_", " ")]
        words += [
            parameter_in_words(self.kind, name, value)
            for name, value in self.parameters
            if name not in ("contrast", "chroma_strength")
        ]
        return ", ".join(words)
