"""Passes of which one position is read: the answers of whole maps from less, and whole maps where that fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from equiscope.models import Model, load_model
from equiscope.models.centred import CentredPasses
from equiscope.models.geometry import find_geometry


class Inception(nn.Module):
    """Branches of different reach, joined by channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.pool(x)], 1)


class Residual(nn.Module):
    """A sum of what passes by and what does not, with rectifiers in place."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, (1, 5), padding=(0, 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        out += x
        return F.relu_(out)


class Shuffled(nn.Module):
    """Channels in other order by two views, and half of them untouched."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(3, 3, 3, padding=1, groups=3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class SamePadding(nn.Module):
    """Padding by an amount that follows from the size of what comes in, as TensorFlow pads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        total = [max(0, (-(-n // 2) - 1) * 2 + 3 - n) for n in x.shape[2:]]
        return self.conv(
            F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        )


class Gate(nn.Module):
    """Squeeze and excitation: every place answers to the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.inner(x.mean((2, 3)))[:, :, None, None].sigmoid().expand_as(x)


class Positions(nn.Module):
    """Adds another number at each place."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linspace(-1, 1, x.shape[-1])


class Coordinates(nn.Module):
    """Puts the place of each answer beside it, as a channel of its own."""

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.linspace(-1, 1, x.shape[-2])[:, None].expand(len(x), 1, -1, x.shape[-1])
        return torch.cat([x, rows], 1)


class Stamps(nn.Module):
    """Writes the place of each answer into a channel of the map itself."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        x[:, :1] = torch.linspace(-1, 1, x.shape[-1])
        return x


class Attention(nn.Module):
    """Places answer to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.inner(tokens, tokens, tokens)[0]
        return tokens.transpose(1, 2).view(x.shape)


class InPlaceOnChannels(nn.Module):
    """Writes into some channels of a map, as a local response normalisation may."""

    def forward(self, x: Tensor) -> Tensor:
        squares = x * x
        total = squares.clone()
        total[:, 1:] += squares[:, :-1]
        return x * total.add_(1.0).rsqrt_()


class ByWidth(nn.Module):
    """Divides by the width of its map."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (4 / x.shape[-1])


class Permuted(nn.Module):
    """Gives its channels another order by a permutation of five axes."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, 2, c // 2, h, w).permute(0, 2, 1, 3, 4).flatten(1, 2)


class OtherWhenSmall(nn.Module):
    """Does something else with narrow maps."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh() if x.shape[-1] < 12 else x.exp()


class WritesIntoRows(nn.Module):
    """Writes into some rows of a map, which nothing else sees."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        x[:, :, 3:] += 2.0
        return x


class Beside(nn.Module):
    """A branch that nobody reads, of a map whose middle is far from what is."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.branch(x)
        return x


