"""Which transformation explains a family best: the simplest that is not significantly worse, on held-out stimuli."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equiscope.families.explain import Comparison, simplest
from equiscope.families.family import Explanation
from equiscope.measurement.bank import Bank
from equiscope.measurement.responses import Responses
from equiscope.transformations.groups import CyclicGroup, Involution

N = 200


def measured(
    angle_of_v: float, *, is_odd: bool = True, noise: float = 0.05, n: int = N
) -> dict[str, Responses[Any]]:
    """Two units that read the direction of stimuli at random angles; inversion turns an odd feature by 180°."""
    rng = np.random.default_rng(0)
    shown, strength = rng.uniform(0, 360, n), rng.uniform(0.5, 2, n)
    bank = Bank(
        "l", np.repeat([0, 1], [n // 2, n - n // 2]), np.arange(n), np.zeros((n, 2), np.int64), np.arange(n)
    )

    def respond(angle: np.ndarray, inverted: bool = False, mirrored: bool = False) -> np.ndarray:
        angle = 180.0 - angle if mirrored else angle
        away = np.radians(angle[..., None] - np.array([0.0, angle_of_v]))
        tuned = np.exp(2 * (np.cos(away + (np.pi if inverted and is_odd else 0.0)) - 1))
        if inverted and not is_odd:
            tuned = 0 * tuned
        return strength.reshape((-1,) + (1,) * (tuned.ndim - 1)) * tuned + noise * rng.exponential(
            size=tuned.shape
        )

    rotation, hue = CyclicGroup(16), CyclicGroup(16, "hue")
    angles = shown[:, None] + bank.starts_deg(rotation)[0][:, None] + rotation.angles_deg
    still = np.repeat(shown[:, None], 16, axis=1)
    arrays = {
        "rotation": (rotation, respond(angles)),
        "hue": (hue, respond(still)),
        "reflection": (
            Involution("reflection"),
            np.stack([respond(shown), respond(shown, mirrored=True)], axis=1),
        ),
        "contrast": (
            Involution("contrast"),
            np.stack([respond(shown), respond(shown, inverted=True)], axis=1),
        ),
    }
    return {
        name: Responses(bank, group, values.astype(np.float32)) for name, (group, values) in arrays.items()
    }


def test_a_turn_by_an_odd_angle_is_a_rotation() -> None:
    found = Comparison(measured(70.0)).of(np.array([0, 1]), "rotation")
    assert [e.transformation for e in found] == ["contrast", "reflection", "hue", "rotation"]
    scores = {e.transformation: e.score for e in found}
    assert scores["rotation"] > 0.9
    assert max(scores[name] for name in ("contrast", "reflection", "hue")) < 0.5
    assert simplest(found) == "rotation"


def test_elements_are_chosen_on_one_half_and_judged_on_the_other() -> None:
    """At one angle the units agree on the half that finds and are opposite on the other, at another the reverse.

    At a third they agree a little on both.
    """
    rng = np.random.default_rng(0)
    half = np.repeat([0, 1], N // 2)
    bank = Bank("l", half, np.arange(N), np.zeros((N, 2), np.int64), np.arange(N))
    group = CyclicGroup(16)
    upright = rng.uniform(0, 1, (N, 2))
    starts = bank.starts_deg(group)[0]
    wave = np.zeros((N, 16, 2))
    for (finding, verifying), step in (((1.0, -1.0), 4), ((-1.0, 1.0), 8), ((0.6, 0.6), 12)):
        sign = np.where(half == 0, finding, verifying)[:, None]
        angle = np.radians(starts[:, None] + group.angles_deg - 22.5 * step)
        bump = np.exp(6 * (np.cos(angle) - 1))
        wave += bump[:, :, None] * (sign * (upright[:, ::-1] - 0.5))[:, None, :]
    both = np.stack([upright, rng.uniform(0, 1, (N, 2))], axis=1)
    measured_on = {"rotation": (group, 2 + wave), "reflection": (Involution("reflection"), both)}
    found = Comparison({
        name: Responses(bank, own, values.astype(np.float32)) for name, (own, values) in measured_on.items()
    }).of(np.array([0, 1]), "rotation")  # fmt: skip
    scores = {e.transformation: e.score for e in found}
    # Chosen on the half that judges, or on both, it would be near one or none.
    assert scores["rotation"] < -0.8


def test_half_a_turn_of_an_odd_feature_is_contrast_inversion() -> None:
    found = Comparison(measured(180.0)).of(np.array([0, 1]), "rotation")
    scores = {e.transformation: e.score for e in found}
    # All three explain it; inverting contrast has the fewest elements to choose from.
    assert min(scores[name] for name in ("contrast", "reflection", "rotation")) > 0.9
    assert simplest(found) == "contrast"


def test_half_a_turn_of_a_feature_that_inversion_silences_is_a_reflection() -> None:
    found = Comparison(measured(180.0, is_odd=False)).of(np.array([0, 1]), "rotation")
    assert simplest(found) == "reflection"


def test_too_few_stimuli_are_not_compared() -> None:
    assert Comparison(measured(70.0, n=20)).of(np.array([0, 1]), "rotation") == ()
    assert simplest(()) == ""


def test_one_transformation_alone_is_not_compared() -> None:
    only = {name: r for name, r in measured(70.0).items() if name == "reflection"}
    assert Comparison(only).of(np.array([0, 1]), "reflection") == ()


@pytest.mark.parametrize(
    ("low", "deficit", "expected"),
    [(-0.01, 0.05, "contrast"), (0.01, 0.05, "rotation"), (-0.01, 0.2, "rotation")],
)
def test_simple_must_be_neither_significantly_nor_much_worse(
    low: float, deficit: float, expected: str
) -> None:
    explanations = [
        Explanation("contrast", 0.8 - deficit, deficit, low, 0.3),
        Explanation("rotation", 0.8, 0.0, 0.0, 0.0),
    ]
    assert simplest(explanations) == expected
