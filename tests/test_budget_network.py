"""Which units each parameter of a network joins: planted architectures whose answers are known by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equiscope.construction.budget.blocks import FIXED, Block, Convolution
from equiscope.construction.budget.parameters import find_convolutions
from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model, load_model
from equiscope.models.googlenet import GoogLeNet, Widths


def find(module: nn.Module, layers: list[str]) -> dict[str, Convolution]:
    return {own.module: own for own in find_convolutions(Model(module), layers)}


def ends(block: Block) -> tuple[str, list[int], str, list[int]]:
    source, target = block.source, block.target
    return source.layer, source.channels.tolist(), target.layer, target.channels.tolist()


def n_parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


class Branches(nn.Module):
    """An inception block in small, with a stem; its pool and bottleneck are not surveyed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.block = nn.ModuleDict(
            {
                "one": nn.Conv2d(6, 2, 1),
                "narrow": nn.Conv2d(6, 4, 1, bias=False),
                "wide": nn.Conv2d(4, 5, 3, padding=1),
                "behind": nn.Conv2d(7, 3, 1),
            }
        )
        self.join = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.stem(x)), 2)
        narrow = torch.relu_(self.block["narrow"](x))
        joined = self.join(torch.cat([self.block["one"](x), self.block["wide"](narrow)], dim=1))
        return self.block["behind"](joined)


def test_a_bottleneck_stands_for_the_units_it_leads_to() -> None:
    network = Branches()
    found = find(network, ["stem", "join"])
    assert list(found) == ["stem", "block.narrow", "block.one", "block.wide"]
    stem, bias = found["stem"].blocks
    assert ends(stem) == (FIXED, [0], "stem", list(range(6)))
    assert (stem.source.multiplicity, stem.n_weights, stem.n_parameters) == (3, 9, 162)
    assert (ends(bias), bias.n_weights) == ((FIXED, [0], "stem", list(range(6))), 1)
    assert ends(found["block.one"].blocks[0]) == ("stem", list(range(6)), "join", [0, 1])
    (narrow,) = found["block.narrow"].blocks
    assert ends(narrow) == ("stem", list(range(6)), "join", [2, 3, 4, 5, 6])
    assert (narrow.is_surveyed, narrow.target.multiplicity) == (False, 4 / 5)
    wide = found["block.wide"].blocks[0]
    assert ends(wide) == ("join", [2, 3, 4, 5, 6], "join", [2, 3, 4, 5, 6])
    assert (wide.is_surveyed, wide.n_weights) == (False, 9)
    assert wide.n_parameters == pytest.approx(4 * 5 * 9)
    counted = sum(convolution.n_parameters for convolution in found.values())
    assert counted == n_parameters(network) - n_parameters(network.block["behind"])


def test_a_surveyed_bottleneck_is_itself() -> None:
    found = find(Branches(), ["stem", "block.narrow", "join"])
    assert ends(found["block.narrow"].blocks[0]) == ("stem", list(range(6)), "block.narrow", [0, 1, 2, 3])
    assert ends(found["block.wide"].blocks[0]) == ("block.narrow", [0, 1, 2, 3], "join", [2, 3, 4, 5, 6])
    assert all(block.is_surveyed for convolution in found.values() for block in convolution.blocks)


class Residual(nn.Module):
    """A stem, two residual blocks with normalisation and a gate, of which the blocks are surveyed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.first, self.second = Half(), Half()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.stem(x)))


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.normal = nn.BatchNorm2d(12)
        self.gate = nn.Linear(12, 12)
        self.after = nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.normal(self.before(x)))
        inner = inner * torch.sigmoid(self.gate(inner.mean((2, 3))))[:, :, None, None]
        return x + self.after(inner)


def test_shortcuts_normalisations_and_gates() -> None:
    network = Residual()
    found = find(network, ["first", "second"])
    assert sum(convolution.n_parameters for convolution in found.values()) == n_parameters(network)
    # The stem reaches the first block's output, channel by channel, through the shortcut.
    assert ends(found["stem.0"].blocks[0]) == (FIXED, [0], "first", list(range(8)))
    assert found["stem.0"].blocks[0].is_surveyed
    assert [ends(block)[2:] for block in found["stem.1"].blocks] == [("first", list(range(8)))] * 2
    assert ends(found["second.before"].blocks[0])[:2] == ("first", list(range(8)))
    assert not found["second.before"].blocks[0].is_surveyed
    assert ends(found["second.after"].blocks[0])[2:] == ("second", list(range(8)))
    assert found["second.gate"].target == "second"
    assert [block.n_parameters for block in found["second.normal"].blocks] == [12, 12]
    # What a gate scales is still the unit.
    gated = find(network, ["first.before", "first"])["first.after"].blocks[0]
    assert (ends(gated)[:2], gated.is_surveyed) == (("first.before", list(range(12))), True)
    # A sum of two surveyed layers is a unit of neither.
    total = find(network, ["stem", "first.after", "second"])["second.before"].blocks[0]
    assert (ends(total)[0], total.source.is_surveyed) == ("second", False)


class Mixture(nn.Module):
    """A grouped, a depthwise and a transposed convolution, a linear map over channels kept last, and a shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.grouped = nn.Conv2d(8, 6, 3, groups=2)
        self.shuffle = Swap()
        self.depth = nn.Conv2d(6, 6, 3, groups=6)
        self.linear = nn.Linear(6, 4)
        self.up = nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.lost = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        self.lost(stem)
        x = self.depth(self.shuffle(self.grouped(stem)))
        return self.up(self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, [3, 4, 5, 0, 1, 2]]