class LooksBack(nn.Module):
    """A head that nobody reads, on the way to the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.head(x)
        return x


def _network(*middle: nn.Module, stem: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    for part in middle:
        for inner in part.modules():
            if hasattr(inner, "reset_parameters"):
                inner.reset_parameters()
    stem = stem or nn.Sequential(nn.Conv2d(3, 6, 5, stride=2, padding=2), nn.ReLU())
    return nn.Sequential(stem, *middle, nn.LazyConv2d(5, 3, padding=1)).eval()


def _flops(run: Callable[[], object]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


LOCAL: dict[str, Callable[[], list[nn.Module]]] = {
    "plain": lambda: [nn.Conv2d(6, 6, 3, padding=1), nn.GELU()],
    "residual": lambda: [Residual(), Residual()],
    "inception": lambda: [Inception()],
    "dilated": lambda: [nn.Conv2d(6, 6, 3, padding=2, dilation=2)],
    "depthwise": lambda: [
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Hardswish(),
        nn.Conv2d(6, 6, 1),
        nn.PReLU(6),
    ],
    "asymmetric": lambda: [nn.Conv2d(6, 6, (7, 1), padding=(3, 0)), nn.Conv2d(6, 6, (1, 3), stride=(1, 2))],
    "ceil mode": lambda: [nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 1, ceil_mode=True)],
    "mean pool with padding": lambda: [nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)],
    "local response": lambda: [nn.LocalResponseNorm(3), nn.LeakyReLU(0.1, inplace=True)],
    "shuffled": lambda: [Shuffled(), Shuffled()],
    "permuted": lambda: [Permuted()],
    "padding by size": lambda: [SamePadding()],
    "reflected rim": lambda: [nn.ReflectionPad2d(1), nn.Conv2d(6, 6, 3)],
    "in place on channels": lambda: [InPlaceOnChannels()],
    "unread branch": lambda: [Beside()],
    "by width": lambda: [ByWidth()],
}
MIXING: dict[str, Callable[[], list[nn.Module]]] = {
    "gate": lambda: [Gate()],
    "instance norm": lambda: [nn.InstanceNorm2d(6)],
    "group norm": lambda: [nn.GroupNorm(2, 6)],
    "positions": lambda: [Positions()],
    "attention": lambda: [Attention()],
    "coordinates": lambda: [Coordinates()],
    "stamps": lambda: [Stamps()],
    "upsampling": lambda: [nn.Upsample(scale_factor=2, mode="bilinear")],
    "transposed": lambda: [nn.ConvTranspose2d(6, 6, 2, stride=2)],
    "circular": lambda: [nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular")],
    "other when small": lambda: [OtherWhenSmall()],
    "writes into rows": lambda: [WritesIntoRows()],
    "unread head": lambda: [LooksBack()],
}


def _middle(places: tuple[int, int]) -> tuple[int, int]:
    return places[0] // 2, places[1] // 2 + 1


@pytest.mark.parametrize("name", [*LOCAL, *MIXING])
@pytest.mark.parametrize("size_px", [(47, 64), (33, 33)])
def test_answers_are_those_of_whole_maps(name: str, size_px: tuple[int, int]) -> None:
    """Whatever the network is made of, in patches that are not square, too."""
    network = _network(*(LOCAL | MIXING)[name]())
    images = torch.rand(20, 3, *size_px, generator=torch.Generator().manual_seed(1))
    network(images[:1])
    model = Model(network)
    layer = str(len(network) - 1)
    passes = CentredPasses(model, {layer: _middle})
    found = [passes.read(some)[layer] for some in (images[:7], images)]
    wanted = model.record(images, [layer])[layer]
    row, column = _middle((wanted.shape[2], wanted.shape[3]))
    assert torch.allclose(found[1], wanted[:, :, row, column], atol=1e-5)
    assert torch.allclose(found[0], found[1][:7], atol=1e-5)
    assert passes.notes == []


@pytest.mark.parametrize("name", LOCAL)
def test_of_local_networks_only_a_part_is_computed(name: str) -> None:
    """The part that the position sees: here less than a quarter of the map."""
    network = _network(*LOCAL[name]())
    images = torch.rand(4, 3, 65, 81)
    network(images)
    model = Model(network)
    layer = str(len(network) - 1)
    passes = CentredPasses(model, {layer: _middle})
    passes.read(images)
    assert _flops(lambda: passes.read(images)) < 0.25 * _flops(lambda: model.record(images, [layer]))


@pytest.mark.parametrize("name", ["gate", "instance norm", "attention"])
def test_what_stands_behind_the_mixing_is_still_cut(name: str) -> None:
    """Whole maps are needed before it, and one place behind it."""
    network = _network(*MIXING[name](), nn.Conv2d(6, 60, 3, padding=1), nn.Conv2d(60, 60, 3, padding=1))
    images = torch.rand(2, 3, 65, 81)
    network(images)
    model = Model(network)
    layer = str(len(network) - 1)
    passes = CentredPasses(model, {layer: _middle})
    passes.read(images)
    assert _flops(lambda: passes.read(images)) < 0.25 * _flops(lambda: model.record(images, [layer]))


def test_what_nobody_reads_is_computed_near_what_is_read() -> None:
    """So that a corner that is read does not need the way to the middle."""
    network = _network(Beside())
    images = torch.rand(2, 3, 65, 81)
    network(images)
    model, layer = Model(network), str(len(network) - 1)
    passes = CentredPasses(model, {layer: lambda _places: (3, 3)})
    passes.read(images)
    assert _flops(lambda: passes.read(images)) < 0.15 * _flops(lambda: model.record(images, [layer]))


def test_positions_of_several_layers_are_read_in_one_pass() -> None:
    """Each at its own position, also of a layer that a later one writes over."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3, stride=2)).eval()
    model, images = Model(network), torch.rand(3, 3, 21, 25)
    positions = {"0": lambda _places: (2, 9), "2": lambda places: (places[0] - 1, 0)}
    found = CentredPasses(model, positions).read(images)
    wanted = model.record(images, ["0", "2"])
    assert torch.allclose(found["0"], wanted["0"][:, :, 2, 9], atol=1e-6)
    assert torch.allclose(found["2"], wanted["2"][:, :, -1, 0], atol=1e-6)


