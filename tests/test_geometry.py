"""Strides, receptive fields and centres against hand-computed truth, and what everything rests on: that a patch
of the stated size evaluates its centre position exactly as the full image does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.geometry import (
    MAX_OFFSET,
    LayerGeometry,
    find_geometry,
    find_local_geometry,
    joint_patch_px,
)
from equiscope.models.googlenet import GoogLeNet
from equiscope.models.sides import Sides, fitted
from equiscope.models.squeezenet import SqueezeNet


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a strided 1x1 one."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(n_in, n_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu_(self.norm(self.conv1(x)))) + self.shortcut(x)


class Inception(nn.Module):
    """Branches with receptive fields of 1, 3, 5 and 3 px side by side."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(n_in, 2, 1), nn.Conv2d(n_in, 2, 3, padding=1)
        self.five, self.pool = nn.Conv2d(n_in, 2, 5, padding=2), nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class SqueezeExcite(nn.Module):
    """Channels scaled by what the whole image holds."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(n, n, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


class OnlyOfSize(nn.Module):
    """Refuses images of another size, as networks with a position embedding do."""

    def __init__(self, size_px: int, error: type[Exception]) -> None:
        super().__init__()
        self.size_px, self.error = size_px, error
        self.conv = nn.Conv2d(3, 4, 5, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (self.size_px, self.size_px):
            raise self.error(f"expected {self.size_px} px, got {tuple(x.shape[2:])}")
        return self.conv(x)


def conv(n_in: int, n_out: int, *args: int, **kwargs: object) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, *args, **kwargs), nn.ReLU(inplace=True))  # type: ignore[arg-type]


Pair = tuple[float, float]
# Module, layer, stride, receptive field, centre of position (0, 0); all as (y, x), worked out by hand:
# a layer of kernel k, stride s, padding p and dilation d widens the field by (k - 1) d strides of its input and
# moves the centre by ((k - 1) d / 2 - p) of them.
BY_HAND: dict[str, tuple[Callable[[], nn.Module], str, Pair, Pair, Pair]] = {
    "plain": (lambda: nn.Sequential(conv(3, 4, 3), conv(4, 4, 3)), "1.0", (1, 1), (5, 5), (2, 2)),
    "strided": (
        lambda: nn.Sequential(conv(3, 4, 7, 2, 3), conv(4, 4, 3, 2, 1)),
        "1.0",
        (4, 4),
        (11, 11),
        (0, 0),
    ),
    "even kernel": (lambda: nn.Sequential(conv(3, 4, 4, 2, 1)), "0.0", (2, 2), (4, 4), (0.5, 0.5)),
    "ceil-mode pool": (
        lambda: nn.Sequential(conv(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True), conv(4, 4, 3, 1, 1)),
        "2.0",
        (4, 4),
        (19, 19),
        (2, 2),
    ),
    "average pool": (
        lambda: nn.Sequential(conv(3, 4, 3, 1, 1), nn.AvgPool2d(2)),
        "1",
        (2, 2),
        (4, 4),
        (0.5, 0.5),
    ),
    "dilated": (
        lambda: nn.Sequential(conv(3, 4, 3, dilation=2), conv(4, 4, 3, padding=3, dilation=3)),
        "1.0",
        (1, 1),
        (11, 11),
        (2, 2),
    ),
    "stride without overlap": (lambda: nn.Sequential(conv(3, 4, 2, 5)), "0.0", (5, 5), (2, 2), (0.5, 0.5)),
    "depthwise": (
        lambda: nn.Sequential(conv(3, 6, 1), conv(6, 6, 5, 2, 2, groups=6), conv(6, 4, 1)),
        "2.0",
        (2, 2),
        (5, 5),
        (0, 0),
    ),
    "residual": (
        lambda: nn.Sequential(conv(3, 4, 3, 2, 1), Residual(4, 4), Residual(4, 6, stride=2)),
        "2",
        (4, 4),
        (23, 23),
        (0, 0),
    ),
    "inside a residual": (
        lambda: nn.Sequential(conv(3, 4, 3, 2, 1), Residual(4, 6, stride=2)),
        "1.shortcut",
        (4, 4),
        (3, 3),
        (0, 0),
    ),
    "inception": (
        lambda: nn.Sequential(conv(3, 4, 3, 2, 1), Inception(4), conv(10, 3, 1)),
        "2.0",
        (2, 2),
        (11, 11),
        (0, 0),
    ),
    "asymmetric kernel": (
        lambda: nn.Sequential(conv(3, 4, (3, 5)), conv(4, 4, (1, 3), padding=(0, 1))),  # type: ignore[arg-type]
        "1.0",
        (1, 1),
        (3, 7),
        (1, 2),
    ),
    "asymmetric stride": (
        lambda: nn.Sequential(conv(3, 4, (7, 5), (1, 2), (3, 2))),  # type: ignore[arg-type]
        "0.0",
        (1, 2),
        (7, 5),
        (0, 0),
    ),
    "asymmetric padding": (
        lambda: nn.Sequential(nn.ZeroPad2d((2, 1, 0, 1)), conv(3, 4, 3, 2)),
        "1.0",
        (2, 2),
        (3, 3),
        (1, -1),
    ),
    "dead weights": (lambda: dead(conv(3, 4, 5, 2, 2)), "0", (2, 2), (5, 5), (0, 0)),
    "wider than the short strip": (
        lambda: nn.Sequential(conv(3, 1, 3, padding=128, dilation=128)),
        "0.0",
        (1, 1),
        (257, 257),
        (0, 0),
    ),
}


def dead(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def in_double(module: nn.Module, **kwargs: object) -> Model:
    """The network in float64, so that equal and merely similar are orders of magnitude apart."""
    return Model(module.double().eval(), preprocess=Tensor.double, **kwargs)  # type: ignore[arg-type]


def built(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(5)
    return build()


@pytest.mark.parametrize("name", BY_HAND)
def test_geometry_by_hand(name: str) -> None:
    build, layer, stride, field, centre = BY_HAND[name]
    module = built(build)
    geometry = find_geometry(Model(module, "toy"), [layer])[layer]
    assert not geometry.is_global
    assert (geometry.stride_px, geometry.receptive_field_px, geometry.centre_px) == (stride, field, centre)


def test_googlenet_and_squeezenet() -> None:
    geometries = find_geometry(Model(built(GoogLeNet), "googlenet"), ["conv2d0", "conv2d2", "mixed3b"])
    assert list(geometries) == ["conv2d0", "conv2d2", "mixed3b"]
    first, _, mixed = geometries.values()
    assert (first.stride_px, first.receptive_field_px, first.centre_px) == ((2, 2), (7, 7), (0, 0))
    assert (mixed.stride_px, mixed.receptive_field_px, mixed.centre_px) == ((8, 8), (91, 91), (6, 6))
    assert (mixed.patch_px, mixed.position_in_patch(), mixed.n_channels) == (93, (5, 5), 480)
    # conv1 3x3/2 without padding, pool 3/2 ceil, fire2: fields 3, 7, 15; centres 1, 3, 3.
    fire = find_geometry(Model(built(SqueezeNet), "squeezenet"), ["fire2"])["fire2"]
    assert (fire.stride_px, fire.receptive_field_px, fire.centre_px) == ((4, 4), (15, 15), (3, 3))


@pytest.mark.parametrize("axis", [0, 1])
def test_layers_that_see_the_whole_image_are_global(axis: int) -> None:
    pooled = nn.AdaptiveAvgPool2d((1, None) if axis == 0 else (None, 1))
    module = nn.Sequential(conv(3, 4, 3), SqueezeExcite(4), conv(4, 4, 3), pooled)
    found = find_geometry(Model(module), ["0", "1", "2", "3"])
    assert [geometry.is_global for geometry in found.values()] == [False, True, True, True]
    assert found["2"].n_channels == 4
    assert math.isnan(found["2"].centre_px[0])
    alone = nn.Sequential(conv(3, 4, 3), pooled)
    assert find_geometry(Model(alone), ["1"])["1"].is_global


@pytest.mark.parametrize("backwards", [False, True])
def test_layers_that_see_everything_to_one_side_are_global(backwards: bool) -> None:
    class Running(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flip(2).cumsum(2).flip(2) if backwards else x.cumsum(2)

    assert find_geometry(Model(nn.Sequential(conv(3, 4, 3), Running())), ["1"])["1"].is_global


def test_layers_behind_pools_of_two_share_a_patch_in_which_each_answers_as_in_the_full_image() -> None:
    torch.manual_seed(0)
    stages = [
        part
        for stage in range(6)
        for part in (nn.Conv2d(3 if stage == 0 else 2, 2, 3, 1, 1), nn.MaxPool2d(2))
    ]
    model = Model(nn.Sequential(*stages), "pooled")
    geometries = find_geometry(model, [str(2 * stage) for stage in range(6)])
    every = list(geometries.values())
    assert joint_patch_px(every) is None
    size = joint_patch_px(every, max_offset=MAX_OFFSET)
    assert size is not None
    offsets = [geometry.offset_strides(size) for geometry in every]
    assert 0 < max(offsets) <= 0.25
    assert joint_patch_px(every, max_offset=0.9 * max(offsets)) is None
    image = torch.rand(3, size + 64, size + 96)
    for layer, geometry in geometries.items():
        row, column = geometry.nearest_position(size)
        wanted = response_at(model, layer, image, (row + 32 // geometry.stride_px[0], column))
        assert wanted is not None
        assert (
            difference(response_at(model, layer, image[:, 32 : 32 + size, :size], (row, column)), wanted)
            < 1e-5
        )


def test_a_joint_patch_is_centred_exactly_where_it_can_be() -> None:
    module = nn.Sequential(conv(3, 2, 7, 2, 3), nn.MaxPool2d(3, 2, 1), conv(2, 2, 3, 2, 1))
    every = list(find_geometry(Model(module), ["0", "1", "2"]).values())
    size = joint_patch_px(every, max_offset=MAX_OFFSET)
    assert size is not None
    assert size == joint_patch_px(every)
    assert [geometry.offset_strides(size) for geometry in every] == [0.0] * 3


@pytest.mark.parametrize(("side", "shares"), [(47, False), (48, True)])
def test_layers_share_no_patch_that_is_larger_than_the_network_takes(side: int, shares: bool) -> None:
    # Middles at 15.5 + 8 i and at 15.5 + 16 i px: both are met at 23.5 px, in a patch of 48 px.
    every = [
        LayerGeometry("a", 1, (8, 8), (30, 30), (15.5, 15.5), sides=Sides(side, 0)),
        LayerGeometry("b", 1, (16, 16), (40, 40), (23.5, 23.5), sides=Sides(side, 0)),
    ]
    assert joint_patch_px(every) == (48 if shares else None)


@pytest.mark.parametrize("use", [lambda g: g.patch_px, lambda g: g.position_in_patch()])
def test_a_global_layer_has_no_patch(use: Callable[[LayerGeometry], object]) -> None:
    geometry = find_geometry(Model(nn.Sequential(conv(3, 4, 3), SqueezeExcite(4))), ["1"])["1"]
    with pytest.raises(EquiscopeError, match=r"'1' sees the whole image.*whole images"):
        use(geometry)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, AssertionError])
def test_a_network_that_takes_only_its_own_size(error: type[Exception]) -> None:
    module = nn.Sequential(OnlyOfSize(60, error))
    geometry = find_geometry(Model(module, input_size_px=60), ["0"])["0"]
    assert (geometry.stride_px, geometry.receptive_field_px, geometry.centre_px) == ((2, 2), (5, 5), (1, 1))


@pytest.mark.parametrize("error", [RuntimeError, AssertionError])
def test_a_network_of_unknown_size_is_refused_with_what_to_do(error: type[Exception]) -> None:
    with pytest.raises(
        EquiscopeError, match=r"(?s)picky takes neither.*expected 60 px.*224 px.*input_size_px"
    ):
        find_geometry(Model(nn.Sequential(OnlyOfSize(60, error)), "picky"), ["0"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_is_told_to_be_float(dtype: torch.dtype) -> None:
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(EquiscopeError, match=rf"fine has parameters in {kind} and .*module\.float\(\)"):
        find_geometry(Model(nn.Sequential(conv(3, 4, 3)).to(dtype), "fine"), ["0"])


def test_a_network_of_one_channel_is_told_its_preprocessing() -> None:
    module = nn.Sequential(conv(1, 4, 3))
    with pytest.raises(
        EquiscopeError, match=r"grey does not take images of 3 channels.*makes the 1 of 0.0 .*mean\(1, keep"
    ):
        find_geometry(Model(module, "grey"), ["0"])
    asked = Model(module, "grey", lambda images: images.mean(1, keepdim=True))
    assert find_geometry(asked, ["0"])["0"].receptive_field_px == (3, 3)


def test_the_cause_of_a_refusal_is_one_line() -> None:
    class Wordy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise NotImplementedError("no such operator\nCPU: registered\nMeta: registered")

    with pytest.raises(EquiscopeError, match=r"strips .no such operator. nor 224") as caught:
        find_geometry(Model(nn.Sequential(Wordy()), "wordy"), ["0"])
    assert "registered" not in str(caught.value)


def test_a_layer_whose_channels_stand_last_is_refused() -> None:
    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    with pytest.raises(EquiscopeError, match=r"layer '1' of net has .* its channels stand last"):
        find_geometry(Model(nn.Sequential(conv(3, 4, 3), Last()), "net"), ["1"])


def test_what_is_wrong_with_a_layer_is_not_mistaken_for_a_wrong_size() -> None:
    model = Model(nn.Sequential(conv(3, 4, 3), nn.Flatten()), "flat")
    with pytest.raises(EquiscopeError, match=r"'1' of flat gives \(1, \d+\)"):
        find_geometry(model, ["1"])
    with pytest.raises(EquiscopeError, match="unknown layer"):
        find_geometry(model, ["nowhere"])


def test_a_convolution_before_a_flattened_classifier_needs_no_size() -> None:
    module = nn.Sequential(conv(3, 4, 3, 2), nn.Flatten(), nn.Linear(4 * 15 * 15, 2))
    assert find_geometry(Model(module), ["0"])["0"].receptive_field_px == (3, 3)


# --- the property that everything rests on -----------------------------------------------------------------


def response_at(model: Model, layer: str, image: Tensor, position: tuple[int, int]) -> Tensor | None:
    """Response of all channels at a position, shape (channel,); None where the grid does not have it."""
    try:
        grid = model.record(image[None], [layer])[layer][0]
    except RuntimeError:
        return None
    if min(position) < 0 or position[0] >= grid.shape[1] or position[1] >= grid.shape[2]:
        return None
    return grid[:, position[0], position[1]]


def difference(found: Tensor | None, wanted: Tensor) -> float:
    return math.inf if found is None else float((found - wanted).abs().max() / wanted.abs().max())


def cut(image: Tensor, first: list[int], size: int) -> Tensor:
    return image[:, first[0] : first[0] + size, first[1] : first[1] + size]


@cache
def network(name: str) -> tuple[Model, str, LayerGeometry]:
    build, layer, *_ = BY_HAND[name]
    model = in_double(built(build))
    return model, layer, find_geometry(model, [layer])[layer]


def check_patch(model: Model, layer: str, geometry: LayerGeometry, shape: tuple[int, int], seed: int) -> None:
    """Compare the centre of a patch with the full image, and the largest smaller patches with it too."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(3, *shape, generator=generator)
    patch_px, inside = geometry.patch_px, geometry.position_in_patch()
    # Any grid position around which a whole patch fits into the image.
    shift = [
        int(torch.randint((shape[axis] - patch_px) // geometry.stride_px[axis] + 1, (), generator=generator))
        for axis in (0, 1)
    ]
    position = (inside[0] + shift[0], inside[1] + shift[1])
    first = [geometry.stride_px[axis] * shift[axis] for axis in (0, 1)]
    for axis in (0, 1):
        middle = geometry.centre_px[axis] + geometry.stride_px[axis] * position[axis]
        assert middle == first[axis] + (patch_px - 1) / 2
    wanted = response_at(model, layer, image, position)
    assert wanted is not None
    assert wanted.std() > 0
    assert difference(response_at(model, layer, cut(image, first, patch_px), inside), wanted) < 1e-10
    # One stride less on every side is the next smaller patch that is centred on a position of the grid.
    step = max(geometry.stride_px)
    less = cut(image, [f + step for f in first], patch_px - 2 * step)
    index = (inside[0] - step // geometry.stride_px[0], inside[1] - step // geometry.stride_px[1])
    assert difference(response_at(model, layer, less, index), wanted) > 1e-8


PATCHES = [n for n in BY_HAND if n not in ("dead weights", "wider than the short strip")]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(PATCHES), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**31))
def test_a_patch_answers_as_the_full_image_does(name: str, rows: int, columns: int, seed: int) -> None:
    model, layer, geometry = network(name)
    shape = (geometry.patch_px + rows, geometry.patch_px + columns + 1)
    check_patch(model, layer, geometry, shape, seed)


@pytest.mark.parametrize(
    ("network", "layers"),
    [(GoogLeNet, ("conv2d0", "conv2d2", "mixed3a", "mixed3b")), (SqueezeNet, ("conv1", "fire3", "fire5"))],
)
def test_a_patch_answers_as_the_full_image_does_in_built_in_networks(
    network: Callable[[], nn.Module], layers: tuple[str, ...]
) -> None:
    model = in_double(built(network))
    for layer, geometry in find_geometry(model, layers).items():
        check_patch(model, layer, geometry, (geometry.patch_px + 17, geometry.patch_px + 30), seed=0)


def test_the_patch_grows_to_the_grid_that_both_axes_share() -> None:
    # Along y 7 px would do, but along x positions are 2 px apart: (9 - 1) / 2 lies on both grids.
    geometry = LayerGeometry("l", 1, (1, 2), (7, 5), (0, 0))
    assert (geometry.patch_px, geometry.position_in_patch()) == (9, (4, 2))


@pytest.mark.parametrize(
    ("stride", "field", "centre"),
    [((2, 2), (5, 5), (0, 1)), ((1, 1), (3, 4), (1, 1.5)), ((4, 2), (5, 5), (0, 1))],
)
def test_grids_without_a_common_patch_are_refused(
    stride: tuple[int, int], field: tuple[int, int], centre: Pair
) -> None:
    geometry = LayerGeometry("odd", 1, stride, field, centre)
    assert geometry.patch_px >= max(field)
    with pytest.raises(EquiscopeError, match=r"'odd' has different grids along y and x.*no square patch"):
        geometry.position_in_patch()


def test_a_layer_that_leaves_out_the_border_is_read_inside_its_grid() -> None:
    class Cropped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, 3:-3, 3:-3]

    model = in_double(built(lambda: nn.Sequential(Cropped(), conv(3, 4, 3))))
    geometry = find_geometry(model, ["1.0"])["1.0"]
    assert (geometry.centre_px, geometry.patch_px, geometry.position_in_patch()) == ((4, 4), 9, (0, 0))