def test_groups_depth_linear_maps_and_transposed_ones() -> None:
    network = Mixture()
    found = find(network, ["stem", "shuffle", "depth", "up"])
    assert "lost" not in found
    assert [ends(block) for block in found["grouped"].blocks[:2]] == [
        ("stem", [0, 1, 2, 3], "shuffle", [3, 4, 5]),
        ("stem", [4, 5, 6, 7], "shuffle", [0, 1, 2]),
    ]
    depth = found["depth"].blocks[0]
    assert (ends(depth), depth.n_weights) == ((FIXED, [0], "depth", list(range(6))), 9)
    assert ends(found["linear"].blocks[0]) == ("depth", list(range(6)), "up", list(range(5)))
    assert not found["linear"].blocks[0].is_surveyed
    assert found["up"].blocks[0].n_parameters == pytest.approx(4 * 5 * 4)
    assert ends(found["up"].blocks[0])[2:] == ("up", list(range(5)))
    counted = sum(convolution.n_parameters for convolution in found.values())
    assert counted == n_parameters(network) - n_parameters(network.lost)


class Twice(nn.Module):
    """A module that is surveyed runs twice: its first run is what a survey records."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (nn.Conv2d(n, 4, 1, bias=False) for n in (3, 4, 4))
        self.same = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.same(self.first(x))
        return self.last(self.same(self.second(x)))


def test_of_a_module_that_runs_twice_the_first_run_counts() -> None:
    found = find(Twice(), ["same", "last"])
    assert ends(found["first"].blocks[0]) == (FIXED, [0], "same", [0, 1, 2, 3])
    assert ends(found["second"].blocks[0]) == ("same", [0, 1, 2, 3], "last", [0, 1, 2, 3])
    assert not found["second"].blocks[0].is_surveyed
    assert ends(found["last"].blocks[0]) == ("last", [0, 1, 2, 3], "last", [0, 1, 2, 3])


class Beside(nn.Module):
    """A branch that is added to a shortcut, and read once more before the sum, which alone is surveyed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.last = (nn.Conv2d(n, 4, 1, bias=False) for n in (3, 4, 4))
        self.sum = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        branch = self.branch(x)
        return self.sum(x + branch) + self.last(branch)


def test_a_branch_is_not_the_sum_that_it_goes_into() -> None:
    found = find(nn.Sequential(Beside()), ["0.sum", "0"])
    assert ends(found["0.branch"].blocks[0])[2:] == ("0.sum", [0, 1, 2, 3])
    assert not found["0.last"].blocks[0].source.is_surveyed
    assert ends(found["0.last"].blocks[0])[2:] == ("0", [0, 1, 2, 3])


def test_googlenet_through_its_own_normalisation() -> None:
    widths = Widths(4, 3, 5, 2, 3, 4)
    network = GoogLeNet({"mixed3a": widths, "mixed3b": widths}, n_classes=7)
    found = find(network, ["conv2d0", "conv2d1", "conv2d2", "mixed3a"])
    # Its normalisation mixes five channels, which counts as passing each on.
    assert ends(found["conv2d1"].blocks[0])[:2] == ("conv2d0", list(range(64)))
    assert ends(found["mixed3a.3x3_bottleneck"].blocks[0])[2:] == ("mixed3a", [4, 5, 6, 7, 8])
    assert ends(found["mixed3a.pool_reduce"].blocks[0]) == (
        "conv2d2",
        list(range(192)),
        "mixed3a",
        [12, 13, 14, 15],
    )
    behind = n_parameters(network.mixed3b) + n_parameters(network.softmax2_pre_activation)
    assert sum(c.n_parameters for c in found.values()) == n_parameters(network) - behind


def test_all_parameters_of_the_embedded_network_are_found() -> None:
    model = load_model("mini")
    layers = ["conv2d0", "conv2d1", "mixed3a", "mixed3b", "mixed4a"]
    found = find_convolutions(model, layers)
    behind = n_parameters(model.module.get_submodule("classifier"))
    assert sum(convolution.n_parameters for convolution in found) == n_parameters(model.module) - behind


def test_a_network_without_parameters_on_the_way_is_refused() -> None:
    pool = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(768, 2))
    with pytest.raises(EquiscopeError, match="leave the network away"):
        find_convolutions(Model(pool), ["0"])
