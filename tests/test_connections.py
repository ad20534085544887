"""Which units the channels of a convolution are: planted architectures whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model
from equiscope.models.connections import (
    IMAGE,
    Connections,
    find_connections,
    number_channels,
    read_channels,
)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("n_parts", [1, 3])
def test_channels_are_numbered_and_read_back(n_channels: int, n_parts: int) -> None:
    n_images = 2 * max(1, int(np.ceil(np.log2(n_channels))))
    batch = number_channels(torch.zeros(n_images * n_parts, n_channels, 4, 5), 1, n_images)
    assert read_channels(batch, 1, n_images).tolist() == list(range(n_channels))
    reversed_channels = batch.flip(1)[:, :, 1:]
    assert read_channels(reversed_channels, 1, n_images).tolist() == list(range(n_channels))[::-1]
    last = batch.permute(0, 2, 3, 1)
    assert read_channels(last, -1, n_images).tolist() == list(range(n_channels))
    # Two channels at once, and none.
    if n_channels > 1:
        mixed = torch.stack([batch[:, 0] + batch[:, -1], torch.zeros_like(batch[:, 0])], dim=1)
        assert read_channels(mixed, 1, n_images).tolist() == [-2, -1]


def reaching(found: Connections, name: str) -> list[dict[str, int]]:
    return [found.reaching(name, channel) for channel in range(found.places[name].n_channels)]


class OwnNorm(nn.Module):
    """A normalisation over channels in one's own code, with a factor and a shift a channel."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(n_channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(n_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        return self.factor * x / (x.square().mean(1, keepdim=True) + 1e-3).sqrt() + self.shift


class Blur(nn.Module):
    """A fixed kernel for each channel, before a stride."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.full((n_channels, 1, 3, 3), 1 / 9))

    def forward(self, x: Tensor) -> Tensor:
        return torch.conv2d(x, self.kernel, stride=2, padding=1, groups=x.shape[1])


class ChannelsLast(nn.Module):
    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Fixed(nn.Module):
    """A kernel that is no parameter and mixes channels."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.ones(n_channels, n_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.conv2d(x, self.kernel)


class Straight(nn.Module):
    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.between(torch.relu_(self.a(x))).flip(1))
        return out


@pytest.mark.parametrize(
    "between",
    [
        nn.BatchNorm2d(6),
        nn.GroupNorm(3, 6),
        nn.LocalResponseNorm(3),
        ChannelsLast(6),
        OwnNorm(6),
        Blur(6),
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Sequential(nn.PReLU(6), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Sigmoid()),
    ],
    ids=lambda module: type(module).__name__,
)
def test_units_are_followed_through_what_treats_channels_apart(between: nn.Module) -> None:
    found = find_connections(Model(Straight(between)), ["b", "a"])
    assert found.layers == ("a", "b")
    assert reaching(found, "b.weight") == [{"a": 5 - channel} for channel in range(6)]
    assert found.targets["a.weight"] == [("a", unit) for unit in range(6)]
    assert reaching(found, "a.weight") == [{IMAGE: channel} for channel in range(3)]
    # A normalisation's own factors belong to what it normalises.
    own = [name for name in found.places if name.startswith("between.norm")]
    assert all(reaching(found, name) == [{"a": channel} for channel in range(6)] for name in own)


def test_units_end_where_channels_are_filtered_or_mixed() -> None:
    found = find_connections(Model(Straight(nn.Conv2d(6, 6, 3, groups=6))), ["a", "b"])
    assert reaching(found, "b.weight") == [{"between.weight": 5 - channel} for channel in range(6)]
    assert found.targets["between.weight"] == [None] * 6
    found = find_connections(Model(Straight(Fixed(6))), ["a", "b"])
    assert reaching(found, "b.weight") == [{"conv2d 1": 5 - channel} for channel in range(6)]
    found = find_connections(Model(Straight(nn.Softmax(dim=1))), ["a", "b"])
    assert reaching(found, "b.weight") == [{"a": -2}] * 6