@torch.library.custom_op("equiscope_tests::away", mutates_args=(), tags=(torch.Tag.pointwise,))
def _away(x: Tensor) -> Tensor:
    """Take the mean of the whole map away, which is not what its tag says."""
    return x - x.mean((2, 3), keepdim=True)


class Lies(nn.Module):
    """Runs an operator that mixes places and says that it does not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.equiscope_tests.away(x)  # type: ignore[no-any-return]


def test_a_difference_ends_in_whole_maps_and_is_told() -> None:
    """An operator whose tag is wrong: only the comparison with a plain pass can know."""
    network = _network(Lies())
    images = torch.rand(4, 3, 40, 50)
    network(images)
    model, layer = Model(network), str(len(network) - 1)
    passes = CentredPasses(model, {layer: _middle})
    found = passes.read(images)[layer]
    row, column = _middle((20, 25))
    assert torch.allclose(found, model.record(images, [layer])[layer][:, :, row, column])
    (note,) = passes.notes
    assert "answers otherwise" in note


class OtherEachTime(nn.Module):
    """Does something else from its fourth pass on."""

    n_passes = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).n_passes += 1
        return x.exp() if self.n_passes > 3 else x.tanh()


def test_a_network_that_does_something_else_later_is_run_plainly() -> None:
    """What was noted and compared holds no more, and the answers are those of this pass."""
    OtherEachTime.n_passes = 0
    network = nn.Sequential(nn.Conv2d(3, 2, 3), OtherEachTime()).eval()
    passes, images = CentredPasses(Model(network), {"1": _middle}), torch.rand(2, 3, 9, 9)
    passes.read(images)
    OtherEachTime.n_passes = 9
    found = passes.read(images)["1"]
    assert torch.allclose(found, network(images)[:, :, 3, 4])


def test_bfloat16_is_followed_too() -> None:
    """Its casts are operators as others; answers differ by its rounding."""
    network = _network(Residual(), Inception())
    images = torch.rand(6, 3, 47, 49)
    network(images)
    model, layer = Model(network), str(len(network) - 1)
    passes = CentredPasses(model, {layer: _middle})
    with torch.autocast("cpu", torch.bfloat16):
        passes.read(images)
        flops = _flops(lambda: passes.read(images))
        found = passes.read(images)[layer]
        wanted = model.record(images, [layer])[layer].float()
    row, column = _middle((wanted.shape[2], wanted.shape[3]))
    assert flops < 0.5 * _flops(lambda: model.record(images, [layer]))
    assert torch.allclose(found, wanted[:, :, row, column], atol=0.05)
    assert passes.notes == []


def test_the_network_is_left_as_it_was() -> None:
    """Its parameters, and no mark on them or on the images."""
    network = _network(Residual())
    images = torch.rand(2, 3, 33, 33)
    network(images)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    CentredPasses(Model(network), {"2": _middle}).read(images)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not vars(images)


def test_an_error_of_the_network_is_its_own() -> None:
    """A network that refuses a size says so, as in a plain pass."""
    network = nn.Sequential(nn.Conv2d(3, 2, 9)).eval()
    with pytest.raises(RuntimeError, match="Kernel size"):
        CentredPasses(Model(network), {"0": _middle}).read(torch.rand(1, 3, 5, 5))


@pytest.mark.parametrize("layer", load_model("mini").default_layers)
def test_a_bank_of_the_small_network_costs_less_than_two_thirds(layer: str) -> None:
    """Of the arithmetic of whole maps, in each layer."""
    model = load_model("mini")
    geometry = find_geometry(model, [layer])[layer]
    images = torch.rand(2, 3, geometry.patch_px, geometry.patch_px)
    passes = CentredPasses(model, {layer: lambda _places: geometry.position_in_patch()})
    passes.read(images)
    assert _flops(lambda: passes.read(images)) < 0.67 * _flops(lambda: model.record(images, [layer]))
