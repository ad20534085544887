"""Sides that networks take: found by showing empty images, kept by cutting images and filling up patches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.geometry import find_geometry
from equiscope.models.refusals import refusals_told
from equiscope.models.sides import Sides, crop_to, find_sides, fitted

Takes = Callable[[int, int], bool]
# What a network takes, and how that is worded.
RULES: dict[str, tuple[Takes, Sides]] = {
    "multiples of 32": (lambda h, w: h % 32 == w % 32 == 0, Sides(32, 32)),
    "multiples of 14, two at least": (lambda h, w: h % 14 == w % 14 == 0 and min(h, w) >= 28, Sides(28, 14)),
    "one more than multiples of 8": (lambda h, w: h % 8 == w % 8 == 1, Sides(1, 8)),
    "75 px at least": (lambda h, w: min(h, w) >= 75, Sides(75, 1)),
    # Takes every strip and no small patch.
    "75 px at least along one side": (lambda h, w: max(h, w) >= 75, Sides(75, 1)),
    "224 px alone": (lambda h, w: (h, w) == (224, 224), Sides(224, 0)),
    "299 px alone": (lambda h, w: (h, w) == (299, 299), Sides(299, 0)),
    "squares": (lambda h, w: h == w, Sides(1, 1, True)),
    "squares of multiples of 16": (lambda h, w: h == w and h % 16 == 0, Sides(16, 16, True)),
}


class Picky(nn.Module):
    """Takes some sides and raises for others, then convolves."""

    def __init__(self, takes: Takes, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.takes, self.error = takes, error
        self.conv = nn.Conv2d(3, 2, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.takes(*x.shape[2:]):
            raise self.error(f"not {tuple(x.shape[2:])}")
        output: Tensor = self.conv(x)
        return output


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("error", [AssertionError, IndexError])
def test_the_sides_that_a_network_takes_are_found(rule: str, error: type[Exception]) -> None:
    takes, sides = RULES[rule]
    model = Model(nn.Sequential(Picky(takes, error)), "picky")
    assert find_sides(model, ["0"], 224, ValueError("strip")) == sides


@pytest.mark.parametrize("rule", RULES)
def test_a_geometry_holds_for_sides_that_the_network_takes(rule: str) -> None:
    takes, sides = RULES[rule]
    model = Model(nn.Sequential(Picky(takes, ValueError)), "picky")
    geometry = find_geometry(model, ["0"])["0"]
    assert (geometry.stride_px, geometry.receptive_field_px, geometry.centre_px) == ((2, 2), (3, 3), (0, 0))
    assert geometry.sides == sides
    fitted(model, geometry.sides).record(torch.rand(1, 3, geometry.patch_px, geometry.patch_px), ["0"])


def test_a_network_that_only_strips_are_too_narrow_for_takes_any_patch() -> None:
    # Deep layers without padding need more than a strip's width, and none of their own patches is refused.
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 41))
    found = find_geometry(Model(module), ["0", "1"])
    assert [(g.patch_px, g.sides) for g in found.values()] == [(3, Sides()), (43, Sides())]


def test_a_network_that_takes_no_long_strip_is_shown_the_side_of_its_images() -> None:
    model = Model(nn.Sequential(Picky(lambda h, w: max(h, w) <= 200, IndexError)), "short")
    geometry = find_geometry(model, ["0"], side_px=120)["0"]
    assert (geometry.stride_px, geometry.receptive_field_px, geometry.sides) == (
        (2, 2),
        (3, 3),
        Sides(120, 0),
    )


@pytest.mark.parametrize("side", [8, 13, 28])
def test_a_network_of_one_small_side_is_probed_inside_it(side: int) -> None:
    model = Model(nn.Sequential(Picky(lambda h, w: (h, w) == (side, side), ValueError)), input_size_px=side)
    geometry = find_geometry(model, ["0"])["0"]
    assert geometry.sides == Sides(side, 0)
    assert geometry.is_global or (geometry.stride_px, geometry.receptive_field_px) == ((2, 2), (3, 3))
    assert geometry.is_global is (side == 8)


def test_sides_behind_the_last_layer_do_not_matter() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), Picky(lambda h, w: False))
    assert find_geometry(Model(module), ["0"])["0"].sides == Sides()


def test_a_network_that_takes_nothing_is_told_with_its_own_words() -> None:
    model = Model(nn.Sequential(Picky(lambda h, w: False, KeyError)), "none")
    with pytest.raises(
        EquiscopeError, match=r"none takes neither 256 x 32 px strips \(first\) nor 60 px squares"
    ):
        find_sides(model, ["0"], 60, ValueError("first"))


@given(st.integers(1, 80), st.integers(0, 40), st.booleans(), st.integers(1, 300), st.integers(1, 300))
def test_sides_within_and_around(least: int, step: int, is_square: bool, height: int, width: int) -> None:
    sides = Sides(least, step, is_square)
    allowed = {least + i * step for i in range(400)}
    around = sides.at_least(height, width)
    for side, wanted in zip(around, (height, width), strict=True):
        wanted = max(height, width) if is_square else wanted
        assert side == min((own for own in allowed if own >= wanted), default=wanted)
    within = sides.at_most(height, width)
    if min(height, width) < least:
        assert within is None
    else:
        assert within is not None
        for side, given_px in zip(within, (height, width), strict=True):
            given_px = min(height, width) if is_square else given_px
            assert side == max(own for own in allowed if own <= given_px)


@given(st.integers(1, 80), st.integers(1, 40), st.integers(1, 64), st.integers(80, 500))
def test_a_period_keeps_the_largest_side_within_the_image(
    least: int, step: int, period: int, near: int
) -> None:
    sides = Sides(least, step)
    fewer = sides.every(period, near)
    assert fewer.step_px % period == fewer.step_px % step == 0
    assert fewer.at_most(near) == sides.at_most(near)
    assert fewer.least_px >= least
    assert (fewer.least_px - least) % step == 0
    assert fewer.least_px - fewer.step_px < least


def test_patches_are_filled_up_at_the_right_and_below_and_gradients_pass() -> None:
    seen: list[Tensor] = []
    model = Model(nn.Conv2d(3, 1, 1), preprocess=lambda images: seen.append(images) or images)  # type: ignore[func-returns-value]
    patch = torch.rand(2, 3, 5, 9, requires_grad=True)
    network = fitted(model, Sides(8, 4))
    network.run(patch).sum().backward()
    assert seen[0].shape == (2, 3, 8, 12)
    assert torch.equal(seen[0][:, :, :5, :9], patch)
    assert torch.equal(seen[0][:, :, 7], seen[0][:, :, 4])
    assert patch.grad is not None
    assert bool((patch.grad[:, :, 0, 0] != 0).all())
    fitted(network, Sides(8, 4)).run(patch)
    assert seen[-1].shape == (2, 3, 8, 12)
    assert fitted(model, Sides()) is model


def test_images_keep_their_upper_left_corner() -> None:
    image = torch.rand(3, 50, 71)
    part = crop_to(image, Sides(8, 16))
    assert part is not None
    assert torch.equal(part, image[:, :40, :56])
    assert crop_to(image, Sides(51, 1)) is None


def test_sides_are_worded() -> None:
    assert Sides(32, 32).words == "sides of 32, 64, 96, ... px"
    assert Sides(75, 1).words == "sides of at least 75 px"
    assert Sides(224, 0, True).words == "squares with sides of 224 px"


@pytest.mark.parametrize(
    "error", [AssertionError(""), IndexError("too small\nwith a table"), OSError("gone")]
)
def test_what_a_network_throws_becomes_one_sentence(error: Exception) -> None:
    model = Model(nn.Conv2d(3, 1, 1), "picky")
    words = str(error).split("\n")[0] or "AssertionError"
    with (
        pytest.raises(EquiscopeError, match=rf"^picky cannot run on that \({words}\): give other images$"),
        refusals_told(model, "that", "give other images"),
    ):
        raise error


def test_sentences_and_interruptions_pass() -> None:
    model = Model(nn.Conv2d(3, 1, 1), "picky")
    for error in (EquiscopeError("said"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as caught, refusals_told(model, "that", "advice"):
            raise error
        assert caught.value is error