# --- networks whose grid depends on the side, and operations that stop NaN ----------------------------------


class SameConv(nn.Conv2d):
    """Pads as TensorFlow's "same" does: by amounts that depend on the side, the larger half at the end."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for side, size, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((math.ceil(side / stride) - 1) * stride + size - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


class Done(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def padded_to(multiple: int, *, on_all_sides: bool) -> nn.Module:
    def pad(x: Tensor) -> Tensor:
        below, right = (-x.shape[2]) % multiple, (-x.shape[3]) % multiple
        half = (right // 2, below // 2) if on_all_sides else (0, 0)
        return F.pad(x, (half[0], right - half[0], half[1], below - half[1]))

    return Done(pad)


def with_places(*, are_absolute: bool) -> nn.Module:
    def add(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        y = torch.arange(height, dtype=x.dtype) / (100 if are_absolute else height)
        x_place = torch.arange(width, dtype=x.dtype) / (100 if are_absolute else width)
        return x + y[:, None] + x_place

    return Done(add)


def resized(side: int) -> nn.Module:
    return Done(lambda x: F.interpolate(x, (side, side), mode="bilinear"))


def body(conv2d: type[nn.Conv2d] = nn.Conv2d, **options: int) -> list[nn.Module]:
    return [
        conv2d(3, 4, 3, stride=2, **options), nn.ReLU(), conv2d(4, 4, 5, stride=2, **options), nn.ReLU(),
        conv2d(4, 4, 3, **options),
    ]  # fmt: skip


ON_THE_SIDE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "same padding": (lambda: nn.Sequential(nn.Identity(), *body(SameConv)), 4),
    "same padding, stride 3": (lambda: nn.Sequential(SameConv(3, 3, 3, stride=3), *body(SameConv)), 12),
    "padded on all sides": (lambda: nn.Sequential(padded_to(32, on_all_sides=True), *body(padding=1)), 32),
    "padded to 20": (lambda: nn.Sequential(padded_to(20, on_all_sides=True), *body()), 20),
}


@pytest.mark.parametrize("name", ON_THE_SIDE)
@pytest.mark.parametrize("side", [101, 130])
def test_where_the_grid_depends_on_the_side_it_is_found_for_sides_that_share_it(name: str, side: int) -> None:
    build, period = ON_THE_SIDE[name]
    model = in_double(built(build))
    geometry = find_geometry(model, ["5"], side_px=side)["5"]
    assert not geometry.is_global
    assert geometry.sides.step_px == period
    assert geometry.sides.at_most(side) == (side,)
    # The slow way: any place of a non-square image of such sides, against a patch that is filled up.
    network = fitted(model, geometry.sides)
    image = torch.rand(3, side, side + period, generator=torch.Generator().manual_seed(side))
    size, (row, column) = geometry.patch_px, geometry.position_in_patch()
    grid = network.record(image[None], ["5"])["5"][0]
    for down, right in ((0, 1), (1, 2), (2, 0)):
        first = [geometry.stride_px[0] * down, geometry.stride_px[1] * right]
        found = network.record(cut(image, first, size)[None], ["5"])["5"][0, :, row, column]
        assert difference(found, grid[:, row + down, column + right]) < 1e-10
    # At the next side the grid of at least one of these networks' layers lies elsewhere.
    assert geometry.sides != find_geometry(model, ["5"], side_px=side + 1)["5"].sides


@pytest.mark.parametrize("on_all_sides", [True, False])
def test_padding_at_the_end_moves_no_grid(on_all_sides: bool) -> None:
    module = built(lambda: nn.Sequential(padded_to(32, on_all_sides=on_all_sides), *body(padding=1)))
    sides = find_geometry(Model(module), ["5"])["5"].sides
    assert (sides == Sides()) is not on_all_sides


def test_a_network_that_resizes_is_shown_one_side_alone() -> None:
    module = built(lambda: nn.Sequential(resized(96), *body(padding=1)))
    plain = find_geometry(Model(module[1:]), ["5"])["5"]
    found = find_geometry(Model(module, input_size_px=96), ["5"])["5"]
    assert found.sides == Sides(96, 0)
    assert (found.stride_px, found.receptive_field_px) == (plain.stride_px, plain.receptive_field_px)
    # Twice the side is halved, which is as regular; 1.3 times is not.
    assert find_geometry(Model(module), ["5"], side_px=192)["5"].stride_px == (8, 8)
    assert find_geometry(Model(module), ["5"], side_px=125)["5"].is_global


@pytest.mark.parametrize("are_absolute", [True, False])
def test_a_layer_that_tells_where_it_is_has_no_receptive_field(are_absolute: bool) -> None:
    module = built(
        lambda: nn.Sequential(conv(3, 3, 3, 1, 1), with_places(are_absolute=are_absolute), *body(padding=1))
    )
    found = find_geometry(Model(module), ["0", "2", "6"])
    assert [geometry.is_global for geometry in found.values()] == [False, True, True]
    assert {geometry.sides for geometry in found.values()} == {Sides()}


def where(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def counted(x: Tensor) -> Tensor:
    torch.histc(x)  # refuses NaN, as observers do that draw histograms
    return x


STOPS: dict[str, Callable[[Tensor], Tensor]] = {
    "a refusal": counted,
    "where": where,
    "nan_to_num": torch.nan_to_num,
    "clamp by comparison": lambda x: x * (x > 0).to(x.dtype).nan_to_num() if not x.isnan().any() else x.nan_to_num(),
    "fake quantisation": lambda x: torch.fake_quantize_per_tensor_affine(x, 1 / 64, 0, -128, 127),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
def test_what_stops_nan_does_not_hide_a_field(name: str) -> None:
    stop = STOPS[name]
    torch.manual_seed(5)
    layers = (conv(3, 8, 5, 2, 2), conv(8, 8, 3, 2, 1), conv(8, 8, 3))
    model = Model(nn.Sequential(layers[0], Done(stop), layers[1], Done(stop), layers[2]))
    plain = find_geometry(
        Model(nn.Sequential(model.module[0], model.module[2], model.module[4])), ["0", "1", "2"]
    )
    found = find_geometry(model, ["0", "2", "4"])
    for own, wanted in zip(found.values(), plain.values(), strict=True):
        assert (own.stride_px, own.receptive_field_px, own.centre_px, own.is_global) == (
            wanted.stride_px, wanted.receptive_field_px, wanted.centre_px, False,
        )  # fmt: skip


def set_channels(*channels: int, value: float, at: slice = slice(None)) -> Callable[[Tensor], Tensor]:
    """Give a step that answers with one value in some channels, at all rows and columns or at some."""

    def step(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, list(channels), at, at] = value
        return x

    return step


def by_contrast(x: Tensor) -> Tensor:
    """Divide two channels by their local contrast: 0 / 0 where there is none, as in an empty image."""
    most, least = F.max_pool2d(x, 3, 1, 1), -F.max_pool2d(-x, 3, 1, 1)
    return torch.cat([((x - least) / (most - least))[:, :2], x[:, 2:]], 1)


# Steps behind a convolution of eight units after which some units are NaN or infinite whatever is shown.
DAMAGED: dict[str, Callable[[Tensor], Tensor]] = {
    "one unit": set_channels(2, value=math.nan),
    "two units": set_channels(0, 5, value=math.nan),
    "all but one": set_channels(*range(7), value=math.nan),
    "one unit at the border": set_channels(3, value=math.nan, at=slice(0, 1)),
    "all units at the border": set_channels(*range(8), value=math.nan, at=slice(0, 1)),
    "an infinite unit": set_channels(4, value=math.inf),
    "an infinite and a NaN unit": lambda x: set_channels(1, value=math.nan)(set_channels(6, value=-math.inf)(x)),
}  # fmt: skip


@pytest.mark.parametrize("stop", [None, where], ids=["read by NaN", "read by differences"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_field_is_read_from_the_units_that_are_not_damaged(
    name: str, stop: Callable[[Tensor], Tensor] | None
) -> None:
    plain = Model(built(lambda: nn.Sequential(conv(3, 6, (5, 3), 2, 1), nn.Identity(), conv(6, 8, 3))))
    early, through, late = plain.module.children()
    damaged = Model(nn.Sequential(early, Done(stop) if stop else through, late, Done(DAMAGED[name])))
    (wanted,) = find_geometry(plain, ["2"]).values()
    found = find_geometry(damaged, ["2", "3"])
    assert not wanted.is_global
    assert found == {layer: replace(wanted, layer=layer) for layer in ("2", "3")}


def test_a_layer_that_divides_nothing_by_nothing_in_an_empty_image_has_a_field() -> None:
    model = Model(built(lambda: nn.Sequential(nn.Conv2d(3, 8, 5, 2), Done(by_contrast), conv(8, 4, 3))))
    assert model.record(torch.zeros(1, 3, 32, 40), ["2"])["2"].isnan().all()
    found = find_geometry(model, ["1", "2"])
    assert [own.is_global for own in found.values()] == [False, False]
    assert [own.receptive_field_px for own in found.values()] == [(9, 9), (13, 13)]
    assert [own.stride_px for own in found.values()] == [(2, 2), (2, 2)]


def test_a_layer_of_damaged_units_alone_is_given_no_field() -> None:
    model = Model(nn.Sequential(conv(3, 4, 3), Done(lambda x: x * math.nan)))
    assert [own.is_global for own in find_geometry(model, ["0", "1"]).values()] == [False, True]


def test_what_stops_nan_in_one_branch_does_not_hide_its_field() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 9, padding=4)

        def forward(self, x: Tensor) -> Tensor:
            return self.near(x) + torch.nan_to_num(self.far(x))

    geometry = find_geometry(Model(built(lambda: nn.Sequential(Branches()))), ["0"])["0"]
    assert geometry.receptive_field_px == (9, 9)


def test_a_layer_that_nothing_reaches_is_not_given_a_field() -> None:
    module = nn.Sequential(conv(3, 4, 3), Done(lambda x: torch.ones_like(x)), conv(4, 4, 3))
    found = find_geometry(Model(built(lambda: module)), ["0", "2"])
    assert [geometry.is_global for geometry in found.values()] == [False, True]


def test_what_stops_nan_before_a_gate_that_sees_everything_stays_global() -> None:
    module = nn.Sequential(conv(3, 4, 3), Done(where), SqueezeExcite(4))
    assert find_geometry(Model(built(lambda: module)), ["2"])["2"].is_global


def test_what_is_local_behind_a_gate_is_found_apart_from_it() -> None:
    module = built(lambda: nn.Sequential(conv(3, 4, 5, 2, 2), SqueezeExcite(4), conv(4, 4, 3, 2, 1)))
    model = Model(module)
    assert find_geometry(model, ["2"])["2"].is_global
    local = find_local_geometry(model, ["2"], Sides(), 224)["2"]
    assert (local.stride_px, local.receptive_field_px, local.centre_px) == ((4, 4), (9, 9), (0, 0))
    gates: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda x: torch.sigmoid(x.flatten(2).amax(2))[:, :, None, None],
        lambda x: x.mean((1, 2, 3), keepdim=True),
        lambda x: x.mean((1, 2, 3))[:, None, None, None],
    )
    for gate in gates:
        model = Model(nn.Sequential(module[0], Done(lambda x, gate=gate: x * gate(x)), module[2]))  # type: ignore[misc]
        assert find_geometry(model, ["2"])["2"].is_global
        assert find_local_geometry(model, ["2"], Sides(), 224) == {"2": local}
    summed = Model(nn.Sequential(conv(3, 4, 3), nn.AdaptiveAvgPool2d(1)))
    assert find_local_geometry(summed, ["1"], Sides(), 224) == {}


def test_networks_without_any_of_this_are_shown_any_side() -> None:
    for build, layer, *_ in BY_HAND.values():
        assert find_geometry(Model(built(build)), [layer])[layer].sides == Sides()
