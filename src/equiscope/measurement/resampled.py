"""Responses to photographs that were drawn anew: what a survey of other photographs might have measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from equiscope.foundations.statistics import bootstrap_weights
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import Group

__all__ = ["ResampledResponses", "draw_stimuli", "resample_half"]

G = TypeVar("G", bound=Group)
Ints = NDArray[np.int64]


def draw_stimuli(responses: Responses[G], half: int, rng: np.random.Generator) -> Ints:
    """Draw the photographs of a half with replacement: the stimuli of one resample.

    Returns
    -------
    ndarray
        Numbers of stimuli of the bank in rising order, shape (drawn,): each as often as its photograph was drawn.

    Examples
    --------
    Four stimuli of half 0, cut from two photographs.

    >>> from equiscope.measurement.bank import Bank
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> photograph = np.array([3, 3, 8, 8, 9])
    >>> bank = Bank("conv1", np.array([0, 0, 0, 0, 1]), photograph, np.zeros((5, 2), int), photograph)
    >>> responses = Responses(bank, CyclicGroup(4), np.ones((5, 4, 1), np.float32))
    >>> draw_stimuli(responses, 0, np.random.default_rng(3)).tolist()
    [2, 2, 3, 3]
    """
    first, last = responses.of_half(half)
    (counts,) = bootstrap_weights(responses.bank.photograph[first:last], 1, rng)
    return np.repeat(np.arange(first, last), counts.astype(np.int64))


@dataclass(frozen=True)
class ResampledResponses(Responses[G]):
    """Responses to some stimuli, each as often as it was drawn; nothing is copied before it is read.

    ``drawn``: numbers of stimuli in the rows of ``array``, rising, shape (drawn,).
    """

    drawn: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def _stored(self, start: int, stop: int) -> NDArray[np.float32]:
        rows = self.drawn[start:stop]
        if not len(rows):
            return super()._stored(0, 0)
        first = int(rows[0])
        return super()._stored(first, int(rows[-1]) + 1)[rows - first]


def resample_half(responses: Responses[G], drawn: Ints) -> ResampledResponses[G]:
    """View responses as those to the stimuli that were drawn.

    Parameters
    ----------
    responses
        Responses to the whole bank.
    drawn
        Numbers of stimuli, rising, shape (drawn,).

    Examples
    --------
    >>> from equiscope.measurement.bank import Bank
    >>> from equiscope.transformations.groups import CyclicGroup
    >>> place = np.arange(4)
    >>> bank = Bank("conv1", place // 2, place, np.zeros((4, 2), int), place)
    >>> responses = Responses(bank, CyclicGroup(4), np.arange(16, dtype=np.float32).reshape(4, 4, 1))
    >>> resample_half(responses, np.array([1, 1])).read(0, 2)[:, 0, 0].tolist()
    [4.0, 4.0]
    """
    bank, at = responses.bank, np.asarray(drawn, dtype=np.int64)
    own = replace(
        bank,
        half=bank.half[at],
        image=bank.image[at],
        position=bank.position[at],
        photograph=bank.photograph[at],
        centre_px=None if bank.centre_px is None else bank.centre_px[at],
    )
    return ResampledResponses(own, responses.group, responses.array, responses.path, at)
