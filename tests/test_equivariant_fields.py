"""Feature spaces act as groups do, and refuse what is none."""

from __future__ import annotations

import pytest
import torch

from equiscope.construction.equivariant import Colours, Fields
from equiscope.construction.equivariant.fields import action_of
from equiscope.foundations.errors import EquiscopeError
from equiscope.transformations.pixels import rotate_hue
from equivariant_networks import GROUPS, noise


@pytest.mark.parametrize("group", GROUPS)
def test_the_action_is_a_representation(group: str) -> None:
    """Acting with h and then g is acting with g · h, exactly where both are exact."""
    fields, action = Fields(group, 2, 1, 1), action_of(group)
    features = noise(1, fields.n_channels, 6, 9)
    exact = [g for g in range(action.order) if action.is_exact(g)]
    assert torch.equal(fields.transform(features, 0), features)
    for g in exact:
        for h in exact:
            once = fields.transform(features, action.group.compose(g, h))
            assert torch.equal(fields.transform(fields.transform(features, h), g), once)


@pytest.mark.parametrize("group", GROUPS)
def test_the_action_on_colours_is_a_representation(group: str) -> None:
    colours, action = Colours(group), action_of(group)
    images = noise(2, 3, 6, 9)
    exact = [g for g in range(action.order) if action.is_exact(g)]
    for g in exact:
        for h in exact:
            once = colours.transform(images, action.group.compose(g, h))
            twice = colours.transform(colours.transform(images, h), g)
            torch.testing.assert_close(twice, once, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("group", "element", "turned"),
    [
        ("C4", 1, lambda x: x.rot90(1, (-2, -1))),
        ("C16", 12, lambda x: x.rot90(3, (-2, -1))),
        ("D4", 4, lambda x: x.flip(-1)),
        ("D8", 10, lambda x: x.rot90(1, (-2, -1)).flip(-1)),
        ("H6", 2, lambda x: x),
        ("H4xC8", 2 + 8 * 3, lambda x: x.rot90(1, (-2, -1))),
    ],
)
def test_pictures_turn_as_the_conventions_say(group: str, element: int, turned: object) -> None:
    """Counter-clockwise; mirrored left-right after turning; hue leaves the plane alone."""
    fields = Fields(group, 0, 2, 1)
    features = noise(1, 3, 4, 7)
    assert torch.equal(fields.transform(features, element), turned(features))  # type: ignore[operator]


def test_the_channel_of_an_element_moves_with_it() -> None:
    """The channel of element h becomes that of g · h."""
    fields = Fields("D8", 1)
    group = fields.action.group
    features = torch.arange(16.0, dtype=torch.float64).reshape(1, 16, 1, 1)
    for g in range(16):
        moved = fields.transform(features, g).flatten().round().tolist()
        assert [moved[group.compose(g, h)] for h in range(16)] == list(range(16))


def test_hue_of_colours_is_that_of_the_transformations() -> None:
    images = noise(2, 3, 5, 4)
    torch.testing.assert_close(Colours("H6").transform(images, 2), rotate_hue(images, [120.0])[:, 0])


def test_channels_stand_as_documented() -> None:
    fields = Fields("C4", 2, 1, 2)
    assert (fields.n_field_channels, fields.n_tied_channels, fields.n_channels, fields.n_units) == (
        8,
        9,
        11,
        5,
    )
    assert fields.unit_of_channel.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4]
    assert str(fields) == "11 channels (2 fields of C4, 1 invariant, 2 plain)"
    assert Fields("C4", 2, 1, 2) == fields != Fields("C8", 2, 1, 2)
    assert len({fields, Fields("C4", 2, 1, 2)}) == 1


def test_joined_features_are_of_the_sum() -> None:
    a, b = Fields("C4", 1, 1, 1), Fields("C4", 1, 0, 2)
    parts = [torch.arange(6.0).reshape(1, 6, 1, 1), 10 + torch.arange(6.0).reshape(1, 6, 1, 1)]
    joined = Fields.concatenate(parts, [a, b])
    assert joined.flatten().tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 4, 5, 14, 15]
    assert a + b == Fields("C4", 2, 1, 3)
    (a + b).check(joined)


@pytest.mark.parametrize(
    ("width", "shares", "expected"),
    [
        (64, (1.0, 0.0), Fields("C8", 8)),
        (64, (0.5, 0.25), Fields("C8", 4, 16, 16)),
        (10, (0.0, 0.5), Fields("C8", 0, 5, 5)),
    ],
)
def test_a_width_divides_by_shares(width: int, shares: tuple[float, float], expected: Fields) -> None:
    assert Fields.from_width("C8", width, equivariant=shares[0], invariant=shares[1]) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fields("C7", 1), r"unknown group 'C7': did you mean"),
        (lambda: Fields("d4", 1), r"unknown group 'd4': did you mean 'D4'"),
        (lambda: Fields("", 1), r"unknown group ''"),
        (lambda: Fields("H4xD8", 1), r"unknown group 'H4xD8'"),
        (lambda: Fields("D5", 1), r"unknown group 'D5'"),
        (lambda: Fields("C8"), r"no unit"),
        (lambda: Fields("C8", -1), r"equivariant is -1, expected a whole number"),
        (lambda: Fields("C8", 1, plain=1.5), r"plain is 1.5, expected"),  # type: ignore[arg-type]
        (
            lambda: Fields.from_width("C8", 60),
            r"60 equivariant of 60 channels.*fields of C8.*8 channels each: 64",
        ),
        (lambda: Fields.from_width("C16", 64, equivariant=0.1), r"6.4 equivariant of 64"),
        (lambda: Fields.from_width("C8", 64, equivariant=0.9, invariant=0.2), r"together at most 1"),
        (lambda: Fields("C8", 1) + Fields("C4", 1), r"C8 and C4 do not go together"),
        (
            lambda: Fields("C8", 1).transform(torch.zeros(1, 9, 3, 3), 1),
            r"\(1, 9, 3, 3\).*expected \(image, 8, y, x\)",
        ),
    ],
)
def test_impossible_spaces_are_refused(make: object, message: str) -> None:
    with pytest.raises(EquiscopeError, match=message):
        make()  # type: ignore[operator]