class Gated(nn.Module):
    """A layer whose units are scaled by a gate of two convolutions, and one that is concatenated with the image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(9, 4, 3)
        self.down, self.up = nn.Conv2d(6, 2, 1), nn.Linear(2, 6)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.a(x))
        gate = self.up(torch.relu(self.down(a.mean((2, 3), keepdim=True))).flatten(1))
        out: Tensor = self.b(torch.cat([x, a * torch.sigmoid(gate)[:, :, None, None]], 1))
        return out


@pytest.mark.parametrize("layers", [["a", "b"], ["a", "down", "b"]])
def test_a_gate_leaves_units_what_they_are(layers: list[str]) -> None:
    found = find_connections(Model(Gated()), layers)
    b = reaching(found, "b.weight")
    assert b == [{IMAGE: channel} for channel in range(3)] + [{"a": unit} for unit in range(6)]
    assert found.places["b.weight"].seen["up.weight"].tolist() == [-1] * 3 + list(range(6))
    # Where there is nothing else, it counts.
    before_up = "down" if "down" in layers else "down.weight"
    assert reaching(found, "up.weight") == [{before_up: 0}, {before_up: 1}]
    assert reaching(found, "down.weight") == [{"a": unit} for unit in range(6)]


class Sums(nn.Module):
    """Two residual additions, and a convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.last = (nn.Conv2d(n, 4, 1) for n in (3, 4, 4))
        self.first, self.second = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.first(x + self.branch(x).flip(1))
        x = self.second(x + self.branch(x))
        out: Tensor = self.last(x)
        return out


def test_a_sum_carries_both_until_it_is_a_layer_itself() -> None:
    found = find_connections(Model(Sums()), ["stem", "branch", "last"])
    # What the branch gives when it runs again is no unit of the layer.
    assert found.reaching("last.weight", 1) == {"stem": 1, "branch": 2, "branch.weight": 1}
    assert reaching(found, "branch.weight") == [{"stem": channel} for channel in range(4)]
    found = find_connections(Model(Sums()), ["first", "second", "last"])
    assert reaching(found, "last.weight") == [{"second": channel} for channel in range(4)]
    # Both are added into the first sum, which comes before the second.
    assert found.targets["stem.weight"] == [("first", unit) for unit in range(4)]
    assert found.targets["branch.weight"] == [("first", unit) for unit in (3, 2, 1, 0)]


def test_channels_are_read_as_sums_of_surveyed_units_and_as_nothing_else() -> None:
    found = find_connections(Model(Sums()), ["stem", "branch", "last"])
    assert found.inputs("branch.weight") == [{"stem": channel} for channel in range(4)]
    # The branch runs again: what it gives then is part of the sum, and no surveyed unit.
    assert found.inputs("last.weight") == [{}] * 4
    assert found.outputs("last.weight") == [("last", unit) for unit in range(4)]
    found = find_connections(Model(Gated()), ["a", "b"])
    assert found.inputs("b.weight") == [{IMAGE: c} for c in range(3)] + [{"a": unit} for unit in range(6)]
    assert found.outputs("down.weight") == [None, None]


class Residual(nn.Module):
    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.branch = nn.Conv2d(n_channels, n_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


def test_a_normalisation_has_the_units_of_what_it_normalises() -> None:
    found = find_connections(Model(Straight(nn.BatchNorm2d(6))), ["a", "b"])
    assert found.outputs("between.weight") == [("a", channel) for channel in range(6)]
    # Its convolution is no layer: it is the unit that the convolution's output goes to.
    found = find_connections(Model(Straight(nn.BatchNorm2d(6))), ["between", "b"])
    assert found.outputs("between.weight") == [("between", channel) for channel in range(6)]
    # Of what is mixed, or a sum, it is nobody's.
    for before in (nn.Softmax(dim=1), Residual(6)):
        found = find_connections(Model(Straight(nn.Sequential(before, nn.BatchNorm2d(6)))), ["a", "b"])
        assert found.outputs("between.1.weight") == [None] * 6


class Fussy(nn.Module):
    """Takes images of one size, as some networks do, and none with NaN in their preparation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 40, 48)
        out: Tensor = self.stem(x.flip(1))
        return out


def test_a_network_that_takes_one_size_and_prepares_its_images() -> None:
    def prepare(images: Tensor) -> Tensor:
        assert not images.isnan().any()
        mixed = images.mean(1, keepdim=True) - images
        return torch.cat([mixed, mixed[..., :8]], 3).double()

    model = Model(Fussy().double(), preprocess=prepare, input_size_px=40)
    found = find_connections(model, ["stem"])
    # Channels are those of the prepared image.
    assert reaching(found, "stem.weight") == [{IMAGE: channel} for channel in (2, 1, 0)]


@pytest.mark.parametrize("layers", [["a", "b"], ["a", "c"]])
def test_a_borrowed_network_stays_as_it_is(layers: list[str]) -> None:
    network = Straight(OwnNorm(6)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    if "c" in layers:
        with pytest.raises(EquiscopeError, match="unknown layer of model 'c'"):
            find_connections(Model(network), layers)
    else:
        find_connections(Model(network), layers)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    assert all(part.training for part in network.modules())
    # Nothing is intercepted any more.
    assert network(torch.rand(2, 3, 9, 12)).abs().max() > 0
